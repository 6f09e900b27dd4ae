//! Who may not touch which call until when.
