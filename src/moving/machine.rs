//! A move as a state machine: one page that can be read aloud, checked exhaustively in its tests.
//!
//! ```text
//!                     push: RingNew            far must be asked: ReofferFar
//!  grant ─► Storing ─────────────► Ringing ──────────┐
//!              │ pull                  │ answered     ▼
//!              ├──── must ask far ─────┼────────► Negotiating ──┐
//!              │                       │              │ pull    │ push
//!              └──── AnswerNew ────────┼────────► Answering     │
//!                                      │              │ ACK     │
//!                                      └──────────────┴────► Switching ─► Done ─► Undone
//!                                                               │ new device silent or gone
//!                 any stage before Switching, any failure ─► Refused  └─► RolledBack
//! ```
//! Promises, each an assertion of the exhaustive test:
//! * nothing is touched before the snapshot is stored;
//! * the old leg is not touched before the new device's ACK (its 200, when it is pushed);
//! * a far side that was re-offered and may have changed is restored whenever the move fails;
//! * the new device's INVITE gets exactly one final answer; a leg that stands and loses is hung up;
//! * after `Done` one device is on the call, after a failure the old one, and none only where the user or the far
//!   side hung up.

use std::time::Duration;

use smallvec::SmallVec;

use super::grant::{self, MoveGrant, Presence};
use super::{Refusal, Trigger};
use crate::base::Timestamp;

/// How the new device comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It sent an INVITE with an offer; the need was found by the media plan beforehand.
    Pull(Need),
    /// It sent an INVITE without an offer: ours goes into the 200, its answer comes with the ACK.
    PullOfferless,
    /// We ring it with an offer made from the far side's description.
    Push,
    /// It sent an INVITE for a call that still rings at the old device.
    Pickup,
}

/// Whether the far side must be re-INVITEd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The anchored media can stay as it is.
    Keep,
    /// Other media is needed, or `re_invite = "always"`.
    Reoffer,
}

/// What happens to a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot is stored.
    Stored,
    /// The store is down, or too late.
    StoreFailed,
    /// Push: the new device rings.
    NewRinging,
    /// Push: the new device answered 200; its description is usable.
    NewAnswered(Need),
    /// Push: the new device's final answer is no 200, or it cannot be reached.
    NewRefused,
    /// Pull: our 200 was acknowledged while both devices are registered. Make it with [`Move::acknowledged`].
    NewAcked(Need),
    /// Pull: our 200 was acknowledged, or the pushed device answered, but a binding has run out.
    BindingGone,
    /// The new device's description (in its 200 or ACK) cannot be used.
    NewUnusable,
    /// Our 200 was never acknowledged.
    NewUnacked,
    /// CANCEL or BYE of the new device, or its flow broke.
    NewGone,
    /// The new device's first packet after the swap.
    NewHeard,
    /// `rollback_ms` passed: the new device sent nothing while the old one still did.
    NewSilent,
    /// Neither sends (hold, mute, no media here): nothing to go back for.
    BothSilent,
    /// The far side accepted the re-offer and an answer for the new device can be made.
    FarAnswered,
    /// The far side accepted, but no answer for the new device can be made from what it said.
    FarUnusable,
    /// The far side refused the re-offer; its session is as it was.
    FarRefused,
    /// The far side answered 491.
    FarGlare,
    /// The far side's re-INVITE timed out.
    FarSilent,
    /// BYE of the far side, 481, or its flow broke.
    FarGone,
    /// BYE of the old device (CANCEL-like endings of a ringing leg too), or its flow broke.
    OldGone,
    /// Pickup: the ringing device answered first.
    OldAnswered,
    /// The user takes it back.
    Undo,
    /// The deadline of the stage; comes from [`Move::handle_timeout`].
    Late,
}

/// What the engine is to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store the session information; then [`Event::Stored`] or [`Event::StoreFailed`].
    StoreSnapshot,
    /// Send INVITE to the new device (push).
    RingNew,
    /// Answer the new device's INVITE with 200.
    AnswerNew,
    /// Acknowledge the pushed device's 200.
    AckNew,
    /// Answer the new device's INVITE with this refusal.
    RefuseNew(Refusal),
    /// CANCEL our INVITE to the new device; a late 200 is reported as [`Event::NewAnswered`].
    CancelNew,
    /// BYE to the new device as soon as RFC 3261 15 allows, and its media port goes.
    HangUpNew(Refusal),
    /// Re-INVITE the far side with the new device's media, once no transaction is open there.
    ReofferFar,
    /// The same after the random wait of RFC 3261 14.1.
    ReofferFarAgain,
    /// Make the far side's session what it was: end an open re-INVITE, ACK a late 200, re-INVITE with the old media.
    RestoreFar,
    /// Pickup: answer the far side's INVITE; the fork is decided.
    AnswerFar,
    /// Let the new device hear the far side too.
    HearBoth,
    /// One exchange on the media thread: far and new; the old device is neither heard nor fed.
    SwapRoute,
    /// The reverse: far and old as before.
    SwapBack,
    /// Start the hold-off of the old device and store it.
    HoldOffOld,
    /// End that hold-off.
    LiftHoldOff,
    /// Ask the media thread who sends, and answer with an event as [`Watch`] says.
    WatchMedia(Watch),
    /// BYE to the old device (CANCEL if it rings) with `Reason: SIP;cause=200;text="Call moved to <device>"`.
    ReleaseOld,
    /// BYE to the old device: the call is over. (Pickup: the fork is cancelled.)
    EndOld,
    /// BYE to the far side: nobody is left on ours. (Pickup: the fork goes on without the one that declined.)
    EndFar,
    /// The new device shows the far party; watchers, events and the record learn of the move.
    Announce,
    /// Undo of a finished move: ring the old device as a new push.
    PushBack,
}

/// What the media thread is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// At the swap: did the old device send until now? If not (hold, mute, no media here), and wherever the new
    /// device is not to send, [`Event::BothSilent`] at once.
    OldBefore,
    /// After `rollback_ms`: [`Event::NewHeard`] where the new device was, else [`Event::NewSilent`] where the old
    /// one still sends, else [`Event::BothSilent`]. No answer within another `rollback_ms` counts as the last.
    NewAfter,
}

/// The actions of one step.
pub type Actions = SmallVec<[Action; 6]>;

/// What operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for; not granted yet.
    Requested,
    /// Granted; the snapshot is being stored.
    Authorized,
    /// The new device rings.
    Ringing,
    /// Media is being agreed with the far side or the new device.
    Negotiating,
    /// The route is exchanged; the old device waits to be released.
    Switching,
    /// Moved.
    Done,
    /// It went back.
    RolledBack,
    /// It did not happen.
    Refused,
}

impl State {
    /// The word in the API, the record and the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Authorized => "authorized",
            Self::Ringing => "ringing",
            Self::Negotiating => "negotiating",
            Self::Switching => "switching",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
        }
    }
}

/// Why a swap was taken back: the `reason` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rollback {
    /// The new device sent no media.
    NewSilent,
    /// The new device hung up before it was heard.
    NewGone,
    /// The user took it back.
    Undo,
}

impl Rollback {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewSilent => "new_silent",
            Self::NewGone => "new_gone",
            Self::Undo => "undo",
        }
    }
}

/// How long each stage may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The store's answer.
    pub store: Duration,
    /// The pushed device's answer.
    pub ring: Duration,
    /// The far side's answer to a re-INVITE, waits after 491 included.
    pub far: Duration,
    /// The new device's ACK.
    pub ack: Duration,
    /// The new device's first packet.
    pub rollback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            store: Duration::from_secs(2),
            ring: Duration::from_secs(30),
            // Longer than three waits of RFC 3261 14.1 (4 s at most each), shorter than a caller's patience.
            far: Duration::from_secs(15),
            // RFC 3261 13.3.1.4: 64*T1.
            ack: Duration::from_secs(32),
            rollback: Duration::from_millis(2000),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Storing,
    Ringing,
    Negotiating { glares: u8 },
    Answering,
    Switching { asked: Asked },
    Done,
    Undone,
    RolledBack(Rollback),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

/// What stands between us and the new device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum New {
    /// Push: not rung yet.
    Idle,
    /// Pull: its INVITE waits for our final answer.
    Waiting,
    /// Push: our INVITE waits for its final answer.
    Ringing,
    /// Push: our INVITE is cancelled; a 200 may have crossed.
    Cancelled,
    /// A dialog.
    Up,
    /// Nothing any more.
    Gone,
}

/// What the far side may believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    /// What it always did.
    Untouched,
    /// A re-offer is open or accepted.
    Offered,
    /// It hung up.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Up,
    Gone,
}

/// 491 answers after which the far side counts as refusing.
const MAX_GLARES: u8 = 4;

/// A move under way. Begun with a grant, and with nothing else.
#[derive(Debug)]
pub struct Move {
    grant: MoveGrant,
    way: Way,
    limits: Limits,
    stage: Stage,
    new: New,
    far: Far,
    old: Old,
    deadline: Timestamp,
}

impl Move {
    /// Spends `grant`. Exactly one action comes out: [`Action::StoreSnapshot`].
    pub fn begin(now: Timestamp, grant: MoveGrant, way: Way, limits: Limits, out: &mut Actions) -> Self {
        out.push(Action::StoreSnapshot);
        let new = if way == Way::Push { New::Idle } else { New::Waiting };
        let deadline = now + limits.store;
        Self { grant, way, limits, stage: Stage::Storing, new, far: Far::Untouched, old: Old::Up, deadline }
    }

    /// The event for the new device's ACK, or for a pushed device's 200: both devices must be registered at the
    /// instant of commit too.
    #[must_use]
    pub fn acknowledged(&self, now: Timestamp, old: Presence, new: Presence, need: Need) -> Event {
        match (grant::still_registered(now, old, new), self.way) {
            (Err(_), _) => Event::BindingGone,
            (Ok(()), Way::Push) => Event::NewAnswered(need),
            (Ok(()), _) => Event::NewAcked(need),
        }
    }

    /// One step. An event that means nothing in a stage changes nothing and asks for nothing.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Actions) {
        let before = self.stage;
        self.step(event, out);
        if self.stage != before {
            let limit = match self.stage {
                Stage::Storing => self.limits.store,
                Stage::Ringing => self.limits.ring,
                Stage::Answering => self.limits.ack,
                Stage::Switching { .. } => self.limits.rollback,
                // One limit for all tries.
                Stage::Negotiating { glares: 0 } => self.limits.far,
                Stage::Negotiating { .. } => return,
                Stage::Done | Stage::Undone | Stage::RolledBack(_) | Stage::Refused(_) => {
                    self.deadline = Timestamp::NEVER;
                    return;
                }
            };
            self.deadline = now + limit;
        }
    }

    /// When the stage's time is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Some(self.deadline).filter(|at| *at != Timestamp::NEVER)
    }

    /// Call at or after [`Move::poll_timeout`]; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Actions) {
        if self.deadline <= now {
            self.handle(now, Event::Late, out);
        }
    }

    /// The grant it rests on: which call, legs, devices.
    #[must_use]
    pub fn grant(&self) -> &MoveGrant {
        &self.grant
    }

    /// How the new device came in.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// The way in, for records.
    #[must_use]
    pub fn trigger(&self) -> Trigger {
        self.grant.trigger()
    }

    /// What operators see.
    #[must_use]
    pub fn state(&self) -> State {
        match self.stage {
            Stage::Storing => State::Authorized,
            Stage::Ringing => State::Ringing,
            Stage::Negotiating { .. } | Stage::Answering => State::Negotiating,
            Stage::Switching { .. } => State::Switching,
            Stage::Done => State::Done,
            Stage::Undone | Stage::RolledBack(_) => State::RolledBack,
            Stage::Refused(_) => State::Refused,
        }
    }

    /// Why it did not happen.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        if let Stage::Refused(refusal) = self.stage { Some(refusal) } else { None }
    }

    /// Why it went back.
    #[must_use]
    pub fn rollback(&self) -> Option<Rollback> {
        match self.stage {
            Stage::RolledBack(why) => Some(why),
            Stage::Undone => Some(Rollback::Undo),
            _ => None,
        }
    }

    /// Whether the call may be moved again (and, pushed devices' late answers aside, nothing more will be asked).
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Undone | Stage::RolledBack(_) | Stage::Refused(_))
    }

    /// The feature as a page.
    fn step(&mut self, event: Event, out: &mut Actions) {
        use Event::*;
        match (self.stage, event) {
            // Nothing is touched before the session information is stored; a late reply finds another stage.
            (Stage::Storing, Stored) => self.after_stored(out),
            (Stage::Storing, StoreFailed | Late) => self.fail(Refusal::StoreUnavailable { seconds: 5 }, out),

            // Push: only that device rings, and the old leg is as it was.
            (Stage::Ringing, NewAnswered(need)) => {
                self.new = New::Up;
                out.extend([Action::AckNew, Action::HearBoth]);
                self.settle(need, out);
            }
            (Stage::Ringing, NewRefused | NewGone) => {
                self.new = New::Gone;
                self.fail(Refusal::TargetRefused, out);
            }
            (Stage::Ringing, Late) => self.fail(Refusal::TargetSilent, out),

            // The far side is asked; until it has said yes, everything is as it was.
            (Stage::Negotiating { .. }, FarAnswered) if self.new == New::Up => self.switch(out),
            (Stage::Negotiating { .. }, FarAnswered) => self.answer(out),
            (Stage::Negotiating { .. }, FarUnusable) => self.fail(Refusal::OfferUnusable, out),
            (Stage::Negotiating { glares }, FarGlare) if glares + 1 < MAX_GLARES => {
                self.stage = Stage::Negotiating { glares: glares + 1 };
                out.push(Action::ReofferFarAgain);
            }
            // RFC 3261 14.1: a failed re-INVITE leaves the session as it was, so there is nothing to restore.
            (Stage::Negotiating { .. }, FarRefused | FarGlare) => {
                self.far = Far::Untouched;
                self.fail(Refusal::FarRefused, out);
            }
            (Stage::Negotiating { .. }, FarSilent | Late) => self.fail(Refusal::FarSilent, out),

            // Our 200 is out; its ACK is the moment.
            (Stage::Answering, NewAcked(_)) if self.way == Way::Pickup => self.pick_up(out),
            (Stage::Answering, NewAcked(need)) if self.way == Way::PullOfferless => self.settle(need, out),
            (Stage::Answering, NewAcked(_)) => self.switch(out),
            (Stage::Answering, NewUnacked | Late) => self.fail(Refusal::NeverAcked, out),

            // Swapped. The old leg is silenced but stands until the new device is heard.
            (Stage::Switching { .. }, NewHeard | BothSilent) => self.finish(out),
            (Stage::Switching { .. }, NewSilent) => self.go_back(Rollback::NewSilent, out),
            (Stage::Switching { .. }, Undo) => self.go_back(Rollback::Undo, out),
            (Stage::Switching { .. }, NewGone) => {
                self.new = New::Gone;
                self.go_back(Rollback::NewGone, out);
            }
            (Stage::Switching { asked: Asked::No }, Late) => {
                self.stage = Stage::Switching { asked: Asked::Yes };
                out.push(Action::WatchMedia(Watch::NewAfter));
            }
            (Stage::Switching { asked: Asked::Yes }, Late) => self.finish(out),

            (Stage::Done, Undo) => {
                self.stage = Stage::Undone;
                out.extend([Action::LiftHoldOff, Action::PushBack]);
            }
            // A 200 that crossed our CANCEL.
            (Stage::Refused(why), NewAnswered(_)) if self.new == New::Cancelled => {
                self.new = New::Gone;
                out.extend([Action::AckNew, Action::HangUpNew(why)]);
            }
            (Stage::Refused(_), NewRefused | NewGone) if self.new == New::Cancelled => self.new = New::Gone,
            (Stage::Done | Stage::Undone | Stage::RolledBack(_) | Stage::Refused(_), _) => {}

            // In any stage that is not over:
            // the far side's BYE ends all,
            (_, FarGone) => {
                self.far = Far::Gone;
                self.fail(Refusal::FarGone, out);
            }
            // the old device's BYE does not end the move, and after the swap leaves nothing to go back to,
            (stage, OldGone) => {
                self.old = Old::Gone;
                if matches!(stage, Stage::Switching { .. }) {
                    self.finish(out);
                }
            }
            (Stage::Storing | Stage::Answering, OldAnswered) if self.way == Way::Pickup => {
                self.fail(Refusal::Busy, out);
            }
            // and what ends before the swap leaves the old call as it was.
            (_, NewGone | Undo) => {
                if event == NewGone && self.new == New::Up {
                    self.new = New::Gone;
                }
                self.fail(Refusal::Cancelled, out);
            }
            (Stage::Ringing | Stage::Negotiating { .. } | Stage::Answering, NewUnusable) => {
                self.stand(out);
                self.fail(Refusal::OfferUnusable, out);
            }
            (Stage::Ringing | Stage::Negotiating { .. } | Stage::Answering, BindingGone) => {
                self.stand(out);
                self.fail(Refusal::NotRegistered, out);
            }
            (_, _) => {}
        }
    }

    fn after_stored(&mut self, out: &mut Actions) {
        match self.way {
            Way::Push => {
                (self.stage, self.new) = (Stage::Ringing, New::Ringing);
                out.push(Action::RingNew);
            }
            Way::Pull(Need::Reoffer) => self.ask_far(out),
            Way::Pull(Need::Keep) | Way::PullOfferless | Way::Pickup => self.answer(out),
        }
    }

    fn ask_far(&mut self, out: &mut Actions) {
        (self.stage, self.far) = (Stage::Negotiating { glares: 0 }, Far::Offered);
        out.push(Action::ReofferFar);
    }

    fn answer(&mut self, out: &mut Actions) {
        (self.stage, self.new) = (Stage::Answering, New::Up);
        out.push(Action::AnswerNew);
        if self.way != Way::Pickup {
            out.push(Action::HearBoth);
        }
    }

    /// The new device stands; the far side may have to be asked yet.
    fn settle(&mut self, need: Need, out: &mut Actions) {
        match need {
            Need::Keep => self.switch(out),
            Need::Reoffer => self.ask_far(out),
        }
    }

    /// A pushed device's 200 must be acknowledged even where it is of no use.
    fn stand(&mut self, out: &mut Actions) {
        if self.new == New::Ringing {
            self.new = New::Up;
            out.push(Action::AckNew);
        }
    }

    fn switch(&mut self, out: &mut Actions) {
        self.stage = Stage::Switching { asked: Asked::No };
        out.extend([Action::SwapRoute, Action::HoldOffOld]);
        match self.old {
            Old::Up => out.push(Action::WatchMedia(Watch::OldBefore)),
            Old::Gone => self.finish(out),
        }
    }

    /// The caller is answered; whoever still rings stops. Nobody had the call, so nobody is held off.
    fn pick_up(&mut self, out: &mut Actions) {
        out.extend([Action::AnswerFar, Action::SwapRoute]);
        self.finish(out);
    }

    fn finish(&mut self, out: &mut Actions) {
        self.stage = Stage::Done;
        if self.old == Old::Up {
            out.push(Action::ReleaseOld);
        }
        out.push(Action::Announce);
    }

    /// Back to the old device, if it still stands; if not, the new one keeps the call, or it ends.
    fn go_back(&mut self, why: Rollback, out: &mut Actions) {
        match (self.old, self.new) {
            (Old::Up, new) => {
                self.stage = Stage::RolledBack(why);
                out.push(Action::SwapBack);
                out.push(Action::LiftHoldOff);
                if new == New::Up {
                    out.push(Action::HangUpNew(Refusal::Cancelled));
                }
                if self.far == Far::Offered {
                    out.push(Action::RestoreFar);
                }
            }
            (Old::Gone, New::Gone) => {
                self.stage = Stage::Refused(Refusal::Cancelled);
                out.push(Action::EndFar);
            }
            (Old::Gone, _) => self.finish(out),
        }
    }

    /// Before the swap, or because the far side is gone: the new device is told, the far side is restored, and the
    /// old leg is as it was. Where it is not there any more, nobody is left to talk.
    fn fail(&mut self, why: Refusal, out: &mut Actions) {
        self.stage = Stage::Refused(why);
        self.new = match self.new {
            New::Waiting => {
                out.push(Action::RefuseNew(why));
                New::Gone
            }
            New::Ringing => {
                out.push(Action::CancelNew);
                New::Cancelled
            }
            New::Up => {
                out.push(Action::HangUpNew(why));
                New::Gone
            }
            New::Idle | New::Gone => New::Gone,
            New::Cancelled => New::Cancelled,
        };
        match (self.far, self.old) {
            (Far::Gone, Old::Up) => out.push(Action::EndOld),
            (Far::Gone, Old::Gone) => {}
            (_, Old::Gone) => out.push(Action::EndFar),
            (Far::Offered, Old::Up) => out.push(Action::RestoreFar),
            (Far::Untouched, Old::Up) => {}
        }
    }
}
