//! One line of a description: where it is, and what its attribute is called.

use super::Direction;

/// A range of bytes in the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A line, without its terminator. Its text is read with [`super::Sdp::line`].
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub(super) span: Span,
    pub(super) letter: u8,
    pub(super) attribute: Attribute,
}

impl Line {
    /// The letter before the `=`.
    #[must_use]
    pub fn letter(&self) -> u8 {
        self.letter
    }

    /// Which attribute an `a=` line carries; [`Attribute::Other`] for any other line.
    #[must_use]
    pub fn attribute(&self) -> Attribute {
        self.attribute
    }
}

/// Attributes that we act on. Everything else passes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `rtpmap` (RFC 8866 6.6).
    Rtpmap,
    /// `fmtp` (RFC 8866 6.15).
    Fmtp,
    /// `rtcp-fb` (RFC 4585 4.2).
    RtcpFb,
    /// `imageattr` (RFC 6236).
    ImageAttr,
    /// `sendrecv` and its kin (RFC 8866 6.7).
    Direction(Direction),
    /// `ptime` (RFC 8866 6.4).
    Ptime,
    /// `rtcp` (RFC 3605).
    Rtcp,
    /// `rtcp-mux`, `rtcp-mux-only` (RFC 5761, RFC 8858).
    RtcpMux,
    /// `crypto` (RFC 4568).
    Crypto,
    /// `fingerprint` (RFC 8122).
    Fingerprint,
    /// `setup` and `connection` (RFC 4145).
    Setup,
    /// Other keying: `key-mgmt`, `zrtp-hash`, `tls-id`, `identity`.
    Keying,
    /// `candidate`, `remote-candidates`, `end-of-candidates` (RFC 8839), and the older `alt`.
    Candidate,
    /// `ice-ufrag`, `ice-pwd`, `ice-options`, `ice-lite`, `ice-mismatch`, `ice-pacing`.
    Ice,
    /// `group`, `mid`, `bundle-only`, `msid`, `msid-semantic`, `ssrc`, `ssrc-group`, `rid`, `simulcast`: they tie
    /// streams together by identifiers that a relay which rewrites streams does not keep. `extmap` (RFC 8285), whose
    /// numbers are of one path, and `rtcp-rsize` (RFC 5506), which the relay does not read.
    Identifier,
    /// Capability negotiation (RFC 5939): `tcap`, `acap`, `pcfg`, `acfg`, `csup`, `creq`. Would negotiate past us.
    Capability,
    /// `source-filter` (RFC 4570): names addresses.
    SourceFilter,
    /// Unknown to us.
    Other,
}

impl Attribute {
    /// Classifies the name of an attribute (what follows `a=`, up to a colon). Names are case-sensitive (RFC 8866 5.13).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"rtpmap" => Self::Rtpmap,
            b"fmtp" => Self::Fmtp,
            b"sendrecv" => Self::Direction(Direction::SendRecv),
            b"sendonly" => Self::Direction(Direction::SendOnly),
            b"recvonly" => Self::Direction(Direction::RecvOnly),
            b"inactive" => Self::Direction(Direction::Inactive),
            b"ptime" => Self::Ptime,
            b"rtcp" => Self::Rtcp,
            b"rtcp-mux" | b"rtcp-mux-only" => Self::RtcpMux,
            b"rtcp-fb" => Self::RtcpFb,
            b"imageattr" => Self::ImageAttr,
            b"crypto" => Self::Crypto,
            b"fingerprint" => Self::Fingerprint,
            b"setup" | b"connection" => Self::Setup,
            b"key-mgmt" | b"zrtp-hash" | b"tls-id" | b"identity" => Self::Keying,
            b"candidate" | b"remote-candidates" | b"end-of-candidates" | b"alt" => Self::Candidate,
            b"ice-ufrag" | b"ice-pwd" | b"ice-options" | b"ice-lite" | b"ice-mismatch" | b"ice-pacing" => {
                Self::Ice
            }
            b"group"
            | b"mid"
            | b"bundle-only"
            | b"msid"
            | b"msid-semantic"
            | b"ssrc"
            | b"ssrc-group"
            | b"rid"
            | b"simulcast"
            | b"extmap"
            | b"extmap-allow-mixed"
            | b"rtcp-rsize" => Self::Identifier,
            b"tcap" | b"acap" | b"pcfg" | b"acfg" | b"csup" | b"creq" => Self::Capability,
            b"source-filter" => Self::SourceFilter,
            _ => Self::Other,
        }
    }

    /// Whether it belongs to the path between its author and us, so that it must not be passed on.
    #[must_use]
    pub fn is_of_transport(self) -> bool {
        match self {
            Self::Rtcp
            | Self::RtcpMux
            | Self::Crypto
            | Self::Fingerprint
            | Self::Setup
            | Self::Keying
            | Self::Candidate
            | Self::Ice
            | Self::Identifier
            | Self::Capability
            | Self::SourceFilter => true,
            Self::Rtpmap
            | Self::Fmtp
            | Self::RtcpFb
            | Self::ImageAttr
            | Self::Direction(_)
            | Self::Ptime
            | Self::Other => false,
        }
    }

    /// Whether its value starts with a payload number.
    #[must_use]
    pub fn is_of_payload(self) -> bool {
        matches!(self, Self::Rtpmap | Self::Fmtp | Self::RtcpFb | Self::ImageAttr)
    }
}
