//! How often somebody may try to sign in: token buckets per account and source, per source, per account, and for
//! all.
//!
//! A source from which an account has signed in before has its own allowance, which no stranger can use up: who
//! guesses at an account never locks its owner out. An account that does not exist is throttled as one that does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::UnixMillis;
use crate::engine::store::FailureCounter;

/// How much of an account name makes a key.
const KEY_LEN: usize = 64;

/// Entries of each table. A full table forgets the entry that is nearest to a full bucket.
const TABLE: usize = 10_000;

/// The `kind` of our failure counters in the store.
const KIND: &str = "login";

/// A bucket's size and how long one token takes to come back.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: f64,
    refill: Duration,
}

/// One account from one source: five tries in 15 minutes.
const PAIR: Limit = Limit { burst: 5.0, refill: Duration::from_secs(180) };
/// One source, whatever account: an office behind one address signs in on Monday morning, and successes cost
/// nothing.
const SOURCE: Limit = Limit { burst: 20.0, refill: Duration::from_secs(45) };
/// One account from strangers all over the world.
const ACCOUNT: Limit = Limit { burst: 10.0, refill: Duration::from_secs(30) };
/// Everything from strangers: what the password threads of a small machine can compute.
const GLOBAL: Limit = Limit { burst: 40.0, refill: Duration::from_millis(100) };

/// The buckets.
pub(super) struct Throttle(Mutex<Tables>);

struct Tables {
    pairs: BTreeMap<Key, Bucket>,
    sources: BTreeMap<Key, Bucket>,
    accounts: BTreeMap<Key, Bucket>,
    /// Where accounts have signed in from, and when.
    known: BTreeMap<Key, Instant>,
    global: Bucket,
}

type Key = Box<str>;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(limit: Limit, now: Instant) -> Self {
        Self { tokens: limit.burst, at: now }
    }

    fn level(&self, limit: Limit, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / limit.refill.as_secs_f64();
        (self.tokens + gained).min(limit.burst)
    }

    /// How long until there is a token.
    fn wait(&self, limit: Limit, now: Instant) -> Option<Duration> {
        let missing = 1.0 - self.level(limit, now);
        (missing > 0.0).then(|| limit.refill.mul_f64(missing))
    }

    fn add(&mut self, limit: Limit, now: Instant, tokens: f64) {
        *self = Self { tokens: (self.level(limit, now) + tokens).clamp(0.0, limit.burst), at: now };
    }
}

impl Throttle {
    /// All full, but for what the store remembers of before a restart.
    pub(super) fn new(now: Instant, unix: UnixMillis, remembered: &[FailureCounter]) -> Self {
        let mut tables = Tables {
            pairs: BTreeMap::new(),
            sources: BTreeMap::new(),
            accounts: BTreeMap::new(),
            known: BTreeMap::new(),
            global: Bucket::full(GLOBAL, now),
        };
        for counter in remembered.iter().filter(|counter| &*counter.kind == KIND).take(3 * TABLE) {
            let age = Duration::from_millis(unix.0.saturating_sub(counter.window.0));
            let at = now.checked_sub(age).unwrap_or(now);
            let Some((table, key)) = counter.key.split_once(':') else { continue };
            let (table, limit) = match table {
                "pair" => (&mut tables.pairs, PAIR),
                "source" => (&mut tables.sources, SOURCE),
                "account" => (&mut tables.accounts, ACCOUNT),
                _ => continue,
            };
            let tokens = (limit.burst - f64::from(counter.count)).max(0.0);
            table.insert(key.into(), Bucket { tokens, at });
        }
        Self(Mutex::new(tables))
    }

    /// Takes a try of `account` from `source`, or says how long to wait.
    pub(super) fn admit(&self, account: &str, source: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut tables = self.lock();
        let (pair, source, account) = keys(account, source);
        let is_known = tables.known.contains_key(&pair);
        let level = |table: &BTreeMap<Key, Bucket>, key: &Key, limit| {
            table.get(key).and_then(|bucket| bucket.wait(limit, now))
        };
        // A known pair answers for itself alone; everybody else for all four.
        let waits = [
            level(&tables.pairs, &pair, PAIR),
            level(&tables.sources, &source, SOURCE).filter(|_| !is_known),
            level(&tables.accounts, &account, ACCOUNT).filter(|_| !is_known),
            tables.global.wait(GLOBAL, now).filter(|_| !is_known),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        take(&mut tables.pairs, pair, PAIR, now);
        if !is_known {
            take(&mut tables.sources, source, SOURCE, now);
            take(&mut tables.accounts, account, ACCOUNT, now);
            tables.global.add(GLOBAL, now, -1.0);
        }
        Ok(())
    }

    /// The try was right: it cost nothing, and this source is known to the account from now on.
    pub(super) fn succeeded(&self, account: &str, source: IpAddr, now: Instant) {
        self.give_back(account, source, now);
        let mut tables = self.lock();
        let (pair, ..) = keys(account, source);
        if tables.known.len() >= TABLE && !tables.known.contains_key(&pair) {
            let oldest = tables.known.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.and_then(|key| tables.known.remove(&key));
        }
        tables.known.insert(pair, now);
    }

    /// Nobody looked at the try: it cost nothing.
    pub(super) fn give_back(&self, account: &str, source: IpAddr, now: Instant) {
        let mut tables = self.lock();
        let (pair, source, account) = keys(account, source);
        let give = |table: &mut BTreeMap<Key, Bucket>, key: &Key, limit| {
            if let Some(bucket) = table.get_mut(key) {
                bucket.add(limit, now, 1.0);
            }
        };
        give(&mut tables.pairs, &pair, PAIR);
        if !tables.known.contains_key(&pair) {
            give(&mut tables.sources, &source, SOURCE);
            give(&mut tables.accounts, &account, ACCOUNT);
            tables.global.add(GLOBAL, now, 1.0);
        }
    }

    /// What the store should remember: every bucket that was used. One that is full again is told once more, with
    /// no failures, and forgotten.
    pub(super) fn counters(&self, now: Instant, unix: UnixMillis) -> Vec<FailureCounter> {
        let mut tables = self.lock();
        let Tables { pairs, sources, accounts, .. } = &mut *tables;
        let mut counters = Vec::new();
        for (name, table, limit) in
            [("pair", pairs, PAIR), ("source", sources, SOURCE), ("account", accounts, ACCOUNT)]
        {
            for (key, bucket) in &*table {
                counters.push(FailureCounter {
                    kind: KIND.into(),
                    key: format!("{name}:{key}").into(),
                    count: (limit.burst - bucket.level(limit, now)).ceil() as u32,
                    window: unix,
                    banned_until: None,
                });
            }
            table.retain(|_, bucket| bucket.level(limit, now) < limit.burst);
        }
        counters
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(table: &mut BTreeMap<Key, Bucket>, key: Key, limit: Limit, now: Instant) {
    if table.len() >= TABLE && !table.contains_key(&key) {
        table.retain(|_, bucket| bucket.level(limit, now) < limit.burst);
    }
    if table.len() >= TABLE && !table.contains_key(&key) {
        let fullest = table
            .iter()
            .max_by(|(_, a), (_, b)| a.level(limit, now).total_cmp(&b.level(limit, now)))
            .map(|(key, _)| key.clone());
        fullest.and_then(|key| table.remove(&key));
    }
    table.entry(key).or_insert_with(|| Bucket::full(limit, now)).add(limit, now, -1.0);
}

/// Pair, source, account. An IPv6 source is its /64: whoever has one address there has them all.
fn keys(account: &str, source: IpAddr) -> (Key, Key, Key) {
    let source: Key = match source.to_canonical() {
        IpAddr::V4(ip) => ip.to_string().into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::").into()
        }
    };
    let account: Key = account.chars().take(KEY_LEN).collect::<String>().into();
    (format!("{source} {account}").into(), source, account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "192.0.2.1";
    const AWAY: &str = "198.51.100.7";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn throttle(now: Instant) -> Throttle {
        Throttle::new(now, UnixMillis(0), &[])
    }

    /// How many tries pass at one instant.
    fn tries(throttle: &Throttle, account: &str, source: &str, now: Instant) -> usize {
        (0..100).take_while(|_| throttle.admit(account, ip(source), now).is_ok()).count()
    }

    #[test]
    fn five_wrong_tries_and_one_more_every_three_minutes() {
        let now = Instant::now();
        let throttle = throttle(now);
        assert_eq!(tries(&throttle, "alice", AWAY, now), 5);
        let wait = throttle.admit("alice", ip(AWAY), now).unwrap_err();
        assert_eq!(wait, PAIR.refill);
        assert_eq!(tries(&throttle, "alice", AWAY, now + wait), 1);
    }

    #[test]
    fn one_source_gets_no_further_by_changing_the_name_and_the_name_need_not_exist() {
        let now = Instant::now();
        let throttle = throttle(now);
        let passed = (0..100).filter(|n| throttle.admit(&format!("user{n}"), ip(AWAY), now).is_ok()).count();
        assert_eq!(passed, 20);
        let other = Throttle::new(now, UnixMillis(0), &[]);
        let passed =
            (0..100).filter(|n| other.admit("alice", ip(&format!("2001:db8::{n:x}")), now).is_ok()).count();
        assert_eq!(passed, 5, "one /64 is one source");
    }

    #[test]
    fn the_owner_is_not_locked_out_by_strangers() {
        let now = Instant::now();
        let throttle = throttle(now);
        assert!(throttle.admit("alice", ip(HOME), now).is_ok());
        throttle.succeeded("alice", ip(HOME), now);
        let strangers =
            (0..200).filter(|n| throttle.admit("alice", ip(&format!("198.51.100.{n}")), now).is_ok()).count();
        assert_eq!(strangers, 10, "all strangers together");
        for n in 0..200 {
            let _ = throttle.admit("bob", ip(&format!("203.0.113.{n}")), now);
            let _ = throttle.admit(&format!("user{n}"), ip(&format!("203.0.113.{n}")), now);
        }
        assert!(throttle.admit("carol", ip("203.0.113.250"), now).is_err(), "the bucket of all is empty");
        assert_eq!(tries(&throttle, "alice", HOME, now), 5);
    }

    #[test]
    fn success_costs_nothing() {
        let now = Instant::now();
        let throttle = throttle(now);
        for n in 0..200 {
            let account = format!("user{}", n % 50);
            assert_eq!(throttle.admit(&account, ip(HOME), now), Ok(()), "{n}");
            throttle.succeeded(&account, ip(HOME), now);
        }
    }

    #[test]
    fn a_full_table_forgets_whoever_tried_least() {
        let now = Instant::now();
        let mut table = BTreeMap::new();
        for _ in 0..5 {
            take(&mut table, "alice".into(), PAIR, now);
        }
        for n in 0..TABLE + 50 {
            take(&mut table, format!("{n}").into(), PAIR, now);
        }
        assert_eq!(table.len(), TABLE);
        assert_eq!(table["alice"].level(PAIR, now), 0.0);
        take(&mut table, "bob".into(), PAIR, now + PAIR.refill);
        assert_eq!(table.len(), 2, "whose bucket is full again is forgotten first");
    }

    #[test]
    fn a_restart_forgets_no_failure() {
        let now = Instant::now();
        let before = throttle(now);
        assert_eq!(tries(&before, "alice", AWAY, now), 5);
        let counters = before.counters(now, UnixMillis(1_000_000));
        let later = now + Duration::from_secs(10);
        let after = Throttle::new(later, UnixMillis(1_010_000), &counters);
        assert_eq!(tries(&after, "alice", AWAY, later), 0);
        assert_eq!(tries(&after, "alice", AWAY, now + PAIR.refill), 1);
        assert_eq!(tries(&after, "alice", HOME, later), 5);
    }
}
