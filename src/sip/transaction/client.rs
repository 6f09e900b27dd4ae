//! The client half of the layer: the user's requests go out, responses come in.

use bytes::Bytes;

use super::action::{Action, Actions};
use super::client_invite::{self, ClientInvite};
use super::client_non_invite::{self, ClientNonInvite};
use super::key::Key;
use super::layer::{Transactions, Wakeup};
use super::{ClientTx, Effect, Sent, build};
use crate::base::{Handle, Timestamp};
use crate::sip::Flow;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// A client transaction.
pub(super) struct Entry<O> {
    key: Key,
    /// Whom to tell; nobody for a CANCEL, and after [`Transactions::forget`].
    owner: Option<O>,
    flow: Flow,
    machine: Machine,
    /// The request, until its final response.
    sent: Bytes,
    /// How many challenges it answers, with those before it.
    answers: u8,
    /// The earliest wake-up that is asked for.
    wakeup: Timestamp,
}

enum Machine {
    Invite(ClientInvite),
    Other(ClientNonInvite),
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
}

fn public<O>(handle: Handle<Entry<O>>) -> ClientTx {
    Handle::from_bits(handle.to_bits())
}

fn private<O>(tx: ClientTx) -> Handle<Entry<O>> {
    Handle::from_bits(tx.to_bits())
}

/// Names nothing, now and later: generations start at 1.
const NOWHERE: ClientTx = Handle::from_bits(0);

impl<O: Copy> Transactions<O> {
    /// Sends a request in a transaction of its own. `branch` is that of the top Via in `bytes`, minted by the
    /// user, unique. Not for ACK (see [`Transactions::acked`]) and CANCEL (see [`Transactions::cancel`]).
    ///
    /// Follows exactly one of a final [`Effect::Response`], [`Effect::Timeout`] or [`Effect::Failed`], unless
    /// it is forgotten. Without room it is [`Effect::Failed`] at once.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different thing, and a struct would be made here only"
    )]
    pub fn request(
        &mut self,
        now: Timestamp,
        flow: Flow,
        method: &Method,
        branch: &str,
        bytes: Bytes,
        owner: O,
        out: &mut Vec<Effect<O>>,
    ) -> ClientTx {
        if self.clients.len() >= self.settings.max_clients {
            self.counters.overloaded += 1;
            out.push(Effect::Failed { tx: NOWHERE, owner });
            return NOWHERE;
        }
        let key = self.keys.response(branch, method);
        let (pace, mut actions) = (self.paces.of(flow.transport), Actions::new());
        let sent = bytes.clone();
        let machine = match method {
            Method::Invite => Machine::Invite(ClientInvite::new(now, bytes, &pace, &mut actions)),
            _ => Machine::Other(ClientNonInvite::new(now, bytes, &pace, &mut actions)),
        };
        let handle = self.open_client(flow, key, Some(owner), machine);
        if let Some(entry) = self.clients.get_mut(handle) {
            entry.sent = sent;
        }
        self.settle_client(now, handle, actions, None, out);
        public(handle)
    }

    fn open_client(&mut self, flow: Flow, key: Key, owner: Option<O>, machine: Machine) -> Handle<Entry<O>> {
        self.counters.clients += 1;
        let handle = self.clients.insert(Entry {
            key,
            owner,
            flow,
            machine,
            sent: Bytes::new(),
            answers: 0,
            wakeup: Timestamp::NEVER,
        });
        self.client_keys.insert(key, handle);
        if flow.transport.is_reliable() {
            self.on_streams.insert((flow, handle));
        }
        handle
    }

    pub(super) fn receive_response(
        &mut self,
        now: Timestamp,
        flow: Flow,
        message: Message,
        out: &mut Vec<Effect<O>>,
    ) {
        let (Ok(via), Some(status)) = (message.via(), message.status()) else {
            self.counters.unroutable += 1;
            return;
        };
        // A second Via means that it was meant for somebody else (RFC 3261 8.1.3.3).
        if message.values(HeaderName::Via).nth(1).is_some() {
            self.counters.unroutable += 1;
            return;
        }
        let key = self.keys.response(via.branch().unwrap_or_default(), message.method());
        let Some((handle, entry)) = self
            .client_keys
            .get(&key)
            .copied()
            .and_then(|handle| Some((handle, self.clients.get_mut(handle)?)))
        else {
            self.counters.strays += 1;
            out.push(Effect::Stray { flow, message });
            return;
        };
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        match &mut entry.machine {
            Machine::Invite(machine) => {
                if status == StatusCode::TRYING && !machine.is_calling() {
                    self.counters.repeated += 1;
                    return;
                }
                let event = if status.is_provisional() {
                    client_invite::Event::Provisional
                } else if status.is_success() {
                    client_invite::Event::Accepted { fork: self.keys.fork(message.to_tag()) }
                } else {
                    // Once there is one, the machine keeps its ACK.
                    let ack = machine.request().map(|invite| build::ack(invite, &message));
                    let Some(ack) = ack.unwrap_or_else(|| Some(Bytes::new())) else {
                        self.counters.unroutable += 1;
                        return;
                    };
                    client_invite::Event::Refused { ack }
                };
                machine.handle(now, event, &pace, &mut actions);
            }
            Machine::Other(machine) => {
                let event = if status.is_provisional() {
                    client_non_invite::Event::Provisional
                } else {
                    client_non_invite::Event::Final
                };
                machine.handle(now, &event, &pace, &mut actions);
            }
        }
        if !actions.contains(&Action::Deliver) {
            self.counters.repeated += 1;
        }
        self.settle_client(now, handle, actions, Some((flow, message)), out);
    }

    /// Acknowledges a 2xx to our INVITE. `ack` is the dialog's, `to_tag` the 2xx's, `flow` where the dialog's
    /// requests go. It is sent, and sent again whenever that 2xx is repeated (RFC 3261 13.2.2.4).
    pub fn acked(
        &mut self,
        now: Timestamp,
        tx: ClientTx,
        to_tag: Option<&str>,
        flow: Flow,
        ack: Bytes,
        out: &mut Vec<Effect<O>>,
    ) {
        let handle = private(tx);
        match self.clients.get_mut(handle) {
            Some(Entry { machine: Machine::Invite(machine), flow: invite_flow, .. }) => {
                let (pace, mut actions) = (self.paces.of(invite_flow.transport), Actions::new());
                let event = client_invite::Event::Acked { fork: self.keys.fork(to_tag), flow, ack };
                machine.handle(now, event, &pace, &mut actions);
                self.settle_client(now, handle, actions, None, out);
            }
            // The transaction is over: this one time is all.
            _ => out.push(Effect::Send { flow, bytes: ack }),
        }
    }

    /// Gives up an INVITE (RFC 3261 9.1): its CANCEL goes out now, or with the first provisional response, or
    /// not at all if a final one is first. The INVITE's own end still follows: 487 as a rule, a 2xx that crossed
    /// the CANCEL, or [`Effect::Timeout`] after 64*T1. `reason` is a Reason value (RFC 3326).
    pub fn cancel(&mut self, now: Timestamp, tx: ClientTx, reason: Option<&str>, out: &mut Vec<Effect<O>>) {
        let handle = private(tx);
        let Some(entry) = self.clients.get_mut(handle) else { return };
        let Machine::Invite(machine) = &mut entry.machine else { return };
        let Some(cancel) = machine.request().and_then(|invite| build::cancel(invite, reason)) else { return };
        // What is given up is not sent again, whatever it is answered with.
        entry.sent = Bytes::new();
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        machine.handle(now, client_invite::Event::Cancel(cancel), &pace, &mut actions);
        self.settle_client(now, handle, actions, None, out);
    }

    /// Takes note of how many challenges a request answers, with those before it.
    pub fn set_answers(&mut self, tx: ClientTx, answers: u8) {
        if let Some(entry) = self.clients.get_mut(private(tx)) {
            entry.answers = answers;
        }
    }

    /// Whose a request is that has no final answer yet.
    #[must_use]
    pub fn client_owner(&self, tx: ClientTx) -> Option<O> {
        self.clients.get(private(tx))?.owner
    }

    /// Nobody wants to hear of it any more. The transaction does its duty and ends by itself; a 2xx to a
    /// forgotten INVITE comes as [`Effect::Stray`], for somebody must acknowledge it and hang up.
    pub fn forget(&mut self, tx: ClientTx) {
        if let Some(entry) = self.clients.get_mut(private(tx)) {
            entry.owner = None;
        }
    }

    /// Gives up a request other than INVITE: it is not sent again, and its answer is [`Effect::Stray`].
    pub fn abandon(&mut self, tx: ClientTx) {
        let handle = private(tx);
        if self.clients.get(handle).is_some_and(|entry| matches!(entry.machine, Machine::Other(_))) {
            self.close_client(handle);
        }
    }

    /// A stream is gone: what waits for an answer on it has failed (RFC 3261 17.1.4).
    pub fn flow_closed(&mut self, now: Timestamp, flow: Flow, out: &mut Vec<Effect<O>>) {
        let (first, last) = (Handle::from_bits(0), Handle::from_bits(u64::MAX));
        let on_it: Vec<_> = self.on_streams.range((flow, first)..=(flow, last)).map(|(_, tx)| *tx).collect();
        for handle in on_it {
            let Some(entry) = self.clients.get_mut(handle) else { continue };
            let (pace, mut actions) = (self.paces.of(flow.transport), Actions::new());
            match &mut entry.machine {
                Machine::Invite(machine) => {
                    machine.handle(now, client_invite::Event::TransportError, &pace, &mut actions);
                }
                Machine::Other(machine) => {
                    machine.handle(now, &client_non_invite::Event::TransportError, &pace, &mut actions);
                }
            }
            self.settle_client(now, handle, actions, None, out);
        }
    }

    pub(super) fn wake_client(&mut self, now: Timestamp, tx: ClientTx, out: &mut Vec<Effect<O>>) {
        let handle = private(tx);
        let Some(entry) = self.clients.get_mut(handle) else { return };
        entry.wakeup = Timestamp::NEVER;
        let (pace, mut actions) = (self.paces.of(entry.flow.transport), Actions::new());
        match &mut entry.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &mut actions),
            Machine::Other(machine) => machine.handle_timeout(now, &pace, &mut actions),
        }
        for action in &actions {
            if let Action::Send(bytes) = action {
                let token = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
                if let Some(method) = Method::from_bytes(token) {
                    self.counters.resent(&method, 1);
                }
            }
        }
        self.settle_client(now, handle, actions, None, out);
    }

    /// Carries out what a machine asked for, then closes its transaction or sees that it is woken in time.
    fn settle_client(
        &mut self,
        now: Timestamp,
        handle: Handle<Entry<O>>,
        actions: Actions,
        message: Option<(Flow, Message)>,
        out: &mut Vec<Effect<O>>,
    ) {
        let Some(entry) = self.clients.get_mut(handle) else { return };
        let (flow, owner, tx, mut message) = (entry.flow, entry.owner, public(handle), message);
        let mut cancel = None;
        for action in actions {
            match action {
                Action::Send(bytes) => out.push(Effect::Send { flow, bytes }),
                Action::SendOn(flow, bytes) => out.push(Effect::Send { flow, bytes }),
                Action::Cancel(bytes) => cancel = Some(bytes),
                Action::Deliver => {
                    if let Some((flow, message)) = message.take() {
                        let sent = entry.challenged(&message);
                        out.extend(delivery(tx, owner, flow, message, sent));
                    }
                }
                Action::TimedOut => {
                    self.counters.timeouts += 1;
                    out.extend(owner.map(|owner| Effect::Timeout { tx, owner }));
                }
                Action::Failed => out.extend(owner.map(|owner| Effect::Failed { tx, owner })),
                // What only servers ask for.
                Action::Trying | Action::AckTimeout(_) => {}
            }
        }
        if entry.machine.is_terminated() {
            self.close_client(handle);
        } else {
            let (deadline, whom) = (entry.machine.poll_timeout(), Wakeup::Client(tx));
            self.wakeups.ask(&mut entry.wakeup, deadline, whom);
        }
        if let Some(cancel) = cancel {
            self.start_cancel(now, flow, cancel, out);
        }
    }

    /// The CANCEL's own transaction (9.1). Nobody hears of its end: what counts is the INVITE's. Not counted
    /// against the bound, for there is at most one for each INVITE.
    fn start_cancel(&mut self, now: Timestamp, flow: Flow, cancel: Bytes, out: &mut Vec<Effect<O>>) {
        let Some(branch) = build::branch(&cancel) else { return };
        let key = self.keys.response(&branch, &Method::Cancel);
        let (pace, mut actions) = (self.paces.of(flow.transport), Actions::new());
        let machine = Machine::Other(ClientNonInvite::new(now, cancel, &pace, &mut actions));
        let handle = self.open_client(flow, key, None, machine);
        self.settle_client(now, handle, actions, None, out);
    }

    fn close_client(&mut self, handle: Handle<Entry<O>>) {
        let Some(entry) = self.clients.remove(handle) else { return };
        self.client_keys.remove(&entry.key);
        if entry.flow.transport.is_reliable() {
            self.on_streams.remove(&(entry.flow, handle));
        }
    }
}

impl<O> Entry<O> {
    /// The request, where `response` challenges it; what has any other final response is not needed again.
    fn challenged(&mut self, response: &Message) -> Option<Sent> {
        let status = response.status().filter(|status| status.is_final())?;
        let bytes = std::mem::take(&mut self.sent);
        let is_challenge =
            matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        (is_challenge && !bytes.is_empty()).then_some(Sent { bytes, answers: self.answers })
    }
}

fn delivery<O>(
    tx: ClientTx,
    owner: Option<O>,
    flow: Flow,
    message: Message,
    sent: Option<Sent>,
) -> Option<Effect<O>> {
    match owner {
        Some(owner) => Some(Effect::Response { tx, owner, flow, message, sent }),
        None => {
            let accepted = *message.method() == Method::Invite && message.status()?.is_success();
            accepted.then_some(Effect::Stray { flow, message })
        }
    }
}
