//! The one function that grants a move.
