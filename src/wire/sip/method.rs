//! Request methods: the registered ones by name, any other token kept as it came (RFC 3261 7.1).

use std::fmt;

/// A method. Case-sensitive: `invite` is not INVITE (RFC 3261 7.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Method {
    /// RFC 3261 13.
    Invite,
    /// RFC 3261 13.
    Ack,
    /// RFC 3261 15.
    Bye,
    /// RFC 3261 9.
    Cancel,
    /// RFC 3261 10.
    Register,
    /// RFC 3261 11.
    Options,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3515.
    Refer,
    /// RFC 6086.
    Info,
    /// RFC 3428.
    Message,
    /// RFC 3311.
    Update,
    /// RFC 3262.
    Prack,
    /// RFC 3903.
    Publish,
    /// Any other token.
    Other(Box<str>),
}

impl Method {
    /// How many there are, all others being one.
    pub const KINDS: usize = 15;

    /// Its place among them.
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::Invite => 0,
            Self::Ack => 1,
            Self::Bye => 2,
            Self::Cancel => 3,
            Self::Register => 4,
            Self::Options => 5,
            Self::Subscribe => 6,
            Self::Notify => 7,
            Self::Refer => 8,
            Self::Info => 9,
            Self::Message => 10,
            Self::Update => 11,
            Self::Prack => 12,
            Self::Publish => 13,
            Self::Other(_) => 14,
        }
    }

    /// Reads a method; `None` unless it is a token (RFC 3261 25.1).
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"REFER" => Self::Refer,
            b"INFO" => Self::Info,
            b"MESSAGE" => Self::Message,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            b"PUBLISH" => Self::Publish,
            other if super::lex::is_token(other) => Self::Other(std::str::from_utf8(other).ok()?.into()),
            _ => return None,
        })
    }

    /// As it stands in the message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Info => "INFO",
            Self::Message => "MESSAGE",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Publish => "PUBLISH",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::from_bytes(b"INVITE"), Some(Method::Invite));
        assert_eq!(Method::from_bytes(b"invite"), Some(Method::Other("invite".into())));
        assert_eq!(
            Method::from_bytes(b"!odd-Method_*+`.%'~").map(|m| m.to_string()).as_deref(),
            Some("!odd-Method_*+`.%'~")
        );
        assert_eq!(Method::from_bytes(b""), None);
        assert_eq!(Method::from_bytes(b"IN VITE"), None);
    }
}
