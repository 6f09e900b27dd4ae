//! Which web pages may open a WebSocket (RFC 6455 10.2). What the browser gives as `Host` is chosen by the page that asks,
//! and a name of anybody's can be made to lead to us: it says nothing. What counts is what we are called.

use std::net::IpAddr;

use crate::config::Resolved;

/// Pages that may connect to one listener.
#[derive(Clone, Debug, Default)]
pub(in crate::shell::node) struct Pages {
    /// Their origins, as configured; where there is none, pages of our own hosts.
    listed: Vec<Box<str>>,
    /// What we are called.
    own: Vec<Box<str>>,
}

impl Pages {
    /// Those that `listed` names, or those of the hosts that the configuration calls ours.
    pub(in crate::shell::node) fn new(listed: &[Box<str>], resolved: &Resolved) -> Self {
        let node = &resolved.node;
        let mut own: Vec<Box<str>> = vec![node.domain.clone()];
        own.extend(node.aliases.iter().cloned());
        own.extend(
            resolved.listens.iter().filter_map(|listen| Some(listen.advertise.as_ref()?.host.clone())),
        );
        // How browsers reach the page, through a proxy or not.
        let (page, phone) = (&resolved.http.origin, &resolved.http.phone);
        own.extend([page, phone].into_iter().flatten().filter_map(|uri| Some(host_of(uri)?.into())));
        let bound = resolved.listens.iter().map(|listen| listen.bind).chain([resolved.http.bind]);
        own.extend(bound.filter(|at| !at.ip().is_unspecified()).map(|at| at.ip().to_string().into()));
        Self { listed: listed.to_vec(), own }
    }

    /// Whether a page of `origin` may connect, who has come to us at the address `at`.
    pub(super) fn welcome(&self, origin: &str, at: IpAddr) -> bool {
        if !self.listed.is_empty() {
            return self.listed.iter().any(|known| &**known == "*" || known.eq_ignore_ascii_case(origin));
        }
        // The page and the WebSocket of one host may have different ports.
        let Some(host) = host_of(origin) else { return false };
        // A page that comes from an address was served there; a name may lead anywhere.
        let is_here = host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical() == at.to_canonical());
        let is_this_machine = at.to_canonical().is_loopback() && host.eq_ignore_ascii_case("localhost");
        let is_own = |own: &str| own.trim_matches(['[', ']']).eq_ignore_ascii_case(host);
        is_here || is_this_machine || self.own.iter().any(|own| is_own(own))
    }
}

/// The host of an origin or a URI of a page, without port, path and the brackets of an address.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pages(listed: &[&str], own: &[&str]) -> Pages {
        let all = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
        Pages { listed: all(listed), own: all(own) }
    }

    #[test]
    fn a_page_of_our_own_hosts_is_welcome_whatever_its_port() {
        let own = pages(&[], &["pbx.example.com", "[2001:db8::1]", "203.0.113.10"]);
        for origin in [
            "https://pbx.example.com",
            "https://PBX.example.com:8080",
            "http://203.0.113.10:8080",
            "https://[2001:db8::1]:8443",
            "http://192.0.2.1:8080",
        ] {
            assert!(own.welcome(origin, AT), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "https://pbx.example.com.evil.example",
            "https://evil.example/pbx.example.com",
            "http://192.0.2.2:8080",
            "http://localhost:8080",
            "null",
            "",
            "pbx.example.com",
            "https://",
            "https://[pbx.example.com",
        ] {
            assert!(!own.welcome(origin, AT), "{origin}");
        }
        assert!(own.welcome("http://localhost:8080", HOME) && own.welcome("http://127.0.0.1:8080", HOME));
        assert!(own.welcome("http://[::1]:8080", "::1".parse().unwrap()));
    }

    #[test]
    fn where_origins_are_listed_they_alone_are() {
        let known = pages(&["https://phones.example.com"], &["pbx.example.com"]);
        assert!(known.welcome("https://phones.example.com", AT));
        assert!(!known.welcome("https://pbx.example.com", AT));
        assert!(!known.welcome("http://phones.example.com", AT), "another scheme");
        assert!(!known.welcome("http://localhost", HOME));
        assert!(pages(&["*"], &[]).welcome("https://evil.example", AT));
        assert!(pages(&["null"], &[]).welcome("null", AT));
    }
}
