//! Addresses of machines in texts of others, wherever they stand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether there is an address of a machine in a text; loopback and `0.0.0.0` are nobody's.
#[must_use]
pub fn names_place(text: &[u8]) -> bool {
    let words = |is_of: fn(&u8) -> bool| {
        text.split(move |byte| !is_of(byte)).filter_map(|word| std::str::from_utf8(word).ok())
    };
    let v4 = |word: &str| word.trim_matches('.').parse::<Ipv4Addr>();
    let has_v4 = memchr::memchr(b'.', text).is_some()
        && words(|byte| byte.is_ascii_digit() || *byte == b'.')
            .any(|word| v4(word).is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified()));
    has_v4
        || memchr::memchr(b':', text).is_some()
            && words(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).any(is_v6)
}

/// Whether an address is in a word of digits, dots and colons: alone, or before or behind a colon of the text around it.
fn is_v6(word: &str) -> bool {
    let word = word.trim_matches('.');
    let is_address =
        |word: &str| word.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let behind = word.split_once(':').map(|(_, rest)| rest).filter(|rest| !rest.starts_with(':'));
    is_address(word)
        || word.strip_suffix(':').is_some_and(is_address)
        || behind.is_some_and(|rest| is_address(rest) || rest.strip_suffix(':').is_some_and(is_address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_any_text() {
        for text in [
            "10.0.0.5",
            "<sip:alice@10.0.0.5:5060>",
            "host=192.168.1.20;x",
            "at 172.16.0.1.",
            "<http://[2001:db8::7]/ring.wav>",
            "fd00::1",
            "::ffff:10.0.0.5",
            "peer:fd00::1",
            "no way to fd00::1.",
            "fd00::1: gone",
            "node:2001:db8:0:0:0:0:0:7: gone",
            "de:2001:db8:0:0:0:0:0:7",
        ] {
            assert!(names_place(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "Acme/1.2.3",
            "12:30:45 GMT",
            "<http://127.0.0.1/Bellcore-dr3>",
            "<http://www.notused.com>;info=alert-internal",
            "urn:alert:service:call-waiting",
            "1.2.3",
            "256.1.1.1",
            "[::1]",
            "0.0.0.0",
            "Q.850;cause=16;text=\"Normal\"",
        ] {
            assert!(!names_place(text.as_bytes()), "{text}");
        }
    }
}
