//! REGISTER (RFC 3261 10.3): who may, what it changes, what is told.

use super::event::{Event, RegistrationEvent};
use super::store::{StoreOp, StoreTicket};
use super::{Engine, Output};
use crate::call::Leg;
use crate::registrar::{Change, Refreshed, Register, write_contact};
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, StatusCode, Uri};

/// Whether two contacts are the same user at the same host and port.
fn is_same_place(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Uri::parse(one), Uri::parse(other)) else { return false };
    (one.user(), one.host(), one.port()) == (other.user(), other.host(), other.port())
}

/// Addresses of record written to the store in one go.
const SAVES_AT_ONCE: usize = 256;

/// Seconds after which a phone that uses outbound should have been heard of (RFC 5626 5.4): below what address
/// translators keep for a stream, and not so often that a battery minds. What is silent for longer is not ended by it.
const FLOW_TIMER: u64 = 120;

impl Engine {
    pub(super) fn on_register(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        let Some((account, device)) = self.authenticate_device(tx, flow, message) else { return };
        // RFC 3261 10.3 steps 3 to 5: the address of record is the authenticated user's own, in a domain of ours.
        let to = message.to().ok();
        let uri = to.as_ref().and_then(|to| to.parsed_uri().ok());
        let user = uri.as_ref().and_then(|uri| uri.user_decoded());
        let is_own = uri.as_ref().is_some_and(|uri| self.core.settings.is_ours(uri.host()))
            && user.is_some_and(|user| {
                self.core.accounts.by_address(&user).is_some_and(|(found, _)| found.name == account.name)
                    || account.devices.get(device).is_some_and(|device| *device.auth_user == *user)
            });
        let Some(device) = account.devices.get(device).filter(|_| is_own) else {
            self.core.refuse(tx, &Refusal::NotAuthorised, None);
            return;
        };
        let now = self.core.now;
        let request = match Register::read(message, flow, &device.id) {
            Ok(request) => request,
            Err(refusal) => return self.refuse_register(tx, refusal),
        };
        let settings = self.settings.clone();
        let news = &mut self.registrations;
        let accepted =
            match self.core.registrar.register(&account.name, &request, &settings.registrar, now, news) {
                Ok(accepted) => accepted,
                Err(refusal) => return self.refuse_register(tx, refusal),
            };
        let tag = self.core.random.tag();
        let Some(mut writer) = self.core.transactions.reply(tx, StatusCode::OK, None, Some(&tag)) else {
            return;
        };
        let mut contact = String::with_capacity(128);
        for binding in accepted.bindings.iter().filter(|binding| binding.is_live(now.at)) {
            contact.clear();
            write_contact(binding, now.at, &mut contact);
            writer.header(&HeaderName::Contact, &contact);
        }
        // RFC 3327 5.3: the Path that was stored is shown to who understands it.
        for path in &request.path {
            writer.header(&HeaderName::Path, path);
        }
        if accepted.outbound {
            writer.header(&HeaderName::Require, "outbound");
            writer.header(&HeaderName::Supported, "outbound, path");
            writer.header_number(&HeaderName::FlowTimer, FLOW_TIMER);
        }
        let bytes = writer.finish();
        self.core.respond(tx, StatusCode::OK, bytes);
        self.follow(&account.name, &device.id, flow);
    }

    /// A phone that has come to another flow is there with its calls as well: those dialogs whose remote target is a
    /// contact that it has registered there. So a browser whose connection broke, or a phone to which its address
    /// translator gave another port, hears of the end of its call.
    fn follow(&mut self, user: &str, device: &str, flow: Flow) {
        let is_news = |news: &crate::registrar::Happened| {
            matches!(news.change, Change::Added(_) | Change::Refreshed(Refreshed::Moved))
        };
        if !self.registrations.iter().any(is_news) {
            return;
        }
        let core = &mut self.core;
        let bindings = core.registrar.lookup_device(user, device, core.now.at);
        // Behind a proxy the way is that of the route set.
        let here: Vec<&str> = bindings
            .iter()
            .filter(|binding| binding.flow == flow && binding.path.is_empty())
            .map(|binding| &*binding.contact)
            .collect();
        let has_come = |leg: &Leg| {
            leg.dialog.flow != flow
                && leg.dialog.routes.is_empty()
                && leg.party.device() == Some((user, device))
                && here.iter().any(|contact| is_same_place(contact, &leg.dialog.target))
        };
        let come: Vec<_> =
            core.legs.iter().filter(|(_, leg)| has_come(leg)).map(|(handle, _)| handle).collect();
        drop(bindings);
        for handle in come {
            core.move_leg(handle, flow);
        }
    }

    fn refuse_register(&mut self, tx: ServerTx, refusal: crate::registrar::Refusal) {
        let tag = self.core.random.tag();
        let Some(mut writer) = self.core.reply(tx, refusal.status(), &tag) else { return };
        if let crate::registrar::Refusal::TooBrief { min_expires } = refusal {
            writer.header_number(&HeaderName::MinExpires, min_expires);
        }
        let bytes = writer.finish();
        self.core.respond(tx, refusal.status(), bytes);
    }

    /// Tells of bindings that came and went.
    pub(super) fn tell_registrations(&mut self) {
        if self.registrations.is_empty() {
            return;
        }
        let news = std::mem::take(&mut self.registrations);
        for news in news {
            let (what, binding) = match news.change {
                Change::Added(binding) => (RegistrationEvent::Added, binding),
                Change::Removed(binding, _) => (RegistrationEvent::Removed, binding),
                Change::Refreshed(..) => continue,
            };
            self.on_binding_changed(&news.user, &binding.device, what);
            self.follow_line(&news.user);
            if let Some(user) = self.core.hot_desks.user_at(&news.user, &binding.device).map(Box::<str>::from)
            {
                self.follow_line(&user);
            }
            self.outputs.push(Output::Event(Event::Registration {
                what,
                user: (*news.user).into(),
                device: (*binding.device).into(),
                address: Some(binding.flow.peer),
                user_agent: (!binding.user_agent.is_empty()).then(|| (*binding.user_agent).into()),
            }));
        }
    }

    /// Hands what is due of the bindings to the store; write-behind, so nobody waits for it.
    pub(super) fn save_bindings(&mut self) {
        let saves = self.core.registrar.take_saves(self.core.now, SAVES_AT_ONCE);
        if !saves.is_empty() {
            let ticket = StoreTicket(self.ticket());
            self.outputs.push(Output::Store { ticket, op: StoreOp::SaveBindings(saves) });
        }
    }

    /// Everything that is not yet written: for a shutdown.
    pub fn save_all(&mut self, now: crate::base::Now) {
        self.core.now = now;
        self.end_all_tallies();
        let saves = self.core.registrar.take_all_saves(now);
        let ticket = StoreTicket(self.ticket());
        self.outputs.push(Output::Store { ticket, op: StoreOp::SaveBindings(saves) });
    }
}
