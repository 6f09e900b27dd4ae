//! What `segue doctor` looks at with the eyes of a node: certificates, names of trunks, the way outside.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::resolve::{locate, resolver};
use super::tls::{self, ServerTls};
use super::{settings, trunks};
use crate::base::Random;
use crate::config::{HostPort, Resolved, Tls};
use crate::shell::doctor::Certificate;

/// How long name servers are waited for, for all names together.
const PATIENCE: Duration = Duration::from_secs(6);

/// The certificates of listeners and page.
pub(in crate::shell) fn certificates(resolved: &Resolved) -> Vec<Certificate> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut all = Vec::new();
    for (at, listen) in resolved.listens.iter().enumerate() {
        let host = looked_for(&resolved.node.domain, listen.advertise.as_ref());
        let key = format!("listen[{at}]");
        all.extend(listen.tls.iter().flat_map(|tls| of_files(&key, tls, host, now)));
    }
    let host = resolved.http.origin.as_deref().and_then(host_of).unwrap_or(&resolved.node.domain);
    all.extend(resolved.http.tls.iter().flat_map(|tls| of_files("http", tls, host, now)));
    all
}

/// What phones look for in the certificate of a listener: the domain (RFC 5922 7.1), or the name of the host where they
/// were given that. An address is but how the domain is reached from beyond a NAT: nobody was given it.
fn looked_for<'a>(domain: &'a str, advertise: Option<&'a HostPort>) -> &'a str {
    let name = advertise.map(|at| &*at.host).filter(|host| host.parse::<IpAddr>().is_err());
    name.unwrap_or(domain)
}

/// The host of an origin, an IPv6 address without its brackets.
fn host_of(origin: &str) -> Option<&str> {
    let (_, host) = origin.split_once("://")?;
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split([':', '/']).next(),
    }
}

fn of_files(key: &str, tls: &Tls, host: &str, now: i64) -> Vec<Certificate> {
    let each = |files: &crate::config::TlsFiles| {
        let one = Tls { identities: vec![files.clone()], client_ca: tls.client_ca.clone() };
        let read = ServerTls::load(&one).map_err(|error| error.to_string()).map(|loaded| loaded.told());
        let is_key_open = std::fs::metadata(&files.key).is_ok_and(|meta| meta.mode() & 0o004 != 0);
        (files.key.clone(), is_key_open, read)
    };
    let read: Vec<_> = tls.identities.iter().map(each).collect();
    // One of them has to be for the name.
    let is_named =
        read.iter().filter_map(|(_, _, read)| read.as_ref().ok()).any(|told| tls::is_for(&told.0, host));
    let certificate = |(path, is_key_open, read): (_, _, Result<(Vec<String>, i64), String>)| Certificate {
        key: key.to_owned(),
        path,
        is_key_open,
        read: read.map(|(names, until)| (names, until - now)),
        name: (host.to_owned(), is_named),
    };
    read.into_iter().map(certificate).collect()
}

/// The names of trunks, and to how many targets each leads.
pub(in crate::shell) fn names(resolved: &Resolved) -> Vec<(String, Result<usize, String>)> {
    let all: Vec<_> = resolved
        .trunks
        .iter()
        .flat_map(|trunk| trunk.places().map(|place| (trunk.name.clone(), place)).collect::<Vec<_>>())
        .filter_map(|(name, place)| Some((name, trunks::wanted(&place, resolved)?)))
        .collect();
    if all.is_empty() {
        return Vec::new();
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    runtime.block_on(async {
        let end = tokio::time::Instant::now() + PATIENCE;
        let names = resolver(&resolved.dns);
        // Only the order among equals rests on it, and that is not looked at.
        let mut random = Random::from_number(1);
        let mut found = Vec::new();
        for (name, wanted) in all {
            let what = format!("trunk {name}: {}", wanted.host);
            let answer = match &names {
                Err(error) => Err(error.to_string()),
                Ok(names) => match tokio::time::timeout_at(end, locate(names, &wanted, &mut random)).await {
                    Ok(Ok(found)) => Ok(found.targets.len()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no name server answers in time".to_owned()),
                },
            };
            found.push((what, answer));
        }
        found
    })
}

/// The address from which this machine reaches the network.
pub(in crate::shell) fn outward(is_v4: bool) -> IpAddr {
    settings::outward(is_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_look_for_a_name_and_not_for_the_address_behind_which_it_is() {
        let at = |host: &str| HostPort { host: host.into(), port: Some(5061) };
        for (advertise, wanted) in [
            (None, "pbx.example.com"),
            (Some(at("edge1.example.com")), "edge1.example.com"),
            (Some(at("203.0.113.10")), "pbx.example.com"),
            (Some(at("2001:db8::1")), "pbx.example.com"),
        ] {
            assert_eq!(looked_for("pbx.example.com", advertise.as_ref()), wanted);
        }
        for (origin, wanted) in [
            ("https://pbx.example.com:8443", Some("pbx.example.com")),
            ("https://pbx.example.com", Some("pbx.example.com")),
            ("https://[2001:db8::1]:8443", Some("2001:db8::1")),
            ("https://203.0.113.10", Some("203.0.113.10")),
            ("nothing", None),
        ] {
            assert_eq!(host_of(origin), wanted, "{origin}");
        }
    }
}
