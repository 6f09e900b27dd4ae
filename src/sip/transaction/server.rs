//! The server half of the layer: requests come in, the user answers.

use bytes::Bytes;

use super::action::{Action, Actions};
use super::key::Key;
use super::layer::{Transactions, Wakeup};
use super::server_invite::{self, ServerInvite};
use super::server_non_invite::{self, ServerNonInvite};
use super::{Effect, ServerTx};
use crate::base::{Handle, Timestamp};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, StatusCode, Via};

/// sent-by without a port (RFC 3261 18.2.2).
const DEFAULT_PORT: u16 = 5060;
/// So large a part of the table is for requests in dialogs alone.
const RESERVE: usize = 8;

/// A server transaction.
pub(super) struct Entry<O> {
    key: Key,
    merged: Option<Key>,
    owner: Option<O>,
    /// Kept until the final response.
    request: Option<Message>,
    flow: Flow,
    reply_port: u16,
    machine: Machine,
    /// The earliest wake-up that is asked for.
    wakeup: Timestamp,
}

enum Machine {
    Invite(ServerInvite),
    Other(ServerNonInvite),
}

impl Machine {
    fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Invite(machine) => machine.poll_timeout(),
            Self::Other(machine) => machine.poll_timeout(),
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_terminated(),
            Self::Other(machine) => machine.is_terminated(),
        }
    }

    fn is_proceeding(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_proceeding(),
            Self::Other(machine) => machine.is_proceeding(),
        }
    }
}

impl<O> Entry<O> {
    fn reply_flow(&self) -> Flow {
        let mut flow = self.flow;
        flow.peer.set_port(self.reply_port);
        flow
    }
}

/// What a user may see of a server transaction.
#[derive(Clone, Copy, Debug)]
pub struct ServerView<'a, O> {
    /// As set.
    pub owner: Option<O>,
    /// Where the request came from.
    pub flow: Flow,
    /// The request, until its final response.
    pub request: Option<&'a Message>,
}

/// Whether a response opens the dialog of an INVITE, so that it repeats the Record-Route of that (RFC 3261 12.1.1): by it the
/// caller learns its route set, without which proxies on the way see nothing of the dialog.
fn opens_dialog(request: &Message, status: StatusCode) -> bool {
    *request.method() == Method::Invite
        && request.to_tag().is_none()
        && (101..=299).contains(&status.as_u16())
}

/// A handle for outside: it does not tell what an entry is.
fn public<O>(handle: Handle<Entry<O>>) -> ServerTx {
    Handle::from_bits(handle.to_bits())
}

fn private<O>(tx: ServerTx) -> Handle<Entry<O>> {
    Handle::from_bits(tx.to_bits())
}

impl<O: Copy> Transactions<O> {
    /// Looks at a server transaction.
    #[must_use]
    pub fn server(&self, tx: ServerTx) -> Option<ServerView<'_, O>> {
        let entry = self.servers.get(private(tx))?;
        Some(ServerView { owner: entry.owner, flow: entry.flow, request: entry.request.as_ref() })
    }

    /// Says whose it is; later effects carry it.
    pub fn set_owner(&mut self, tx: ServerTx, owner: O) {
        if let Some(entry) = self.servers.get_mut(private(tx)) {
            entry.owner = Some(owner);
        }
    }

    /// The start of a response: Via (with received and rport), From, To (with `to_tag` if it has none), Call-ID
    /// and CSeq. `None` once the final response was given.
    #[must_use]
    pub fn reply(
        &self,
        tx: ServerTx,
        status: StatusCode,
        reason: Option<&str>,
        to_tag: Option<&str>,
    ) -> Option<MessageWriter<'static>> {
        let entry = self.servers.get(private(tx))?;
        let request = entry.request.as_ref()?;
        let mut writer = MessageWriter::reply_from(request, status, reason, entry.flow.peer, to_tag);
        if opens_dialog(request, status) {
            for header in request.all(HeaderName::RecordRoute) {
                writer.copy(&header);
            }
        }
        Some(writer)
    }

    /// The start of a response to a request that has no transaction. Its To tag is a function of the request, so
    /// that a repeated request gets the same one (RFC 3261 8.2.7).
    #[must_use]
    pub fn stateless_reply(
        &self,
        flow: &Flow,
        message: &Message,
        status: StatusCode,
    ) -> MessageWriter<'static> {
        let tag = match message.via() {
            Ok(via) => self.keys.request(message, &via, flow.peer.ip(), message.method()).short(),
            Err(_) => 0,
        };
        MessageWriter::reply_from(message, status, None, flow.peer, Some(&format!("{tag:016x}")))
    }

    /// Where the answer to a request goes (RFC 3261 18.2.2, RFC 3581 4): back on its connection; for datagrams to
    /// its source address, and there to the port it came from if `rport` asks so, else to that of sent-by.
    /// `maddr` is not followed: it would let anyone aim our answers at a third party.
    #[must_use]
    pub fn reply_flow(flow: &Flow, via: &Via<'_>) -> Flow {
        let mut reply = *flow;
        reply.peer.set_port(reply_port(flow, via));
        reply
    }

    pub(super) fn receive_request(
        &mut self,
        now: Timestamp,
        flow: Flow,
        message: Message,
        out: &mut Vec<Effect<O>>,
    ) {
        let Ok(via) = message.via() else {
            self.counters.unroutable += 1;
            return;
        };
        if *message.method() == Method::Ack {
            return self.receive_ack(now, flow, message, out);
        }
        let key = self.keys.request(&message, &via, flow.peer.ip(), message.method());
        if let Some(handle) = self.server_keys.get(&key).copied() {
            self.counters.resent(message.method(), 1);
            return self.repeated(now, handle, out);
        }
        let reply_port = reply_port(&flow, &via);
        if *message.method() == Method::Cancel {
            return self.receive_cancel(now, flow, reply_port, key, message, out);
        }
        let merged = self.keys.merged(&message);
        if merged.is_some_and(|merged| self.merged_keys.contains_key(&merged)) {
            self.counters.merged += 1;
            return self.answer_at_once(&flow, reply_port, &message, StatusCode::LOOP_DETECTED, out);
        }
        // What is new does not take the room of what lives.
        let kept = if message.to_tag().is_some() { 0 } else { self.settings.max_servers / RESERVE };
        if self.servers.len() >= self.settings.max_servers - kept {
            self.counters.overloaded += 1;
            out.push(Effect::Overloaded { flow, message });
            return;
        }
        let machine = match message.method() {
            Method::Invite => Machine::Invite(ServerInvite::new(now + self.settings.trying)),
            _ => Machine::Other(ServerNonInvite::new()),
        };
        let handle = self.open(flow, reply_port, key, merged, message.clone(), machine);
        self.settle(now, handle, Actions::new(), None, out);
        out.push(Effect::Request { tx: public(handle), flow, message });
    }

    fn open(
        &mut self,
        flow: Flow,
        reply_port: u16,
        key: Key,
        merged: Option<Key>,
        request: Message,
        machine: Machine,
    ) -> Handle<Entry<O>> {
        self.counters.servers += 1;
        let handle = self.servers.insert(Entry {
            key,
            merged,
            owner: None,
            request: Some(request),
            flow,
            reply_port,
            machine,
            wakeup: Timestamp::NEVER,
        });
        self.server_keys.insert(key, handle);
        if let Some(merged) = merged {
            self.merged_keys.insert(merged, handle);
        }
        handle
    }

    fn repeated(&mut self, now: Timestamp, handle: Handle<Entry<O>>, out: &mut Vec<Effect<O>>) {
        self.counters.repeated += 1;
        let Some(entry) = self.servers.get_mut(handle) else { return };
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        match &mut entry.machine {
            Machine::Invite(machine) => {
                machine.handle(now, server_invite::Event::Invite, &pace, &mut actions)
            }
            Machine::Other(machine) => {
                machine.handle(now, server_non_invite::Event::Request, &pace, &mut actions);
            }
        }
        self.settle(now, handle, actions, None, out);
    }

    /// An ACK belongs to the INVITE whose refusal it acknowledges (17.2.3), or to a dialog.
    fn receive_ack(&mut self, now: Timestamp, flow: Flow, message: Message, out: &mut Vec<Effect<O>>) {
        let Some(handle) = self.invite_of(&flow, &message) else {
            out.push(Effect::Ack { flow, message });
            return;
        };
        let Some(entry) = self.servers.get_mut(handle) else { return };
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        if let Machine::Invite(machine) = &mut entry.machine {
            machine.handle(now, server_invite::Event::Ack, &pace, &mut actions);
        }
        self.settle(now, handle, actions, Some((flow, message)), out);
    }

    /// The INVITE transaction that an ACK or a CANCEL means.
    fn invite_of(&self, flow: &Flow, message: &Message) -> Option<Handle<Entry<O>>> {
        let via = message.via().ok()?;
        let ip = flow.peer.ip();
        let find = |key| self.server_keys.get(&key).copied();
        find(self.keys.request(message, &via, ip, &Method::Invite)).or_else(|| {
            // By RFC 2543's rules an ACK has the To tag of our answer, where the INVITE had none.
            let old = via.rfc3261_branch().is_none() && *message.method() == Method::Ack;
            old.then(|| find(self.keys.old_request(message, ip, &Method::Invite, None))).flatten()
        })
    }

    /// RFC 3261 9.2: 200 if there is what it cancels, else 481; the INVITE is its user's to end.
    fn receive_cancel(
        &mut self,
        now: Timestamp,
        flow: Flow,
        reply_port: u16,
        key: Key,
        message: Message,
        out: &mut Vec<Effect<O>>,
    ) {
        let found = self.invite_of(&flow, &message);
        let Some((invite, entry)) = found.and_then(|invite| Some((invite, self.servers.get(invite)?))) else {
            self.counters.cancels_unmatched += 1;
            let status = StatusCode::CALL_DOES_NOT_EXIST;
            return self.answer_at_once(&flow, reply_port, &message, status, out);
        };
        let cancelled = entry.machine.is_proceeding().then_some(Effect::Cancelled {
            tx: public(invite),
            owner: entry.owner,
            message: message.clone(),
        });
        // The To tag is to be that of the answers to the INVITE (9.2), if there was one.
        let tag = match &entry.machine {
            Machine::Invite(machine) => machine.last_response().and_then(to_tag_of),
            Machine::Other(_) => None,
        };
        let bytes = match tag {
            Some(tag) => {
                MessageWriter::reply_from(&message, StatusCode::OK, None, flow.peer, Some(&tag)).finish()
            }
            None => self.stateless_reply(&flow, &message, StatusCode::OK).finish(),
        };
        if self.servers.len() < self.settings.max_servers {
            let machine = Machine::Other(ServerNonInvite::new());
            let handle = self.open(flow, reply_port, key, None, message, machine);
            self.respond(now, public(handle), StatusCode::OK, bytes, out);
        } else {
            self.counters.overloaded += 1;
            let mut reply = flow;
            reply.peer.set_port(reply_port);
            out.push(Effect::Send { flow: reply, bytes });
        }
        out.extend(cancelled);
    }

    fn answer_at_once(
        &self,
        flow: &Flow,
        reply_port: u16,
        message: &Message,
        status: StatusCode,
        out: &mut Vec<Effect<O>>,
    ) {
        let bytes = self.stateless_reply(flow, message, status).finish();
        let mut reply = *flow;
        reply.peer.set_port(reply_port);
        out.push(Effect::Send { flow: reply, bytes });
    }

    fn send_trying(&mut self, now: Timestamp, handle: Handle<Entry<O>>, out: &mut Vec<Effect<O>>) {
        if let Some(trying) = self.reply(public(handle), StatusCode::TRYING, None, None) {
            self.respond(now, public(handle), StatusCode::TRYING, { trying }.finish(), out);
        }
    }

    /// Answers a request: `bytes` has `status` and was begun with [`Transactions::reply`].
    ///
    /// A 2xx to an INVITE is repeated on every transport until [`Transactions::acknowledge`] (RFC 3261 13.3.1.4),
    /// a refusal of one until its ACK. What comes after a final response is ignored, but for a further 2xx to an
    /// INVITE.
    pub fn respond(
        &mut self,
        now: Timestamp,
        tx: ServerTx,
        status: StatusCode,
        bytes: Bytes,
        out: &mut Vec<Effect<O>>,
    ) {
        let handle = private(tx);
        let Some(entry) = self.servers.get_mut(handle) else { return };
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        if !status.is_provisional() {
            entry.request = None;
        }
        // After a challenge the request comes again; clients that do not count CSeq up must not look merged.
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
            && let Some(merged) = entry.merged.take()
        {
            self.merged_keys.remove(&merged);
        }
        match &mut entry.machine {
            Machine::Invite(machine) => {
                machine.handle(now, server_invite::Event::Respond(status, bytes), &pace, &mut actions);
            }
            Machine::Other(machine) => {
                machine.handle(now, server_non_invite::Event::Respond(status, bytes), &pace, &mut actions);
            }
        }
        self.settle(now, handle, actions, None, out);
    }

    /// Our tag in an answer that is given without state: the same each time that the request comes (RFC 3261 8.2.7).
    #[must_use]
    pub fn stateless_tag(&self, tx: ServerTx) -> String {
        let short = self.servers.get(private(tx)).map_or(0, |entry| entry.key.short());
        format!("{short:016x}")
    }

    /// Answers a request and forgets it at once (RFC 3261 8.2.7): for challenges and other refusals that may be
    /// made anew when the request comes again, so that strangers cost no memory. The ACK of such a refusal comes
    /// as [`Effect::Ack`].
    pub fn respond_statelessly(&mut self, tx: ServerTx, bytes: Bytes, out: &mut Vec<Effect<O>>) {
        if let Some(entry) = self.close(private(tx)) {
            out.push(Effect::Send { flow: entry.reply_flow(), bytes });
        }
    }

    /// The ACK of the 2xx has come: it is not repeated any more. False where no 2xx waits for one.
    pub fn acknowledge(&mut self, tx: ServerTx) -> bool {
        let Some(entry) = self.servers.get_mut(private(tx)) else { return false };
        let Machine::Invite(machine) = &mut entry.machine else { return false };
        let waits = machine.waits_for_ack();
        let pace = self.paces.of(entry.flow.transport);
        // Acknowledging arms nothing, so it needs no clock.
        machine.handle(Timestamp::ZERO, server_invite::Event::Acknowledged, &pace, &mut Actions::new());
        waits
    }

    pub(super) fn wake_server(&mut self, now: Timestamp, tx: ServerTx, out: &mut Vec<Effect<O>>) {
        let handle = private(tx);
        let Some(entry) = self.servers.get_mut(handle) else { return };
        entry.wakeup = Timestamp::NEVER;
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        match &mut entry.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &pace, &mut actions),
            Machine::Other(machine) => machine.handle_timeout(now),
        }
        let sends = actions.iter().filter(|action| matches!(action, Action::Send(_))).count();
        // Answers to other requests are sent again when those come again.
        self.counters.resent(&Method::Invite, sends);
        self.settle(now, handle, actions, None, out);
    }

    /// Carries out what a machine asked for, then closes its transaction or sees that it is woken in time.
    fn settle(
        &mut self,
        now: Timestamp,
        handle: Handle<Entry<O>>,
        actions: Actions,
        message: Option<(Flow, Message)>,
        out: &mut Vec<Effect<O>>,
    ) {
        let Some(entry) = self.servers.get_mut(handle) else { return };
        let (reply_flow, owner, mut message) = (entry.reply_flow(), entry.owner, message);
        let mut trying = false;
        for action in actions {
            match action {
                Action::Send(bytes) => out.push(Effect::Send { flow: reply_flow, bytes }),
                Action::Deliver => {
                    out.extend(message.take().map(|(flow, message)| Effect::Ack { flow, message }));
                }
                Action::Trying => trying = true,
                Action::AckTimeout(answered) => {
                    self.counters.unacknowledged += 1;
                    out.push(Effect::AckTimeout { tx: public(handle), owner, answered });
                }
                // What only clients ask for.
                Action::SendOn(..) | Action::Cancel(_) | Action::TimedOut | Action::Failed => {}
            }
        }
        if entry.machine.is_terminated() {
            self.close(handle);
            return;
        }
        let (deadline, whom) = (entry.machine.poll_timeout(), Wakeup::Server(public(handle)));
        self.wakeups.ask(&mut entry.wakeup, deadline, whom);
        if trying {
            self.send_trying(now, handle, out);
        }
    }

    fn close(&mut self, handle: Handle<Entry<O>>) -> Option<Entry<O>> {
        let entry = self.servers.remove(handle)?;
        self.server_keys.remove(&entry.key);
        if let Some(merged) = &entry.merged {
            self.merged_keys.remove(merged);
        }
        Some(entry)
    }
}

fn reply_port(flow: &Flow, via: &Via<'_>) -> u16 {
    if flow.transport == Transport::Udp && via.rport().is_none() {
        via.port.unwrap_or(DEFAULT_PORT)
    } else {
        flow.peer.port()
    }
}

fn to_tag_of(response: &Bytes) -> Option<String> {
    let response = Message::parse(response.clone(), &crate::wire::sip::Limits::default()).ok()?;
    response.to_tag().map(str::to_owned)
}
