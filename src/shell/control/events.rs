//! The events of the node for whoever listens, with a bounded past for those who come back.
//!
//! Listeners hold their own place and read from the ring; a slow one never holds anything up and is told when it
//! missed something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::base::{Random, UnixMillis};
use crate::engine::event::{Envelope, Event, Ulid};
use crate::engine::view::Time;

/// Events that are remembered: about a minute of a node with 50 calls a second.
const REMEMBERED: usize = 8192;

/// Most events handed out at once.
const BATCH: usize = 256;

/// Where events go. Cheap to clone.
#[derive(Clone)]
pub struct EventHub(Arc<Hub>);

/// Who is shown each event as it is published.
type Observer = Box<dyn Fn(&Arc<Envelope>) + Send + Sync>;

struct Hub {
    node: Box<str>,
    ring: Mutex<Ring>,
    published: watch::Sender<u64>,
    observer: Observer,
}

struct Ring {
    random: Random,
    capacity: usize,
    /// Number of the first event in `events`, counted from the start of the node.
    first: u64,
    events: VecDeque<Arc<Envelope>>,
    last: Option<Ulid>,
}

/// The place of a listener in the stream: the number of the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u64);

/// What came since.
pub struct Batch {
    /// In order.
    pub events: Vec<Arc<Envelope>>,
    /// Whether events before these are lost to this listener.
    pub is_missing_some: bool,
    /// Where to go on.
    pub next: Position,
}

impl EventHub {
    /// For the node of that id; `seed` makes the ids of events. `observer` is shown each event as it is published,
    /// in their order, on the thread that publishes it: metrics count there. It must not wait.
    #[must_use]
    pub fn new(
        node: &str,
        seed: [u8; 32],
        observer: impl Fn(&Arc<Envelope>) + Send + Sync + 'static,
    ) -> Self {
        Self::with_capacity(node, seed, REMEMBERED, Box::new(observer))
    }

    fn with_capacity(node: &str, seed: [u8; 32], capacity: usize, observer: Observer) -> Self {
        let ring = Ring {
            random: Random::from_seed(seed),
            capacity,
            first: 0,
            events: VecDeque::with_capacity(capacity.min(1024)),
            last: None,
        };
        Self(Arc::new(Hub {
            node: node.into(),
            ring: Mutex::new(ring),
            published: watch::Sender::new(0),
            observer,
        }))
    }

    /// Tells everybody.
    pub fn publish(&self, at: UnixMillis, event: Event) {
        let count = {
            let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let last = ring.last;
            let id = Ulid::mint_after(last, at, &mut ring.random);
            ring.last = Some(id);
            if ring.events.len() >= ring.capacity {
                ring.events.pop_front();
                ring.first += 1;
            }
            let envelope = Arc::new(Envelope { id, time: Time(at), node: self.0.node.clone(), event });
            (self.0.observer)(&envelope);
            ring.events.push_back(envelope);
            ring.first + ring.events.len() as u64
        };
        self.0.published.send_modify(|known| *known = count.max(*known));
    }

    /// The place after everything that has happened.
    #[must_use]
    pub fn now(&self) -> Position {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        Position(ring.first + ring.events.len() as u64)
    }

    /// The place after the event `id`; `None` where it is not remembered.
    #[must_use]
    pub fn after(&self, id: Ulid) -> Option<Position> {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ring.events.binary_search_by(|event| event.id.cmp(&id)).ok()?;
        Some(Position(ring.first + at as u64 + 1))
    }

    /// The place of the oldest event that is remembered.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position(self.0.ring.lock().unwrap_or_else(PoisonError::into_inner).first)
    }

    /// What is there from `position` on; may be nothing.
    #[must_use]
    pub fn read(&self, position: Position) -> Batch {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = position.0.max(ring.first);
        let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX);
        let events: Vec<_> = ring.events.iter().skip(skip).take(BATCH).cloned().collect();
        Batch { is_missing_some: position.0 < ring.first, next: Position(from + events.len() as u64), events }
    }

    /// Waits until there is something from `position` on.
    pub async fn wait(&self, position: Position) {
        let mut published = self.0.published.subscribe();
        // The sender lives as long as `self`, so this ends only with an event.
        let _ = published.wait_for(|count| *count > position.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::RegistrationEvent;

    fn event(user: &str) -> Event {
        Event::Registration {
            what: RegistrationEvent::Added,
            user: user.into(),
            device: "desk".into(),
            address: None,
            user_agent: None,
        }
    }

    #[test]
    fn a_listener_resumes_after_the_event_it_knows() {
        let hub = EventHub::with_capacity("edge1", [1; 32], 4, Box::new(|_| {}));
        let start = hub.now();
        for n in 0..3 {
            hub.publish(UnixMillis(n), event("alice"));
        }
        let batch = hub.read(start);
        assert_eq!((batch.events.len(), batch.is_missing_some), (3, false));
        let position = hub.after(batch.events[0].id).unwrap();
        assert_eq!(hub.read(position).events[0].id, batch.events[1].id);
        assert_eq!(hub.read(batch.next).events.len(), 0);
    }

    #[test]
    fn the_ring_is_bounded_and_says_what_it_forgot() {
        let hub = EventHub::with_capacity("edge1", [1; 32], 4, Box::new(|_| {}));
        let start = hub.now();
        hub.publish(UnixMillis(0), event("alice"));
        let first = hub.read(start).events[0].id;
        for n in 1..10 {
            hub.publish(UnixMillis(n), event("alice"));
        }
        assert_eq!(hub.after(first), None);
        let batch = hub.read(start);
        assert_eq!((batch.events.len(), batch.is_missing_some), (4, true));
        assert_eq!(batch.next, hub.now());
        assert_eq!(hub.read(hub.oldest()).events.len(), 4);
    }

    #[tokio::test]
    async fn a_waiting_listener_is_woken() {
        let hub = EventHub::new("edge1", [1; 32], |_| {});
        let start = hub.now();
        let waiting = tokio::spawn({
            let hub = hub.clone();
            async move { hub.wait(start).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hub.publish(UnixMillis(1), event("alice"));
        waiting.await.unwrap();
        hub.wait(start).await;
    }
}
