//! The configuration file: as written, then resolved and cross-checked.
