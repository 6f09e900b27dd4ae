//! RTP packets as views (RFC 3550 5.1) and telephone events (RFC 4733).
