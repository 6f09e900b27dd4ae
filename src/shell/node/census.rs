//! Who is connected: counts by source, so that no address takes the room of all others.
//!
//! A connection holds a [`Seat`]; the count is what is seated, and can be nothing else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::bounds::Bounds;

/// Sources without a connection that are remembered for what they began lately.
const REMEMBERED: usize = 4_096;

/// Who is connected.
pub(super) struct Census {
    bounds: Bounds,
    counts: Mutex<Counts>,
    /// What waits to be written on all connections.
    queued: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Counts {
    all: Share,
    each: BTreeMap<IpAddr, Source>,
    /// IPv6 /48s.
    wide: BTreeMap<Ipv6Addr, Share>,
}

/// What somebody has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Share {
    connections: usize,
    handshakes: usize,
}

impl Share {
    fn has_room(self, connections: usize, handshakes: usize, shakes: bool) -> bool {
        self.connections < connections && (!shakes || self.handshakes < handshakes)
    }

    fn add(&mut self, shakes: bool) {
        self.connections += 1;
        self.handshakes += usize::from(shakes);
    }
}

/// One address, or IPv6 /64.
struct Source {
    share: Share,
    arrivals: Meter,
    messages: Meter,
    /// What waits to be written on its connections.
    queued: Arc<AtomicUsize>,
}

impl Source {
    fn new(now: Instant) -> Self {
        Self { share: Share::default(), arrivals: Meter(now), messages: Meter(now), queued: Arc::default() }
    }

    /// Whether nothing is lost when it is forgotten.
    fn is_gone(&self, now: Instant) -> bool {
        self.share.connections == 0 && self.arrivals.is_paid(now) && self.messages.is_paid(now)
    }
}

impl Counts {
    /// Changes what the seat of a source counts in.
    fn change(&mut self, source: IpAddr, change: impl Fn(&mut Share)) {
        change(&mut self.all);
        if let Some(of_peer) = self.each.get_mut(&source) {
            change(&mut of_peer.share);
        }
        if let Some(network) = wide(source)
            && let Some(of_network) = self.wide.get_mut(&network)
        {
            change(of_network);
        }
    }
}

/// How a connection comes to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// A peer made it, and it is of use at once.
    Open,
    /// A peer made it, and a handshake comes first.
    Handshake,
    /// We make it.
    Ours,
}

impl Census {
    /// Of nobody yet.
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, counts: Mutex::default(), queued: Arc::default() })
    }

    /// A seat for a connection with `peer`; `None` where there is none left, or none for this peer.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, arrival: Arrival) -> Option<Seat> {
        let (bounds, now, source) = (&self.bounds, Instant::now(), source(peer));
        let (is_ours, shakes) = (arrival == Arrival::Ours, arrival == Arrival::Handshake);
        let mut guard = self.counts();
        let counts = &mut *guard;
        let most = if is_ours { bounds.most + bounds.reserve } else { bounds.most };
        if !counts.all.has_room(most, bounds.handshakes, shakes) {
            return None;
        }
        let of_network =
            wide(source).and_then(|network| counts.wide.get(&network)).copied().unwrap_or_default();
        if !is_ours && !of_network.has_room(bounds.most_wide, bounds.handshakes_wide, shakes) {
            return None;
        }
        if counts.each.len() > counts.all.connections + REMEMBERED {
            counts.each.retain(|_, known| !known.is_gone(now));
        }
        let of_peer = counts.each.entry(source).or_insert_with(|| Source::new(now));
        if !is_ours && !of_peer.share.has_room(bounds.most_each, bounds.handshakes_each, shakes) {
            return None;
        }
        if shakes {
            let (each, burst) = (interval(bounds.arrivals_each), bounds.most_each);
            if !of_peer.arrivals.wait(now, each, burst).is_zero() {
                return None;
            }
            of_peer.arrivals.count(now, each);
        }
        let queued = Arc::clone(&of_peer.queued);
        if let Some(network) = wide(source) {
            counts.wide.entry(network).or_default();
        }
        counts.change(source, |share| share.add(shakes));
        drop(guard);
        Some(Seat { census: Arc::clone(self), source, shakes, queued })
    }

    /// Whether half of the handshakes that may be are under way.
    pub(super) fn is_crowded(&self) -> bool {
        self.counts().all.handshakes * 2 >= self.bounds.handshakes
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queued.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection; given back when dropped.
pub(super) struct Seat {
    census: Arc<Census>,
    source: IpAddr,
    shakes: bool,
    queued: Arc<AtomicUsize>,
}

impl Seat {
    /// Counts what waits to be written on this connection.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog::new(&self.queued, &self.census.queued)
    }

    /// The handshake is over.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.shakes) {
            self.census.counts().change(self.source, |share| share.handshakes -= 1);
        }
    }

    /// Counts a message of the source. How long it has to wait, so that the source keeps to its rate.
    pub(super) fn meter(&self) -> Duration {
        let (now, rate) = (Instant::now(), self.census.bounds.rate_each);
        let mut counts = self.census.counts();
        let Some(of_peer) = counts.each.get_mut(&self.source) else { return Duration::ZERO };
        of_peer.messages.count(now, interval(rate));
        of_peer.messages.wait(now, interval(rate), usize::try_from(rate).unwrap_or(usize::MAX))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
        let mut guard = self.census.counts();
        let counts = &mut *guard;
        counts.change(self.source, |share| share.connections -= 1);
        // What a source has done is remembered until it is paid for, or it would come anew to do it again.
        if counts.each.get(&self.source).is_some_and(|known| known.is_gone(Instant::now())) {
            counts.each.remove(&self.source);
        }
        if let Some(network) = wide(self.source)
            && counts.wide.get(&network).is_some_and(|share| share.connections == 0)
        {
            counts.wide.remove(&network);
        }
    }
}

/// A rate, kept as the moment at which all that was counted so far is paid for.
struct Meter(Instant);

impl Meter {
    fn count(&mut self, now: Instant, each: Duration) {
        self.0 = self.0.max(now) + each;
    }

    /// How long until no more than `burst` are unpaid.
    fn wait(&self, now: Instant, each: Duration, burst: usize) -> Duration {
        let burst = u32::try_from(burst).unwrap_or(u32::MAX);
        self.0.saturating_duration_since(now).saturating_sub(each.saturating_mul(burst))
    }

    fn is_paid(&self, now: Instant) -> bool {
        self.0 <= now
    }
}

fn interval(rate: u32) -> Duration {
    Duration::from_secs(1) / rate.max(1)
}

/// Who counts as one: whoever has an IPv6 address has the 2^64 beside it.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The /48 of an IPv6 source: what one site is given (RFC 6177).
fn wide(source: IpAddr) -> Option<Ipv6Addr> {
    match source {
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80)),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn census(bounds: Bounds) -> Arc<Census> {
        Census::new(bounds)
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
        assert_ne!(of("2001:db8:0:1::5"), of("2001:db8:0:2::5"));
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }

    #[test]
    fn one_source_does_not_take_the_seats_of_another() {
        let census = census(Bounds { most: 5, most_each: 3, reserve: 1, ..Bounds::default() });
        let mut seats: Vec<_> = (0..3).map(|_| census.admit(NEAR, Arrival::Open).unwrap()).collect();
        assert!(census.admit(NEAR, Arrival::Open).is_none(), "a fourth");
        seats.push(census.admit(FAR, Arrival::Open).unwrap());
        // What we make ourselves is bounded by the whole alone.
        seats.push(census.admit(NEAR, Arrival::Ours).unwrap());
        assert!(census.admit(FAR, Arrival::Open).is_none(), "a sixth of all");
        // Where all seats are taken, we still go out.
        seats.push(census.admit(FAR, Arrival::Ours).unwrap());
        assert!(census.admit(FAR, Arrival::Ours).is_none(), "the reserve has an end");
        seats.clear();
        let counts = census.counts();
        assert_eq!((counts.all, counts.each.len(), counts.wide.len()), (Share::default(), 0, 0));
    }

    #[test]
    fn a_site_does_not_take_the_seats_of_all_with_its_many_networks() {
        let bounds = Bounds { most_wide: 3, handshakes_wide: 2, ..Bounds::default() };
        let census = census(bounds);
        let at =
            |network: u16, site: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, 1));
        let mut seats: Vec<_> =
            (0..2).map(|network| census.admit(at(network, 1), Arrival::Handshake).unwrap()).collect();
        assert!(census.admit(at(2, 1), Arrival::Handshake).is_none(), "a third handshake");
        seats.push(census.admit(at(3, 1), Arrival::Open).unwrap());
        assert!(census.admit(at(4, 1), Arrival::Open).is_none(), "a fourth connection");
        seats.push(census.admit(at(4, 1), Arrival::Ours).unwrap());
        seats.push(census.admit(at(0, 2), Arrival::Handshake).unwrap());
        seats.iter_mut().for_each(Seat::settle);
        assert_eq!(census.counts().all, Share { connections: 5, handshakes: 0 });
        seats.clear();
        assert!(census.counts().wide.is_empty());
        assert!(census.admit(at(5, 1), Arrival::Handshake).is_some());
    }

    #[test]
    fn who_comes_back_has_not_paid_by_going() {
        let census = census(Bounds { rate_each: 10, ..Bounds::default() });
        let seat = census.admit(NEAR, Arrival::Open).unwrap();
        assert!((0..10).all(|_| seat.meter().is_zero()));
        drop(seat);
        let seat = census.admit(NEAR, Arrival::Open).unwrap();
        assert!(!seat.meter().is_zero(), "the burst was spent");
    }

    #[test]
    fn half_open_handshakes_are_bounded_by_source_and_in_total() {
        let bounds = Bounds { handshakes: 3, handshakes_each: 2, ..Bounds::default() };
        let census = census(bounds);
        let mut first = census.admit(NEAR, Arrival::Handshake).unwrap();
        let _second = census.admit(NEAR, Arrival::Handshake).unwrap();
        assert!(census.admit(NEAR, Arrival::Handshake).is_none());
        let _third = census.admit(FAR, Arrival::Handshake).unwrap();
        assert!(census.admit(FAR, Arrival::Handshake).is_none(), "the fourth of all");
        first.settle();
        first.settle();
        assert!(census.admit(NEAR, Arrival::Handshake).is_some());
    }

    #[test]
    fn who_comes_and_goes_without_end_is_slowed_down() {
        let census = census(Bounds { most_each: 3, arrivals_each: 1, ..Bounds::default() });
        let arrived = (0..10).filter(|_| census.admit(NEAR, Arrival::Handshake).is_some()).count();
        assert!((3..=4).contains(&arrived), "{arrived}");
        assert!(census.admit(FAR, Arrival::Handshake).is_some());
        assert!(census.admit(NEAR, Arrival::Open).is_some(), "it costs nothing");
    }

    #[test]
    fn messages_beyond_the_rate_wait_and_those_of_others_do_not() {
        let census = census(Bounds { rate_each: 10, ..Bounds::default() });
        let (one, two) =
            (census.admit(NEAR, Arrival::Open).unwrap(), census.admit(NEAR, Arrival::Open).unwrap());
        let other = census.admit(FAR, Arrival::Open).unwrap();
        assert!((0..10).all(|_| one.meter().is_zero()), "a burst");
        let (eleventh, twelfth) = (one.meter(), two.meter());
        assert!(eleventh > Duration::from_millis(50) && twelfth > eleventh, "{eleventh:?} {twelfth:?}");
        assert!(other.meter().is_zero());
    }
}
