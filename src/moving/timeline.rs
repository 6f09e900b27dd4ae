//! What happened in a move, in order.
