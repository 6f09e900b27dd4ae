//! A running node: workers, sockets, threads and their shutdown.
