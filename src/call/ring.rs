//! INVITEs go out: to the devices of a user, to trunks one after the other.

use std::sync::Arc;

use smallvec::SmallVec;

use super::core::{Core, Owner};
use super::dial_plan::Member;
use super::header_rules::Variables;
use super::headers::{ANONYMOUS, Trust, cross_but};
use super::identity::{Privacy, number};
use super::model::{Call, CallHandle, Leg, LegHandle, Party, Role};
use super::numbers::{Toward, Whose};
use super::places::Across;
use super::quirks::Quirks;
use super::record::Direction;
use super::settings::{Settings, Trunk};
use super::setup::{Incoming, user_value, write_invite_capabilities};
use super::targets::Way;
use crate::media::plan::{Bridging, Hold, Rule};
use crate::registrar::Binding;
use crate::registrar::accounts::{Account, DEVICE_SEPARATOR};
use crate::sip::dialog::Dialog;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, NameAddr, StatusCode, escaped_user};

/// What all INVITEs of one call have in common.
pub(super) struct Outgoing<'a> {
    pub(super) call: CallHandle,
    /// From.
    pub(super) from: Box<str>,
    /// Who really calls.
    pub(super) identity: Box<str>,
    /// Whether we vouch for that.
    pub(super) is_vouched: bool,
    /// Who may learn who calls.
    pub(super) privacy: Privacy,
    /// The numbers that a trunk said, of which a signature may speak: who calls, who is called.
    pub(super) said: Option<(Box<str>, Box<str>)>,
    /// The trunk that the call comes from, by its place.
    pub(super) source: Option<usize>,
    /// To.
    pub(super) to: Box<str>,
    pub(super) trust: Trust,
    /// The caller's INVITE, of which headers cross; none in a transfer.
    pub(super) message: Option<&'a Message>,
    pub(super) hops: u32,
    /// Whose media is offered, if any is.
    pub(super) offers: Option<LegHandle>,
    /// Who transferred the call (RFC 3892).
    pub(super) referred_by: Option<Box<str>>,
    /// User and device of the caller.
    pub(super) own: Option<(Box<str>, Box<str>)>,
    /// The user who calls, or who transferred the call, and pays for it.
    pub(super) caller: Option<Arc<Account>>,
    /// What is offered has no keys: SRTP was refused.
    pub(super) in_plain: bool,
}

/// A device that rings.
struct Place {
    party: Party,
    /// The user who is signed in there.
    acts_for: Option<Arc<Account>>,
    binding: Binding,
}

/// Devices that ring for one call to a group, or get one message to it.
pub const MAX_GROUP_FORKS: usize = 64;

impl Core {
    /// Rings the devices of a user, or the one that is named; not the device that calls.
    pub(super) fn ring_user(&mut self, outgoing: &mut Outgoing<'_>, member: Member) -> Result<(), Refusal> {
        let call = outgoing.call;
        let name = member.0.name.to_string();
        let rung = self.ring_member(outgoing, member);
        // Also where no device is there: a call that is missed is that user's.
        if let Some(found) = self.calls.get_mut(call)
            && (found.counts_to_callee || found.record.user.is_none())
        {
            (found.record.user, found.counts_to_callee) = (Some(name), true);
        }
        rung
    }

    /// Rings the devices of all members; the call counts to the one who answers.
    pub(super) fn ring_group(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        members: &[Member],
    ) -> Result<(), Refusal> {
        let (mut refused, mut is_rung) = (Refusal::Unreachable, false);
        for member in members {
            if self.calls.get(outgoing.call).is_none_or(|call| call.forks.len() >= MAX_GROUP_FORKS) {
                break;
            }
            match self.ring_member(outgoing, member.clone()) {
                Ok(()) => is_rung = true,
                Err(refusal) => refused = refusal,
            }
        }
        if is_rung { Ok(()) } else { Err(refused) }
    }

    fn ring_member(&mut self, outgoing: &mut Outgoing<'_>, (account, device): Member) -> Result<(), Refusal> {
        outgoing.to = self.to_user(&account);
        let mut places = self.places_of(&account, device);
        // A device that calls its own user does not ring itself.
        if let Some((user, own)) = &outgoing.own {
            places.retain(|place| place.party.device() != Some((&**user, &**own)));
        }
        places.truncate(self.settings.limits.forks);
        if places.is_empty() {
            return Err(Refusal::Unreachable);
        }
        let (mut refused, mut is_rung) = (Refusal::Unreachable, false);
        for Place { party, acts_for, binding } in places {
            let dialog = self.dialog_to(
                outgoing,
                &binding.contact,
                binding.path.iter().map(|hop| Box::from(&**hop)).collect(),
                binding.flow,
            );
            // A device that cannot be offered what the caller has does not keep the others from ringing.
            match self.send_invite(outgoing, (party, acts_for), dialog, &binding.user_agent, None) {
                Ok(()) => is_rung = true,
                Err(refusal) => refused = refusal,
            }
        }
        if is_rung { Ok(()) } else { Err(refused) }
    }

    /// Where a user rings: the own devices, or the one that is meant, and the shared one at which the user is signed in.
    fn places_of(&self, account: &Arc<Account>, device: Option<usize>) -> SmallVec<[Place; 2]> {
        let (now, mut places) = (self.now.at, SmallVec::new());
        let desk = if device.is_none() { self.desk_of(account) } else { None };
        if let Some((owner, index)) = desk {
            let id = owner.devices.get(index).map(|device| &*device.id).unwrap_or_default();
            let bindings = self.registrar.lookup_device(&owner.name, id, now);
            places.extend(bindings.into_iter().map(|binding| Place {
                party: Party::User { account: owner.clone(), device: index },
                acts_for: Some(account.clone()),
                binding: binding.clone(),
            }));
        }
        let wanted = device.and_then(|index| account.devices.get(index)).map(|device| &*device.id);
        let own = self.registrar.lookup(&account.name, now).into_iter();
        let own = own.filter(|binding| wanted.is_none_or(|id| *id == *binding.device));
        places.extend(own.filter_map(|binding| {
            let device = account.devices.iter().position(|device| *device.id == *binding.device)?;
            let party = Party::User { account: account.clone(), device };
            Some(Place { party, acts_for: None, binding: binding.clone() })
        }));
        places
    }

    /// The shared device of another account at which a user is signed in.
    fn desk_of(&self, user: &Account) -> Option<(Arc<Account>, usize)> {
        let (owner, id) = self.hot_desks.desk_of(&user.name)?.split_once(DEVICE_SEPARATOR)?;
        let owner = self.accounts.by_name(owner).filter(|owner| owner.name != user.name)?;
        let index = owner.devices.iter().position(|device| *device.id == *id)?;
        Some((owner.clone(), index))
    }

    /// Calls the first target of the first trunk that has room; the others follow when it fails.
    pub(super) fn ring_trunks(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        trunks: &[usize],
    ) -> Result<(), Refusal> {
        let is_urgent = self.calls.get(outgoing.call).is_some_and(|call| call.emergency);
        // One that the configuration has no more since the call began is passed over.
        let known = &self.settings.trunks;
        let is_there = |index: &usize| known.get(*index).is_some_and(|trunk| !trunk.is_gone);
        let trunks = trunks.iter().copied().filter(is_there);
        let ways = self.targets.ways(trunks, is_urgent, self.now.at, &mut self.random);
        if let Some(found) = self.calls.get_mut(outgoing.call) {
            found.next_ways = ways;
            // Wherever who is transferred had called from, this goes out.
            if found.record.direction == Direction::Internal || found.transfer.is_some() {
                found.record.direction = Direction::Outbound;
            }
        }
        self.ring_next_trunk(outgoing)
    }

    fn ring_next_trunk(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let settings = self.settings.clone();
        let mut refused: Option<Refusal> = None;
        loop {
            let Some(found) = self.calls.get_mut(outgoing.call) else { return Err(Refusal::Internal) };
            if found.next_ways.is_empty() {
                return Err(refused.unwrap_or(Refusal::Overloaded { what: "trunk", retry_after: 5 }));
            }
            let Way { trunk: index, target: at } = found.next_ways.remove(0);
            let Some(trunk) = settings.trunks.get(index) else { continue };
            let Some(listener) = settings.listener_for(at.transport, at.peer) else { continue };
            let room = match found.admitted_by {
                _ if found.emergency => Ok(()),
                // Another target of the trunk is no further call of it.
                Some(trunk) if trunk == index => self.capacity.has_line(index),
                _ => self.capacity.admit(index, self.now.at),
            };
            if let Err(refusal) = room {
                // The caller is told of the trunk that has room first.
                if refused.as_ref().is_none_or(|known| refusal.retry_after() < known.retry_after()) {
                    refused = Some(refusal);
                }
                continue;
            }
            found.admitted_by = Some(index);
            let dialled = found.number.clone();
            let line = outgoing.line_at(trunk);
            let there = line.as_ref().and_then(|_| self.called_at_pbx(trunk, &dialled));
            let called = there.or_else(|| trunk.rewritten(Whose::Called, Toward::Trunk, &dialled));
            let number = called.as_deref().unwrap_or(&dialled);
            let target = format!("sip:{}@{}", escaped_user(number), trunk.host);
            let here = called.is_some().then_some(dialled);
            let flow = Flow { transport: at.transport, listener, connection: 0, peer: at.peer };
            outgoing.to = format!("<{target}>").into_boxed_str();
            let user = line.as_ref().map(|account| account.name.clone()).unwrap_or_default();
            let party = Party::Trunk { index, name: trunk.name.as_ref().into(), line: line.clone() };
            // RFC 3608 6.2: a request outside dialogs goes by the route that the registrar named. The first hop stays the
            // target of the trunk, whose name the route may not change.
            let routes = self.service_routes.get(&(index, user)).cloned().unwrap_or_default();
            let (calling, before) = outgoing.show_at(self, trunk, line.as_deref());
            let dialog = self.dialog_to(outgoing, &target, routes, flow);
            let rung = self.send_invite(outgoing, (party, None), dialog, "", here);
            outgoing.show_again(before);
            // What one target cannot be offered, another may.
            if let Err(refusal) = rung {
                refused = refused.or(Some(refusal));
                continue;
            }
            if let Some(found) = self.calls.get_mut(outgoing.call) {
                found.record.trunk = Some(trunk.name.to_string());
                (found.record.trunk_from, found.record.trunk_to) =
                    (calling.map(String::from), called.map(String::from));
            }
            self.expect_response(outgoing.call);
            return Ok(());
        }
    }

    /// After a target failed: the next one of the same run of trunks. False when there is none.
    pub(super) fn try_next_trunk(&mut self, call: CallHandle) -> bool {
        if self.calls.get(call).is_none_or(|call| call.next_ways.is_empty()) {
            return false;
        }
        let rung = self.with_waiting(call, |core, mut outgoing| core.ring_next_trunk(&mut outgoing));
        rung.is_some_and(|rung| rung.is_ok())
    }

    /// Runs `ring` with what the caller's INVITE, which still waits, has all others say.
    pub(super) fn with_waiting<T>(
        &mut self,
        call: CallHandle,
        ring: impl FnOnce(&mut Self, Outgoing<'_>) -> T,
    ) -> Option<T> {
        if let Some(outgoing) = self.outgoing_of_transfer(call, Box::from("")) {
            return Some(ring(self, outgoing));
        }
        let found = self.calls.get(call)?;
        let number = found.number.clone();
        let leg = self.legs.get(found.caller)?;
        let (tx, flow, party) = (leg.server_invite?, leg.dialog.flow, leg.party.clone());
        let acts_for = leg.acts_for.clone();
        let message = self.transactions.server(tx)?.request.cloned()?;
        let incoming = Incoming { tx, flow, message: &message, party, acts_for, number, dialled: None };
        let outgoing = self.outgoing(call, &incoming, Box::from(""));
        Some(ring(self, outgoing))
    }

    /// Takes note that a target refused an offer of SRTP. True if it may be asked for plain RTP: the policy lets it
    /// (`prefer`), and it was never heard to speak SRTP. No later offer to a device has keys then, so it is asked once.
    /// Behind a trunk are many: that one of them refuses says nothing of the others, and each call asks anew.
    pub(super) fn note_srtp_refused(&mut self, leg: LegHandle, status: StatusCode) -> bool {
        let Some(found) = self.legs.get(leg).filter(|_| Self::is_of_media(status)) else { return false };
        let was_offered = found.media.as_ref().is_some_and(|media| media.offers_srtp());
        if !was_offered || self.settings.media.srtp != Rule::Either {
            return false;
        }
        let Some((user, device)) = found.party.speaker() else { return false };
        if found.party.device().is_some() {
            self.abilities.learn_srtp(user, device, false);
        }
        self.abilities.srtp(user, device) != Some(true)
    }

    /// A target refused an offer of SRTP: it is rung again with plain RTP if it may be. False if it is not.
    pub(super) fn ring_in_plain(&mut self, leg: LegHandle, status: StatusCode) -> bool {
        if !self.note_srtp_refused(leg, status) {
            return false;
        }
        let Some(found) = self.legs.get(leg) else { return false };
        let (call, party, failed) = (found.call, found.party.clone(), found.dialog.clone());
        let acts_for = found.acts_for.clone();
        let (user_agent, here) = (found.user_agent.clone().unwrap_or_default(), found.number.clone());
        let settings = self.settings.clone();
        tracing::info!("an offer of SRTP was refused; plain RTP is offered");
        let rung = self.with_waiting(call, |core, mut outgoing| {
            (outgoing.to, outgoing.in_plain) = (failed.remote.clone(), true);
            if let Party::Trunk { index, line, .. } = &party
                && let Some(trunk) = settings.trunks.get(*index)
            {
                outgoing.show_at(core, trunk, line.as_deref());
            }
            let dialog = core.dialog_to(&outgoing, &failed.target, failed.routes, failed.flow);
            core.send_invite(&outgoing, (party, acts_for), dialog, &user_agent, here)
        });
        rung.is_some_and(|rung| rung.is_ok())
    }

    /// What all INVITEs of the call say.
    pub(super) fn outgoing<'a>(
        &self,
        call: CallHandle,
        incoming: &Incoming<'a>,
        to: Box<str>,
    ) -> Outgoing<'a> {
        let domain = self.settings.domain.clone();
        let caller = self.calls.get(call).map(|call| call.caller);
        let number = caller.and_then(|caller| self.legs.get(caller)?.number.as_deref());
        let (identity, trust) = match &incoming.party {
            Party::User { account, .. } => {
                let account = incoming.acts_for.as_ref().unwrap_or(account);
                (user_value(account.shown(), account.number(), &domain), Trust::Untrusted)
            }
            party @ (Party::Trunk { .. } | Party::Service(_)) => {
                (self.caller_value(party, incoming.message, number), self.trust_of(party))
            }
        };
        let privacy = Privacy::wished(self.trunk(&incoming.party), incoming.message);
        let hops = u32::from(incoming.message.max_forwards().ok().flatten().unwrap_or(70));
        Outgoing {
            call,
            from: if privacy.hides() { ANONYMOUS.into() } else { identity.clone() },
            identity,
            is_vouched: self.vouches_for(&incoming.party, incoming.message),
            privacy,
            said: self.said_of(incoming),
            source: if let Party::Trunk { index, .. } = incoming.party { Some(index) } else { None },
            to,
            trust,
            message: Some(incoming.message),
            hops: hops.saturating_sub(1),
            offers: caller.filter(|_| !incoming.message.body().is_empty()),
            referred_by: None,
            own: incoming.party.device().map(|(user, device)| (user.into(), device.into())),
            caller: incoming.user().cloned(),
            in_plain: false,
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
            is_secret: false,
            local_cseq: 0,
            remote_cseq: None,
            remote_invite: None,
            target: target.into(),
            routes,
            flow,
            sent_by: self.settings.sent_by(&flow).into(),
        }
    }

    fn send_invite(
        &mut self,
        outgoing: &Outgoing<'_>,
        (party, acts_for): (Party, Option<Arc<Account>>),
        dialog: Dialog,
        user_agent: &str,
        number: Option<Box<str>>,
    ) -> Result<(), Refusal> {
        let flow = dialog.flow;
        let call = self.calls.get(outgoing.call).ok_or(Refusal::Internal)?;
        let (anchored, caller) = (call.anchored, call.caller);
        let media = anchored.then(|| self.new_media(&flow, &party));
        let media = media.map(|media| if outgoing.in_plain { media.offering_plain() } else { media });
        let mut leg = Leg::new(outgoing.call, Role::Fork, party, dialog, false);
        leg.is_run_by(user_agent, &self.settings.quirks);
        (leg.media, leg.number, leg.acts_for) = (media, number, acts_for);
        let quirks = leg.quirks;
        let settings = self.settings.clone();
        let trunk = match &leg.party {
            Party::Trunk { index, .. } => settings.trunks.get(*index),
            Party::User { .. } | Party::Service(_) => None,
        };
        let handle = self.add_leg(leg);
        let offer = match outgoing.offers {
            Some(leg) if leg == caller => self.offer_across(leg, handle).map(Some),
            Some(leg) => self.offer_standing(leg, handle, (Hold::Lift, Bridging::Never)).map(Some),
            None => Ok(None),
        };
        let offer = match offer {
            Ok(offer) => offer,
            Err(refusal) => {
                self.remove_leg(handle);
                return Err(refusal);
            }
        };
        let branch = self.mint_branch();
        let leg = self.legs.get_mut(handle).ok_or(Refusal::Internal)?;
        let session = leg.session;
        let mut writer = leg.dialog.request_with_hops(&Method::Invite, &branch, outgoing.hops);
        let is_reliable = offer.is_some() && quirks.prack;
        write_invite_capabilities(&mut writer, &self.settings.software, is_reliable, &session);
        let call = self.calls.get(outgoing.call).ok_or(Refusal::Internal)?;
        outgoing.write_headers(trunk, (call, &settings), &leg.dialog, quirks, &mut writer);
        if let Some(referrer) = &outgoing.referred_by {
            writer.header(&HeaderName::ReferredBy, referrer);
        }
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
}

impl Outgoing<'_> {
    /// Who calls, what of the caller's INVITE crosses, and what the rules of trunks write.
    fn write_headers(
        &self,
        trunk: Option<&Trunk>,
        (call, settings): (&Call, &Settings),
        dialog: &Dialog,
        quirks: Quirks,
        writer: &mut MessageWriter<'_>,
    ) {
        self.write_caller(trunk, quirks, writer);
        let source = self.source.and_then(|index| settings.trunks.get(index));
        let is_taken_out = |name: &[u8]| trunk.is_some_and(|trunk| trunk.takes_header(Toward::Trunk, name));
        let is_believed = self.trust == Trust::Trusted && !self.is_hidden_from(trunk);
        if let Some(message) = self.message {
            let across = Across::border_if(trunk.is_some() || source.is_some());
            let trust = if is_believed { Trust::Trusted } else { Trust::Untrusted };
            let is_taken_in = |name: &[u8]| source.is_some_and(|trunk| trunk.takes_header(Toward::Us, name));
            cross_but(message, trust, across, |name| is_taken_out(name) || is_taken_in(name), writer);
            if is_believed {
                self.write_signature(message, trunk, dialog, writer);
            }
        }
        let message = self.message.filter(|_| is_believed);
        self.write_history(message, trunk, (call, &settings.domain), &dialog.remote, writer);
        let rules = [(source, Toward::Us), (trunk, Toward::Trunk)];
        if rules.iter().all(|(trunk, _)| trunk.is_none_or(|trunk| trunk.policy.headers.is_empty())) {
            return;
        }
        let [caller, called] =
            [&dialog.local, &dialog.remote].map(|address| number(NameAddr::parse(address.as_bytes()).ok()));
        let variables = Variables { caller: &caller, called: &called, call: &call.id };
        if let Some(source) = source {
            source.write_headers(Toward::Us, variables, is_taken_out, writer);
        }
        if let Some(trunk) = trunk {
            trunk.write_headers(Toward::Trunk, variables, |_| false, writer);
        }
    }
}

impl Core {
    /// Writes what the rules of its trunk add to an answer to a leg's INVITE.
    pub(super) fn write_headers(&self, leg: LegHandle, writer: &mut MessageWriter<'_>) {
        let Some(found) = self.legs.get(leg) else { return };
        let Some(trunk) = self.trunk(&found.party).filter(|trunk| !trunk.policy.headers.is_empty()) else {
            return;
        };
        let Some(call) = self.calls.get(found.call) else { return };
        let record = &call.record;
        // Who was called knows of the caller what our INVITE said, and no more in an answer to one of its own.
        let [shown, reached] = [&found.dialog.local, &found.dialog.remote]
            .map(|address| number(NameAddr::parse(address.as_bytes()).ok()));
        let (caller, called) = match found.is_inbound {
            true => (
                record.trunk_from.as_deref().unwrap_or(&record.from),
                record.trunk_to.as_deref().unwrap_or(&record.to),
            ),
            false => (&*shown, &*reached),
        };
        let variables = Variables { caller, called, call: &call.id };
        trunk.write_headers(Toward::Trunk, variables, |_| false, writer);
    }
}
