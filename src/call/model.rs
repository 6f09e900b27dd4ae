//! Calls and legs: what is known of each. What happens to them is in the files beside this one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::dial_plan::{Destination, Plan, is_emergency};
use super::quirks::Quirks;
use super::record::CallRecord;
use super::reliable::Reliable;
use super::session_timer::SessionTimer;
use super::targets::Way;
use super::transfer::InTransfer;
use crate::base::{Handle, Timers, Timestamp};
use crate::media::plan::{LegMedia, Ours, Pairing};
use crate::media::relay::PortPair;
use crate::registrar::accounts::Account;
use crate::sip::dialog::Dialog;
use crate::sip::transaction::{ClientTx, ServerTx};
use crate::wire::sip::{Message, StatusCode};

/// Our key of a call.
pub type CallHandle = Handle<Call>;
/// Our key of a leg.
pub type LegHandle = Handle<Leg>;

/// The two sides of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// Who is at the far end of a leg.
#[derive(Clone)]
pub enum Party {
    /// A device of a user.
    User {
        /// The user.
        account: Arc<Account>,
        /// The device: its place in `account.devices`.
        device: usize,
    },
    /// A trunk: its place in the settings, and its name.
    Trunk {
        /// Place in the settings.
        index: usize,
        /// Name.
        name: Arc<str>,
        /// The user in whose name we speak there, as one of its own; none: in that of our account.
        line: Option<Arc<Account>>,
    },
    /// Ourselves: echo, tone.
    Service(Service),
}

/// What we ourselves can be called for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Sends back what it hears.
    Echo,
    /// A steady tone.
    Tone,
    /// Asks by beeps who stands before a shared device, and listens to its keypad.
    Prompt,
    /// Holds the caller's place in a call that is rung in a transfer.
    Transfer,
}

impl Party {
    /// The user, where it is one.
    #[must_use]
    pub fn account(&self) -> Option<&Arc<Account>> {
        match self {
            Self::User { account, .. } => Some(account),
            Self::Trunk { .. } | Self::Service(_) => None,
        }
    }

    /// User and device name.
    #[must_use]
    pub fn device(&self) -> Option<(&str, &str)> {
        match self {
            Self::User { account, device } => Some((&account.name, &account.devices.get(*device)?.id)),
            Self::Trunk { .. } | Self::Service(_) => None,
        }
    }

    /// Whether it may name our own media ports: a PBX may, to which one of its users calls another.
    #[must_use]
    pub const fn ours(&self) -> Ours {
        match self {
            Self::Trunk { line: Some(_), .. } => Ours::Taken,
            Self::Trunk { line: None, .. } | Self::User { .. } | Self::Service(_) => Ours::Refused,
        }
    }

    /// Under which two names is kept whether it speaks SRTP: those of its device, or none and that of the trunk.
    #[must_use]
    pub fn speaker(&self) -> Option<(&str, &str)> {
        match self {
            Self::User { .. } => self.device(),
            Self::Trunk { name, .. } => Some(("", name)),
            Self::Service(_) => None,
        }
    }
}

/// What a leg is to its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// One of the two that talk (or, before the answer, the caller).
    Talking(Side),
    /// A device that is rung for the callee's side.
    Fork,
    /// A new device in a move that has not yet switched.
    Mover,
    /// Left the call by a move; is being told goodbye.
    Released,
}

/// The state of a leg's INVITE (RFC 3261 13, 14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegState {
    /// INVITE received or sent, no final answer.
    Early,
    /// 2xx sent by us, its ACK not here yet.
    Answered,
    /// 2xx and ACK exchanged.
    Confirmed,
    /// BYE sent or received.
    Ended,
}

/// A request that one of our own open INVITEs or UPDATEs is on behalf of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Passed on from the other side, which waits on this transaction.
    Relay {
        /// Where the answer goes.
        server: ServerTx,
        /// Whose request it is.
        from: LegHandle,
        /// Whether it carried an offer.
        offered: bool,
    },
    /// A move shows the far side the new media.
    Move,
    /// A failed move takes that back.
    Restore,
    /// The peer learns who it speaks with (P-Asserted-Identity).
    Identity,
    /// The session is refreshed (RFC 4028).
    Refresh,
    /// A transfer joins it with another leg.
    Transfer,
}

/// Our ports toward one leg, by m-line; `None` for a line without media.
pub type LegPorts = SmallVec<[Option<PortPair>; 2]>;

/// Letters of a leg's timers.
pub mod timer {
    /// Retry of an own re-INVITE after 491 (RFC 3261 14.1).
    pub const RETRY: usize = 0;
    /// End of ringing.
    pub const RINGING: usize = 1;
    /// Session refresh is overdue (RFC 4028 10).
    pub const SESSION: usize = 2;
    /// It is time that we refresh the session (RFC 4028 10).
    pub const REFRESH: usize = 3;
    /// The other side of a device that died has been kept for long enough.
    pub const RESCUE: usize = 4;
    /// A reliable provisional response of ours waits for its PRACK (RFC 3262 3).
    pub const RELIABLE: usize = 5;
    /// A target has not said anything yet.
    pub const SILENCE: usize = 6;
    /// The users who are rung for this caller have had their turn.
    pub const TURN: usize = 7;
    /// Number of letters.
    pub const COUNT: usize = 8;
}

/// One dialog of ours with one party.
pub struct Leg {
    /// Its call.
    pub call: CallHandle,
    /// What it is to the call.
    pub role: Role,
    /// Who.
    pub party: Party,
    /// The user who signed in at a shared device, and whose call it has.
    pub acts_for: Option<Arc<Account>>,
    /// The dialog.
    pub dialog: Dialog,
    /// Where its INVITE stands.
    pub state: LegState,
    /// Whether they invited us.
    pub is_inbound: bool,
    /// Their open INVITE or re-INVITE.
    pub server_invite: Option<ServerTx>,
    /// Our open INVITE or re-INVITE.
    pub client_invite: Option<ClientTx>,
    /// Their open UPDATE, which was passed on.
    pub server_update: Option<ServerTx>,
    /// Whether an UPDATE of ours with an offer is open.
    pub open_update: bool,
    /// CSeq of our INVITE whose 2xx waits for the ACK that carries the other side's answer.
    pub owed_ack: Option<(ClientTx, u32)>,
    /// Our offer stands in a 2xx whose ACK brings the answer; on behalf of which purpose.
    pub answer_due: Option<AnswerDue>,
    /// A re-INVITE to be sent when the leg is free, or again after 491.
    pub queued: VecDeque<(Bytes, Purpose)>,
    /// The offer of our last re-INVITE, for its retry after 491.
    pub last_offer: Bytes,
    /// What it is offered again as soon as that one is over, which counts no more.
    pub undo: Option<Box<super::undo::Before>>,
    /// 491 answers to it in a row.
    pub glares: u8,
    /// Whether it accepts UPDATE (RFC 3311).
    pub allows_update: bool,
    /// Whether it says that it accepts MESSAGE (RFC 3428).
    pub takes_messages: bool,
    /// Whether it accepts INFO (RFC 6086).
    pub allows_info: bool,
    /// What it and we have said about media; `None` only while it is being worked on.
    pub media: Option<Box<LegMedia>>,
    /// The last description of it, byte for byte: all there is of media that does not run through us.
    pub raw: Bytes,
    /// The one before, while it is not settled whether an offer of it is accepted.
    pub raw_before: Option<Bytes>,
    /// Our ports toward it.
    pub ports: LegPorts,
    /// Those of a call that it has left for one on another media thread, until it has agreed on others.
    pub left_ports: Option<Box<(CallHandle, LegPorts)>>,
    /// Its m-lines and those of the leg it is about to talk with; the call's own once it does.
    pub pairing: Pairing,
    /// Its session timer.
    pub session: SessionTimer,
    /// Our INVITE, until its final answer: to be sent again after 422, or once after 488.
    pub sent_invite: Option<Bytes>,
    /// Whether it was offered what we would have to convert.
    pub is_bridged: bool,
    /// Timers.
    pub timers: Timers<{ timer::COUNT }>,
    /// Reliable provisional responses (RFC 3262), where there are any.
    pub reliable: Option<Box<Reliable>>,
    /// Who it is told that it speaks with, in the next re-INVITE of a transfer.
    pub introduction: Option<Box<str>>,
    /// Its number here, where rules of its trunk make that another than the one which its side says.
    pub number: Option<Box<str>>,
    /// Whether it counts as a call of its trunk.
    pub has_line: bool,
    /// The credentials of our last INVITE that had any.
    pub proof: Option<Box<super::prove::Proof>>,
    /// Their User-Agent, cut to a sane length.
    pub user_agent: Option<Box<str>>,
    /// What is done otherwise for it.
    pub quirks: Quirks,
    /// Whether the party does not want to be named to the other side (RFC 3323).
    pub is_private: bool,
    /// Whether we vouch for who it says it is (RFC 3325 5).
    pub is_vouched: bool,
    /// When it was answered.
    pub answered: Option<Timestamp>,
    /// Whether it has the other side on hold.
    pub holds: bool,
    /// A release that has to wait until the INVITE is final, with its Reason.
    pub release: Option<Box<str>>,
}

/// Where an answer in an ACK goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerDue {
    /// To the other leg, whose 2xx carried the offer.
    Peer,
    /// To the move that this leg is the new device of.
    Move,
}

/// How a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallState {
    /// No answer yet.
    Ringing,
    /// Both sides talk.
    Talking,
    /// Being taken down.
    Ended,
}

/// The best final answer of the forks so far (RFC 3261 16.7 step 6).
#[derive(Clone)]
pub struct Best {
    /// Its status.
    pub status: StatusCode,
    /// Its reason phrase.
    pub reason: Box<str>,
    /// What explains it (RFC 3326, RFC 3261 20.43): the whole answer, of which little crosses.
    pub answer: Option<Message>,
}

/// One conversation, whatever devices it moves between.
pub struct Call {
    /// Its public name (ULID), in records, events and the API.
    pub id: Box<str>,
    /// How it stands.
    pub state: CallState,
    /// Who called.
    pub caller: LegHandle,
    /// Who answered.
    pub callee: Option<LegHandle>,
    /// Devices being rung.
    pub forks: SmallVec<[LegHandle; 2]>,
    /// Targets of trunks that come after those being rung.
    pub next_ways: SmallVec<[Way; 2]>,
    /// What comes after that.
    pub rest: Plan,
    /// Whether who is rung is rung as a group: the refusal of one is not that of the others.
    pub rings_group: bool,
    /// Whether the record counts the call to whom it is for.
    pub counts_to_callee: bool,
    /// The trunk that counted the call toward its rate last.
    pub admitted_by: Option<usize>,
    /// Who was to take it here before it goes on to trunks.
    pub diverted: Option<Box<super::diversion::Entry>>,
    /// The number that the trunk targets are called by.
    pub number: Box<str>,
    /// Our ports toward the callee while it is not known which device answers.
    pub fork_ports: LegPorts,
    /// The fork whose early media the caller hears.
    pub early_media: Option<LegHandle>,
    /// Best final answer so far.
    pub best: Option<Best>,
    /// m-lines of the two legs that talk.
    pub pairing: Pairing,
    /// Devices that were moved away from; their dialogs are remembered as long as the call lives.
    pub released: SmallVec<[LegHandle; 2]>,
    /// Whether media runs through us.
    pub anchored: bool,
    /// Media thread.
    pub thread: u8,
    /// Rises with every change of who talks: a move compares it before it swaps.
    pub generation: u32,
    /// Whether a move holds the call: far offers get 491, the old device's BYE does not end it.
    pub moving: bool,
    /// Whether that move waits for a device to answer or to call, and has touched no leg.
    pub awaits_device: bool,
    /// What part it has in a transfer that is under way.
    pub transfer: Option<InTransfer>,
    /// Whether the number is an emergency number: never moved.
    pub emergency: bool,
    /// Whether speech is converted between its two sides.
    pub is_transcoded: bool,
    /// The leg whose device died while the other side is kept for it (see [`super::rescue`]).
    pub lost: Option<Box<super::rescue::Lost>>,
    /// The record, growing.
    pub record: Box<CallRecord>,
}

impl Call {
    /// A call that begins, with nobody rung yet; its name is that of its record.
    #[must_use]
    pub fn new(caller: LegHandle, number: &str, anchored: bool, thread: u8, record: CallRecord) -> Self {
        Self {
            id: record.id.as_str().into(),
            state: CallState::Ringing,
            caller,
            callee: None,
            forks: SmallVec::new(),
            next_ways: SmallVec::new(),
            rest: Plan::default(),
            rings_group: false,
            counts_to_callee: false,
            admitted_by: None,
            diverted: None,
            number: number.into(),
            fork_ports: SmallVec::new(),
            early_media: None,
            best: None,
            pairing: Pairing::default(),
            released: SmallVec::new(),
            anchored,
            thread,
            generation: 0,
            moving: false,
            awaits_device: false,
            transfer: None,
            emergency: is_emergency(number),
            is_transcoded: false,
            lost: None,
            record: Box::new(record),
        }
    }

    /// The leg on `side`.
    #[must_use]
    pub fn leg(&self, side: Side) -> Option<LegHandle> {
        match side {
            Side::Caller => Some(self.caller),
            Side::Callee => self.callee,
        }
    }

    /// The side that `leg` talks on.
    #[must_use]
    pub fn side_of(&self, leg: LegHandle) -> Option<Side> {
        if self.caller == leg {
            Some(Side::Caller)
        } else if self.callee == Some(leg) {
            Some(Side::Callee)
        } else {
            None
        }
    }

    /// Whether the device of `leg` died, and its side is kept open.
    #[must_use]
    pub fn has_lost(&self, leg: LegHandle) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.leg == leg)
    }

    /// Whether it still waits for somebody to answer. One that is rung in a transfer has its answer before it talks.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == CallState::Ringing && self.callee.is_none()
    }

    /// Whether somebody else may be tried after those being rung.
    #[must_use]
    pub fn has_more_targets(&self) -> bool {
        !self.next_ways.is_empty() || !self.rest.stops.is_empty()
    }

    /// Whether a trunk, by its place, may be tried after those being rung.
    #[must_use]
    pub fn may_try_trunk(&self, index: usize) -> bool {
        let names = |to: &Destination| matches!(to, Destination::Trunks(trunks) if trunks.contains(&index));
        self.next_ways.iter().any(|way| way.trunk == index)
            || self.rest.stops.iter().any(|stop| names(&stop.to))
    }

    /// Nobody else is tried.
    pub fn try_no_more(&mut self) {
        self.next_ways.clear();
        self.rest = Plan::default();
    }

    /// The leg at the other end of `leg`.
    #[must_use]
    pub fn peer(&self, leg: LegHandle) -> Option<LegHandle> {
        self.leg(self.side_of(leg)?.other())
    }
}

impl Leg {
    /// The user whose call it is: whoever signed in at the device, else the one whose device it is.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<Account>> {
        self.acts_for.as_ref().or_else(|| self.party.account())
    }

    /// Whether an INVITE, re-INVITE or UPDATE of either side is open: nothing new may be offered (RFC 3261 14.1).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.client_invite.is_some()
            || self.server_invite.is_some()
            || self.server_update.is_some()
            || self.open_update
            || self.owed_ack.is_some()
            || self.answer_due.is_some()
            || self.state != LegState::Confirmed
    }

    /// Their re-INVITE or UPDATE has its final answer.
    pub fn close_request(&mut self, tx: ServerTx) {
        for open in [&mut self.server_invite, &mut self.server_update] {
            if *open == Some(tx) {
                *open = None;
            }
        }
    }
}
