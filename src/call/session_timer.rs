//! Session timers (RFC 4028): a dialog whose other end died without a word is noticed, and ended.
//!
//! Each leg has its own, agreed with its party alone: a move leaves that of the far leg running, and that of the new
//! device starts with its INVITE. Nothing of it crosses from leg to leg.
//!
//! ```text
//!  INVITE, re-INVITE, UPDATE ─► Session-Expires ─► 2xx ─► running ─┬─ ours:   half of the interval ─► refresh ─► 2xx
//!     422: the same with the Min-SE of the answer                  └─ theirs or none: interval less a third ─► BYE
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, Owner};
use super::media::description_in;
use super::model::{Leg, LegHandle, LegState, Party, Purpose, Role, timer};
use super::rescue::Death;
use crate::sip::Refusal;
use crate::sip::transaction::{ClientTx, ServerTx};
use crate::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method, StatusCode};

/// What we ask for unless a trunk is to be asked otherwise, in seconds (RFC 4028 4 recommends 1800).
pub const SESSION_EXPIRES: u32 = 1800;
/// The shortest interval that we let be imposed on us: the floor of RFC 4028 4.
pub const MIN_SE: u32 = 90;
/// The longest interval that a peer's Min-SE can drive us to; more is no timer.
pub const MAX_SE: u32 = 24 * 3600;
/// Times that a 422 of one leg is followed.
const MAX_RAISED: u8 = 4;
/// A refresh that found the leg busy, or was refused for a reason that may pass, is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// For a refresh after a move in which the session would have expired: one transaction (RFC 3261 17.1.2.2, timer F).
const GRACE: Duration = Duration::from_secs(32);

/// Whether there are session timers with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It is asked for one in every INVITE.
    #[default]
    Ask,
    /// There is one where it asks.
    Accept,
    /// We do not know them (RFC 4028 4: who names `timer` nowhere is not asked).
    Off,
}

/// How we refresh where it is for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// By UPDATE, where it is taken.
    #[default]
    Update,
    /// By re-INVITE, whatever the peer says of UPDATE.
    Reinvite,
}

/// What is settled with a peer about session timers. A dialog keeps what it began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Whether there are any.
    pub mode: Mode,
    /// What it is asked for, and the longest that is agreed, in seconds; not below `min`.
    pub expires: u32,
    /// Shorter ones are 422, in seconds; 90 at least.
    pub min: u32,
    /// Who refreshes where that is for us to say; `None`: whoever the peer says, else we do.
    pub refresher: Option<Refresher>,
    /// How we refresh.
    pub by: By,
}

impl Default for Terms {
    fn default() -> Self {
        Self { mode: Mode::Ask, expires: SESSION_EXPIRES, min: MIN_SE, refresher: None, by: By::Update }
    }
}

impl Mode {
    /// As the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Accept => "accept",
            Self::Off => "off",
        }
    }
}

impl By {
    /// As the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Reinvite => "re-invite",
        }
    }
}

impl Refresher {
    /// As the configuration has it; `auto` where nothing is settled.
    #[must_use]
    pub const fn word(settled: Option<Self>) -> &'static str {
        match settled {
            None => "auto",
            Some(Self::Us) => "us",
            Some(Self::Them) => "them",
        }
    }
}

/// Who refreshes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer.
    Them,
}

/// A session that expires unless it is refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Session {
    seconds: u32,
    refresher: Refresher,
}

/// The session timer of a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionTimer {
    /// What is settled with them.
    terms: Terms,
    /// What runs.
    running: Option<Session>,
    /// What their open request asked for; it runs from our 2xx on.
    asked: Option<Session>,
    /// The longest Min-SE that a 422 named; 0 before the first.
    floor: u32,
    /// How often one did.
    raised: u8,
    /// Whether they named `timer` in Supported.
    is_supported: bool,
}

impl SessionTimer {
    /// The agreed interval in seconds.
    #[must_use]
    pub fn seconds(&self) -> Option<u32> {
        self.running.map(|session| session.seconds)
    }

    /// One under these terms.
    #[must_use]
    pub fn under(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    /// Whether they hear that we know session timers.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self.terms.mode, Mode::Off)
    }

    /// Takes in what their request asks (RFC 4028 9).
    fn read_request(&mut self, message: &Message) -> Result<(), Refusal> {
        if !self.is_known() {
            // RFC 3261 8.2.2.3: what is required and not known is refused by name; what is not required is not seen.
            let is_required = message.has_token(HeaderName::Require, "timer");
            return if is_required { Err(Refusal::ExtensionUnsupported("timer".into())) } else { Ok(()) };
        }
        self.is_supported = message.has_token(HeaderName::Supported, "timer");
        let Terms { mode, expires, min, refresher: wish, .. } = self.terms;
        let floor = min_se_in(message).unwrap_or(0).max(self.floor).max(min);
        let asked = session_in(message);
        if let (Some((seconds, _)), true) = (asked, self.is_supported)
            && seconds < min
        {
            return Err(Refusal::SessionTooShort { min });
        }
        self.asked = match asked {
            // Whoever does not know the timer cannot refresh, nor be told of it by 422: a proxy asked (table 2).
            Some((seconds, _)) if !self.is_supported => {
                Some(Session { seconds: seconds.clamp(MIN_SE, MAX_SE), refresher: Refresher::Us })
            }
            _ if !self.is_supported => None,
            None if mode == Mode::Accept => None,
            asked => {
                let (seconds, refresher) = asked.unwrap_or((expires, None));
                let seconds = seconds.min(expires).max(floor).min(MAX_SE);
                // They are the client of this request. Who has no wish keeps the role.
                let refresher = match refresher {
                    Some(Named::Uac) => Refresher::Them,
                    Some(Named::Uas) => Refresher::Us,
                    None => {
                        let before = self.running.map(|session| session.refresher);
                        before.or(wish).unwrap_or(Refresher::Us)
                    }
                };
                Some(Session { seconds, refresher })
            }
        };
        Ok(())
    }

    /// The headers of a request of ours (RFC 4028 7.1, 7.4).
    fn write_request(&self, writer: &mut MessageWriter<'_>) {
        if !self.is_known() || self.terms.mode == Mode::Accept && self.running.is_none() {
            return;
        }
        let role = match self.running.map(|session| session.refresher).or(self.terms.refresher) {
            Some(Refresher::Us) => ";refresher=uac",
            Some(Refresher::Them) => ";refresher=uas",
            None => "",
        };
        writer.header(&HeaderName::SessionExpires, &format!("{}{role}", self.wanted()));
        // RFC 4028 7.1: what is above the floor of all is said, so that no proxy asks for less; 7.3: after a 422 the Min-SE
        // that it named goes along.
        let own = if self.terms.min > MIN_SE { self.terms.min } else { 0 };
        let floor = self.floor.max(own);
        if floor > 0 {
            writer.header_number(&HeaderName::MinSe, floor.into());
        }
    }

    /// What we ask for.
    fn wanted(&self) -> u32 {
        self.seconds().unwrap_or(self.terms.expires).max(self.floor)
    }

    /// A 422 named a longer interval: whether it is worth another try.
    fn raise(&mut self, response: &Message) -> bool {
        // Each time it must be more than was asked for: one for who answers, and one for each proxy before it.
        let is_of_use =
            |min: &u32| self.is_known() && self.raised < MAX_RAISED && *min > self.wanted() && *min <= MAX_SE;
        let Some(min) = min_se_in(response).filter(is_of_use) else { return false };
        (self.floor, self.raised) = (min, self.raised + 1);
        true
    }
}

/// The values of the parameter `refresher`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named {
    Uac,
    Uas,
}

/// `Session-Expires: 1800;refresher=uac`; one that cannot be read counts as none.
fn session_in(message: &Message) -> Option<(u32, Option<Named>)> {
    let header = message.header(HeaderName::SessionExpires)?;
    let value = header.value_str().ok()?;
    let mut parts = value.split(';').map(str::trim);
    let seconds = seconds_in(parts.next()?)?;
    let refresher = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        match value.trim() {
            _ if !name.trim().eq_ignore_ascii_case("refresher") => None,
            value if value.eq_ignore_ascii_case("uac") => Some(Named::Uac),
            value if value.eq_ignore_ascii_case("uas") => Some(Named::Uas),
            _ => None,
        }
    });
    Some((seconds, refresher))
}

/// `Min-SE: 90`, perhaps with parameters.
fn min_se_in(message: &Message) -> Option<u32> {
    let header = message.header(HeaderName::MinSe)?;
    let value = header.value_str().ok()?;
    seconds_in(value.split(';').next()?.trim())
}

/// Delta-seconds; a number that is larger than any is the largest.
fn seconds_in(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

impl Leg {
    /// A re-INVITE or UPDATE of its party: its target, what it can do, its session timer.
    ///
    /// # Errors
    /// `SessionTooShort` (422).
    pub(super) fn session_refresh(
        &mut self,
        message: &Message,
        table: &super::quirks::QuirkTable,
    ) -> Result<(), Refusal> {
        self.session.read_request(message)?;
        self.dialog.refresh_target(message);
        self.learn(message, table);
        Ok(())
    }
}

impl Core {
    /// What is settled with a party about session timers.
    #[must_use]
    pub fn session_terms(&self, party: &Party) -> Terms {
        self.trunk(party).map(|trunk| trunk.policy.session).unwrap_or_default()
    }

    /// Reads the session timer of the INVITE of a leg's party; it runs from our 2xx on.
    ///
    /// # Errors
    /// `SessionTooShort` (422).
    pub fn read_session(&mut self, leg: LegHandle, message: &Message) -> Result<(), Refusal> {
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        found.session.read_request(message)
    }

    /// The session timer in our 2xx, which starts it anew (RFC 4028 9).
    pub(super) fn answer_session(&mut self, leg: LegHandle, writer: &mut MessageWriter<'_>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        // An UPDATE may have been answered while the re-INVITE was open, and has said all there is to say.
        let session = &mut found.session;
        let asked = session.asked.take().or(session.running.filter(|_| session.is_supported));
        match asked {
            Some(Session { seconds, refresher: Refresher::Them }) => {
                // They must refresh, so they must know how.
                writer.header(&HeaderName::Require, "timer");
                writer.header(&HeaderName::SessionExpires, &format!("{seconds};refresher=uac"));
            }
            Some(Session { seconds, refresher: Refresher::Us }) => {
                writer.header(&HeaderName::SessionExpires, &format!("{seconds};refresher=uas"));
            }
            None => {}
        }
        self.start_session(leg, asked);
    }

    /// The session timer in a request of ours that opens or changes the session.
    pub fn offer_session(&self, leg: LegHandle, writer: &mut MessageWriter<'_>) {
        let Some(found) = self.legs.get(leg) else { return };
        // Whoever answered without it in a dialog that stands does not know it.
        if found.state == LegState::Early || found.session.running.is_some() || found.session.is_supported {
            found.session.write_request(writer);
        }
    }

    /// The session timer in a 2xx to such a request (RFC 4028 7.2); without one no timer runs.
    pub(super) fn note_session(&mut self, leg: LegHandle, response: &Message) {
        let Some(found) = self.legs.get_mut(leg).filter(|leg| leg.session.is_known()) else { return };
        found.session.is_supported |= response.has_token(HeaderName::Supported, "timer");
        let session = session_in(response).map(|(seconds, refresher)| Session {
            seconds: seconds.clamp(MIN_SE, MAX_SE),
            refresher: if refresher == Some(Named::Uas) { Refresher::Them } else { Refresher::Us },
        });
        self.start_session(leg, session);
    }

    fn start_session(&mut self, leg: LegHandle, session: Option<Session>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.session.running = session;
        found.timers.stop(timer::REFRESH);
        found.timers.stop(timer::SESSION);
        let Some(Session { seconds, refresher }) = session else { return };
        // RFC 4028 10: BYE before the end, by the smaller of 32 s and a third.
        let margin = (seconds / 3).min(32);
        self.arm(leg, timer::SESSION, Duration::from_secs((seconds - margin).into()));
        if refresher == Refresher::Us {
            self.arm(leg, timer::REFRESH, Duration::from_secs((seconds / 2).into()));
        }
    }

    /// Half of the interval is over, and it is for us to refresh: UPDATE where it is taken, else a re-INVITE that says
    /// nothing new (RFC 4028 7.4, 10).
    pub(super) fn on_refresh_due(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get(leg) else { return };
        if found.role == Role::Released || found.state == LegState::Ended {
            return;
        }
        let is_lost = self.calls.get(found.call).is_some_and(|call| call.has_lost(leg));
        if !matches!(found.role, Role::Talking(_)) || found.is_busy() || !found.queued.is_empty() || is_lost {
            // Whatever is open may refresh the session by itself.
            self.arm(leg, timer::REFRESH, AGAIN);
            return;
        }
        // Without an offer it is in no move's way (RFC 3311 5.1).
        if found.allows_update && found.session.terms.by == By::Update {
            self.send_update(leg, None, Purpose::Refresh, None);
            return;
        }
        // A device that rings may do so for longer than a short session lasts, and nothing has been touched yet.
        if self.calls.get(found.call).is_none_or(|call| call.moving && !call.awaits_device) {
            self.arm(leg, timer::REFRESH, AGAIN);
            return;
        }
        match self.say_again(leg) {
            Ok(body) => self.send_reinvite(leg, Some(body), Purpose::Refresh, None),
            Err(_) => self.arm(leg, timer::REFRESH, AGAIN),
        }
    }

    /// Nobody has refreshed the session. While the call moves it lives on: we refused the other side's refresh with 491
    /// for that long, and what it sends after the move must find the call (contract 20).
    pub(super) fn on_session_expired(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get(leg) else { return };
        let is_moving = self.calls.get(found.call).is_some_and(|call| call.moving || call.has_lost(leg));
        if is_moving && matches!(found.role, Role::Talking(_)) {
            self.arm(leg, timer::SESSION, GRACE);
        } else {
            self.on_leg_lost(leg, Death::Unanswering, "SIP;cause=408;text=\"Session expired\"");
        }
    }

    /// What we last told a leg, once more.
    fn say_again(&mut self, leg: LegHandle) -> Result<Bytes, Refusal> {
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        if let Some(media) = &mut found.media {
            return Ok(media.repeat()?);
        }
        let peer = self.peer_of(leg).and_then(|peer| self.legs.get(peer));
        Ok(peer.ok_or(Refusal::DialogUnknown)?.raw.clone())
    }

    /// Our refresh was accepted; a re-INVITE of it carries their description again.
    pub(super) fn on_refreshed(&mut self, leg: LegHandle, tx: ClientTx, is_invite: bool, response: &Message) {
        if !is_invite {
            return;
        }
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        self.acknowledge(leg, tx, cseq, None);
        let Ok(Some(answer)) = description_in(response, self.gate(leg)) else {
            self.abandon_exchange(leg);
            return;
        };
        let media = self.legs.get(leg).and_then(|leg| leg.media.as_ref());
        let is_same = media.is_some_and(|media| media.repeats(&answer));
        if self.receive_answer(leg, answer).is_err() {
            self.abandon_exchange(leg);
        } else if !is_same && let Some(call) = self.call_of(leg) {
            // Its media is elsewhere now.
            self.connect(call);
        }
    }

    /// Our refresh was refused; the session goes on until it expires.
    pub(super) fn on_refresh_refused(&mut self, leg: LegHandle, response: &Message) {
        self.abandon_exchange(leg);
        // RFC 3261 8.2.1, 21.5.2: it said that it takes UPDATE, and it does not.
        let is_unknown = matches!(response.status().map_or(0, StatusCode::as_u16), 405 | 501);
        let is_brief = response.status() == Some(StatusCode::SESSION_INTERVAL_TOO_SMALL);
        let Some(found) = self.legs.get_mut(leg) else { return };
        if is_unknown {
            found.allows_update = false;
        }
        let after = if is_brief && found.session.raise(response) { Duration::ZERO } else { AGAIN };
        self.arm(leg, timer::REFRESH, after);
    }

    /// A 422 to a re-INVITE of ours: the same again with a longer interval; false where that is of no use.
    pub(super) fn extend_reinvite(&mut self, leg: LegHandle, purpose: Purpose, response: &Message) -> bool {
        let is_invite = *response.method() == Method::Invite;
        let Some(found) = self.legs.get_mut(leg).filter(|leg| is_invite && !leg.last_offer.is_empty()) else {
            return false;
        };
        if !found.session.raise(response) {
            return false;
        }
        let offer = found.last_offer.clone();
        found.queued.push_front((offer, purpose));
        true
    }

    /// A 422 to our INVITE: the same again with a longer interval (RFC 4028 7.3); false where that is of no use.
    pub(super) fn extend_invite(&mut self, leg: LegHandle, response: &Message) -> bool {
        let found = self.legs.get_mut(leg).filter(|leg| leg.release.is_none());
        found.is_some_and(|found| found.session.raise(response)) && self.invite_again(leg, None)
    }

    /// Our INVITE to a leg once more, with another offer or the same.
    pub(super) fn invite_again(&mut self, leg: LegHandle, offer: Option<&Bytes>) -> bool {
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(leg).filter(|leg| leg.release.is_none()) else { return false };
        let sent = found.sent_invite.take().and_then(|bytes| Message::parse(bytes, &Limits::default()).ok());
        let Some(sent) = sent else { return false };
        let hops = sent.max_forwards().ok().flatten().map_or(70, u32::from);
        let mut writer = found.dialog.request_with_hops(&Method::Invite, &branch, hops);
        for header in sent.headers().filter(|header| !is_of_head(header.name)) {
            writer.copy(&header);
        }
        found.session.write_request(&mut writer);
        let body = sent.body();
        match offer {
            Some(offer) => drop(writer.body("application/sdp", offer)),
            None if body.is_empty() => {}
            None => drop(writer.body(sent.content_type().unwrap_or("application/sdp"), &body)),
        }
        let (bytes, flow) = (writer.finish(), found.dialog.flow);
        let tx = self.send_request(flow, &Method::Invite, &branch, bytes.clone(), Owner::Invite(leg));
        if let Some(found) = self.legs.get_mut(leg) {
            (found.client_invite, found.sent_invite) = (Some(tx), Some(bytes));
        }
        true
    }

    /// A re-INVITE or UPDATE that says nothing new is answered here: a refresh is between us and its sender. False
    /// where it does say something.
    pub(super) fn answer_repetition(
        &mut self,
        leg: LegHandle,
        tx: ServerTx,
        message: &Message,
    ) -> Result<bool, Refusal> {
        let Some(offer) = description_in(message, self.gate(leg))? else { return Ok(false) };
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        let Some(media) = found.media.as_mut().filter(|media| media.repeats(&offer)) else {
            return Ok(false);
        };
        media.receive_offer(offer)?;
        let body = match media.repeat() {
            Ok(body) => body,
            Err(refusal) => {
                media.abandon();
                return Err(refusal.into());
            }
        };
        if *message.method() == Method::Invite {
            found.server_invite = Some(tx);
            self.transactions.set_owner(tx, Owner::Served(leg));
            self.answer_inbound(leg, StatusCode::OK, Some(&body), None);
        } else {
            self.answer_update(leg, tx, Some(&body));
        }
        Ok(true)
    }
}

/// Headers that a request gets from its dialog, its body, or the session timer; and credentials, which are good for one
/// request (RFC 7616 3.4).
fn is_of_head(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Contact
            | HeaderName::Route
            | HeaderName::MaxForwards
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
            | HeaderName::SessionExpires
            | HeaderName::MinSe
            | HeaderName::ContentType
            | HeaderName::ContentLength
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_wants_ever_more_time_is_followed_a_few_times() {
        let mut timer = SessionTimer::default();
        let raised = (2000..2100).filter(|min| {
            let text = format!("SIP/2.0 422 Session Interval Too Small\r\nMin-SE: {min}\r\n\r\n");
            timer.raise(&Message::parse(text.into(), &Limits::default()).unwrap())
        });
        assert_eq!(raised.count(), usize::from(MAX_RAISED));
    }
}
