//! Session descriptions: reading, and line-preserving editing.
