//! A call is set up: the caller's INVITE comes in, INVITEs to the targets go out.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::core::{ALLOW, Core, Happened, Owner, SUPPORTED};
use super::dial_plan::{Destination, is_emergency};
use super::headers::{ANONYMOUS, Trust, cross, is_private};
use super::media::{description_in, is_translated};
use super::model::{
    Call, CallHandle, CallState, Leg, LegHandle, LegState, Party, Role, Service, Side, timer,
};
use super::record::{CallRecord, Direction};
use super::settings::Anchor;
use super::targets::Way;
use crate::media::plan::{Description, Pairing, Rule};
use crate::registrar::accounts::Account;
use crate::registrar::{Binding, MAX_USER_AGENT};
use crate::sip::dialog::Dialog;
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, StatusCode};

/// A request that opens a call, authenticated and addressed.
pub struct Incoming<'a> {
    /// Its transaction.
    pub tx: ServerTx,
    /// Where it came from.
    pub flow: Flow,
    /// The request.
    pub message: &'a Message,
    /// Who sent it.
    pub party: Party,
    /// The number it dials.
    pub number: Box<str>,
}

impl Leg {
    /// A leg in its first state; tag and Contact are given when it gets its handle.
    #[must_use]
    pub fn new(call: CallHandle, role: Role, party: Party, dialog: Dialog, is_inbound: bool) -> Self {
        Self {
            call,
            role,
            party,
            acts_for: None,
            dialog,
            state: LegState::Early,
            is_inbound,
            server_invite: None,
            client_invite: None,
            server_update: None,
            open_update: false,
            owed_ack: None,
            answer_due: None,
            queued: std::collections::VecDeque::new(),
            allows_update: false,
            takes_messages: false,
            media: None,
            raw: Bytes::new(),
            raw_before: None,
            ports: SmallVec::new(),
            pairing: Pairing::default(),
            last_offer: Bytes::new(),
            glares: 0,
            is_private: false,
            session: super::session_timer::SessionTimer::default(),
            sent_invite: None,
            is_bridged: false,
            timers: crate::base::Timers::default(),
            user_agent: None,
            answered: None,
            release: None,
            holds: false,
        }
    }

    /// Learns what the party can do from a message of it.
    pub fn learn(&mut self, message: &Message) {
        if message.header(HeaderName::Allow).is_some() {
            self.allows_update = message.has_token(HeaderName::Allow, "UPDATE");
            self.takes_messages = message.has_token(HeaderName::Allow, "MESSAGE");
        }
        self.is_private |= is_private(message);
        let agent = if message.is_request() { HeaderName::UserAgent } else { HeaderName::Server };
        if self.user_agent.is_none()
            && let Some(value) = message.header(agent).or_else(|| message.header(HeaderName::UserAgent))
            && let Ok(text) = value.value_str()
        {
            self.user_agent = Some(text.chars().take(MAX_USER_AGENT).collect::<String>().into_boxed_str());
        }
    }
}

/// What all INVITEs of one call have in common.
pub(super) struct Outgoing<'a> {
    call: CallHandle,
    from: Box<str>,
    identity: Box<str>,
    /// Only who is trusted learns who calls.
    is_private: bool,
    to: Box<str>,
    trust: Trust,
    message: &'a Message,
    hops: u32,
    has_offer: bool,
}

impl Core {
    /// Puts a leg in and gives it its tag and Contact.
    pub fn add_leg(&mut self, mut leg: Leg) -> LegHandle {
        let bits = self.random.bits();
        let (worker, settings) = (self.worker, self.settings.clone());
        self.legs.insert_with(|handle| {
            let tag = super::core::format_tag(worker, handle, bits);
            leg.dialog.contact = super::core::contact_uri(&settings, &tag, &leg.dialog.flow);
            leg.dialog.local_tag = tag;
            leg
        })
    }

    /// Sets up the call that `incoming` asks for.
    ///
    /// # Errors
    /// The reason to refuse it; nothing is left behind then.
    pub fn place_call(
        &mut self,
        incoming: Incoming<'_>,
        destination: Destination,
    ) -> Result<CallHandle, Refusal> {
        if self.calls.len() >= self.settings.limits.calls {
            return Err(Refusal::Overloaded { what: "calls", retry_after: 10 });
        }
        let hops = incoming.message.max_forwards().map_err(|_| Refusal::Malformed("bad Max-Forwards"))?;
        let hops = u32::from(hops.unwrap_or(70));
        if hops == 0 {
            return Err(Refusal::TooManyHops);
        }
        let offer = description_in(incoming.message, &self.settings.media.screen)?;
        let is_service = matches!(destination, Destination::Service(_));
        let call = self.open_call(&incoming, offer.as_ref(), is_service)?;
        let result = match destination {
            Destination::Service(service) => self.serve(call, service, offer.is_some()),
            Destination::User { account, device } => {
                let to = user_value(account.shown(), account.number(), &self.settings.domain);
                self.ring_user(call, &incoming, (account, device), to, hops - 1, offer.is_some())
            }
            Destination::Trunks(trunks) => {
                self.ring_trunks(call, &incoming, trunks, hops - 1, offer.is_some())
            }
        };
        match result {
            Ok(()) => Ok(call),
            Err(refusal) => {
                self.discard_call(call);
                Err(refusal)
            }
        }
    }

    /// The call and the caller's leg, before anything is sent.
    fn open_call(
        &mut self,
        incoming: &Incoming<'_>,
        offer: Option<&Description>,
        is_service: bool,
    ) -> Result<CallHandle, Refusal> {
        let sent_by: Box<str> = self.settings.sent_by(&incoming.flow).into();
        let dialog = Dialog::from_request(incoming.message, incoming.flow, &sent_by, "", "")?;
        let (id, thread) = (self.mint_ulid(), self.ports.pick_thread());
        let record = self.open_record(&id, incoming);
        let anchored = match self.settings.media.anchor {
            // A service is an end of media itself.
            _ if is_service => true,
            Anchor::Always => true,
            Anchor::Never => false,
            Anchor::WhenNeeded => offer.is_some_and(|offer| is_translated(offer, incoming.flow.peer)),
        };
        let placeholder = crate::base::Handle::from_bits(0);
        let caller = self.add_leg(Leg::new(
            placeholder,
            Role::Talking(Side::Caller),
            incoming.party.clone(),
            dialog,
            true,
        ));
        let call = self.calls.insert(Call {
            id,
            state: CallState::Ringing,
            caller,
            callee: None,
            forks: SmallVec::new(),
            next_ways: SmallVec::new(),
            number: incoming.number.clone(),
            fork_ports: SmallVec::new(),
            pairing: Pairing::default(),
            released: SmallVec::new(),
            early_media: None,
            best: None,
            anchored,
            thread,
            generation: 0,
            moving: false,
            awaits_device: false,
            emergency: is_emergency(&incoming.number),
            lost: None,
            is_transcoded: false,
            record: Box::new(record),
        });
        let media = anchored.then(|| self.new_media(&incoming.flow, &incoming.party));
        if let Some(leg) = self.legs.get_mut(caller) {
            leg.call = call;
            leg.media = media;
            leg.server_invite = Some(incoming.tx);
            leg.learn(incoming.message);
        }
        self.transactions.set_owner(incoming.tx, Owner::Served(caller));
        let read = self.read_session(caller, incoming.message);
        let offered = match offer {
            Some(offer) => read.and_then(|()| self.receive_offer(caller, offer.clone())),
            None => read,
        };
        if let Err(refusal) = offered {
            self.discard_call(call);
            return Err(refusal);
        }
        self.arm(caller, timer::RINGING, self.settings.limits.ringing);
        Ok(call)
    }

    fn open_record(&self, id: &str, incoming: &Incoming<'_>) -> CallRecord {
        let (direction, from, trunk) = match &incoming.party {
            Party::Trunk { name, .. } => {
                (Direction::Inbound, super::media::caller_number(incoming.message), Some(name.to_string()))
            }
            Party::User { account, .. } => (Direction::Internal, account.name.to_string(), None),
            Party::Service(_) => (Direction::Internal, String::new(), None),
        };
        CallRecord {
            id: id.into(),
            sip_call_id: vec![incoming.message.call_id().unwrap_or_default().into()],
            direction,
            from,
            to: incoming.number.to_string(),
            user: incoming.party.account().map(|account| account.name.to_string()),
            trunk,
            start: self.now.unix,
            transports: vec![incoming.flow.transport.uri_token().into()],
            node: self.settings.node.to_string(),
            ..CallRecord::default()
        }
    }

    /// Rings the devices of a user.
    fn ring_user(
        &mut self,
        call: CallHandle,
        incoming: &Incoming<'_>,
        (account, device): (Arc<Account>, Option<usize>),
        to: Box<str>,
        hops: u32,
        has_offer: bool,
    ) -> Result<(), Refusal> {
        let wanted = device.and_then(|index| account.devices.get(index)).map(|device| device.id.clone());
        let mut bindings: SmallVec<[Binding; 2]> = self
            .registrar
            .lookup(&account.name, self.now.at)
            .into_iter()
            .filter(|binding| wanted.as_ref().is_none_or(|id| **id == *binding.device))
            .cloned()
            .collect();
        // A device that calls its own user does not ring itself.
        if let Some((user, own)) = incoming.party.device()
            && user == &*account.name
        {
            bindings.retain(|binding| &*binding.device != own);
        }
        bindings.truncate(self.settings.limits.forks);
        if bindings.is_empty() {
            return Err(Refusal::Unreachable);
        }
        if let Some(found) = self.calls.get_mut(call)
            && found.record.user.is_none()
        {
            found.record.user = Some(account.name.to_string());
        }
        let outgoing = self.outgoing(call, incoming, to, hops, has_offer);
        let mut refused = Refusal::Unreachable;
        for binding in bindings {
            let Some(device) = account.devices.iter().position(|device| *device.id == *binding.device) else {
                continue;
            };
            let party = Party::User { account: account.clone(), device };
            let dialog = self.dialog_to(
                &outgoing,
                &binding.contact,
                binding.path.iter().map(|hop| Box::from(&**hop)).collect(),
                binding.flow,
            );
            // A device that cannot be offered what the caller has does not keep the others from ringing.
            if let Err(refusal) = self.send_invite(&outgoing, party, dialog) {
                refused = refusal;
            }
        }
        let none = self.calls.get(call).is_none_or(|call| call.forks.is_empty());
        if none { Err(refused) } else { Ok(()) }
    }

    /// Calls the first target of the first trunk that has room; the others follow when it fails.
    fn ring_trunks(
        &mut self,
        call: CallHandle,
        incoming: &Incoming<'_>,
        trunks: SmallVec<[usize; 2]>,
        hops: u32,
        has_offer: bool,
    ) -> Result<(), Refusal> {
        let now = self.now.at;
        let ways = trunks.into_iter().flat_map(|trunk| {
            self.targets.of(trunk, now).into_iter().map(move |target| Way { trunk, target })
        });
        let ways = ways.collect();
        if let Some(found) = self.calls.get_mut(call) {
            found.next_ways = ways;
            if found.record.direction == Direction::Internal {
                found.record.direction = Direction::Outbound;
            }
        }
        let outgoing = self.outgoing(call, incoming, Box::from(""), hops, has_offer);
        self.ring_next_trunk(outgoing)
    }

    fn ring_next_trunk(&mut self, mut outgoing: Outgoing<'_>) -> Result<(), Refusal> {
        let settings = self.settings.clone();
        loop {
            let Some(found) = self.calls.get_mut(outgoing.call) else { return Err(Refusal::Internal) };
            if found.next_ways.is_empty() {
                return Err(Refusal::Overloaded { what: "trunk", retry_after: 5 });
            }
            let Way { trunk: index, target: at } = found.next_ways.remove(0);
            let Some(trunk) = settings.trunks.get(index) else { continue };
            let used = self.trunk_calls.get(index).copied().unwrap_or(0);
            if trunk.max_calls.is_some_and(|most| used >= most) {
                continue;
            }
            let Some(listener) = settings.listener_for(at.transport, at.peer) else { continue };
            found.record.trunk = Some(trunk.name.to_string());
            let target = format!("sip:{}@{}", found.number, trunk.host);
            let flow = Flow { transport: at.transport, listener, connection: 0, peer: at.peer };
            outgoing.to = format!("<{target}>").into_boxed_str();
            let party = Party::Trunk { index, name: trunk.name.as_ref().into() };
            let dialog = self.dialog_to(&outgoing, &target, Vec::new(), flow);
            return self.send_invite(&outgoing, party, dialog);
        }
    }

    /// After a target failed: the next one, from the caller's INVITE that still waits. False when there is none.
    pub(super) fn try_next_trunk(&mut self, call: CallHandle) -> bool {
        if self.calls.get(call).is_none_or(|call| call.next_ways.is_empty()) {
            return false;
        }
        let rung = self.with_waiting(call, |core, outgoing| core.ring_next_trunk(outgoing));
        rung.is_some_and(|rung| rung.is_ok())
    }

    /// Runs `ring` with what the caller's INVITE, which still waits, has all others say.
    pub(super) fn with_waiting<T>(
        &mut self,
        call: CallHandle,
        ring: impl FnOnce(&mut Self, Outgoing<'_>) -> T,
    ) -> Option<T> {
        let found = self.calls.get(call)?;
        let number = found.number.clone();
        let leg = self.legs.get(found.caller)?;
        let (tx, flow, party) = (leg.server_invite?, leg.dialog.flow, leg.party.clone());
        let message = self.transactions.server(tx)?.request.cloned()?;
        let hops = u32::from(message.max_forwards().ok().flatten().unwrap_or(70)).saturating_sub(1);
        let incoming = Incoming { tx, flow, message: &message, party, number };
        let has_offer = !message.body().is_empty();
        let outgoing = self.outgoing(call, &incoming, Box::from(""), hops, has_offer);
        Some(ring(self, outgoing))
    }

    /// Takes note that a device refused an offer of SRTP. True if it may be asked for plain RTP: the policy lets it
    /// (`prefer`), and it was never heard to speak SRTP.
    pub(super) fn note_srtp_refused(&mut self, leg: LegHandle, status: StatusCode) -> bool {
        let refuses_media = matches!(status.as_u16(), 415 | 488 | 606);
        let Some(found) = self.legs.get(leg).filter(|_| refuses_media) else { return false };
        let was_offered = found.media.as_ref().is_some_and(|media| media.offers_srtp());
        if !was_offered || self.settings.media.srtp != Rule::Either {
            return false;
        }
        let Some((user, device)) = found.party.device() else { return false };
        self.abilities.learn_srtp(user, device, false);
        self.abilities.srtp(user, device) == Some(false)
    }

    /// A target refused an offer of SRTP: it is rung again with plain RTP if it may be. False if it is not.
    pub(super) fn ring_in_plain(&mut self, leg: LegHandle, status: StatusCode) -> bool {
        if !self.note_srtp_refused(leg, status) {
            return false;
        }
        let Some(found) = self.legs.get(leg) else { return false };
        let (call, party, failed) = (found.call, found.party.clone(), found.dialog.clone());
        tracing::info!("an offer of SRTP was refused; the device is rung with plain RTP");
        let rung = self.with_waiting(call, |core, mut outgoing| {
            outgoing.to = failed.remote.clone();
            let dialog = core.dialog_to(&outgoing, &failed.target, failed.routes, failed.flow);
            core.send_invite(&outgoing, party, dialog)
        });
        rung.is_some_and(|rung| rung.is_ok())
    }

    /// What all INVITEs of the call say.
    fn outgoing<'a>(
        &mut self,
        call: CallHandle,
        incoming: &Incoming<'a>,
        to: Box<str>,
        hops: u32,
        has_offer: bool,
    ) -> Outgoing<'a> {
        let domain = self.settings.domain.clone();
        let (identity, trust) = match &incoming.party {
            Party::User { account, .. } => {
                (user_value(account.shown(), account.number(), &domain), Trust::Untrusted)
            }
            Party::Trunk { .. } | Party::Service(_) => {
                (super::media::caller_value(incoming.message, &domain), Trust::Trusted)
            }
        };
        let is_private = is_private(incoming.message);
        Outgoing {
            call,
            from: if is_private { ANONYMOUS.into() } else { identity.clone() },
            identity,
            is_private,
            to,
            trust,
            message: incoming.message,
            hops,
            has_offer,
        }
    }

    fn dialog_to(
        &mut self,
        outgoing: &Outgoing<'_>,
        target: &str,
        routes: Vec<Box<str>>,
        flow: Flow,
    ) -> Dialog {
        Dialog {
            call_id: self.mint_call_id(),
            local_tag: Box::from(""),
            remote_tag: Box::from(""),
            local: outgoing.from.clone(),
            remote: outgoing.to.clone(),
            contact: Box::from(""),
            local_cseq: 0,
            remote_cseq: None,
            remote_invite: None,
            target: target.into(),
            routes,
            flow,
            sent_by: self.settings.sent_by(&flow).into(),
        }
    }

    fn send_invite(&mut self, outgoing: &Outgoing<'_>, party: Party, dialog: Dialog) -> Result<(), Refusal> {
        let flow = dialog.flow;
        let call = self.calls.get(outgoing.call).ok_or(Refusal::Internal)?;
        let (anchored, caller) = (call.anchored, call.caller);
        let media = anchored.then(|| self.new_media(&flow, &party));
        let mut leg = Leg::new(outgoing.call, Role::Fork, party, dialog, false);
        leg.media = media;
        let handle = self.add_leg(leg);
        let offer =
            if outgoing.has_offer { Some(self.offer_across(caller, handle)) } else { None }.transpose();
        let offer = match offer {
            Ok(offer) => offer,
            Err(refusal) => {
                self.legs.remove(handle);
                return Err(refusal);
            }
        };
        let branch = self.mint_branch();
        let leg = self.legs.get_mut(handle).ok_or(Refusal::Internal)?;
        let to_trunk = matches!(leg.party, Party::Trunk { .. });
        if let Party::Trunk { index, .. } = &leg.party
            && let Some(used) = self.trunk_calls.get_mut(*index)
        {
            *used += 1;
        }
        let mut writer = leg.dialog.request_with_hops(&Method::Invite, &branch, outgoing.hops);
        write_capabilities(&mut writer, &self.settings.software);
        // RFC 3325 5 and 7: who wants privacy is named to those we trust, with the wish, and to nobody else.
        let is_hidden = outgoing.is_private && !to_trunk;
        if outgoing.trust == Trust::Untrusted && !is_hidden {
            writer.header(&HeaderName::PAssertedIdentity, &outgoing.identity);
            if outgoing.is_private {
                writer.header(&HeaderName::Privacy, "id");
            }
        }
        cross(outgoing.message, if is_hidden { Trust::Untrusted } else { outgoing.trust }, &mut writer);
        self.offer_session(handle, &mut writer);
        if let Some(offer) = &offer {
            writer.body("application/sdp", offer);
        }
        let bytes = writer.finish();
        let owner = Owner::Invite(handle);
        let tx = self.send_request(flow, &Method::Invite, &branch, bytes.clone(), owner);
        if let Some(leg) = self.legs.get_mut(handle) {
            (leg.client_invite, leg.sent_invite) = (Some(tx), Some(bytes));
        }
        if let Some(call) = self.calls.get_mut(outgoing.call) {
            call.forks.push(handle);
        }
        Ok(())
    }

    /// Answers a call to ourselves.
    fn serve(&mut self, call: CallHandle, service: Service, has_offer: bool) -> Result<(), Refusal> {
        let found = self.calls.get_mut(call).ok_or(Refusal::Internal)?;
        found.state = CallState::Talking;
        let caller = found.caller;
        found.record.ring = Some(self.now.unix);
        // The service is a leg without a dialog, so that a call to it moves like any other.
        let template = self.legs.get(caller).ok_or(Refusal::Internal)?.dialog.clone();
        let dialog =
            Dialog { call_id: Box::from(""), remote_tag: Box::from(""), routes: Vec::new(), ..template };
        let mut leg = Leg::new(call, Role::Talking(Side::Callee), Party::Service(service), dialog, false);
        leg.state = LegState::Confirmed;
        let leg = self.add_leg(leg);
        if let Some(found) = self.calls.get_mut(call) {
            found.callee = Some(leg);
        }
        let body = self.describe_service(caller, service, has_offer)?;
        self.answer_inbound(caller, StatusCode::OK, Some(&body), None);
        self.note_answered(call);
        self.connect(call);
        Ok(())
    }

    /// Sends a final 2xx to a leg that invited us, with a description; `identity` is who it speaks with now.
    pub fn answer_inbound(
        &mut self,
        leg: LegHandle,
        status: StatusCode,
        body: Option<&Bytes>,
        identity: Option<&str>,
    ) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let Some(tx) = found.server_invite else { return };
        let is_first = found.state == LegState::Early;
        if is_first {
            found.state = LegState::Answered;
            found.answered = Some(self.now.at);
            found.timers.stop(timer::RINGING);
        }
        found.raw_before = None;
        let (tag, contact) = (found.dialog.local_tag.clone(), found.dialog.contact.clone());
        let Some(mut writer) = self.reply(tx, status, &tag) else { return };
        writer.header_parts(&HeaderName::Contact, &["<", &contact, ">"]);
        write_capabilities(&mut writer, &self.settings.software);
        self.answer_session(leg, &mut writer);
        if let Some(identity) = identity {
            writer.header(&HeaderName::PAssertedIdentity, identity);
        }
        if let Some(body) = body {
            writer.body("application/sdp", body);
        }
        let bytes = writer.finish();
        self.respond(tx, status, bytes);
    }

    /// The call is answered: record, events.
    pub(super) fn note_answered(&mut self, call: CallHandle) {
        let now = self.now;
        let Some(found) = self.calls.get_mut(call) else { return };
        found.state = CallState::Talking;
        found.generation += 1;
        found.record.answer = Some(now.unix);
        found.record.disposition = super::record::Disposition::Answered;
        found.record.sip_code = 200;
        let sides: SmallVec<[LegHandle; 2]> = smallvec![found.caller];
        for leg in sides.into_iter().chain(found.callee) {
            let Some(leg) = self.legs.get_mut(leg) else { continue };
            leg.answered = Some(now.at);
            if let Some((user, device)) = leg.party.device() {
                found.record.begin_segment(now.unix, user, device, None);
            }
        }
        self.happened.push_back(Happened::Answered(call));
    }
}

/// `"Display" <sip:number@domain>`.
#[must_use]
pub fn user_value(display: &str, number: &str, domain: &str) -> Box<str> {
    let mut value = String::with_capacity(display.len() + number.len() + domain.len() + 12);
    if !display.is_empty() {
        value.push('"');
        for c in display.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                value.push('\\');
            }
            value.push(c);
        }
        value.push('"');
        value.push(' ');
    }
    value.push_str("<sip:");
    value.push_str(number);
    value.push('@');
    value.push_str(domain);
    value.push('>');
    value.into_boxed_str()
}

/// What we can do, in every INVITE and its 2xx.
pub fn write_capabilities(writer: &mut MessageWriter<'_>, software: &str) {
    writer.header(&HeaderName::Allow, ALLOW);
    writer.header(&HeaderName::Supported, SUPPORTED);
    if !software.is_empty() {
        writer.header(&HeaderName::UserAgent, software);
    }
}
