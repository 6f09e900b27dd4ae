//! What we say toward one leg: one origin for the life of the dialog, a version that rises with the text.

use std::net::IpAddr;

use bytes::Bytes;

use crate::wire::sdp::{Limits, Sdp, SdpWriter};

/// Our side of one dialog's descriptions (RFC 3264 8: same session id, version + 1 exactly when the text changes).
#[derive(Clone, Debug)]
pub struct OurDescription {
    session_id: u64,
    version: u64,
    address: IpAddr,
    /// The text last sent.
    last: Bytes,
    /// Whether the next text gets a version of its own even if it says the same.
    renewed: bool,
}

impl OurDescription {
    /// For a new dialog. `session_id` is any random number (48 bits of it are used, which every phone can read) and
    /// must differ between the legs of a call; `address` is our media address as this leg can reach it.
    #[must_use]
    pub fn new(session_id: u64, address: IpAddr) -> Self {
        Self {
            session_id: session_id & 0xffff_ffff_ffff,
            version: 0,
            address,
            last: Bytes::new(),
            renewed: false,
        }
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

    /// The text last sent, read.
    pub(super) fn last_sdp(&self) -> Option<Sdp> {
        if self.last.is_empty() { None } else { Sdp::parse(self.last.clone(), &Limits::NONE).ok() }
    }

    /// The next text gets a version of its own whatever it says: what a move shows the far side is a new session
    /// description to it, not a refresh of the old one.
    pub(super) fn renew(&mut self) {
        self.renewed = true;
    }

    /// Puts the origin before `content` (everything after the `o=` line) and counts the text as sent. The version rises
    /// unless this content was also the last and was not renewed.
    pub(super) fn render(&mut self, content: &[u8]) -> Bytes {
        if !std::mem::take(&mut self.renewed) && !self.last.is_empty() && content_of(&self.last) == content {
            return self.last.clone();
        }
        self.version += 1;
        let mut writer = SdpWriter::with_capacity(content.len() + ORIGIN_ROOM);
        writer.origin(self.session_id, self.version, self.address);
        writer.put(content);
        self.last = writer.finish();
        self.last.clone()
    }
}

/// Longest `v=` and `o=` lines that we write: 15 digits of id, 20 of version, 39 of address.
const ORIGIN_ROOM: usize = 96;

/// What follows the `o=` line of a text of ours (whose first two lines are `v=` and `o=`).
pub(super) fn content_of(text: &[u8]) -> &[u8] {
    let after = memchr::memchr_iter(b'\n', text).nth(1).map_or(text.len(), |end| end + 1);
    text.get(after..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_rises_exactly_with_the_content() {
        let mut ours = OurDescription::new(u64::MAX, "2001:db8::1".parse().unwrap());
        let first = ours.render(b"s=-\r\n");
        assert_eq!(first, "v=0\r\no=- 281474976710655 1 IN IP6 2001:db8::1\r\ns=-\r\n");
        assert_eq!(ours.render(b"s=-\r\n"), first);
        assert_eq!(ours.render(b"s=x\r\n"), "v=0\r\no=- 281474976710655 2 IN IP6 2001:db8::1\r\ns=x\r\n");
        assert_eq!(ours.render(b"s=-\r\n"), "v=0\r\no=- 281474976710655 3 IN IP6 2001:db8::1\r\ns=-\r\n");
        assert_eq!(ours.version(), 3);
        ours.renew();
        ours.render(b"s=-\r\n");
        ours.render(b"s=-\r\n");
        assert_eq!(ours.version(), 4, "once");
    }

    #[test]
    fn the_content_starts_after_the_origin() {
        assert_eq!(content_of(b"v=0\r\no=x\r\nrest\r\n"), b"rest\r\n");
        assert_eq!(content_of(b"v=0\r\n"), b"");
        assert_eq!(content_of(b""), b"");
    }
}
