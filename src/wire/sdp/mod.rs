//! Session descriptions (RFC 8866): a view of line spans over the received bytes; nothing is copied.
//!
//! Tolerant where phones are sloppy (LF alone, blank lines, a missing `s=` or `t=`), strict where a second reader
//! could see something else (control characters, numbers out of range), bounded everywhere ([`Limits`]).

mod direction;
mod line;
mod media;
mod parse;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::net::IpAddr;

use bytes::Bytes;

pub use direction::Direction;
pub use line::{Attribute, Line};
pub use media::{Kind, Media, Protocol};
pub use parse::{Fault, Limits, SdpError, payload_number, words};
pub use write::SdpWriter;

use line::Span;
use media::Section;

/// A parsed session description. Cheap to move; a clone copies the spans and shares the text.
#[derive(Clone, Debug)]
pub struct Sdp {
    bytes: Bytes,
    lines: Vec<Line>,
    sections: Vec<Section>,
    origin: OriginSpans,
    connection: Option<Host>,
    direction: Option<Direction>,
}

/// What a `c=` or `o=` line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address, IPv4-mapped IPv6 made plain. The suffix of multicast (`/127`) is cut off.
    Address(IpAddr),
    /// A domain name, or an address family that is not IP4 or IP6.
    Name,
}

impl Host {
    /// The literal address.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Name => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct OriginSpans {
    username: Span,
    session_id: Span,
    version: Span,
}

/// The `o=` line as text: identifiers of strangers may be longer than 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginLine<'a> {
    /// User name, often `-`.
    pub username: &'a [u8],
    /// Session identifier.
    pub session_id: &'a [u8],
    /// Session version.
    pub version: &'a [u8],
}

impl Sdp {
    /// Reads a description.
    ///
    /// # Errors
    /// The first line that cannot be accepted, or the limit that was passed.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, SdpError> {
        parse::parse(bytes, limits)
    }

    /// The text as it came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Copies the text, so that keeping this value does not keep the datagram it came in.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
        self
    }

    /// The `o=` line.
    #[must_use]
    pub fn origin(&self) -> OriginLine<'_> {
        OriginLine {
            username: self.text(self.origin.username),
            session_id: self.text(self.origin.session_id),
            version: self.text(self.origin.version),
        }
    }

    /// The session's `c=` line, if it has one.
    #[must_use]
    pub fn connection(&self) -> Option<Host> {
        self.connection
    }

    /// The session's direction attribute, if it has one.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.direction
    }

    /// The media descriptions in order.
    pub fn media(&self) -> impl ExactSizeIterator<Item = Media<'_>> {
        self.sections.iter().map(|section| Media::new(self, section))
    }

    /// The media description at `index`.
    #[must_use]
    pub fn medium(&self, index: usize) -> Option<Media<'_>> {
        self.sections.get(index).map(|section| Media::new(self, section))
    }

    /// Lines before the first `m=`.
    #[must_use]
    pub fn session_lines(&self) -> &[Line] {
        let end = self.sections.first().map_or(self.lines.len(), |section| section.first as usize);
        self.lines.get(..end).unwrap_or_default()
    }

    /// A whole line without its terminator: `a=ptime:20`.
    #[must_use]
    pub fn line(&self, line: &Line) -> &[u8] {
        self.text(line.span)
    }

    /// What follows `x=` in a line.
    #[must_use]
    pub fn value(&self, line: &Line) -> &[u8] {
        self.line(line).get(2..).unwrap_or_default()
    }

    fn text(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}
