//! Offers before a call is answered: in a PRACK (RFC 3262 5), or in an UPDATE (RFC 3311 5.1). They are taken where both
//! sides have settled a description reliably, and go across as UPDATE.

use super::core::Core;
use super::media::description_in;
use super::model::{CallState, LegHandle, Purpose};
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{Message, Method};

impl Core {
    /// An offer of a party whose call still rings.
    ///
    /// # Errors
    /// Why it cannot be passed on; both legs are as they were.
    pub(super) fn on_early_offer(
        &mut self,
        leg: LegHandle,
        tx: ServerTx,
        message: &Message,
    ) -> Result<(), Refusal> {
        let offer = description_in(message, self.gate(leg))?;
        let offer = offer.ok_or(Refusal::BodyUnsupported)?;
        if self.legs.get(leg).is_none_or(|leg| !leg.is_settled_early()) {
            return Err(self.too_early());
        }
        if self.answer_repetition(leg, tx, message)? {
            return Ok(());
        }
        let peer = match self.early_peer(leg) {
            Some(peer) => peer,
            // There is no better moment for an offer in a PRACK.
            None if *message.method() == Method::Prack => {
                return Err(Refusal::OfferUnusable("the other side takes no offer before it answers".into()));
            }
            None => return Err(self.too_early()),
        };
        let body = self.propose(leg, peer, offer)?;
        if let Some(found) = self.legs.get_mut(leg) {
            found.server_update = Some(tx);
        }
        let purpose = Purpose::Relay { server: tx, from: leg, offered: true };
        self.send_update(peer, Some(body), purpose, Some(message));
        Ok(())
    }

    /// RFC 3311 5.2: 500 with a Retry-After of 0 to 10 s.
    fn too_early(&mut self) -> Refusal {
        Refusal::InviteOpen { retry_after: self.random.below(11) as u32 }
    }

    /// The leg at the other end of one whose call still rings, where it takes offers.
    fn early_peer(&self, leg: LegHandle) -> Option<LegHandle> {
        let call = self.calls.get(self.call_of(leg)?)?;
        let chosen = call.early_media.filter(|_| call.state == CallState::Ringing && !call.moving)?;
        let peer = if leg == call.caller { chosen } else { call.caller };
        let is_one_of_them = leg == call.caller || leg == chosen;
        let takes_offers =
            self.legs.get(peer).is_some_and(|peer| peer.is_settled_early() && peer.allows_update);
        (is_one_of_them && takes_offers).then_some(peer)
    }
}
