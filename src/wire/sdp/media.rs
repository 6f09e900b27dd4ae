//! One media description: its `m=` line, and the lines below it read on demand.

use std::net::{IpAddr, SocketAddr};

use super::line::Span;
use super::{Attribute, Direction, Host, Line, Sdp, parse};

/// First word of an `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `text` (RFC 4103)
    Text,
    /// `image` (T.38)
    Image,
    /// `application`
    Application,
    /// `message` (MSRP)
    Message,
    /// Unregistered.
    Other,
}

impl Kind {
    pub(super) fn from_name(name: &[u8]) -> Self {
        match name {
            b"audio" => Self::Audio,
            b"video" => Self::Video,
            b"text" => Self::Text,
            b"image" => Self::Image,
            b"application" => Self::Application,
            b"message" => Self::Message,
            _ => Self::Other,
        }
    }
}

/// Transport and profile of an `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `RTP/AVP`
    RtpAvp,
    /// `RTP/AVPF`
    RtpAvpf,
    /// `RTP/SAVP` (RFC 3711): keys in the description.
    RtpSavp,
    /// `RTP/SAVPF` (RFC 5124)
    RtpSavpf,
    /// `UDP/TLS/RTP/SAVP` (RFC 5764): keys by a handshake beside the media.
    DtlsSavp,
    /// `UDP/TLS/RTP/SAVPF`
    DtlsSavpf,
    /// `udptl` (T.38)
    Udptl,
    /// Anything else.
    Other,
}

impl Protocol {
    pub(super) fn from_name(name: &[u8]) -> Self {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        if is("RTP/AVP") {
            Self::RtpAvp
        } else if is("RTP/AVPF") {
            Self::RtpAvpf
        } else if is("RTP/SAVP") {
            Self::RtpSavp
        } else if is("RTP/SAVPF") {
            Self::RtpSavpf
        } else if is("UDP/TLS/RTP/SAVP") {
            Self::DtlsSavp
        } else if is("UDP/TLS/RTP/SAVPF") {
            Self::DtlsSavpf
        } else if is("udptl") {
            Self::Udptl
        } else {
            Self::Other
        }
    }

    /// RTP without encryption, or with one that may be left (RFC 8643).
    #[must_use]
    pub fn is_plain_rtp(self) -> bool {
        matches!(self, Self::RtpAvp | Self::RtpAvpf)
    }

    /// RTP with encryption.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Self::RtpSavp | Self::RtpSavpf | Self::DtlsSavp | Self::DtlsSavpf)
    }

    /// RTP whose keys come from DTLS, as browsers have it.
    #[must_use]
    pub fn is_dtls(self) -> bool {
        matches!(self, Self::DtlsSavp | Self::DtlsSavpf)
    }

    /// RTP of either kind.
    #[must_use]
    pub fn is_rtp(self) -> bool {
        self.is_plain_rtp() || self.is_secure()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    /// Index of the `m=` line, and of the line after the section.
    pub(super) first: u16,
    pub(super) end: u16,
    pub(super) kind: Kind,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) ports: u16,
    pub(super) kind_name: Span,
    pub(super) protocol_name: Span,
    pub(super) formats: Span,
    pub(super) connection: Option<Host>,
    pub(super) direction: Option<Direction>,
}

/// A view of one media description.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    sdp: &'a Sdp,
    section: &'a Section,
}

impl<'a> Media<'a> {
    pub(super) fn new(sdp: &'a Sdp, section: &'a Section) -> Self {
        Self { sdp, section }
    }

    /// Audio, video, …
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.section.kind
    }

    /// The kind as written.
    #[must_use]
    pub fn kind_name(&self) -> &'a [u8] {
        self.sdp.text(self.section.kind_name)
    }

    /// The profile.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.section.protocol
    }

    /// The profile as written.
    #[must_use]
    pub fn protocol_name(&self) -> &'a [u8] {
        self.sdp.text(self.section.protocol_name)
    }

    /// The port; 0 refuses or ends the stream (RFC 3264 5.1, 6, 8.2).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.section.port
    }

    /// The number after the `/`, else 1.
    #[must_use]
    pub fn ports(&self) -> u16 {
        self.section.ports
    }

    /// The formats as written, separated by spaces.
    #[must_use]
    pub fn format_text(&self) -> &'a [u8] {
        self.sdp.text(self.section.formats)
    }

    /// RTP payload numbers in order. Words that are none are left out.
    pub fn payload_numbers(&self) -> impl Iterator<Item = u8> + use<'a> {
        parse::words(self.format_text()).filter_map(parse::payload_number)
    }

    /// The lines below the `m=` line.
    #[must_use]
    pub fn lines(&self) -> &'a [Line] {
        self.sdp
            .lines
            .get(usize::from(self.section.first) + 1..usize::from(self.section.end))
            .unwrap_or_default()
    }

    /// The `c=` line that holds here: its own or the session's.
    #[must_use]
    pub fn connection(&self) -> Option<Host> {
        self.section.connection.or(self.sdp.connection)
    }

    /// The literal address of [`Media::connection`].
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.connection()?.address()
    }

    /// The direction as declared: its own attribute, the session's, or `sendrecv`.
    #[must_use]
    pub fn declared_direction(&self) -> Direction {
        self.section.direction.or(self.sdp.direction).unwrap_or(Direction::SendRecv)
    }

    /// The direction as meant: an unspecified address (`c=0.0.0.0`, the hold of RFC 2543, RFC 3264 8.4) cannot receive.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let declared = self.declared_direction();
        match self.address() {
            // With ICE the address is a placeholder (RFC 8839 4.2.1.2).
            Some(address) if address.is_unspecified() && !self.protocol().is_dtls() => {
                declared.and(Direction::SendOnly)
            }
            _ => declared,
        }
    }

    /// Where RTP goes: none if the port is 0 or the address is unspecified or not literal.
    #[must_use]
    pub fn rtp(&self) -> Option<SocketAddr> {
        let address = self.address().filter(|address| !address.is_unspecified())?;
        (self.port() != 0).then(|| SocketAddr::new(address, self.port()))
    }

    /// Where RTCP goes: `a=rtcp` (RFC 3605), else the port after RTP's (RFC 3550 11).
    #[must_use]
    pub fn rtcp(&self) -> Option<SocketAddr> {
        let rtp = self.rtp()?;
        let Some(line) = self.attribute(Attribute::Rtcp) else {
            return Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?));
        };
        let (port, host) = parse::rtcp(line)?;
        let address = match host {
            None => rtp.ip(),
            Some(host) => host.address().filter(|address| !address.is_unspecified())?,
        };
        (port != 0).then(|| SocketAddr::new(address, port))
    }

    /// The value of the first such attribute: what follows the colon.
    #[must_use]
    pub fn attribute(&self, attribute: Attribute) -> Option<&'a [u8]> {
        self.attributes(attribute).next()
    }

    /// The values of the attributes of a name, its own or, without any, the session's.
    pub fn inherited(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let sdp = self.sdp;
        let value = move |line: &'a Line| {
            let text = sdp.value(line);
            let rest = text.strip_prefix(name).filter(|_| line.letter() == b'a')?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b":") }
        };
        let own = self.lines().iter().filter_map(value);
        let has_own = self.lines().iter().any(|line| value(line).is_some());
        let of_session = sdp.session_lines().iter().take(if has_own { 0 } else { usize::MAX });
        own.chain(of_session.filter_map(value))
    }

    /// The values of all such attributes.
    pub fn attributes(&self, attribute: Attribute) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let sdp = self.sdp;
        self.lines()
            .iter()
            .filter(move |line| line.attribute == attribute)
            .map(|line| attribute_value(sdp.value(line)))
    }
}

/// What follows the first colon.
fn attribute_value(text: &[u8]) -> &[u8] {
    memchr::memchr(b':', text).and_then(|colon| text.get(colon + 1..)).unwrap_or_default()
}
