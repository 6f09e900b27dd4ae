//! Connections that begin with a handshake: TLS, WebSocket, and both. Tasks of the runtime carry them; the signalling
//! worker gets whole messages with their flow, and puts what it sends into bounded queues. Neither waits for the other.
//!
//! The number of a connection is part of its flow and is never given to another one, as with TCP (`stream.rs`).

mod carry;
mod listener;
mod outbox;
mod upgrade;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::listener::{Listening, Speech};
use self::outbox::{Full, Outbox};
use super::bounds::Bounds;
use super::census::Census;
use super::stream::Happened;
use crate::sip::Flow;
use crate::wire::sip::Limits;

/// What a message occupies beside its bytes while it waits for the worker.
const ENTRY: usize = 256;

/// What the tasks tell the worker.
pub(super) enum News {
    /// A connection stands.
    Opened {
        /// Its flow.
        flow: Flow,
        /// Where what it is sent goes.
        outbox: Arc<Outbox>,
    },
    /// A message came.
    Received {
        /// Where from.
        flow: Flow,
        /// It.
        bytes: Bytes,
        /// Given back when the message was served.
        room: Room,
    },
    /// A connection is gone.
    Closed(Flow),
}

/// Room among the messages that wait for the worker.
pub(super) struct Room(
    #[expect(dead_code, reason = "held, and given back when dropped")] OwnedSemaphorePermit,
);

/// What all tasks share: through it they come in.
pub(super) struct Door {
    bounds: Bounds,
    limits: Limits,
    census: Arc<Census>,
    numbers: AtomicU32,
    inbound: Arc<Semaphore>,
    queued: Arc<AtomicUsize>,
    tell: Box<dyn Fn(News) + Send + Sync>,
}

impl Door {
    /// `tell` takes the news to the worker; it must not block.
    pub(super) fn new(
        bounds: Bounds,
        limits: Limits,
        census: Arc<Census>,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            limits,
            census,
            numbers: AtomicU32::new(1),
            inbound: Arc::new(Semaphore::new(bounds.inbound)),
            queued: Arc::default(),
            tell: Box::new(tell),
        })
    }

    fn tell(&self, news: News) {
        (self.tell)(news);
    }

    /// Waits for room for a message, first come, first served. `None` never, but at the end of everything.
    async fn room(&self, bytes: usize) -> Option<Room> {
        let cost = u32::try_from((bytes + ENTRY).min(self.bounds.inbound)).ok()?;
        Arc::clone(&self.inbound).acquire_many_owned(cost).await.ok().map(Room)
    }

    fn number(&self) -> u32 {
        // Half of them are for connections of our own; at a thousand a second the others last 24 days, and one that
        // is as old as that is not found again by a number that was reused, for its flow has another peer.
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed) & !super::stream::OURS;
            if number != 0 {
                return number;
            }
        }
    }
}

/// The connections as the worker knows them.
pub(super) struct Conduits {
    door: Arc<Door>,
    #[expect(dead_code, reason = "connections of our own making are begun on it")]
    runtime: Handle,
    links: FxHashMap<u32, (Flow, Arc<Outbox>)>,
}

impl Conduits {
    /// None yet.
    pub(super) fn new(door: Arc<Door>, runtime: Handle) -> Self {
        Self { door, runtime, links: FxHashMap::default() }
    }

    /// Takes news; what the engine has to know of it.
    pub(super) fn take(&mut self, news: News) -> Option<(Happened, Option<Room>)> {
        match news {
            News::Opened { flow, outbox } => {
                self.links.insert(flow.connection, (flow, outbox));
                None
            }
            News::Received { flow, bytes, room } => Some((Happened::Received { flow, bytes }, Some(room))),
            News::Closed(flow) => {
                self.links.remove(&flow.connection)?;
                Some((Happened::Closed(flow), None))
            }
        }
    }

    /// Sends on the connection of a flow. One that a peer made ends with it: nobody is called back.
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes, out: &mut Vec<Happened>) {
        let Some((_, outbox)) = self.links.get(&flow.connection).filter(|(known, _)| *known == flow) else {
            return out.push(Happened::Closed(flow));
        };
        if outbox.put(bytes, &self.door.bounds) == Err(Full) {
            tracing::debug!(%flow, "a peer does not read what it is sent");
            // Its end is told by its task.
            outbox.cut();
        }
    }

    /// No more is sent; what waits is written, and every connection is closed.
    pub(super) fn finish(&mut self) {
        for (_, outbox) in self.links.values() {
            outbox.finish();
        }
    }
}
