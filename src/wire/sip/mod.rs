//! SIP messages: a zero-copy index over the bytes, lazy typed headers, framing, a writer.
