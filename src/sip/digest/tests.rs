//! Tests of digest as a whole.
