//! dialog-info documents (RFC 4235): writing and reading.
