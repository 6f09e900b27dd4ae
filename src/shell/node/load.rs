//! How busy the signalling thread is, and what share of new work it should refuse.
//!
//! What counts is the time in which it does not wait. A length of queues tells less: the kernel's receive buffer holds a
//! few milliseconds of messages and drops the rest. A thread that is kept from the processor is as busy as one that works.
//! The share rises fast and falls slowly, so that it finds the rate that can be served and stays near it.

use std::time::Duration;

use crate::base::Timestamp;

/// The time over which it is measured.
const WINDOW: Duration = Duration::from_millis(200);
/// Percent of a window from which on the thread has no room left, and below which it has some.
const FULL: u128 = 96;
const ROOM: u128 = 85;
/// Percent by which the share rises and falls in a window.
const RISE: u8 = 8;
const FALL: u8 = 3;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Load {
    since: Timestamp,
    idle: Duration,
    /// Full windows in a row: one alone is a long answer to somebody's question.
    full: u32,
    share: u8,
}

impl Load {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { since: now, idle: Duration::ZERO, full: 0, share: 0 }
    }

    /// The thread has waited.
    pub(super) fn waited(&mut self, time: Duration) {
        self.idle += time;
    }

    /// A turn is over. Gives the share of new work to be refused, percent, where that is another than before.
    pub(super) fn after(&mut self, now: Timestamp) -> Option<u8> {
        let span = now.since(self.since);
        if span < WINDOW {
            return None;
        }
        let idle = (self.idle.as_micros() * 100 / span.as_micros().max(1)).min(100);
        (self.since, self.idle) = (now, Duration::ZERO);
        let before = self.share;
        if 100 - idle >= FULL {
            self.full += 1;
            if self.full > 1 {
                self.share = (self.share + RISE).min(100);
            }
        } else {
            self.full = 0;
            if 100 - idle < ROOM {
                self.share = self.share.saturating_sub(FALL);
            }
        }
        (self.share != before).then_some(self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows in which new work that is not refused takes `demand` percent of the thread, beside 10 that must be done.
    fn run(load: &mut Load, now: &mut Timestamp, windows: u32, demand: u32) -> u8 {
        for _ in 0..windows {
            let busy = (10 + demand * (100 - u32::from(load.share)) / 100).min(100);
            load.waited(WINDOW * (100 - busy) / 100);
            *now = *now + WINDOW;
            load.after(*now);
        }
        load.share
    }

    #[test]
    fn the_share_finds_what_can_be_served_and_goes_when_it_is_not_needed() {
        let mut now = Timestamp::from_micros(1);
        let mut load = Load::new(now);
        assert_eq!(run(&mut load, &mut now, 50, 70), 0, "busy is not overloaded");
        assert_eq!(run(&mut load, &mut now, 1, 500), 0, "once is a long answer");
        run(&mut load, &mut now, 1, 10);
        // Five times what fits: four fifths must go.
        run(&mut load, &mut now, 20, 450);
        for _ in 0..50 {
            let share = run(&mut load, &mut now, 1, 450);
            assert!((75..=92).contains(&share), "{share}");
        }
        assert!(run(&mut load, &mut now, 3000, 100_000) >= 97, "at the worst next to nothing new is taken");
        assert_eq!(run(&mut load, &mut now, 40, 50), 0);
    }

    #[test]
    fn between_windows_nothing_is_said() {
        let mut load = Load::new(Timestamp::from_micros(1));
        assert_eq!(load.after(Timestamp::from_micros(199_000)), None);
        assert_eq!(load.after(Timestamp::from_micros(400_000)), None);
        assert_eq!(load.after(Timestamp::from_micros(800_000)), Some(RISE));
    }
}
