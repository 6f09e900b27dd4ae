//! What we say toward one leg: one origin for the life of the dialog, a version that rises with the text.

use std::net::IpAddr;

use bytes::Bytes;

/// Our side of one dialog's descriptions (RFC 3264 8: same session id, version + 1 exactly when the text changes).
#[derive(Clone, Debug)]
pub struct OurDescription {
    session_id: u64,
    version: u64,
    address: IpAddr,
    /// Text last sent, whole; and where its `o=` line ends.
    last: Bytes,
}

impl OurDescription {
    /// For a new dialog. `session_id` is any random number (48 bits of it are used) and must differ between the legs
    /// of a call; `address` is our media address as this leg can reach it.
    #[must_use]
    pub fn new(session_id: u64, address: IpAddr) -> Self {
        Self { session_id: session_id & 0xffff_ffff_ffff, version: 0, address, last: Bytes::new() }
    }

    /// The session identifier of our `o=` line.
    #[must_use]
    pub fn session_id(&self) -> u64 {
        self.session_id
    }

    /// The version of the text last sent; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Our media address toward this leg.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The text last sent, empty before the first.
    #[must_use]
    pub fn last(&self) -> &Bytes {
        &self.last
    }
}
