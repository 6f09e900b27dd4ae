//! SIP messages as the phone sees them: split by rsip, so that a fault of segue's own parser is not mirrored.
//! rsip knows neither compact names nor every URI; those few things are read from the text here.

use std::fmt::Write as _;

use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HasHeaders;

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartLine {
    /// A request.
    Request {
        /// The method, as written.
        method: String,
        /// The Request-URI, as written.
        uri: String,
    },
    /// A response.
    Response {
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
}

/// A message that came in, or that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: StartLine,
    /// Names and values in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// A request without headers.
    #[must_use]
    pub fn request(method: &str, uri: &str) -> Self {
        let start = StartLine::Request { method: method.to_owned(), uri: uri.to_owned() };
        Self { start, headers: Vec::new(), body: Vec::new() }
    }

    /// A response to `request`, with the headers that RFC 3261 8.2.6.2 copies.
    #[must_use]
    pub fn reply(request: &Self, status: u16) -> Self {
        let start = StartLine::Response { status, reason: phrase(status).to_owned() };
        let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
        let headers =
            request.headers.iter().filter(|(name, _)| copied.iter().any(|c| name.eq_ignore_ascii_case(c)));
        Self { start, headers: headers.cloned().collect(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.set("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// Replaces or adds the header `name`.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Reads a datagram. The error says what a phone built on rsip could not read.
    ///
    /// # Errors
    /// What rsip says, or that Content-Length does not fit the datagram.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (start, parsed) = match rsip::SipMessage::try_from(bytes) {
            Ok(rsip::SipMessage::Response(response)) => {
                // rsip drops the phrase that was sent.
                let status = u16::from(response.status_code.clone());
                let line =
                    String::from_utf8_lossy(bytes.split(|&byte| byte == b'\r').next().unwrap_or_default());
                let reason = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
                (StartLine::Response { status, reason }, rsip::SipMessage::Response(response))
            }
            Ok(request) => (request_line(bytes)?, request),
            // rsip refuses some Request-URIs that are right; give it another and keep the text of this one.
            Err(error) => {
                let start = request_line(bytes)?;
                (start, without_uri(bytes).ok_or_else(|| error.to_string())?)
            }
        };
        let headers = parsed.headers().iter().filter_map(|header| {
            let line = header.to_string();
            line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        });
        let mut message = Self { start, headers: headers.collect(), body: parsed.body().clone() };
        if let Some(length) = message.header("Content-Length") {
            let length: usize = length.parse().map_err(|_| format!("Content-Length: {length}"))?;
            if length > message.body.len() {
                return Err(format!(
                    "Content-Length {length} is more than the {} bytes sent",
                    message.body.len()
                ));
            }
            message.body.truncate(length);
        }
        Ok(message)
    }

    /// The bytes for the wire; Content-Length is written here and only here.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = match &self.start {
            StartLine::Request { method, uri } => format!("{method} {uri} SIP/2.0\r\n"),
            StartLine::Response { status, reason } => format!("SIP/2.0 {status} {reason}\r\n"),
        };
        for (name, value) in
            self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"))
        {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The first header `name`, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = move |(known, value): &'a (String, String)| {
            known.eq_ignore_ascii_case(name).then_some(value.as_str())
        };
        self.headers.iter().filter_map(named).collect::<Vec<_>>().into_iter()
    }

    /// The method of a request; of a response, the method of its CSeq.
    #[must_use]
    pub fn method(&self) -> &str {
        match &self.start {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => {
                self.header("CSeq").and_then(|cseq| cseq.split_whitespace().nth(1)).unwrap_or_default()
            }
        }
    }

    /// The Request-URI; empty in a response.
    #[must_use]
    pub fn uri(&self) -> &str {
        match &self.start {
            StartLine::Request { uri, .. } => uri,
            StartLine::Response { .. } => "",
        }
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(*status),
        }
    }

    /// Whether this is a 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    /// The seconds of Retry-After.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        let digits = self.header("Retry-After")?.trim();
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// The Call-ID, or nothing.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// The number of the CSeq, as rsip reads it.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        rsip::headers::CSeq::new(self.header("CSeq")?).typed().ok().map(|cseq| cseq.seq)
    }

    /// The tag of From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        parameter(self.header("From")?, "tag")
    }

    /// The tag of To.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        parameter(self.header("To")?, "tag")
    }

    /// The branch of the topmost Via.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        parameter(self.header("Via")?, "branch")
    }

    /// The URI of the first Contact.
    #[must_use]
    pub fn contact_uri(&self) -> Option<&str> {
        self.header("Contact").map(uri_of)
    }

    /// The body as text.
    #[must_use]
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One line for a ladder: `INVITE sip:*11@…` or `200 OK (INVITE)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = match &self.start {
            StartLine::Request { method, uri } => format!("{method} {uri}"),
            StartLine::Response { status, reason } => format!("{status} {reason} ({})", self.method()),
        };
        for name in ["Replaces", "Refer-To", "Retry-After", "Reason"] {
            if let Some(value) = self.header(name) {
                let _ = write!(line, "  {name}: {value}");
            }
        }
        line
    }

    /// The mandatory headers that rsip cannot read: a fault of whoever sent the message.
    #[must_use]
    pub fn unreadable(&self) -> Vec<String> {
        let readable = |name: &str, value: &str| match name {
            "From" => rsip::headers::From::new(value).typed().is_ok(),
            "To" => rsip::headers::To::new(value).typed().is_ok(),
            "CSeq" => rsip::headers::CSeq::new(value).typed().is_ok(),
            "Via" => rsip::headers::Via::new(value).typed().is_ok(),
            _ => true,
        };
        let mandatory = ["From", "To", "CSeq", "Via", "Call-ID"];
        let faults = mandatory.iter().filter_map(|name| match self.header(name) {
            None => Some(format!("no {name}")),
            Some(value) => (!readable(name, value)).then(|| format!("{name}: {value}")),
        });
        faults.collect()
    }
}

/// `name=value` behind the URI of a header value; quotes taken off.
#[must_use]
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let behind = value.rsplit_once('>').map_or(value, |(_, behind)| behind);
    behind.split(';').skip(usize::from(!value.contains('>'))).find_map(|part| {
        let (key, text) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| text.trim().trim_matches('"'))
    })
}

/// The URI of a name-addr or addr-spec.
#[must_use]
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

fn request_line(bytes: &[u8]) -> Result<StartLine, String> {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(uri), Some("SIP/2.0"), None) => {
            Ok(StartLine::Request { method: method.to_owned(), uri: uri.to_owned() })
        }
        _ => Err(format!("not a request line: {line}")),
    }
}

fn without_uri(bytes: &[u8]) -> Option<rsip::SipMessage> {
    let mut spaces = bytes.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (first, second) = (spaces.next()?, spaces.next()?);
    let plain = [bytes.get(..=first)?, b"sip:plain@127.0.0.1", bytes.get(second..)?].concat();
    rsip::SipMessage::try_from(plain.as_slice()).ok()
}

/// The phrases that the phone itself answers with.
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        603 => "Decline",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:*11@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKa;rport\r\n\
        From: \"A \\\" > ;tag=no\" <sip:alice@pbx.example>;tag=f1\r\nTo: <sip:*11@pbx.example>\r\nCall-ID: c1\r\n\
        CSeq: 7 INVITE\r\nContact: <sip:alice@127.0.0.1:4000>\r\nContent-Length: 4\r\n\r\nv=0\n";

    #[test]
    fn a_request_is_read_and_written() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert_eq!(
            (message.method(), message.uri(), message.cseq()),
            ("INVITE", "sip:*11@127.0.0.1:5060", Some(7))
        );
        assert_eq!((message.from_tag(), message.to_tag()), (Some("f1"), None));
        assert_eq!(message.branch(), Some("z9hG4bKa"));
        assert_eq!(message.contact_uri(), Some("sip:alice@127.0.0.1:4000"));
        assert_eq!(message.body, b"v=0\n");
        let again = Message::parse(&message.to_bytes()).unwrap();
        assert_eq!(again.body, message.body);
        assert_eq!(again.from_tag(), message.from_tag());
    }

    #[test]
    fn a_uri_that_rsip_refuses_is_kept_as_text() {
        let text = INVITE
            .replace("sip:*11@127.0.0.1:5060", "sip:%2A11@[::1]:5060;user=phone?Replaces=x%3Bto-tag%3D1");
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(message.uri(), "sip:%2A11@[::1]:5060;user=phone?Replaces=x%3Bto-tag%3D1");
    }

    #[test]
    fn a_response_is_read_and_a_short_body_is_a_fault() {
        let text = "SIP/2.0 403 Call moved\r\nVia: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n\
            To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 2 INVITE\r\nRetry-After: 28 (moved);duration=9\r\n\r\n";
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (message.status(), message.retry_after(), message.method()),
            (Some(403), Some(28), "INVITE")
        );
        assert_eq!(message.unreadable(), Vec::<String>::new());
        assert!(
            Message::parse(text.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n").as_bytes()).is_err()
        );
        assert!(Message::parse(b"\0\0\0").is_err());
    }

    #[test]
    fn a_reply_copies_what_the_rfc_says() {
        let reply = Message::reply(&Message::parse(INVITE.as_bytes()).unwrap(), 486);
        assert_eq!(reply.headers.len(), 5);
        assert!(reply.summary().starts_with("486 Busy Here (INVITE)"));
    }
}
