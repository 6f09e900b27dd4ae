//! Writing: lines copied from a description byte for byte, and lines of our own.

use std::io::Write as _;
use std::net::IpAddr;

use bytes::Bytes;

use super::{Direction, Line, Sdp};

/// A description under construction. Every line ends with CRLF, whatever its source had.
#[derive(Debug, Default)]
pub struct SdpWriter {
    text: Vec<u8>,
}

impl SdpWriter {
    /// With room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { text: Vec::with_capacity(capacity) }
    }

    /// `v=0` and `o=- ID VERSION IN IP4 ADDRESS`.
    pub fn origin(&mut self, session_id: u64, version: u64, address: IpAddr) {
        self.put(b"v=0\r\no=- ");
        self.number(session_id);
        self.put(b" ");
        self.number(version);
        self.host(b" IN ", address);
    }

    /// `c=IN IP4 ADDRESS`.
    pub fn connection(&mut self, address: IpAddr) {
        self.host(b"c=IN ", address);
    }

    /// A line as it stands in `sdp`.
    pub fn copy(&mut self, sdp: &Sdp, line: &Line) {
        self.put(sdp.line(line));
        self.end_line();
    }

    /// `m=KIND PORT PROTOCOL`; formats follow with [`SdpWriter::word`], then [`SdpWriter::end_line`].
    pub fn media(&mut self, kind: &[u8], port: u16, protocol: &[u8]) {
        self.put(b"m=");
        self.put(kind);
        self.put(b" ");
        self.number(u64::from(port));
        self.put(b" ");
        self.put(protocol);
    }

    /// A blank and `word`.
    pub fn word(&mut self, word: &[u8]) {
        self.put(b" ");
        self.put(word);
    }

    /// A blank and a number.
    pub fn number_word(&mut self, number: u8) {
        self.put(b" ");
        self.number(u64::from(number));
    }

    /// `a=DIRECTION`.
    pub fn direction(&mut self, direction: Direction) {
        self.put(b"a=");
        self.put(direction.as_str().as_bytes());
        self.end_line();
    }

    /// Raw bytes within a line. The caller passes no line ends but those it means.
    pub fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// A decimal number.
    pub fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (rest % 10) as u8;
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(digits.get(at..).unwrap_or_default());
    }

    /// CRLF.
    pub fn end_line(&mut self) {
        self.put(b"\r\n");
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from(self.text)
    }

    fn host(&mut self, before: &[u8], address: IpAddr) {
        self.put(before);
        self.put(if address.is_ipv4() { b"IP4 " } else { b"IP6 " });
        // Writing to a vector cannot fail.
        let _ = write!(self.text, "{address}");
        self.end_line();
    }
}
