//! What the configuration tells the call layer, resolved and immutable.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::policy::Policy;
use super::quirks::QuirkTable;
use super::rules::{Group, Rule};
use super::run::Runs;
use super::targets::Target;
use crate::base::{Secret, Zone};
use crate::media::plan::WebPlace;
use crate::sip::digest::Algorithm;
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Host, Uri};

/// One of our listeners: how it is reached from outside and from this machine.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The transport.
    pub transport: Transport,
    /// Where peers on the network reach it.
    pub address: SocketAddr,
    /// Where peers on this machine reach it; equal to `address` unless bound to a wildcard.
    pub loopback: SocketAddr,
    /// `address` as the `sent-by` of Via.
    pub sent_by: Box<str>,
    /// `loopback` as the `sent-by` of Via.
    pub loopback_sent_by: Box<str>,
}

impl Listener {
    /// A listener that is bound to, and reached at, these addresses.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, loopback: SocketAddr) -> Self {
        let sent_by = |address: SocketAddr| address.to_string().into_boxed_str();
        Self { transport, address, loopback, sent_by: sent_by(address), loopback_sent_by: sent_by(loopback) }
    }

    /// The `sent-by` that `peer` can answer to.
    #[must_use]
    pub fn sent_by_for(&self, peer: IpAddr) -> &str {
        if peer.is_loopback() { &self.loopback_sent_by } else { &self.sent_by }
    }
}

/// Whether media runs through us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Anchor {
    /// Always: every call can move without the far side noticing.
    #[default]
    Always,
    /// Only where a side is behind address translation.
    WhenNeeded,
    /// Never: descriptions pass untouched, a move is a re-INVITE.
    Never,
}

/// Where media is received and how sources are learned.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// Whether media runs through us.
    pub anchor: Anchor,
    /// Where media sockets are bound.
    pub bind: IpAddr,
    /// The address written into descriptions for peers on the network.
    pub address: IpAddr,
    /// The same for peers on this machine.
    pub loopback: IpAddr,
    /// The same for IPv6 peers, where we have such an address.
    pub address_v6: Option<IpAddr>,
    /// Silence after which a leg counts as dead; `None` never.
    pub timeout: Option<Duration>,
    /// Learning of sources.
    pub learning: crate::media::relay::Learning,
    /// Whether media may be, or must be, protected by SRTP.
    pub srtp: crate::media::plan::Rule,
    /// Number of media threads.
    pub threads: usize,
    /// Pairs of ports that may be open, of all threads together.
    pub pairs: usize,
    /// Calls whose speech may be converted at once.
    pub transcode: usize,
    /// Which descriptions are let in.
    pub screen: crate::media::plan::Screen,
    /// Browsers; `None`: none.
    pub web: Option<WebMedia>,
}

impl MediaSettings {
    /// Takes browsers, or none. Nobody else may name their port as its own.
    pub fn meet_browsers(&mut self, web: Option<WebMedia>) {
        for place in web.iter().flat_map(|web| &web.places) {
            self.screen.own_ports.insert(place.port);
        }
        self.web = web;
    }

    /// Where the browsers of a media thread meet us.
    #[must_use]
    pub fn web_place(&self, thread: u8) -> Option<&Arc<WebPlace>> {
        self.web.as_ref()?.places.get(usize::from(thread))
    }
}

/// Where browsers meet us.
#[derive(Clone, Debug)]
pub struct WebMedia {
    /// By media thread.
    pub places: Vec<Arc<WebPlace>>,
}

/// A static peer, trusted by its address.
#[derive(Clone, Debug, Default)]
pub struct Trunk {
    /// Its name in routes and records.
    pub name: Box<str>,
    /// The Request-URI pattern's host part and parameters: where calls to it go.
    pub host: Box<str>,
    /// Where it is, as far as its URI tells; what is looked up comes to the engine by and by.
    pub targets: Vec<Target>,
    /// Who may send us calls without credentials: networks (address, prefix length) with an optional port.
    pub from: Vec<Source>,
    /// What its challenges are answered with; `None`: they are not.
    pub auth: Option<TrunkAuth>,
    /// Whether we register there.
    pub register: bool,
    /// How often its targets are asked whether they are there; `None`: never.
    pub ping: Option<Duration>,
    /// How its calls are treated.
    pub policy: Policy,
    /// The configuration has it no more: it makes and takes no calls but those that are there.
    pub is_gone: bool,
}

impl Trunk {
    /// Its host as an address of record has it: without port and parameters (RFC 3261 19.1.1).
    #[must_use]
    pub fn bare_host(&self) -> String {
        let uri = format!("sip:{}", self.host);
        Uri::parse(&uri).map_or_else(|_| self.host.to_string(), |uri| uri.host().to_string())
    }

    /// Whether its network has `peer`.
    #[must_use]
    pub fn is_at(&self, peer: SocketAddr) -> bool {
        self.from.iter().any(|source| source.contains(peer))
    }
}

/// Our account at a trunk.
#[derive(Clone, Debug)]
pub struct TrunkAuth {
    /// The digest username.
    pub user: Box<str>,
    /// Its password.
    pub password: Secret,
    /// The only realm that is answered.
    pub realm: Option<Box<str>>,
}

/// A network, and a port where only one is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Network address.
    pub network: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// The one trusted port.
    pub port: Option<u16>,
}

impl Source {
    /// Whether `peer` is in it.
    #[must_use]
    pub fn contains(&self, peer: SocketAddr) -> bool {
        if self.port.is_some_and(|port| port != peer.port()) {
            return false;
        }
        match (self.network, peer.ip().to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                u64::from(u32::from(net)) >> shift == u64::from(u32::from(ip)) >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                u128::from(net).checked_shr(shift).unwrap_or(0)
                    == u128::from(ip).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// Caps of the call layer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls at once.
    pub calls: usize,
    /// Devices rung for one call.
    pub forks: usize,
    /// Time a call may ring.
    pub ringing: Duration,
    /// How long the other side of a device that died is kept; zero: not at all.
    pub rescue: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // Ringing: a little above Timer C's floor of three minutes (RFC 3261 16.6 step 11).
        let (ringing, rescue) = (Duration::from_secs(185), Duration::from_secs(20));
        Self { calls: 50_000, forks: 10, ringing, rescue }
    }
}

/// Everything the call layer takes from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this node in records.
    pub node: Box<str>,
    /// The domain.
    pub domain: Box<str>,
    /// Other names and addresses that mean this domain.
    pub aliases: Vec<Box<str>>,
    /// `User-Agent` and `Server`.
    pub software: Box<str>,
    /// Our listeners in the order of the configuration.
    pub listeners: Vec<Listener>,
    /// Media.
    pub media: MediaSettings,
    /// Digest algorithms in the order offered.
    pub algorithms: Vec<Algorithm>,
    /// Trunks.
    pub trunks: Vec<Trunk>,
    /// The rules of the dial plan, in their order.
    pub routes: Vec<Rule>,
    /// Groups of users.
    pub groups: Vec<Group>,
    /// The machine's zone, for rules that hold at times.
    pub zone: Zone,
    /// What user agents do in their own way.
    pub quirks: QuirkTable,
    /// The number that echoes.
    pub echo: Option<Box<str>>,
    /// The number that plays a tone.
    pub tone: Option<Box<str>>,
    /// How calls name the test run that they belong to; `None`: none does.
    pub runs: Option<Runs>,
    /// Whether somebody is told how each leg sounded.
    pub tells_quality: bool,
    /// Caps.
    pub limits: Limits,
}

impl Settings {
    /// Whether `host` (of a URI) means us.
    #[must_use]
    pub fn is_ours(&self, host: Host<'_>) -> bool {
        let mut names = std::iter::once(&self.domain).chain(&self.aliases);
        match (host, host.ip()) {
            (Host::Name(name), _) => names.any(|own| own.eq_ignore_ascii_case(name)),
            (_, Some(ip)) => {
                let is_ip = |own: &str| own.trim_matches(['[', ']']).parse() == Ok(ip);
                self.is_our_address(ip) || names.any(|own| is_ip(own))
            }
            (_, None) => false,
        }
    }

    /// Whether `ip` is one of our listeners' addresses.
    #[must_use]
    pub fn is_our_address(&self, ip: IpAddr) -> bool {
        self.listeners.iter().any(|listener| listener.address.ip() == ip || listener.loopback.ip() == ip)
    }

    /// The `sent-by` of our Via, and the host of our Contact, on `flow`.
    #[must_use]
    pub fn sent_by(&self, flow: &Flow) -> &str {
        self.listeners
            .get(usize::from(flow.listener))
            .or_else(|| self.listeners.first())
            .map_or("invalid.invalid", |listener| listener.sent_by_for(flow.peer.ip()))
    }

    /// The address we write into a description for `peer`.
    #[must_use]
    pub fn media_address(&self, peer: IpAddr) -> IpAddr {
        match peer.to_canonical() {
            ip if ip.is_loopback() && ip.is_ipv4() => self.media.loopback,
            IpAddr::V6(_) => self.media.address_v6.unwrap_or(self.media.address),
            IpAddr::V4(_) => self.media.address,
        }
    }

    /// The trunk for which `flow` may speak without credentials; the most specific entry wins. A WebSocket speaks for
    /// none: its address is that of a proxy before us, or of a machine whose browser does what any page wants.
    #[must_use]
    pub fn trunk_of(&self, flow: &Flow) -> Option<usize> {
        if flow.transport.is_web() {
            return None;
        }
        let mut best: Option<(u16, usize)> = None;
        for (index, trunk) in self.trunks.iter().enumerate().filter(|(_, trunk)| !trunk.is_gone) {
            for source in trunk.from.iter().filter(|source| source.contains(flow.peer)) {
                let weight = u16::from(source.prefix) + if source.port.is_some() { 256 } else { 0 };
                if best.is_none_or(|(known, _)| weight > known) {
                    best = Some((weight, index));
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// The listener of a transport from which `peer` is reached: of its address family, and one on loopback only
    /// for who is there. The first of several.
    #[must_use]
    pub fn listener_for(&self, transport: Transport, peer: SocketAddr) -> Option<u16> {
        nearest(&self.listeners, transport, peer)
    }
}

fn nearest(listeners: &[Listener], transport: Transport, peer: SocketAddr) -> Option<u16> {
    let is_local = peer.ip().is_loopback();
    let fits = |listener: &Listener| {
        let own = if is_local { listener.loopback } else { listener.address };
        (own.is_ipv4() == peer.is_ipv4(), own.ip().is_loopback() == is_local)
    };
    let usable = listeners.iter().enumerate().filter(|(_, listener)| listener.transport == transport);
    // Of equals `max_by_key` takes the last, which is the first when they are seen from the end.
    let best = usable.rev().max_by_key(|(_, listener)| fits(listener));
    best.and_then(|(index, _)| u16::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_reached_from_a_listener_that_leads_to_it() {
        let listener = |address: &str, loopback: &str| {
            Listener::new(Transport::Udp, address.parse().unwrap(), loopback.parse().unwrap())
        };
        let chosen =
            |listeners: &[Listener], peer: &str| nearest(listeners, Transport::Udp, peer.parse().unwrap());
        let several = [
            listener("127.0.0.1:5060", "127.0.0.1:5060"),
            listener("[2001:db8::1]:5060", "[::1]:5060"),
            listener("192.0.2.1:5060", "192.0.2.1:5060"),
            listener("192.0.2.2:5060", "192.0.2.2:5060"),
        ];
        assert_eq!(chosen(&several, "198.51.100.7:5060"), Some(2));
        assert_eq!(chosen(&several, "127.0.0.1:9"), Some(0));
        assert_eq!(chosen(&several, "[2001:db8::7]:9"), Some(1));
        assert_eq!(chosen(&several, "[::1]:9"), Some(1));
        // Bound to a wildcard, one listener leads everywhere.
        let wildcard = [listener("192.0.2.1:5060", "127.0.0.1:5060")];
        assert_eq!(chosen(&wildcard, "127.0.0.1:9"), Some(0));
        assert_eq!(chosen(&wildcard, "198.51.100.7:5060"), Some(0));
        assert_eq!(nearest(&wildcard, Transport::Tcp, "127.0.0.1:9".parse().unwrap()), None);
    }

    #[test]
    fn a_source_is_a_network_and_perhaps_a_port() {
        let source = |network: &str, prefix, port| Source { network: network.parse().unwrap(), prefix, port };
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(source("198.51.100.0", 24, None).contains(peer("198.51.100.7:5060")));
        assert!(!source("198.51.100.0", 24, None).contains(peer("198.51.101.7:5060")));
        assert!(source("203.0.113.7", 32, Some(5062)).contains(peer("203.0.113.7:5062")));
        assert!(!source("203.0.113.7", 32, Some(5062)).contains(peer("203.0.113.7:5060")));
        assert!(source("0.0.0.0", 0, None).contains(peer("8.8.8.8:1")));
        assert!(source("2001:db8::", 32, None).contains(peer("[2001:db8:1::1]:5060")));
        assert!(!source("2001:db8::", 32, None).contains(peer("198.51.100.7:5060")));
    }
}
