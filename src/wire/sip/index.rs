//! One pass over the bytes of a message: where each header stands, and what is wrong with the framing.
//!
//! Nothing is copied and nothing typed: a slot of eight bytes per header line, one allocation for all of them.
//! Lines end with CRLF and nothing else (RFC 3261 7): a bare CR or LF is a fault that `check` reports, so that no
//! element behind us can see other lines than we did.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::check::Violation;
use super::header::HeaderName;
use super::lex;
use super::message::Message;
use super::method::Method;
use super::status::StatusCode;

/// Upper bounds of one message; what exceeds them is refused before it is looked at further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The whole message. A datagram cannot be longer than 65,535 bytes.
    pub message_bytes: usize,
    /// Start line and headers; never more than 65,535 (slots hold 16 bits). The longest message of RFC 4475 has 3.4 KB.
    pub head_bytes: usize,
    /// Header lines. RFC 4475's longest has 42.
    pub headers: usize,
    /// One header line with its folds. Identity (RFC 8224) needs about 1 KB.
    pub line_bytes: usize,
    /// Commas in the head: a bound on the values of all lists together.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 65_535, head_bytes: 16_384, headers: 128, line_bytes: 8_192, values: 512 }
    }
}

/// Where one header line stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) name_start: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    pub(super) name_len: u8,
    pub(super) name: HeaderName,
}

/// The first line.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request { uri: (u16, u16) },
    Response { status: StatusCode, reason: (u16, u16) },
}

/// The index that a [`Message`] shares.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) bytes: Bytes,
    pub(super) slots: SmallVec<[Slot; 24]>,
    /// Names that occur, and names that occur more than once.
    pub(super) present: u128,
    pub(super) repeated: u128,
    pub(super) method: Method,
    pub(super) start: StartLine,
    pub(super) body: (usize, usize),
    /// The first fault of the grammar that was met on the way; `Message::check` reports it.
    pub(super) fault: Option<Violation>,
}

/// What is wrong with the framing of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseErrorKind {
    /// The first line is neither a request line nor a status line.
    #[error("the first line is not SIP")]
    StartLine,
    /// No empty line ends the headers (RFC 3261 7).
    #[error("the empty line behind the headers is missing")]
    HeadEnd,
    /// [`Limits::message_bytes`] or [`Limits::head_bytes`].
    #[error("the message is too long")]
    TooLong,
    /// [`Limits::headers`].
    #[error("too many header lines")]
    TooManyHeaders,
    /// [`Limits::line_bytes`], or a name of more than 255 bytes.
    #[error("a header line is too long")]
    LineTooLong,
    /// [`Limits::values`].
    #[error("too many values in lists")]
    TooManyValues,
    /// Content-Length is no number, or there are two.
    #[error("Content-Length is no number, or not the only one")]
    ContentLength,
    /// The body is shorter than Content-Length says (RFC 3261 18.3).
    #[error("the body is shorter than Content-Length says")]
    BodyTooShort,
}

/// Why bytes are not a message, where, and what can be answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct ParseError {
    /// What.
    pub kind: ParseErrorKind,
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What could be read, if it is a request that can be answered with [`ParseError::status`].
    pub reply: Option<Box<Message>>,
}

impl ParseError {
    /// The answer to `reply`.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.kind {
            ParseErrorKind::TooLong
            | ParseErrorKind::TooManyHeaders
            | ParseErrorKind::LineTooLong
            | ParseErrorKind::TooManyValues => StatusCode::MESSAGE_TOO_LARGE,
            ParseErrorKind::StartLine
            | ParseErrorKind::HeadEnd
            | ParseErrorKind::ContentLength
            | ParseErrorKind::BodyTooShort => StatusCode::BAD_REQUEST,
        }
    }

    const fn bare(kind: ParseErrorKind, offset: usize) -> Self {
        Self { kind, offset, reply: None }
    }
}

/// Reads a whole datagram (RFC 3261 18.3): what follows the body that Content-Length declares is dropped, and
/// empty lines before the first are skipped as on a stream (RFC 3261 7.5).
pub(super) fn parse(mut bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    while bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
    read(bytes, limits, Index::frame)
}

/// Reads start line and headers alone, up to the empty line where the bytes end.
pub(super) fn parse_head(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    read(bytes, limits, |_, _, _, _| Ok(()))
}

/// Finds the body behind the head.
type Frame = fn(&mut Index, bytes: &[u8], body: usize, limits: &Limits) -> Result<(), ParseError>;

fn read(bytes: Bytes, limits: &Limits, frame: Frame) -> Result<Message, ParseError> {
    let mut index = Index {
        slots: SmallVec::new(),
        present: 0,
        repeated: 0,
        method: Method::Options,
        start: StartLine::Request { uri: (0, 0) },
        body: (0, 0),
        fault: None,
        bytes,
    };
    // The handle shares the bytes; it lets the scan borrow them while it fills the index.
    let bytes = index.bytes.clone();
    match index.scan(&bytes, limits).and_then(|body| frame(&mut index, &bytes, body, limits)) {
        Ok(()) => Ok(Message::over(index)),
        Err(ParseError { kind, offset, .. }) => {
            let message = Message::over(index);
            let reply = message.can_be_answered().then(|| Box::new(message));
            Err(ParseError { kind, offset, reply })
        }
    }
}

impl Index {
    /// Reads start line and headers and returns where the body begins.
    fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, ParseError> {
        let headers = self.start_line(bytes)?;
        let body = self.header_lines(bytes, headers, limits)?;
        if !self.is_request() {
            self.method = self
                .value_of(bytes, HeaderName::CSeq)
                .and_then(super::message::cseq)
                .map_or_else(|| Method::Other("".into()), |cseq| cseq.method);
        }
        let head = bytes.get(..body).unwrap_or_default();
        let ends = memchr::memchr_iter(b'\n', head).count();
        // Every LF was seen behind a CR or is a fault already, so a surplus of CR is one that stands alone.
        if memchr::memchr_iter(b'\r', head).count() != ends {
            self.fault("a line does not end with CRLF", None);
        }
        if memchr::memchr_iter(b',', head).count() > limits.values {
            return Err(ParseError::bare(ParseErrorKind::TooManyValues, body));
        }
        Ok(body)
    }

    const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// Notes a fault of the grammar; the first one counts.
    fn fault(&mut self, reason: &'static str, header: Option<HeaderName>) {
        self.fault.get_or_insert(Violation { status: StatusCode::BAD_REQUEST, reason, header });
    }

    /// Reads the first line and returns where the next begins.
    fn start_line(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        const MALFORMED: ParseError = ParseError::bare(ParseErrorKind::StartLine, 0);
        // A first line that does not fit 16 bits is none of ours.
        let window = bytes.get(..bytes.len().min(u16::MAX.into())).unwrap_or_default();
        let end = memchr::memchr(b'\n', window).ok_or(MALFORMED)?;
        let mut line = window.get(..end).unwrap_or_default();
        match line {
            [text @ .., b'\r'] => line = text,
            _ => self.fault("a line does not end with CRLF", None),
        }
        if line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/")) {
            self.status_line(line).ok_or(MALFORMED)?;
        } else {
            self.request_line(line).ok_or(MALFORMED)?;
        }
        Ok(end + 1)
    }

    /// `SIP-Version SP Status-Code SP Reason-Phrase`; the last space is dispensable, the phrase may be empty.
    fn status_line(&mut self, line: &[u8]) -> Option<()> {
        let space = memchr::memchr(b' ', line)?;
        self.version(line.get(..space)?);
        let code = line.get(space + 1..space + 4)?;
        let status = u16::try_from(lex::number(code, 699)?).ok().and_then(StatusCode::new)?;
        match line.get(space + 4) {
            None | Some(b' ') => {}
            Some(_) => return None,
        }
        let reason = (space + 5).min(line.len());
        self.start = StartLine::Response { status, reason: (position(reason), position(line.len())) };
        Some(())
    }

    /// `Method SP Request-URI SP SIP-Version`. Surplus white space is a fault, but one that can be answered.
    fn request_line(&mut self, line: &[u8]) -> Option<()> {
        let first = memchr::memchr(b' ', line)?;
        let trimmed = lex::trim(line);
        if trimmed.len() != line.len() {
            self.fault("white space at the end of the request line", None);
        }
        let last = memchr::memrchr(b' ', trimmed)?;
        self.method = Method::from_bytes(line.get(..first)?)?;
        let version = trimmed.get(last + 1..)?;
        if !version.get(..4)?.eq_ignore_ascii_case(b"SIP/") {
            return None;
        }
        self.version(version);
        let uri = line.get(first + 1..last.max(first + 1))?;
        let inner = lex::trim(uri);
        if inner.is_empty() || uri.iter().any(|byte| lex::is_space(*byte)) {
            self.fault("white space in the request line", None);
        }
        let start = first + 1 + uri.iter().take_while(|byte| lex::is_space(**byte)).count();
        self.start = StartLine::Request { uri: (position(start), position(start + inner.len())) };
        Some(())
    }

    fn version(&mut self, version: &[u8]) {
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            // Ahead of other faults: what else the line holds follows rules that we do not know.
            self.fault = Some(Violation {
                status: StatusCode::VERSION_NOT_SUPPORTED,
                reason: "the version is not SIP/2.0",
                header: None,
            });
        }
    }

    /// Indexes the header lines from `at` and returns where the body begins.
    fn header_lines(&mut self, bytes: &[u8], mut at: usize, limits: &Limits) -> Result<usize, ParseError> {
        let longest_head = limits.head_bytes.min(u16::MAX.into());
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let mut end = line_end(rest, 0).ok_or(ParseError::bare(ParseErrorKind::HeadEnd, at))?;
            match rest {
                [b'\r', b'\n', ..] => return Ok(at + 2),
                [b'\n', ..] => {
                    self.fault("a line does not end with CRLF", None);
                    return Ok(at + 1);
                }
                _ => {}
            }
            while let Some(b' ' | b'\t') = rest.get(end + 1) {
                end = line_end(rest, end + 1).ok_or(ParseError::bare(ParseErrorKind::HeadEnd, at))?;
            }
            if end > limits.line_bytes {
                return Err(ParseError::bare(ParseErrorKind::LineTooLong, at));
            }
            if at + end >= longest_head {
                return Err(ParseError::bare(ParseErrorKind::TooLong, at));
            }
            if self.slots.len() >= limits.headers {
                return Err(ParseError::bare(ParseErrorKind::TooManyHeaders, at));
            }
            self.header_line(rest.get(..end).unwrap_or_default(), at)?;
            at += end + 1;
        }
    }

    /// Indexes one header line, folds included, LF excluded.
    fn header_line(&mut self, line: &[u8], at: usize) -> Result<(), ParseError> {
        if line.last() != Some(&b'\r') {
            self.fault("a line does not end with CRLF", None);
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            self.fault("a header line without a colon", None);
            return Ok(());
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
        // White space before the colon is legal (HCOLON of RFC 3261 25.1) and is no part of the name, here and for good.
        let name = lex::trim_end(name);
        if !lex::is_token(name) {
            self.fault("a header name is no token", None);
            return Ok(());
        }
        let name_len =
            u8::try_from(name.len()).map_err(|_| ParseError::bare(ParseErrorKind::LineTooLong, at))?;
        let value = value.get(1..).unwrap_or_default();
        let inner = lex::trim(value);
        let start = at + colon + 1 + value.iter().take_while(|byte| lex::is_space(**byte)).count();
        let name = HeaderName::from_bytes(name);
        self.repeated |= self.present & name.bit();
        self.present |= name.bit();
        self.slots.push(Slot {
            name_start: position(at),
            value_start: position(start),
            value_end: position(start + inner.len()),
            name_len,
            name,
        });
        Ok(())
    }

    fn value_of<'a>(&self, bytes: &'a [u8], name: HeaderName) -> Option<&'a [u8]> {
        let slot = self.slots.iter().find(|slot| slot.name == name)?;
        bytes.get(slot.value_start.into()..slot.value_end.into())
    }

    /// Finds the end of the body (RFC 3261 18.3) and cuts what follows.
    fn frame(&mut self, bytes: &[u8], body: usize, limits: &Limits) -> Result<(), ParseError> {
        let error = |kind| Err(ParseError::bare(kind, body));
        let end = match self.value_of(bytes, HeaderName::ContentLength) {
            None => bytes.len(),
            Some(_) if self.repeated & HeaderName::ContentLength.bit() != 0 => {
                return error(ParseErrorKind::ContentLength);
            }
            Some(text) => {
                match lex::number(text, u64::from(u32::MAX)).and_then(|n| usize::try_from(n).ok()) {
                    Some(length) => body.saturating_add(length),
                    None => return error(ParseErrorKind::ContentLength),
                }
            }
        };
        if end > bytes.len() {
            return error(ParseErrorKind::BodyTooShort);
        }
        if end > limits.message_bytes {
            return error(ParseErrorKind::TooLong);
        }
        self.body = (body, end);
        self.bytes.truncate(end);
        Ok(())
    }
}

/// The position of the next LF at or behind `from`.
fn line_end(text: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', text.get(from..)?).map(|at| from + at)
}

/// A position in the head, which `header_lines` and `start_line` keep below 2^16.
fn position(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, limits: &Limits) -> Result<Message, ParseError> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), limits)
    }

    fn kind(text: &str, limits: &Limits) -> Option<ParseErrorKind> {
        parse(text, limits).err().map(|error| error.kind)
    }

    #[test]
    fn first_lines() {
        let limits = Limits::default();
        let good = parse("\r\n\r\nNEW sip:a@b sip/2.0\r\n\r\n", &limits).unwrap();
        assert_eq!((good.method().as_str(), good.uri()), ("NEW", "sip:a@b"));
        for (line, phrase) in
            [("SIP/2.0 200 OK, good", "OK, good"), ("SIP/2.0 200 ", ""), ("SIP/2.0 200", "")]
        {
            let good = parse(&format!("{line}\r\n\r\n"), &limits).unwrap();
            assert_eq!((good.status(), good.reason_phrase()), (Some(StatusCode::OK), phrase));
            assert_eq!(good.method(), &Method::Other("".into()), "no CSeq");
        }
        for bad in [
            "",
            "\r\n",
            "x",
            "INVITE\r\n\r\n",
            "INVITE sip:a\r\n\r\n",
            "INVITE sip:a HTTP/1.1\r\n\r\n",
            " INVITE sip:a SIP/2.0\r\n\r\n",
            "INV(TE sip:a SIP/2.0\r\n\r\n",
            "SIP/2.0 99 x\r\n\r\n",
            "SIP/2.0 700 x\r\n\r\n",
            "SIP/2.0 2000 x\r\n\r\n",
            "SIP/2.0 20 x\r\n\r\n",
            "SIP/2.0\r\n\r\n",
            "SIP/2.0 \r\n\r\n",
        ] {
            assert_eq!(kind(bad, &limits), Some(ParseErrorKind::StartLine), "{bad:?}");
        }
        assert_eq!(kind("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n", &limits), Some(ParseErrorKind::HeadEnd));
    }

    #[test]
    fn caps() {
        let head = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n";
        let limits = Limits { message_bytes: 400, head_bytes: 300, headers: 4, line_bytes: 100, values: 5 };
        let of = |rest: &str| kind(&format!("{head}{rest}"), &limits);
        assert_eq!(of("\r\n"), None);
        assert_eq!(of("a: 1\r\nb: 2\r\nc: 3\r\n\r\n"), None);
        assert_eq!(of("a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n"), Some(ParseErrorKind::TooManyHeaders));
        assert_eq!(of(&format!("a: {}\r\n\r\n", "x".repeat(98))), Some(ParseErrorKind::LineTooLong));
        assert_eq!(
            of(&format!("a: {}\r\n {}\r\n\r\n", "x".repeat(60), "x".repeat(60))),
            Some(ParseErrorKind::LineTooLong)
        );
        assert_eq!(of("a: ,,,\r\nb: ,,,\r\n\r\n"), Some(ParseErrorKind::TooManyValues));
        let long = format!("a: {0}\r\nb: {0}\r\nc: {0}\r\n\r\n", "x".repeat(90));
        assert_eq!(of(&long), Some(ParseErrorKind::TooLong));
        assert_eq!(of(&format!("\r\n{}", "x".repeat(400))), Some(ParseErrorKind::TooLong));
        assert_eq!(
            kind(&format!("{head}{}: x\r\n\r\n", "n".repeat(256)), &Limits::default()),
            Some(ParseErrorKind::LineTooLong)
        );
        let error = parse(&format!("{head}{long}"), &limits).unwrap_err();
        assert_eq!(error.status(), StatusCode::MESSAGE_TOO_LARGE);
        assert!(
            error.reply.is_some_and(|reply| reply.via().is_ok()),
            "what was read until then can be answered"
        );
        // Offsets are 16 bits: whatever the limits say, no head goes beyond.
        let vast = Limits {
            message_bytes: usize::MAX,
            head_bytes: usize::MAX,
            headers: usize::MAX,
            line_bytes: usize::MAX,
            values: usize::MAX,
        };
        let text = format!("{head}a: {}\r\nb: 1\r\n\r\n", "x".repeat(65_480));
        assert_eq!(kind(&text, &vast), Some(ParseErrorKind::TooLong));
        assert_eq!(kind(&"x".repeat(100_000), &vast), Some(ParseErrorKind::StartLine));
    }

    #[test]
    fn bodies() {
        let limits = Limits::default();
        let body = |rest: &str| {
            parse(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{rest}"), &limits).map(|m| m.body())
        };
        assert_eq!(body("\r\nall of it").unwrap(), "all of it");
        assert_eq!(body("l: 3\r\n\r\nall of it").unwrap(), "all");
        assert_eq!(body("l : 0\r\n\r\nall of it").unwrap(), "");
        assert_eq!(body("l: 10\r\n\r\nall of it").unwrap_err().kind, ParseErrorKind::BodyTooShort);
        assert_eq!(body("l: 18446744073709551616\r\n\r\n").unwrap_err().kind, ParseErrorKind::ContentLength);
        assert_eq!(body("l: 4294967295\r\n\r\n").unwrap_err().kind, ParseErrorKind::BodyTooShort);
        assert_eq!(body("l: 1\r\nl: 1\r\n\r\nx").unwrap_err().kind, ParseErrorKind::ContentLength);
        // ACK is never answered.
        let ack = parse("ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nl: 9\r\n\r\n", &limits).unwrap_err();
        assert!(ack.reply.is_none());
    }

    #[test]
    fn a_space_before_the_colon_is_no_part_of_the_name() {
        let message =
            parse("OPTIONS sip:a SIP/2.0\r\nX-A \t: 1\r\nVIA :  x \r\n\r\n", &Limits::default()).unwrap();
        assert_eq!(
            message.other("x-a").map(|header| (header.raw_name, header.value)),
            Some((&b"X-A"[..], &b"1"[..]))
        );
        let via = message.header(HeaderName::Via).unwrap();
        assert_eq!((via.raw_name, via.value), (&b"VIA"[..], &b"x"[..]));
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 8);
        assert_eq!(size_of::<Message>(), size_of::<usize>());
    }
}
