//! The layer as its user sees it: one value that holds every transaction of a worker.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::client;
use super::key::{Key, Keys};
use super::pace::Pace;
use super::server;
use super::{ClientTx, Counters, Effect, ServerTx, Settings};
use crate::base::{Handle, Random, Slab, TimerHeap, Timestamp};
use crate::sip::{Flow, Transport};
use crate::wire::sip::Message;

/// Every transaction of a worker. `O` is what the user calls the owner of one.
///
/// What is to be sent and what the user has to know is pushed to the `out` of each call, in order.
pub struct Transactions<O> {
    pub(super) settings: Settings,
    pub(super) paces: Paces,
    pub(super) keys: Keys,
    pub(super) servers: Slab<server::Entry<O>>,
    pub(super) server_keys: FxHashMap<Key, Handle<server::Entry<O>>>,
    /// Open requests without a To tag by what all their copies share.
    pub(super) merged_keys: FxHashMap<Key, Handle<server::Entry<O>>>,
    pub(super) clients: Slab<client::Entry<O>>,
    pub(super) client_keys: FxHashMap<Key, Handle<client::Entry<O>>>,
    /// Client transactions on streams, which end when their stream does.
    pub(super) on_streams: BTreeSet<(Flow, Handle<client::Entry<O>>)>,
    pub(super) wakeups: Wakeups,
    pub(super) counters: Counters,
}

/// The two columns of RFC 3261 table 4.
pub(super) struct Paces {
    datagrams: Pace,
    streams: Pace,
}

impl Paces {
    pub(super) const fn of(&self, transport: Transport) -> Pace {
        if transport.is_reliable() { self.streams } else { self.datagrams }
    }
}

/// Whom the heap wakes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wakeup {
    Server(ServerTx),
    Client(ClientTx),
}

/// The one heap of the layer. A transaction has one entry in it, seldom two: `asked` is the earliest, and a
/// timer that is pushed back costs nothing until that is reached.
#[derive(Default)]
pub(super) struct Wakeups(TimerHeap<Wakeup>);

impl Wakeups {
    pub(super) fn ask(&mut self, asked: &mut Timestamp, deadline: Option<Timestamp>, whom: Wakeup) {
        if let Some(deadline) = deadline
            && deadline < *asked
        {
            self.0.push(deadline, whom);
            *asked = deadline;
        }
    }
}

impl<O: Copy> Transactions<O> {
    /// With none. `random` seeds the keys of the tables.
    #[must_use]
    pub fn new(settings: Settings, random: &mut Random) -> Self {
        Self {
            paces: Paces {
                datagrams: Pace::new(&settings, Transport::Udp),
                streams: Pace::new(&settings, Transport::Tcp),
            },
            settings,
            keys: Keys::new(random),
            servers: Slab::default(),
            server_keys: FxHashMap::default(),
            merged_keys: FxHashMap::default(),
            clients: Slab::default(),
            client_keys: FxHashMap::default(),
            on_streams: BTreeSet::new(),
            wakeups: Wakeups::default(),
            counters: Counters::default(),
        }
    }

    /// Takes a message that passed [`Message::check`].
    pub fn receive(&mut self, now: Timestamp, flow: Flow, message: Message, out: &mut Vec<Effect<O>>) {
        if message.is_request() {
            self.receive_request(now, flow, message, out);
        } else {
            self.receive_response(now, flow, message, out);
        }
    }

    /// When [`Transactions::handle_timeout`] is due. May be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.wakeups.0.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Vec<Effect<O>>) {
        while let Some(wakeup) = self.wakeups.0.expire(now) {
            match wakeup {
                Wakeup::Server(tx) => self.wake_server(now, tx, out),
                Wakeup::Client(tx) => self.wake_client(now, tx, out),
            }
        }
    }

    /// How many transactions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them are server transactions.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
