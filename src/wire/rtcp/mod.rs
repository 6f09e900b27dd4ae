//! RTCP compound packets as views (RFC 3550 6).
