//! Configurations whole: what resolves to what, and which fault is found where.
