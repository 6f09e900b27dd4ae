//! `198.51.100.0/24`, `203.0.113.7`, `203.0.113.7:5062`: who counts as a known source.

use std::net::{IpAddr, SocketAddr};

/// Addresses with a common prefix, and perhaps one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

impl Network {
    /// Reads a network, an address, or an address with a port (IPv6 then in brackets).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a network (10.0.0.0/8), an address, or an address with a port is needed";
        if let Ok(address) = text.parse::<SocketAddr>() {
            let port = if address.port() == 0 { return Err("port 0 is no port") } else { address.port() };
            return Ok(Self { address: address.ip(), prefix: bits(address.ip()), port: Some(port) });
        }
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address = address.parse::<IpAddr>().map_err(|_| FORM)?;
        let prefix = match prefix {
            None => bits(address),
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => prefix.parse().map_err(|_| FORM)?,
            Some(_) => return Err(FORM),
        };
        if prefix > bits(address) {
            return Err("the prefix is longer than the address");
        }
        let network = Self { address, prefix, port: None };
        if network.masked(address) != as_bits(address) {
            return Err("address bits are set behind the prefix");
        }
        Ok(network)
    }

    /// Whether `peer` is in it. An IPv4 peer on an IPv6 socket counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == peer.port()) && self.contains_ip(peer.ip())
    }

    /// Whether `ip` is in it, whatever the port.
    #[must_use]
    pub fn contains_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        bits(ip) == bits(self.address) && self.masked(ip) == self.masked(self.address)
    }

    /// The network's address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The only port, if one was named.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    fn masked(&self, ip: IpAddr) -> u128 {
        let dropped = u32::from(bits(ip).saturating_sub(self.prefix));
        as_bits(ip).checked_shr(dropped).and_then(|kept| kept.checked_shl(dropped)).unwrap_or(0)
    }
}

const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn as_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_say() {
        let contains =
            |network: &str, peer: &str| Network::parse(network).unwrap().contains(peer.parse().unwrap());
        assert!(contains("198.51.100.0/24", "198.51.100.200:5060"));
        assert!(!contains("198.51.100.0/24", "198.51.101.1:5060"));
        assert!(contains("203.0.113.7:5062", "203.0.113.7:5062"));
        assert!(!contains("203.0.113.7:5062", "203.0.113.7:5060"));
        assert!(contains("203.0.113.7", "203.0.113.7:1"));
        assert!(contains("203.0.113.7", "[::ffff:203.0.113.7]:1"));
        assert!(contains("2001:db8::/32", "[2001:db8:1::1]:5060"));
        assert!(contains("[2001:db8::1]:5060", "[2001:db8::1]:5060"));
        assert!(contains("0.0.0.0/0", "192.0.2.1:5060"));
        assert!(!contains("0.0.0.0/0", "[2001:db8::1]:5060"));
        assert!(contains("::/0", "[2001:db8::1]:5060"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "::/129",
            "10.0.0.1:0",
            "a.example",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
