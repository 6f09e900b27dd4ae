//! Codecs of RTP: static payload types (RFC 3551), names, clock rates.

use std::fmt;

/// A codec as two descriptions can agree on it: encoding name, clock rate, channels, and those `fmtp` parameters that
/// make two formats of one name incompatible (packetization of H264, alignment of AMR). Everything else in `fmtp` is a
/// preference of its author.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec {
    name: Name,
    clock: u32,
    channels: u8,
    detail: u32,
}

impl Codec {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::fixed("pcmu", 8000, 1);
    /// G.711 A-law.
    pub const PCMA: Self = Self::fixed("pcma", 8000, 1);
    /// Comfort noise (RFC 3389) beside narrow-band codecs.
    pub const COMFORT_NOISE: Self = Self::fixed("cn", 8000, 1);
    /// DTMF (RFC 4733) beside narrow-band codecs.
    pub const TELEPHONE_EVENT: Self = Self::fixed("telephone-event", 8000, 1);

    const fn fixed(name: &str, clock: u32, channels: u8) -> Self {
        Self { name: Name::from_lower(name.as_bytes()), clock, channels, detail: 0 }
    }

    /// What a static payload type means without an `a=rtpmap` (RFC 3551 6, tables 4 and 5).
    #[must_use]
    pub fn of_static(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::PCMU,
            3 => Self::fixed("gsm", 8000, 1),
            4 => Self::fixed("g723", 8000, 1),
            5 => Self::fixed("dvi4", 8000, 1),
            6 => Self::fixed("dvi4", 16000, 1),
            7 => Self::fixed("lpc", 8000, 1),
            8 => Self::PCMA,
            // The clock of G722 is 8000 by an old mistake (RFC 3551 4.5.2), though it samples at 16000.
            9 => Self::fixed("g722", 8000, 1),
            10 => Self::fixed("l16", 44100, 2),
            11 => Self::fixed("l16", 44100, 1),
            12 => Self::fixed("qcelp", 8000, 1),
            13 => Self::COMFORT_NOISE,
            14 => Self::fixed("mpa", 90000, 1),
            15 => Self::fixed("g728", 8000, 1),
            16 => Self::fixed("dvi4", 11025, 1),
            17 => Self::fixed("dvi4", 22050, 1),
            18 => Self::fixed("g729", 8000, 1),
            25 => Self::fixed("celb", 90000, 1),
            26 => Self::fixed("jpeg", 90000, 1),
            28 => Self::fixed("nv", 90000, 1),
            31 => Self::fixed("h261", 90000, 1),
            32 => Self::fixed("mpv", 90000, 1),
            33 => Self::fixed("mp2t", 90000, 1),
            34 => Self::fixed("h263", 90000, 1),
            _ => return None,
        })
    }

    /// Clock rate of its timestamps in Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// Channels, 1 where it is not said.
    #[must_use]
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Whether it is DTMF (RFC 4733), at any clock rate.
    #[must_use]
    pub fn is_telephone_event(&self) -> bool {
        self.name == Self::TELEPHONE_EVENT.name
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.name.bytes.get(..usize::from(self.name.len)).unwrap_or_default();
        write!(f, "{}/{}", text.escape_ascii(), self.clock)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}

/// An encoding name in lower case, inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    len: u8,
    bytes: [u8; Name::ROOM],
}

impl Name {
    const ROOM: usize = 19;

    #[expect(
        clippy::indexing_slicing,
        reason = "const: both indexes are below both lengths by the loop's condition"
    )]
    const fn from_lower(text: &[u8]) -> Self {
        let mut bytes = [0; Self::ROOM];
        let mut at = 0;
        while at < text.len() && at < Self::ROOM {
            bytes[at] = text[at].to_ascii_lowercase();
            at += 1;
        }
        Self { len: at as u8, bytes }
    }
}
