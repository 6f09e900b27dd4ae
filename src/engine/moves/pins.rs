//! How often a PIN may be tried (threats: guessing): five times in fifteen minutes against one user, and as often at
//! one device, whoever is tried there. It shuts the prompt of shared devices and nothing else: the user's own devices
//! need no PIN. The counters outlive a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Now, Timestamp, UnixMillis};
use crate::engine::store::FailureCounter;
use crate::moving::DeviceKey;

/// Failures within [`WINDOW`] after which nothing is right any more.
const TRIES: u32 = 5;
/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// The kind of our counters in the store.
const KIND: &str = "pin";

/// Whom a failure counts against. Both come from the accounts, so there are never more than those.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    User(Box<str>),
    Device(Box<str>),
}

impl Key {
    fn text(&self) -> Box<str> {
        match self {
            Self::User(name) => format!("user {name}").into(),
            Self::Device(address) => format!("device {address}").into(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("user", name) => Some(Self::User(name.into())),
            ("device", address) => Some(Self::Device(address.into())),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    count: u32,
    began: Timestamp,
    /// The same in calendar time, for the store.
    window: UnixMillis,
}

/// The counters.
#[derive(Default)]
pub(super) struct Pins {
    counters: BTreeMap<Key, Counter>,
}

impl Pins {
    /// Takes up what was counted before a restart.
    pub(super) fn restore(now: Now, rows: &[FailureCounter]) -> Self {
        let mut counters = BTreeMap::new();
        for row in rows.iter().filter(|row| &*row.kind == KIND) {
            let Some(key) = Key::read(&row.key) else { continue };
            // A clock that went back makes no window longer than it is.
            let gone = Duration::from_millis(now.unix.0.saturating_sub(row.window.0)).min(WINDOW);
            let left = WINDOW.saturating_sub(gone);
            if !left.is_zero() {
                // The window may have begun before our clock did: it ends when it would have ended.
                let began = Timestamp::from_micros(
                    (now.at.as_micros()).saturating_sub(u64::try_from(gone.as_micros()).unwrap_or(u64::MAX)),
                );
                counters.insert(key, Counter { count: row.count, began, window: row.window });
            }
        }
        Self { counters }
    }

    /// Whether a PIN of `user` is looked at, given at `device`.
    pub(super) fn is_open(&self, now: Timestamp, user: Option<&str>, device: &DeviceKey) -> bool {
        Self::keys(user, device).all(|key| {
            let counter = self.counters.get(&key).filter(|counter| counter.began + WINDOW > now);
            counter.is_none_or(|counter| counter.count < TRIES)
        })
    }

    /// Counts a try, before its outcome is known, so that tries at once are no way around; what is to be stored.
    pub(super) fn charge(&mut self, now: Now, user: Option<&str>, device: &DeviceKey) -> Vec<FailureCounter> {
        self.counters.retain(|_, counter| counter.began + WINDOW > now.at);
        Self::keys(user, device)
            .map(|key| {
                let fresh = Counter { count: 0, began: now.at, window: now.unix };
                let counter = self.counters.entry(key.clone()).or_insert(fresh);
                counter.count = counter.count.saturating_add(1);
                row(&key, *counter)
            })
            .collect()
    }

    /// The try was right: the user starts anew, and the device gets the one try back.
    pub(super) fn forgive(&mut self, user: &str, device: &DeviceKey) -> Vec<FailureCounter> {
        let mut rows = Vec::new();
        for key in Self::keys(Some(user), device) {
            let Some(counter) = self.counters.get_mut(&key) else { continue };
            counter.count = match key {
                Key::User(_) => 0,
                Key::Device(_) => counter.count.saturating_sub(1),
            };
            rows.push(row(&key, *counter));
            if counter.count == 0 {
                self.counters.remove(&key);
            }
        }
        rows
    }

    fn keys(user: Option<&str>, device: &DeviceKey) -> impl Iterator<Item = Key> {
        let user = user.map(|user| Key::User(user.into()));
        user.into_iter().chain([Key::Device(device.to_string().into())])
    }
}

fn row(key: &Key, counter: Counter) -> FailureCounter {
    let ends = counter.window.0.saturating_add(u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX));
    FailureCounter {
        kind: KIND.into(),
        key: key.text(),
        count: counter.count,
        window: counter.window,
        banned_until: (counter.count >= TRIES).then_some(UnixMillis(ends)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: u64) -> Now {
        Now { at: Timestamp::from_micros(seconds * 1_000_000), unix: UnixMillis(9_000_000 + seconds * 1000) }
    }

    fn lobby() -> DeviceKey {
        DeviceKey::new("rooms", "lobby")
    }

    #[test]
    fn five_tries_in_a_quarter_of_an_hour_by_user_and_by_device() {
        let (mut pins, attic) = (Pins::default(), DeviceKey::new("rooms", "attic"));
        for second in 0..5 {
            assert!(pins.is_open(now(second).at, Some("alice"), &lobby()));
            pins.charge(now(second), Some("alice"), &lobby());
        }
        let at = now(899).at;
        assert!(!pins.is_open(at, Some("alice"), &lobby()) && !pins.is_open(at, Some("alice"), &attic));
        assert!(!pins.is_open(at, Some("bob"), &lobby()) && !pins.is_open(at, None, &lobby()));
        assert!(pins.is_open(at, Some("bob"), &attic));
        assert!(pins.is_open(now(900).at, Some("alice"), &lobby()));
    }

    #[test]
    fn a_right_one_clears_the_user_and_costs_the_device_nothing() {
        let mut pins = Pins::default();
        for _ in 0..4 {
            pins.charge(now(0), None, &lobby());
        }
        pins.charge(now(0), Some("alice"), &lobby());
        let rows = pins.forgive("alice", &lobby());
        let counts: Vec<_> = rows.iter().map(|row| (&*row.key, row.count, row.banned_until)).collect();
        assert_eq!(counts, [("user alice", 0, None), ("device rooms*lobby", 4, None)]);
        // One's own PIN is no way to go on guessing others'.
        pins.charge(now(1), Some("bob"), &lobby());
        assert!(!pins.is_open(now(1).at, Some("bob"), &lobby()));
    }

    #[test]
    fn a_restart_keeps_what_is_left_of_the_window() {
        let mut pins = Pins::default();
        let mut rows = Vec::new();
        for _ in 0..5 {
            rows = pins.charge(now(0), Some("alice"), &lobby());
        }
        assert!(rows.iter().all(|row| row.banned_until == Some(UnixMillis(9_900_000))));
        // A new clock, ten minutes of calendar time later.
        let later = Now { at: Timestamp::from_micros(5_000_000), unix: UnixMillis(9_600_000) };
        let pins = Pins::restore(later, &rows);
        assert!(!pins.is_open(later.at, Some("alice"), &lobby()));
        let over = Now { at: later.at, unix: UnixMillis(9_900_000) };
        assert!(Pins::restore(over, &rows).is_open(over.at, Some("alice"), &lobby()));
        let other = FailureCounter { kind: "login".into(), ..rows[0].clone() };
        assert!(Pins::restore(later, &[other]).is_open(later.at, Some("alice"), &lobby()));
    }
}
