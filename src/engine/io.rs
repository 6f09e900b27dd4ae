//! The closed world: everything that can happen to the node, everything it can ask of the world.

use std::sync::Arc;

use bytes::Bytes;

use super::capture::Capture;
use super::command::{Asked, Reply, Secret};
use super::event::Event;
use super::reconfigure::{NewConfiguration, Reconfigured};
use super::store::{FailureCounter, StoreOp, StoreReply, StoreTicket, Unavailable};
use crate::call::record::CallRecord;
use crate::call::targets::Ranked;
use crate::media::relay::{MediaCommand, MediaEvent};
use crate::sip::Flow;

/// Names a command, so that its reply finds who asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// Names a check of a secret, so that its outcome finds what waits for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VerifyTicket(pub u64);

/// Everything that can happen to the node.
pub enum Input {
    /// One message from the network: a datagram, or what a stream framed.
    Received {
        /// Where from.
        flow: Flow,
        /// It; owned by this message alone.
        bytes: Bytes,
    },
    /// A connection is gone, or could not be made.
    FlowClosed(Flow),
    /// The store answers.
    Stored {
        /// What was asked.
        ticket: StoreTicket,
        /// The answer.
        reply: StoreReply,
    },
    /// Whether the store fails from now on, and why. What it is asked alone does not tell: what is written behind gets
    /// no answer.
    StoreState(Option<Unavailable>),
    /// The media threads tell something.
    Media(MediaEvent),
    /// A secret was checked.
    Verified {
        /// What was asked.
        ticket: VerifyTicket,
        /// Whether it was right. An overloaded pool says no.
        right: bool,
    },
    /// A trunk was looked up (RFC 3263): where it is from now on.
    Resolved {
        /// Which, by its place in the settings.
        trunk: usize,
        /// Its targets.
        targets: Vec<Ranked>,
    },
    /// The configuration was read anew. Answer: [`Output::Reconfigured`].
    Reconfigure(Box<NewConfiguration>),
    /// Failed attempts that the API has counted: to be kept.
    Remember(Vec<FailureCounter>),
    /// So much of what is new is more than the node can do.
    Pressure {
        /// Percent; 0 when it keeps up.
        share: u8,
    },
    /// The API or the command line asks.
    Command {
        /// Whom to answer.
        id: CommandId,
        /// What.
        asked: Asked,
    },
}

/// Everything the node can ask of the world.
#[derive(Debug)]
pub enum Output {
    /// Send a message. A stream flow without a connection is connected first.
    Send {
        /// Where to.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// Tell a media thread.
    Media(MediaCommand),
    /// Ask the store.
    Store {
        /// Comes back with the reply.
        ticket: StoreTicket,
        /// What.
        op: StoreOp,
    },
    /// Check a secret with argon2id, off this thread.
    Verify {
        /// Comes back with the outcome.
        ticket: VerifyTicket,
        /// The hash in PHC form; `None` where there is none: the same work is done, the outcome is no.
        hash: Option<Box<str>>,
        /// What was given.
        secret: Secret,
    },
    /// Answer a command.
    Reply {
        /// Whose.
        id: CommandId,
        /// With what.
        reply: Reply,
    },
    /// The configuration holds from now on.
    Reconfigured(Reconfigured),
    /// Tell whoever listens.
    Event(Event),
    /// Tell the capture server.
    Capture(Capture),
    /// A call ended: write its record, once.
    Record(Arc<CallRecord>),
}
