//! Tests of the relay as a whole, in virtual time.
