//! A shared device asks who stands before it: extension and PIN by keypad (contract 11), RFC 4733 or INFO.
//!
//! ```text
//!  *11 ──► 200, beep ──► extension # ──► beep beep ──► PIN # ──► argon2 elsewhere ──► Unlocked ─► grant ─► the move
//!  *14           ▲                                                   │ wrong                   └─ two notes ─► BYE
//!             └────────── three times at most ── low tone ◄──────────┘          then, and when time is up: BYE
//! ```
//! The device is in a call with us meanwhile ([`Service::Prompt`]), which leaves no record. With the grant its leg is
//! taken out of that call and joins the one that moves. What is typed is kept in [`Digits`], which no log shows; the
//! port of the device has no sink, so nobody hears it.

use std::fmt;
use std::time::Duration;

use super::doors::Begin;
use super::sign_in::Arrival;
use super::{AskedBy, Joins, MoveKey, call_of, device_of};
use crate::base::Timestamp;
use crate::call::dial_plan::Plan;
use crate::call::media::{port_at, voice_of};
use crate::call::record::HangupBy;
use crate::call::setup::Incoming;
use crate::call::{CallHandle, LegHandle, LegState, Purpose, Role, Service};
use crate::engine::command::{MoveMode, Secret};
use crate::engine::store::{StoreOp, StoreTicket};
use crate::engine::{Engine, Output, VerifyTicket};
use crate::media::plan;
use crate::media::relay::{MediaCommand, PortId, Prompt, Sound};
use crate::moving::directory::{Ask, LiveLeg, Lock};
use crate::moving::grant::{self, Mover, Unlocked};
use crate::moving::hold_off::Access;
use crate::moving::machine::{Event, Move, Need, Way};
use crate::moving::star_code::Select;
use crate::moving::{DeviceKey, Refusal as MoveRefusal, Trigger};
use crate::registrar::accounts::Trust;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{Message, StatusCode};

/// Prompts at once; a node has fewer shared devices than that.
const MAX_PROMPTS: usize = 256;
/// Digits of one entry; a longer one is wrong.
const MAX_DIGITS: usize = 32;
/// Keys pressed ahead of the question; more are lost.
const MAX_AHEAD: usize = 2 * (MAX_DIGITS + 1);
/// Wrong entries after which the device is hung up.
pub(super) const TRIES: u8 = 3;
/// Longest pause before a digit.
const PAUSE: Duration = Duration::from_secs(15);
/// Longest dialogue.
const WHOLE: Duration = Duration::from_secs(90);
/// Longest wait for a verification: the pool gives up before that.
const VERIFICATION: Duration = Duration::from_secs(10);
/// Longest wait for the end of a tone.
const TONE: Duration = Duration::from_secs(3);
/// How long a proof is good for: it is used at once.
const PROOF: Duration = Duration::from_secs(10);

/// What was typed. No log shows it.
#[derive(Clone, Default)]
struct Digits(String);

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Extension,
    Pin,
    Checking,
    /// The low tone plays.
    Refused,
    /// The two notes play that say that the user has signed in.
    Accepted,
}

/// What the right PIN is for.
#[derive(Clone, Debug)]
pub(super) enum Wants {
    /// The call that the pull code means.
    Call(Select),
    /// To be signed in.
    SignIn,
    /// To be signed out: that needs none.
    SignOut,
}

/// How a device tells its digits. Some do both at once: then the first way counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keypad {
    Rtp,
    Info,
}

/// One device that is being asked.
#[derive(Debug)]
pub(in crate::engine) struct Prompting {
    leg: LegHandle,
    by: DeviceKey,
    wants: Wants,
    stage: Stage,
    typed: Digits,
    extension: Digits,
    /// Pressed before it was asked for.
    ahead: Digits,
    /// Whose PIN is being checked.
    user: Option<Box<str>>,
    /// The hash that it is checked against.
    against: Option<Secret>,
    keypad: Option<Keypad>,
    wrong: u8,
    /// The end of the stage.
    until: Timestamp,
    /// The end of it all.
    ends: Timestamp,
}

impl Prompting {
    pub(super) fn due(&self) -> Timestamp {
        self.until.min(self.ends)
    }

    /// Whether the PIN that was checked is still that one.
    pub(super) fn was_checked_against(&self, hash: &str) -> bool {
        self.against.as_ref().is_some_and(|Secret(against)| **against == *hash)
    }

    /// Who has signed in by it.
    pub(super) fn signed_in(self) -> Option<Arrival> {
        let user = self.user.filter(|_| self.stage == Stage::Accepted)?;
        Some(Arrival { leg: self.leg, device: self.by, user })
    }
}

impl Engine {
    /// Whether a device stands for nobody until its user has signed in at it.
    pub(in crate::engine) fn is_shared(&self, device: &DeviceKey) -> bool {
        let account = self.core.accounts.by_name(device.user());
        account
            .and_then(|account| account.device(device.device()))
            .is_some_and(|device| device.trust == Trust::Shared)
    }

    /// A code was dialled at a shared device for which it has to be known who that is.
    pub(super) fn ask_who(&mut self, incoming: Incoming<'_>, wants: Wants) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        self.held(&by, Access::Other, "INVITE")?;
        if self.moves.prompts.len() >= MAX_PROMPTS {
            return Err(Refusal::Overloaded { what: "prompts", retry_after: 10 });
        }
        let call = self.core.place_call(incoming, Plan::service(Service::Prompt))?;
        let leg = self.core.calls.get(call).map(|call| call.caller).ok_or(Refusal::Internal)?;
        let now = self.core.now.at;
        let prompting = Prompting {
            leg,
            by: by.clone(),
            wants,
            stage: Stage::Extension,
            typed: Digits::default(),
            extension: Digits::default(),
            ahead: Digits::default(),
            user: None,
            against: None,
            keypad: None,
            wrong: 0,
            until: now + PAUSE,
            ends: now + WHOLE,
        };
        let asks = !matches!(prompting.wants, Wants::SignOut);
        self.moves.prompts.insert(call, prompting);
        if asks {
            self.play(leg, Prompt::Extension);
        } else {
            self.sign_out_prompted(call, &by);
        }
        Ok(())
    }

    pub(super) fn play(&mut self, leg: LegHandle, prompt: Prompt) {
        let Some(found) = self.core.legs.get(leg) else { return };
        let Some(media) = &found.media else { return };
        let heard =
            media.remote_media().into_iter().filter(plan::RemoteMedia::hears).find_map(|end| {
                Some((port_at(&found.ports, end.line)?, end.accepts.iter().find_map(voice_of)?))
            });
        if let Some((port, voice)) = heard {
            self.core.media.push(MediaCommand::Play { port, sound: Sound::Prompt(prompt), voice });
        }
    }

    /// INFO in the dialog of a leg: a digit for the prompt, a key for the other end, or something that goes across as it is.
    pub(crate) fn on_info(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        let prompt = self.core.call_of(leg).filter(|call| self.moves.prompts.contains_key(call));
        let digit = digit_in(message);
        if prompt.is_none() && !digit.is_some_and(|digit| self.core.press_across(leg, digit)) {
            return self.core.on_pass(leg, tx, message);
        }
        let tag = self.core.legs.get(leg).map(|leg| leg.dialog.local_tag.clone()).unwrap_or_default();
        self.core.respond_plain(tx, StatusCode::OK, &tag);
        if let (Some(call), Some(digit)) = (prompt, digit) {
            self.type_digit(call, Keypad::Info, digit);
        }
        Ok(())
    }

    /// A digit was pressed.
    pub(crate) fn on_digit(&mut self, port: PortId, digit: char) {
        let Some(leg) = self.core.port_legs.get(&port).copied() else { return };
        let prompt = self.core.call_of(leg).filter(|call| self.moves.prompts.contains_key(call));
        match prompt {
            Some(call) => self.type_digit(call, Keypad::Rtp, digit),
            None => self.core.tell_key(leg, digit),
        }
    }

    fn type_digit(&mut self, call: CallHandle, keypad: Keypad, digit: char) {
        let now = self.core.now.at;
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        if *prompting.keypad.get_or_insert(keypad) != keypad {
            return;
        }
        match prompting.stage {
            Stage::Extension | Stage::Pin => {}
            // Who knows the questions does not wait for them: a key cuts the low tone short.
            Stage::Checking | Stage::Refused => {
                if prompting.ahead.0.len() < MAX_AHEAD
                    && (digit.is_ascii_digit() || matches!(digit, '*' | '#'))
                {
                    prompting.ahead.0.push(digit);
                }
                if prompting.stage == Stage::Refused && prompting.wrong < TRIES {
                    self.after_tone(call);
                }
                return;
            }
            Stage::Accepted => return,
        }
        prompting.until = now + PAUSE;
        match digit {
            '#' => self.enter(call),
            // Whoever mistyped starts the entry again.
            '*' => prompting.typed.0.clear(),
            '0'..='9' if prompting.typed.0.len() <= MAX_DIGITS => prompting.typed.0.push(digit),
            _ => {}
        }
    }

    /// An entry is complete.
    fn enter(&mut self, call: CallHandle) {
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        let (leg, typed) = (prompting.leg, std::mem::take(&mut prompting.typed));
        match prompting.stage {
            Stage::Extension => {
                (prompting.extension, prompting.stage) = (typed, Stage::Pin);
                self.play(leg, Prompt::Pin);
            }
            Stage::Pin => self.check_pin(call, typed),
            Stage::Checking | Stage::Refused | Stage::Accepted => {}
        }
    }

    /// The same work for every extension and every state of the counters: only the outcome differs.
    fn check_pin(&mut self, call: CallHandle, pin: Digits) {
        let now = self.core.now;
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        let fits = pin.0.len() <= MAX_DIGITS && prompting.extension.0.len() <= MAX_DIGITS;
        let account = self.core.accounts.by_extension(&prompting.extension.0).filter(|_| fits);
        let user: Option<Box<str>> = account.map(|account| account.name.clone());
        let is_open = self.moves.pins.is_open(now.at, user.as_deref(), &prompting.by);
        let hash = account.and_then(|account| account.pin.as_ref()).filter(|_| is_open);
        let hash: Option<Box<str>> = hash.map(|hash| Box::from(hash.as_str()));
        let rows = self.moves.pins.charge(now, user.as_deref(), &prompting.by);
        (prompting.user, prompting.stage, prompting.until) = (user, Stage::Checking, now.at + VERIFICATION);
        prompting.extension = Digits::default();
        prompting.against = hash.clone().map(Secret);
        self.save_failures(rows);
        let ticket = VerifyTicket(self.ticket());
        self.moves.checks.insert(ticket, call);
        self.outputs.push(Output::Verify { ticket, hash, secret: Secret(pin.0.into_boxed_str()) });
    }

    pub(in crate::engine) fn save_failures(&mut self, rows: Vec<crate::engine::store::FailureCounter>) {
        let ticket = StoreTicket(self.ticket());
        self.outputs.push(Output::Store { ticket, op: StoreOp::SaveFailures(rows) });
    }

    /// The outcome of a check of a secret.
    pub(crate) fn on_verified(&mut self, ticket: VerifyTicket, right: bool) {
        let Some(call) = self.moves.checks.remove(&ticket) else { return };
        // Whoever hung up, or waited too long, is not asked any more.
        let Some(prompting) = self.moves.prompts.get(&call).filter(|found| found.stage == Stage::Checking)
        else {
            return;
        };
        let (by, leg, wants) = (prompting.by.clone(), prompting.leg, prompting.wants.clone());
        match prompting.user.clone().filter(|_| right) {
            Some(user) => {
                let rows = self.moves.pins.forgive(&user, &by);
                self.save_failures(rows);
                let until = self.core.now.at + PROOF;
                let proof = Unlocked { device: by, user, until };
                let done = match wants {
                    Wants::Call(select) => self.pull_unlocked(call, &proof, &select),
                    Wants::SignIn => self.sign_in_unlocked(call, &proof),
                    // It asks for no PIN.
                    Wants::SignOut => Ok(()),
                };
                if let Err(refusal) = done {
                    tracing::debug!(reason = refusal.as_str(), "refused after the PIN");
                    self.refuse_prompt(call, TRIES);
                }
            }
            None => {
                let source = self.core.legs.get(leg).map(|leg| leg.dialog.flow.peer);
                if let Some(source) = source {
                    self.tell_security("pin_wrong", Some(call), &by, source, "extension or PIN is wrong");
                }
                self.refuse_prompt(call, 1);
            }
        }
    }

    /// The two notes; then it is over.
    pub(super) fn accept_prompt(&mut self, call: CallHandle) {
        let now = self.core.now.at;
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        (prompting.stage, prompting.until) = (Stage::Accepted, now + TONE);
        prompting.ahead = Digits::default();
        let leg = prompting.leg;
        self.play(leg, Prompt::Accepted);
    }

    /// The low tone; `wrong` more entries were wrong.
    pub(super) fn refuse_prompt(&mut self, call: CallHandle, wrong: u8) {
        let now = self.core.now.at;
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        prompting.wrong = prompting.wrong.saturating_add(wrong);
        (prompting.stage, prompting.until) = (Stage::Refused, now + TONE);
        (prompting.typed, prompting.extension) = (Digits::default(), Digits::default());
        let leg = prompting.leg;
        self.play(leg, Prompt::Refused);
    }

    /// A prompt is through.
    pub(crate) fn on_played(&mut self, port: PortId) {
        let Some(leg) = self.core.port_legs.get(&port).copied() else { return };
        if let Some(call) = self.core.call_of(leg) {
            self.after_tone(call);
        }
    }

    /// After the low tone: once more, or goodbye. After the two notes: goodbye.
    fn after_tone(&mut self, call: CallHandle) {
        let now = self.core.now.at;
        let Some(prompting) = self.moves.prompts.get_mut(&call) else { return };
        match prompting.stage {
            Stage::Refused => {}
            Stage::Accepted => {
                let reason = match prompting.wants {
                    Wants::SignOut => "SIP;cause=200;text=\"Signed out\"",
                    Wants::SignIn | Wants::Call(_) => "SIP;cause=200;text=\"Signed in\"",
                };
                return self.core.end_call(call, HangupBy::System, reason);
            }
            Stage::Extension | Stage::Pin | Stage::Checking => return,
        }
        if prompting.wrong >= TRIES || prompting.ends <= now {
            self.core.end_call(call, HangupBy::System, "SIP;cause=403;text=\"Not signed in\"");
            return;
        }
        (prompting.stage, prompting.until) = (Stage::Extension, now + PAUSE);
        let (leg, keypad, ahead) = (prompting.leg, prompting.keypad, std::mem::take(&mut prompting.ahead));
        self.play(leg, Prompt::Extension);
        if let Some(keypad) = keypad {
            for digit in ahead.0.chars() {
                self.type_digit(call, keypad, digit);
            }
        }
    }

    /// Prompts whose time is up.
    pub(super) fn on_prompts_timeout(&mut self) {
        let now = self.core.now.at;
        let due: Vec<CallHandle> = self
            .moves
            .prompts
            .iter()
            .filter(|(_, found)| found.due() <= now)
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            let Some(prompting) = self.moves.prompts.get_mut(&call) else { continue };
            if matches!(prompting.stage, Stage::Refused | Stage::Accepted) {
                prompting.wrong = if prompting.ends <= now { TRIES } else { prompting.wrong };
                self.after_tone(call);
            } else {
                prompting.ends = now + TONE;
                self.refuse_prompt(call, TRIES);
            }
        }
    }

    /// Whoever stands before the device has proved it: the call that the code means comes here.
    fn pull_unlocked(
        &mut self,
        prompt: CallHandle,
        proof: &Unlocked,
        select: &Select,
    ) -> Result<(), MoveRefusal> {
        let found = self.moves.prompts.get(&prompt).ok_or(MoveRefusal::DialogUnknown)?;
        let (leg, by) = (found.leg, found.by.clone());
        if self.core.legs.get(leg).is_none_or(|leg| leg.state != LegState::Confirmed) {
            return Err(MoveRefusal::NeverAcked);
        }
        let live = self.leg_for(&by, &proof.user, select)?;
        let rings = !grant::is_answered(&live);
        let trigger = if rings { Trigger::Pickup } else { Trigger::StarCode };
        let grant = self.grant_to(Mover::Device(&by), &live, &by, trigger, Some(proof))?;
        self.moves.prompts.remove(&prompt);
        let owner = self.core.accounts.by_name(&proof.user).cloned();
        if let Some(found) = self.core.legs.get_mut(leg) {
            found.acts_for = owner;
        }
        self.core.adopt_leg(leg, call_of(live.call));
        self.begin(Begin {
            grant,
            way: if rings { Way::Pickup } else { Way::Push },
            new: Some(leg),
            joins: Joins::FromPrompt,
            pairing: plan::Pairing::default(),
            mode: MoveMode::Ring,
            asked_by: AskedBy::Nobody,
        });
        Ok(())
    }

    /// The leg that a code, dialled at `by`, means for `user`.
    fn leg_for(&self, by: &DeviceKey, user: &str, select: &Select) -> Result<LiveLeg, MoveRefusal> {
        // The directory chooses among the legs of a user for a device of that user; a shared device of somebody else
        // stands in for one, under a name that no device of the user can have.
        let here = if by.user() == user { by.clone() } else { DeviceKey::new(user, by.to_string()) };
        let ask = Ask {
            now: self.core.now.at,
            hold_offs: &self.moves.hold_offs,
            lock: Lock::Open,
            policy: self.settings.moving.select,
        };
        self.moves.directory.select(&here, select, &ask).cloned()
    }

    /// The device of a prompt joins the far side: as it stands where its media fits, else by a re-INVITE with what the
    /// far side has.
    pub(super) fn join_from_prompt(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, from, to, Some(new)) = (moving.far, moving.from.clone(), moving.to.clone(), moving.new)
        else {
            return;
        };
        // Without ports it was asked on another media thread than that of the call.
        let has_ports = self.core.legs.get(new).is_some_and(|leg| !leg.ports.is_empty());
        let as_it_is = if has_ports { self.plan_join(far, new).ok() } else { None };
        if let Some((Need::Keep, pairing)) = as_it_is {
            if let Some(moving) = self.moves.live.get_mut(&key) {
                moving.pairing = pairing;
            }
            let event = Event::NewAnswered(Need::Keep);
            let event =
                Move::if_registered(self.core.now.at, self.presence(&from), self.presence(&to), event);
            return self.advance(key, event);
        }
        match self.offer_new(far, new) {
            Ok(offer) => self.core.queue_reinvite(new, offer, Purpose::Move),
            Err(_) => self.advance(key, Event::NewUnusable),
        }
    }

    /// The device of a prompt gets the offer of a caller who still waits.
    pub(super) fn pick_up_from_prompt(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, Some(new)) = (moving.far, moving.new) else { return };
        match self.offer_caller(far, new) {
            Ok(offer) => self.core.queue_reinvite(new, offer, Purpose::Move),
            Err(_) => self.advance(key, Event::NewUnusable),
        }
    }

    /// The device of a prompt has answered the re-INVITE by which it joins.
    pub(super) fn on_rejoined(&mut self, key: MoveKey, new: LegHandle, body: &bytes::Bytes) {
        let Some(moving) = self.moving(key) else { return };
        let event = if moving.machine.way() == Way::Pickup {
            Some(self.settle_pickup(key, new, Some(body.clone())))
        } else {
            self.settle_new(new, body)
        };
        if let Some(event) = event {
            self.advance(key, event);
        }
    }

    /// A move from a prompt did not happen: the device is hung up, wherever it stood.
    pub(super) fn drop_prompted(&mut self, new: Option<LegHandle>, joins: Joins) {
        let Some(new) = new.filter(|_| joins == Joins::FromPrompt) else { return };
        let stands = |leg: &crate::call::Leg| leg.role == Role::Mover && leg.state != LegState::Ended;
        if self.core.legs.get(new).is_some_and(stands) {
            self.core.release_leg(new, "SIP;cause=487;text=\"Move cancelled\"");
        }
    }
}

/// The digit of an INFO: `application/dtmf-relay` (`Signal=5`), or `application/dtmf` (`5`).
fn digit_in(message: &Message) -> Option<char> {
    let kind = message.content_type()?.split(';').next()?.trim();
    let body = message.body();
    let text = std::str::from_utf8(&body).ok()?;
    let signal = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        let is_signal = |line: &str| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
        };
        text.lines().find_map(is_signal)?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        text.trim().to_owned()
    } else {
        return None;
    };
    match signal.as_str() {
        // Some name the two by their event codes (RFC 4733 3.2).
        "10" => Some('*'),
        "11" => Some('#'),
        one => {
            let mut chars = one.chars();
            chars.next().filter(|_| chars.next().is_none())
        }
    }
}
