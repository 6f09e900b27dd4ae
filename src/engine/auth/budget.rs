//! Budgets of wrong passwords: so many at once, then one more every so often. As a leaky bucket whose whole state is the
//! instant at which it is full again, so that to forget one that is full is to change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{Now, Timestamp};
use crate::engine::store::FailureCounter;

/// The kind of these counters in the store.
pub(super) const KIND: &str = "digest";
/// Budgets that are remembered. The one that is nearest to full gives way.
const MAX_BUDGETS: usize = 16_384;

/// How much a budget holds, and how long one try takes to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

impl Limit {
    /// How long there is no try, of a budget that is full at `full`.
    pub(super) fn wait(self, now: Timestamp, full: Timestamp) -> Option<Duration> {
        let wait = full.since(now + self.refill * self.burst.saturating_sub(1));
        (!wait.is_zero()).then_some(wait)
    }

    /// When it is full after one try more.
    pub(super) fn charged(self, now: Timestamp, full: Timestamp) -> Timestamp {
        full.max(now) + self.refill
    }

    /// The budget for the store.
    pub(super) fn row(self, now: Now, key: &str, full: Timestamp) -> FailureCounter {
        let used = full.since(now.at).as_micros().div_ceil(self.refill.as_micros().max(1));
        FailureCounter {
            kind: KIND.into(),
            key: key.into(),
            count: u32::try_from(used).unwrap_or(u32::MAX),
            window: now.unix,
            banned_until: None,
        }
    }

    /// When a budget of the store is full; a clock that went back makes that no later.
    pub(super) fn restored(self, now: Now, row: &FailureCounter) -> Timestamp {
        let gone = Duration::from_millis(now.unix.0.saturating_sub(row.window.0));
        now.at + (self.refill * row.count.min(self.burst)).saturating_sub(gone)
    }
}

/// Budgets of one kind, by key.
pub(super) struct Budgets {
    limit: Limit,
    most: usize,
    full: BTreeMap<Box<str>, Timestamp>,
    by_end: BTreeSet<(Timestamp, Box<str>)>,
    /// Keys whose row in the store is not what is known here.
    changed: Vec<Box<str>>,
}

impl Budgets {
    pub(super) fn new(limit: Limit) -> Self {
        let (full, by_end, changed) = Default::default();
        Self { limit, most: MAX_BUDGETS, full, by_end, changed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// How long nothing is tried against `key`.
    pub(super) fn wait(&self, now: Timestamp, key: &str) -> Option<Duration> {
        self.limit.wait(now, *self.full.get(key)?)
    }

    /// Counts a wrong try; true if it was the last one.
    pub(super) fn charge(&mut self, now: Timestamp, key: &str) -> bool {
        let full = self.limit.charged(now, self.full.get(key).copied().unwrap_or_default());
        self.set(now, key, full);
        self.limit.wait(now, full).is_some()
    }

    /// Takes up what the store had.
    pub(super) fn restore(&mut self, now: Now, row: &FailureCounter) {
        let full = self.limit.restored(now, row);
        if full > now.at {
            self.set(now.at, &row.key, full);
            // It is what the store has.
            self.changed.pop();
        } else {
            self.changed.push(row.key.clone());
        }
    }

    fn set(&mut self, now: Timestamp, key: &str, full: Timestamp) {
        self.forget(key);
        while let Some((end, _)) = self.by_end.first()
            && (*end <= now || self.full.len() >= self.most)
            && let Some((_, gone)) = self.by_end.pop_first()
        {
            self.full.remove(&gone);
            self.changed.push(gone);
        }
        self.full.insert(key.into(), full);
        self.by_end.insert((full, key.into()));
        self.changed.push(key.into());
    }

    fn forget(&mut self, key: &str) {
        if let Some((key, full)) = self.full.remove_entry(key) {
            self.by_end.remove(&(full, key));
        }
    }

    /// Rows for the store of what has changed since last asked.
    pub(super) fn take_rows(&mut self, now: Now, into: &mut Vec<FailureCounter>) {
        for key in std::mem::take(&mut self.changed) {
            let full = self.full.get(&key).copied().unwrap_or_default();
            into.push(self.limit.row(now, &key, full));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;

    const LIMIT: Limit = Limit { burst: 3, refill: Duration::from_secs(60) };

    fn now(second: u64) -> Now {
        Now { at: Timestamp::from_micros(second * 1_000_000), unix: UnixMillis(5_000_000 + second * 1000) }
    }

    #[test]
    fn so_many_at_once_and_then_one_every_so_often() {
        let mut budgets = Budgets::new(LIMIT);
        let charged: Vec<bool> = (0..3).map(|_| budgets.charge(now(10).at, "bob")).collect();
        assert_eq!(charged, [false, false, true]);
        assert_eq!(budgets.wait(now(10).at, "bob"), Some(LIMIT.refill));
        assert_eq!(budgets.wait(now(10).at, "alice"), None);
        assert_eq!(budgets.wait(now(70).at, "bob"), None);
        assert!(budgets.charge(now(70).at, "bob"), "that was the one");
        assert_eq!(budgets.wait(now(250).at, "bob"), None);
        budgets.charge(now(251).at, "alice");
        assert_eq!((budgets.full.len(), budgets.by_end.len()), (1, 1), "whose budget is full is forgotten");
    }

    #[test]
    fn a_full_table_forgets_whoever_is_nearest_to_full() {
        let mut budgets = Budgets { most: 2, ..Budgets::new(LIMIT) };
        for key in ["bob", "bob", "alice", "carol", "dave"] {
            budgets.charge(now(1).at, key);
        }
        assert_eq!(budgets.full.keys().map(|key| &**key).collect::<Vec<_>>(), ["bob", "dave"]);
        let mut rows = Vec::new();
        budgets.take_rows(now(1), &mut rows);
        let mut last: BTreeMap<&str, u32> = BTreeMap::new();
        last.extend(rows.iter().map(|row| (&*row.key, row.count)));
        assert_eq!(
            last.into_iter().collect::<Vec<_>>(),
            [("alice", 0), ("bob", 2), ("carol", 0), ("dave", 1)]
        );
    }

    #[test]
    fn what_is_stored_is_restored_without_what_has_come_back() {
        let (mut budgets, mut rows) = (Budgets::new(LIMIT), Vec::new());
        for _ in 0..3 {
            budgets.charge(now(100).at, "bob");
        }
        budgets.take_rows(now(100), &mut rows);
        // A new clock, half a minute of calendar time later.
        let later = Now { at: Timestamp::from_micros(7), unix: UnixMillis(5_130_000) };
        let mut after = Budgets::new(LIMIT);
        after.restore(later, rows.last().unwrap());
        assert_eq!(after.wait(later.at, "bob"), Some(Duration::from_secs(30)));
        let back = Now { unix: UnixMillis(1), ..later };
        let mut after = Budgets::new(LIMIT);
        after.restore(back, rows.last().unwrap());
        assert_eq!(after.wait(later.at, "bob"), Some(LIMIT.refill), "a clock that went back");
        let mut after = Budgets::new(LIMIT);
        after.restore(Now { unix: UnixMillis(5_280_000), ..later }, rows.last().unwrap());
        assert!(after.is_empty());
    }
}
