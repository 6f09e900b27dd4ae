//! Connections that begin with a handshake: TLS, WebSocket, and both. Tasks of the runtime carry them; the signalling
//! worker gets whole messages with their flow, and puts what it sends into bounded queues. Neither waits for the other.
//!
//! The number of a connection is part of its flow and is never given to another one, as with TCP (`stream.rs`).

mod carry;
mod listener;
mod origin;
mod outbox;
mod outgoing;
mod upgrade;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::listener::{Listening, Speech};
pub(super) use self::origin::Pages;
use self::outbox::Outbox;
use super::backlog::Full;
use super::bounds::Bounds;
use super::census::Census;
use super::stream::{GUESTS, Happened, OURS, tell_closed};
use super::tls::{Demands, Proofs};
use crate::sip::{Flow, Transport};
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
            let number = self.numbers.fetch_add(1, Ordering::Relaxed) & !OURS;
            if number != 0 {
                return number;
            }
        }
    }
}

/// The connections as the worker knows them.
pub(super) struct Conduits {
    door: Arc<Door>,
    runtime: Handle,
    proofs: Arc<Proofs>,
    links: FxHashMap<u32, Link>,
    /// Those of our own making.
    by_peer: BTreeMap<SocketAddr, u32>,
}

struct Link {
    flow: Flow,
    outbox: Arc<Outbox>,
    /// Flows without a number that were served here and are told of the end.
    guests: SmallVec<[Flow; 1]>,
    /// What the peer of a connection of ours has proved, or is about to.
    proved: Demands,
}

impl Link {
    const fn new(flow: Flow, outbox: Arc<Outbox>, proved: Demands) -> Self {
        Self { flow, outbox, guests: SmallVec::new_const(), proved }
    }
}

impl Conduits {
    /// None yet. Connections of our own are made on `runtime`, to whom `proofs` knows.
    pub(super) fn new(door: Arc<Door>, runtime: Handle, proofs: Arc<Proofs>) -> Self {
        Self { door, runtime, proofs, links: FxHashMap::default(), by_peer: BTreeMap::new() }
    }

    /// Takes news; what the engine has to know of it goes to `out`. The room is to be kept until that was served.
    pub(super) fn take(&mut self, news: News, out: &mut Vec<Happened>) -> Option<Room> {
        match news {
            News::Opened { flow, outbox } => {
                self.links.insert(flow.connection, Link::new(flow, outbox, Demands::default()));
                None
            }
            News::Received { flow, bytes, room } => {
                out.push(Happened::Received { flow, bytes });
                Some(room)
            }
            News::Closed(flow) => {
                let link = self.links.remove(&flow.connection)?;
                if self.by_peer.get(&flow.peer) == Some(&flow.connection) {
                    self.by_peer.remove(&flow.peer);
                }
                out.push(Happened::Closed(flow));
                out.extend(link.guests.into_iter().map(Happened::Closed));
                None
            }
        }
    }

    /// Sends on the connection of a flow. One that a peer made ends with it: nobody is called back. For a flow without
    /// a number, and for one of our own, a connection is made where there is none; `from` is the local address.
    pub(super) fn send(&mut self, (flow, from): (Flow, IpAddr), bytes: Bytes, out: &mut Vec<Happened>) {
        let bounds = self.door.bounds;
        let Some(link) = self.link(flow, from) else { return tell_closed(flow, out) };
        if link.outbox.put(bytes, &bounds) == Err(Full) {
            tracing::debug!(%flow, "a peer does not read what it is sent");
            // Its end is told by its task.
            link.outbox.cut();
        }
    }

    fn link(&mut self, flow: Flow, from: IpAddr) -> Option<&Link> {
        if self.links.get(&flow.connection).is_some_and(|link| link.flow == flow) {
            return self.links.get(&flow.connection);
        }
        if flow.transport != Transport::Tls || (flow.connection != 0 && flow.connection & OURS == 0) {
            return None;
        }
        let demands = self.proofs.of(flow.peer, Instant::now());
        let meets = |number: &&u32| self.links.get(*number).is_some_and(|link| link.proved.cover(&demands));
        let number = match self.by_peer.get(&flow.peer).filter(meets) {
            Some(number) => *number,
            None => self.connect(flow, from, demands)?,
        };
        let link = self.links.get_mut(&number)?;
        if link.flow != flow && !link.guests.contains(&flow) && link.guests.len() < GUESTS {
            link.guests.push(flow);
        }
        Some(link)
    }

    fn connect(&mut self, flow: Flow, from: IpAddr, demands: Demands) -> Option<u32> {
        let name = demands.name()?;
        let config = Arc::new(demands.config().ok()?);
        let seat = outgoing::seat(&self.door.census, flow.peer)?;
        let number = self.door.number() | OURS;
        let flow = Flow { connection: number, ..flow };
        let outbox = Outbox::new(seat.backlog());
        self.links.insert(number, Link::new(flow, Arc::clone(&outbox), demands));
        self.by_peer.insert(flow.peer, number);
        self.runtime.spawn(outgoing::call(flow, from, (name, config), outbox, seat, Arc::clone(&self.door)));
        Some(number)
    }

    /// No more is sent; what waits is written, and every connection is closed.
    pub(super) fn finish(&mut self) {
        for link in self.links.values() {
            link.outbox.finish();
        }
    }
}
