//! When to wake: at once while there is little to do, in small batches when there is much.
//!
//! What costs in a paced load is to wake, not to work. With enough packets under way a thread sleeps a moment after
//! each batch and lets the next one gather; a single call is never made to wait. Media and signalling threads have
//! it in common.

use std::time::Duration;

use crate::base::Timestamp;

/// What is collected, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collect {
    /// No pause is longer.
    pub(super) longest: Duration,
    /// Packets that a batch should have before it is worth a wake-up.
    pub(super) batch: u64,
    /// Packets a second from which on collecting pays. Below, each packet is served at once.
    pub(super) busy: u64,
}

/// Weight of the past in the estimate, in 1/8 per batch.
const MEMORY: u64 = 7;

/// The estimate of the load, and what follows from it.
#[derive(Debug)]
pub(super) struct Pace {
    collect: Collect,
    /// Packets a second.
    rate: u64,
    since: Timestamp,
    packets: u64,
}

/// The rate is looked at no more often than this, so that it is not the noise of single packets.
const WINDOW: Duration = Duration::from_millis(4);

impl Pace {
    /// With no load seen yet.
    pub(super) fn new(collect: Collect) -> Self {
        Self { collect, rate: 0, since: Timestamp::ZERO, packets: 0 }
    }

    /// Takes note of a batch that was begun at `now`. Gives how long to let the next one gather, if at all.
    pub(super) fn after(&mut self, now: Timestamp, packets: usize) -> Option<Duration> {
        self.packets += packets as u64;
        let span = now.since(self.since);
        if span >= WINDOW {
            let rate = self.packets * 1_000_000 / (span.as_micros() as u64).max(1);
            // A quiet second is no load at all, whatever was before it.
            self.rate = if span > Duration::from_secs(1) { rate } else { (self.rate * MEMORY + rate) / 8 };
            (self.since, self.packets) = (now, 0);
        }
        // Twice what was waited for: there is more already, and a thread that is kept from the processor must not
        // fall back further by sleeping.
        let is_behind = packets as u64 >= 2 * self.collect.batch;
        if self.rate < self.collect.busy || is_behind {
            return None;
        }
        let gather = Duration::from_micros(self.collect.batch * 1_000_000 / self.rate);
        Some(gather.min(self.collect.longest)).filter(|time| !time.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(longest: Duration) -> Pace {
        Pace::new(Collect { longest, batch: 24, busy: 2_000 })
    }

    struct Load {
        pace: Pace,
        now: u64,
    }

    impl Load {
        /// Runs `calls` of 100 packets a second each for 3 seconds; gives the mean size of a batch in the last one.
        fn run(&mut self, calls: u64) -> u64 {
            let (start, mut done, mut batches, mut packets) = (self.now, 0u64, 0, 0);
            while self.now < start + 3_000_000 {
                let arrived = (self.now - start) * calls * 100 / 1_000_000;
                let batch = arrived - done;
                done = arrived;
                if self.now > start + 2_000_000 {
                    batches += u64::from(batch > 0);
                    packets += batch;
                }
                let pause = self.pace.after(Timestamp::from_micros(self.now), batch as usize);
                // Forwarding costs 5 µs a packet; without a pause the thread wakes for the next packet.
                let next = 1_000_000 / (calls * 100);
                self.now += batch * 5 + pause.map_or(next, |p| p.as_micros() as u64).max(1);
            }
            packets / batches.max(1)
        }
    }

    #[test]
    fn few_calls_never_wait_and_many_come_in_batches() {
        let mut load = Load { pace: within(Duration::from_millis(1)), now: 1_000_000 };
        assert_eq!(load.run(10), 1);
        assert!(load.run(200) >= 15);
        assert!(load.run(500) >= 20);
        assert_eq!(load.run(10), 1, "and when the load is gone, no longer");
    }

    #[test]
    fn no_pause_is_longer_than_allowed() {
        let mut pace = within(Duration::from_micros(300));
        for n in 1..10_000u64 {
            let pause = pace.after(Timestamp::from_micros(n * 1000), (n % 50) as usize);
            assert!(pause.is_none_or(|p| p <= Duration::from_micros(300)));
        }
        assert!(pace.after(Timestamp::from_micros(10_000_500), 24).is_some());
        assert!(pace.after(Timestamp::from_micros(10_001_000), 48).is_none(), "who is behind does not sleep");
        let mut never = within(Duration::ZERO);
        assert!((1..1000u64).all(|n| never.after(Timestamp::from_micros(n * 1000), 100).is_none()));
    }
}
