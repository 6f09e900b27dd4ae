//! Replaces and Join (RFC 3891, RFC 3911): reading, matching.
