//! How many calls each trunk takes: at once, and begun in a second. Both directions count.

use super::model::Party;
use super::settings::Trunk;
use crate::base::Timestamp;
use crate::sip::Refusal;

/// What a call takes out of a bucket: the bucket gains `per_second` of it in each microsecond.
const CALL: u64 = 1_000_000;
/// When a trunk that has no line free is worth another try.
const RETRY_CALLS: u32 = 5;
/// A bucket has room for a call after a second at the latest.
const RETRY_RATE: u32 = 1;

/// What the trunks carry, each by its place in the settings.
#[derive(Debug, Default)]
pub struct Capacity(Vec<Load>);

#[derive(Debug)]
struct Load {
    calls: u32,
    most: Option<u32>,
    rate: Option<Bucket>,
}

impl Load {
    fn new(trunk: &Trunk) -> Self {
        Self { calls: 0, most: trunk.policy.max_calls, rate: trunk.policy.max_cps.map(Bucket::new) }
    }
}

/// A token bucket that holds the calls of one second.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    level: u64,
    at: Timestamp,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, level: per_second * CALL, at: Timestamp::ZERO }
    }

    /// Takes a call out, if there is one in it.
    fn take(&mut self, now: Timestamp) -> bool {
        let passed = now.as_micros().saturating_sub(self.at.as_micros());
        let gained = passed.saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.per_second * CALL);
        self.at = self.at.max(now);
        let left = self.level.checked_sub(CALL);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }
}

impl Capacity {
    /// That of the configured trunks, with no call on any.
    #[must_use]
    pub fn new(trunks: &[Trunk]) -> Self {
        Self(trunks.iter().map(Load::new).collect())
    }

    /// The bounds change; calls that are there stay, also beyond a bound that is lower now.
    pub fn follow(&mut self, trunks: &[Trunk]) {
        for (index, trunk) in trunks.iter().enumerate() {
            let Some(load) = self.0.get_mut(index) else {
                self.0.push(Load::new(trunk));
                continue;
            };
            load.most = trunk.policy.max_calls;
            let is_same =
                load.rate.as_ref().map(|bucket| bucket.per_second) == trunk.policy.max_cps.map(u64::from);
            if !is_same {
                load.rate = trunk.policy.max_cps.map(Bucket::new);
            }
        }
    }

    /// A trunk is new at a place that was another's, of which nothing is left.
    pub fn empty(&mut self, trunk: usize) {
        if let Some(load) = self.0.get_mut(trunk) {
            *load = Load { calls: 0, most: None, rate: None };
        }
    }

    /// Whether a trunk has a line free.
    ///
    /// # Errors
    /// It has as many calls as it may have.
    pub fn has_line(&self, trunk: usize) -> Result<(), Refusal> {
        let is_full = self.0.get(trunk).is_some_and(|load| load.most.is_some_and(|most| load.calls >= most));
        if is_full {
            return Err(Refusal::Overloaded { what: "calls of a trunk", retry_after: RETRY_CALLS });
        }
        Ok(())
    }

    /// Lets a call begin that is new to a trunk. Only one that finds a line counts toward the rate.
    ///
    /// # Errors
    /// No line is free, or too many calls began within a second.
    pub fn admit(&mut self, trunk: usize, now: Timestamp) -> Result<(), Refusal> {
        self.has_line(trunk)?;
        let rate = self.0.get_mut(trunk).and_then(|load| load.rate.as_mut());
        if rate.is_none_or(|bucket| bucket.take(now)) {
            return Ok(());
        }
        Err(Refusal::Overloaded { what: "calls per second of a trunk", retry_after: RETRY_RATE })
    }

    /// A leg has begun.
    pub(super) fn enter(&mut self, party: &Party) {
        if let Some(load) = self.load_of(party) {
            load.calls = load.calls.saturating_add(1);
        }
    }

    /// A leg is gone; its trunk has room for one more.
    pub(super) fn leave(&mut self, party: &Party) {
        if let Some(load) = self.load_of(party) {
            load.calls = load.calls.saturating_sub(1);
        }
    }

    fn load_of(&mut self, party: &Party) -> Option<&mut Load> {
        match party {
            Party::Trunk { index, .. } => self.0.get_mut(*index),
            Party::User { .. } | Party::Service(_) => None,
        }
    }

    /// Calls on each trunk, in the order of the settings.
    pub fn calls(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|load| load.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_the_calls_of_one_second_and_then_as_many_as_flow_in() {
        let mut bucket = Bucket::new(3);
        let at = |micros: u64| Timestamp::from_micros(5_000_000 + micros);
        let taken = |bucket: &mut Bucket, micros| (0..10).filter(|_| bucket.take(at(micros))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 333_333), 0, "a third of a second is a little more");
        assert_eq!(taken(&mut bucket, 333_334), 1);
        assert_eq!(taken(&mut bucket, 1_000_000), 2, "what is asked in vain takes nothing");
        assert_eq!(taken(&mut bucket, 0), 0, "time does not go back");
        assert_eq!(taken(&mut bucket, 1_000_000_000), 3, "silence saves up no more than a second");
        let in_all: usize = (0..1000).map(|step| taken(&mut bucket, 2_000_000_000 + step * 10_000)).sum();
        assert_eq!(in_all, 3 + 29, "ten seconds less the last step");
    }
}
