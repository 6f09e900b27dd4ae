//! A SIP message: an index over the bytes that came, with typed views made when somebody asks.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::check::{self, Violation};
use super::header::{Header, HeaderError, HeaderName};
use super::index::{Index, Limits, ParseError, Slot, StartLine};
use super::lex;
use super::method::Method;
use super::name_addr::NameAddr;
use super::status::StatusCode;
use super::via::Via;

/// A request or a response. Cheap to clone: the index is shared.
#[derive(Clone, Debug)]
pub struct Message(Arc<Index>);

/// CSeq (RFC 3261 20.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// Below 2^31 (RFC 3261 8.1.1.5).
    pub number: u32,
    /// Equal to the request's method.
    pub method: Method,
}

/// The values of Contact (RFC 3261 20.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Contacts<'a> {
    /// `*`: all bindings (REGISTER only).
    Star,
    /// Zero or more addresses.
    List(SmallVec<[NameAddr<'a>; 2]>),
}

impl Message {
    pub(super) fn over(index: Index) -> Self {
        Self(Arc::new(index))
    }

    /// Indexes one datagram. What follows the body that Content-Length declares is dropped; without
    /// Content-Length the body is the rest (RFC 3261 18.3). For a stream see [`super::StreamFramer`].
    ///
    /// The result is framed, not yet valid: [`Message::check`] judges it.
    ///
    /// # Errors
    /// When the bytes are no message, exceed the limits, or their length does not hold. If enough could be read
    /// to answer, the error carries it.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        super::index::parse(bytes, limits)
    }

    /// Judges the message by RFC 3261 as RFC 4475 and RFC 5118 read it: mandatory headers once and well formed,
    /// CSeq fits, version, ranges, URIs. Policy (methods, extensions, media types, credentials) is not judged here.
    ///
    /// # Errors
    /// The first violation with the status for a request; a response with a violation is to be dropped.
    pub fn check(&self) -> Result<(), Violation> {
        check::check(self)
    }

    /// The bytes it was read from, cut behind the body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.0.start, StartLine::Request { .. })
    }

    /// The method; of a response that of its CSeq (an empty [`Method::Other`] if that cannot be read).
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The Request-URI as it stands; empty in a response.
    #[must_use]
    pub fn uri(&self) -> &str {
        match self.0.start {
            StartLine::Request { uri } => self.text(uri),
            StartLine::Response { .. } => "",
        }
    }

    /// The status; `None` in a request.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.0.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response as it stands; empty in a request, and when it is not UTF-8.
    #[must_use]
    pub fn reason_phrase(&self) -> &str {
        match self.0.start {
            StartLine::Request { .. } => "",
            StartLine::Response { reason, .. } => self.text(reason),
        }
    }

    fn text(&self, (start, end): (u16, u16)) -> &str {
        let bytes = self.0.bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn index(&self) -> &Index {
        &self.0
    }

    /// Whether it may be answered when it is refused unread: a request, not ACK, with a Via to copy. An answer goes
    /// to where the request came from, so a malformed Via is no hindrance.
    #[must_use]
    pub fn can_be_answered(&self) -> bool {
        self.is_request() && *self.method() != Method::Ack && self.has(HeaderName::Via)
    }

    fn view(&self, slot: &Slot) -> Header<'_> {
        let name = usize::from(slot.name_start);
        let slice = |start: usize, end: usize| self.0.bytes.get(start..end).unwrap_or_default();
        Header {
            name: slot.name,
            raw_name: slice(name, name + usize::from(slot.name_len)),
            value: slice(slot.value_start.into(), slot.value_end.into()),
        }
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.0.slots.iter().map(|slot| self.view(slot))
    }

    /// Whether a header of that name is there; costs nothing.
    #[must_use]
    pub fn has(&self, name: HeaderName) -> bool {
        self.0.present & name.bit() != 0
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<Header<'_>> {
        self.all(name).next()
    }

    /// All headers of that name, line by line.
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = Header<'_>> {
        let slots = if self.has(name) { self.0.slots.as_slice() } else { &[] };
        slots.iter().filter(move |slot| slot.name == name).map(|slot| self.view(slot))
    }

    /// The first header of a name that [`HeaderName`] does not list, without regard to case.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<Header<'_>> {
        self.all(HeaderName::Other).find(|header| header.raw_name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The values of a header that is a comma list (RFC 3261 7.3.1), over all its lines, trimmed. Commas in quoted
    /// strings and brackets do not split. Not for headers that are no lists (Date, Subject, WWW-Authenticate, ...).
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.all(name).flat_map(|header| Values { rest: Some(header.value) })
    }

    /// Whether a list of tokens (Supported, Require, Allow, ...) contains this one, without regard to case.
    #[must_use]
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The value of a header that occurs once, as text without folds around it.
    ///
    /// # Errors
    /// When it is missing or not UTF-8.
    pub fn text_of(&self, name: HeaderName) -> Result<&str, HeaderError> {
        let header = self.header(name).ok_or(HeaderError::missing(name))?;
        std::str::from_utf8(header.value).map_err(|_| HeaderError::new(name, "not UTF-8"))
    }

    fn number_of(&self, name: HeaderName) -> Option<&[u8]> {
        self.header(name).map(|header| header.value)
    }
}

/// The typed headers.
impl Message {
    /// The top Via.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        self.vias().next().unwrap_or(Err(HeaderError::missing(HeaderName::Via)))
    }

    /// Every Via, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(HeaderName::Via).map(Via::parse)
    }

    /// From.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(HeaderName::From)
    }

    /// To.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(HeaderName::To)
    }

    /// A header that holds one address: Refer-To, Referred-By, Reply-To, ...
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn address(&self, name: HeaderName) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::of(name, self.header(name).ok_or(HeaderError::missing(name))?.value)
    }

    /// A header that lists addresses: Route, Path, P-Asserted-Identity, Diversion, ...
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name).map(move |value| NameAddr::of(name, value))
    }

    /// The tag of From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.from().ok()?.tag()
    }

    /// The tag of To.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.to().ok()?.tag()
    }

    /// Call-ID.
    ///
    /// # Errors
    /// When it is missing or not UTF-8.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        self.text_of(HeaderName::CallId)
    }

    /// CSeq.
    ///
    /// # Errors
    /// When it is missing or malformed, or its number is not below 2^31.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        let header = self.header(HeaderName::CSeq).ok_or(HeaderError::missing(HeaderName::CSeq))?;
        cseq(header.value).ok_or(HeaderError::new(HeaderName::CSeq, "not a number below 2^31 and a method"))
    }

    /// Max-Forwards (RFC 3261 20.22); `None` when it is missing.
    ///
    /// # Errors
    /// When it is not a number from 0 to 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(text) = self.number_of(HeaderName::MaxForwards) else { return Ok(None) };
        let number = lex::number(text, u64::from(u8::MAX)).and_then(|number| u8::try_from(number).ok());
        number.map(Some).ok_or(HeaderError::new(HeaderName::MaxForwards, "not a number from 0 to 255"))
    }

    /// Expires in seconds; `None` when it is missing. One that is no number of 32 bits counts as 3600
    /// (RFC 3261 20.19).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.number_of(HeaderName::Expires).map(delta_seconds)
    }

    /// Contact.
    ///
    /// # Errors
    /// When a value is malformed, or `*` does not stand alone.
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        let mut list = SmallVec::new();
        let mut star = false;
        for value in self.values(HeaderName::Contact) {
            if value == b"*" && !star && list.is_empty() {
                star = true;
            } else if star {
                return Err(HeaderError::new(HeaderName::Contact, "`*` does not stand alone"));
            } else {
                list.push(NameAddr::of(HeaderName::Contact, value)?);
            }
        }
        Ok(if star { Contacts::Star } else { Contacts::List(list) })
    }

    /// The one Contact that a dialog needs (RFC 3261 8.1.1.8).
    ///
    /// # Errors
    /// When it is missing, malformed, or not the only one.
    pub fn contact(&self) -> Result<NameAddr<'_>, HeaderError> {
        let mut values = self.values(HeaderName::Contact);
        match (values.next(), values.next()) {
            (Some(value), None) => NameAddr::of(HeaderName::Contact, value),
            (None, _) => Err(HeaderError::missing(HeaderName::Contact)),
            (Some(_), Some(_)) => Err(HeaderError::new(HeaderName::Contact, "more than one")),
        }
    }

    /// Route, top first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::Route)
    }

    /// Record-Route, top first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::RecordRoute)
    }

    /// Content-Type as it stands, without its parameters; compare without regard to case.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        let text = self.text_of(HeaderName::ContentType).ok()?;
        Some(lex::trim_str(lex::split_once(text, b';').map_or(text, |(kind, _)| kind)))
    }

    /// The body, sharing the message's bytes.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let (start, end) = self.0.body;
        // The index holds positions inside of the buffer, so `slice` cannot fail; a clamp keeps that local.
        let end = end.min(self.0.bytes.len());
        self.0.bytes.slice(start.min(end)..end)
    }
}

/// Seconds of Expires and its kin: digits of 32 bits, else 3600 (RFC 3261 20.19).
pub(super) fn delta_seconds(text: &[u8]) -> u32 {
    const DEFAULT_SECONDS: u32 = 3600;
    lex::number(text, u64::from(u32::MAX))
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(DEFAULT_SECONDS)
}

/// Reads a CSeq value.
pub(super) fn cseq(value: &[u8]) -> Option<CSeq> {
    const HIGHEST: u64 = (1 << 31) - 1;
    let space = value.iter().position(|byte| lex::is_space(*byte))?;
    let (number, method) = value.split_at_checked(space)?;
    let number = u32::try_from(lex::number(number, HIGHEST)?).ok()?;
    Some(CSeq { number, method: Method::from_bytes(lex::trim(method))? })
}

/// Splits one line at the commas outside of quotes and brackets.
struct Values<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        // Most lines hold one value; then this one look is all.
        let comma = memchr::memchr(b',', text).and_then(|_| lex::find_outside(text, b','));
        let (value, rest) = match comma {
            Some(at) => (text.get(..at)?, text.get(at + 1..)),
            None => (text, None),
        };
        self.rest = rest;
        Some(lex::trim(value))
    }
}
