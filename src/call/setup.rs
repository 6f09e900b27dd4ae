//! A call is set up: the caller's INVITE comes in, INVITEs to the targets go out.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::core::{ALLOW, Core, Happened, Owner, move_dialog, supported};
use super::dial_plan::{Plan, is_emergency};
use super::identity::{self, Privacy};
use super::media::{description_in, is_translated};
use super::model::{
    Call, CallHandle, CallState, Leg, LegHandle, LegState, Party, Role, Service, Side, timer,
};
use super::quirks::QuirkTable;
use super::record::{CallRecord, Direction};
use super::session_timer::SessionTimer;
use super::settings::Anchor;
use crate::media::plan::{Description, Pairing};
use crate::registrar::MAX_USER_AGENT;
use crate::registrar::accounts::Account;
use crate::sip::dialog::Dialog;
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, StatusCode};

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
    /// The user who is signed in at the device, and in whose name it calls.
    pub acts_for: Option<Arc<Account>>,
    /// The number it dials.
    pub number: Box<str>,
    /// What a trunk dialled, where rules of it made that number of it.
    pub dialled: Option<Box<str>>,
}

impl Incoming<'_> {
    /// The user who calls.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<Account>> {
        self.acts_for.as_ref().or_else(|| self.party.account())
    }
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
            allows_info: false,
            media: None,
            raw: Bytes::new(),
            raw_before: None,
            ports: SmallVec::new(),
            left_ports: None,
            pairing: Pairing::default(),
            last_offer: Bytes::new(),
            undo: None,
            glares: 0,
            is_private: false,
            is_vouched: true,
            session: SessionTimer::default(),
            sent_invite: None,
            is_bridged: false,
            timers: crate::base::Timers::default(),
            quirks: super::quirks::Quirks::default(),
            reliable: None,
            introduction: None,
            proof: None,
            number: None,
            has_line: true,
            user_agent: None,
            answered: None,
            release: None,
            holds: false,
        }
    }

    /// Learns what the party can do from a message of it.
    pub fn learn(&mut self, message: &Message, table: &QuirkTable) {
        let agent = if message.is_request() { HeaderName::UserAgent } else { HeaderName::Server };
        if self.user_agent.is_none()
            && let Some(value) = message.header(agent).or_else(|| message.header(HeaderName::UserAgent))
            && let Ok(text) = value.value_str()
        {
            self.is_run_by(&text, table);
        }
        if message.header(HeaderName::Allow).is_some() {
            let takes = |method| message.has_token(HeaderName::Allow, method);
            (self.allows_update, self.allows_info) = (self.quirks.update && takes("UPDATE"), takes("INFO"));
            self.takes_messages = self.quirks.message && takes("MESSAGE");
        }
        self.is_private |= Privacy::of(message).hides();
    }

    /// The credentials of our INVITE with this CSeq.
    #[must_use]
    pub fn proof_of(&self, cseq: u32) -> Option<(HeaderName, &str)> {
        let proof = self.proof.as_ref().filter(|proof| proof.cseq == cseq)?;
        Some((proof.name, &proof.value))
    }

    /// Takes note of the software of the party.
    pub fn is_run_by(&mut self, user_agent: &str, table: &QuirkTable) {
        if !user_agent.is_empty() {
            let cut = user_agent.chars().take(MAX_USER_AGENT).collect::<String>();
            self.quirks = table.of(&cut);
            self.user_agent = Some(cut.into_boxed_str());
        }
    }
}

impl Core {
    /// Puts a leg in and gives it its tag and Contact.
    pub fn add_leg(&mut self, mut leg: Leg) -> LegHandle {
        let bits = self.random.bits();
        let (worker, settings) = (self.worker, self.settings.clone());
        let flow = leg.dialog.flow;
        self.capacity.enter(&leg.party);
        leg.session = SessionTimer::under(self.session_terms(&leg.party));
        let handle = self.legs.insert_with(|handle| {
            let tag = super::core::format_tag(worker, handle, bits);
            leg.dialog.set_contact(super::core::contact_uri(&settings, &tag, &flow));
            leg.dialog.local_tag = tag;
            leg
        });
        if flow.transport.is_reliable() {
            self.on_streams.insert((flow, handle));
        }
        self.made.push(handle);
        handle
    }

    /// The dialog of a leg goes on over another flow, where it may.
    pub fn move_leg(&mut self, handle: LegHandle, flow: Flow) {
        let Some(leg) = self.legs.get_mut(handle) else { return };
        let before = leg.dialog.flow;
        if !move_dialog(&self.settings, &mut leg.dialog, flow) {
            return;
        }
        self.on_streams.remove(&(before, handle));
        if flow.transport.is_reliable() {
            self.on_streams.insert((flow, handle));
        }
    }

    /// Takes a leg out.
    pub(super) fn take_leg(&mut self, handle: LegHandle) -> Option<Leg> {
        let leg = self.legs.remove(handle)?;
        self.on_streams.remove(&(leg.dialog.flow, handle));
        if leg.has_line {
            self.capacity.leave(&leg.party);
        }
        Some(leg)
    }

    /// The legs whose dialogs are on a connection.
    pub fn legs_on(&self, flow: Flow) -> impl Iterator<Item = LegHandle> {
        let (first, last) = (LegHandle::from_bits(0), LegHandle::from_bits(u64::MAX));
        self.on_streams.range((flow, first)..=(flow, last)).map(|(_, handle)| *handle)
    }

    /// Sets up the call that `incoming` asks for.
    ///
    /// # Errors
    /// The reason to refuse it. Nothing is left behind then but the record of a call that had somewhere to go.
    pub fn place_call(&mut self, incoming: Incoming<'_>, plan: Plan) -> Result<CallHandle, Refusal> {
        if self.calls.len() >= self.settings.limits.calls {
            return Err(Refusal::Overloaded { what: "calls", retry_after: 10 });
        }
        let hops = incoming.message.max_forwards().map_err(|_| Refusal::Malformed("bad Max-Forwards"))?;
        if hops == Some(0) {
            return Err(Refusal::TooManyHops);
        }
        let offer = description_in(incoming.message, self.settings.media.screen.gate(incoming.party.ours()))?;
        let is_urgent = is_emergency(&incoming.number);
        let is_anchored = self.settings.media.anchor == Anchor::Always;
        if let Some(values) = identity::unavailable(incoming.message, is_anchored).filter(|_| !is_urgent) {
            return Err(Refusal::PrivacyUnavailable(format!("Privacy not available: {values}").into()));
        }
        if let Party::Trunk { index, .. } = &incoming.party
            && !is_urgent
        {
            self.capacity.admit(*index, self.now.at)?;
        }
        let call = self.open_call(&incoming, offer.as_ref(), plan.as_service().is_some())?;
        if let Some(service) = plan.as_service() {
            return self
                .serve(call, service, offer.is_some())
                .map(|()| call)
                .inspect_err(|_| self.discard_call(call));
        }
        let outgoing = self.outgoing(call, &incoming, Box::from(""));
        let rung = self.ring_plan(outgoing, plan);
        rung.map(|()| call).inspect_err(|refusal| self.end_unrung(call, refusal))
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
        let number = self.caller_here(&incoming.party, incoming.message);
        let is_vouched = self.vouches_for(&incoming.party, incoming.message);
        let is_private = Privacy::wished(self.trunk(&incoming.party), incoming.message).hides();
        let record = self.open_record(&id, incoming, number.as_deref());
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
        let call = self.calls.insert(Call::new(caller, &incoming.number, anchored, thread, record));
        let media = anchored.then(|| self.new_media(&incoming.flow, &incoming.party));
        if let Some(leg) = self.legs.get_mut(caller) {
            leg.call = call;
            leg.acts_for = incoming.acts_for.clone();
            leg.media = media;
            leg.number = number;
            leg.is_vouched = is_vouched;
            leg.is_private = is_private;
            leg.server_invite = Some(incoming.tx);
            leg.learn(incoming.message, &self.settings.quirks);
            leg.read_reliability(incoming.message);
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

    fn open_record(&self, id: &str, incoming: &Incoming<'_>, caller: Option<&str>) -> CallRecord {
        let said = || self.said_number(&incoming.party, incoming.message);
        let (direction, from, trunk) = match &incoming.party {
            Party::Trunk { name, .. } => {
                (Direction::Inbound, caller.map_or_else(said, str::to_owned), Some(name.to_string()))
            }
            Party::User { .. } | Party::Service(_) => {
                let user = incoming.user().map(|account| account.name.to_string());
                (Direction::Internal, user.unwrap_or_default(), None)
            }
        };
        CallRecord {
            id: id.into(),
            sip_call_id: vec![incoming.message.call_id().unwrap_or_default().into()],
            direction,
            from,
            to: incoming.number.to_string(),
            user: incoming.user().map(|account| account.name.to_string()),
            trunk,
            start: self.now.unix,
            transports: vec![incoming.flow.transport.uri_token().into()],
            node: self.settings.node.to_string(),
            run: self.settings.runs.as_ref().and_then(|runs| runs.of(incoming.message)),
            trunk_from: caller.map(|_| said()),
            trunk_to: incoming.dialled.as_deref().map(str::to_owned),
            ..CallRecord::default()
        }
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
        let session = found.session;
        let Some(mut writer) = self.reply(tx, status, &tag) else { return };
        writer.header_parts(&HeaderName::Contact, &["<", &contact, ">"]);
        write_capabilities(&mut writer, &self.settings.software, &session);
        self.answer_session(leg, &mut writer);
        if let Some(identity) = identity {
            self.show_party(leg, identity, &mut writer);
        }
        self.write_headers(leg, &mut writer);
        if let Some(body) = body {
            writer.body("application/sdp", body);
        }
        let bytes = writer.finish();
        if let Some(bytes) = self.hold_answer(leg, status, bytes) {
            self.respond(tx, status, bytes);
        }
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
            if let (Some(device), Some(of)) = (leg.party.device(), leg.user()) {
                found.record.begin_segment(now.unix, device, &of.name, None);
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

/// What we can do, in every re-INVITE, UPDATE and 2xx.
pub fn write_capabilities(writer: &mut MessageWriter<'_>, software: &str, session: &SessionTimer) {
    write_abilities(writer, software, supported(session.is_known(), false));
}

/// The same in an INVITE, whose provisional responses may be reliable. Not in one without an offer: the first of them
/// would carry one, whose answer only the caller has.
pub fn write_invite_capabilities(
    writer: &mut MessageWriter<'_>,
    software: &str,
    is_reliable: bool,
    session: &SessionTimer,
) {
    write_abilities(writer, software, supported(session.is_known(), is_reliable));
}

fn write_abilities(writer: &mut MessageWriter<'_>, software: &str, supported: &str) {
    writer.header(&HeaderName::Allow, ALLOW);
    writer.header(&HeaderName::Supported, supported);
    if !software.is_empty() {
        writer.header(&HeaderName::UserAgent, software);
    }
}
