//! SUBSCRIBE to the dialog package (RFC 6665, RFC 4235): who watches whose calls, and what they are told.

use super::Engine;
use super::event::RegistrationEvent;
use crate::base::{Now, Timestamp};
use crate::call::LegHandle;
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{Message, StatusCode};

/// All subscriptions.
#[derive(Default)]
pub struct Watchers {}

impl Watchers {
    /// None.
    #[must_use]
    pub fn new(_now: Now) -> Self {
        Self::default()
    }

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

impl Engine {
    pub(super) fn on_subscribe(&mut self, tx: ServerTx, _flow: Flow, _message: &Message) {
        self.core.refuse(tx, &Refusal::BadEvent, None);
    }

    /// A SUBSCRIBE in a dialog; false if it is none of ours.
    pub(super) fn on_resubscribe(&mut self, _tx: ServerTx, _flow: Flow, _message: &Message) -> bool {
        false
    }

    pub(super) fn on_subscribe_in_dialog(
        &mut self,
        _leg: LegHandle,
        _tx: ServerTx,
        _message: &Message,
    ) -> Result<(), Refusal> {
        Err(Refusal::BadEvent)
    }

    pub(super) fn on_notify_response(&mut self, _key: u64, _status: Option<StatusCode>) {}

    pub(super) fn on_watch_timeout(&mut self) {}

    /// The live legs of a user, or what may be done with them, are not what they were.
    pub(super) fn on_directory_changed(&mut self, _user: &str) {}

    /// A device of a user, or all of them with the user, are no more.
    pub(super) fn on_device_removed(&mut self, _user: &str, _device: Option<&str>) {}

    /// A device came or went.
    pub(super) fn on_binding_changed(&mut self, _user: &str, _device: &str, _what: RegistrationEvent) {}
}
