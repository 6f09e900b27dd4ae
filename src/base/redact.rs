//! What a log may show of addresses and numbers: enough to tell two apart, not enough to call or find anyone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Shows the first and the last character of a number or name and how much lies between: `a…3(7)`.
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars().filter(|c| !c.is_control());
        match (chars.next(), chars.next_back()) {
            (Some(first), Some(last)) => write!(f, "{first}…{last}({})", self.0.chars().count()),
            _ => f.write_str("…"),
        }
    }
}

/// Shows the network of an address (`203.0.113.x:5060`); loopback whole.
pub struct RedactAddr(pub SocketAddr);

impl fmt::Display for RedactAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.ip().is_loopback() {
            return write!(f, "{}", self.0);
        }
        match self.0.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{a}.{b}.{c}.x:{}", self.0.port())
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "[{a:x}:{b:x}:{c:x}::x]:{}", self.0.port())
            }
        }
    }
}

/// A password or a URL with one; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes it in.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Gives it out: for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_cut() {
        assert_eq!(Redacted("alice").to_string(), "a…e(5)");
        assert_eq!(Redacted("a").to_string(), "…");
        assert_eq!(Redacted("").to_string(), "…");
        assert_eq!(RedactAddr("203.0.113.9:5060".parse().unwrap()).to_string(), "203.0.113.x:5060");
        assert_eq!(RedactAddr("127.0.0.1:5060".parse().unwrap()).to_string(), "127.0.0.1:5060");
        assert_eq!(RedactAddr("[2001:db8:1::9]:5060".parse().unwrap()).to_string(), "[2001:db8:1::x]:5060");
    }
}
