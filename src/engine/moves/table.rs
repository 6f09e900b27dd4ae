//! The tables of the moves of one worker, and one move under way.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use super::pins::Pins;
use super::prompt::Prompting;
use super::referral::Referral;
use super::rescue::Probe;
use super::sign_in::Arrival;
use crate::base::{Now, Timestamp};
use crate::call::undo::Before;
use crate::call::{CallHandle, LegHandle, Side};
use crate::engine::VerifyTicket;
use crate::engine::command::{CommandError, MoveMode};
use crate::engine::store::{Loaded, StoreTicket};
use crate::engine::view::{MoveView, Time};
use crate::media::plan;
use crate::moving::directory::Directory;
use crate::moving::hold_off::HoldOffs;
use crate::moving::identifier::Identifiers;
use crate::moving::machine::{Move, State};
use crate::moving::timeline::Timeline;
use crate::moving::{DeviceKey, LegKey, Trigger};
use crate::sip::transaction::ServerTx;

/// Finished moves that are remembered in memory; older ones are in the store.
const MAX_RECENT: usize = 1000;

/// Our key of a move.
pub type MoveKey = u64;

/// Who waits for the outcome of a push.
#[derive(Clone, Copy, Debug, Default)]
pub enum AskedBy {
    /// Nobody, or one who reads events.
    #[default]
    Nobody,
    /// The REFER of the old device, in this leg (RFC 3515 2.4.5).
    Refer(LegHandle),
    /// The INVITE to the push code.
    PushCode(ServerTx),
}

/// How the new device comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Joins {
    /// By an INVITE, of its own or of ours.
    #[default]
    ByInvite,
    /// It stands in a dialog with us already: its user signed in by keypad.
    FromPrompt,
}

/// A move under way.
pub struct Moving {
    /// Its public name (ULID).
    pub id: Box<str>,
    /// The machine that decides.
    pub machine: Move,
    /// The call.
    pub call: CallHandle,
    /// The call's public name.
    pub call_id: Box<str>,
    /// The side that changes hands.
    pub side: Side,
    /// The leg that stays.
    pub far: LegHandle,
    /// The leg of the device that had the call.
    pub old: LegHandle,
    /// The leg of the device that gets it, as soon as there is one.
    pub new: Option<LegHandle>,
    /// Whose call it is: the user who has the old device, or who is signed in there.
    pub owner: Box<str>,
    /// Who had it.
    pub from: DeviceKey,
    /// Who gets it.
    pub to: DeviceKey,
    /// By which door.
    pub trigger: Trigger,
    /// How the new device comes in.
    pub joins: Joins,
    /// How a pushed device is asked.
    pub mode: MoveMode,
    /// When it was asked for.
    pub began: Now,
    /// When it was over.
    pub ended: Option<crate::base::UnixMillis>,
    /// What happened.
    pub timeline: Timeline,
    /// What the far side had agreed before it was asked for other media.
    pub far_before: Option<Before>,
    /// The pairing of far and new.
    pub pairing: plan::Pairing,
    /// The pairing of far and old, to go back to.
    pub old_pairing: plan::Pairing,
    /// Silence at the switch.
    pub gap_us: Option<u64>,
    /// Packets lost at the switch.
    pub lost: u64,
    /// Whether the new device's media reached the far side.
    pub heard: bool,
    /// A question to the media thread that is open.
    pub watch: Option<crate::moving::machine::Watch>,
    /// Packets that the old device had sent when the routes were swapped.
    pub old_sent: Option<u64>,
    /// The far side must be restored when its open re-INVITE ends.
    pub restore_due: bool,
    /// Whether the far side's speech was converted before the move.
    pub was_converted: bool,
    /// The new device was asked a second time, to speak what the far side does.
    pub is_narrowed: bool,
    /// The far side was asked a second time, with what we can convert.
    pub is_bridged: bool,
    /// Who else is told how it ends.
    pub asked_by: AskedBy,
}

impl Moving {
    /// A device as its user calls it; one of another user, a shared one, with that user.
    fn as_named(&self, device: &DeviceKey) -> String {
        if *device.user() == *self.owner { device.device().to_owned() } else { device.to_string() }
    }

    /// As operators see it.
    #[must_use]
    pub fn view(&self, hold_off_until: Option<Time>) -> MoveView {
        let state = self.machine.state();
        let over = matches!(state, State::Done | State::RolledBack | State::Refused);
        let refusal = self.machine.refusal().map(crate::moving::Refusal::as_str);
        let reason =
            refusal.or_else(|| self.machine.rollback().map(crate::moving::machine::Rollback::as_str));
        MoveView {
            id: self.id.to_string(),
            call: self.call_id.to_string(),
            user: self.owner.to_string(),
            from_device: Some(self.as_named(&self.from)),
            to_device: Some(self.as_named(&self.to)),
            trigger: self.trigger,
            state,
            reason: reason.map(str::to_owned),
            requested: Time(self.began.unix),
            ended: self.ended.filter(|_| over).map(Time),
            gap_ms: self.gap_us.map(|us| us as f64 / 1000.0),
            lost: self.gap_us.map(|_| self.lost),
            hold_off_until,
            timeline: Some(self.timeline.clone()),
        }
    }
}

/// Everything of moves.
pub struct Moves {
    /// Live legs by user and device.
    pub directory: Directory,
    /// Who may not touch what.
    pub hold_offs: HoldOffs,
    /// One-time identifiers.
    pub identifiers: Identifiers,
    /// Under way.
    pub live: BTreeMap<MoveKey, Moving>,
    /// Which move holds a call.
    pub by_call: BTreeMap<CallHandle, MoveKey>,
    /// When a call was last moved.
    pub last: BTreeMap<CallHandle, Timestamp>,
    /// The names of calls whose party a transfer has brought into this one.
    pub former: BTreeMap<CallHandle, Vec<Box<str>>>,
    /// Which move waits for a store reply.
    pub stores: BTreeMap<StoreTicket, MoveKey>,
    /// REFERs of ours, by the moves that they are for.
    pub(in crate::engine) referrals: BTreeMap<MoveKey, Referral>,
    /// Devices whose connection broke, and of which it is asked whether they still send.
    pub(in crate::engine) probes: BTreeMap<LegHandle, Probe>,
    /// Finished ones, newest last.
    pub recent: VecDeque<MoveView>,
    /// Legs in the directory, by call.
    pub tracked: BTreeMap<CallHandle, SmallVec<[LegKey; 2]>>,
    /// Shared devices that are being asked who stands before them, by their calls with us.
    pub(in crate::engine) prompts: BTreeMap<CallHandle, Prompting>,
    /// Users who have signed in by keypad, and whose device has not hung up yet.
    pub(in crate::engine) arrivals: Vec<Arrival>,
    /// PINs that are being checked, and for which prompt.
    pub(super) checks: BTreeMap<VerifyTicket, CallHandle>,
    /// How often PINs were tried.
    pub(super) pins: Pins,
    /// Completed moves since the start.
    pub completed: u64,
    next: MoveKey,
}

impl Moves {
    /// With the hold-offs that survived a restart.
    #[must_use]
    pub fn new(loaded: &Loaded, worker: u8, now: Now) -> Self {
        let mut hold_offs = HoldOffs::default();
        for row in &loaded.hold_offs {
            hold_offs.restore(now, row);
        }
        Self {
            directory: Directory::default(),
            hold_offs,
            identifiers: Identifiers::new(worker),
            live: BTreeMap::new(),
            by_call: BTreeMap::new(),
            last: BTreeMap::new(),
            former: BTreeMap::new(),
            stores: BTreeMap::new(),
            referrals: BTreeMap::new(),
            probes: BTreeMap::new(),
            recent: VecDeque::new(),
            tracked: BTreeMap::new(),
            prompts: BTreeMap::new(),
            arrivals: Vec::new(),
            checks: BTreeMap::new(),
            pins: Pins::restore(now, &loaded.failures),
            completed: 0,
            next: 0,
        }
    }

    /// A key for a new move.
    pub fn mint(&mut self) -> MoveKey {
        self.next += 1;
        self.next
    }

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let machines = self.live.values().filter_map(|moving| moving.machine.poll_timeout()).min();
        let prompts = self.prompts.values().map(Prompting::due).min();
        let referrals = self.referrals.values().map(|referral| referral.until).min();
        let probes = self.probes.values().map(|probe| probe.due).min();
        let others = prompts.into_iter().chain(referrals).chain(probes);
        machines.into_iter().chain(self.hold_offs.poll_timeout()).chain(others).min()
    }

    /// Remembers a finished move.
    pub fn remember(&mut self, view: MoveView) {
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(view);
    }

    /// The move that a leg is the new device of, or that holds its call.
    #[must_use]
    pub fn of_leg(&self, call: CallHandle) -> Option<MoveKey> {
        self.by_call.get(&call).copied()
    }

    /// A move by its public name, under way or remembered.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn find(&self, id: &str) -> Result<MoveView, CommandError> {
        let live = self.live.values().find(|moving| &*moving.id == id).map(|moving| moving.view(None));
        live.or_else(|| self.recent.iter().find(|view| view.id == id).cloned()).ok_or(CommandError::NotFound)
    }
}
