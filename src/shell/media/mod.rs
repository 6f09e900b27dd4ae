//! Media threads: sockets and routes.
