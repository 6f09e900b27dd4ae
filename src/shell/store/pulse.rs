//! Whether the thread of the store turns: it is woken, and counts that it was.

use std::sync::Arc;

use super::queue::Queue;

/// Asks the thread for a turn and counts those that it made.
#[derive(Clone)]
pub struct Pulse(Arc<Queue>);

impl Pulse {
    pub(super) const fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }

    /// Turns so far that were asked for. One that waits for the disk makes none.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.turns()
    }

    /// Asks for one more, if none is asked for yet.
    pub fn ask(&self) {
        self.0.ask_for_turn();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{Settings, Store};
    use crate::base::UnixMillis;
    use crate::engine::store::{FailureCounter, StoreOp, StoreTicket};

    /// Whether there is a turn within this time.
    fn turns(pulse: &super::Pulse, within: Duration) -> bool {
        let before = pulse.turns();
        pulse.ask();
        let end = Instant::now() + within;
        while Instant::now() < end {
            if pulse.turns() != before {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    #[test]
    fn an_idle_store_turns_and_one_that_waits_for_its_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segue.db");
        let busy = Duration::from_secs(20);
        let settings = Settings { busy, linger: Duration::ZERO, ..Settings::default() };
        let (store, _) = Store::open(&path, settings, UnixMillis(1), |_, _| {}).unwrap();
        let pulse = store.pulse();
        assert!(turns(&pulse, Duration::from_secs(10)));
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        store.submit(StoreTicket(0), StoreOp::SaveFailures(Vec::<FailureCounter>::new()));
        store.submit(StoreTicket(1), StoreOp::RemoveAccount { name: "nobody".into() });
        // It may have been asked before the operation came in; the second time it waits for the file.
        turns(&pulse, Duration::from_millis(300));
        assert!(!turns(&pulse, Duration::from_millis(300)));
        other.execute_batch("ROLLBACK").unwrap();
        assert!(turns(&pulse, Duration::from_secs(10)));
    }
}
