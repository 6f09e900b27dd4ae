//! Reliable provisional responses (RFC 3262), on each leg by itself: ours toward a caller, a callee's toward us.
//!
//! ```text
//!  caller ── INVITE, Supported or Require: 100rel ──► segue ── INVITE, Supported: 100rel ──► callee
//!                                                     segue ◄── 183, Require: 100rel, RSeq ─ callee
//!                                                     segue ── PRACK, RAck ────────────────► callee ── 200
//!  caller ◄── 183, Require: 100rel, RSeq ──────────── segue    sent again after 0.5, 1, 2 … s, given up after 32 s
//!  caller ── PRACK, RAck ──► segue ── 200 ──► caller           then the next one, or the 200 that waited for it
//! ```
//! A caller that requires it gets every response but 100 this way, one that supports it those with a description.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::core::{Core, Gone, Owner};
use super::model::{Leg, LegHandle, LegState, timer};
use crate::base::Timestamp;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// The first wait for a PRACK; it doubles (RFC 3262 3).
const T1: Duration = Duration::from_millis(500);
/// After this without a PRACK the INVITE is refused.
const PATIENCE: Duration = Duration::from_secs(32);
/// Responses that wait for the PRACK of one before them; more say nothing that the last of them does not.
const MAX_WAITING: usize = 4;
/// Branches of one INVITE whose numbers are told apart.
const MAX_BRANCHES: usize = 8;
/// RFC 3262 3: the first number leaves room for those that follow.
const MAX_FIRST: u64 = 1 << 16;

/// What a caller's INVITE says of reliable responses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Wish {
    #[default]
    Unknown,
    Supported,
    Required,
}

/// Reliable responses of a leg, both ways.
#[derive(Default)]
pub struct Reliable {
    wish: Wish,
    /// Our last number; 0 before the first.
    number: u32,
    open: Option<Open>,
    waiting: VecDeque<(StatusCode, Option<Bytes>)>,
    /// Our 2xx that must not overtake a description (RFC 3262 3).
    held: Option<(StatusCode, Bytes)>,
    /// Whether they have acknowledged a description of ours.
    is_described: bool,
    /// Their last numbers, by tag.
    heard: SmallVec<[(Box<str>, u32); 1]>,
}

/// A response of ours that waits for its PRACK.
struct Open {
    number: u32,
    status: StatusCode,
    bytes: Bytes,
    has_description: bool,
    interval: Duration,
    until: Timestamp,
}

impl Reliable {
    /// Whether a description of ours went out, or is to go out.
    fn has_described(&self) -> bool {
        self.is_described
            || self.open.as_ref().is_some_and(|open| open.has_description)
            || self.waiting.iter().any(|(_, body)| body.is_some())
    }
}

impl Leg {
    /// Takes note of what the INVITE of its party says of reliable responses.
    pub fn read_reliability(&mut self, invite: &Message) {
        let wish = if invite.has_token(HeaderName::Require, "100rel") {
            Wish::Required
        } else if invite.has_token(HeaderName::Supported, "100rel") {
            Wish::Supported
        } else {
            return;
        };
        self.reliable = Some(Box::new(Reliable { wish, ..Reliable::default() }));
    }

    /// Whether a description in a provisional response has settled an exchange for good, so that another may follow
    /// before the call is answered (RFC 3262 5, RFC 3311 5.1).
    #[must_use]
    pub(super) fn is_settled_early(&self) -> bool {
        let is_agreed = self.media.as_ref().is_some_and(|media| media.is_agreed() && media.open().is_none());
        let is_reliable = self.reliable.as_ref().is_some_and(|reliable| match self.is_inbound {
            true => reliable.is_described,
            false => !reliable.heard.is_empty(),
        });
        self.state == LegState::Early
            && is_agreed
            && is_reliable
            && !self.open_update
            && self.server_update.is_none()
    }
}

impl Core {
    /// Tells the caller of a leg how its call gets on: reliably where it asked for that.
    pub(super) fn tell_progress(&mut self, leg: LegHandle, status: StatusCode, body: Option<Bytes>) {
        let is_sure = self.is_sure_of_early_media(leg);
        let Some(found) = self.legs.get_mut(leg) else { return };
        let wish = found.reliable.as_ref().map_or(Wish::Unknown, |reliable| reliable.wish);
        let is_told = found.reliable.as_ref().is_some_and(|reliable| reliable.has_described());
        // What was described reliably is not said again (RFC 6337 2.1), nor is what another device might contradict.
        let body = body.filter(|_| wish == Wish::Unknown || !is_told);
        let (is_reliable, body) = match wish {
            Wish::Unknown => (false, body),
            Wish::Supported => (body.is_some() && is_sure, body),
            Wish::Required => (true, body.filter(|_| is_sure)),
        };
        let Some(reliable) = found.reliable.as_mut().filter(|_| is_reliable) else {
            return self.send_progress(leg, status, body.as_ref(), None);
        };
        // RFC 3262 5: to an INVITE without an offer the first reliable response would have to make one.
        if found.raw.is_empty() && body.is_none() {
            return;
        }
        if reliable.open.is_some() {
            if reliable.waiting.len() < MAX_WAITING {
                reliable.waiting.push_back((status, body));
            }
            return;
        }
        let first = 1 + self.random.below(MAX_FIRST) as u32;
        reliable.number = if reliable.number == 0 { first } else { reliable.number.saturating_add(1) };
        let number = reliable.number;
        self.send_progress(leg, status, body.as_ref(), Some(number));
    }

    /// Whether the answer to the caller can be only that of the one device that rings: a reliable one is final
    /// (RFC 3261 13.2.1).
    fn is_sure_of_early_media(&self, leg: LegHandle) -> bool {
        let call = self.call_of(leg).and_then(|call| self.calls.get(call));
        call.is_some_and(|call| call.forks.len() == 1 && !call.has_more_targets())
    }

    fn send_progress(
        &mut self,
        leg: LegHandle,
        status: StatusCode,
        body: Option<&Bytes>,
        number: Option<u32>,
    ) {
        let identity = self.who_rings(leg);
        let Some(found) = self.legs.get(leg) else { return };
        let Some(tx) = found.server_invite else { return };
        let (tag, contact) = (found.dialog.local_tag.clone(), found.dialog.contact.clone());
        let Some(mut writer) = self.reply(tx, status, &tag) else { return };
        writer.header_parts(&HeaderName::Contact, &["<", &contact, ">"]);
        writer.header(&HeaderName::Allow, super::core::ALLOW);
        if let Some(identity) = &identity {
            self.show_party(leg, identity, &mut writer);
        }
        self.write_headers(leg, &mut writer);
        if let Some(number) = number {
            writer.header(&HeaderName::Require, "100rel");
            writer.header_number(&HeaderName::RSeq, number.into());
        }
        if let Some(body) = body {
            writer.body("application/sdp", body);
        }
        let bytes = writer.finish();
        if let Some(number) = number {
            let open = Open {
                number,
                status,
                bytes: bytes.clone(),
                has_description: body.is_some(),
                interval: T1,
                until: self.now.at + PATIENCE,
            };
            if let Some(reliable) = self.legs.get_mut(leg).and_then(|leg| leg.reliable.as_mut()) {
                reliable.open = Some(open);
            }
            self.arm(leg, timer::RELIABLE, T1);
        }
        self.respond(tx, status, bytes);
    }

    /// The user whose devices ring for a caller, as its display is to show that.
    fn who_rings(&self, caller: LegHandle) -> Option<Box<str>> {
        let call = self.calls.get(self.call_of(caller)?)?;
        let fork = *call.forks.first()?;
        self.legs.get(fork)?.party.account()?;
        self.identity_of(fork)
    }

    /// Our 2xx, unless it has to wait for the PRACK of a description.
    pub(super) fn hold_answer(&mut self, leg: LegHandle, status: StatusCode, bytes: Bytes) -> Option<Bytes> {
        let Some(found) = self.legs.get_mut(leg) else { return Some(bytes) };
        let Some(reliable) = &mut found.reliable else { return Some(bytes) };
        reliable.waiting.clear();
        if reliable.open.as_ref().is_some_and(|open| open.has_description) {
            reliable.held = Some((status, bytes));
            return None;
        }
        // RFC 3262 3: nothing is repeated after the final answer.
        found.timers.stop(timer::RELIABLE);
        Some(bytes)
    }

    /// No PRACK has come: the response is sent again, and the INVITE refused when that has gone on for too long.
    pub(super) fn on_reliable_due(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let Some(tx) = found.server_invite else { return };
        let Some(open) = found.reliable.as_mut().and_then(|reliable| reliable.open.as_mut()) else { return };
        if self.now.at < open.until {
            open.interval *= 2;
            let (status, bytes, interval) = (open.status, open.bytes.clone(), open.interval);
            let left = open.until.since(self.now.at);
            self.arm(leg, timer::RELIABLE, interval.min(left));
            return self.respond(tx, status, bytes);
        }
        let (call, role, was_held) = (found.call, found.role, found.take_held());
        if was_held {
            // The other side has answered: for it the call ends, for the caller it never began.
            self.refuse_inbound(leg, &Refusal::Internal);
            self.leg_gone(
                call,
                leg,
                role,
                Gone::NeverAcknowledged,
                Some("SIP;cause=504;text=\"PRACK missing\""),
            );
        } else {
            self.fail_call(call, StatusCode::SERVER_TIMEOUT, &Refusal::TimedOut);
        }
    }

    /// The caller gives up while our 2xx waits for its PRACK: true if it did.
    pub(super) fn drop_held_answer(&mut self, leg: LegHandle, reason: &str) -> bool {
        let Some(found) = self.legs.get_mut(leg) else { return false };
        let (call, role) = (found.call, found.role);
        if !found.take_held() {
            return false;
        }
        self.refuse_inbound(leg, &Refusal::Terminated);
        self.leg_gone(call, leg, role, Gone::ByParty, Some(reason));
        true
    }

    /// A PRACK of a leg's party (RFC 3262 3). Its answer may be given later, where it makes an offer.
    ///
    /// # Errors
    /// `DialogUnknown` (481) where it acknowledges nothing; why an offer in it cannot be carried.
    pub fn on_prack(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        let (number, cseq) = acknowledged(message).ok_or(Refusal::Malformed("bad RAck"))?;
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        let is_of_invite = found.dialog.remote_invite == Some(cseq);
        let reliable = found.reliable.as_mut().filter(|_| is_of_invite).ok_or(Refusal::DialogUnknown)?;
        let open = reliable.open.take_if(|open| open.number == number).ok_or(Refusal::DialogUnknown)?;
        reliable.is_described |= open.has_description;
        found.timers.stop(timer::RELIABLE);
        let result = self.answer_prack(leg, tx, message);
        self.go_on(leg);
        result
    }

    fn answer_prack(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        if !message.body().is_empty() {
            return self.on_early_offer(leg, tx, message);
        }
        let tag = self.legs.get(leg).map(|leg| leg.dialog.local_tag.clone()).unwrap_or_default();
        self.respond_plain(tx, StatusCode::OK, &tag);
        Ok(())
    }

    /// What had to wait for the PRACK.
    fn go_on(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (Some(tx), Some(reliable)) = (found.server_invite, found.reliable.as_mut()) else { return };
        if let Some((status, bytes)) = reliable.held.take() {
            return self.respond(tx, status, bytes);
        }
        if let Some((status, body)) = reliable.waiting.pop_front() {
            self.tell_progress(leg, status, body);
        }
    }

    /// A provisional response to an INVITE of ours. A reliable one is acknowledged, once and in order; false where it is
    /// not to be looked at (RFC 3262 4).
    pub(super) fn acknowledge_provisional(&mut self, leg: LegHandle, response: &Message) -> bool {
        let number = number_in(response, HeaderName::RSeq);
        let Some(number) = number.filter(|_| response.has_token(HeaderName::Require, "100rel")) else {
            return true;
        };
        let (Some(tag), Ok(cseq)) = (response.to_tag(), response.cseq()) else { return false };
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(leg) else { return false };
        let reliable = found.reliable.get_or_insert_default();
        let is_full = reliable.heard.len() >= MAX_BRANCHES;
        match reliable.heard.iter_mut().find(|(known, _)| **known == *tag) {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some(_) => return false,
            None if is_full => return false,
            None => reliable.heard.push((tag.into(), number)),
        }
        // The early dialog of another branch behind the same target has its own tag, Contact and route.
        let mut dialog = found.dialog.clone();
        if *dialog.remote_tag != *tag {
            dialog.remote_tag = Box::from("");
        }
        dialog.on_response(response);
        let mut writer = dialog.request(&Method::Prack, &branch);
        writer.header(&HeaderName::RAck, &format!("{number} {} INVITE", cseq.number));
        let (bytes, flow) = (writer.finish(), dialog.flow);
        found.dialog.local_cseq = dialog.local_cseq;
        self.send_request(flow, &Method::Prack, &branch, bytes, Owner::Aside(leg));
        true
    }
}

impl Leg {
    /// Drops our 2xx that waits; the INVITE is open again.
    fn take_held(&mut self) -> bool {
        self.reliable.as_mut().is_some_and(|reliable| reliable.held.take().is_some())
    }
}

/// `RAck: 776656 1 INVITE` (RFC 3262 7.2): the number of the response and of the INVITE.
fn acknowledged(prack: &Message) -> Option<(u32, u32)> {
    let header = prack.header(HeaderName::RAck)?;
    let value = header.value_str().ok()?;
    let mut words = value.split_ascii_whitespace();
    let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next() == Some("INVITE") && words.next().is_none()).then_some(numbers)
}

fn number_in(message: &Message, name: HeaderName) -> Option<u32> {
    message.header(name)?.value_str().ok()?.trim().parse().ok().filter(|number| *number > 0)
}
