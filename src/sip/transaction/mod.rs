//! The four transactions of RFC 3261 17 with RFC 6026, and the layer that matches messages to them.
//!
//! [`Transactions`] is a value: messages, answers and time go in, [`Effect`]s come out. Each machine is one file
//! and knows neither the others nor the wire. The layer answers by itself what needs no thought: 100 to an INVITE,
//! 200 or 481 to a CANCEL, 482 to a merged request, ACK to a refusal, ACK again to a repeated 2xx.
//!
//! Invariants: a transaction that still owes its user an answer gives exactly one of first final response,
//! [`Effect::Timeout`] or [`Effect::Failed`]; every table is bounded by [`Settings`]; what lingers keeps no
//! request, and no response that cannot be asked for again.

mod action;
mod build;
mod client;
mod client_invite;
mod client_non_invite;
mod key;
mod layer;
mod pace;
mod server;
mod server_invite;
mod server_non_invite;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::base::Handle;
use crate::sip::Flow;
use crate::wire::sip::{Message, Method};

pub use layer::Transactions;
pub use server::ServerView;

/// A server transaction.
pub type ServerTx = Handle<Server>;
/// A request of ours that was challenged.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As it was sent.
    pub bytes: Bytes,
    /// How many challenges it answers, with those before it.
    pub answers: u8,
}

/// A client transaction.
pub type ClientTx = Handle<Client>;

/// Names what a [`ServerTx`] is a handle of.
pub enum Server {}
/// Names what a [`ClientTx`] is a handle of.
pub enum Client {}

/// Timers and bounds. The defaults of T1, T2, T4 are those of RFC 3261 table 4.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// Longest interval between repetitions of requests other than INVITE, and of responses to INVITE.
    pub t2: Duration,
    /// How long a message may linger in the network.
    pub t4: Duration,
    /// An INVITE that has no answer by then is answered 100; at most 200 ms (RFC 3261 17.2.1). Never at once: a 100
    /// ends the repetitions of a request, so one that is then refused without state (8.2.7) would never hear of it
    /// if the refusal were lost.
    pub trying: Duration,
    /// Most server transactions at a time. One that lingers after its answer costs about 0.8 KB: 32 s of 3000
    /// new ones a second fit.
    pub max_servers: usize,
    /// Most client transactions at a time.
    pub max_clients: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            trying: Duration::from_millis(100),
            max_servers: 200_000,
            max_clients: 200_000,
        }
    }
}

/// Which kind of answer was not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// A 2xx: its dialog stands and its session is to be ended with BYE (RFC 3261 13.3.1.4).
    Accepted,
    /// A 300-699: nothing is left to do.
    Refused,
}

/// What the layer asks of the transport, and what it tells its user. `O` is what the user calls the owner of a
/// transaction.
#[derive(Clone, Debug)]
pub enum Effect<O> {
    /// Send.
    Send {
        /// Where to.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// A new request, neither ACK nor CANCEL. Owed: a final [`Transactions::respond`].
    Request {
        /// Its transaction.
        tx: ServerTx,
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
    },
    /// The client gave up an INVITE that has no final answer yet. The CANCEL was answered; answer the INVITE
    /// with 487.
    Cancelled {
        /// The INVITE's.
        tx: ServerTx,
        /// The INVITE's.
        owner: Option<O>,
        /// The CANCEL, for its Reason.
        message: Message,
    },
    /// An ACK that acknowledges no refusal of ours: of a 2xx, or of nothing.
    Ack {
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
    },
    /// A response to our request: each 1xx (100 once), the first final one, and each 2xx of another fork.
    Response {
        /// The request's.
        tx: ClientTx,
        /// The request's.
        owner: O,
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
        /// The request, where this is a challenge (401, 407).
        sent: Option<Sent>,
    },
    /// A response that belongs to nothing, or a 2xx to an INVITE that was forgotten.
    Stray {
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
    },
    /// No final response in time; as if it were 408 (RFC 3261 8.1.3.1).
    Timeout {
        /// The request's.
        tx: ClientTx,
        /// The request's.
        owner: O,
    },
    /// The request could not be carried, or there is no room for its transaction; as if it were 503
    /// (RFC 3261 8.1.3.1).
    Failed {
        /// The request's. Names nothing where there was no room.
        tx: ClientTx,
        /// The request's.
        owner: O,
    },
    /// A final answer to an INVITE was not acknowledged within 64*T1.
    AckTimeout {
        /// The INVITE's.
        tx: ServerTx,
        /// The INVITE's.
        owner: Option<O>,
        /// Which kind of answer.
        answered: Answered,
    },
    /// There is no room for this request (not an ACK): answer it 503 with [`Transactions::stateless_reply`],
    /// or not at all.
    Overloaded {
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
    },
}

/// How often what happened, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Server transactions that were opened.
    pub servers: u64,
    /// Client transactions that were opened.
    pub clients: u64,
    /// Requests and responses that came again.
    pub repeated: u64,
    /// What was sent again because nothing came back in time, or came again, by the [kind](Method::kind) of its method.
    pub retransmitted: [u64; Method::KINDS],
    /// Requests answered 482 as merged.
    pub merged: u64,
    /// CANCELs answered 481.
    pub cancels_unmatched: u64,
    /// Responses that belonged to nothing.
    pub strays: u64,
    /// Requests or responses that no transaction can be found for: Via missing, broken, or not only ours.
    pub unroutable: u64,
    /// Requests that found no room, and requests of ours that found none.
    pub overloaded: u64,
    /// Client transactions that ended without a final response.
    pub timeouts: u64,
    /// Final answers to INVITEs that were never acknowledged.
    pub unacknowledged: u64,
}

impl Counters {
    fn resent(&mut self, method: &Method, count: usize) {
        if let Some(counter) = self.retransmitted.get_mut(method.kind()) {
            *counter += count as u64;
        }
    }
}
