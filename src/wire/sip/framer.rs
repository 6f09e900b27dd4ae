//! Cuts a byte stream into messages (RFC 3261 18.3, RFC 5626 3.5.1).
//!
//! On a stream Content-Length alone says where a message ends, so there must be exactly one, of digits only and
//! within the limit. Anything else desynchronises both sides: it is an error, and the connection must be closed.

use bytes::{Buf, Bytes, BytesMut};

use super::header::HeaderName;
use super::index::Limits;
use super::lex;
use super::message::Message;
use super::status::StatusCode;

/// What a stream brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// A double CRLF: answer with one (RFC 5626 3.5.1).
    Ping,
    /// A single CRLF: the answer to a ping of ours.
    Pong,
}

/// What is wrong with a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameErrorKind {
    /// No Content-Length, so the end of the message is unknown.
    #[error("no Content-Length")]
    NoContentLength,
    /// Content-Length is no number, or there are two.
    #[error("Content-Length is no number, or not the only one")]
    ContentLength,
    /// The head or the whole message exceeds the limits.
    #[error("the message is too long")]
    TooLong,
    /// The first line is no SIP.
    #[error("the stream is not SIP")]
    NotSip,
}

/// Why a stream cannot be read any further. Answer `reply` if it is there, then close.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct FrameError {
    /// What.
    pub kind: FrameErrorKind,
    /// The head of the message, if it is a request that can be answered.
    pub reply: Option<Box<Message>>,
}

impl FrameError {
    /// The answer to `reply`.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.kind {
            FrameErrorKind::TooLong => StatusCode::MESSAGE_TOO_LARGE,
            FrameErrorKind::NoContentLength | FrameErrorKind::ContentLength | FrameErrorKind::NotSip => {
                StatusCode::BAD_REQUEST
            }
        }
    }
}

/// The receiving half of one connection.
#[derive(Debug)]
pub struct StreamFramer {
    buffer: BytesMut,
    limits: Limits,
    /// The buffer up to here was searched for the end of the head, in vain.
    searched: usize,
    /// The length of the message at the front, once its head was read.
    expected: Option<usize>,
    /// The last bytes were a single CRLF.
    half_ping: bool,
    /// An error ends the stream.
    failed: bool,
}

impl StreamFramer {
    /// For a new connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, searched: 0, expected: None, half_ping: false, failed: false }
    }

    /// Takes what was read. Call [`StreamFramer::next_frame`] until it is empty before reading more: only then is
    /// what is held bounded by the limits plus one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The buffer to read into, for a reader that appends to it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a message has begun and is not whole; a connection must not stay like this for long.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message or keep-alive; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the stream cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.failed {
            return Ok(None);
        }
        if let Some(keep_alive) = self.keep_alive() {
            return Ok(Some(keep_alive));
        }
        self.message().inspect_err(|_| {
            self.failed = true;
            self.buffer = BytesMut::new();
        })
    }

    /// CRLFs between messages (RFC 3261 7.5, RFC 5626 3.5.1).
    fn keep_alive(&mut self) -> Option<Frame> {
        if self.expected.is_some() {
            return None;
        }
        let (length, frame) = match self.buffer.as_ref() {
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Frame::Ping),
            [b'\r', b'\n', b'\r'] => return None,
            // The second half of a ping that the network cut in two; the first half passed for a pong.
            [b'\r', b'\n', ..] if self.half_ping => (2, Frame::Ping),
            [b'\r', b'\n', ..] => (2, Frame::Pong),
            [] | [b'\r'] => return None,
            _ => {
                self.half_ping = false;
                return None;
            }
        };
        self.buffer.advance(length);
        self.half_ping = frame == Frame::Pong && self.buffer.is_empty();
        self.searched = 0;
        Some(frame)
    }

    fn message(&mut self) -> Result<Option<Frame>, FrameError> {
        let expected = match self.expected {
            Some(expected) => expected,
            None => match self.head_end()? {
                Some(head) => self.read_length(head)?,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < expected {
            self.expected = Some(expected);
            return Ok(None);
        }
        (self.expected, self.searched) = (None, 0);
        Ok(Some(Frame::Message(self.buffer.split_to(expected).freeze())))
    }

    /// Where the body begins, searching on from where the last search ended.
    fn head_end(&mut self) -> Result<Option<usize>, FrameError> {
        let error = |kind| Err(FrameError { kind, reply: None });
        // A TLS hello, an HTTP request and the like are recognised by their first bytes, not at the cap.
        if self.buffer.first().is_some_and(|byte| !lex::is_token_byte(*byte) && *byte != b'\r') {
            return error(FrameErrorKind::NotSip);
        }
        let mut from = self.searched;
        while let Some(at) =
            memchr::memchr(b'\n', self.buffer.get(from..).unwrap_or_default()).map(|at| from + at)
        {
            match self.buffer.get(at + 1..) {
                Some([b'\r', b'\n', ..]) => return Ok(Some(at + 3)),
                Some([b'\n', ..]) => return Ok(Some(at + 2)),
                Some([] | [b'\r']) | None => {
                    from = at;
                    break;
                }
                Some(_) => from = at + 1,
            }
        }
        self.searched = from;
        if self.buffer.len() > self.limits.head_bytes {
            return error(FrameErrorKind::TooLong);
        }
        Ok(None)
    }

    /// The length of the whole message whose head ends at `head`.
    fn read_length(&self, head: usize) -> Result<usize, FrameError> {
        let bytes = Bytes::copy_from_slice(self.buffer.get(..head).unwrap_or_default());
        let error = |kind, message: Option<Message>| {
            let reply = message.filter(Message::can_be_answered).map(Box::new);
            Err(FrameError { kind, reply })
        };
        let message = match super::index::parse_head(bytes, &self.limits) {
            Ok(message) => message,
            Err(failure) => {
                let kind = match failure.kind {
                    super::ParseErrorKind::StartLine => FrameErrorKind::NotSip,
                    _ => FrameErrorKind::TooLong,
                };
                return Err(FrameError { kind, reply: failure.reply });
            }
        };
        let mut lengths = message.all(HeaderName::ContentLength);
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => return error(FrameErrorKind::NoContentLength, Some(message.clone())),
            (Some(length), None) => lex::number(length.value, u64::from(u32::MAX)),
            (Some(_), Some(_)) => None,
        };
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return error(FrameErrorKind::ContentLength, Some(message.clone()));
        };
        match head.checked_add(length) {
            Some(whole) if whole <= self.limits.message_bytes => Ok(whole),
            _ => error(FrameErrorKind::TooLong, Some(message.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(parts: &[&str]) -> Result<Vec<Frame>, FrameErrorKind> {
        let mut framer = StreamFramer::new(Limits::default());
        let mut frames = Vec::new();
        for part in parts {
            framer.push(part.as_bytes());
            while let Some(frame) = framer.next_frame().map_err(|error| error.kind)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn message(text: &'static str) -> Frame {
        Frame::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn messages_and_keep_alives() {
        const ONE: &str = "OPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nhi";
        assert_eq!(frames(&[ONE]), Ok(vec![message(ONE)]));
        let both = [ONE, ONE].concat();
        for at in 0..both.len() {
            let (front, back) = both.split_at(at);
            assert_eq!(frames(&[front, back]), Ok(vec![message(ONE), message(ONE)]), "cut at {at}");
        }
        assert_eq!(frames(&["\r\n\r\n", ONE]), Ok(vec![Frame::Ping, message(ONE)]));
        assert_eq!(frames(&["\r\n", ONE]), Ok(vec![Frame::Pong, message(ONE)]));
        assert_eq!(frames(&["\r", "\n", "\r", "\n"]), Ok(vec![Frame::Pong, Frame::Ping]));
        assert_eq!(frames(&["\r\n\r", "\n"]), Ok(vec![Frame::Ping]));
        assert_eq!(frames(&["\r\n\r\n\r\n"]), Ok(vec![Frame::Ping, Frame::Pong]));
    }

    #[test]
    fn what_cannot_be_framed_ends_the_stream() {
        let of = |headers: &str| frames(&[&format!("OPTIONS sip:a SIP/2.0\r\n{headers}\r\n\r\n")]).err();
        assert_eq!(of("Via: x"), Some(FrameErrorKind::NoContentLength));
        assert_eq!(of("l: 0\r\nContent-Length: 0"), Some(FrameErrorKind::ContentLength));
        for bad in ["-1", "+1", "1 2", "0x1", "", "1,1", "99999999999999999999", "4294967296"] {
            assert_eq!(of(&format!("l: {bad}")), Some(FrameErrorKind::ContentLength), "{bad}");
        }
        assert_eq!(of("l: 65535"), Some(FrameErrorKind::TooLong));
        assert_eq!(frames(&["\x16\x03\x01"]).err(), Some(FrameErrorKind::NotSip));
        assert_eq!(frames(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"]).err(), Some(FrameErrorKind::NotSip));
        let endless = "a".repeat(20_000);
        assert_eq!(frames(&["OPTIONS sip:a SIP/2.0\r\nX: ", &endless]).err(), Some(FrameErrorKind::TooLong));
        assert_eq!(
            frames(&["OPTIONS sip:a SIP/2.0\r\nX: ", &endless, "\r\n\r\n"]).err(),
            Some(FrameErrorKind::TooLong)
        );
    }

    #[test]
    fn a_failed_stream_stays_failed_and_can_be_answered() {
        let mut framer = StreamFramer::new(Limits::default());
        framer.push(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nl: x\r\n\r\n");
        let error = framer.next_frame().unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert!(error.reply.unwrap().via().is_ok());
        framer.push(b"OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n");
        assert!(framer.next_frame().unwrap().is_none());
        assert!(!framer.is_partial());
    }
}
