//! Reading: one pass over the lines, no copies, every count capped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::line::Span;
use super::media::Section;
use super::{Attribute, Host, Kind, Line, OriginSpans, Protocol, Sdp};

/// Caps of the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole description. Browsers with many candidates send up to 10 KB.
    pub bytes: usize,
    /// Lines of a whole description.
    pub lines: usize,
    /// `m=` lines.
    pub media: usize,
    /// Formats of one `m=` line.
    pub formats: usize,
}

impl Limits {
    /// No caps, for text of our own or text that was read before.
    pub const NONE: Self =
        Self { bytes: usize::MAX, lines: usize::MAX, media: usize::MAX, formats: usize::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, lines: 512, media: 16, formats: 64 }
    }
}

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct SdpError {
    /// Counted from 1, blank lines included.
    pub line: u32,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than [`Limits::bytes`].
    #[error("description too long")]
    TooLong,
    /// More lines than [`Limits::lines`].
    #[error("too many lines")]
    TooManyLines,
    /// More than [`Limits::media`].
    #[error("too many media lines")]
    TooManyMedia,
    /// More than [`Limits::formats`].
    #[error("too many formats")]
    TooManyFormats,
    /// Not `letter=value`.
    #[error("not of the form letter=value")]
    Form,
    /// A control character: another reader might see a line end there.
    #[error("control character")]
    Control,
    /// The first line is not `v=0`.
    #[error("does not start with v=0")]
    Version,
    /// No `o=` line, or a second one.
    #[error("origin missing or repeated")]
    Origin,
    /// A malformed `o=` line.
    #[error("malformed origin")]
    OriginForm,
    /// A malformed `c=` line, or an address that is none.
    #[error("malformed connection")]
    Connection,
    /// A malformed `m=` line, or a port out of range.
    #[error("malformed media line")]
    Media,
}

/// Lines of an ordinary phone's offer, so that most descriptions take one allocation for them.
const USUAL_LINES: usize = 32;

pub(super) fn parse(bytes: Bytes, limits: &Limits) -> Result<Sdp, SdpError> {
    if bytes.len() > limits.bytes.min(u32::MAX as usize) {
        return Err(SdpError { line: 1, fault: Fault::TooLong });
    }
    let mut sdp = Sdp {
        lines: Vec::with_capacity(USUAL_LINES.min(bytes.len() / 4)),
        sections: Vec::with_capacity(2),
        bytes: Bytes::new(),
        origin: OriginSpans::default(),
        connection: None,
        direction: None,
    };
    let (mut seen_origin, mut start, mut number) = (false, 0, 0);
    let suspicion = Suspicion::of(&bytes);
    while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        number += 1;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let text = rest.get(..length).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let span = Span { start: start as u32, end: (start + text.len()) as u32 };
        start += length + 1;
        if !text.is_empty() {
            let at = |fault| SdpError { line: number, fault };
            if suspicion == Suspicion::Control && has_control(text) {
                return Err(at(Fault::Control));
            }
            sdp.take(text, span, limits, &mut seen_origin).map_err(at)?;
        }
    }
    if !seen_origin {
        return Err(SdpError { line: number.max(1), fault: Fault::Origin });
    }
    let count = sdp.lines.len() as u16;
    if let Some(last) = sdp.sections.last_mut() {
        last.end = count;
    }
    sdp.bytes = bytes;
    Ok(sdp)
}

/// What one pass over the whole text, quick because it never branches, tells about control characters in its lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    None,
    Control,
}

impl Suspicion {
    fn of(text: &[u8]) -> Self {
        // A return is harmless before a newline alone: there must be no more returns than such pairs.
        let odd = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n')) || byte == 0x7f;
        let is_odd = text.iter().fold(false, |found, byte| found | odd(*byte));
        let returns: usize = text.iter().map(|byte| usize::from(*byte == b'\r')).sum();
        let pairs: usize = text.windows(2).map(|pair| usize::from(pair == b"\r\n")).sum();
        if is_odd || returns != pairs { Self::Control } else { Self::None }
    }
}

fn has_control(text: &[u8]) -> bool {
    text.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
}

impl Sdp {
    fn take(
        &mut self,
        text: &[u8],
        span: Span,
        limits: &Limits,
        seen_origin: &mut bool,
    ) -> Result<(), Fault> {
        let [letter, b'=', value @ ..] = text else { return Err(Fault::Form) };
        if !letter.is_ascii_alphabetic() {
            return Err(Fault::Form);
        }
        if self.lines.is_empty() && text != b"v=0" {
            return Err(Fault::Version);
        }
        if self.lines.len() >= limits.lines.min(usize::from(u16::MAX)) {
            return Err(Fault::TooManyLines);
        }
        let attribute = match letter {
            b'a' => Attribute::from_name(value.split(|byte| *byte == b':').next().unwrap_or_default()),
            _ => Attribute::Other,
        };
        match letter {
            b'o' => {
                if std::mem::replace(seen_origin, true) || !self.sections.is_empty() {
                    return Err(Fault::Origin);
                }
                self.origin = origin(value, span.start + 2).ok_or(Fault::OriginForm)?;
            }
            b'c' => {
                let host = connection(value).ok_or(Fault::Connection)?;
                match self.sections.last_mut() {
                    Some(section) => section.connection.get_or_insert(host),
                    None => self.connection.get_or_insert(host),
                };
            }
            b'm' => self.open_section(value, span.start + 2, limits)?,
            _ => {}
        }
        if let Attribute::Direction(direction) = attribute {
            match self.sections.last_mut() {
                Some(section) => section.direction.get_or_insert(direction),
                None => self.direction.get_or_insert(direction),
            };
        }
        self.lines.push(Line { span, letter: *letter, attribute });
        Ok(())
    }

    fn open_section(&mut self, value: &[u8], offset: u32, limits: &Limits) -> Result<(), Fault> {
        if self.sections.len() >= limits.media {
            return Err(Fault::TooManyMedia);
        }
        let line = self.lines.len() as u16;
        if let Some(last) = self.sections.last_mut() {
            last.end = line;
        }
        let mut fields = Fields { text: value, at: 0 };
        let (kind, kind_name) = fields.next().ok_or(Fault::Media)?;
        let (port, _) = fields.next().ok_or(Fault::Media)?;
        let (protocol, protocol_name) = fields.next().ok_or(Fault::Media)?;
        let formats = fields.rest();
        let text = value.get(formats.start as usize..formats.end as usize).unwrap_or_default();
        match words(text).count() {
            0 => return Err(Fault::Media),
            count if count > limits.formats => return Err(Fault::TooManyFormats),
            _ => {}
        }
        let (port, ports) = port_and_count(port).ok_or(Fault::Media)?;
        let shifted = |span: Span| Span { start: span.start + offset, end: span.end + offset };
        self.sections.push(Section {
            first: line,
            end: line + 1,
            kind: Kind::from_name(kind),
            protocol: Protocol::from_name(protocol),
            port,
            ports,
            kind_name: shifted(kind_name),
            protocol_name: shifted(protocol_name),
            formats: shifted(formats),
            connection: None,
            direction: None,
        });
        Ok(())
    }
}

/// Words separated by blanks, with their places.
struct Fields<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<(&'a [u8], Span)> {
        self.skip_blanks();
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        let word = rest.get(..length).filter(|word| !word.is_empty())?;
        let span = Span { start: self.at as u32, end: (self.at + length) as u32 };
        self.at += length;
        Some((word, span))
    }

    /// What is left, without blanks around it.
    fn rest(&mut self) -> Span {
        self.skip_blanks();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
        Span { start: self.at as u32, end: (self.at + length) as u32 }
    }

    fn skip_blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| is_blank(*byte)) {
            self.at += 1;
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Non-empty words of `text`.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty())
}

/// Decimal digits alone, no sign, within `u32`.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    u32::try_from(value).ok()
}

/// An RTP payload type: 0 to 127.
#[must_use]
pub fn payload_number(text: &[u8]) -> Option<u8> {
    decimal(text).and_then(|number| u8::try_from(number).ok()).filter(|number| *number < 128)
}

fn port_number(text: &[u8]) -> Option<u16> {
    decimal(text).and_then(|port| u16::try_from(port).ok())
}

/// `49170` or `49170/2`.
fn port_and_count(text: &[u8]) -> Option<(u16, u16)> {
    match memchr::memchr(b'/', text) {
        None => Some((port_number(text)?, 1)),
        Some(slash) => Some((port_number(text.get(..slash)?)?, port_number(text.get(slash + 1..)?)?)),
    }
}

/// `jdoe 2890844526 2890842807 IN IP4 10.47.16.5`. Its address is never used, so it may be anything.
fn origin(value: &[u8], offset: u32) -> Option<OriginSpans> {
    let mut fields = Fields { text: value, at: 0 };
    let mut next = || {
        let (word, span) = fields.next()?;
        Some((word, Span { start: span.start + offset, end: span.end + offset }))
    };
    let (_, username) = next()?;
    let (_, session_id) = next()?;
    let (_, version) = next()?;
    for _ in 0..3 {
        next()?;
    }
    next().is_none().then_some(OriginSpans { username, session_id, version })
}

/// `IN IP4 10.1.2.3`, `IN IP4 224.2.36.42/127`, `IN IP6 2001:db8::1`.
fn connection(value: &[u8]) -> Option<Host> {
    let mut words = words(value);
    let (net, family, host) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    if !net.eq_ignore_ascii_case(b"IN") {
        return Some(Host::Name);
    }
    address(family, host)
}

fn address(family: &[u8], host: &[u8]) -> Option<Host> {
    let text = std::str::from_utf8(host).ok()?;
    let text = text.split('/').next().unwrap_or_default();
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if family.eq_ignore_ascii_case(b"IP4") {
        return match text.parse::<Ipv4Addr>() {
            Ok(address) => Some(Host::Address(IpAddr::V4(address))),
            Err(_) if numeric => None,
            Err(_) => Some(Host::Name),
        };
    }
    if family.eq_ignore_ascii_case(b"IP6") {
        return match text.parse::<Ipv6Addr>() {
            Ok(address) => Some(Host::Address(IpAddr::V6(address).to_canonical())),
            Err(_) if numeric || text.contains(':') => None,
            Err(_) => Some(Host::Name),
        };
    }
    Some(Host::Name)
}

/// The value of `a=rtcp`: `53020` or `53020 IN IP4 126.16.64.4`.
pub(super) fn rtcp(value: &[u8]) -> Option<(u16, Option<Host>)> {
    let mut words = words(value);
    let port = port_number(words.next()?)?;
    let Some(net) = words.next() else { return Some((port, None)) };
    let (family, host) = (words.next()?, words.next()?);
    if !net.eq_ignore_ascii_case(b"IN") || words.next().is_some() {
        return None;
    }
    Some((port, Some(address(family, host)?)))
}
