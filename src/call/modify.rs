//! A session is changed: re-INVITE (RFC 3261 14) and UPDATE (RFC 3311) across, and our own on behalf of a move.

use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, Happened, Owner};
use super::headers::{Trust, cross};
use super::media::{description_in, sdp_in};
use super::model::{AnswerDue, Leg, LegHandle, LegState, Party, Purpose, Role, Service, timer};
use super::rescue::Death;
use super::transfer::TransferNews;
use super::undo::Before;
use crate::media::plan::Description;
use crate::sip::Refusal;
use crate::sip::transaction::{ClientTx, ServerTx};
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// 491 answers to one re-INVITE after which the other side counts as refusing. Three waits of RFC 3261 14.1 are at
/// most 12 s.
const MAX_GLARES: u8 = 4;
/// Own re-INVITEs that may wait on one leg.
const MAX_QUEUED: usize = 4;

impl Core {
    /// A re-INVITE from the party of `leg`.
    ///
    /// # Errors
    /// The reason to refuse it; the session is as it was.
    pub fn on_reinvite(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        let peer = self.may_modify(leg)?;
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        if found.server_invite.is_some() {
            // RFC 3261 14.2: a second INVITE before the first is answered.
            return Err(Refusal::InviteOpen { retry_after: self.random.below(11) as u32 });
        }
        found.session_refresh(message, &self.settings.quirks)?;
        if self.answer_repetition(leg, tx, message)? {
            return Ok(());
        }
        let offer = description_in(message, self.gate(leg))?;
        let purpose = Purpose::Relay { server: tx, from: leg, offered: offer.is_some() };
        if self.is_left_alone(peer) {
            return self.answer_for(peer, leg, tx, message, offer);
        }
        if let Some(service) = self.service_of(peer) {
            let body = self.propose_to_service(leg, service, offer)?;
            if let Some(found) = self.legs.get_mut(leg) {
                found.server_invite = Some(tx);
            }
            self.transactions.set_owner(tx, Owner::Served(leg));
            self.answer_reinvite(leg, &body);
            if let Some(call) = self.call_of(leg) {
                self.connect(call);
            }
            return Ok(());
        }
        let body = match offer {
            Some(offer) => Some(self.propose(leg, peer, offer)?),
            None => None,
        };
        if let Some(found) = self.legs.get_mut(leg) {
            found.server_invite = Some(tx);
        }
        self.transactions.set_owner(tx, Owner::Served(leg));
        self.send_reinvite(peer, body, purpose, Some(message));
        Ok(())
    }

    /// An UPDATE with an offer from the party of `leg`; without one it refreshes and is answered here.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn on_update(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        let offer = description_in(message, self.gate(leg))?;
        let Some(offer) = offer else {
            let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
            found.session_refresh(message, &self.settings.quirks)?;
            self.confirm_update(leg, tx, None);
            return Ok(());
        };
        if self.legs.get(leg).is_some_and(|leg| leg.state == LegState::Early) {
            return self.on_early_offer(leg, tx, message);
        }
        let peer = self.may_modify(leg)?;
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        if found.server_invite.is_some() {
            return Err(Refusal::InviteOpen { retry_after: self.random.below(11) as u32 });
        }
        found.session_refresh(message, &self.settings.quirks)?;
        if self.answer_repetition(leg, tx, message)? {
            return Ok(());
        }
        if self.is_left_alone(peer) {
            return self.answer_for(peer, leg, tx, message, Some(offer));
        }
        if let Some(service) = self.service_of(peer) {
            let body = self.propose_to_service(leg, service, Some(offer))?;
            self.answer_update(leg, tx, Some(&body));
            return Ok(());
        }
        let body = self.propose(leg, peer, offer)?;
        let purpose = Purpose::Relay { server: tx, from: leg, offered: true };
        if let Some(found) = self.legs.get_mut(leg) {
            found.server_update = Some(tx);
        }
        let by_update = self.legs.get(peer).is_some_and(|peer| peer.allows_update);
        if by_update {
            self.send_update(peer, Some(body), purpose, Some(message));
        } else {
            self.send_reinvite(peer, Some(body), purpose, Some(message));
        }
        Ok(())
    }

    /// Takes in an offer of `leg` and writes it for `peer`; on refusal both are as they were.
    pub(super) fn propose(
        &mut self,
        leg: LegHandle,
        peer: LegHandle,
        offer: Description,
    ) -> Result<Bytes, Refusal> {
        self.receive_offer(leg, offer)?;
        let body = self.offer_across(leg, peer);
        if body.is_err() {
            self.abandon_exchange(leg);
        }
        body
    }

    /// The same where a service of ours is at the other end, which answers at once.
    fn propose_to_service(
        &mut self,
        leg: LegHandle,
        service: Service,
        offer: Option<Description>,
    ) -> Result<Bytes, Refusal> {
        let has_offer = offer.is_some();
        if let Some(offer) = offer {
            self.receive_offer(leg, offer)?;
        }
        let body = self.describe_service(leg, service, has_offer);
        if body.is_err() {
            self.abandon_exchange(leg);
        }
        body
    }

    /// Whether the party of `leg` may change the session now; the leg it talks with.
    fn may_modify(&self, leg: LegHandle) -> Result<LegHandle, Refusal> {
        let found = self.legs.get(leg).ok_or(Refusal::DialogUnknown)?;
        if found.state == LegState::Ended || !matches!(found.role, Role::Talking(_)) {
            return Err(Refusal::DialogUnknown);
        }
        let call = self.calls.get(found.call).ok_or(Refusal::DialogUnknown)?;
        // RFC 3261 14.2: an own INVITE is open here. A move counts as one from its first step, and so does the time in
        // which nobody is at the other end.
        let is_open = call.lost.is_some()
            || found.client_invite.is_some()
            || found.server_update.is_some()
            || found.open_update;
        if call.moving || is_open || !found.queued.is_empty() {
            return Err(Refusal::RequestPending);
        }
        let peer = call.peer(leg).ok_or(Refusal::RequestPending)?;
        match self.legs.get(peer) {
            // Who is to talk with it is still asked: not yet, but soon.
            Some(Leg { party: Party::Service(Service::Transfer), .. }) => Err(Refusal::RequestPending),
            Some(other) if matches!(other.party, Party::Service(_)) || !other.is_busy() => Ok(peer),
            Some(_) => Err(Refusal::RequestPending),
            // Who transferred it has hung up already.
            None if call.transfer.is_some() => Err(Refusal::RequestPending),
            None => Err(Refusal::DialogUnknown),
        }
    }

    /// Sends our re-INVITE on a leg at once. The caller has seen that it is free.
    pub(super) fn send_reinvite(
        &mut self,
        leg: LegHandle,
        offer: Option<Bytes>,
        purpose: Purpose,
        of: Option<&Message>,
    ) {
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (flow, introduction, session) = (found.dialog.flow, found.introduction.clone(), found.session);
        let mut writer = found.dialog.request(&Method::Invite, &branch);
        super::setup::write_capabilities(&mut writer, &self.settings.software, &session);
        self.offer_session(leg, &mut writer);
        if let Some(identity) = introduction.filter(|_| purpose == Purpose::Transfer) {
            self.show_party(leg, &identity, &mut writer);
        }
        if let Some(message) = of {
            cross(message, Trust::Untrusted, self.border_of(leg), &mut writer);
        }
        if let Some(offer) = &offer {
            writer.body("application/sdp", offer);
        }
        let bytes = writer.finish();
        let owner = Owner::Reinvite(leg, purpose);
        let tx = self.send_request(flow, &Method::Invite, &branch, bytes, owner);
        if let Some(found) = self.legs.get_mut(leg) {
            found.client_invite = Some(tx);
            found.last_offer = offer.unwrap_or_default();
        }
    }

    /// Sends our UPDATE on a leg at once.
    pub(super) fn send_update(
        &mut self,
        leg: LegHandle,
        offer: Option<Bytes>,
        purpose: Purpose,
        of: Option<&Message>,
    ) {
        let branch = self.mint_branch();
        let identity = if purpose == Purpose::Identity { self.peer_identity(leg) } else { None };
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (flow, session) = (found.dialog.flow, found.session);
        // RFC 3311 5.1: without an offer it stands in nobody's way.
        found.open_update |= offer.is_some();
        let mut writer = found.dialog.request(&Method::Update, &branch);
        super::setup::write_capabilities(&mut writer, &self.settings.software, &session);
        self.offer_session(leg, &mut writer);
        if let Some(identity) = &identity {
            self.show_party(leg, identity, &mut writer);
        }
        if let Some(message) = of {
            cross(message, Trust::Untrusted, self.border_of(leg), &mut writer);
        }
        if let Some(offer) = &offer {
            writer.body("application/sdp", offer);
        }
        let bytes = writer.finish();
        let owner = Owner::Update(leg, purpose);
        self.send_request(flow, &Method::Update, &branch, bytes, owner);
    }

    fn peer_identity(&self, leg: LegHandle) -> Option<Box<str>> {
        self.identity_of(self.peer_of(leg)?)
    }

    /// Tells a leg by UPDATE who it speaks with now, where it takes UPDATE and nothing is open (contract 25).
    pub fn announce_identity(&mut self, leg: LegHandle) {
        if self.legs.get(leg).is_some_and(|leg| leg.allows_update && !leg.is_busy()) {
            self.send_update(leg, None, Purpose::Identity, None);
        }
    }

    /// Sends our own re-INVITE as soon as the leg is free: never a step on a leg with an open transaction.
    pub fn queue_reinvite(&mut self, leg: LegHandle, offer: Bytes, purpose: Purpose) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if found.queued.len() >= MAX_QUEUED {
            found.queued.pop_front();
        }
        found.queued.push_back((offer, purpose));
        self.run_queue(leg);
    }

    /// Drops what waits on a leg for a purpose; true if something did.
    pub fn unqueue(&mut self, leg: LegHandle, purpose: Purpose) -> bool {
        let Some(found) = self.legs.get_mut(leg) else { return false };
        let before = found.queued.len();
        found.queued.retain(|(_, queued)| *queued != purpose);
        found.queued.len() != before
    }

    /// Sends the next queued re-INVITE if the leg is free and no retry is being waited for.
    pub(super) fn run_queue(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if found.is_busy() || found.timers.deadline(timer::RETRY).is_some() {
            return;
        }
        if let Some((offer, purpose)) = found.queued.pop_front() {
            self.send_reinvite(leg, Some(offer), purpose, None);
        }
    }

    /// A response to a re-INVITE or UPDATE of ours.
    pub fn on_modify_response(&mut self, leg: LegHandle, tx: ClientTx, purpose: Purpose, response: &Message) {
        let Some(status) = response.status() else { return };
        if status.is_provisional() {
            return;
        }
        let is_invite = *response.method() == Method::Invite;
        let Some(found) = self.legs.get_mut(leg) else {
            // A device that rang no longer does; whoever offered it something hears of it.
            if let Purpose::Relay { server, from, .. } = purpose {
                self.refuse_modify(from, server, &Refusal::Terminated);
            }
            return;
        };
        if is_invite && found.client_invite != Some(tx) && found.state != LegState::Ended {
            // A further answer under another tag, which in a dialog can only be a fault or a forgery.
            return;
        }
        if is_invite {
            found.client_invite = None;
            if status != StatusCode::REQUEST_PENDING {
                found.glares = 0;
            }
        } else if purpose != Purpose::Identity {
            found.open_update = false;
        }
        if status.is_success() {
            found.dialog.refresh_target(response);
            if found.state == LegState::Ended {
                let cseq = response.cseq().map_or(0, |cseq| cseq.number);
                if is_invite {
                    self.acknowledge(leg, tx, cseq, None);
                }
                return;
            }
            self.note_session(leg, response);
            self.on_modified(leg, tx, purpose, is_invite, response);
        } else {
            self.on_modify_refused(leg, purpose, status, response);
        }
        self.run_queue(leg);
    }

    fn on_modified(
        &mut self,
        leg: LegHandle,
        tx: ClientTx,
        purpose: Purpose,
        is_invite: bool,
        response: &Message,
    ) {
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        match purpose {
            Purpose::Relay { server, from, offered } => {
                self.relay_modified(leg, tx, (server, from, offered), is_invite, response);
            }
            Purpose::Identity => {}
            Purpose::Refresh => self.on_refreshed(leg, tx, is_invite, response),
            Purpose::Move => {
                self.acknowledge(leg, tx, cseq, None);
                self.happened.push_back(Happened::FarAnswered(
                    leg,
                    sdp_in(response).ok().flatten().unwrap_or_default(),
                ));
            }
            Purpose::Transfer => {
                self.acknowledge(leg, tx, cseq, None);
                if let Some(before) = self.take_undo(leg) {
                    // A yes that crossed our CANCEL: where it is now, it is called back from.
                    let taken = description_in(response, self.gate(leg)).ok().flatten();
                    if taken.is_none_or(|description| self.receive_answer(leg, description).is_err()) {
                        self.abandon_exchange(leg);
                    }
                    return self.offer_again(leg, &before);
                }
                let body = sdp_in(response).ok().flatten().unwrap_or_default();
                self.tell_transfer_of(leg, TransferNews::Agreed(leg, body));
            }
            Purpose::Restore => {
                self.acknowledge(leg, tx, cseq, None);
                if let Ok(Some(description)) = description_in(response, self.gate(leg))
                    && self.receive_answer(leg, description).is_ok()
                    && let Some(call) = self.call_of(leg)
                {
                    self.connect(call);
                }
                self.happened.push_back(Happened::FarRestored(leg));
            }
        }
    }

    /// The other side accepted what `from` proposed: the answer goes back, media follows.
    fn relay_modified(
        &mut self,
        leg: LegHandle,
        tx: ClientTx,
        (server, from, had_offer): (ServerTx, LegHandle, bool),
        is_invite: bool,
        response: &Message,
    ) {
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        let before = self.legs.get(leg).and_then(|leg| leg.media.as_ref()?.snapshot());
        let joined = match description_in(response, self.gate(leg)) {
            Ok(Some(description)) if had_offer => {
                self.receive_answer(leg, description).and_then(|()| self.answer_across(leg, from))
            }
            Ok(Some(description)) => self.propose(leg, from, description),
            Ok(None) => Err(Refusal::OfferUnusable("the answer has no description".into())),
            Err(refusal) => Err(refusal),
        };
        let body = match joined {
            Ok(body) => body,
            Err(refusal) => {
                if is_invite {
                    self.acknowledge(leg, tx, cseq, None);
                }
                self.refuse_modify(from, server, &refusal);
                // What a leg accepted is of no use to the other side.
                self.abandon_exchange(leg);
                if let Some(before) = before {
                    self.offer_again(leg, &Before::Agreed(before));
                }
                return;
            }
        };
        if is_invite && had_offer {
            self.acknowledge(leg, tx, cseq, None);
        } else if is_invite {
            // An offerless re-INVITE: the answer comes in the ACK of the one who asked.
            if let Some(found) = self.legs.get_mut(leg) {
                found.owed_ack = Some((tx, cseq));
            }
            if let Some(found) = self.legs.get_mut(from) {
                found.answer_due = Some(AnswerDue::Peer);
            }
        }
        let by_update = self.legs.get(from).is_some_and(|from| from.server_update == Some(server));
        if by_update {
            self.answer_update(from, server, Some(&body));
        } else {
            self.answer_reinvite(from, &body);
        }
        if let Some(call) = self.call_of(leg) {
            self.connect(call);
            self.note_hold(call, from);
        }
    }

    pub(super) fn answer_reinvite(&mut self, leg: LegHandle, body: &Bytes) {
        self.answer_inbound(leg, StatusCode::OK, Some(body), None);
    }

    pub(super) fn answer_update(&mut self, leg: LegHandle, tx: ServerTx, body: Option<&Bytes>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.close_request(tx);
        self.confirm_update(leg, tx, body);
        self.run_queue(leg);
    }

    /// The 200 to an UPDATE.
    fn confirm_update(&mut self, leg: LegHandle, tx: ServerTx, body: Option<&Bytes>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (tag, contact) = (found.dialog.local_tag.clone(), found.dialog.contact.clone());
        if let Some(mut writer) = self.reply(tx, StatusCode::OK, &tag) {
            writer.header_parts(&HeaderName::Contact, &["<", &contact, ">"]);
            // Only an UPDATE says anything of the session timer.
            let asked = self.transactions.server(tx).and_then(|server| server.request);
            if asked.is_some_and(|request| *request.method() == Method::Update) {
                self.answer_session(leg, &mut writer);
            }
            if let Some(body) = body {
                writer.body("application/sdp", body);
            }
            let bytes = writer.finish();
            self.respond(tx, StatusCode::OK, bytes);
        }
    }

    fn refuse_modify(&mut self, leg: LegHandle, tx: ServerTx, refusal: &Refusal) {
        self.abandon_exchange(leg);
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.close_request(tx);
        let tag = found.dialog.local_tag.clone();
        self.refuse(tx, refusal, Some(&tag));
        self.run_queue(leg);
    }

    fn on_modify_refused(
        &mut self,
        leg: LegHandle,
        purpose: Purpose,
        status: StatusCode,
        response: &Message,
    ) {
        let is_brief = status == StatusCode::SESSION_INTERVAL_TOO_SMALL;
        if is_brief && purpose != Purpose::Refresh && self.extend_reinvite(leg, purpose, response) {
            return;
        }
        match purpose {
            Purpose::Relay { server, from, .. } => {
                // What the peer was offered and refused is not what it was last told (RFC 3261 14.1).
                self.abandon_exchange(leg);
                self.abandon_exchange(from);
                if let Some(found) = self.legs.get_mut(from) {
                    found.close_request(server);
                }
                self.pass_refusal(from, server, status, response);
                self.run_queue(from);
            }
            Purpose::Identity => {}
            Purpose::Refresh => self.on_refresh_refused(leg, response),
            // What we have given up ourselves it never took.
            Purpose::Transfer if self.take_undo(leg).is_some() => self.abandon_exchange(leg),
            Purpose::Move | Purpose::Restore | Purpose::Transfer
                if status == StatusCode::REQUEST_PENDING && self.retry_later(leg, purpose) =>
            {
                return;
            }
            Purpose::Move => {
                self.abandon_exchange(leg);
                self.happened.push_back(Happened::FarRefused(leg, status));
            }
            Purpose::Transfer => {
                self.abandon_exchange(leg);
                self.tell_transfer_of(leg, TransferNews::Refused(leg, status));
            }
            Purpose::Restore => {
                // What it was offered again is not agreed, and bars no other offer.
                self.abandon_exchange(leg);
                self.happened.push_back(Happened::FarRestored(leg));
            }
        }
        // RFC 3261 12.2.1.2: these two mean that the other end has no such dialog any more.
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT) {
            let death =
                if status == StatusCode::REQUEST_TIMEOUT { Death::Unanswering } else { Death::Forgotten };
            self.on_leg_lost(leg, death, "SIP;cause=481");
        }
    }

    /// RFC 3261 14.1: 2.1 to 4 s for the owner of the Call-ID, 0 to 2 s for the other, in units of 10 ms.
    /// False where it was said too often: then it is a refusal as any other.
    fn retry_later(&mut self, leg: LegHandle, purpose: Purpose) -> bool {
        let Some(found) = self.legs.get_mut(leg) else { return false };
        found.glares += 1;
        if found.glares >= MAX_GLARES {
            return false;
        }
        let (offer, owns_call_id) = (found.last_offer.clone(), !found.is_inbound);
        found.queued.push_front((offer, purpose));
        let tens = if owns_call_id { 210 + self.random.below(191) } else { self.random.below(201) };
        self.arm(leg, timer::RETRY, Duration::from_millis(10 * tens));
        true
    }

    /// A refusal of the peer, passed on in its own words.
    pub(super) fn pass_refusal(
        &mut self,
        leg: LegHandle,
        tx: ServerTx,
        status: StatusCode,
        response: &Message,
    ) {
        let Some(found) = self.legs.get(leg) else { return };
        let tag = found.dialog.local_tag.clone();
        let status = super::pass::presentable(status);
        let Some(mut writer) = self.reply(tx, status, &tag) else { return };
        super::headers::explain(response, self.border_of(leg), &mut writer);
        let bytes = writer.finish();
        self.respond(tx, status, bytes);
    }

    /// The re-INVITE that a leg sent is cancelled: so is what it was passed on as.
    pub(super) fn cancel_relayed(&mut self, leg: LegHandle) {
        let Some(peer) = self.peer_of(leg) else { return };
        if let Some(tx) = self.legs.get(peer).and_then(|peer| peer.client_invite) {
            self.transactions.cancel(self.now.at, tx, None, &mut self.effects);
        }
    }

    /// A re-INVITE or UPDATE of ours got no answer (408), or could not be sent (503).
    pub fn on_modify_timeout(&mut self, leg: LegHandle, purpose: Purpose) {
        if let Some(found) = self.legs.get_mut(leg) {
            found.client_invite = None;
            found.open_update &= purpose == Purpose::Identity;
        }
        match purpose {
            Purpose::Relay { server, from, .. } => {
                self.abandon_exchange(leg);
                self.refuse_modify(from, server, &Refusal::TimedOut);
            }
            Purpose::Identity => return,
            // RFC 4028 10: a refresh without an answer ends the session.
            Purpose::Refresh => {}
            Purpose::Move => self.happened.push_back(Happened::FarRefused(leg, StatusCode::REQUEST_TIMEOUT)),
            Purpose::Transfer => {
                self.abandon_exchange(leg);
                drop(self.take_undo(leg));
                self.tell_transfer_of(leg, TransferNews::Refused(leg, StatusCode::REQUEST_TIMEOUT));
            }
            Purpose::Restore => self.happened.push_back(Happened::FarRestored(leg)),
        }
        self.on_leg_lost(leg, Death::Unanswering, "SIP;cause=408");
    }

    /// An ACK in a dialog: of our 2xx (RFC 3261 13.2.2.4).
    pub fn on_ack(&mut self, leg: LegHandle, message: &Message) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let Some(tx) = found.server_invite else { return };
        if message.cseq().ok().map(|cseq| cseq.number) != found.dialog.remote_invite {
            return;
        }
        // One that comes before our 2xx is the ACK of nothing: the INVITE is still to be answered.
        if !self.transactions.acknowledge(tx) {
            return;
        }
        found.server_invite = None;
        if found.state == LegState::Answered {
            found.state = LegState::Confirmed;
        }
        let (due, role, release) = (found.answer_due.take(), found.role, found.release.take());
        if let Some(reason) = release {
            self.release_leg(leg, &reason);
            return;
        }
        if role == Role::Mover {
            let body = sdp_in(message).ok().flatten();
            self.happened.push_back(Happened::MoverAcked(leg, body));
            return;
        }
        if due == Some(AnswerDue::Peer) {
            self.pass_late_answer(leg, message);
        }
        self.run_queue(leg);
        if let Some(peer) = self.peer_of(leg) {
            self.run_queue(peer);
        }
    }

    /// The answer that an ACK carries goes to the peer, whose 2xx carried the offer, in its own ACK.
    fn pass_late_answer(&mut self, leg: LegHandle, message: &Message) {
        let Some(peer) = self.peer_of(leg) else { return };
        let Some((tx, cseq)) = self.legs.get(peer).and_then(|peer| peer.owed_ack) else { return };
        let answer = match description_in(message, self.gate(leg)) {
            Ok(Some(description)) => {
                self.receive_answer(leg, description).and_then(|()| self.answer_across(leg, peer))
            }
            Ok(None) => Err(Refusal::OfferUnusable("the ACK has no answer".into())),
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(body) => {
                self.acknowledge(peer, tx, cseq, Some(&body));
                if let Some(call) = self.call_of(leg) {
                    self.connect(call);
                }
            }
            Err(_) => {
                // RFC 3261 13.2.2.4: an offer that got no usable answer: the ACK goes out, and BYE follows.
                self.acknowledge(peer, tx, cseq, None);
                self.on_leg_dead(leg, "SIP;cause=488;text=\"No usable answer\"");
            }
        }
    }
}
