//! The device that lost a call is told where it went, and how that is taken back.
//!
//! It cannot be taken back from the device itself while it is held off (contract 35, 37), so the text names what the
//! new device dials. Watchers on the old device see the same in their dialog-info: the call on its new device, not to
//! be moved, and for how long.

use super::{MoveKey, Moving};
use crate::call::core::Owner;
use crate::call::setup::user_value;
use crate::call::{LegHandle, Party};
use crate::engine::event::Event;
use crate::engine::{Engine, Output};
use crate::moving::machine::Way;
use crate::moving::timeline::{Heading, Side};
use crate::moving::{DeviceKey, Notice};
use crate::wire::sip::{Message, Method, StatusCode};

impl Engine {
    /// A move is done: the old device hears of it, and so do those who watch over the node.
    pub(super) fn notify_old(&mut self, key: MoveKey) {
        // Who repairs a leg, and who answers what rings, takes a call from nobody.
        let is_handed_on =
            |moving: &&Moving| !moving.machine.grant().is_repair() && moving.machine.way() != Way::Pickup;
        let Some(moving) = self.moving(key).filter(is_handed_on) else { return };
        let (old, from, to) = (moving.old, moving.from.clone(), moving.to.clone());
        let (call, user, trigger) = (moving.call_id.clone(), moving.owner.clone(), moving.trigger);
        let source = moving.new.and_then(|new| self.core.legs.get(new)).map(|leg| leg.dialog.flow.peer);
        tracing::info!(%call, id = %moving.id, trigger = trigger.as_str(), "a call is on another device");
        self.outputs.push(Output::Event(Event::Security {
            what: "call_moved",
            call: Some(call),
            user: Some(user),
            source,
            detail: trigger.as_str(),
        }));
        if self.settings.moving.notice == Notice::Message && self.takes_messages(old) {
            self.send_notice(key, old, &from, &to);
        }
    }

    /// Whether the party of a leg says that it takes texts, and never turned one down.
    fn takes_messages(&self, leg: LegHandle) -> bool {
        let Some(leg) = self.core.legs.get(leg).filter(|leg| leg.takes_messages) else { return false };
        let software = leg.user_agent.as_deref().unwrap_or_default();
        leg.party.device().is_some_and(|(user, id)| !self.core.abilities.is_deaf(user, id, software))
    }

    fn send_notice(&mut self, key: MoveKey, old: LegHandle, from: &DeviceKey, to: &DeviceKey) {
        // Who is not to be reached any more needs no word, and gets none.
        let Ok((account, _, binding)) = self.reach(from) else { return };
        let held = self.moves.hold_offs.seconds_left(self.core.now.at, from);
        let text = self.notice_text(to, held);
        let domain = self.core.settings.domain.clone();
        let ours = format!("<sip:segue@{domain}>");
        let theirs = user_value(account.shown(), account.number(), &domain);
        self.core.send_text(&ours, &theirs, &binding, &text, Owner::Notice(old));
        self.note_request(key, (Side::Old, Heading::Out), &Method::Message);
    }

    fn notice_text(&self, to: &DeviceKey, held: Option<u32>) -> String {
        let (codes, to) = (&self.settings.moving.codes, to.device());
        match held {
            Some(seconds) => format!(
                "Call moved to {to}. To undo, dial {} on {to}. In {seconds} s you can dial {} here.",
                codes.undo, codes.pull
            ),
            None => format!("Call moved to {to}. To take it back, dial {} here.", codes.pull),
        }
    }

    /// A device that turns a notice down for what it is gets no other one.
    pub(in crate::engine) fn on_notice_response(&mut self, leg: LegHandle, response: &Message) {
        const UNWANTED: [StatusCode; 4] = [
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::NOT_IMPLEMENTED,
            StatusCode::BAD_EXTENSION,
        ];
        if !response.status().is_some_and(|status| UNWANTED.contains(&status)) {
            return;
        }
        let Some(found) = self.core.legs.get(leg) else { return };
        let Party::User { account, device } = &found.party else { return };
        let Some(device) = account.devices.get(*device) else { return };
        let software = found.user_agent.as_deref().unwrap_or_default();
        self.core.abilities.learn_deaf(&account.name, &device.id, software);
    }
}
