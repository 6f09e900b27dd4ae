//! One-time dialog identifiers and tokens.
