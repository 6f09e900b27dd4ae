//! The state that every part of the call layer works on, and what all of them need: minting, replying, finding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::abilities::Abilities;
use super::model::{Call, CallHandle, Leg, LegHandle, Purpose, Side};
use super::record::{CallRecord, HangupBy};
use super::settings::Settings;
use super::spread::Spread;
use super::transfer::{TransferKey, TransferNews};
use crate::base::{Handle, Now, Random, Slab, TimerHeap, UnixMillis};
use crate::media::codec::Codec;
use crate::media::plan::Gate;
use crate::media::ports::Ports;
use crate::media::relay::{MediaCommand, PortId};
use crate::registrar::Registrar;
use crate::registrar::accounts::Accounts;
use crate::registrar::hot_desk::HotDesks;
use crate::sip::dialog::Dialog;
use crate::sip::subscription::Event;
use crate::sip::transaction::{ClientTx, Effect, ServerTx, Transactions};
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, StatusCode};

/// Methods that we serve (RFC 3261 20.5).
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER, PUBLISH";

/// Extensions that we support (RFC 3261 20.37): session timers toward those who may hear of them, and reliable provisional
/// responses where such may follow (RFC 3262 4).
#[must_use]
pub const fn supported(has_timer: bool, is_reliable: bool) -> &'static str {
    match (has_timer, is_reliable) {
        (true, true) => "replaces, norefersub, path, timer, 100rel",
        (true, false) => "replaces, norefersub, path, timer",
        (false, true) => "replaces, norefersub, path, 100rel",
        (false, false) => "replaces, norefersub, path",
    }
}

/// Whose a transaction is, and why it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Our initial INVITE to a leg.
    Invite(LegHandle),
    /// Our re-INVITE on a leg.
    Reinvite(LegHandle, Purpose),
    /// Our UPDATE on a leg.
    Update(LegHandle, Purpose),
    /// Our BYE on a leg.
    Bye(LegHandle),
    /// A request passed on to a leg on behalf of `server`.
    Relay {
        /// Where it was sent.
        to: LegHandle,
        /// Where the answer goes.
        server: ServerTx,
    },
    /// A request outside dialogs that went to several devices.
    Spread(Handle<Spread>),
    /// A NOTIFY of a subscription: its key.
    Notify(u64),
    /// Our REFER: the move for which a device is asked to call.
    Refer(u64),
    /// A NOTIFY of a REFER: its leg.
    ReferNotify(LegHandle),
    /// A MESSAGE of ours to the device of a leg that was moved away from.
    Notice(LegHandle),
    /// A request in the dialog of a leg whose outcome nobody waits for.
    Aside(LegHandle),
    /// Our OPTIONS to a target of a trunk: its key.
    Ping(u64),
    /// Our REGISTER at a trunk: its key.
    Register(u64),
    /// Their request on a leg.
    Served(LegHandle),
    /// Nobody waits for the outcome.
    Nobody,
}

/// Why a leg is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// BYE or CANCEL from its party.
    ByParty,
    /// Its party refused, or let our INVITE run out.
    Refused(StatusCode),
    /// Its party refused an offer of SRTP, and may be asked for plain RTP.
    RefusedSrtp,
    /// It never acknowledged our 2xx.
    NeverAcknowledged,
    /// The dialog turned out dead (481, 408 to a request in it), or its media did.
    Dead,
    /// We released it.
    Released,
}

impl Gone {
    /// Who ended a call whose leg on `side` is gone.
    #[must_use]
    pub fn hung_up_by(self, side: Option<Side>) -> HangupBy {
        match (self, side) {
            (Self::ByParty, Some(side)) => side.into(),
            _ => HangupBy::System,
        }
    }
}

/// What happened in the call layer that the layers above care about, in order.
#[derive(Debug)]
pub enum Happened {
    /// A call is ringing at a device.
    Ringing(CallHandle),
    /// Others are rung for a call that rang elsewhere.
    RungOn(CallHandle),
    /// A call was answered.
    Answered(CallHandle),
    /// A call ended; its record.
    Ended {
        /// What it was; names nothing any more.
        call: CallHandle,
        /// The record.
        record: Box<CallRecord>,
    },
    /// A leg that a move concerns (of a call in `moving`, or a mover) is gone.
    LegGone {
        /// Its call.
        call: CallHandle,
        /// The leg; its handle may be stale by now.
        leg: LegHandle,
        /// Why.
        why: Gone,
    },
    /// A mover's device rings.
    MoverRinging(LegHandle),
    /// A mover's device answered; what it said.
    MoverAnswered(LegHandle, Bytes),
    /// The ACK of a mover's 2xx is here, with the answer if it carried one.
    MoverAcked(LegHandle, Option<Bytes>),
    /// The far side answered a re-INVITE of a move; what it said.
    FarAnswered(LegHandle, Bytes),
    /// The far side refused a re-INVITE of a move.
    FarRefused(LegHandle, StatusCode),
    /// The restoring re-INVITE is settled, one way or the other.
    FarRestored(LegHandle),
    /// The device of a leg died while its call moves.
    Dying {
        /// The leg.
        leg: LegHandle,
        /// How that showed.
        death: super::rescue::Death,
        /// The Reason for who is left.
        reason: Box<str>,
    },
    /// The device of a leg died; the other side is kept.
    Lost {
        /// The call.
        call: CallHandle,
        /// The leg.
        leg: LegHandle,
    },
    /// It is back.
    Found {
        /// The call.
        call: CallHandle,
        /// The leg.
        leg: LegHandle,
    },
    /// Something happened to a transfer.
    Transfer(TransferKey, TransferNews),
    /// A leg went on hold (true) or off it.
    Held {
        /// The call.
        call: CallHandle,
        /// The side that holds.
        side: Side,
        /// On or off.
        held: bool,
    },
}

/// A port that a call has let go of; its last counts are still to come.
#[derive(Clone, Debug)]
pub struct LeftPort {
    /// The port.
    pub port: PortId,
    /// The call.
    pub call: CallHandle,
    /// The leg that it served, if there was one.
    pub leg: Option<LegHandle>,
    /// The device at the other end, `user*device`.
    pub device: Option<Box<str>>,
    /// What the other end spoke, if it was audio.
    pub codec: Option<Codec>,
    /// Its dialog, where somebody is told how it sounded.
    pub dialog: Option<Box<LeftDialog>>,
}

/// What is known of the dialog of a port once its leg may be gone.
#[derive(Clone, Debug)]
pub struct LeftDialog {
    /// Its Call-ID.
    pub call_id: Box<str>,
    /// Our From in it.
    pub local_id: Box<str>,
    /// Theirs.
    pub remote_id: Box<str>,
    /// The RTP port, on the address that it is bound to.
    pub local: SocketAddr,
    /// When its device got the call.
    pub since: UnixMillis,
}

/// The state of the call layer.
pub struct Core {
    /// Time of the input being handled.
    pub now: Now,
    /// Configuration.
    pub settings: Arc<Settings>,
    /// Randomness.
    pub random: Random,
    /// Transactions.
    pub transactions: Transactions<Owner>,
    /// What transactions ask and tell, not yet acted on.
    pub effects: Vec<Effect<Owner>>,
    /// Calls.
    pub calls: Slab<Call>,
    /// Legs.
    pub legs: Slab<Leg>,
    /// Those whose dialogs are on a connection.
    pub on_streams: BTreeSet<(Flow, LegHandle)>,
    /// Accounts.
    pub accounts: Accounts,
    /// Bindings.
    pub registrar: Registrar,
    /// Who is signed in at which shared device.
    pub hot_desks: HotDesks,
    /// Media ports.
    pub ports: Ports,
    /// Whose leg a port in use serves.
    pub port_legs: rustc_hash::FxHashMap<PortId, LegHandle>,
    /// What devices can speak.
    pub abilities: Abilities,
    /// Legs that are new, not yet taken note of.
    pub made: Vec<LegHandle>,
    /// Ports that calls have let go of, not yet taken note of.
    pub left: Vec<LeftPort>,
    /// Commands to the media threads, not yet sent.
    pub media: Vec<MediaCommand>,
    /// News for the layers above.
    pub happened: VecDeque<Happened>,
    /// Requests outside dialogs that wait for the answers of devices.
    pub spreads: Slab<Spread>,
    /// Legs with a timer.
    pub timers: TimerHeap<LegHandle>,
    /// Calls since the start of which nobody could be rung.
    pub unrung: u64,
    /// Calls whose speech is converted.
    pub transcoded: usize,
    /// What the trunks carry.
    pub capacity: super::capacity::Capacity,
    /// The realm of the first challenge of each trunk, by its place: no other is answered after that.
    pub realms: BTreeMap<usize, Box<str>>,
    /// By what our requests outside dialogs go at a trunk (RFC 3608), by its place and by the user in whose name we speak
    /// there; none: that of our account.
    pub service_routes: BTreeMap<(usize, Box<str>), Vec<Box<str>>>,
    /// Where the trunks are.
    pub targets: super::targets::Targets,
    /// Our number among the workers, in every id we mint.
    pub worker: u8,
}

impl Core {
    /// A branch (RFC 3261 8.1.1.7).
    pub fn mint_branch(&mut self) -> String {
        let mut branch = String::with_capacity(32);
        let _ = write!(branch, "z9hG4bK{:02x}{:016x}", self.worker, self.random.bits());
        branch
    }

    /// A Call-ID without a word about us.
    pub fn mint_call_id(&mut self) -> Box<str> {
        self.random.token().into_boxed_str()
    }

    /// The public name of a call or move: a ULID (48 bits of time, 80 random).
    pub fn mint_ulid(&mut self) -> Box<str> {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let random = u128::from(self.random.bits()) << 64 | u128::from(self.random.bits());
        let value = u128::from(self.now.unix.0) << 80 | random >> 48;
        let digit = |place: u32| ALPHABET.get((value >> (5 * place) & 31) as usize).copied().unwrap_or(b'0');
        (0..26).rev().map(|place| char::from(digit(place))).collect::<String>().into_boxed_str()
    }

    /// The leg that a tag of ours names.
    #[must_use]
    pub fn leg_of_tag(&self, tag: &str) -> Option<LegHandle> {
        let (handle, _) = tag.get(2..)?.split_once('.')?;
        let handle = Handle::from_bits(u64::from_str_radix(handle, 16).ok()?);
        self.legs.get(handle).filter(|leg| &*leg.dialog.local_tag == tag).map(|_| handle)
    }

    /// The leg whose dialog a request from outside is in (RFC 3261 12.2.2): Call-ID and both tags.
    #[must_use]
    pub fn leg_of(&self, request: &Message) -> Option<LegHandle> {
        let handle = self.leg_of_tag(request.to_tag()?)?;
        self.legs.get(handle).filter(|leg| leg.dialog.is_named_by(request)).map(|_| handle)
    }

    /// The head of an answer to the request of `tx`: Via, From, To with `tag`, Call-ID, CSeq. `None` when the
    /// transaction is over or already has its final answer.
    #[must_use]
    pub fn reply(&self, tx: ServerTx, status: StatusCode, tag: &str) -> Option<MessageWriter<'static>> {
        self.transactions.reply(tx, status, None, Some(tag))
    }

    /// Sends a request of ours in a transaction of its own; `branch` is that of its Via.
    pub fn send_request(
        &mut self,
        flow: Flow,
        method: &Method,
        branch: &str,
        bytes: Bytes,
        owner: Owner,
    ) -> ClientTx {
        self.transactions.request(self.now.at, flow, method, branch, bytes, owner, &mut self.effects)
    }

    /// Sends an answer.
    pub fn respond(&mut self, tx: ServerTx, status: StatusCode, bytes: Bytes) {
        self.transactions.respond(self.now.at, tx, status, bytes, &mut self.effects);
    }

    /// Answers with nothing but a status.
    pub fn respond_plain(&mut self, tx: ServerTx, status: StatusCode, tag: &str) {
        if let Some(mut writer) = self.reply(tx, status, tag) {
            let bytes = writer.finish();
            self.respond(tx, status, bytes);
        }
    }

    /// Answers a request and keeps nothing of it: what is a function of the request is found anew when it comes again
    /// (RFC 3261 8.2.7), and whoever has proved nothing costs the answer alone.
    pub fn respond_at_once(&mut self, tx: ServerTx, bytes: Bytes) {
        self.transactions.respond_statelessly(tx, bytes, &mut self.effects);
    }

    /// Turns a request down that is turned down again whenever it comes; see [`Core::respond_at_once`].
    pub fn refuse_at_once(&mut self, tx: ServerTx, refusal: &Refusal) {
        let tag = self.transactions.stateless_tag(tx);
        let reply = self.transactions.reply(tx, refusal.status(), refusal.phrase(), Some(&tag));
        let Some(mut writer) = reply else { return };
        write_refusal(&mut writer, refusal, &self.settings);
        let bytes = writer.finish();
        self.respond_at_once(tx, bytes);
    }

    /// Turns a request down. `tag` is our tag of the dialog, if there is one; otherwise one is minted.
    pub fn refuse(&mut self, tx: ServerTx, refusal: &Refusal, tag: Option<&str>) {
        let minted;
        let tag = match tag {
            Some(tag) => tag,
            None => {
                minted = self.random.tag();
                &minted
            }
        };
        let status = refusal.status();
        let Some(mut writer) = self.transactions.reply(tx, status, refusal.phrase(), Some(tag)) else {
            return;
        };
        write_refusal(&mut writer, refusal, &self.settings);
        let bytes = writer.finish();
        self.respond(tx, status, bytes);
    }

    /// Arms a timer of a leg.
    pub fn arm(&mut self, leg: LegHandle, letter: usize, after: std::time::Duration) {
        let at = self.now.at + after;
        if let Some(found) = self.legs.get_mut(leg) {
            found.timers.arm(letter, at);
            self.timers.push(at, leg);
        }
    }

    /// The call of a leg.
    #[must_use]
    pub fn call_of(&self, leg: LegHandle) -> Option<CallHandle> {
        self.legs.get(leg).map(|leg| leg.call)
    }

    /// How descriptions of the party of a leg are screened.
    #[must_use]
    pub fn gate(&self, leg: LegHandle) -> Gate<'_> {
        let ours = self.legs.get(leg).map(|leg| leg.party.ours()).unwrap_or_default();
        self.settings.media.screen.gate(ours)
    }

    /// The leg that `leg` talks with.
    #[must_use]
    pub fn peer_of(&self, leg: LegHandle) -> Option<LegHandle> {
        self.calls.get(self.call_of(leg)?)?.peer(leg)
    }
}

/// A tag for a leg: worker, handle, 64 random bits. The handle finds the leg without a table; the random part keeps
/// strangers from naming it.
#[must_use]
pub fn format_tag(worker: u8, leg: LegHandle, random: u64) -> Box<str> {
    let mut tag = String::with_capacity(40);
    let _ = write!(tag, "{worker:02x}{:x}.{random:016x}", leg.to_bits());
    tag.into_boxed_str()
}

/// Our Contact in the dialog of the leg with `tag`, reached over `flow`. It names the leg, so that a Refer-To or
/// a dialled copy of it can be resolved.
#[must_use]
pub fn contact_uri(settings: &Settings, tag: &str, flow: &Flow) -> Box<str> {
    let host = settings.sent_by(flow);
    let mut contact = String::with_capacity(16 + tag.len() + host.len());
    let _ = write!(contact, "sip:{tag}@{host}");
    if flow.transport.is_reliable() {
        let _ = write!(contact, ";transport={}", flow.transport.contact_token());
    }
    contact.into_boxed_str()
}

/// A dialog of ours goes on over another flow; false where it may not.
pub fn move_dialog(settings: &Settings, dialog: &mut Dialog, flow: Flow) -> bool {
    let contact = contact_uri(settings, &dialog.local_tag, &flow);
    dialog.move_to(flow, settings.sent_by(&flow), contact)
}

/// The headers that belong to a refusal.
pub fn write_refusal(writer: &mut MessageWriter<'_>, refusal: &Refusal, settings: &Settings) {
    if let Some(seconds) = refusal.retry_after() {
        writer.header_number(&HeaderName::RetryAfter, seconds.into());
    }
    match refusal {
        Refusal::ExtensionUnsupported(names) => {
            writer.header(&HeaderName::Unsupported, names);
        }
        Refusal::MethodNotAllowed => {
            writer.header(&HeaderName::Allow, ALLOW);
        }
        Refusal::BodyUnsupported => {
            writer.header(&HeaderName::Accept, "application/sdp");
        }
        Refusal::EncodingUnsupported => {
            writer.header(&HeaderName::AcceptEncoding, "identity");
        }
        Refusal::BadEvent => {
            writer.header(&HeaderName::AllowEvents, Event::ALLOWED);
        }
        Refusal::SessionTooShort { min } => {
            writer.header_number(&HeaderName::MinSe, (*min).into());
        }
        Refusal::HoldOff { .. } => {
            writer.header(&HeaderName::Reason, "SIP;cause=403;text=\"Call moved to another device\"");
        }
        // RFC 3261 20.43: 399 is the miscellaneous warning, 305 names a codec mismatch.
        Refusal::OfferUnusable(why) => {
            let agent = if settings.node.is_empty() { &settings.domain } else { &settings.node };
            writer.header_parts(&HeaderName::Warning, &["305 ", agent, " \"", why, "\""]);
        }
        _ => {}
    }
}
