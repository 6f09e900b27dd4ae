//! The verdict on a message: RFC 3261 as RFC 4475 and RFC 5118 read it.
//!
//! What these RFCs leave to taste is refused where leniency would let two elements read one message differently
//! (white space in the request line, URIs that need brackets), and let through where a header does not matter to
//! us (Date, RFC 4475 3.1.2.12). Fixtures and reasons are in `fixtures/torture/verdicts.toml`.

use super::header::{HeaderError, HeaderName};
use super::lex;
use super::message::{Contacts, Message};
use super::method::Method;
use super::name_addr::NameAddr;
use super::status::StatusCode;
use super::uri::{Scheme, Uri, UriError};

/// What is wrong with a message that could be framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Violation {
    /// The answer to a request; a response is dropped.
    pub status: StatusCode,
    /// For the reason phrase and the log; never from the message.
    pub reason: &'static str,
    /// The header at fault, if it is one.
    pub header: Option<HeaderName>,
}

impl Violation {
    const fn bad(reason: &'static str, header: Option<HeaderName>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason, header }
    }
}

impl From<HeaderError> for Violation {
    fn from(error: HeaderError) -> Self {
        Self::bad(error.reason, Some(error.header))
    }
}

/// RFC 3261 8.1.1 and 8.2.6.2: in every request and every response.
const MANDATORY: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// Headers that hold one value; a second line makes the message ambiguous (RFC 4475 3.3.8).
const SINGLE: [HeaderName; 16] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Expires,
    HeaderName::MinExpires,
    HeaderName::Event,
    HeaderName::SubscriptionState,
    HeaderName::ReferTo,
    HeaderName::ReferredBy,
    HeaderName::Replaces,
    HeaderName::RAck,
    HeaderName::RSeq,
    HeaderName::SessionExpires,
];

/// Lists of addresses that decide where a request goes.
const ROUTES: [HeaderName; 4] =
    [HeaderName::Route, HeaderName::RecordRoute, HeaderName::Path, HeaderName::ServiceRoute];

const fn set<const N: usize>(names: [HeaderName; N]) -> u128 {
    let mut set = 0;
    let mut rest: &[HeaderName] = &names;
    while let [first, tail @ ..] = rest {
        set |= first.bit();
        rest = tail;
    }
    set
}

pub(super) fn check(message: &Message) -> Result<(), Violation> {
    let index = message.index();
    if let Some(fault) = index.fault {
        return Err(fault);
    }
    if index.present & set(MANDATORY) != set(MANDATORY) {
        let missing = MANDATORY.into_iter().find(|name| !message.has(*name));
        return Err(Violation::bad("a mandatory header is missing", missing));
    }
    if index.repeated & set(SINGLE) != 0 {
        let twice = SINGLE.into_iter().find(|name| index.repeated & name.bit() != 0);
        return Err(Violation::bad("a header that holds one value occurs twice", twice));
    }
    check_controls(message)?;
    let to = check_mandatory(message)?;
    if message.is_request() { check_request(message, &to) } else { Ok(()) }
}

/// Control characters can stand behind a backslash in a quoted string and nowhere else (RFC 3261 25.1).
fn check_controls(message: &Message) -> Result<(), Violation> {
    const NAUGHT: Violation = Violation::bad("a control character", None);
    let control = |byte: u8| byte < b'\t' || matches!(byte, 11 | 12 | 14..=31 | 127);
    let (body, _) = message.index().body;
    let head = message.bytes().get(..body).unwrap_or_default();
    // Without early exit this runs on vectors; nearly no message has any.
    if !head.iter().fold(false, |any, byte| any | control(*byte)) {
        return Ok(());
    }
    let first_header = message.headers().next().map_or(0, |header| offset_in(head, header.raw_name));
    if head.iter().take(first_header).any(|byte| control(*byte)) {
        return Err(NAUGHT);
    }
    for header in message.headers() {
        let (mut quoted, mut escaped) = (false, false);
        for byte in header.value {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                byte if control(*byte) => return Err(Violation { header: Some(header.name), ..NAUGHT }),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The distance of `part` from the start of `whole`, of which it is a slice.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Gives the URI of To.
fn check_mandatory(message: &Message) -> Result<Uri<'_>, Violation> {
    for via in message.vias() {
        if via?.version != "2.0" {
            return Err(Violation::bad("the version is not 2.0", Some(HeaderName::Via)));
        }
    }
    check_party(HeaderName::From, message.from()?)?;
    let to = check_party(HeaderName::To, message.to()?)?;
    let call_id = message.header(HeaderName::CallId).map_or(&[][..], |header| header.value);
    if call_id.is_empty() || !call_id.iter().all(|byte| matches!(byte, 33..=126 | 128..)) {
        return Err(Violation::bad("white space in it, or nothing", Some(HeaderName::CallId)));
    }
    // Two strings that are not UTF-8 could not be told apart as text.
    message.call_id()?;
    let cseq = message.cseq()?;
    if message.is_request() && cseq.method != *message.method() {
        return Err(Violation::bad("its method is not that of the request", Some(HeaderName::CSeq)));
    }
    Ok(to)
}

/// From and To.
fn check_party<'a>(name: HeaderName, party: NameAddr<'a>) -> Result<Uri<'a>, Violation> {
    let uri = check_address(name, &party)?;
    let breaks = |byte: u8| lex::is_space(byte) || matches!(byte, b'"' | b'<' | b'>' | b',');
    if party.params.value("tag").is_some_and(|tag| tag.is_empty() || tag.bytes().any(breaks)) {
        return Err(Violation::bad("the tag is no token", Some(name)));
    }
    Ok(uri)
}

/// The URI of an address; unknown schemes are nobody's business but the recipient's (RFC 4475 3.3.4).
fn check_address<'a>(name: HeaderName, address: &NameAddr<'a>) -> Result<Uri<'a>, Violation> {
    address.parsed_uri().map_err(|UriError(reason)| Violation::bad(reason, Some(name)))
}

fn check_request(message: &Message, to: &Uri<'_>) -> Result<(), Violation> {
    let uri = Uri::parse(message.uri()).map_err(|UriError(reason)| Violation::bad(reason, None))?;
    if uri.scheme() == Scheme::Other {
        // RFC 3261 8.2.2.1, RFC 4475 3.3.2 and 3.3.3.
        let (status, reason) = (StatusCode::UNSUPPORTED_URI_SCHEME, "the scheme of the Request-URI");
        return Err(Violation { status, reason, header: None });
    }
    if uri.has_headers() {
        return Err(Violation::bad("the Request-URI has headers", None));
    }
    message.max_forwards()?;
    let register = *message.method() == Method::Register;
    // A registrar is asked for an address of record, which is a SIP or SIPS URI (RFC 4475 3.3.4).
    if register && !matches!(to.scheme(), Scheme::Sip | Scheme::Sips) {
        return Err(Violation::bad("an address of record is a SIP URI", Some(HeaderName::To)));
    }
    match message.contacts()? {
        Contacts::Star if register => {}
        Contacts::Star => return Err(Violation::bad("`*` is for REGISTER", Some(HeaderName::Contact))),
        Contacts::List(list) => {
            for contact in &list {
                check_address(HeaderName::Contact, contact)?;
            }
        }
    }
    for name in ROUTES {
        for route in message.addresses(name) {
            check_address(name, &route?)?;
        }
    }
    if message.has(HeaderName::ReferTo) {
        check_address(HeaderName::ReferTo, &message.address(HeaderName::ReferTo)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Limits;
    use super::*;

    const GOOD: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: x@y\r\nCSeq: 1 INVITE\r\n\
        Max-Forwards: 70\r\nContact: <sip:a@192.0.2.1>\r\n\r\n";

    fn verdict(text: &str) -> Result<(), (u16, Option<HeaderName>)> {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap();
        message.check().map_err(|violation| (violation.status.as_u16(), violation.header))
    }

    #[test]
    fn one_change_makes_it_wrong() {
        assert_eq!(verdict(GOOD), Ok(()));
        let bad = |header| Err((400, header));
        for (old, new, expected) in [
            ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", Err((505, None))),
            ("INVITE sip:bob", "INVITE  sip:bob", bad(None)),
            ("sip:bob@example.com SIP", "sip:bob@example.com\t;lr SIP", bad(None)),
            ("sip:bob@example.com SIP", "sip: SIP", bad(None)),
            ("sip:bob@example.com SIP", "urn:service:sos SIP", Err((416, None))),
            ("sip:bob@example.com SIP", "tel:+123 SIP", Ok(())),
            ("Max-Forwards: 70", "Max-Forwards: 256", bad(Some(HeaderName::MaxForwards))),
            ("Call-ID: x@y", "Call-ID: x y", bad(Some(HeaderName::CallId))),
            ("Call-ID: x@y", "Call-ID:", bad(Some(HeaderName::CallId))),
            ("Call-ID: x@y", "Call: x@y", bad(Some(HeaderName::CallId))),
            ("CSeq: 1 INVITE", "CSeq: 1 invite", bad(Some(HeaderName::CSeq))),
            ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE", bad(Some(HeaderName::CSeq))),
            ("CSeq: 1 INVITE", "CSeq: 1 INVITE\r\nCSeq: 1 INVITE", bad(Some(HeaderName::CSeq))),
            ("tag=1", "tag=", bad(Some(HeaderName::From))),
            ("tag=1", "tag=\"a b\"", bad(Some(HeaderName::From))),
            ("<sip:a@example.com>", "<sip:a@>", bad(Some(HeaderName::From))),
            ("<sip:a@example.com>", "<urn:x:y>", Ok(())),
            ("Contact: <sip:a@192.0.2.1>", "Contact: *", bad(Some(HeaderName::Contact))),
            ("Contact:", "Route: <sip:a@b>, x\r\nContact:", bad(Some(HeaderName::Route))),
            ("Contact:", "no colon here\r\nContact:", bad(None)),
            ("Contact:", "bad name: x\r\nContact:", bad(None)),
            ("Contact:", ": x\r\nContact:", bad(None)),
            ("Contact:", "Subject: a\rb\r\nContact:", bad(None)),
            ("Contact:", "Subject: a\nX: b\r\nContact:", bad(None)),
            ("Contact:", "Subject: a\x00b\r\nContact:", bad(Some(HeaderName::Subject))),
            ("Contact:", "Subject: \"a\\\x00b\"\r\nContact:", Ok(())),
            ("Contact:", "Subject: \"a\x00b\"\r\nContact:", bad(Some(HeaderName::Subject))),
            ("bob@example.com SIP", "b\x01b@example.com SIP", bad(None)),
            ("Contact:", "Refer-To: <sip:>\r\nContact:", bad(Some(HeaderName::ReferTo))),
        ] {
            assert!(GOOD.contains(old), "{old}");
            assert_eq!(verdict(&GOOD.replacen(old, new, 1)), expected, "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn a_register_names_a_sip_address_of_record() {
        let register = GOOD.replace("INVITE", "REGISTER");
        assert_eq!(verdict(&register), Ok(()));
        assert_eq!(verdict(&register.replace("Contact: <sip:a@192.0.2.1>", "Contact: *")), Ok(()));
        let tel = register.replace("To: <sip:bob@example.com>", "To: <tel:+123>");
        assert_eq!(verdict(&tel), Err((400, Some(HeaderName::To))));
    }
}
