//! A node with real sockets on loopback.
