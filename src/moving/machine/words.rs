//! The words of the machine: what comes in, what goes out, what operators see.

use std::time::Duration;

use smallvec::SmallVec;

use crate::moving::{Refusal, identifier};

/// How the new device comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It sent an INVITE with an offer; the need was found by the media plan beforehand.
    Pull(Need),
    /// It sent an INVITE without an offer: ours goes into the 200, its answer comes with the ACK.
    PullOfferless,
    /// We ring it with an offer made from the far side's description.
    Push,
    /// We ask it to call with Replaces (RFC 3515, RFC 3891); once it does, this is a pull.
    Refer,
    /// It sent an INVITE for a call that still rings at the old device.
    Pickup,
}

/// Whether the far side must be re-INVITEd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The anchored media can stay as it is.
    Keep,
    /// Other media is needed, or `re_invite = "always"`.
    Reoffer,
}

/// What happens to a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot is stored.
    Stored,
    /// The store is down, or too late.
    StoreFailed,
    /// Push: the new device rings.
    NewRinging,
    /// Push: the new device answered 200; its description is usable.
    NewAnswered(Need),
    /// Refer: the INVITE that the new device was asked for is here; the way is one of the pulls.
    NewCame(Way),
    /// Push: the new device's final answer is no 200, or it cannot be reached. Refer: it will not call.
    NewRefused,
    /// Pull: our 200 was acknowledged. The need counts only where our offer was in the 200. Make it with [`Move::if_registered`](super::Move::if_registered).
    NewAcked(Need),
    /// What would have committed the move came after a binding had run out.
    BindingGone,
    /// The new device's description (in its 200 or ACK) cannot be used.
    NewUnusable,
    /// Our 200 was never acknowledged.
    NewUnacked,
    /// CANCEL or BYE of the new device, or its flow broke.
    NewGone,
    /// The new device's first packet after the swap.
    NewHeard,
    /// `rollback_ms` passed: the new device sent nothing while the old one still did.
    NewSilent,
    /// Neither sends (hold, mute, no media here): nothing to go back for.
    BothSilent,
    /// The far side accepted the re-offer and an answer for the new device can be made.
    FarAnswered,
    /// The far side refused the re-offer, and speech will be converted between what it has and what the new device has.
    FarBridged,
    /// The far side accepted, but no answer for the new device can be made from what it said.
    FarUnusable,
    /// The far side refused the re-offer; its session is as it was.
    FarRefused,
    /// The far side's re-INVITE timed out.
    FarSilent,
    /// BYE of the far side, 481, or its flow broke.
    FarGone,
    /// BYE of the old device (CANCEL-like endings of a ringing leg too), or its flow broke.
    OldGone,
    /// The old device died; the far side is kept, so that the move may yet save the call.
    OldLost,
    /// It is back.
    OldFound,
    /// Pickup: the ringing device, or another of the fork, answered first.
    OldAnswered,
    /// The user takes it back.
    Undo,
    /// The deadline of the stage; comes from [`Move::handle_timeout`](super::Move::handle_timeout).
    Late,
}

/// What the engine is to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store the session information; then [`Event::Stored`] or [`Event::StoreFailed`].
    StoreSnapshot,
    /// Send INVITE to the new device (push).
    RingNew,
    /// Send REFER to the new device; its INVITE is reported as [`Event::NewCame`].
    ReferNew,
    /// Answer the new device's INVITE with 200.
    AnswerNew,
    /// Acknowledge the pushed device's 200.
    AckNew,
    /// Answer the new device's INVITE with this refusal.
    RefuseNew(Refusal),
    /// CANCEL our INVITE to the new device; a late 200 is reported as [`Event::NewAnswered`].
    CancelNew,
    /// BYE to the new device as soon as RFC 3261 15 allows, and its media port goes.
    HangUpNew(Refusal),
    /// Re-INVITE the far side with the new device's media, once no transaction is open there.
    ReofferFar,
    /// Make the far side's session what it was: end an open re-INVITE, ACK a late 200, re-INVITE with the old media.
    RestoreFar,
    /// Pickup: answer the far side's INVITE; the fork is decided.
    AnswerFar,
    /// Let the new device hear the far side too.
    HearBoth,
    /// One exchange on the media thread: far and new; with its first packet the old device is neither heard nor fed.
    SwapRoute,
    /// The reverse: far and old as before.
    SwapBack,
    /// Start the hold-off of the old device and store it.
    HoldOffOld,
    /// End that hold-off.
    LiftHoldOff,
    /// Ask the media thread who sends, and answer with an event as [`Watch`] says.
    WatchMedia(Watch),
    /// BYE to the old device (CANCEL if it rings) with `Reason: SIP;cause=200;text="Call moved to <device>"`.
    ReleaseOld,
    /// BYE to the old device: the call is over. (Pickup: the fork is cancelled.)
    EndOld,
    /// BYE to the far side: nobody is left on ours. (Pickup: the fork goes on without the one that declined.)
    EndFar,
    /// The new device shows the far party; watchers, events and the record learn of the move.
    Announce,
}

/// What the media thread is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// At the swap: did the old device send until now? If not (hold, mute, no media here), and wherever the new
    /// device is not to send, [`Event::BothSilent`] at once.
    OldBefore,
    /// After `rollback_ms`: [`Event::NewHeard`] where the new device was, else [`Event::NewSilent`] where the old
    /// one still sends, else [`Event::BothSilent`]. No answer within another `rollback_ms` counts as the last.
    NewAfter,
}

/// The actions of one step.
pub type Actions = SmallVec<[Action; 6]>;

/// What operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for; not granted yet.
    Requested,
    /// Granted; the snapshot is being stored.
    Authorized,
    /// The new device rings, or was asked to call.
    Ringing,
    /// Media is being agreed with the far side or the new device.
    Negotiating,
    /// The route is exchanged; the old device waits to be released.
    Switching,
    /// Moved.
    Done,
    /// It went back.
    RolledBack,
    /// It did not happen.
    Refused,
}

impl State {
    /// The word in the API, the record and the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Authorized => "authorized",
            Self::Ringing => "ringing",
            Self::Negotiating => "negotiating",
            Self::Switching => "switching",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
        }
    }
}

/// Why a swap was taken back: the `reason` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rollback {
    /// The new device sent no media.
    NewSilent,
    /// The new device hung up before it was heard.
    NewGone,
    /// The user took it back.
    Undo,
}

impl Rollback {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewSilent => "new_silent",
            Self::NewGone => "new_gone",
            Self::Undo => "undo",
        }
    }
}

/// How long each stage may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The store's answer.
    pub store: Duration,
    /// The pushed device's answer.
    pub ring: Duration,
    /// The INVITE of a device that was asked to call.
    pub follow: Duration,
    /// The far side's answer to a re-INVITE, waits after 491 included.
    pub far: Duration,
    /// The new device's ACK.
    pub ack: Duration,
    /// The new device's first packet.
    pub rollback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            store: Duration::from_secs(2),
            ring: Duration::from_secs(30),
            // What it calls with works no longer.
            follow: identifier::LIFE,
            // Longer than three waits of RFC 3261 14.1 (4 s at most each), shorter than a caller's patience.
            far: Duration::from_secs(15),
            // RFC 3261 13.3.1.4: 64*T1.
            ack: Duration::from_secs(32),
            rollback: Duration::from_millis(2000),
        }
    }
}
