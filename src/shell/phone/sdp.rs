//! The few lines of SDP (RFC 4566, RFC 3264) that an audio phone needs, apart from segue's own reader.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::media::Crypto;

/// A G.711 law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// µ-law, payload type 0.
    Pcmu,
    /// A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// The static payload type.
    #[must_use]
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    fn of(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            _ => None,
        }
    }
}

/// The direction of a media line, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// Hold with music.
    SendOnly,
    /// Held.
    RecvOnly,
    /// Hold without media.
    Inactive,
}

impl Direction {
    /// The attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the sender of this direction sends media.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the sender of this direction wants media.
    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The answer of a phone that itself wants `own` (RFC 3264 6.1).
    #[must_use]
    pub fn answer(self, own: Self) -> Self {
        match (self.receives() && own.sends(), self.sends() && own.receives()) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

impl FromStr for Direction {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "sendrecv" => Ok(Self::SendRecv),
            "sendonly" => Ok(Self::SendOnly),
            "recvonly" => Ok(Self::RecvOnly),
            "inactive" => Ok(Self::Inactive),
            _ => Err(()),
        }
    }
}

/// What the phone says of its own audio.
#[derive(Clone, Debug)]
pub(super) struct Local {
    /// The number of the o= line.
    pub(super) session: u64,
    /// The version of the o= line.
    pub(super) version: u64,
    /// Where audio is received.
    pub(super) address: SocketAddr,
    /// The codecs, best first.
    pub(super) codecs: Vec<Codec>,
    /// The payload type of telephone-event, if any.
    pub(super) telephone_event: Option<u8>,
    /// The direction.
    pub(super) direction: Direction,
    /// The key, of a phone with SRTP.
    pub(super) crypto: Option<Crypto>,
}

impl Local {
    /// The description as text.
    #[must_use]
    pub(super) fn to_text(&self) -> String {
        let Self { session, version, address, direction, .. } = self;
        let (ip, port) = (address.ip(), address.port());
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let mut formats: Vec<u8> = self.codecs.iter().map(|codec| codec.payload_type()).collect();
        formats.extend(self.telephone_event);
        let list: Vec<String> = formats.iter().map(u8::to_string).collect();
        let mut text = format!(
            "v=0\r\no=phone {session} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} {} {}\r\n",
            if self.crypto.is_some() { "RTP/SAVP" } else { "RTP/AVP" },
            list.join(" ")
        );
        text.extend(self.crypto.as_ref().map(Crypto::to_line));
        for codec in &self.codecs {
            text.push_str(match codec {
                Codec::Pcmu => "a=rtpmap:0 PCMU/8000\r\n",
                Codec::Pcma => "a=rtpmap:8 PCMA/8000\r\n",
            });
        }
        if let Some(event) = self.telephone_event {
            text.push_str(&format!("a=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-16\r\n"));
        }
        text.push_str(&format!("a=ptime:20\r\na={}\r\n", direction.as_str()));
        text
    }
}

/// What the other side said of its audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Number and version of the o= line.
    pub origin: (u64, u64),
    /// Where it receives audio; nothing when the line is refused or the address is 0.0.0.0.
    pub address: Option<SocketAddr>,
    /// G.711 laws in its order.
    pub codecs: Vec<Codec>,
    /// All payload types in its order.
    pub formats: Vec<u8>,
    /// Its payload type of telephone-event.
    pub telephone_event: Option<u8>,
    /// Its direction.
    pub direction: Direction,
    /// How many m= lines there are.
    pub lines: usize,
    /// Whether its profile asks for SRTP.
    pub is_secure: bool,
    /// Its key, under the suite that this phone knows.
    pub crypto: Option<Crypto>,
}

impl Remote {
    /// Reads the first audio line.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut origin, mut session_address, mut session_direction) = (None, None, Direction::SendRecv);
        let (mut lines, mut audio) = (0, None::<Audio>);
        let mut within = false;
        for line in text.lines().map(str::trim_end) {
            let (kind, value) = line.split_once('=').ok_or_else(|| format!("not an SDP line: {line}"))?;
            match kind {
                "o" => origin = Some(read_origin(value).ok_or_else(|| format!("o={value}"))?),
                "c" if within => {
                    if let Some(audio) = audio.as_mut() {
                        audio.address = Some(read_address(value).ok_or_else(|| format!("c={value}"))?);
                    }
                }
                "c" if lines == 0 => {
                    session_address = Some(read_address(value).ok_or_else(|| format!("c={value}"))?)
                }
                "m" => {
                    lines += 1;
                    within = value.starts_with("audio ") && audio.is_none();
                    if within {
                        audio = Some(Audio::read(value).ok_or_else(|| format!("m={value}"))?);
                    }
                }
                "a" if within => {
                    if let Some(audio) = audio.as_mut() {
                        audio.attribute(value);
                    }
                }
                "a" if lines == 0 => session_direction = value.parse().unwrap_or(session_direction),
                _ => {}
            }
        }
        let audio = audio.ok_or("no audio line")?;
        let ip = audio.address.or(session_address).ok_or("no c= line")?;
        Ok(Self {
            origin: origin.ok_or("no o= line")?,
            address: (audio.port != 0 && !ip.is_unspecified()).then(|| SocketAddr::new(ip, audio.port)),
            codecs: audio.formats.iter().filter_map(|format| Codec::of(*format)).collect(),
            formats: audio.formats,
            telephone_event: audio.telephone_event,
            direction: audio.direction.unwrap_or(session_direction),
            lines,
            is_secure: audio.is_secure,
            crypto: audio.crypto,
        })
    }
}

struct Audio {
    port: u16,
    formats: Vec<u8>,
    address: Option<IpAddr>,
    direction: Option<Direction>,
    telephone_event: Option<u8>,
    is_secure: bool,
    crypto: Option<Crypto>,
}

impl Audio {
    fn read(value: &str) -> Option<Self> {
        let mut words = value.split_whitespace().skip(1);
        let port = words.next()?.parse().ok()?;
        let is_secure = words.next()?.contains("SAVP");
        let formats = words.map(str::parse).collect::<Result<Vec<u8>, _>>().ok()?;
        let (address, direction, telephone_event, crypto) = (None, None, None, None);
        Some(Self { port, formats, address, direction, telephone_event, is_secure, crypto })
    }

    fn attribute(&mut self, value: &str) {
        if let Ok(direction) = value.parse() {
            self.direction = Some(direction);
        } else if let Some(crypto) = value.strip_prefix("crypto:") {
            self.crypto = self.crypto.take().or_else(|| Crypto::parse(crypto));
        } else if let Some(map) = value.strip_prefix("rtpmap:") {
            let event = map
                .split_once(' ')
                .filter(|(_, name)| name.to_ascii_lowercase().starts_with("telephone-event/"));
            self.telephone_event = event.and_then(|(number, _)| number.parse().ok()).or(self.telephone_event);
        }
    }
}

fn read_origin(value: &str) -> Option<(u64, u64)> {
    let mut words = value.split_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn read_address(value: &str) -> Option<IpAddr> {
    value.split_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let local = Local {
            session: 5,
            version: 2,
            address: "127.0.0.1:4002".parse().unwrap(),
            codecs: vec![Codec::Pcma, Codec::Pcmu],
            telephone_event: Some(96),
            direction: Direction::SendOnly,
            crypto: Some(Crypto { tag: 3, key: [7; 30] }),
        };
        let remote = Remote::parse(&local.to_text()).unwrap();
        assert_eq!(remote.origin, (5, 2));
        assert_eq!(remote.address, Some(local.address));
        assert_eq!(remote.codecs, local.codecs);
        assert_eq!((remote.formats, remote.telephone_event, remote.lines), (vec![8, 0, 96], Some(96), 1));
        assert_eq!(remote.direction, Direction::SendOnly);
        assert_eq!((remote.is_secure, remote.crypto), (true, local.crypto.clone()));
        let plain = Local { crypto: None, ..local };
        assert!(!Remote::parse(&plain.to_text()).unwrap().is_secure);
    }

    #[test]
    fn the_line_overrides_the_session_and_hold_by_address_has_none() {
        let text = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\na=inactive\r\nt=0 0\r\n\
                    m=video 9 RTP/AVP 96\r\nc=IN IP4 10.0.0.9\r\nm=audio 8 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
        let remote = Remote::parse(text).unwrap();
        assert_eq!((remote.address, remote.direction, remote.lines), (None, Direction::Inactive, 2));
        assert!(Remote::parse("v=0\r\nm=audio x RTP/AVP 0\r\n").unwrap_err().starts_with("m=audio x"));
    }

    #[test]
    fn answers_mirror_offers() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        assert_eq!(SendOnly.answer(SendRecv), RecvOnly);
        assert_eq!(RecvOnly.answer(SendRecv), SendOnly);
        assert_eq!(Inactive.answer(SendRecv), Inactive);
        assert_eq!(SendRecv.answer(SendOnly), SendOnly);
        assert_eq!(SendOnly.answer(SendOnly), Inactive);
    }
}
