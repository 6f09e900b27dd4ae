//! An offer of ours that leads to nothing is taken back: who was offered it hears again what it heard before.

use bytes::Bytes;

use super::core::{Core, Owner};
use super::model::{LegHandle, LegState, Purpose};
use crate::media::plan::Snapshot;
use crate::sip::transaction::ClientTx;

/// What stood on a leg before it was offered something.
#[derive(Clone)]
pub enum Before {
    /// Media through us, as it was agreed.
    Agreed(Snapshot),
    /// Media past us: what the party at the other end had said of its own.
    Said(Bytes),
}

impl Core {
    /// What stands on `leg`, which talks with `peer`.
    #[must_use]
    pub fn before(&self, leg: LegHandle, peer: LegHandle) -> Option<Before> {
        match &self.legs.get(leg)?.media {
            Some(media) => media.snapshot().map(Before::Agreed),
            None => {
                let said = &self.legs.get(peer)?.raw;
                (!said.is_empty()).then(|| Before::Said(said.clone()))
            }
        }
    }

    /// A leg is offered again what stood before, so that both ends are as they were (RFC 3261 14.1).
    pub fn offer_again(&mut self, leg: LegHandle, before: &Before) {
        let thread = self.call_of(leg).and_then(|call| self.calls.get(call)).map(|call| call.thread);
        let Some(found) = self.legs.get_mut(leg).filter(|leg| leg.state != LegState::Ended) else { return };
        let place = thread.and_then(|thread| self.settings.media.web_place(thread));
        if let (Some(place), Some(media)) = (place, &mut found.media) {
            media.meet_browsers_at(place);
        }
        let offer = match (before, &mut found.media) {
            (Before::Agreed(snapshot), Some(media)) => media.restore(snapshot).ok(),
            (Before::Said(said), None) => Some(said.clone()),
            _ => None,
        };
        if let Some(offer) = offer {
            self.queue_reinvite(leg, offer, Purpose::Restore);
        }
    }

    fn open_reinvite(&self, leg: LegHandle, purpose: Purpose) -> Option<ClientTx> {
        let tx = self.legs.get(leg)?.client_invite?;
        (self.transactions.client_owner(tx) == Some(Owner::Reinvite(leg, purpose))).then_some(tx)
    }

    /// What a leg is to be offered again, now that its re-INVITE is over.
    pub(super) fn take_undo(&mut self, leg: LegHandle) -> Option<Before> {
        self.legs.get_mut(leg)?.undo.take().map(|before| *before)
    }

    /// Our re-INVITE for `purpose` counts no more. One that waits is never sent; one that is open is cancelled, and taken
    /// back if it was accepted all the same (RFC 3261 9.1); one that was accepted is taken back now.
    pub fn take_back(&mut self, leg: LegHandle, purpose: Purpose, before: Option<Before>) {
        if self.unqueue(leg, purpose) {
            return self.abandon_exchange(leg);
        }
        if let Some(tx) = self.open_reinvite(leg, purpose) {
            if let Some(found) = self.legs.get_mut(leg) {
                found.undo = before.map(Box::new);
            }
            return self.transactions.cancel(self.now.at, tx, None, &mut self.effects);
        }
        self.abandon_exchange(leg);
        if let Some(before) = before {
            self.offer_again(leg, &before);
        }
    }
}
