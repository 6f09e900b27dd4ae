//! A device is asked to call: REFER of ours (RFC 3515) with Replaces (RFC 3891) in its Refer-To, both of a one-time
//! identifier. Its INVITE makes the move; what it tells by NOTIFY can only end one that still waits for that.

use std::fmt::Write as _;

use super::{MoveKey, call_key, call_of, device_of, leg_key, leg_of};
use crate::base::Timestamp;
use crate::call::core::contact_uri;
use crate::call::session_timer::SessionTimer;
use crate::call::setup::{Incoming, user_value, write_capabilities};
use crate::call::{CallHandle, Owner};
use crate::engine::Engine;
use crate::moving::hold_off::Access;
use crate::moving::identifier::{LIFE, Minted};
use crate::moving::machine::{Event, State, Way};
use crate::moving::timeline::{Heading, Side, What};
use crate::moving::{CallKey, DeviceKey, LegKey, grant};
use crate::sip::dialog::Dialog;
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// How long NOTIFYs of a REFER are taken: as long as the device may call, and one transaction (RFC 3261 timer F) more.
const KEPT: std::time::Duration = LIFE.saturating_add(std::time::Duration::from_secs(32));
/// More at once are as many devices that tell nothing for 92 s; the oldest is forgotten, and its NOTIFYs get 481.
const CAPACITY: usize = 4096;
/// Tells the tag of a REFER from that of a leg, which has a digit there, and of a subscription.
const MARK: char = 'r';

/// A REFER of ours, and the subscription that it made (RFC 3515 2.4.4).
pub(in crate::engine) struct Referral {
    dialog: Dialog,
    to: DeviceKey,
    pub(super) until: Timestamp,
}

impl Engine {
    /// Asks the new device to call.
    pub(super) fn refer_new(&mut self, key: MoveKey) {
        if let Err(refusal) = self.send_refer(key) {
            tracing::debug!(%refusal, "the device of a move could not be asked to call");
            self.advance(key, Event::NewRefused);
        }
    }

    fn send_refer(&mut self, key: MoveKey) -> Result<(), Refusal> {
        let moving = self.moving(key).ok_or(Refusal::Internal)?;
        let (to, call, leg) = (moving.to.clone(), moving.machine.grant().call(), leg_key(moving.old));
        let (account, _, binding) = self.reach(&to)?;
        let (now, domain) = (self.core.now.at, self.core.settings.domain.clone());
        // The user refers a device of the user's own: From, To and Referred-By (RFC 3892) are the same.
        let own = user_value(account.shown(), account.number(), &domain);
        let mut dialog = self.dialog_toward(&account, &binding, own.clone());
        dialog.local_tag = format_tag(self.core.worker, key, self.core.random.bits());
        dialog.set_contact(contact_uri(&self.core.settings, &dialog.local_tag, &dialog.flow));
        let minted = self.moves.identifiers.mint(now, &to, call, leg, &mut self.core.random);
        let branch = self.core.mint_branch();
        let mut writer = dialog.request(&Method::Refer, &branch);
        writer.header(&HeaderName::ReferTo, &refer_to(&minted, &domain));
        writer.header(&HeaderName::ReferredBy, &own);
        write_capabilities(&mut writer, &self.core.settings.software, &SessionTimer::default());
        let bytes = writer.finish();
        let flow = dialog.flow;
        if let Some(moving) = self.moves.live.get(&key) {
            self.trace.note_aside(&dialog.call_id, &moving.call_id, &to);
        }
        self.core.send_request(flow, &Method::Refer, &branch, bytes, Owner::Refer(key));
        self.note_request(key, (Side::New, Heading::Out), &Method::Refer);
        if self.moves.referrals.len() >= CAPACITY {
            self.moves.referrals.pop_first();
        }
        self.moves.referrals.insert(key, Referral { dialog, to, until: now + KEPT });
        Ok(())
    }

    /// The final answer to a REFER of ours; none where it timed out.
    pub(in crate::engine) fn on_refer_response(&mut self, key: MoveKey, response: Option<&Message>) {
        let status = response.and_then(Message::status).unwrap_or(StatusCode::REQUEST_TIMEOUT);
        let (method, status_code) = (Method::Refer.as_str().to_owned(), status.as_u16());
        self.note(key, What::Response { side: Side::New, way: Heading::In, method, status: status_code });
        if status.is_success() {
            if let (Some(referral), Some(response)) = (self.moves.referrals.get_mut(&key), response) {
                referral.dialog.on_response(response);
            }
            return;
        }
        self.moves.referrals.remove(&key);
        self.advance(key, Event::NewRefused);
    }

    /// A NOTIFY in the dialog of a REFER of ours; false if it is in none.
    pub(in crate::engine) fn on_referral_notify(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        message: &Message,
    ) -> bool {
        let Some(key) = message.to_tag().and_then(move_of_tag) else { return false };
        let Some(referral) = self.moves.referrals.get_mut(&key) else { return false };
        // RFC 6665 4.1.2.4: a NOTIFY may come before the 2xx, and makes the dialog then.
        let mut dialog = referral.dialog.clone();
        if dialog.remote_tag.is_empty() {
            dialog.remote_tag = message.from_tag().unwrap_or_default().into();
        }
        if !dialog.is_named_by(message) {
            return false;
        }
        let (known, to, tag) = (dialog.flow, referral.to.clone(), dialog.local_tag.clone());
        if known.transport != flow.transport || known.peer != flow.peer {
            // Call-ID and both tags are right, the source is another: credentials of the same device, or no entry.
            let Some((account, device)) = self.authenticate_device(tx, flow, message) else { return true };
            if Self::device_key(&account, device).as_ref() != Some(&to) {
                return false;
            }
        }
        match self.take_report(key, dialog, message) {
            Ok(()) => self.core.respond_plain(tx, StatusCode::OK, &tag),
            Err(refusal) => self.core.refuse(tx, &refusal, Some(&tag)),
        }
        true
    }

    fn take_report(&mut self, key: MoveKey, mut dialog: Dialog, message: &Message) -> Result<(), Refusal> {
        let text = |name| message.header(name).and_then(|header| header.value_str().ok());
        let event = text(HeaderName::Event).unwrap_or_default();
        if !event.split(';').next().is_some_and(|package| package.trim().eq_ignore_ascii_case("refer")) {
            return Err(Refusal::BadEvent);
        }
        dialog.accept(message)?;
        dialog.refresh_target(message);
        let state = text(HeaderName::SubscriptionState).unwrap_or_default().to_ascii_lowercase();
        if state.trim_start().starts_with("terminated") {
            self.moves.referrals.remove(&key);
        } else if let Some(referral) = self.moves.referrals.get_mut(&key) {
            referral.dialog = dialog;
        }
        let Some(status) = reported(&message.body()) else { return Ok(()) };
        if status.is_final() && self.moves.live.contains_key(&key) {
            let text = format!("the device reports {}", status.as_u16());
            self.note(key, What::Note { text });
        }
        // A challenge of ours is answered yet. A success is seen by the INVITE, not by being told of it.
        let is_challenge =
            matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        if status.is_final() && !status.is_success() && !is_challenge {
            self.advance(key, Event::NewRefused);
        }
        Ok(())
    }

    /// The move that waits for `by` to call for this leg.
    pub(super) fn awaited(&self, call: CallKey, leg: LegKey, by: &DeviceKey) -> Option<MoveKey> {
        let key = *self.moves.by_call.get(&call_of(call))?;
        let moving = self.moving(key)?;
        (moving.old == leg_of(leg) && moving.to == *by && is_waiting(moving)).then_some(key)
    }

    /// Whether a move waits for a device to call for `leg`: then its identifier outlives the leg, since the old device
    /// may hang up as soon as it has handed the call on.
    pub(super) fn is_awaited(&self, call: CallHandle, leg: LegKey) -> bool {
        let moving = self.moves.by_call.get(&call).and_then(|key| self.moving(*key));
        moving.is_some_and(|moving| moving.old == leg_of(leg) && is_waiting(moving))
    }

    /// The INVITE that a device was asked for. It was granted when it was asked.
    pub(super) fn come_by_referral(&mut self, incoming: &Incoming<'_>, key: MoveKey) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        let moving = self.moving(key).ok_or(Refusal::DialogUnknown)?;
        let (call, far, from) = (moving.call, moving.far, moving.from.clone());
        // It may have lost another call since it was asked.
        if let Err(refusal) = self.held(&by, Access::Call(call_key(call)), Method::Invite.as_str()) {
            self.advance(key, Event::NewRefused);
            return Err(refusal);
        }
        let (old, new) = (self.presence_of_old(key, &from), self.presence(&by));
        if let Err(refusal) = grant::still_registered(self.core.now.at, old, new) {
            self.advance(key, Event::BindingGone);
            return Err(refusal.into());
        }
        match self.admit_mover(incoming, call, far) {
            Ok((new, way, pairing)) => {
                if let Some(moving) = self.moves.live.get_mut(&key) {
                    (moving.new, moving.pairing) = (Some(new), pairing);
                }
                self.advance(key, Event::NewCame(way));
                Ok(())
            }
            Err(refusal) => {
                self.advance(key, Event::NewUnusable);
                Err(refusal)
            }
        }
    }
}

fn is_waiting(moving: &super::Moving) -> bool {
    moving.machine.way() == Way::Refer && moving.machine.state() == State::Ringing
}

/// `<sip:TOKEN@domain?Replaces=TOKEN%3Bto-tag%3D…%3Bfrom-tag%3D…>`: a phone that loses the Replaces, as some do, still
/// dials the identifier.
fn refer_to(minted: &Minted, domain: &str) -> String {
    let (token, to, from) = (minted.token.as_str(), &minted.local_tag, &minted.remote_tag);
    format!("<sip:{token}@{domain}?Replaces={token}%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}>")
}

/// The status in a `message/sipfrag` (RFC 3420): its first line.
fn reported(body: &[u8]) -> Option<StatusCode> {
    let digits = body.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok().and_then(StatusCode::new)
}

/// A tag for a REFER, in the manner of [`crate::call::core::format_tag`].
fn format_tag(worker: u8, key: MoveKey, random: u64) -> Box<str> {
    let mut tag = String::with_capacity(40);
    let _ = write!(tag, "{worker:02x}{MARK}{key:x}.{random:016x}");
    tag.into_boxed_str()
}

fn move_of_tag(tag: &str) -> Option<MoveKey> {
    let (key, _) = tag.get(2..)?.strip_prefix(MARK)?.split_once('.')?;
    MoveKey::from_str_radix(key, 16).ok()
}
