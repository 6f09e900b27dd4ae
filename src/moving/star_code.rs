//! Star codes and what follows them.
