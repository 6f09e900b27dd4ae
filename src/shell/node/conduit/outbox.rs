//! What waits to be written on one connection: put in by the worker, which never waits, taken out by the task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::backlog::{Backlog, Full};
use super::super::bounds::Bounds;

/// The queue of one connection.
pub(in crate::shell::node) struct Outbox {
    waiting: Mutex<Waiting>,
    /// One reader waits, and a notice that comes before it waits is kept.
    changed: Notify,
    cut: Notify,
}

struct Waiting {
    messages: VecDeque<Bytes>,
    backlog: Backlog,
    is_last: bool,
}

impl Outbox {
    pub(super) fn new(backlog: Backlog) -> Arc<Self> {
        let waiting = Waiting { messages: VecDeque::new(), backlog, is_last: false };
        Arc::new(Self { waiting: Mutex::new(waiting), changed: Notify::new(), cut: Notify::new() })
    }

    /// Adds a message. Never waits.
    pub(super) fn put(&self, bytes: Bytes, bounds: &Bounds) -> Result<(), Full> {
        let mut waiting = self.waiting();
        waiting.backlog.put(bytes.len(), bounds)?;
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
                    waiting.backlog.take(bytes.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Arc<Outbox> {
        Outbox::new(Backlog::new(&Arc::default(), &Arc::default()))
    }

    #[tokio::test]
    async fn what_is_taken_out_makes_room() {
        let bounds = Bounds { queue: 1000, ..Bounds::default() };
        let (outbox, body) = (outbox(), Bytes::from(vec![b'x'; 900]));
        assert_eq!(outbox.put(body.clone(), &bounds), Ok(()));
        assert_eq!(outbox.put(body.clone(), &bounds), Err(Full));
        assert_eq!(outbox.next().await, Some(body.clone()));
        assert_eq!(outbox.put(body, &bounds), Ok(()));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_waits() {
        let outbox = outbox();
        for text in ["a", "b"] {
            outbox.put(Bytes::from(text), &Bounds::default()).unwrap();
        }
        outbox.finish();
        assert_eq!(outbox.next().await.as_deref(), Some(&b"a"[..]));
        assert_eq!(outbox.next().await.as_deref(), Some(&b"b"[..]));
        assert_eq!(outbox.next().await, None);
    }
}
