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
    connections: usize,
    handshakes: usize,
    each: BTreeMap<IpAddr, Source>,
}

/// One address, or IPv6 network.
struct Source {
    connections: usize,
    handshakes: usize,
    arrivals: Meter,
    messages: Meter,
    /// What waits to be written on its connections.
    queued: Arc<AtomicUsize>,
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
        let shakes = arrival == Arrival::Handshake;
        let mut counts = self.counts();
        if counts.connections >= bounds.most || (shakes && counts.handshakes >= bounds.handshakes) {
            return None;
        }
        if counts.each.len() > counts.connections + REMEMBERED {
            counts.each.retain(|_, known| known.connections > 0 || !known.arrivals.is_paid(now));
        }
        let of_peer = counts.each.entry(source).or_insert_with(|| Source {
            connections: 0,
            handshakes: 0,
            arrivals: Meter(now),
            messages: Meter(now),
            queued: Arc::default(),
        });
        if arrival != Arrival::Ours && of_peer.connections >= bounds.most_each {
            return None;
        }
        if shakes {
            let (each, burst) = (interval(bounds.arrivals_each), bounds.most_each);
            if of_peer.handshakes >= bounds.handshakes_each
                || !of_peer.arrivals.wait(now, each, burst).is_zero()
            {
                return None;
            }
            of_peer.arrivals.count(now, each);
            of_peer.handshakes += 1;
        }
        of_peer.connections += 1;
        let queued = Arc::clone(&of_peer.queued);
        counts.connections += 1;
        counts.handshakes += usize::from(shakes);
        Some(Seat { census: Arc::clone(self), source, shakes, queued })
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
            let mut counts = self.census.counts();
            counts.handshakes -= 1;
            if let Some(of_peer) = counts.each.get_mut(&self.source) {
                of_peer.handshakes -= 1;
            }
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
        let mut counts = self.census.counts();
        counts.connections -= 1;
        let Some(of_peer) = counts.each.get_mut(&self.source) else { return };
        of_peer.connections -= 1;
        if of_peer.connections == 0 && of_peer.arrivals.is_paid(Instant::now()) {
            counts.each.remove(&self.source);
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
        let census = census(Bounds { most: 5, most_each: 3, ..Bounds::default() });
        let mut seats: Vec<_> = (0..3).map(|_| census.admit(NEAR, Arrival::Open).unwrap()).collect();
        assert!(census.admit(NEAR, Arrival::Open).is_none(), "a fourth");
        seats.push(census.admit(FAR, Arrival::Open).unwrap());
        // What we make ourselves is bounded by the whole alone.
        seats.push(census.admit(NEAR, Arrival::Ours).unwrap());
        assert!(census.admit(FAR, Arrival::Open).is_none(), "a sixth of all");
        seats.clear();
        let counts = census.counts();
        assert_eq!((counts.connections, counts.handshakes, counts.each.len()), (0, 0, 0));
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
