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
