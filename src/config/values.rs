//! How single values are written: hosts, listeners, port ranges, codes, hashes.

use std::net::{IpAddr, SocketAddr};

use super::resolved::HostPort;
use crate::sip::Transport;
use crate::sip::digest::Algorithm;

/// A host name or an address (IPv6 with or without brackets), lower case and without brackets.
pub(super) fn host(text: &str) -> Result<Box<str>, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_ascii_lowercase().into());
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if text.len() > 253 || numeric || !text.split('.').all(label) {
        return Err("is no host name and no address");
    }
    Ok(text.to_ascii_lowercase().into())
}

/// `host`, `host:port`, `[v6]:port`.
pub(super) fn host_port(text: &str) -> Result<HostPort, &'static str> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(HostPort { host: host(text)?, port: None });
    }
    match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            Ok(HostPort { host: host(name)?, port: Some(port_number(port)?) })
        }
        _ => Ok(HostPort { host: host(text)?, port: None }),
    }
}

/// `udp://0.0.0.0:5060`; the port may be left out.
pub(super) fn listen(text: &str) -> Result<(Transport, SocketAddr), &'static str> {
    const FORM: &str = "must be like udp://0.0.0.0:5060 (udp, tcp, tls, ws or wss, and an address)";
    let (scheme, address) = text.split_once("://").ok_or(FORM)?;
    let (transport, default) = match scheme {
        "udp" => (Transport::Udp, 5060),
        "tcp" => (Transport::Tcp, 5060),
        "tls" => (Transport::Tls, 5061),
        "ws" => (Transport::Ws, 80),
        "wss" => (Transport::Wss, 443),
        _ => return Err(FORM),
    };
    let address = address.strip_suffix('/').unwrap_or(address);
    let HostPort { host, port } = host_port(address).map_err(|_| FORM)?;
    let ip: IpAddr = host.parse().map_err(|_| FORM)?;
    Ok((transport, SocketAddr::new(ip, port.unwrap_or(default))))
}

/// An address with a port.
pub(super) fn socket(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address and a port, like 127.0.0.1:8080")
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address")
}

/// `30000-39999`: whole pairs of an even RTP port and the odd RTCP port above it (RFC 3550 11).
pub(super) fn port_range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').ok_or("must be like 30000-39999")?;
    let (first, last) = (port_number(first.trim())?, port_number(last.trim())?);
    if first < 1024 {
        return Err("ports below 1024 are not for media");
    }
    let first = first.checked_add(first % 2).ok_or("the range is too short")?;
    let last = if last % 2 == 0 { last - 1 } else { last };
    // One call with two sides, and as much again for a port that is resting.
    if first > last || last - first < 7 {
        return Err("the range is too short: at least four pairs of an even and an odd port are needed");
    }
    Ok((first, last))
}

fn port_number(text: &str) -> Result<u16, &'static str> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    number.filter(|port| *port > 0).ok_or("is no port from 1 to 65535")
}

/// A number that is dialled to make the node do something: `*11`, `**`, `#31#`, `900`.
pub(super) fn code(text: &str) -> Result<Box<str>, &'static str> {
    if !(1..=16).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
    {
        return Err("must be 1 to 16 of the keys 0-9 * #");
    }
    if text.ends_with('#') {
        return Err("must not end in #, which phones add to end a number");
    }
    Ok(text.into())
}

/// The same, or `off`.
pub(super) fn code_or_off(text: &str) -> Result<Option<Box<str>>, &'static str> {
    if text == "off" { Ok(None) } else { code(text).map(Some) }
}

/// An algorithm of digest.
pub(super) fn algorithm(text: &str) -> Result<Algorithm, &'static str> {
    Algorithm::from_token(text.as_bytes()).ok_or("must be MD5, SHA-256 or SHA-512-256")
}

/// `N` bytes in hexadecimal.
pub(super) fn hex<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let wanted = || format!("must be {} hexadecimal digits", 2 * N);
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(wanted());
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(pair).map_err(|_| wanted())?;
        let valid = digits.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| valid).ok_or_else(wanted)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_hosts_are_read() {
        let at = |t: &str| listen(t).map(|(transport, at)| (transport.uri_token(), at.to_string()));
        assert_eq!(at("udp://0.0.0.0:5060"), Ok(("udp", "0.0.0.0:5060".into())));
        assert_eq!(at("tls://[::]"), Ok(("tls", "[::]:5061".into())));
        assert_eq!(at("wss://[::1]:8443/"), Ok(("wss", "[::1]:8443".into())));
        for wrong in [
            "0.0.0.0:5060",
            "sctp://0.0.0.0",
            "udp://",
            "udp://name:5060",
            "udp://0.0.0.0:0",
            "udp://0.0.0.0:70000",
        ] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
        let hp = |t: &str| host_port(t).map(|h| (h.host.to_string(), h.port));
        assert_eq!(hp("203.0.113.10:5060"), Ok(("203.0.113.10".into(), Some(5060))));
        assert_eq!(hp("PBX.example.com"), Ok(("pbx.example.com".into(), None)));
        assert_eq!(hp("[2001:db8::1]:5060"), Ok(("2001:db8::1".into(), Some(5060))));
        assert_eq!(hp("2001:db8::1"), Ok(("2001:db8::1".into(), None)));
        for wrong in ["", "a b", "-a.example", "a..b", "1.2.3.4.5", "300.1.1.1", "host:", "host:0", "a/b"] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn port_ranges_are_cut_to_whole_pairs() {
        assert_eq!(port_range("30000-39999"), Ok((30000, 39999)));
        assert_eq!(port_range("30001 - 39998"), Ok((30002, 39997)));
        for wrong in
            ["", "30000", "39999-30000", "80-90", "30000-30006", "30000-99999", "a-b", "-1-5", "65535-65535"]
        {
            assert!(port_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hashes_have_their_length() {
        assert_eq!(hex::<2>("00fF"), Ok([0, 255]));
        for wrong in ["", "00f", "00f+", "+1+1", "00ffa", "zzzz", "éé"] {
            assert!(hex::<2>(wrong).is_err(), "{wrong}");
        }
    }
}
