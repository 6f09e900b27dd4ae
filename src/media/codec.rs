//! Codecs of RTP: static payload types (RFC 3551), names, clock rates; and the payload numbers that stand for them.

use std::fmt;

/// A payload number and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Payload type, 0 to 127.
    pub number: u8,
    /// Its codec.
    pub codec: Codec,
}

/// A codec as two descriptions can agree on it: encoding name, clock rate, channels, and those `fmtp` parameters that
/// make two formats of one name incompatible (`DISTINCTIONS`). Everything else in `fmtp` is a preference of its
/// author.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec {
    name: Name,
    clock_rate: u32,
    channels: u8,
    /// Hash of the distinguishing parameters, 0 when they have their defaults.
    detail: u32,
}

/// A parameter that tells formats of one name apart, the default of its RFC, and how much of its value counts.
struct Distinction {
    parameter: &'static str,
    default: &'static str,
    length: usize,
}

const fn distinct(parameter: &'static str, default: &'static str, length: usize) -> Distinction {
    Distinction { parameter, default, length }
}

/// By encoding name. Of an H264 profile-level-id only the profile counts (RFC 6184 8.2.2: the level may differ in an
/// answer).
const DISTINCTIONS: &[(&str, &[Distinction])] = &[
    ("H264", &[distinct("packetization-mode", "0", 1), distinct("profile-level-id", "4200", 4)]),
    ("H265", &[distinct("profile-id", "1", 3), distinct("tx-mode", "SRST", 4)]),
    ("VP9", &[distinct("profile-id", "0", 3)]),
    ("AV1", &[distinct("profile", "0", 3)]),
    ("AMR", AMR),
    ("AMR-WB", AMR),
    ("G7221", &[distinct("bitrate", "", 8)]),
    ("ILBC", &[distinct("mode", "30", 3)]),
    ("MPEG4-GENERIC", &[distinct("config", "", 32)]),
];
/// RFC 4867 8.3.1: these must be equal on both sides.
const AMR: &[Distinction] = &[
    distinct("octet-align", "0", 1),
    distinct("crc", "0", 1),
    distinct("robust-sorting", "0", 1),
    distinct("interleaving", "", 4),
];

impl Codec {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::fixed("PCMU", 8000, 1);
    /// G.711 A-law.
    pub const PCMA: Self = Self::fixed("PCMA", 8000, 1);
    /// Comfort noise (RFC 3389) beside narrow-band codecs.
    pub const COMFORT_NOISE: Self = Self::fixed("CN", 8000, 1);
    /// DTMF (RFC 4733) beside narrow-band codecs.
    pub const TELEPHONE_EVENT: Self = Self::fixed("TELEPHONE-EVENT", 8000, 1);

    const fn fixed(name: &str, clock_rate: u32, channels: u8) -> Self {
        Self { name: Name::new(name.as_bytes()), clock_rate, channels, detail: 0 }
    }

    /// What a static payload type means without an `a=rtpmap` (RFC 3551 6, tables 4 and 5).
    #[must_use]
    pub fn of_static(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::PCMU,
            3 => Self::fixed("GSM", 8000, 1),
            4 => Self::fixed("G723", 8000, 1),
            5 => Self::fixed("DVI4", 8000, 1),
            6 => Self::fixed("DVI4", 16000, 1),
            7 => Self::fixed("LPC", 8000, 1),
            8 => Self::PCMA,
            // The clock of G722 is 8000 by an old mistake (RFC 3551 4.5.2), though it samples at 16000.
            9 => Self::fixed("G722", 8000, 1),
            10 => Self::fixed("L16", 44100, 2),
            11 => Self::fixed("L16", 44100, 1),
            12 => Self::fixed("QCELP", 8000, 1),
            13 => Self::COMFORT_NOISE,
            14 => Self::fixed("MPA", 90000, 1),
            15 => Self::fixed("G728", 8000, 1),
            16 => Self::fixed("DVI4", 11025, 1),
            17 => Self::fixed("DVI4", 22050, 1),
            18 => Self::fixed("G729", 8000, 1),
            25 => Self::fixed("CELB", 90000, 1),
            26 => Self::fixed("JPEG", 90000, 1),
            28 => Self::fixed("NV", 90000, 1),
            31 => Self::fixed("H261", 90000, 1),
            32 => Self::fixed("MPV", 90000, 1),
            33 => Self::fixed("MP2T", 90000, 1),
            34 => Self::fixed("H263", 90000, 1),
            _ => return None,
        })
    }

    /// Reads the second half of an `a=rtpmap`: `opus/48000/2` (RFC 8866 6.6).
    #[must_use]
    pub fn of_rtpmap(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'/');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let clock_rate = number(parts.next()?)?;
        // A third part is channels for audio; anything odd there counts as unsaid.
        let channels = parts.next().and_then(number).and_then(|n| u8::try_from(n).ok()).unwrap_or(1).max(1);
        Some(Self { name: Name::new(name), clock_rate, channels, detail: 0 })
    }

    /// The codec with the distinctions of its `a=fmtp` parameters (`packetization-mode=1;profile-level-id=42e01f`).
    #[must_use]
    pub fn with_parameters(self, parameters: &[u8]) -> Self {
        let Some(distinctions) = self.distinctions() else { return self };
        let mut hash = Fnv::default();
        for Distinction { parameter: name, default, length } in distinctions {
            let value = parameter(parameters, name.as_bytes()).unwrap_or(default.as_bytes());
            let value = value.get(..*length).unwrap_or(value);
            if !value.eq_ignore_ascii_case(default.as_bytes()) {
                hash.add(name.as_bytes());
                hash.add(value);
            }
        }
        Self { detail: hash.value(), ..self }
    }

    /// Whether `a=fmtp` can tell formats of this name apart.
    #[must_use]
    pub fn has_distinctions(&self) -> bool {
        self.distinctions().is_some()
    }

    fn distinctions(&self) -> Option<&'static [Distinction]> {
        DISTINCTIONS.iter().find(|(name, _)| self.name() == *name).map(|(_, list)| *list)
    }

    /// A number that its author did not explain; equal only to the same number.
    #[must_use]
    pub fn unexplained(number: u8) -> Self {
        Self { detail: u32::from(number) + 1, ..Self::fixed("?", 0, 1) }
    }

    /// Encoding name in upper case: `PCMU`, `OPUS`, `TELEPHONE-EVENT`.
    #[must_use]
    pub fn name(&self) -> &str {
        let text = self.name.bytes.get(..usize::from(self.name.len)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// The name as its registration spells it: names are case-insensitive (RFC 8866 6.6), phones sometimes are not.
    #[must_use]
    pub fn spelling(&self) -> &str {
        match self.name() {
            "OPUS" => "opus",
            "SPEEX" => "speex",
            "ILBC" => "iLBC",
            "TELEPHONE-EVENT" => "telephone-event",
            "RED" => "red",
            "RTX" => "rtx",
            name => name,
        }
    }

    /// Clock rate of its timestamps in Hz.
    #[must_use]
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
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

    /// Whether it can carry the stream by itself: no DTMF, comfort noise, redundancy, repair or unexplained number.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        const BESIDE: [&str; 9] =
            ["TELEPHONE-EVENT", "CN", "RED", "RTX", "ULPFEC", "FLEXFEC-03", "FLEXFEC", "PARITYFEC", "?"];
        !BESIDE.contains(&self.name())
    }

    /// Same name, clock rate and channels, whatever the parameters.
    #[must_use]
    pub fn resembles(&self, other: &Self) -> bool {
        Self { detail: 0, ..*self } == Self { detail: 0, ..*other }
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.spelling(), self.clock_rate)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}

/// An encoding name in upper case, inline. A longer one keeps its head and a hash of the whole, so that two long names
/// stay two.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    len: u8,
    bytes: [u8; Name::ROOM],
}

impl Name {
    const ROOM: usize = 22;
    /// What a long name keeps; eight hexadecimal digits follow.
    const HEAD: usize = Self::ROOM - 8;

    #[expect(
        clippy::indexing_slicing,
        reason = "const: every index is below ROOM and below the text's length"
    )]
    const fn new(text: &[u8]) -> Self {
        let mut bytes = [0; Self::ROOM];
        let kept = if text.len() <= Self::ROOM { text.len() } else { Self::HEAD };
        let mut at = 0;
        while at < kept {
            bytes[at] = plain(text[at]);
            at += 1;
        }
        if kept == text.len() {
            return Self { len: kept as u8, bytes };
        }
        let (mut hash, mut from) = (Fnv(Fnv::OFFSET), 0);
        while from < text.len() {
            hash = hash.with(text[from]);
            from += 1;
        }
        while at < Self::ROOM {
            bytes[at] = b"0123456789ABCDEF"[((hash.0 >> (4 * (at - Self::HEAD))) & 15) as usize];
            at += 1;
        }
        Self { len: Self::ROOM as u8, bytes }
    }
}

/// ASCII in upper case; anything else becomes one character that is in no registered name.
const fn plain(byte: u8) -> u8 {
    if byte.is_ascii_graphic() { byte.to_ascii_uppercase() } else { b'*' }
}

/// FNV-1a, ignoring case: tells a peer's own formats apart, and protects nothing.
#[derive(Clone, Copy, Default)]
struct Fnv(u32);

impl Fnv {
    const OFFSET: u32 = 0x811c_9dc5;

    const fn with(self, byte: u8) -> Self {
        Self((self.0 ^ byte.to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193))
    }

    fn add(&mut self, bytes: &[u8]) {
        *self = bytes.iter().fold(*self, |hash, byte| hash.with(*byte)).with(b';');
    }

    fn value(self) -> u32 {
        self.0
    }
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

/// The value of one parameter of an `a=fmtp`: `name=value` between semicolons.
#[must_use]
pub fn parameter<'a>(parameters: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters.split(|byte| *byte == b';').find_map(|item| {
        let item = item.trim_ascii();
        let equals = memchr::memchr(b'=', item)?;
        let (key, value) = (item.get(..equals)?, item.get(equals + 1..)?);
        key.trim_ascii().eq_ignore_ascii_case(name).then_some(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(rtpmap: &str, fmtp: &str) -> Codec {
        Codec::of_rtpmap(rtpmap.as_bytes()).unwrap().with_parameters(fmtp.as_bytes())
    }

    #[test]
    fn static_types_equal_their_rtpmaps() {
        for (number, rtpmap) in
            [(0, "pcmu/8000"), (8, "PCMA/8000/1"), (9, "G722/8000"), (10, "L16/44100/2"), (18, "G729/8000")]
        {
            assert_eq!(Codec::of_static(number), Codec::of_rtpmap(rtpmap.as_bytes()), "{rtpmap}");
        }
        assert_eq!(Codec::of_static(96), None);
        assert_eq!((35..128).filter_map(Codec::of_static).count(), 0);
    }

    #[test]
    fn only_incompatible_parameters_make_a_difference() {
        assert_eq!(codec("opus/48000/2", "useinbandfec=1"), codec("OPUS/48000/2", "stereo=1"));
        assert_ne!(codec("opus/48000/2", ""), codec("opus/48000", ""));
        assert_eq!(
            codec("H264/90000", "profile-level-id=42e01f;packetization-mode=1"),
            codec("h264/90000", "packetization-mode=1; profile-level-id=42E034")
        );
        assert_ne!(codec("H264/90000", "packetization-mode=1"), codec("H264/90000", "packetization-mode=0"));
        assert_eq!(codec("H264/90000", "packetization-mode=0"), codec("H264/90000", ""));
        assert_ne!(codec("AMR/8000", "octet-align=1"), codec("AMR/8000", "mode-set=0,2"));
        assert!(codec("AMR/8000", "octet-align=1").resembles(&codec("AMR/8000", "")));
        assert_eq!(codec("G729/8000", "annexb=no"), Codec::of_static(18).unwrap());
    }

    #[test]
    fn long_names_stay_apart_and_odd_ones_are_harmless() {
        let (a, b) =
            (codec("vnd.example.metadata.one/90000", ""), codec("vnd.example.metadata.two/90000", ""));
        assert_ne!(a, b);
        assert!(a.name().starts_with("VND.EXAMPLE.ME"), "{a}");
        assert_eq!(Codec::of_rtpmap("häß/8000".as_bytes()).unwrap().name(), "H****");
        for bad in ["", "/8000", "PCMU", "PCMU/", "PCMU/x", "PCMU/99999999999", "PCMU/-1"] {
            assert_eq!(Codec::of_rtpmap(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(codec("PCMU/8000/999", "").channels(), 1);
    }

    #[test]
    fn dtmf_and_noise_carry_nothing_alone() {
        assert!(!codec("telephone-event/48000", "").is_primary());
        assert!(codec("telephone-event/48000", "").is_telephone_event());
        assert!(!Codec::COMFORT_NOISE.is_primary() && Codec::PCMA.is_primary());
        assert!(!Codec::unexplained(96).is_primary());
        assert_ne!(Codec::unexplained(96), Codec::unexplained(97));
    }
}
