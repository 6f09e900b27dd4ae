//! Moves, under way and over.

use serde::{Deserialize, Serialize};

use super::{Listed, Order, Time};
pub use crate::moving::Trigger;
pub use crate::moving::machine::State as MoveState;
use crate::moving::timeline::Timeline;

/// A move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// Its name (ULID).
    pub id: String,
    /// The call.
    pub call: String,
    /// Whose call.
    pub user: String,
    /// The device that had it.
    pub from_device: Option<String>,
    /// The device that gets it.
    pub to_device: Option<String>,
    /// Which door it came in by.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: MoveState,
    /// Why it was refused or rolled back: the word of [`Refusal`](crate::moving::Refusal) or
    /// [`Rollback`](crate::moving::machine::Rollback).
    pub reason: Option<String>,
    /// When it was asked for.
    pub requested: Time,
    /// When it became final.
    pub ended: Option<Time>,
    /// Silence at the switch on the far side's packet clock, ms.
    pub gap_ms: Option<f64>,
    /// RTP packets lost at the switch.
    pub lost: Option<u64>,
    /// Until when the old device may not touch the call.
    pub hold_off_until: Option<Time>,
    /// What happened, in order. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

impl Listed for MoveView {
    const ORDER: Order = Order::Descending;

    fn key(&self) -> String {
        self.id.clone()
    }
}
