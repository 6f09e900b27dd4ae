//! Header names: one byte each for those we know, found without regard to case, compact forms included.

use std::borrow::Cow;
use std::fmt;

use super::lex;

/// Declares the known names; the order is the numbering.
macro_rules! header_names {
    ($($name:ident $text:literal $($compact:literal)?,)*) => {
        /// A header name (RFC 3261 20, 25 and the IANA registry). `Other` stands for every name not listed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is the header of that name")]
        pub enum HeaderName { $($name,)* Other }

        const KNOWN: &[(HeaderName, &str)] = &[$((HeaderName::$name, $text),)*];

        /// The compact form of RFC 3261 7.3.3 and its extensions.
        const fn from_compact(letter: u8) -> HeaderName {
            match letter.to_ascii_lowercase() {
                $($($compact => HeaderName::$name,)?)*
                _ => HeaderName::Other,
            }
        }
    };
}

header_names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" b'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AnswerMode "Answer-Mode",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" b'i',
    CallInfo "Call-Info",
    Contact "Contact" b'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentLanguage "Content-Language",
    ContentLength "Content-Length" b'l',
    ContentType "Content-Type" b'c',
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    ErrorInfo "Error-Info",
    Event "Event" b'o',
    Expires "Expires",
    FlowTimer "Flow-Timer",
    From "From" b'f',
    Geolocation "Geolocation",
    HistoryInfo "History-Info",
    Identity "Identity" b'y',
    IdentityInfo "Identity-Info" b'n',
    InReplyTo "In-Reply-To",
    InfoPackage "Info-Package",
    Join "Join",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAccessNetworkInfo "P-Access-Network-Info",
    PAssertedIdentity "P-Asserted-Identity",
    PAssociatedUri "P-Associated-URI",
    PCalledPartyId "P-Called-Party-ID",
    PChargingVector "P-Charging-Vector",
    PEarlyMedia "P-Early-Media",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    Priority "Priority",
    PrivAnswerMode "Priv-Answer-Mode",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    RSeq "RSeq",
    Reason "Reason",
    RecordRoute "Record-Route",
    RecvInfo "Recv-Info",
    ReferSub "Refer-Sub",
    ReferTo "Refer-To" b'r',
    ReferredBy "Referred-By" b'b',
    RejectContact "Reject-Contact" b'j',
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" b'd',
    Require "Require",
    ResourcePriority "Resource-Priority",
    RetryAfter "Retry-After",
    Route "Route",
    SecurityClient "Security-Client",
    SecurityServer "Security-Server",
    SecurityVerify "Security-Verify",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" b'x',
    SessionId "Session-ID",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" b's',
    SubscriptionState "Subscription-State",
    SuppressIfMatch "Suppress-If-Match",
    Supported "Supported" b'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    To "To" b't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    UserToUser "User-to-User",
    Via "Via" b'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// Slots of the name table: a power of two several times the number of names, so that probes are short.
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
const _: () = assert!(KNOWN.len() < 128, "a set of names must fit 128 bits");

/// Open addressing with linear probing, filled by the compiler.
static TABLE: [u8; SLOTS] = table();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, every index is masked or bounded")]
const fn table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut at = 0;
    while at < KNOWN.len() {
        let mut slot = hash(KNOWN[at].1.as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = at as u8;
        at += 1;
    }
    table
}

/// Length and three letters; the factors were searched so that today's names do not collide.
const fn hash(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let (_, middle) = name.split_at(name.len() / 2);
    let Some(middle) = middle.first() else { return 0 };
    let (first, middle, last) =
        (first.to_ascii_lowercase(), middle.to_ascii_lowercase(), last.to_ascii_lowercase());
    (name.len() * 159 + first as usize * 37 + last as usize * 18 + middle as usize * 231) % SLOTS
}

impl HeaderName {
    /// Finds a name, long or compact, without regard to case.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        if let [letter] = name {
            return from_compact(*letter);
        }
        let mut slot = hash(name);
        while let Some((known, text)) = TABLE.get(slot).and_then(|at| KNOWN.get(usize::from(*at))) {
            if text.as_bytes().eq_ignore_ascii_case(name) {
                return *known;
            }
            slot = (slot + 1) % SLOTS;
        }
        Self::Other
    }

    /// The canonical spelling; empty for `Other`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        KNOWN.get(self as usize).map_or("", |(_, text)| text)
    }

    /// One bit of a set of names; `Other` has its own.
    pub(super) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Other) { "(other)" } else { self.as_str() })
    }
}

/// One header line of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Which.
    pub name: HeaderName,
    /// The name as it came, without the space that may stand before the colon.
    pub raw_name: &'a [u8],
    /// The value without the white space around it; it may contain folds (CRLF and white space).
    pub value: &'a [u8],
}

impl<'a> Header<'a> {
    /// The value as text, each fold replaced by one space (RFC 3261 7.3.1).
    ///
    /// # Errors
    /// When the value is not UTF-8.
    pub fn value_str(&self) -> Result<Cow<'a, str>, HeaderError> {
        let text = std::str::from_utf8(self.value).map_err(|_| HeaderError::new(self.name, "not UTF-8"))?;
        Ok(lex::unfold(text))
    }
}

/// Why a header could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{header}: {reason}")]
pub struct HeaderError {
    /// Which header.
    pub header: HeaderName,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl HeaderError {
    pub(super) const fn new(header: HeaderName, reason: &'static str) -> Self {
        Self { header, reason }
    }

    /// The header is not there.
    pub(super) const fn missing(header: HeaderName) -> Self {
        Self::new(header, "missing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in KNOWN {
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(text.to_ascii_uppercase().as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()), *name);
            assert_eq!(name.as_str(), *text);
            assert_eq!(HeaderName::from_bytes(format!("{text}x").as_bytes()), HeaderName::Other);
        }
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b"X-Custom"), HeaderName::Other);
    }

    #[test]
    fn compact_forms() {
        let long = |letter: u8| HeaderName::from_bytes(&[letter]);
        assert_eq!(
            b"vftimlckserobxujadyn".map(long),
            [
                HeaderName::Via,
                HeaderName::From,
                HeaderName::To,
                HeaderName::CallId,
                HeaderName::Contact,
                HeaderName::ContentLength,
                HeaderName::ContentType,
                HeaderName::Supported,
                HeaderName::Subject,
                HeaderName::ContentEncoding,
                HeaderName::ReferTo,
                HeaderName::Event,
                HeaderName::ReferredBy,
                HeaderName::SessionExpires,
                HeaderName::AllowEvents,
                HeaderName::RejectContact,
                HeaderName::AcceptContact,
                HeaderName::RequestDisposition,
                HeaderName::Identity,
                HeaderName::IdentityInfo,
            ]
        );
        assert_eq!(long(b'V'), HeaderName::Via);
        assert_eq!(long(b'z'), HeaderName::Other);
    }
}
