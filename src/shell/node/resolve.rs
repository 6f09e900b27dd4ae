//! Where the hosts of trunks are (RFC 3263 4): NAPTR, SRV, A and AAAA, looked up again before they grow old.
//!
//! Looking up is done here, beside the calls: what was found last is what the engine tries, in order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{RData, RecordType};

use tokio::sync::oneshot;

use crate::base::Random;
use crate::call::targets::{MAX_TARGETS, Ranked, Target};
use crate::sip::Transport;

/// What was found is looked up again after its time to live, within these bounds.
const FRESH: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));
/// What could not be looked up is tried again after this; what was found before stays.
const AGAIN: Duration = Duration::from_secs(15);
/// Hosts of one answer that are looked up in their turn.
const MAX_HOSTS: usize = 8;

/// What is looked up.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// A name.
    pub(super) host: Box<str>,
    /// A port in the URI: then there are no service records (4.2).
    pub(super) port: Option<u16>,
    /// A transport in the URI: then it is not DNS that chooses (4.1).
    pub(super) transport: Option<Transport>,
    /// Listeners: a target is reached from one of its transport and address family.
    pub(super) listeners: Vec<(Transport, SocketAddr)>,
}

impl Wanted {
    /// Whether DNS may choose this transport (4.1).
    pub(super) fn may_be(&self, transport: Transport) -> bool {
        self.transport.is_none() && self.port.is_none() && self.can_use(transport)
    }

    fn can_use(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|(own, _)| *own == transport)
    }

    fn leads_to(&self, target: &Target) -> bool {
        let fits = |at: &SocketAddr| at.is_ipv4() == target.peer.is_ipv4();
        let ip = target.peer.ip();
        let is_host = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
        let is_way = self.listeners.iter().any(|(own, at)| *own == target.transport && fits(at));
        is_host && is_way && !self.leads_home(target.peer)
    }

    /// Whether who listens there is ourselves: a call that went there would come back for ever.
    fn leads_home(&self, peer: SocketAddr) -> bool {
        // Only an address of this machine can be bound.
        let is_here = || UdpSocket::bind((peer.ip(), 0)).is_ok();
        let of_port = self.listeners.iter().filter(|(_, at)| at.port() == peer.port());
        let mut of_family = of_port.filter(|(_, at)| at.is_ipv4() == peer.is_ipv4());
        of_family.any(|(_, at)| at.ip() == peer.ip() || (at.ip().is_unspecified() && is_here()))
    }
}

/// Asks the name servers of the system, or those that are told.
pub(super) fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

fn name_server(at: &SocketAddr) -> NameServerConfig {
    let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
        way.port = at.port();
        way
    });
    NameServerConfig::new(at.ip(), true, ways.into())
}

/// Looks up one trunk for ever and tells what it finds; `first` when it has tried once.
pub(super) async fn keep_located(
    resolver: Arc<TokioResolver>,
    wanted: Wanted,
    mut random: Random,
    first: oneshot::Sender<()>,
    tell: impl Fn(Vec<Ranked>) + Send,
) {
    let (mut failed, mut first, mut known) = (false, Some(first), Vec::new());
    loop {
        let rest = match locate(&resolver, &wanted, &mut random).await {
            Ok(located) => {
                if located.targets.is_empty() && !failed {
                    tracing::warn!(host = %wanted.host, "the name has no address that a listener leads to");
                }
                failed = located.targets.is_empty();
                let until = located.until;
                known = located.joined(known, Instant::now());
                tell(known.iter().map(|(ranked, _)| *ranked).collect());
                until.saturating_duration_since(Instant::now()).clamp(FRESH.0, FRESH.1)
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(host = %wanted.host, %error, "the name cannot be looked up");
                }
                failed = true;
                AGAIN
            }
        };
        if let Some(first) = first.take() {
            // Whoever waited may have given up.
            let _ = first.send(());
        }
        tokio::time::sleep(if failed { AGAIN } else { rest }).await;
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) targets: Vec<Ranked>,
    /// Until when that holds.
    pub(super) until: Instant,
    /// Whether every question had an answer.
    pub(super) is_whole: bool,
}

impl Located {
    /// With what was known before, where not every question had an answer: a part of an answer says nothing of the rest,
    /// which is tried last, as long as an answer may hold. Each with when it was found.
    fn joined(self, known: Vec<(Ranked, Instant)>, now: Instant) -> Vec<(Ranked, Instant)> {
        let mut all: Vec<_> = self.targets.into_iter().map(|ranked| (ranked, now)).collect();
        if self.is_whole {
            return all;
        }
        let behind = all.iter().map(|(ranked, _)| ranked.rank + 2).max().unwrap_or(0);
        let recent = known.into_iter().filter(|(_, seen)| now.saturating_duration_since(*seen) < FRESH.1);
        for ((ranked, seen), rank) in recent.zip(behind..) {
            if all.len() < MAX_TARGETS && !all.iter().any(|(found, _)| found.target == ranked.target) {
                all.push((Ranked { rank, ..ranked }, seen));
            }
        }
        all
    }
}

/// Targets with their ranks: by transport, then by priority of the service, where calls are
/// shared by weight, then by family of addresses. Addresses of one host share its weight. What a name server refuses to say, or
/// cannot, does not hide what others say.
///
/// # Errors
/// Name servers that do not answer, and answers that are refusals, where nothing else was found. A name that has nothing is no
/// error.
pub(super) async fn locate(
    resolver: &TokioResolver,
    wanted: &Wanted,
    random: &mut Random,
) -> Result<Located, NetError> {
    let until = Instant::now() + FRESH.1;
    let mut found = Found { wanted, targets: Vec::new(), rank: 0, until, fault: None, silences: 0 };
    // Whether all was asked or not, what was found is there.
    let _ = search(&mut found, resolver, random).await;
    found.result()
}

/// Asks for all of it.
///
/// # Errors
/// Name servers do not answer, and are asked no more.
async fn search(found: &mut Found<'_>, resolver: &TokioResolver, random: &mut Random) -> Result<(), Silence> {
    let wanted = found.wanted;
    if let Some(port) = wanted.port {
        let transport = wanted.transport.unwrap_or(Transport::Udp);
        return found.addresses(resolver, &wanted.host, (transport, port), 1).await;
    }
    let services = match wanted.transport {
        Some(transport) => vec![(transport, service(transport, &wanted.host))],
        None => {
            let naptr = found.naptr(resolver).await?;
            // Who keeps the answer back must not choose the transport.
            if found.silences > 0 {
                return Err(Silence);
            }
            if naptr.is_empty() { guesses(wanted) } else { naptr }
        }
    };
    let mut is_served = false;
    for (transport, name) in services {
        // Nor must who keeps another answer back.
        if found.silences > 0 && wanted.transport.is_none() {
            return Err(Silence);
        }
        let records = found.srv(resolver, &name).await?;
        is_served |= !records.is_empty();
        // "A Target of "." means that the service is decidedly not available" (RFC 2782).
        let hosts = records.into_iter().filter(|srv| !srv.target.is_root()).collect();
        let mut last = None;
        for srv in in_order(hosts, random) {
            if last.replace(srv.priority).is_some_and(|last| last != srv.priority) {
                found.next_rank();
            }
            found.addresses(resolver, &srv.target.to_utf8(), (transport, srv.port), srv.weight).await?;
        }
        found.next_rank();
    }
    // "If no SRV records were found" (4.2); what has some says all that there is, and what is silent says nothing.
    if !is_served && found.silences == 0 {
        let transport = wanted.transport.unwrap_or(Transport::Udp);
        found.addresses(resolver, &wanted.host, (transport, default_port(transport)), 1).await?;
    }
    Ok(())
}

/// Questions of one search that may stay without an answer: each takes the resolver's whole patience.
const MAX_SILENCES: u8 = 2;

/// Too many did.
struct Silence;

/// What was found so far.
struct Found<'w> {
    wanted: &'w Wanted,
    targets: Vec<Ranked>,
    /// Of what is found next; the one after it is for the other family of addresses.
    rank: u32,
    until: Instant,
    /// The first answer that was none.
    fault: Option<NetError>,
    silences: u8,
}

impl Found<'_> {
    /// What is found from here on is tried after what was found before.
    const fn next_rank(&mut self) {
        self.rank += 2;
    }

    fn result(mut self) -> Result<Located, NetError> {
        self.targets.sort_by_key(|ranked| ranked.rank);
        let is_whole = self.fault.is_none();
        // What is not whole is asked for again soon.
        let until = if is_whole { self.until } else { Instant::now() };
        match self.fault {
            Some(fault) if self.targets.is_empty() => Err(fault),
            _ => Ok(Located { targets: self.targets, until, is_whole }),
        }
    }

    /// Names of service records by NAPTR (4.1).
    async fn naptr(&mut self, resolver: &TokioResolver) -> Result<Vec<(Transport, String)>, Silence> {
        let wanted = self.wanted;
        let records = self.records(resolver.lookup(absolute(&wanted.host), RecordType::NAPTR).await)?;
        let mut usable: Vec<(&NAPTR, Transport)> = records
            .iter()
            .filter_map(|record| match record {
                RData::NAPTR(naptr) => Some((naptr, transport_of(naptr)?)),
                _ => None,
            })
            .filter(|(_, transport)| wanted.can_use(*transport))
            .collect();
        usable.sort_by_key(|(naptr, _)| (naptr.order, naptr.preference));
        let name = |(naptr, transport): (&NAPTR, Transport)| (transport, naptr.replacement.to_utf8());
        Ok(usable.into_iter().map(name).take(MAX_HOSTS).collect())
    }

    /// Service records, as they come.
    async fn srv(&mut self, resolver: &TokioResolver, name: &str) -> Result<Vec<SRV>, Silence> {
        let records = self.records(resolver.srv_lookup(absolute(name)).await)?;
        let records = records.into_iter().filter_map(|record| match record {
            RData::SRV(srv) => Some(srv),
            _ => None,
        });
        Ok(records.collect())
    }

    /// Addresses of a host, of both families.
    async fn addresses(
        &mut self,
        resolver: &TokioResolver,
        host: &str,
        (transport, port): (Transport, u16),
        weight: u16,
    ) -> Result<(), Silence> {
        let addresses: Vec<IpAddr> = match resolver.lookup_ip(absolute(host)).await {
            Ok(lookup) => {
                self.until = self.until.min(lookup.valid_until());
                lookup.iter().collect()
            }
            Err(error) => return self.note(error),
        };
        // The weight is in 16ths, so that it can be shared.
        let share = |count: usize| u32::from(weight) * 16 / u32::try_from(count).unwrap_or(1).max(1);
        for &ip in &addresses {
            if self.targets.len() >= MAX_TARGETS {
                break;
            }
            let target = Target { transport, peer: SocketAddr::new(ip, port) };
            if !self.wanted.leads_to(&target) || self.targets.iter().any(|known| known.target == target) {
                continue;
            }
            let of_rank = self.targets.iter().find(|known| known.rank == self.rank);
            let is_other = of_rank.is_some_and(|first| first.target.peer.is_ipv4() != ip.is_ipv4());
            let of_family = addresses.iter().filter(|other| other.is_ipv4() == ip.is_ipv4()).count();
            let rank = self.rank + u32::from(is_other);
            self.targets.push(Ranked { target, rank, weight: share(of_family) });
        }
        Ok(())
    }

    fn records(
        &mut self,
        looked_up: Result<hickory_resolver::lookup::Lookup, NetError>,
    ) -> Result<Vec<RData>, Silence> {
        match looked_up {
            Ok(lookup) => {
                self.until = self.until.min(lookup.valid_until());
                Ok(lookup.answers().iter().map(|record| record.data.clone()).collect())
            }
            Err(error) => self.note(error).map(|()| Vec::new()),
        }
    }

    /// An answer without what was asked for is one; a refusal and a silence are kept for the end, and many silences are it.
    fn note(&mut self, error: NetError) -> Result<(), Silence> {
        if matches!(error, NetError::Dns(DnsError::NoRecordsFound(_))) {
            return Ok(());
        }
        self.silences += u8::from(!matches!(error, NetError::Dns(_)));
        self.fault.get_or_insert(error);
        if self.silences < MAX_SILENCES { Ok(()) } else { Err(Silence) }
    }
}

/// The name as it is, without the search list of the system.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

fn transport_of(naptr: &NAPTR) -> Option<Transport> {
    if !naptr.flags.eq_ignore_ascii_case(b"s") {
        return None;
    }
    match naptr.services.to_ascii_uppercase().as_slice() {
        b"SIP+D2U" => Some(Transport::Udp),
        b"SIP+D2T" => Some(Transport::Tcp),
        b"SIPS+D2T" => Some(Transport::Tls),
        _ => None,
    }
}

/// Without NAPTR "the client constructs an SRV query for each transport protocol it supports".
fn guesses(wanted: &Wanted) -> Vec<(Transport, String)> {
    let known = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let usable = known.into_iter().filter(|transport| wanted.can_use(*transport));
    usable.map(|transport| (transport, service(transport, &wanted.host))).collect()
}

fn service(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{host}"),
        Transport::Tls | Transport::Wss => format!("_sips._tcp.{host}"),
        Transport::Tcp | Transport::Ws => format!("_sip._tcp.{host}"),
    }
}

const fn default_port(transport: Transport) -> u16 {
    if matches!(transport, Transport::Tls) { 5061 } else { 5060 }
}

/// By priority; among equals by lot, in proportion to weight (RFC 2782).
fn in_order(mut records: Vec<SRV>, random: &mut Random) -> Vec<SRV> {
    // Those without weight come first, so that they have "a very small chance of being selected".
    records.sort_by_key(|srv| (srv.priority, srv.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let of_it = records.partition_point(|srv| srv.priority == priority);
        let chosen = random.lot(records.iter().take(of_it).map(|srv| srv.weight.into()));
        ordered.push(records.remove(chosen));
    }
    ordered.truncate(MAX_HOSTS);
    ordered
}

#[cfg(test)]
mod tests;
