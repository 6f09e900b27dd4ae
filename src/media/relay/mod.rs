//! The packet path: routes, source learning, rewriting, counters. No lock, allocation or hash per packet.
