//! A pull in two steps: the star code is answered 302 with a one-time identifier, and the INVITE to that gets the call.

use crate::call::setup::Incoming;
use crate::engine::Engine;
use crate::moving::directory::LiveLeg;
use crate::moving::grant::{self, Mover};
use crate::moving::hold_off::Access;
use crate::moving::identifier::LIFE;
use crate::moving::{DeviceKey, Trigger};
use crate::registrar::accounts::Pull;
use crate::sip::Refusal;
use crate::sip::dialog::is_sips;
use crate::wire::sip::{HeaderName, StatusCode};

impl Engine {
    /// Whether a device is to be sent after its call (`pull = "redirect"`).
    pub(super) fn pulls_by_redirect(&self, by: &DeviceKey) -> bool {
        let account = self.core.accounts.by_name(by.user());
        let device = account.and_then(|account| account.device(by.device()));
        device.is_some_and(|device| device.pull == Pull::Redirect)
    }

    /// Answers 302 (RFC 3261 21.3.3) with an identifier for `live` that works for `by`, which sent `incoming`, once. What speaks against the
    /// pull is said here and now; the INVITE that follows is asked all of it again, since it makes the move.
    pub(super) fn redirect(
        &mut self,
        incoming: &Incoming<'_>,
        by: &DeviceKey,
        live: &LiveLeg,
    ) -> Result<(), Refusal> {
        self.held(by, Access::Call(live.call), "INVITE")?;
        let trigger = if grant::is_answered(live) { Trigger::StarCode } else { Trigger::Pickup };
        // Let go at once: the call stays free until somebody follows.
        drop(self.grant(Mover::Device(by), live, by, trigger)?);
        let tag = self.core.random.tag();
        let Some(mut writer) = self.core.reply(incoming.tx, StatusCode::MOVED_TEMPORARILY, &tag) else {
            return Ok(());
        };
        let now = self.core.now.at;
        let minted = self.moves.identifiers.mint(now, by, live.call, live.leg, &mut self.core.random);
        let (domain, life) = (self.core.settings.domain.clone(), LIFE.as_secs().to_string());
        // Who asked by `sips` is sent to no less.
        let scheme = if is_sips(incoming.message.uri()) { "<sips:" } else { "<sip:" };
        let target = [scheme, minted.token.as_str(), "@", &domain, ">;expires=", &life];
        writer.header_parts(&HeaderName::Contact, &target);
        let bytes = writer.finish();
        self.core.respond(incoming.tx, StatusCode::MOVED_TEMPORARILY, bytes);
        Ok(())
    }
}
