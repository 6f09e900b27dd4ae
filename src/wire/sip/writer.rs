//! Writes messages: one buffer, no formatting machinery, no way to smuggle a line in.

use bytes::Bytes;

use super::header::{Header, HeaderName};
use super::method::Method;
use super::status::StatusCode;

/// What can name a header: [`HeaderName`] or a text.
pub trait AsHeaderName {
    /// The name as it is written.
    fn as_header_name(&self) -> &str;
}

impl AsHeaderName for HeaderName {
    fn as_header_name(&self) -> &str {
        self.as_str()
    }
}

impl AsHeaderName for str {
    fn as_header_name(&self) -> &str {
        self
    }
}

impl AsHeaderName for String {
    fn as_header_name(&self) -> &str {
        self
    }
}

impl<N: AsHeaderName + ?Sized> AsHeaderName for &N {
    fn as_header_name(&self) -> &str {
        (**self).as_header_name()
    }
}

/// Room for a request with a body of `body` bytes; a larger one grows the buffer.
const REQUEST_BYTES: usize = 768;
/// Room for a response that is built from nothing.
const RESPONSE_BYTES: usize = 512;

/// A message that is being written. Values lose their control characters, so none can end its line.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    pub(super) buffer: Vec<u8>,
    body: &'b [u8],
}

impl<'b> MessageWriter<'b> {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), body: &[] }
    }

    /// A request.
    #[must_use]
    pub fn request(method: &Method, uri: &str) -> Self {
        let mut writer = Self::with_capacity(REQUEST_BYTES);
        writer.plain(method.as_str().as_bytes());
        writer.buffer.push(b' ');
        writer.plain(uri.as_bytes());
        writer.buffer.extend_from_slice(b" SIP/2.0\r\n");
        writer
    }

    /// A response; without a reason its status' registered phrase.
    #[must_use]
    pub fn response(status: StatusCode, reason: Option<&str>) -> Self {
        let mut writer = Self::with_capacity(RESPONSE_BYTES);
        writer.status_line(status, reason);
        writer
    }

    pub(super) fn status_line(&mut self, status: StatusCode, reason: Option<&str>) {
        self.buffer.extend_from_slice(b"SIP/2.0 ");
        self.integer(u64::from(status.as_u16()));
        self.buffer.push(b' ');
        self.plain(reason.unwrap_or_else(|| status.reason()).as_bytes());
        self.line_end();
    }

    /// A header line.
    pub fn header<N: AsHeaderName + ?Sized>(&mut self, name: &N, value: &str) -> &mut Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// A header line whose value need not be UTF-8. Folds and control characters are dropped.
    pub fn header_bytes<N: AsHeaderName + ?Sized>(&mut self, name: &N, value: &[u8]) -> &mut Self {
        self.begin(name);
        self.plain(value);
        self.line_end();
        self
    }

    /// A header line of several parts, written one after the other.
    pub fn header_parts<N: AsHeaderName + ?Sized>(&mut self, name: &N, parts: &[&str]) -> &mut Self {
        self.begin(name);
        for part in parts {
            self.plain(part.as_bytes());
        }
        self.line_end();
        self
    }

    /// A header line that holds a number.
    pub fn header_number<N: AsHeaderName + ?Sized>(&mut self, name: &N, value: u64) -> &mut Self {
        self.begin(name);
        self.integer(value);
        self.line_end();
        self
    }

    /// CSeq.
    pub fn cseq(&mut self, number: u32, method: &Method) -> &mut Self {
        self.begin(&HeaderName::CSeq);
        self.integer(u64::from(number));
        self.buffer.push(b' ');
        self.plain(method.as_str().as_bytes());
        self.line_end();
        self
    }

    /// A header of a message that was read, its value byte for byte, folds and quoted control characters included.
    pub fn copy(&mut self, header: &Header<'_>) -> &mut Self {
        self.plain(header.raw_name);
        self.buffer.extend_from_slice(b": ");
        self.verbatim(header.value);
        self.line_end();
        self
    }

    /// The body and its Content-Type. A later call replaces the body only.
    pub fn body(&mut self, content_type: &str, body: &'b [u8]) -> &mut Self {
        self.header(&HeaderName::ContentType, content_type);
        self.body = body;
        self
    }

    /// A body whose Content-Type was written (or copied) before.
    pub fn raw_body(&mut self, body: &'b [u8]) -> &mut Self {
        self.body = body;
        self
    }

    /// Ends the head with Content-Length, appends the body, and leaves the writer empty.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        /// Beyond this much unused room a smaller buffer is worth a copy: messages are kept for 32 seconds.
        const SPARE_BYTES: usize = 128;
        self.begin(&HeaderName::ContentLength);
        self.integer(self.body.len() as u64);
        self.buffer.extend_from_slice(b"\r\n\r\n");
        self.buffer.extend_from_slice(self.body);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() - buffer.len() > SPARE_BYTES {
            buffer.shrink_to_fit();
        }
        Bytes::from(buffer)
    }

    fn begin<N: AsHeaderName + ?Sized>(&mut self, name: &N) {
        self.plain(name.as_header_name().as_bytes());
        self.buffer.extend_from_slice(b": ");
    }

    pub(super) fn line_end(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// Text without control characters (horizontal tab excepted).
    pub(super) fn plain(&mut self, text: &[u8]) {
        let control = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
        // Looks at every byte, which the compiler does many at a time; to stop at the first would be one by one.
        if text.iter().fold(false, |found, byte| found | control(byte)) {
            self.buffer.extend(text.iter().filter(|byte| !control(byte)));
        } else {
            self.buffer.extend_from_slice(text);
        }
    }

    /// A value of a parsed message: a CR or LF stays only where it is part of a fold.
    pub(super) fn verbatim(&mut self, value: &[u8]) {
        if memchr::memchr2(b'\r', b'\n', value).is_none() {
            self.buffer.extend_from_slice(value);
            return;
        }
        let mut rest = value;
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(head);
            rest = match tail {
                [b'\r', b'\n', b' ' | b'\t', ..] => {
                    self.line_end();
                    tail.get(2..).unwrap_or_default()
                }
                _ => tail.get(1..).unwrap_or_default(),
            };
        }
        self.buffer.extend_from_slice(rest);
    }

    pub(super) fn integer(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
            used += 1;
            if value == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request() {
        let mut writer = MessageWriter::request(&Method::Invite, "sip:bob@example.com");
        writer
            .header(&HeaderName::Via, "SIP/2.0/UDP h;branch=z9hG4bK1")
            .header_parts(&HeaderName::From, &["<sip:", "a@b", ">;tag=", "1"])
            .header_number(&HeaderName::MaxForwards, 70)
            .cseq(4_294_967_295, &Method::Invite)
            .header("X-Any", "thing")
            .body("application/sdp", b"v=0\r\n");
        let expected = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
            From: <sip:a@b>;tag=1\r\nMax-Forwards: 70\r\nCSeq: 4294967295 INVITE\r\nX-Any: thing\r\n\
            Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";
        assert_eq!(text(&writer.finish()), expected);
    }

    #[test]
    fn no_value_can_end_its_line() {
        let evil = "a\r\nBye: b\n c\r\0d\x7f\te";
        let mut writer = MessageWriter::request(&Method::Options, "sip:a\r\nX: y");
        writer.header(evil, evil).header_bytes("B", evil.as_bytes()).header_parts("C", &[evil]);
        let bytes = writer.body(evil, b"").finish();
        assert_eq!(text(&bytes).matches("\r\n").count(), 7);
        assert_eq!(memchr::memchr_iter(b'\n', &bytes).count(), 7);
        assert_eq!(memchr::memchr_iter(b'\r', &bytes).count(), 7);
        assert!(text(&bytes).contains("B: aBye: b cd\te\r\n"));
        let mut writer = MessageWriter::response(StatusCode::OK, Some(evil));
        assert_eq!(text(&writer.finish()), "SIP/2.0 200 aBye: b cd\te\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn copies_are_exact_but_for_bare_line_ends() {
        let copy = |value: &[u8]| {
            let mut writer = MessageWriter::with_capacity(0);
            writer.copy(&Header { name: HeaderName::Other, raw_name: b"x-Y", value });
            String::from_utf8(writer.buffer).unwrap()
        };
        assert_eq!(copy(b"a\r\n b \r\n\tc\x07"), "x-Y: a\r\n b \r\n\tc\x07\r\n");
        assert_eq!(copy(b"a\nb\rc\r\nd\r\n"), "x-Y: abcd\r\n");
        assert_eq!(copy(b"\r\n \r\nEvil: x"), "x-Y: \r\n Evil: x\r\n");
    }

    #[test]
    fn integers() {
        let of = |value| {
            let mut writer = MessageWriter::with_capacity(0);
            writer.integer(value);
            String::from_utf8(writer.buffer).unwrap()
        };
        for value in [0, 9, 10, 99, 100, 65_535, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(of(value), value.to_string());
        }
    }
}
