//! What the four machines ask of the layer. They own no socket and no other transaction.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Answered;
use crate::sip::Flow;

/// One wish of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Send this where the transaction's messages go.
    Send(Bytes),
    /// Send this elsewhere: the ACK of a 2xx follows the dialog's route, not the INVITE's.
    SendOn(Flow, Bytes),
    /// Start the transaction of this CANCEL.
    Cancel(Bytes),
    /// Hand the message that is being handled to the transaction user.
    Deliver,
    /// The user is slow: answer 100.
    Trying,
    /// Nothing came within timer B or F.
    TimedOut,
    /// The transport is gone.
    Failed,
    /// The final response was never acknowledged.
    AckTimeout(Answered),
}

/// What one event gives rise to. Two is the most that is usual.
pub(super) type Actions = SmallVec<[Action; 2]>;
