//! Bindings as a pure function: old set and REGISTER in, new set or refusal out.

pub mod accounts;
