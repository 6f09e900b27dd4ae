//! How often each source failed to prove who it is, and which of them is banned for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::budget::KIND;
use crate::base::{Now, Timestamp, UnixMillis};
use crate::engine::settings::Ban;
use crate::engine::store::FailureCounter;

/// Sources that are remembered. Of mere counters the oldest gives way; a ban only where there is nothing else.
const MAX_SOURCES: usize = 16_384;

/// What is known of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Failures {
    count: u32,
    /// When its window began.
    since: Timestamp,
    /// Later than `now` while it is banned.
    banned_until: Timestamp,
}

/// What is counted as one source: an IPv4 address, an IPv6 network of 64 bits, which one host has all to itself.
pub(super) fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 64))),
    }
}

/// Sources that failed.
pub(super) struct Sources {
    settings: Ban,
    most: usize,
    known: BTreeMap<IpAddr, Failures>,
    /// Sources that are only counted, by when that ends.
    counted: BTreeSet<(Timestamp, IpAddr)>,
    /// Sources that were banned, by when that ends.
    banned: BTreeSet<(Timestamp, IpAddr)>,
    /// Sources whose row in the store is not what is known here.
    changed: Vec<IpAddr>,
}

impl Sources {
    pub(super) fn new(settings: Ban) -> Self {
        let (known, counted, banned, changed) = Default::default();
        Self { settings, most: MAX_SOURCES, known, counted, banned, changed }
    }

    /// Counts by other bounds from now on. Who is banned stays so, unless it is never banned by now.
    pub(super) fn follow(&mut self, settings: Ban) {
        self.settings = settings;
        let allowed: Vec<IpAddr> = self.known.keys().copied().filter(|ip| self.is_allowed(*ip)).collect();
        for ip in allowed {
            self.take_out(ip);
        }
    }

    /// How many messages a second a stranger may send; 0: no bound.
    pub(super) fn strangers(&self) -> u32 {
        self.settings.strangers
    }

    pub(super) fn is_allowed(&self, ip: IpAddr) -> bool {
        let source = |(network, prefix): &(IpAddr, u8)| crate::call::settings::Source {
            network: *network,
            prefix: *prefix,
            port: None,
        };
        self.settings.allow.iter().map(source).any(|source| source.contains(SocketAddr::new(ip, 0)))
    }

    pub(super) fn is_banned(&self, now: Timestamp, ip: IpAddr) -> bool {
        !self.banned.is_empty()
            && self.known.get(&source_of(ip)).is_some_and(|found| found.banned_until > now)
    }

    /// Counts a failure; true if it was the one that leads to a ban.
    pub(super) fn fail(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        if self.is_allowed(ip) {
            return false;
        }
        let ip = source_of(ip);
        let fresh = Failures { count: 0, since: now, banned_until: Timestamp::ZERO };
        let mut found = self.forget(ip).unwrap_or(fresh);
        if found.since + self.settings.window <= now {
            // The window is over. A ban is not: what somebody else behind that address does cuts it short by nothing.
            found = Failures { banned_until: found.banned_until, ..fresh };
        }
        found.count = found.count.saturating_add(1);
        let is_ban = found.count >= self.settings.failures;
        if is_ban {
            found = Failures { banned_until: now + self.settings.ban, ..fresh };
        }
        self.make_room(now);
        self.remember(now, ip, found);
        self.changed.push(ip);
        is_ban
    }

    /// Takes up what the store had.
    pub(super) fn restore(&mut self, now: Now, ip: IpAddr, row: &FailureCounter) {
        // A clock that went back makes no window and no ban longer than it is.
        let gone = Duration::from_millis(now.unix.0.saturating_sub(row.window.0));
        let left = row.banned_until.map_or(0, |until| until.0.saturating_sub(now.unix.0));
        let left = Duration::from_millis(left).min(self.settings.ban);
        let is_counted = gone < self.settings.window && row.count > 0;
        if (left.is_zero() && !is_counted) || self.is_allowed(ip) || self.known.len() >= self.most {
            self.changed.push(ip);
            return;
        }
        let count = if is_counted { row.count } else { 0 };
        self.remember(now.at, ip, Failures { count, since: now.at - gone, banned_until: now.at + left });
    }

    /// Rows for the store of what has changed since last asked.
    pub(super) fn take_rows(&mut self, now: Now, into: &mut Vec<FailureCounter>) {
        for ip in std::mem::take(&mut self.changed) {
            let found = self.known.get(&ip);
            let began = found.map_or(now.at, |found| found.since);
            let left = found.map_or(Duration::ZERO, |found| found.banned_until.since(now.at));
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            into.push(FailureCounter {
                kind: KIND.into(),
                key: format!("source {ip}").into(),
                count: found.map_or(0, |found| found.count),
                window: UnixMillis(now.unix.0.saturating_sub(millis(now.at.since(began)))),
                banned_until: (!left.is_zero()).then(|| UnixMillis(now.unix.0.saturating_add(millis(left)))),
            });
        }
    }

    fn remember(&mut self, now: Timestamp, ip: IpAddr, found: Failures) {
        if found.banned_until > now {
            self.banned.insert((found.banned_until, ip));
        } else {
            self.counted.insert((found.since + self.settings.window, ip));
        }
        self.known.insert(ip, found);
    }

    fn forget(&mut self, ip: IpAddr) -> Option<Failures> {
        let found = self.known.remove(&ip)?;
        self.banned.remove(&(found.banned_until, ip));
        // The window may have had another length when it was remembered.
        if !self.counted.remove(&(found.since + self.settings.window, ip)) {
            self.counted.retain(|(_, known)| *known != ip);
        }
        Some(found)
    }

    fn take_out(&mut self, ip: IpAddr) -> bool {
        self.changed.push(ip);
        self.forget(ip).is_some()
    }

    /// Whoever's time is over goes; where that is not enough, the oldest counter; where there is none, the ban that
    /// would end first.
    fn make_room(&mut self, now: Timestamp) {
        let is_over = |first: Option<&(Timestamp, IpAddr)>| first.copied().filter(|(until, _)| *until <= now);
        while let Some((_, ip)) = is_over(self.counted.first()).or_else(|| is_over(self.banned.first())) {
            self.take_out(ip);
        }
        while self.known.len() >= self.most
            && let Some((_, ip)) = self.counted.first().or_else(|| self.banned.first()).copied()
        {
            self.take_out(ip);
        }
    }

    /// Sources that are banned now, with the time left.
    pub(super) fn banned(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, Duration)> {
        self.known
            .iter()
            .filter(move |(_, found)| found.banned_until > now)
            .map(move |(ip, found)| (*ip, found.banned_until.since(now)))
    }

    /// Listens to a source again, and forgets its failures; false if it was not banned.
    pub(super) fn lift(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        self.is_banned(now, ip) && self.take_out(source_of(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sources(most: usize) -> Sources {
        let (window, ban) = (Duration::from_secs(60), Duration::from_secs(600));
        let settings = Ban { failures: 3, window, ban, allow: Vec::new(), strangers: 0 };
        Sources { most, ..Sources::new(settings) }
    }

    fn banned(sources: &Sources, second: u64) -> Vec<String> {
        sources.banned(at(second)).map(|(ip, _)| ip.to_string()).collect()
    }

    #[test]
    fn a_failure_after_the_window_does_not_end_a_ban() {
        let (mut sources, thief) = (sources(9), ip("192.0.2.1"));
        let failed: Vec<bool> = (0..3).map(|second| sources.fail(at(second), thief)).collect();
        assert_eq!(failed, [false, false, true]);
        assert!(!sources.fail(at(70), thief) && sources.is_banned(at(70), thief));
        assert_eq!((banned(&sources, 601).len(), banned(&sources, 602).len()), (1, 0));
        // Who goes on is banned for longer, counted anew.
        assert!(!sources.fail(at(71), thief) && sources.fail(at(72), thief));
        assert_eq!((banned(&sources, 671).len(), banned(&sources, 672).len()), (1, 0));
    }

    #[test]
    fn the_oldest_counter_gives_way_and_no_ban_before_it() {
        let mut sources = sources(3);
        for second in 0..3 {
            sources.fail(at(second), ip("192.0.2.1"));
        }
        // The higher address is the older counter.
        sources.fail(at(3), ip("192.0.2.9"));
        sources.fail(at(4), ip("192.0.2.5"));
        sources.fail(at(5), ip("192.0.2.7"));
        let known: Vec<String> = sources.known.keys().map(ToString::to_string).collect();
        assert_eq!(known, ["192.0.2.1", "192.0.2.5", "192.0.2.7"]);
        assert_eq!(banned(&sources, 6), ["192.0.2.1"]);
        // Nothing but bans: the one that ends first goes for a new one.
        for second in 6..10 {
            sources.fail(at(second), ip("192.0.2.5"));
            sources.fail(at(second), ip("192.0.2.7"));
        }
        sources.fail(at(20), ip("192.0.2.2"));
        assert_eq!(banned(&sources, 21), ["192.0.2.5", "192.0.2.7"]);
        assert_eq!((sources.known.len(), sources.counted.len() + sources.banned.len()), (3, 3));
        // All of it ends.
        sources.fail(at(5000), ip("192.0.2.3"));
        assert_eq!((sources.known.len(), sources.counted.len() + sources.banned.len()), (1, 1));
    }

    #[test]
    fn other_bounds_leave_no_trace_of_who_is_spared() {
        let (mut sources, office) = (sources(9), ip("192.0.2.1"));
        sources.fail(at(0), office);
        for _ in 0..3 {
            sources.fail(at(0), ip("2001:db8::1"));
        }
        assert!(sources.is_banned(at(1), ip("2001:db8::ffff")), "one network is one source");
        let window = Duration::from_secs(5);
        sources.follow(Ban { window, allow: vec![(office, 32)], ..sources.settings.clone() });
        assert_eq!((sources.known.len(), sources.counted.len(), sources.banned.len()), (1, 0, 1));
        assert!(!sources.fail(at(1), office) && sources.known.len() == 1);
        assert!(sources.lift(at(2), ip("2001:db8::2")) && !sources.lift(at(2), ip("2001:db8::2")));
        assert!(sources.known.is_empty() && sources.banned.is_empty());
    }
}
