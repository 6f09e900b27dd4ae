//! The demonstration: a node on loopback, three software phones, two moves.
