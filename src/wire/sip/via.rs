//! One value of Via: the way an answer goes back (RFC 3261 20.42, RFC 3581).

use std::net::IpAddr;

use super::header::{HeaderError, HeaderName};
use super::lex;
use super::params::Params;
use super::uri::{Host, host_and_port};

/// What every branch of an RFC 3261 element starts with.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// The version behind `SIP/`; anything but `2.0` is not ours.
    pub version: &'a str,
    /// The transport token as it stands; compare without regard to case.
    pub transport: &'a str,
    /// sent-by as it stands (host and port).
    pub sent_by: &'a str,
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The port of sent-by, if it is written out.
    pub port: Option<u16>,
    /// branch, received, rport, ttl, maddr, ...
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value (no comma list).
    ///
    /// # Errors
    /// When it breaks RFC 3261 20.42 or has an empty parameter.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let text = std::str::from_utf8(value).map_err(|_| HeaderError::new(HeaderName::Via, "not UTF-8"))?;
        Self::parse_str(lex::trim_str(text)).map_err(|reason| HeaderError::new(HeaderName::Via, reason))
    }

    fn parse_str(text: &'a str) -> Result<Self, &'static str> {
        let (name, rest) = lex::split_once(text, b'/').ok_or("no protocol")?;
        let (version, rest) = lex::split_once(rest, b'/').ok_or("no version")?;
        let (name, version, rest) = (lex::trim_str(name), lex::trim_str(version), lex::trim_str(rest));
        if !name.eq_ignore_ascii_case("SIP") || !lex::is_token(version.as_bytes()) {
            return Err("the protocol is not SIP");
        }
        let space = rest.find([' ', '\t', '\r', '\n']).ok_or("no sent-by")?;
        let (transport, rest) = rest.split_at_checked(space).ok_or("no sent-by")?;
        if !lex::is_token(transport.as_bytes()) {
            return Err("the transport is no token");
        }
        let (sent_by, params) =
            lex::split_once(rest, b';').map_or((rest, None), |(by, params)| (by, Some(params)));
        let sent_by = lex::trim_str(sent_by);
        let (host, port) = host_and_port(sent_by)?;
        let params = params.map_or(Ok(Params::default()), Params::parse)?;
        Ok(Self { version, transport, sent_by, host, port, params })
    }

    /// The transaction's identity (RFC 3261 8.1.1.7).
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch")
    }

    /// The branch, if it starts with the magic cookie and has more behind it.
    #[must_use]
    pub fn rfc3261_branch(&self) -> Option<&'a str> {
        self.branch().filter(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch
                    .get(..MAGIC_COOKIE.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// Where the hop saw the message come from; with or without brackets around IPv6 (RFC 5118 4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// RFC 3581: `Some(None)` asks for it, `Some(Some(port))` is the answer.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|port| port.and_then(|port| port.parse().ok()))
    }

    /// The multicast or redirected address (RFC 3261 18.2.2).
    #[must_use]
    pub fn maddr(&self) -> Option<&'a str> {
        self.params.value("maddr")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let via = Via::parse(b"SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw").unwrap();
        assert_eq!((via.transport, via.host.ip(), via.port), ("UDP", Some([192, 0, 2, 2].into()), None));
        assert_eq!((via.branch(), via.rfc3261_branch()), (Some("390skdjuw"), None));
        let via =
            Via::parse(b"SIP/2.0/TLS [2001:db8::9:1]:6050 ; rport;received=[2001:db8::1];branch=z9hG4bKa")
                .unwrap();
        assert_eq!((via.port, via.rport()), (Some(6050), Some(None)));
        assert_eq!(via.received(), "2001:db8::1".parse().ok());
        assert_eq!(via.rfc3261_branch(), Some("z9hG4bKa"));
        let via = Via::parse(b"SIP/2.0/UDP h : 5 ;branch=z9hG4bK;rport=1").unwrap();
        assert_eq!(
            (via.host, via.port, via.rport(), via.rfc3261_branch()),
            (Host::Name("h"), Some(5), Some(Some(1)), None)
        );
    }

    #[test]
    fn broken() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP h:0",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP ;branch=x",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
