//! A party that takes no re-INVITE: what the other side wants to change is answered here, from what has been agreed.
//!
//! ```text
//!  phone ── re-INVITE, hold ──► segue          carrier
//!  phone ◄── 200, answer ────── segue          carrier, to which nothing is sent but silence
//! ```

use super::core::{Core, Owner};
use super::model::LegHandle;
use super::policy::ReInvite;
use crate::media::plan::Description;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{Message, Method};

impl Core {
    /// Whether a leg is told of no change that its side did not ask for. Where its media does not run through us it has to
    /// be.
    #[must_use]
    pub fn is_left_alone(&self, leg: LegHandle) -> bool {
        let Some(found) = self.legs.get(leg).filter(|leg| leg.media.is_some()) else { return false };
        self.trunk(&found.party).is_some_and(|trunk| trunk.policy.re_invite == Some(ReInvite::Never))
    }

    /// Answers a re-INVITE or UPDATE of `leg` with what `peer` has agreed, and goes by it.
    ///
    /// # Errors
    /// Why that is no answer to it; both legs are as they were.
    pub(super) fn answer_for(
        &mut self,
        peer: LegHandle,
        leg: LegHandle,
        tx: ServerTx,
        message: &Message,
        offer: Option<Description>,
    ) -> Result<(), Refusal> {
        let none = "an offer is needed: the other side is not asked";
        self.receive_offer(leg, offer.ok_or(Refusal::OfferUnusable(none.into()))?)?;
        let body = match self.answer_across(peer, leg) {
            Ok(body) => body,
            Err(refusal) => {
                self.abandon_exchange(leg);
                return Err(refusal);
            }
        };
        if *message.method() == Method::Invite {
            if let Some(found) = self.legs.get_mut(leg) {
                found.server_invite = Some(tx);
            }
            self.transactions.set_owner(tx, Owner::Served(leg));
            self.answer_reinvite(leg, &body);
        } else {
            self.answer_update(leg, tx, Some(&body));
        }
        if let Some(call) = self.call_of(leg) {
            self.connect(call);
            self.note_hold(call, leg);
        }
        Ok(())
    }
}
