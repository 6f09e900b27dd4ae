//! A device dies in mid-call: the other side is kept for a while, so that the user can take the call up elsewhere, or
//! the device comes back (contract 42).
//!
//! ```text
//!  talking ─┬─ no RTP any more ──────────────┐          ┌─ RTP, or a request in its dialog ─► talking
//!           ├─ 408 in its dialog, no refresh ┼─► lost ──┼─ another device takes the call ───► talking
//!           └─ 481 in its dialog ────────────┘          └─ `rescue_s` later, or BYE of either ─► ended
//! ```
//! Meanwhile the far side hears a tone of ours where its media runs through us, and nothing new is offered to it. A BYE
//! is no death: who hangs up means it. The side that is kept is never that of a trunk or a service, which nobody
//! could take up, and never a second one: with nobody left at either end the call is over.

use std::time::Duration;

use super::core::{Core, Happened};
use super::media::{port_at, voice_of};
use super::model::{CallHandle, CallState, LegHandle, LegState, Party, Role, timer};
use super::record::HangupBy;
use crate::media::relay::{MediaCommand, Sound};
use crate::wire::sdp::Kind;

/// While a move is under way the end of the time waits for it, and is looked at again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// How it showed that a device is dead, and so what shows that it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// Its media stopped: media brings it back.
    Silent,
    /// It does not answer (408, or its session expired): only a request of it in its dialog brings it back.
    Unanswering,
    /// It knows no such dialog any more (481), or was released: nothing brings that dialog back.
    Forgotten,
}

/// A device that died.
#[derive(Debug)]
pub struct Lost {
    /// Its leg.
    pub leg: LegHandle,
    /// How that showed.
    pub death: Death,
    /// The Reason for the far side, if nobody takes the call up.
    reason: Box<str>,
}

impl Core {
    /// The device of a leg is dead. Its side is kept if that is of use to anybody; otherwise the leg is gone.
    pub fn on_leg_lost(&mut self, leg: LegHandle, death: Death, reason: &str) {
        let Some(found) = self.legs.get(leg) else { return };
        let is_moving = match self.calls.get_mut(found.call) {
            Some(call) => {
                if let Some(lost) = call.lost.as_mut().filter(|lost| lost.leg == leg) {
                    if death == Death::Forgotten {
                        lost.death = death;
                        self.forget_dialog(leg);
                    }
                    return;
                }
                call.moving
            }
            None => false,
        };
        if is_moving {
            // The move knows which of the two sides it is that could be taken up.
            self.happened.push_back(Happened::Dying { leg, death, reason: reason.into() });
        } else if !self.keep_far(leg, death, reason) {
            self.on_leg_dead(leg, reason);
        }
    }

    /// Keeps the other side of a leg whose device died; false where nobody could take it up.
    pub fn keep_far(&mut self, leg: LegHandle, death: Death, reason: &str) -> bool {
        let rescue = self.settings.limits.rescue;
        let Some(found) = self.legs.get(leg) else { return false };
        let is_of_user = matches!((&found.party, found.role), (Party::User { .. }, Role::Talking(_)));
        let handle = found.call;
        let Some(call) = self.calls.get(handle) else { return false };
        let far = call.peer(leg).and_then(|far| self.legs.get(far));
        let is_far_there = far.is_some_and(|far| {
            !matches!(far.party, Party::Service(_))
                && matches!(far.state, LegState::Answered | LegState::Confirmed)
        });
        let is_first = call.lost.is_none() && call.transfer.is_none() && call.state == CallState::Talking;
        if rescue.is_zero() || !is_of_user || !is_far_there || !is_first {
            return false;
        }
        if let Some(found) = self.legs.get_mut(leg) {
            // What waits to be offered would be offered to nobody.
            found.queued.clear();
        }
        if death == Death::Forgotten {
            self.forget_dialog(leg);
        }
        self.arm(leg, timer::RESCUE, rescue);
        let device = self.legs.get(leg).and_then(|leg| leg.party.device());
        let device = device.map(|(user, device)| (user.to_owned(), device.to_owned()));
        let now = self.now.unix;
        if let Some(call) = self.calls.get_mut(handle) {
            call.lost = Some(Box::new(Lost { leg, death, reason: reason.into() }));
            if let Some((user, device)) = device {
                call.record.end_segment(now, &user, &device);
            }
        }
        self.comfort(handle, leg);
        self.happened.push_back(Happened::Lost { call: handle, leg });
        true
    }

    fn forget_dialog(&mut self, leg: LegHandle) {
        if let Some(found) = self.legs.get_mut(leg) {
            found.state = LegState::Ended;
        }
    }

    /// The far side hears that the line stands.
    pub fn comfort(&mut self, call: CallHandle, leg: LegHandle) {
        let far = self.calls.get(call).and_then(|call| call.peer(leg)).and_then(|far| self.legs.get(far));
        let Some((far, media)) = far.and_then(|far| far.media.as_ref().map(|media| (far, media))) else {
            return;
        };
        let hears = media.remote_media().into_iter().filter(|end| end.kind == Kind::Audio && end.hears());
        let plays: Vec<_> = hears
            .filter_map(|end| {
                let voice = end.accepts.iter().find_map(voice_of)?;
                Some(MediaCommand::Play {
                    port: port_at(&far.ports, end.line)?,
                    sound: Sound::Waiting,
                    voice,
                })
            })
            .collect();
        self.media.extend(plays);
    }

    /// A sign of life of a device: what it was kept for goes on.
    pub fn on_leg_found(&mut self, leg: LegHandle, by_media: bool) {
        let Some(found) = self.legs.get(leg).filter(|leg| leg.state == LegState::Confirmed) else { return };
        let (handle, device) = (found.call, found.party.device());
        let device = device.map(|(user, device)| (user.to_owned(), device.to_owned()));
        let of = found.user().map(|account| account.name.clone());
        let Some(call) = self.calls.get_mut(handle) else { return };
        let is_back = |lost: &Lost| lost.leg == leg && (!by_media || lost.death == Death::Silent);
        if !call.lost.as_deref().is_some_and(is_back) {
            return;
        }
        if let Some((user, device)) = device {
            call.record.end_segment(self.now.unix, &user, &device);
            let of = of.as_deref().unwrap_or(&user);
            call.record.begin_segment(self.now.unix, (&user, &device), of, Some("resumed".into()));
        }
        self.end_rescue(handle);
        self.happened.push_back(Happened::Found { call: handle, leg });
    }

    /// Somebody is there again: the tone ends.
    pub fn end_rescue(&mut self, call: CallHandle) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let Some(lost) = found.lost.take() else { return };
        let far = found.peer(lost.leg).and_then(|far| self.legs.get(far));
        let ports = far.map(|far| far.ports.clone()).unwrap_or_default();
        self.media.extend(ports.iter().flatten().map(|pair| MediaCommand::Stop { port: pair.id }));
        if let Some(leg) = self.legs.get_mut(lost.leg) {
            leg.timers.stop(timer::RESCUE);
        }
    }

    /// Nobody took the call up in time.
    pub(super) fn on_rescue_over(&mut self, leg: LegHandle) {
        let Some(call) = self.call_of(leg) else { return };
        let Some(found) = self.calls.get(call) else { return };
        let Some(lost) = found.lost.as_ref().filter(|lost| lost.leg == leg) else { return };
        if found.moving {
            self.arm(leg, timer::RESCUE, AGAIN);
            return;
        }
        let reason = lost.reason.clone();
        self.end_call(call, HangupBy::System, &reason);
    }
}
