//! What two descriptions have in common, and what each side is told.
