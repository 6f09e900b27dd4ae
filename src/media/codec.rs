//! Codecs of RTP: static payload types (RFC 3551), names, clock rates.
