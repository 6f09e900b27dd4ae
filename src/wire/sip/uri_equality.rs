//! When two URIs are the same (RFC 3261 19.1.4, RFC 3966 4).

use super::lex;
use super::uri::{Scheme, Uri};

/// Parameters that never match when only one of the URIs has them. `transport` is not in the text of RFC 3261
/// 19.1.4 but in its examples: with and without are not equivalent.
const SIGNIFICANT: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl Uri<'_> {
    /// Whether both name the same resource by the rules of their scheme; URIs of unknown schemes are compared as text.
    #[must_use]
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.same_sip(other),
            Scheme::Tel => self.same_tel(other),
            Scheme::Other => self.text == other.text,
        }
    }

    fn same_sip(&self, other: &Uri<'_>) -> bool {
        same_option(self.user, other.user, same_text)
            && same_option(self.password, other.password, same_text)
            && self.host.equivalent(&other.host)
            && self.port == other.port
            && self.params_fit(other)
            && other.params_fit(self)
            && self.headers().count() == other.headers().count()
            && self.headers().all(|(name, value)| {
                other.headers().any(|(n, v)| same_text_ignoring_case(name, n) && same_text(value, v))
            })
    }

    /// Every parameter of ours that the other has too is equal, and it lacks no significant one.
    fn params_fit(&self, other: &Uri<'_>) -> bool {
        self.params.iter().all(|(name, value)| {
            let theirs = other.params.iter().find(|(known, _)| same_text_ignoring_case(name, known));
            match theirs {
                Some((_, theirs)) => same_option(value, theirs, same_text_ignoring_case),
                None => !SIGNIFICANT.iter().any(|known| known.eq_ignore_ascii_case(name)),
            }
        })
    }

    /// Digits without visual separators, and all parameters (RFC 3966 4).
    fn same_tel(&self, other: &Uri<'_>) -> bool {
        let digits = |uri: &Uri<'_>| -> Vec<u8> {
            let separator = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')');
            let bytes = uri.user.unwrap_or_default().bytes();
            bytes.filter(|byte| !separator(byte)).map(|byte| byte.to_ascii_lowercase()).collect()
        };
        let has_all = |a: &Uri<'_>, b: &Uri<'_>| {
            a.params.iter().all(|(name, value)| match b.params.get(name) {
                Some(theirs) => same_option(value, theirs, same_text_ignoring_case),
                None => false,
            })
        };
        digits(self) == digits(other) && has_all(self, other) && has_all(other, self)
    }
}

fn same_option(a: Option<&str>, b: Option<&str>, same: fn(&str, &str) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_text(a: &str, b: &str) -> bool {
    a == b || Characters(a.as_bytes()).eq(Characters(b.as_bytes()))
}

fn same_text_ignoring_case(a: &str, b: &str) -> bool {
    let lower =
        |text| Characters(text).map(|(byte, escaped): (u8, bool)| (byte.to_ascii_lowercase(), escaped));
    a.eq_ignore_ascii_case(b) || lower(a.as_bytes()).eq(lower(b.as_bytes()))
}

/// The characters of a part of a URI; an escaped one equals the plain one unless it is reserved (RFC 2396 2.2).
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    /// The character, and whether it is a reserved one that was escaped.
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        if let Some((byte, rest)) = lex::escape(self.0) {
            self.0 = rest;
            return Some((
                byte,
                matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','),
            ));
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some((*first, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
        assert_eq!(a.equivalent(&b), b.equivalent(&a), "symmetric");
        a.equivalent(&b)
    }

    /// The list of RFC 3261 19.1.4.
    #[test]
    fn equivalent_pairs_of_the_rfc() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
            ("tel:7042;phone-context=Example.com", "TEL:70-42;Phone-Context=example.com"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    /// The list of RFC 3261 19.1.4.
    #[test]
    fn other_pairs_of_the_rfc() {
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:a@b", "sips:a@b"),
            ("sip:a%40b@c", "sip:a@c"),
            ("sip:a;b@c", "sip:a%3Bb@c"),
            ("sip:a@b;user=phone", "sip:a@b"),
            ("tel:+12015550123", "tel:12015550123"),
            ("tel:7042;phone-context=a.com", "tel:7042"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
