//! The grants that the machine's tests begin with.

use crate::base::Timestamp;
use crate::moving::directory::{Direction, FarParty, LiveLeg, Progress};
use crate::moving::grant::{Facts, MoveGrant, Mover, Presence, Target, authorise};
use crate::moving::hold_off::HoldOffs;
use crate::moving::{CallKey, DeviceKey, LegKey, Trigger};

/// What a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Move,
    /// A device replaces its own leg.
    Repair,
    /// The old device died before.
    Rescue,
}

pub(super) fn grant(granted: Granted) -> MoveGrant {
    let at = Timestamp::from_micros(5_000_000);
    let leg = LiveLeg {
        leg: LegKey(1),
        call: CallKey(1),
        device: DeviceKey::new("alice", "desk"),
        owner: "alice".into(),
        extension: None,
        far: FarParty::default(),
        direction: Direction::Incoming,
        progress: Progress::Answered { at: Timestamp::ZERO },
        bar: None,
        lost: granted == Granted::Rescue,
        far_device: None,
    };
    let (mobile, here) = (DeviceKey::new("alice", "mobile"), Presence::until(Some(Timestamp::NEVER)));
    let (mover, new_device) = match granted {
        Granted::Move | Granted::Rescue => (Mover::Device(&mobile), &mobile),
        Granted::Repair => (Mover::Itself(&leg.device), &leg.device),
    };
    authorise(&Facts {
        now: at,
        trigger: Trigger::StarCode,
        mover,
        leg: &leg,
        new_device,
        target: Target::Personal,
        old_presence: here,
        new_presence: here,
        hold_offs: &HoldOffs::default(),
        seen_generation: 0,
        generation: 0,
        last_move: None,
    })
    .unwrap()
}
