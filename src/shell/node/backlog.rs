//! What waits to be written: on one connection, on all of its source, on all there are. Whatever carries connections, the
//! rule of who is let go is this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bounds::Bounds;

/// What one message that waits costs beside its bytes.
const ENTRY: usize = 64;

/// There is no room: the peer does not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What waits on one connection; no longer counted when dropped.
pub(super) struct Backlog {
    own: usize,
    of_source: Arc<AtomicUsize>,
    of_all: Arc<AtomicUsize>,
}

impl Backlog {
    /// Nothing yet, of a source and of all who have so much.
    pub(super) fn new(of_source: &Arc<AtomicUsize>, of_all: &Arc<AtomicUsize>) -> Self {
        Self { own: 0, of_source: Arc::clone(of_source), of_all: Arc::clone(of_all) }
    }

    /// Counts a message of `bytes`, where there is room for it. A connection on which nothing waits has room for one
    /// whatever others let wait: it is not the one that does not read.
    pub(super) fn put(&mut self, bytes: usize, bounds: &Bounds) -> Result<(), Full> {
        let cost = bytes + ENTRY;
        let is_beyond =
            |count: &AtomicUsize, most: usize| count.load(Ordering::Relaxed).saturating_add(cost) > most;
        let is_crowded =
            || is_beyond(&self.of_source, bounds.queues_each) || is_beyond(&self.of_all, bounds.queues);
        if self.own.saturating_add(cost) > bounds.queue || (self.own > 0 && is_crowded()) {
            return Err(Full);
        }
        self.force(bytes);
        Ok(())
    }

    /// Counts a message that is written at all events: a word of a few bytes.
    pub(super) fn force(&mut self, bytes: usize) {
        let cost = bytes + ENTRY;
        self.own += cost;
        self.of_source.fetch_add(cost, Ordering::Relaxed);
        self.of_all.fetch_add(cost, Ordering::Relaxed);
    }

    /// A message of `bytes` is written.
    pub(super) fn take(&mut self, bytes: usize) {
        self.give_back(bytes + ENTRY);
    }

    fn give_back(&mut self, cost: usize) {
        let cost = cost.min(self.own);
        self.own -= cost;
        self.of_source.fetch_sub(cost, Ordering::Relaxed);
        self.of_all.fetch_sub(cost, Ordering::Relaxed);
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.give_back(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that waits, and the connections of two sources.
    fn sources() -> (Arc<AtomicUsize>, [Arc<AtomicUsize>; 2]) {
        (Arc::default(), [Arc::default(), Arc::default()])
    }

    #[test]
    fn a_connection_has_its_bound() {
        let bounds = Bounds { queue: 1000, ..Bounds::default() };
        let (all, [source, _]) = sources();
        let mut one = Backlog::new(&source, &all);
        assert_eq!(one.put(2000, &bounds), Err(Full), "more than a queue ever holds");
        assert_eq!(one.put(900, &bounds), Ok(()));
        assert_eq!(one.put(900, &bounds), Err(Full));
        one.take(900);
        assert_eq!(one.put(900, &bounds), Ok(()));
        drop(one);
        assert_eq!((all.load(Ordering::Relaxed), source.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn who_reads_is_not_let_go_for_those_who_do_not() {
        let bounds = Bounds { queue: 1000, queues: 3000, queues_each: 1 << 20, ..Bounds::default() };
        let (all, [deaf, reader]) = sources();
        let mut crowd: Vec<_> = (0..3).map(|_| Backlog::new(&deaf, &all)).collect();
        assert!(crowd.iter_mut().all(|one| one.put(930, &bounds).is_ok()));
        let mut one = Backlog::new(&reader, &all);
        for _ in 0..3 {
            assert_eq!(one.put(900, &bounds), Ok(()), "nothing of its own waits");
            one.take(900);
        }
        assert_eq!(one.put(500, &bounds), Ok(()));
        assert_eq!(one.put(200, &bounds), Err(Full), "it is one of those who do not read");
    }

    #[test]
    fn a_source_that_does_not_read_fills_its_own_part_only() {
        let bounds = Bounds { queue: 1000, queues: 1 << 20, queues_each: 1500, ..Bounds::default() };
        let (all, [deaf, reader]) = sources();
        let mut crowd = [Backlog::new(&deaf, &all), Backlog::new(&deaf, &all)];
        assert!(crowd.iter_mut().all(|one| one.put(700, &bounds).is_ok()));
        assert_eq!(crowd[0].put(100, &bounds), Err(Full), "what it has among all its connections");
        let mut one = Backlog::new(&reader, &all);
        assert!((0..2).all(|_| one.put(300, &bounds).is_ok()), "another source has a part of its own");
    }
}
