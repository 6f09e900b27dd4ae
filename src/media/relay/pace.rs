//! How fast what takes its time may come.

use std::time::Duration;

use crate::base::Timestamp;

/// When all that came would be through, had each begun where the one before ended.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace(Timestamp);

impl Pace {
    /// Whether something that takes `length` may come now: not if what came before is more than `ahead` ahead of time.
    pub(super) fn admits(&mut self, now: Timestamp, length: Duration, ahead: Duration) -> bool {
        let through = self.0.max(now);
        let is_admitted = through.since(now) <= ahead;
        if is_admitted {
            self.0 = through + length;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_more_than_real_time_is_not() {
        let (mut pace, second, packet) = (Pace::default(), Duration::from_secs(1), Duration::from_millis(20));
        let mut admitted = |ms: u64| pace.admits(Timestamp::from_micros(1000 * ms), packet, second);
        assert_eq!((0..200).filter(|_| admitted(5000)).count(), 51, "a second, and the one that goes beyond");
        assert_eq!((0..1000).filter(|n| admitted(5000 + n)).count(), 49, "and then as it passes");
        assert!((0..1000).all(|n| admitted(60_000 + 20 * n)));
    }
}
