//! A move as a state machine.
