//! `;name=value` lists of headers and URIs, read lazily (RFC 3261 25.1 generic-param, uri-parameter).

use super::lex;

/// The parameters after a value or inside of a URI, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Params<'a> {
    raw: &'a str,
}

impl<'a> Params<'a> {
    /// Over the text behind the first semicolon; each name must be there, each quoted string closed.
    pub(super) fn parse(raw: &'a str) -> Result<Self, &'static str> {
        let params = Self { raw };
        let mut rest = Some(raw);
        while let Some(text) = rest {
            let (param, tail) = split(text).ok_or("a quoted string is not closed")?;
            if name_of(param).is_empty() {
                return Err("a parameter has no name");
            }
            rest = tail;
        }
        Ok(params)
    }

    /// As they came, without the first semicolon.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Each name with its value. Quotes around a value are taken off, escapes in it are kept.
    #[must_use]
    pub fn iter(&self) -> ParamsIter<'a> {
        ParamsIter { rest: if self.raw.is_empty() { None } else { Some(self.raw) } }
    }

    /// The value of the first parameter of that name (without regard to case): `Some(None)` for one without value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Option<&'a str>> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the first parameter of that name, if it has one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).flatten()
    }

    /// Whether a parameter of that name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = (&'a str, Option<&'a str>);
    type IntoIter = ParamsIter<'a>;

    fn into_iter(self) -> ParamsIter<'a> {
        self.iter()
    }
}

/// See [`Params::iter`].
#[derive(Clone, Debug)]
pub struct ParamsIter<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for ParamsIter<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (param, rest) = split(self.rest?)?;
        self.rest = rest;
        let name = name_of(param);
        let value = lex::split_once(param, b'=').map(|(_, value)| unquote(lex::trim_str(value)));
        Some((name, value))
    }
}

/// The first parameter and what follows its semicolon; `None` when a quoted string is not closed.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let bytes = text.as_bytes();
    match memchr::memchr2(b';', b'"', bytes) {
        None => Some((text, None)),
        Some(at) if bytes.get(at) == Some(&b';') => Some((text.get(..at)?, text.get(at + 1..))),
        Some(_) => {
            let mut quoted = lex::Outside::default();
            // Angle brackets do not group here: only quotes do.
            let found = bytes.iter().position(|byte| match byte {
                b'<' | b'>' => false,
                byte => quoted.step(*byte) && *byte == b';',
            });
            match found {
                Some(at) => Some((text.get(..at)?, text.get(at + 1..))),
                None => quoted.is_closed().then_some((text, None)),
            }
        }
    }
}

/// Every parameter as it stands, name and value in one.
pub(super) fn split_all(raw: &str) -> impl Iterator<Item = &str> {
    let mut rest = if raw.is_empty() { None } else { Some(raw) };
    std::iter::from_fn(move || {
        let (param, tail) = split(rest?)?;
        rest = tail;
        Some(param)
    })
}

pub(super) fn name_of(param: &str) -> &str {
    lex::trim_str(lex::split_once(param, b'=').map_or(param, |(name, _)| name))
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_values_quotes_and_space() {
        let params = Params::parse("a ; B =  \"x;\\\"y\" ;\r\n c=1;c=2").unwrap();
        assert_eq!(
            params.iter().collect::<Vec<_>>(),
            [("a", None), ("B", Some("x;\\\"y")), ("c", Some("1")), ("c", Some("2"))]
        );
        assert_eq!(params.get("A"), Some(None));
        assert_eq!(params.value("b"), Some("x;\\\"y"));
        assert_eq!(params.value("c"), Some("1"));
        assert!(!params.contains("d"));
    }

    #[test]
    fn empty_names_and_open_quotes_are_refused() {
        for bad in ["", ";", "a;;b", "a;", "=1", "a=\"x", "a=\"x\\\""] {
            assert!(Params::parse(bad).is_err(), "{bad}");
        }
        assert!(Params::default().iter().next().is_none());
    }

    #[test]
    fn brackets_inside_a_quoted_value_do_not_hide_a_separator() {
        let params = Params::parse("+sip.instance=\"<urn:uuid:1>\";reg-id=1;x=<;y").unwrap();
        assert_eq!(params.value("+sip.instance"), Some("<urn:uuid:1>"));
        assert_eq!(params.value("reg-id"), Some("1"));
        assert!(params.contains("y"));
    }
}
