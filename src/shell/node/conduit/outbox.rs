//! What waits to be written on one connection: put in by the worker, which never waits, taken out by the task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::bounds::Bounds;

/// What one message in a queue costs beside its bytes.
const ENTRY: usize = 64;

/// The queue of one connection.
pub(in crate::shell::node) struct Outbox {
    waiting: Mutex<Waiting>,
    /// One reader waits, and a notice that comes before it waits is kept.
    changed: Notify,
    cut: Notify,
    /// Cost of the queues of all connections.
    total: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    cost: usize,
    is_last: bool,
}

/// There is no room: the peer does not read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shell::node) struct Full;

impl Outbox {
    pub(super) fn new(total: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            cut: Notify::new(),
            total: Arc::clone(total),
        })
    }

    /// Adds a message. Never waits.
    pub(super) fn put(&self, bytes: Bytes, bounds: &Bounds) -> Result<(), Full> {
        let cost = bytes.len() + ENTRY;
        let mut waiting = self.waiting();
        let all = self.total.load(Ordering::Relaxed);
        if waiting.cost + cost > bounds.queue || all + cost > bounds.queues {
            return Err(Full);
        }
        waiting.cost += cost;
        self.total.fetch_add(cost, Ordering::Relaxed);
        waiting.messages.push_back(bytes);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more will come; what is there is still written.
    pub(super) fn finish(&self) {
        self.waiting().is_last = true;
        self.changed.notify_one();
    }

    /// The connection ends now, whatever waits.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    /// The next message, when there is one; `None` at the end. Dropped while it waits, it has taken nothing.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(bytes) = waiting.messages.pop_front() {
                    waiting.cost -= bytes.len() + ENTRY;
                    self.total.fetch_sub(bytes.len() + ENTRY, Ordering::Relaxed);
                    if waiting.messages.is_empty() {
                        // An idle connection holds no room.
                        waiting.messages = VecDeque::new();
                    }
                    return Some(bytes);
                }
                if waiting.is_last {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Whether something waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().messages.is_empty()
    }

    /// Waits for [`Outbox::cut`].
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let cost = self.waiting().cost;
        self.total.fetch_sub(cost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_is_bounded_for_itself_and_with_all_others() {
        let bounds = Bounds { queue: 1000, queues: 1500, ..Bounds::default() };
        let total = Arc::new(AtomicUsize::new(0));
        let (one, two) = (Outbox::new(&total), Outbox::new(&total));
        let body = Bytes::from(vec![b'x'; 900]);
        assert_eq!(one.put(body.clone(), &bounds), Ok(()));
        assert_eq!(one.put(body.clone(), &bounds), Err(Full));
        assert_eq!(two.put(body.clone(), &bounds), Err(Full), "both together");
        assert_eq!(one.next().await, Some(body.clone()));
        assert_eq!(two.put(body, &bounds), Ok(()));
        drop(two);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_end_comes_after_what_waits() {
        let outbox = Outbox::new(&Arc::default());
        for text in ["a", "b"] {
            outbox.put(Bytes::from(text), &Bounds::default()).unwrap();
        }
        outbox.finish();
        assert_eq!(outbox.next().await.as_deref(), Some(&b"a"[..]));
        assert_eq!(outbox.next().await.as_deref(), Some(&b"b"[..]));
        assert_eq!(outbox.next().await, None);
    }
}
