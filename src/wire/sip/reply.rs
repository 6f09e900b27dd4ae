//! The start of every response: Via, From, To, Call-ID and CSeq of the request (RFC 3261 8.2.6, RFC 3581 4).

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::header::{Header, HeaderName};
use super::message::Message;
use super::status::StatusCode;
use super::via::Via;
use super::writer::MessageWriter;

/// Room for what a response adds to the headers that it copies.
const ADDED_BYTES: usize = 256;

/// How a To without a tag is completed.
enum ToTag<'t> {
    /// As it came (100, and requests inside of a dialog).
    Keep,
    /// With this one, unless it has one.
    Add(&'t str),
}

impl MessageWriter<'_> {
    /// A response to `request`, its Vias as they are.
    #[must_use]
    pub fn reply(request: &Message, status: StatusCode) -> Self {
        Self::reply_with(request, status, None, None, &ToTag::Keep)
    }

    /// A response to `request`, which came from `source`: its top Via gets received and rport as RFC 3261 18.2.1
    /// and RFC 3581 4 ask, and its To gets `to_tag` unless it has a tag already.
    #[must_use]
    pub fn reply_from(
        request: &Message,
        status: StatusCode,
        reason: Option<&str>,
        source: SocketAddr,
        to_tag: Option<&str>,
    ) -> Self {
        let to_tag = to_tag.map_or(ToTag::Keep, ToTag::Add);
        Self::reply_with(request, status, reason, Some(source), &to_tag)
    }

    fn reply_with(
        request: &Message,
        status: StatusCode,
        reason: Option<&str>,
        source: Option<SocketAddr>,
        to_tag: &ToTag<'_>,
    ) -> Self {
        let copied = request.headers().filter(|header| is_copied(header.name));
        let room: usize = copied.map(|header| header.value.len() + 16).sum();
        let mut writer = Self::with_capacity(room + ADDED_BYTES);
        writer.status_line(status, reason);
        let mut source = source;
        for header in request.headers() {
            match header.name {
                HeaderName::Via => match source.take() {
                    Some(source) => writer.top_via(&header, source),
                    None => writer.copy_canonical(&header),
                },
                HeaderName::To => writer.to(&header, request, to_tag),
                HeaderName::Timestamp if status == StatusCode::TRYING => writer.copy_canonical(&header),
                name if is_copied(name) => writer.copy_canonical(&header),
                _ => {}
            }
        }
        writer
    }

    /// As [`MessageWriter::copy`], the name in its canonical spelling.
    fn copy_canonical(&mut self, header: &Header<'_>) {
        self.copy(&Header { raw_name: header.name.as_str().as_bytes(), ..*header });
    }

    fn to(&mut self, header: &Header<'_>, request: &Message, tag: &ToTag<'_>) {
        match tag {
            ToTag::Add(tag) if request.to_tag().is_none() => {
                self.plain(b"To: ");
                self.verbatim(header.value);
                self.plain(b";tag=");
                self.plain(tag.as_bytes());
                self.line_end();
            }
            ToTag::Keep | ToTag::Add(_) => self.copy_canonical(header),
        }
    }

    /// Rewrites the first value of a Via line; further values of the line follow unchanged.
    fn top_via(&mut self, header: &Header<'_>, source: SocketAddr) {
        let end = super::lex::find_outside(header.value, b',').unwrap_or(header.value.len());
        let (top, rest) = header.value.split_at_checked(end).unwrap_or((header.value, &[]));
        let Ok(via) = Via::parse(top) else { return self.copy_canonical(header) };
        self.plain(b"Via: SIP/");
        self.plain(via.version.as_bytes());
        self.plain(b"/");
        self.plain(via.transport.as_bytes());
        self.plain(b" ");
        self.plain(via.sent_by.as_bytes());
        let rport = via.params.contains("rport");
        let params = via.params.as_str();
        for param in super::params::split_all(params) {
            let name = super::params::name_of(param);
            if !name.eq_ignore_ascii_case("received") && !name.eq_ignore_ascii_case("rport") {
                self.plain(b";");
                self.plain(super::lex::trim_str(param).as_bytes());
            }
        }
        let ip = source.ip().to_canonical();
        if rport || via.host.ip().map(|ip| ip.to_canonical()) != Some(ip) {
            self.plain(b";received=");
            self.address(ip);
        }
        if rport {
            self.plain(b";rport=");
            self.integer(u64::from(source.port()));
        }
        self.verbatim(rest);
        self.line_end();
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                for (at, octet) in ip.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.buffer.push(b'.');
                    }
                    self.integer(u64::from(octet));
                }
            }
            // Writing to a vector cannot fail.
            IpAddr::V6(ip) => drop(write!(self.buffer, "{ip}")),
        }
    }
}

const fn is_copied(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via | HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Limits;
    use super::*;

    fn request(via: &str, to: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@b SIP/2.0\r\nv: {via}\r\nMax-Forwards: 70\r\nf: <sip:a@b>;tag=1\r\nt: {to}\r\ni: x\r\n\
             CSeq: 7 INVITE\r\nTimestamp: 54\r\nVia: SIP/2.0/TCP lower\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    fn reply(via: &str, to: &str, source: &str) -> Message {
        let request = request(via, to);
        let mut writer = MessageWriter::reply_from(
            &request,
            StatusCode::RINGING,
            None,
            source.parse().unwrap(),
            Some("ours"),
        );
        Message::parse(writer.finish(), &Limits::default()).unwrap()
    }

    fn top(via: &str, source: &str) -> String {
        let reply = reply(via, "<sip:bob@b>", source);
        String::from_utf8(reply.header(HeaderName::Via).unwrap().value.to_vec()).unwrap()
    }

    #[test]
    fn what_is_copied() {
        let reply = reply("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "<sip:bob@b>", "192.0.2.1:5060");
        let text = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
            To: <sip:bob@b>;tag=ours\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\nVia: SIP/2.0/TCP lower\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(reply.bytes(), text);
        let request = request("SIP/2.0/UDP 192.0.2.1", "<sip:bob@b>");
        let trying = MessageWriter::reply(&request, StatusCode::TRYING).finish();
        assert!(trying.windows(13).any(|window| window == b"Timestamp: 54"), "RFC 3261 8.2.6.1");
        assert!(trying.ends_with(b"Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn a_tag_is_added_once() {
        let tag = |to: &str| reply("SIP/2.0/UDP h", to, "192.0.2.1:5060").to_tag().map(str::to_owned);
        assert_eq!(tag("<sip:bob@b>").as_deref(), Some("ours"));
        assert_eq!(tag("sip:bob@b").as_deref(), Some("ours"));
        assert_eq!(tag("\"B\" <sip:bob@b>;x=1").as_deref(), Some("ours"));
        assert_eq!(tag("<sip:bob@b>;tag=theirs").as_deref(), Some("theirs"));
    }

    /// RFC 3261 18.2.1, RFC 3581 4.
    #[test]
    fn received_and_rport() {
        let same = "192.0.2.1:5061";
        assert_eq!(top("SIP/2.0/UDP 192.0.2.1:5060;branch=b", same), "SIP/2.0/UDP 192.0.2.1:5060;branch=b");
        assert_eq!(top("SIP/2.0/UDP host;branch=b", same), "SIP/2.0/UDP host;branch=b;received=192.0.2.1");
        assert_eq!(
            top("SIP/2.0/UDP 10.0.0.1;branch=b", same),
            "SIP/2.0/UDP 10.0.0.1;branch=b;received=192.0.2.1"
        );
        assert_eq!(
            top("SIP/2.0/UDP 192.0.2.1;rport;branch=b", same),
            "SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1;rport=5061"
        );
        assert_eq!(
            top("SIP / 2.0 / UDP  10.0.0.1 ;received=6.6.6.6; rport=1 ;branch=b , SIP/2.0/UDP x", same),
            "SIP/2.0/UDP 10.0.0.1;branch=b;received=192.0.2.1;rport=5061, SIP/2.0/UDP x"
        );
        assert_eq!(
            top("SIP/2.0/UDP [2001:db8::1];branch=b", "[2001:db8::1]:5060"),
            "SIP/2.0/UDP [2001:db8::1];branch=b"
        );
        assert_eq!(top("SIP/2.0/UDP h", "[2001:db8::1]:5060"), "SIP/2.0/UDP h;received=2001:db8::1");
        assert_eq!(top("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:5060"), "SIP/2.0/UDP 192.0.2.1");
        assert_eq!(top("nonsense;;", same), "nonsense;;");
    }
}
