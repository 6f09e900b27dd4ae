//! SIP, SIPS and tel URIs as a view over their text (RFC 3261 19.1, RFC 3966).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lex;
use super::params::Params;

/// A text as the user part of a SIP URI (RFC 3261 25.1): what may not stand there is escaped.
#[must_use]
pub fn escaped_user(text: &str) -> Cow<'_, str> {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
    if text.bytes().all(may_stand) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if may_stand(byte) {
            out.push(char::from(byte));
        } else {
            let _ = fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// The scheme of a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// Anything else: the rest of the URI is opaque.
    Other,
}

/// The host of a URI or a Via.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address (in brackets on the wire).
    V6(Ipv6Addr),
    /// A name; empty in a `tel` URI and in one of another scheme.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads a host: an address or a name of letters, digits, dots, hyphens (and underscores, which occur).
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("a bracket of the host is not closed")?;
            return ipv6(inner).map(Self::V6).ok_or("the host is no IPv6 address");
        }
        if text.as_bytes().first().is_some_and(u8::is_ascii_digit)
            && let Ok(address) = text.parse()
        {
            return Ok(Self::V4(address));
        }
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() || !text.as_bytes().iter().all(valid) {
            return Err("the host is no name");
        }
        Ok(Self::Name(text))
    }

    /// The address, unless it is a name.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
            Self::Name(_) => None,
        }
    }

    /// Equal addresses, or equal names without regard to case.
    #[must_use]
    pub fn equivalent(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::V4(a), Host::V4(b)) => a == b,
            (Self::V6(a), Host::V6(b)) => a == b,
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why a text is not a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct UriError(pub &'static str);

/// A URI, its parts as they stand in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    pub(super) text: &'a str,
    pub(super) scheme: Scheme,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
    pub(super) params: Params<'a>,
    pub(super) headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a URI without angle brackets around it.
    ///
    /// # Errors
    /// When the text is no URI, or a SIP URI that breaks RFC 3261 19.1.1.
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let (name, rest) = lex::split_once(text, b':').ok_or(UriError("no scheme"))?;
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            || !name.as_bytes().iter().all(letters)
        {
            return Err(UriError("no scheme"));
        }
        if rest.as_bytes().iter().any(|byte| matches!(byte, 0..=b' ' | b'<' | b'>' | b'"' | 0x7f)) {
            return Err(UriError("a character that cannot stand in a URI"));
        }
        if name.eq_ignore_ascii_case("sip") {
            Self::parse_sip(text, Scheme::Sip, rest)
        } else if name.eq_ignore_ascii_case("sips") {
            Self::parse_sip(text, Scheme::Sips, rest)
        } else if name.eq_ignore_ascii_case("tel") {
            Self::parse_tel(text, rest)
        } else if rest.is_empty() {
            Err(UriError("nothing behind the scheme"))
        } else {
            Ok(Self { user: None, ..Self::bare(text, Scheme::Other) })
        }
    }

    fn bare(text: &'a str, scheme: Scheme) -> Self {
        Self {
            text,
            scheme,
            user: None,
            password: None,
            host: Host::Name(""),
            port: None,
            params: Params::default(),
            headers: "",
        }
    }

    fn parse_sip(text: &'a str, scheme: Scheme, rest: &'a str) -> Result<Self, UriError> {
        let mut uri = Self::bare(text, scheme);
        let rest = match lex::split_once(rest, b'@') {
            Some((userinfo, rest)) => {
                let (user, password) = lex::split_once(userinfo, b':')
                    .map_or((userinfo, None), |(user, word)| (user, Some(word)));
                if user.is_empty() {
                    return Err(UriError("the user is empty"));
                }
                (uri.user, uri.password) = (Some(user), password);
                rest
            }
            None => rest,
        };
        let (rest, headers) =
            lex::split_once(rest, b'?').map_or((rest, None), |(rest, text)| (rest, Some(text)));
        let (hostport, params) =
            lex::split_once(rest, b';').map_or((rest, None), |(rest, text)| (rest, Some(text)));
        (uri.host, uri.port) = host_and_port(hostport).map_err(UriError)?;
        uri.params = params.map_or(Ok(Params::default()), Params::parse).map_err(UriError)?;
        uri.headers = match headers {
            None => "",
            Some(headers) if headers.split('&').all(|header| header.find('=').is_some_and(|at| at > 0)) => {
                headers
            }
            Some(_) => return Err(UriError("a header without name or value")),
        };
        Ok(uri)
    }

    fn parse_tel(text: &'a str, rest: &'a str) -> Result<Self, UriError> {
        let (number, params) =
            lex::split_once(rest, b';').map_or((rest, None), |(rest, text)| (rest, Some(text)));
        let digit =
            |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#' | b'-' | b'.' | b'(' | b')');
        let digits = number.strip_prefix('+').unwrap_or(number);
        if !digits.as_bytes().iter().any(u8::is_ascii_hexdigit) && !digits.contains(['*', '#'])
            || !digits.as_bytes().iter().all(digit)
        {
            return Err(UriError("no telephone number"));
        }
        let params = params.map_or(Ok(Params::default()), Params::parse).map_err(UriError)?;
        Ok(Self { user: Some(number), params, ..Self::bare(text, Scheme::Tel) })
    }

    /// As it was read.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part as it stands, escapes included; the number of a `tel` URI.
    #[must_use]
    pub const fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user part without escapes.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'a, str>> {
        self.user.map(lex::percent_decode)
    }

    /// The password (deprecated by RFC 3261 19.1.1).
    #[must_use]
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host; an empty name in a `tel` URI and in one of another scheme.
    #[must_use]
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port, if it is written out.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The value of a URI parameter: `Some(None)` for one without value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params.get(name)
    }

    /// Whether it carries embedded headers.
    #[must_use]
    pub const fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// The embedded headers, names and values as they stand (`Uri::header` decodes).
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.headers.split('&').filter_map(|header| lex::split_once(header, b'='))
    }

    /// The value of an embedded header, without escapes: `header("Replaces")` of a Refer-To.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.headers()
            .find(|(known, _)| lex::percent_decode(known).eq_ignore_ascii_case(name))
            .map(|(_, value)| lex::percent_decode(value))
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Reads an IPv6 address. The grammar of RFC 3261 asks for a third colon before an embedded IPv4 address; RFC 5118
/// 4.10 says that both forms must be tolerated.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Some((front, v4)) = text.split_once(":::")
        && v4.parse::<Ipv4Addr>().is_ok()
    {
        return format!("{front}::{v4}").parse().ok();
    }
    text.parse().ok()
}

/// Reads `host` or `host:port`; white space around the parts is no part of them (Via allows it).
pub(super) fn host_and_port(text: &str) -> Result<(Host<'_>, Option<u16>), &'static str> {
    let colon = match text.strip_prefix('[') {
        Some(_) => text.find(']').and_then(|end| text.get(end..)?.find(':').map(|at| end + at)),
        None => memchr::memchr(b':', text.as_bytes()),
    };
    let Some(colon) = colon else { return Ok((Host::parse(lex::trim_str(text))?, None)) };
    let (host, port) = text.split_at_checked(colon).ok_or("the host is no name")?;
    let port = lex::trim_str(port.strip_prefix(':').unwrap_or(port));
    let port = lex::number(port.as_bytes(), u64::from(u16::MAX))
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or("the port is no number from 1 to 65535")?;
    Ok((Host::parse(lex::trim_str(host))?, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_escaped_so_that_it_is_read_back() {
        assert_eq!(escaped_user("acct-1.x"), "acct-1.x");
        for text in ["a b@c%:d", "\u{e4}<>\"#"] {
            let uri = format!("sip:{}@h", escaped_user(text));
            assert_eq!(Uri::parse(&uri).unwrap().user_decoded().as_deref(), Some(text), "{uri}");
        }
    }

    #[test]
    fn parts() {
        let uri =
            Uri::parse("sips:al%69ce:pw@[2001:db8::1]:5061;transport=tcp;lr?Replaces=a%40b%3Bto-tag%3D1&X=")
                .unwrap();
        assert_eq!((uri.scheme(), uri.user(), uri.password()), (Scheme::Sips, Some("al%69ce"), Some("pw")));
        assert_eq!(uri.user_decoded().as_deref(), Some("alice"));
        assert_eq!((uri.host().ip(), uri.port()), ("2001:db8::1".parse().ok(), Some(5061)));
        assert_eq!(
            (uri.param("Transport"), uri.param("lr"), uri.param("x")),
            (Some(Some("tcp")), Some(None), None)
        );
        assert_eq!(uri.header("replaces").as_deref(), Some("a@b;to-tag=1"));
        assert_eq!(uri.headers().collect::<Vec<_>>(), [("Replaces", "a%40b%3Bto-tag%3D1"), ("X", "")]);
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(
            (uri.user_decoded().as_deref(), uri.host()),
            (Some("user;par=u@example.net"), Host::Name("example.com"))
        );
        let uri = Uri::parse("sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com").unwrap();
        assert_eq!(uri.password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
        let uri = Uri::parse("tel:+1-201-555-0123;phone-context=example.com").unwrap();
        assert_eq!(
            (uri.scheme(), uri.user(), uri.host()),
            (Scheme::Tel, Some("+1-201-555-0123"), Host::Name(""))
        );
        assert_eq!(Uri::parse("soap.beep://192.0.2.103:3002").map(|uri| uri.scheme()), Ok(Scheme::Other));
        assert_eq!(Uri::parse("sip:*11@h").map(|uri| uri.user()), Ok(Some("*11")));
        assert_eq!(Uri::parse("sip:h").map(|uri| (uri.user(), uri.host())), Ok((None, Host::Name("h"))));
    }

    #[test]
    fn ipv6_with_embedded_ipv4() {
        let host = |text| Host::parse(text).map(|host| host.ip());
        let expected = Ok("2001:db8::192.0.2.1".parse().ok());
        assert_eq!(host("[2001:db8::192.0.2.1]"), expected);
        assert_eq!(host("[2001:db8:::192.0.2.1]"), expected);
        assert!(host("[2001:db8:::1]").is_err());
        assert_eq!(host("[2001:db8::10:5070]"), Ok("2001:db8::10:5070".parse().ok()));
    }

    #[test]
    fn broken() {
        for bad in [
            "",
            "sip",
            "sip:",
            ":x",
            "1sip:x",
            "sip:@h",
            "sip:a@",
            "sip:a@h:",
            "sip:a@h:0",
            "sip:a@h:65536",
            "sip:a@h:5a",
            "sip:a@h;",
            "sip:a@h;;lr",
            "sip:a@h?",
            "sip:a@h?x",
            "sip:a@h?=x",
            "sip:a b@h",
            "sip:a@h h",
            "<sip:a@h>",
            "sip:2001:db8::10",
            "sip:[::1",
            "sip:[::1]x",
            "sip:[::1]x:5",
            "tel:",
            "tel:+",
            "tel:hello",
            "urn:",
            "sip:a@h\u{7f}",
        ] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }
}
