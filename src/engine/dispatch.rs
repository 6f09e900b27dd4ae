//! Whose a message is: read, matched to a transaction, a dialog, or a service of ours.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, Output};
use crate::call::core::{ALLOW, Owner, supported, write_refusal};
use crate::call::dial_plan::{Destination, Member, Plan, dialled};
use crate::call::places::{Across, plain_reason};
use crate::call::ring::MAX_GROUP_FORKS;
use crate::call::rules::{Asks, Caller, CallerKind, Dialling};
use crate::call::session_timer::Mode;
use crate::call::{LegHandle, Party};
use crate::moving::hold_off::Access;
use crate::registrar::Binding;
use crate::registrar::accounts::Account;
use crate::sip::subscription::Event;
use crate::sip::transaction::{Answered, ClientTx, Effect, ServerTx, Transactions};
use crate::sip::{Flow, Refusal, Transport};
use crate::wire::sip::{HeaderName, Message, Method, ParseError, Scheme, StatusCode, Uri, escaped_user};

/// Extensions that a request may require of us (RFC 3261 8.2.2.3).
const REQUIRABLE: [&str; 6] = ["replaces", "norefersub", "path", "outbound", "timer", "100rel"];

/// Whom a request outside dialogs is for.
struct Recipients {
    /// To, as they get it.
    to: Box<str>,
    /// The users.
    users: Vec<Arc<str>>,
    /// Their devices that take it.
    bindings: Vec<Binding>,
    /// What the sender is told where there are none.
    otherwise: Refusal,
}

impl Engine {
    /// One message from the network.
    pub(super) fn on_received(&mut self, flow: Flow, bytes: Bytes) {
        let (now, is_source_banned) =
            (self.core.now.at, self.bans.is_source_banned(self.core.now.at, flow.peer));
        if is_source_banned && self.bans.is_banned(now, flow.peer) || self.is_too_much(&flow) {
            return;
        }
        let message = match Message::parse(bytes, &self.settings.limits) {
            Ok(message) => message,
            Err(error) => return self.on_unreadable(flow, error),
        };
        if let Err(violation) = message.check() {
            self.counters.parse_errors += 1;
            if message.can_be_answered() {
                self.answer_stateless(flow, &message, violation.status);
            }
            return;
        }
        if is_source_banned && !self.is_shielded(flow, &message) {
            return;
        }
        if self.is_to_be_challenged(flow, &message) {
            return self.challenge_at_once(flow, &message);
        }
        self.trace.receive(flow, &message);
        let core = &mut self.core;
        core.transactions.receive(core.now.at, flow, message, &mut core.effects);
    }

    /// Whether this is the REGISTER that only asks for a challenge. A challenge is a function of the request, so it
    /// needs no transaction: whoever has proved nothing yet costs the answer alone (RFC 3261 8.2.7).
    fn is_to_be_challenged(&self, flow: Flow, message: &Message) -> bool {
        message.is_request()
            && *message.method() == Method::Register
            && !message.has(HeaderName::Authorization)
            && message.to_tag().is_none()
            && self.admit(flow, message).is_ok()
    }

    /// What could not be read is answered where enough of it could (RFC 3261 8.2, 21.4.1), else dropped.
    fn on_unreadable(&mut self, flow: Flow, error: ParseError) {
        self.counters.parse_errors += 1;
        tracing::debug!(%flow, %error, "unreadable message");
        let status = error.status();
        if let Some(message) = error.reply
            && message.can_be_answered()
        {
            self.answer_stateless(flow, &message, status);
        }
    }

    fn answer_stateless(&mut self, flow: Flow, message: &Message, status: StatusCode) {
        let bytes = self.core.transactions.stateless_reply(&flow, message, status).finish();
        self.send_stateless(flow, message, bytes);
    }

    pub(super) fn send_stateless(&mut self, flow: Flow, message: &Message, bytes: Bytes) {
        // A Via that cannot be read names no other port than the one that the request came from.
        let to = message.via().map_or(flow, |via| Transactions::<Owner>::reply_flow(&flow, &via));
        self.outputs.push(Output::Send { flow: to, bytes });
    }

    /// What a transaction asks or tells.
    pub(super) fn on_effect(&mut self, effect: Effect<Owner>) {
        match effect {
            Effect::Send { flow, bytes } => self.outputs.push(Output::Send { flow, bytes }),
            Effect::Request { tx, flow, message } => self.on_request(tx, flow, &message),
            Effect::Cancelled { owner, message, .. } => {
                if let Some(Owner::Served(leg)) = owner {
                    let reason =
                        message.header(HeaderName::Reason).and_then(|header| header.value_str().ok());
                    self.core.on_cancelled(leg, reason.as_deref().map(plain_reason));
                }
            }
            Effect::Ack { message, .. } => {
                if let Some(leg) = self.core.leg_of(&message) {
                    self.core.on_ack(leg, &message);
                }
            }
            Effect::Response { owner: Owner::Register(key), flow, message, sent, .. } => {
                self.on_register_response(key, flow, &message, sent.as_ref());
            }
            Effect::Response { tx, owner, message, sent, .. } => {
                let is_answered =
                    sent.is_some_and(|sent| self.core.answer_challenge(tx, owner, &message, &sent));
                if !is_answered {
                    self.on_response(tx, owner, &message);
                }
            }
            Effect::Stray { message, .. } => {
                tracing::trace!(method = message.method().as_str(), "stray response");
            }
            Effect::Timeout { owner, .. } => self.on_no_response(owner, StatusCode::REQUEST_TIMEOUT),
            Effect::Failed { owner, .. } => self.on_no_response(owner, StatusCode::SERVICE_UNAVAILABLE),
            Effect::AckTimeout { owner, answered, .. } => {
                if let (Some(Owner::Served(leg)), Answered::Accepted) = (owner, answered) {
                    self.core.on_ack_timeout(leg);
                }
            }
            Effect::Overloaded { flow, message } => {
                self.on_no_room(flow, &message);
            }
        }
    }

    /// A response to a request of ours.
    fn on_response(&mut self, tx: ClientTx, owner: Owner, message: &Message) {
        let is_final = message.status().is_some_and(StatusCode::is_final);
        match owner {
            Owner::Invite(leg) => self.core.on_invite_response(leg, tx, message),
            Owner::Reinvite(leg, purpose) | Owner::Update(leg, purpose) => {
                self.core.on_modify_response(leg, tx, purpose, message);
            }
            Owner::Bye(leg) if is_final => self.core.on_bye_done(leg),
            Owner::Relay { server, .. } if is_final => self.core.on_pass_response(server, Some(message)),
            Owner::Spread(key) if is_final => self.core.on_spread_response(key, Some(message)),
            Owner::Notify(key) if is_final => self.on_notify_response(key, Some(message)),
            Owner::Refer(key) if is_final => self.on_refer_response(key, Some(message)),
            Owner::Notice(leg) if is_final => self.on_notice_response(leg, message),
            Owner::Ping(key) => self.on_ping_response(key, message),
            Owner::ReferNotify(_)
            | Owner::Notice(_)
            | Owner::Refer(_)
            | Owner::Bye(_)
            | Owner::Relay { .. }
            | Owner::Spread(_)
            | Owner::Notify(_)
            | Owner::Register(_)
            | Owner::Served(_)
            | Owner::Aside(_)
            | Owner::Nobody => {}
        }
    }

    /// A request of ours got no response.
    fn on_no_response(&mut self, owner: Owner, status: StatusCode) {
        match owner {
            Owner::Invite(leg) => self.core.on_leg_failed(leg, status, None),
            Owner::Reinvite(leg, purpose) | Owner::Update(leg, purpose) => {
                self.core.on_modify_timeout(leg, purpose);
            }
            Owner::Bye(leg) => self.core.on_bye_done(leg),
            Owner::Relay { server, .. } => self.core.on_pass_response(server, None),
            Owner::Spread(key) => self.core.on_spread_response(key, None),
            Owner::Notify(key) => self.on_notify_response(key, None),
            Owner::Refer(key) => self.on_refer_response(key, None),
            Owner::Ping(key) => self.on_no_ping_response(key, status),
            Owner::Register(key) => self.on_no_register_response(key, status),
            Owner::ReferNotify(_) | Owner::Notice(_) | Owner::Served(_) | Owner::Aside(_) | Owner::Nobody => {
            }
        }
    }

    /// A new request, neither ACK nor CANCEL.
    fn on_request(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        if let Err(refusal) = self.admit(flow, message) {
            self.core.refuse_at_once(tx, &refusal);
            return;
        }
        if message.to_tag().is_some() {
            self.on_request_in_dialog(tx, flow, message);
            return;
        }
        // Of an INVITE it turns out later whether it is a new call.
        let renews = || *message.method() == Method::Register && self.is_registered_source(&flow, message);
        if *message.method() != Method::Invite
            && !renews()
            && let Err(refusal) = self.spare(message.method())
        {
            self.core.refuse_at_once(tx, &refusal);
            return;
        }
        match message.method() {
            Method::Register => self.on_register(tx, flow, message),
            Method::Invite => self.on_invite(tx, flow, message),
            Method::Options => self.on_options(tx, self.may_hear_of_timers(&flow)),
            Method::Subscribe => self.on_subscribe(tx, flow, message),
            Method::Message => self.on_message(tx, flow, message),
            Method::Publish => self.on_publish(tx, flow, message),
            Method::Notify if self.tells_of_messages(flow, message) => self.on_waiting(tx, flow, message),
            // RFC 3261 12.2.2: these live in dialogs only.
            Method::Bye | Method::Update | Method::Info | Method::Prack | Method::Notify => {
                self.core.refuse_at_once(tx, &Refusal::DialogUnknown);
            }
            Method::Refer | Method::Ack | Method::Cancel | Method::Other(_) => {
                self.core.refuse_at_once(tx, &Refusal::MethodNotAllowed);
            }
        }
    }

    /// RFC 3261 8.2.2.1: a scheme that we do not serve; `sips` among them where the request did not come over TLS, since
    /// who asks for it asks that no hop be in the clear (26.2.2).
    fn admit_scheme(&self, flow: Flow, uri: &str) -> Result<(), Refusal> {
        match Uri::parse(uri).map(|uri| uri.scheme()) {
            Ok(Scheme::Sips) if !matches!(flow.transport, Transport::Tls | Transport::Wss) => {
                Err(Refusal::SchemeUnsupported)
            }
            Ok(Scheme::Other) => Err(Refusal::SchemeUnsupported),
            // What cannot be read is judged by who needs it.
            Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel) | Err(_) => Ok(()),
        }
    }

    /// What every request must fulfil, whatever it asks.
    fn admit(&self, flow: Flow, message: &Message) -> Result<(), Refusal> {
        self.admit_scheme(flow, message.uri())?;
        // RFC 3261 16.3 step 3. A request for ourselves may have used up its hops (RFC 3261 8.2 says nothing of
        // Max-Forwards in a user agent), but what is left of one at 0 is a loop more often than an accident.
        if message.max_forwards().ok().flatten() == Some(0) && *message.method() != Method::Options {
            return Err(Refusal::TooManyHops);
        }
        // RFC 3891 3: Replaces in anything but an INVITE is 400.
        if message.has(HeaderName::Replaces) && *message.method() != Method::Invite {
            return Err(Refusal::Malformed("Replaces outside INVITE"));
        }
        if is_packed(message) {
            return Err(Refusal::EncodingUnsupported);
        }
        let mut missing = String::new();
        for value in message.values(HeaderName::Require) {
            let name = std::str::from_utf8(value).unwrap_or("?").trim();
            if !REQUIRABLE.iter().any(|known| known.eq_ignore_ascii_case(name)) && missing.len() < 256 {
                if !missing.is_empty() {
                    missing.push_str(", ");
                }
                missing.push_str(name);
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Refusal::ExtensionUnsupported(missing.into_boxed_str())) }
    }

    /// Whether who is at the other end of `flow` is told that we know session timers.
    fn may_hear_of_timers(&self, flow: &Flow) -> bool {
        let settings = &self.core.settings;
        let trunk = settings.trunk_of(flow).and_then(|index| settings.trunks.get(index));
        trunk.is_none_or(|trunk| trunk.policy.session.mode != Mode::Off)
    }

    /// RFC 3261 11.2: what we can do; also what a peer's keep-alive is answered with.
    fn on_options(&mut self, tx: ServerTx, has_timer: bool) {
        let tag = self.core.transactions.stateless_tag(tx);
        let status = if self.is_draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let Some(mut writer) = self.core.reply(tx, status, &tag) else { return };
        if self.is_draining {
            write_refusal(&mut writer, &Refusal::Draining, &self.core.settings);
        }
        writer.header(&HeaderName::Allow, ALLOW);
        writer.header(&HeaderName::Supported, supported(has_timer, true));
        writer.header(&HeaderName::Accept, "application/sdp");
        writer.header(&HeaderName::AcceptEncoding, "identity");
        writer.header(&HeaderName::AllowEvents, Event::ALLOWED);
        let bytes = writer.finish();
        self.core.respond_at_once(tx, bytes);
    }

    /// A request in a dialog: of a leg, of a subscription, or of nothing.
    fn on_request_in_dialog(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        let Some(leg) = self.core.leg_of(message) else {
            let is_served = match message.method() {
                Method::Subscribe => self.on_resubscribe(tx, flow, message),
                Method::Notify => self.on_referral_notify(tx, flow, message),
                _ => false,
            };
            if is_served {
                return;
            }
            self.core.refuse_at_once(tx, &Refusal::DialogUnknown);
            return;
        };
        let is_elsewhere = !self.is_of_leg(leg, flow, message);
        if is_elsewhere {
            // Call-ID and both tags are right, the source is another: credentials of the device, or no entry (threats:
            // hijack). A handset that many use is no other device of its user.
            let proven = self.authenticate_device(tx, flow, message);
            let Some((account, device)) = proven else { return };
            let proven = Party::User { account, device };
            let owner = self.core.legs.get(leg).and_then(|leg| leg.party.device());
            if owner.is_none() || owner != proven.device() {
                self.core.refuse(tx, &Refusal::DialogUnknown, message.to_tag());
                return;
            }
        }
        let Some(found) = self.core.legs.get_mut(leg) else { return };
        if let Err(refusal) = found.dialog.accept(message) {
            let tag = found.dialog.local_tag.clone();
            self.core.refuse(tx, &refusal, Some(&tag));
            return;
        }
        if is_elsewhere {
            self.core.move_leg(leg, flow);
        }
        self.on_leg_request(leg, tx, message);
    }

    /// Whether a request in the dialog of `leg` comes from where the dialog is.
    fn is_of_leg(&self, leg: LegHandle, flow: Flow, message: &Message) -> bool {
        let Some(found) = self.core.legs.get(leg) else { return false };
        let known = found.dialog.flow;
        if known == flow || (known.transport == flow.transport && known.peer == flow.peer) {
            return true;
        }
        match &found.party {
            // A trunk may answer from any of its addresses.
            Party::Trunk { index, .. } => {
                let trunk = self.core.settings.trunks.get(*index);
                self.core.settings.trunk_of(&flow) == Some(*index)
                    || trunk.is_some_and(|trunk| trunk.is_gone && trunk.is_at(flow.peer))
                    || (!flow.transport.is_web() && self.core.targets.has(*index, flow.peer.ip()))
            }
            // A phone that sends from another port of its host than it receives at is of the same host; its
            // BYE can do no more than the host could. Anything else has to prove itself.
            Party::User { .. } => known.peer.ip() == flow.peer.ip() && *message.method() == Method::Bye,
            Party::Service(_) => false,
        }
    }

    fn on_leg_request(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) {
        if *message.method() == Method::Bye {
            self.core.on_bye(leg, tx, message);
            return;
        }
        if let Err(held) = self.check_hold_off_in_dialog(leg, message.method()) {
            self.refuse_in_dialog(leg, tx, &held);
            return;
        }
        // Who asks for something in its dialog is alive.
        self.core.on_leg_found(leg, false);
        let result = match message.method() {
            Method::Invite => self.core.on_reinvite(leg, tx, message),
            Method::Update => self.core.on_update(leg, tx, message),
            Method::Refer => self.on_refer(leg, tx, message),
            Method::Info => self.on_info(leg, tx, message),
            Method::Options => {
                let has_timer = self.core.legs.get(leg).is_none_or(|leg| leg.session.is_known());
                self.on_options(tx, has_timer);
                Ok(())
            }
            Method::Message | Method::Other(_) => self.core.on_pass(leg, tx, message),
            // The subscriptions that we have are dialogs of their own. What another one says would be believed by the
            // phone at the other end: restart, messages wait, the transfer is done.
            Method::Notify => Err(Refusal::BadEvent),
            Method::Subscribe => self.on_subscribe_in_dialog(leg, tx, message),
            Method::Prack => self.core.on_prack(leg, tx, message),
            Method::Register | Method::Publish | Method::Ack | Method::Cancel | Method::Bye => {
                Err(Refusal::MethodNotAllowed)
            }
        };
        if let Err(refusal) = result {
            self.refuse_in_dialog(leg, tx, &refusal);
        }
    }

    pub(super) fn refuse_in_dialog(&mut self, leg: LegHandle, tx: ServerTx, refusal: &Refusal) {
        let tag = self.core.legs.get(leg).map(|leg| leg.dialog.local_tag.clone());
        self.core.refuse(tx, refusal, tag.as_deref());
    }

    /// A MESSAGE outside dialogs: from one user to the devices of another.
    fn on_message(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        let Some(party) = self.authenticate(tx, flow, message) else { return };
        if let Err(refusal) = self.pass_message(tx, flow, message, &party) {
            self.core.refuse(tx, &refusal, None);
        }
    }

    /// Whether a NOTIFY is a word of waiting messages (RFC 3842) from a trunk, which sends it without a subscription.
    fn tells_of_messages(&self, flow: Flow, message: &Message) -> bool {
        let trunk = self.trunk_of(&flow, message);
        let trunk = trunk.and_then(|(index, _)| self.core.settings.trunks.get(index));
        let event = message.header(HeaderName::Event).and_then(|header| header.value_str().ok());
        let package = event.as_deref().and_then(|event| event.split(';').next()).unwrap_or_default();
        trunk.is_some_and(|trunk| trunk.policy.may_notify)
            && package.trim().eq_ignore_ascii_case("message-summary")
    }

    fn on_waiting(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        if let Err(refusal) = self.tell_waiting(tx, flow, message) {
            self.core.refuse(tx, &refusal, None);
        }
    }

    /// Who has subscribed is told in that subscription, every other device by a NOTIFY like the one that came.
    fn tell_waiting(&mut self, tx: ServerTx, flow: Flow, message: &Message) -> Result<(), Refusal> {
        let (index, line) = self.trunk_of(&flow, message).ok_or(Refusal::NotAuthorised)?;
        let trunk = self.core.settings.trunks.get(index).ok_or(Refusal::NotAuthorised)?;
        let name = &*trunk.name;
        let kind = CallerKind::Trunk { name, number: "", is_transferor: false };
        let by = Caller { kind, address: Some(flow.peer.ip()) };
        let Recipients { to, users, mut bindings, otherwise } =
            self.recipients(message, Some((index, line)), by)?;
        let mut told = Vec::new();
        for user in users {
            told.extend(self.on_messages_waiting(&user, &message.body()));
        }
        bindings.retain(|binding| !told.iter().any(|device| **device == *binding.device));
        if bindings.is_empty() && !told.is_empty() {
            let tag = self.core.random.tag();
            self.core.respond_plain(tx, StatusCode::OK, &tag);
            return Ok(());
        }
        if bindings.is_empty() {
            return Err(otherwise);
        }
        let from = format!("<sip:{}>", self.core.settings.domain);
        self.core.spread(tx, message, Across::Border, (&from, &to), &bindings);
        Ok(())
    }

    fn pass_message(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        message: &Message,
        party: &Party,
    ) -> Result<(), Refusal> {
        if let Some(by) = super::moves::device_of(party) {
            self.held(&by, Access::Other, "MESSAGE")?;
        }
        let domain = &self.core.settings.domain;
        let from = match party {
            Party::User { account, .. } => {
                crate::call::setup::user_value(account.shown(), account.number(), domain)
            }
            Party::Trunk { .. } | Party::Service(_) => {
                let number = self.core.caller_here(party, message);
                self.core.caller_value(party, message, number.as_deref())
            }
        };
        let said = self.core.caller_number(party, message);
        let by = self.caller(party, &said, flow)?;
        let trunk = match party {
            Party::Trunk { index, line, .. } => Some((*index, line.clone())),
            Party::User { .. } | Party::Service(_) => None,
        };
        let across = Across::border_if(trunk.is_some());
        let Recipients { to, bindings, otherwise, .. } = self.recipients(message, trunk, by)?;
        if bindings.is_empty() {
            return Err(otherwise);
        }
        self.core.spread(tx, message, across, (&from, &to), &bindings);
        Ok(())
    }

    /// Whom a request outside dialogs is for: as a call, but that it rings nobody, so of the targets the first that has
    /// devices for it gets it, all members of a group at once.
    fn recipients(
        &self,
        message: &Message,
        trunk: Option<(usize, Option<Arc<Account>>)>,
        by: Caller<'_>,
    ) -> Result<Recipients, Refusal> {
        let uri = Uri::parse(message.uri()).map_err(|_| Refusal::DestinationUnknown)?;
        let (number, plan) = match trunk {
            // The Contact that we registered at a PBX names the user.
            Some((_, Some(account))) => {
                (Box::from(account.number()), Plan::to(Destination::User { account, device: None }))
            }
            trunk => {
                let mut number = dialled(&uri)?;
                if let Some((index, _)) = trunk {
                    number = self.called_here(index, number).0;
                }
                let dialling = Dialling { asks: Asks::Text, ..self.dialling(&number, by) };
                let plan = self.core.route(&uri, &dialling)?;
                (number, plan)
            }
        };
        let is_notify = *message.method() == Method::Notify;
        let otherwise = plan
            .last_word
            .map_or(Refusal::Unreachable, |last| Refusal::Ruled { status: last.status, reason: last.reason });
        let mut nobody = None;
        for stop in plan.stops {
            let members = match stop.to {
                Destination::User { account, device } => vec![(account, device)],
                Destination::Group(members) => members,
                Destination::Trunks(_) | Destination::Service(_) => continue,
            };
            let of_each = members.iter().flat_map(|member| self.takers(member, is_notify));
            let bindings: Vec<Binding> = of_each.take(MAX_GROUP_FORKS).cloned().collect();
            let domain = &self.core.settings.domain;
            let to = match &members[..] {
                [(account, _)] => crate::call::setup::user_value(account.shown(), account.number(), domain),
                _ => format!("<sip:{}@{domain}>", escaped_user(&number)).into(),
            };
            let users = members.iter().map(|(account, _)| Arc::from(&*account.name)).collect();
            let found = Recipients { to, users, bindings, otherwise: otherwise.clone() };
            if !found.bindings.is_empty() {
                return Ok(found);
            }
            nobody.get_or_insert(found);
        }
        let is_ruled = matches!(otherwise, Refusal::Ruled { .. });
        nobody.ok_or(if is_ruled { otherwise } else { Refusal::DestinationUnknown })
    }

    /// The devices of a user that take such a request: all, or the one that is named.
    fn takers<'a>(
        &'a self,
        (account, device): &'a Member,
        is_notify: bool,
    ) -> impl Iterator<Item = &'a Binding> {
        let wanted = device.and_then(|index| account.devices.get(index)).map(|device| &device.id);
        let takes_it = move |binding: &&Binding| {
            let quirks = self.core.settings.quirks.of(&binding.user_agent);
            let is_meant = wanted.is_none_or(|id| **id == *binding.device);
            is_meant && if is_notify { quirks.mwi } else { quirks.message }
        };
        let found = self.core.registrar.lookup(&account.name, self.core.now.at).into_iter();
        found.filter(takes_it).take(self.core.settings.limits.forks)
    }

    /// A connection is gone: transactions on it fail, browsers on it are unreachable; calls go on, since a phone
    /// comes back or its media tells that it does not.
    pub(super) fn on_flow_closed(&mut self, flow: Flow) {
        self.probe_flow(flow);
        let core = &mut self.core;
        core.transactions.flow_closed(core.now.at, flow, &mut core.effects);
        core.registrar.flow_closed(&flow, core.now, &mut self.registrations);
        self.on_trunk_flow_closed(flow);
    }
}

/// Whether a body that we have to read, or answer for, is packed.
fn is_packed(message: &Message) -> bool {
    use Method::{Invite, Message as Text, Prack, Update};
    let is_read = matches!(message.method(), Invite | Update | Prack | Text) && !message.body().is_empty();
    is_read
        && message.values(HeaderName::ContentEncoding).any(|value| !value.eq_ignore_ascii_case(b"identity"))
}
