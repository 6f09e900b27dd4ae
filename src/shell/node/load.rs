//! How busy the signalling thread is, and what share of new work it should refuse.
//!
//! What counts is the time in which it does not wait. A length of queues tells less: the kernel's receive buffer holds a
//! few milliseconds of messages and drops the rest. A thread that is kept from the processor in the middle of its work is as
//! busy as one that works.
//! The share rises fast and falls slowly, so that it finds the rate that can be served and stays near it. It rises only
//! where refusing helps: a flood of what is not refused, because it is cheaper to answer than to judge, must not make the
//! node refuse everybody else.

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
/// It rises no further: whoever tries again gets through.
const MOST: u8 = 90;
/// New work that is let in must be at least one of so many messages that come.
const HELPS: u64 = 4;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Load {
    since: Timestamp,
    idle: Duration,
    /// Messages that came since then.
    received: u64,
    /// Those that belong to new work, since the start of the node; how many it were at the last look.
    taken: u64,
    /// Full windows in a row: one alone is a long answer to somebody's question.
    full: u32,
    share: u8,
}

impl Load {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { since: now, idle: Duration::ZERO, received: 0, taken: 0, full: 0, share: 0 }
    }

    /// The thread has waited.
    pub(super) fn waited(&mut self, time: Duration) {
        self.idle += time;
    }

    /// Messages came.
    pub(super) fn came(&mut self, messages: usize) {
        self.received += messages as u64;
    }

    /// A look: `taken` messages belong to new work that was let in since the start. Gives the share of new work to be
    /// refused, percent, where that is another than before.
    pub(super) fn after(&mut self, now: Timestamp, taken: u64) -> Option<u8> {
        let span = now.since(self.since);
        if span < WINDOW {
            return None;
        }
        let idle = (self.idle.as_micros() * 100 / span.as_micros().max(1)).min(100);
        let (received, new) = (self.received, taken.saturating_sub(self.taken));
        (self.since, self.idle, self.received, self.taken) = (now, Duration::ZERO, 0, taken);
        let before = self.share;
        if 100 - idle >= FULL {
            self.full += 1;
            if self.full > 1 && new * HELPS >= received {
                self.share = (self.share + RISE).min(MOST);
            }
        } else {
            self.full = 0;
            if 100 - idle < ROOM {
                // Whoever slept through many windows had room in all of them.
                let windows = u8::try_from(span.as_millis() / WINDOW.as_millis()).unwrap_or(u8::MAX);
                self.share = self.share.saturating_sub(FALL.saturating_mul(windows));
            }
        }
        (self.share != before).then_some(self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node {
        load: Load,
        now: Timestamp,
        taken: u64,
    }

    impl Node {
        fn new() -> Self {
            let now = Timestamp::from_micros(1);
            Self { load: Load::new(now), now, taken: 0 }
        }

        /// Windows in which new work would take `demand` percent of the thread, what is refused a seventh of that, beside
        /// `other` that is never refused; a percent is ten messages.
        fn run(&mut self, windows: u32, demand: u32, other: u32) -> u8 {
            for _ in 0..windows {
                let taken = demand * (100 - u32::from(self.load.share)) / 100;
                let refused = demand - taken;
                let busy = (other + taken + refused / 7).min(100);
                self.load.waited(WINDOW * (100 - busy) / 100);
                self.load.came(10 * (other + taken) as usize + 3 * refused as usize);
                self.taken += 10 * u64::from(taken);
                self.now = self.now + WINDOW;
                self.load.after(self.now, self.taken);
            }
            self.load.share
        }
    }

    #[test]
    fn the_share_finds_what_can_be_served_and_goes_when_it_is_not_needed() {
        let mut node = Node::new();
        assert_eq!(node.run(50, 70, 10), 0, "busy is not overloaded");
        assert_eq!(node.run(1, 500, 10), 0, "once is a long answer");
        node.run(1, 10, 10);
        // Three times what fits, and to refuse costs too.
        node.run(20, 300, 10);
        for _ in 0..50 {
            let share = node.run(1, 300, 10);
            assert!((70..=MOST).contains(&share), "{share}");
        }
        assert_eq!(node.run(3000, 3000, 10), MOST, "at the worst one in ten gets through");
        assert_eq!(node.run(40, 50, 10), 0);
    }

    #[test]
    fn a_flood_that_is_not_refused_makes_nobody_else_be_refused() {
        let mut node = Node::new();
        assert_eq!(node.run(100, 5, 300), 0);
        assert_eq!(node.run(100, 40, 300), 0);
        assert!(node.run(100, 150, 40) > 0, "beside less of it refusing helps");
    }

    #[test]
    fn who_slept_through_many_windows_had_room_in_all_of_them() {
        let mut node = Node::new();
        assert_eq!(node.run(3000, 3000, 10), MOST);
        let minute = Duration::from_secs(60);
        node.load.waited(minute);
        assert_eq!(node.load.after(node.now + minute, node.taken), Some(0));
    }

    #[test]
    fn between_windows_nothing_is_said() {
        let mut load = Load::new(Timestamp::from_micros(1));
        assert_eq!(load.after(Timestamp::from_micros(199_000), 0), None);
        assert_eq!(load.after(Timestamp::from_micros(400_000), 0), None);
        assert_eq!(load.after(Timestamp::from_micros(800_000), 0), Some(RISE));
    }
}
