//! `"Display" <uri>;params`: From, To, Contact, Route and their kin (RFC 3261 20.10).

use std::borrow::Cow;

use super::header::{HeaderError, HeaderName};
use super::lex;
use super::params::Params;
use super::uri::{Uri, UriError};

/// A name-addr or addr-spec with its header parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    /// The URI, without brackets.
    pub uri: &'a str,
    /// The parameters of the header (not of the URI).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value (no comma list).
    ///
    /// # Errors
    /// When it breaks the grammar: an open quote or bracket, an empty parameter, a comma in an unquoted name,
    /// a URI that needs brackets and has none. The URI itself is read by [`NameAddr::parsed_uri`].
    pub fn parse(value: &'a [u8]) -> Result<Self, &'static str> {
        let value = lex::trim(value);
        let (display, uri, params) = match open_bracket(value)? {
            Some(at) => {
                let (display, rest) = value.split_at_checked(at).ok_or("no URI")?;
                let rest = rest.get(1..).unwrap_or_default();
                let close = memchr::memchr(b'>', rest).ok_or("a bracket is not closed")?;
                let (uri, rest) = rest.split_at_checked(close).ok_or("no URI")?;
                (lex::trim(display), uri, lex::trim(rest.get(1..).unwrap_or_default()))
            }
            None => {
                let end = memchr::memchr(b';', value).unwrap_or(value.len());
                let (uri, params) = value.split_at_checked(end).ok_or("no URI")?;
                let uri = lex::trim(uri);
                if memchr::memchr2(b',', b'?', uri).is_some() {
                    return Err("a URI with a comma or question mark needs brackets");
                }
                (&[][..], uri, params)
            }
        };
        check_display(display)?;
        let uri = std::str::from_utf8(uri).map_err(|_| "the URI is not UTF-8")?;
        let params = match params {
            [] => Params::default(),
            [b';', rest @ ..] => {
                Params::parse(std::str::from_utf8(rest).map_err(|_| "the parameters are not UTF-8")?)?
            }
            _ => return Err("text behind the URI"),
        };
        if uri.is_empty() || uri.bytes().any(lex::is_space) {
            return Err("white space in the URI, or no URI");
        }
        Ok(Self { display, uri, params })
    }

    pub(super) fn of(header: HeaderName, value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse(value).map_err(|reason| HeaderError::new(header, reason))
    }

    /// The display name as it stands, quotes included; empty when there is none.
    #[must_use]
    pub const fn display_raw(&self) -> &'a [u8] {
        self.display
    }

    /// The display name without quotes and escapes; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn display(&self) -> Option<Cow<'a, str>> {
        let (quoted, inner) = match self.display {
            [] => return None,
            [b'"', inner @ .., b'"'] => (true, inner),
            plain => (false, plain),
        };
        Some(match String::from_utf8_lossy(inner) {
            Cow::Borrowed(text) if quoted => lex::unescape_quoted(text),
            Cow::Owned(text) if quoted => Cow::Owned(lex::unescape_quoted(&text).into_owned()),
            text => text,
        })
    }

    /// The URI, read.
    ///
    /// # Errors
    /// When it is none.
    pub fn parsed_uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    /// The `tag` parameter (RFC 3261 19.3); an empty one is none.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// The value of a header parameter: `Some(None)` for one without value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params.get(name)
    }

    /// The `q` parameter in thousandths, 0 to 1000; `None` when absent or malformed (RFC 3261 25.1 qvalue).
    #[must_use]
    pub fn q(&self) -> Option<u16> {
        let text = self.params.value("q")?;
        let (whole, part) = lex::split_once(text, b'.').unwrap_or((text, ""));
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = part.bytes().chain(*b"000").take(3).fold(0, |sum, byte| sum * 10 + u16::from(byte - b'0'));
        match whole {
            "0" => Some(part),
            "1" if part == 0 => Some(1000),
            _ => None,
        }
    }

    /// The `expires` parameter in seconds. One that is no number of 32 bits counts as 3600 (RFC 3261 20.10, 20.19).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        let text = self.params.value("expires")?;
        Some(super::message::delta_seconds(text.as_bytes()))
    }
}

/// Where the bracket of the URI opens; a quoted display name may come before it.
fn open_bracket(value: &[u8]) -> Result<Option<usize>, &'static str> {
    if value.first() != Some(&b'"') {
        // A bracket behind a semicolon is part of a parameter: `sip:a@b;x="<"`.
        return Ok(match memchr::memchr2(b'<', b';', value) {
            Some(at) if value.get(at) == Some(&b'<') => Some(at),
            _ => None,
        });
    }
    let mut escaped = false;
    let end = value.iter().skip(1).position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    let after = end.ok_or("a quoted string is not closed")? + 2;
    let space = value.iter().skip(after).take_while(|byte| lex::is_space(**byte)).count();
    match value.get(after + space) {
        Some(b'<') => Ok(Some(after + space)),
        _ => Err("no bracket behind the display name"),
    }
}

/// An unquoted name is a run of tokens; what else occurs in the field is let through, but no separator that
/// could make a second value of it (RFC 4475 3.1.2.15).
fn check_display(display: &[u8]) -> Result<(), &'static str> {
    let quoted = display.first() == Some(&b'"');
    if !quoted && display.iter().any(|byte| matches!(byte, b',' | b'"' | b'<' | b'>' | b';')) {
        return Err("a separator in an unquoted display name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let a = NameAddr::parse(br#" "A \"B\" <,>" <sip:a@b;x=1>;tag=7 ; q=0.33"#).unwrap();
        assert_eq!(a.display().as_deref(), Some("A \"B\" <,>"));
        assert_eq!((a.uri, a.tag(), a.q()), ("sip:a@b;x=1", Some("7"), Some(330)));
        let a = NameAddr::parse(b"caller<sip:c@example.com>").unwrap();
        assert_eq!((a.display().as_deref(), a.uri), (Some("caller"), "sip:c@example.com"));
        let a = NameAddr::parse(b"sip:a@b;tag=x;y=\"<\"").unwrap();
        assert_eq!(
            (a.display(), a.uri, a.tag(), a.param("y")),
            (None, "sip:a@b", Some("x"), Some(Some("<")))
        );
        let latin = NameAddr::parse(b"\"J\xf6rg\" <sip:j@b>").unwrap();
        assert_eq!(latin.display().as_deref(), Some("J\u{fffd}rg"));
    }

    #[test]
    fn broken() {
        for bad in [
            &b"\"A <sip:a@b>"[..],
            b"\"Watson\" < sip:w@b >",
            b"Bell, A <sip:a@b>",
            b"<sip:a@b",
            b"<sip:a@b>;;",
            b"<sip:a@b> x",
            b"sip:a@b?Route=x",
            b"",
            b"<>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn q_and_expires() {
        let with = |params: &str| format!("<sip:a@b>;{params}");
        let q = |text: &str| NameAddr::parse(with(text).as_bytes()).unwrap().q();
        assert_eq!(
            [q("q=1"), q("q=1.000"), q("q=0.5"), q("q=0")],
            [Some(1000), Some(1000), Some(500), Some(0)]
        );
        assert_eq!([q("q=1.1"), q("q=2"), q("q=0.1234"), q("q"), q("q=x")], [None; 5]);
        let expires = |text: &str| NameAddr::parse(with(text).as_bytes()).unwrap().expires();
        assert_eq!(
            [expires("expires=60"), expires("expires=280297596632815"), expires("x")],
            [Some(60), Some(3600), None]
        );
    }
}
