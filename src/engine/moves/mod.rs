//! Moves under way: `doors` are the ways in, `act` carries out what the machine asks, `react` tells the machine
//! what happened. The machine itself, the grant and the tables are in [`crate::moving`].

mod act;
mod doors;
mod exchange;
mod notes;
mod notice;
mod outcome;
mod pickup;
mod pins;
mod prompt;
mod push;
mod react;
mod redirect;
mod referral;
mod rescue;
mod ring;
mod sign_in;
mod table;
mod track;

pub use table::{AskedBy, Joins, MoveKey, Moves, Moving};

use crate::base::Handle;
use crate::call::{CallHandle, LegHandle, Party};
use crate::moving::{CallKey, DeviceKey, LegKey, Refusal as MoveRefusal};
use crate::sip::Refusal;
use crate::wire::sip::StatusCode;

/// The key of a call in the tables of [`crate::moving`].
#[must_use]
pub const fn call_key(call: CallHandle) -> CallKey {
    CallKey(call.to_bits())
}

/// The key of a leg in the tables of [`crate::moving`].
#[must_use]
pub const fn leg_key(leg: LegHandle) -> LegKey {
    LegKey(leg.to_bits())
}

/// The leg of a key.
#[must_use]
pub const fn leg_of(key: LegKey) -> LegHandle {
    Handle::from_bits(key.0)
}

/// The call of a key.
#[must_use]
pub const fn call_of(key: CallKey) -> CallHandle {
    Handle::from_bits(key.0)
}

/// The device at the far end of a leg.
#[must_use]
pub fn device_of(party: &Party) -> Option<DeviceKey> {
    party.device().map(|(user, device)| DeviceKey::new(user, device))
}

impl From<MoveRefusal> for Refusal {
    /// The refusal as a SIP answer; the status is that of the move's own table.
    fn from(refusal: MoveRefusal) -> Self {
        match refusal {
            MoveRefusal::HoldOff { seconds } => Self::HoldOff { retry_after: seconds },
            other => Self::Move {
                status: StatusCode::new(other.status()).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR),
                text: other.text(),
                retry_after: other.retry_after(),
            },
        }
    }
}
