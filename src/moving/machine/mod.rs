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
//!                                      └──────────────┴────► Switching ─► Done
//!                                                               │ new device silent or gone
//!                 any stage before Switching, any failure ─► Refused  └─► RolledBack
//! ```
//! A device that is asked to call (ReferNew in place of RingNew) comes out of Ringing as a pull, by its own INVITE.
//!
//! Promises, each an assertion of the exhaustive test:
//! * nothing is touched before the snapshot is stored;
//! * the old leg is not touched before the new device's ACK (its 200, when it is pushed);
//! * a far side that was re-offered and may have changed is restored whenever the move fails;
//! * the new device's INVITE gets exactly one final answer; a leg that stands and loses is hung up;
//! * after `Done` one device is on the call, after a failure the old one, and none only where the user or the far
//!   side hung up.

mod words;

pub use words::{Action, Actions, Event, Limits, Need, Rollback, State, Watch, Way};

use super::grant::{self, MoveGrant, Presence};
use super::{Refusal, Trigger};
use crate::base::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Storing,
    Ringing,
    Negotiating,
    Answering,
    Switching { asked: Asked },
    Done,
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
    /// Push: not rung yet. Refer: it has not called yet.
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
    /// Dead, with its place in the call kept: nothing to go back to, but nothing ends by it either.
    Lost,
    Gone,
}

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
        let new = if matches!(way, Way::Push | Way::Refer) { New::Idle } else { New::Waiting };
        let deadline = now + limits.store;
        let old = if grant.is_rescue() { Old::Lost } else { Old::Up };
        Self { grant, way, limits, stage: Stage::Storing, new, far: Far::Untouched, old, deadline }
    }

    /// `event`, or [`Event::BindingGone`] where one of the devices is not registered any more. Pass what may commit
    /// the move through it, at that instant: the new device's ACK, a pushed device's 200, the far side's answer.
    #[must_use]
    pub fn if_registered(now: Timestamp, old: Presence, new: Presence, event: Event) -> Event {
        grant::still_registered(now, old, new).map_or(Event::BindingGone, |()| event)
    }

    /// One step. An event that means nothing in a stage changes nothing and asks for nothing.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Actions) {
        let before = self.stage;
        self.step(event, out);
        if self.stage != before {
            let limit = match self.stage {
                Stage::Storing => self.limits.store,
                Stage::Ringing if self.way == Way::Refer => self.limits.follow,
                Stage::Ringing => self.limits.ring,
                Stage::Answering => self.limits.ack,
                Stage::Switching { .. } => self.limits.rollback,
                Stage::Negotiating => self.limits.far,
                Stage::Done | Stage::RolledBack(_) | Stage::Refused(_) => {
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
            Stage::Negotiating | Stage::Answering => State::Negotiating,
            Stage::Switching { .. } => State::Switching,
            Stage::Done => State::Done,
            Stage::RolledBack(_) => State::RolledBack,
            Stage::Refused(_) => State::Refused,
        }
    }

    /// Whether a device is rung by us, and has not answered.
    #[must_use]
    pub fn rings_pushed(&self) -> bool {
        self.stage == Stage::Ringing && self.way == Way::Push
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
            _ => None,
        }
    }

    /// Whether the call may be moved again (and, pushed devices' late answers aside, nothing more will be asked).
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::RolledBack(_) | Stage::Refused(_))
    }

    /// The feature as a page.
    fn step(&mut self, event: Event, out: &mut Actions) {
        use Event::*;
        match (self.stage, event) {
            // Nothing is touched before the session information is stored; a late reply finds another stage.
            (Stage::Storing, Stored) => self.proceed(out),
            (Stage::Storing, StoreFailed | Late) => self.fail(Refusal::StoreUnavailable { seconds: 5 }, out),

            // Push: only that device rings, and the old leg is as it was.
            (Stage::Ringing, NewAnswered(need)) if self.way == Way::Push => {
                self.new = New::Up;
                out.extend([Action::AckNew, Action::HearBoth]);
                self.settle(need, out);
            }
            (Stage::Ringing, NewRefused | NewGone) => {
                self.new = New::Gone;
                self.fail(Refusal::TargetRefused, out);
            }
            (Stage::Ringing, Late) => self.fail(Refusal::TargetSilent, out),
            // Refer: its INVITE is here, and from now on this is a pull.
            (Stage::Ringing, NewCame(way @ (Way::Pull(_) | Way::PullOfferless)))
                if self.way == Way::Refer =>
            {
                (self.way, self.new) = (way, New::Waiting);
                self.proceed(out);
            }

            // The far side is asked; until it has said yes, everything is as it was.
            (Stage::Negotiating, FarAnswered) if self.new == New::Up => self.switch(out),
            (Stage::Negotiating, FarAnswered) => self.answer(out),
            // The same, with the far side as it was before.
            (Stage::Negotiating, FarBridged) => {
                self.far = Far::Untouched;
                if self.new == New::Up { self.switch(out) } else { self.answer(out) }
            }
            (Stage::Negotiating, FarUnusable) => self.fail(Refusal::OfferUnusable, out),
            // RFC 3261 14.1: a failed re-INVITE leaves the session as it was, so there is nothing to restore.
            (Stage::Negotiating, FarRefused) => {
                self.far = Far::Untouched;
                self.fail(Refusal::FarRefused, out);
            }
            (Stage::Negotiating, FarSilent | Late) => self.fail(Refusal::FarSilent, out),

            // Our 200 is out; its ACK is the moment.
            (Stage::Answering, NewAcked(_)) if self.way == Way::Pickup => self.pick_up(out),
            (Stage::Answering, NewAcked(need)) if self.way == Way::PullOfferless => self.settle(need, out),
            (Stage::Answering, NewAcked(_)) => self.switch(out),
            (Stage::Answering, NewUnacked | Late) => self.fail(Refusal::NeverAcked, out),

            // Swapped. The old leg stands, and is heard, until the new device is.
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

            // A 200 that crossed our CANCEL.
            (Stage::Refused(why), NewAnswered(_) | NewUnusable | BindingGone)
                if self.new == New::Cancelled =>
            {
                self.new = New::Gone;
                out.extend([Action::AckNew, Action::HangUpNew(why)]);
            }
            (Stage::Refused(_), NewRefused | NewGone) if self.new == New::Cancelled => self.new = New::Gone,
            (Stage::Done | Stage::RolledBack(_) | Stage::Refused(_), _) => {}

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
            (stage, OldLost) if self.old == Old::Up => {
                self.old = Old::Lost;
                if matches!(stage, Stage::Switching { .. }) {
                    self.finish(out);
                }
            }
            (_, OldFound) if self.old == Old::Lost => self.old = Old::Up,
            (Stage::Storing | Stage::Answering, OldAnswered) if self.way == Way::Pickup => {
                self.old = Old::Up;
                self.fail(Refusal::Busy, out);
            }
            // and what ends before the swap leaves the old call as it was.
            (_, NewGone | Undo) => {
                if event == NewGone && self.new == New::Up {
                    self.new = New::Gone;
                }
                self.fail(Refusal::Cancelled, out);
            }
            (Stage::Ringing | Stage::Answering, NewUnusable) => {
                self.stand(out);
                self.fail(Refusal::OfferUnusable, out);
            }
            (Stage::Ringing | Stage::Negotiating | Stage::Answering, BindingGone) => {
                self.stand(out);
                self.fail(Refusal::NotRegistered, out);
            }
            (_, _) => {}
        }
    }

    /// Whether a device loses the call: not where nobody had it yet, nor where it stays on its device.
    fn holds_off(&self) -> bool {
        self.way != Way::Pickup && !self.grant.is_repair()
    }

    /// The first step toward the new device, or after its INVITE came.
    fn proceed(&mut self, out: &mut Actions) {
        match self.way {
            Way::Push => {
                (self.stage, self.new) = (Stage::Ringing, New::Ringing);
                out.push(Action::RingNew);
            }
            Way::Refer => {
                self.stage = Stage::Ringing;
                out.push(Action::ReferNew);
            }
            Way::Pull(Need::Reoffer) => self.ask_far(out),
            Way::Pull(Need::Keep) | Way::PullOfferless | Way::Pickup => self.answer(out),
        }
    }

    fn ask_far(&mut self, out: &mut Actions) {
        (self.stage, self.far) = (Stage::Negotiating, Far::Offered);
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
        out.push(Action::SwapRoute);
        if self.holds_off() {
            out.push(Action::HoldOffOld);
        }
        match self.old {
            Old::Up => out.push(Action::WatchMedia(Watch::OldBefore)),
            Old::Lost | Old::Gone => self.finish(out),
        }
    }

    /// The caller is answered; whoever still rings stops. Nobody had the call, so nobody is held off.
    fn pick_up(&mut self, out: &mut Actions) {
        out.extend([Action::AnswerFar, Action::SwapRoute]);
        self.finish(out);
    }

    fn finish(&mut self, out: &mut Actions) {
        self.stage = Stage::Done;
        if self.old != Old::Gone {
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
                if self.holds_off() {
                    out.push(Action::LiftHoldOff);
                }
                if new == New::Up {
                    out.push(Action::HangUpNew(Refusal::Cancelled));
                }
                if self.far == Far::Offered {
                    out.push(Action::RestoreFar);
                }
            }
            // A device that is lost after the swap has finished the move.
            (Old::Lost | Old::Gone, New::Gone) => {
                self.stage = Stage::Refused(Refusal::Cancelled);
                out.push(Action::EndFar);
            }
            (Old::Lost | Old::Gone, _) => self.finish(out),
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
            (Far::Gone, Old::Up | Old::Lost) => out.push(Action::EndOld),
            (Far::Gone, Old::Gone) => {}
            (_, Old::Gone) => out.push(Action::EndFar),
            (Far::Offered, Old::Up | Old::Lost) => out.push(Action::RestoreFar),
            (Far::Untouched, Old::Up | Old::Lost) => {}
        }
    }
}

#[cfg(test)]
mod tests;
