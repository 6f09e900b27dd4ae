//! A user signs in at the keys of a shared device (contract 16): extension and PIN as for the pull code, two notes, and
//! the device is hung up. As soon as it is free the user's live call is offered there, as `move.follow` says.
//!
//! What the PIN opens here is the sign-in alone. The call comes by the same grant as that of a user who signs in at the page:
//! a device that is held off for it stays so, and it rings, whoever stands before it.

use super::prompt::{TRIES, Wants};
use crate::call::setup::Incoming;
use crate::call::{CallHandle, LegHandle};
use crate::engine::Engine;
use crate::engine::command::Subject;
use crate::moving::grant::Unlocked;
use crate::moving::{DeviceKey, Refusal as MoveRefusal};
use crate::registrar::accounts::PhcString;
use crate::sip::Refusal;

/// Who has signed in where, until the device has hung up: a phone that is off the hook cannot ring.
#[derive(Debug)]
pub(in crate::engine) struct Arrival {
    /// The leg in which the keys were pressed.
    pub(super) leg: LegHandle,
    /// The shared device.
    pub(super) device: DeviceKey,
    /// The user.
    pub(super) user: Box<str>,
}

impl Engine {
    /// The sign-in code was dialled at a shared device.
    pub(in crate::engine) fn sign_in_by_code(&mut self, incoming: Incoming<'_>) -> Result<(), Refusal> {
        self.ask_who(incoming, Wants::SignIn)
    }

    /// Whoever stands before the device has proved who it is.
    pub(super) fn sign_in_unlocked(
        &mut self,
        prompt: CallHandle,
        proof: &Unlocked,
    ) -> Result<(), MoveRefusal> {
        // A reload may have taken any of it while the PIN was checked.
        let account = self.core.accounts.by_name(&proof.user).cloned().ok_or(MoveRefusal::PinWrong)?;
        if !self.is_shared(&proof.device) {
            return Err(MoveRefusal::DeviceUnknown);
        }
        let prompting = self.moves.prompts.get(&prompt).ok_or(MoveRefusal::DialogUnknown)?;
        let is_still_right = |pin: &PhcString| prompting.was_checked_against(pin.as_str());
        if !account.pin.as_ref().is_some_and(is_still_right) {
            return Err(MoveRefusal::PinWrong);
        }
        self.sign_in_at(&proof.device, &account);
        self.accept_prompt(prompt);
        Ok(())
    }

    /// The sign-out code was dialled at a shared device. Whoever stands before it may end what lets others call as
    /// somebody: nobody is asked who it is.
    pub(in crate::engine) fn sign_out_by_code(&mut self, incoming: Incoming<'_>) -> Result<(), Refusal> {
        self.ask_who(incoming, Wants::SignOut)
    }

    /// The two notes where somebody was signed in, else the low tone.
    pub(super) fn sign_out_prompted(&mut self, prompt: CallHandle, device: &DeviceKey) {
        if self.sign_out_at(&device.to_string(), "code") {
            self.accept_prompt(prompt);
        } else {
            self.refuse_prompt(prompt, TRIES);
        }
    }

    /// Devices at which somebody has signed in and that are free by now: their users' calls come there. False where there
    /// is none.
    pub(in crate::engine) fn welcome_arrivals(&mut self) -> bool {
        // Its BYE has been answered, or its own has been here.
        let is_free = |arrival: &Arrival| self.core.legs.get(arrival.leg).is_none();
        let Some(at) = self.moves.arrivals.iter().position(is_free) else { return false };
        let Arrival { device, user, .. } = self.moves.arrivals.swap_remove(at);
        let by = Subject::User(user.clone());
        if let Err(error) = self.follow_to(&by, &user, &device.to_string()) {
            // The grant has told why; the user is signed in all the same.
            tracing::debug!(%error, "the call of a user who signed in stays where it is");
        }
        true
    }
}
