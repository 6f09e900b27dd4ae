//! Events and records: what the engine tells of calls, moves and hold-offs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{CallEvent, Event, HoldOffEvent, MoveEvent, Phases, Users};
use super::moves::{MoveKey, Moving, call_of};
use super::view::MoveView;
use super::{Engine, Output};
use crate::call::record::CallRecord;
use crate::call::{CallHandle, Side};
use crate::moving::directory::LiveLeg;
use crate::moving::machine::State;
use crate::moving::timeline::What;
use crate::moving::{DeviceKey, Refusal as MoveRefusal, Trigger};

impl Moving {
    /// The move as an event.
    #[must_use]
    pub fn event(&self, what: MoveEvent) -> Event {
        let refusal = self.machine.refusal().map(MoveRefusal::as_str);
        let reason = refusal.or_else(|| self.machine.rollback().map(|why| why.as_str()));
        Event::Move {
            what,
            id: self.id.clone(),
            call: self.call_id.clone(),
            user: self.owner.clone(),
            from_device: Some(self.from.device().into()),
            to_device: Some(self.to.device().into()),
            trigger: self.trigger,
            reason,
            gap_ms: self.gap_us.map(|us| us as f64 / 1000.0),
            phases: self.phases(),
        }
    }

    /// How long each stage took so far, and all of them; nothing before there is something to tell.
    fn phases(&self) -> Phases {
        let (mut phases, mut before) = (Phases::new(), (State::Authorized, 0));
        for entry in &self.timeline.entries {
            let What::State { state } = entry.what else { continue };
            let took = Duration::from_micros(entry.at_us.saturating_sub(before.1));
            let name = match before.0 {
                State::Requested | State::Authorized => "authorize",
                State::Ringing => "ring",
                State::Negotiating => "negotiate",
                State::Switching => "switch",
                State::Done | State::RolledBack | State::Refused => continue,
            };
            phases.push((name, took));
            before = (state, entry.at_us);
        }
        if self.machine.is_over() {
            phases.push(("total", Duration::from_micros(before.1)));
        }
        phases
    }
}

impl Engine {
    pub(super) fn tell_call(&mut self, call: CallHandle, what: CallEvent, side: Option<Side>) {
        if self.moves.prompts.contains_key(&call) {
            return;
        }
        let Some(found) = self.core.calls.get(call) else { return };
        let record = &found.record;
        let mut users = Users::new();
        let mut answered_by = None;
        for (leg, of) in [(Some(found.caller), Side::Caller), (found.callee, Side::Callee)] {
            let Some(leg) = leg.and_then(|leg| self.core.legs.get(leg)) else { continue };
            let (Some(device), Some(user)) = (leg.party.device(), leg.user()) else { continue };
            users.push(user.name.clone());
            if side.unwrap_or(Side::Callee) == of {
                answered_by = Some((device.0.into(), device.1.into()));
            }
        }
        let since = match what {
            CallEvent::Ringing => record.ring,
            CallEvent::Answered => record.answer,
            CallEvent::Held | CallEvent::Lost | CallEvent::Resumed | CallEvent::Ended => None,
        };
        let took = since.map(|at| Duration::from_millis(at.0.saturating_sub(record.start.0)));
        let (from, to) = (record.from.as_str().into(), record.to.as_str().into());
        let call = found.id.clone();
        self.outputs.push(Output::Event(Event::Call {
            what,
            call,
            users,
            from,
            to,
            device: answered_by,
            cause: None,
            took,
        }));
    }

    /// The end of a call; its record follows.
    pub(super) fn tell_ended(&mut self, record: &CallRecord) {
        let took = record
            .answer
            .zip(record.end)
            .map(|(from, to)| Duration::from_millis(to.0.saturating_sub(from.0)));
        self.outputs.push(Output::Event(Event::Call {
            what: CallEvent::Ended,
            call: record.id.as_str().into(),
            users: users_of(record),
            from: record.from.as_str().into(),
            to: record.to.as_str().into(),
            device: None,
            cause: Some(cause_of(record)),
            took,
        }));
    }

    /// A record as an event.
    pub(super) fn cdr_event(record: &Arc<CallRecord>) -> Event {
        Event::Cdr { call: record.id.as_str().into(), users: users_of(record), record: Arc::clone(record) }
    }

    pub(super) fn tell_move(&mut self, key: MoveKey, what: MoveEvent) {
        if let Some(moving) = self.moves.live.get(&key) {
            let event = moving.event(what);
            self.outputs.push(Output::Event(event));
        }
    }

    /// A finished move is being taken back; how that goes is told of the push that does it.
    pub(super) fn tell_undone(&mut self, view: &MoveView) {
        self.outputs.push(Output::Event(Event::Move {
            what: MoveEvent::Undone,
            id: view.id.as_str().into(),
            call: view.call.as_str().into(),
            user: view.user.as_str().into(),
            from_device: view.from_device.as_deref().map(Into::into),
            to_device: view.to_device.as_deref().map(Into::into),
            trigger: view.trigger,
            reason: Some("undo"),
            gap_ms: None,
            phases: Phases::new(),
        }));
    }

    /// A door stayed shut.
    pub(super) fn tell_refused(
        &mut self,
        live: &LiveLeg,
        to: &DeviceKey,
        trigger: Trigger,
        refusal: MoveRefusal,
    ) {
        let call = self.core.calls.get(call_of(live.call)).map(|call| call.id.clone()).unwrap_or_default();
        self.outputs.push(Output::Event(Event::Move {
            what: MoveEvent::Refused,
            id: Box::from(""),
            call,
            user: (*live.owner).into(),
            from_device: Some(live.device.device().into()),
            to_device: Some(to.device().into()),
            trigger,
            reason: Some(refusal.as_str()),
            gap_ms: None,
            phases: Phases::new(),
        }));
    }

    pub(super) fn tell_hold_off(
        &mut self,
        what: HoldOffEvent,
        (call, user, device): (Box<str>, Box<str>, Box<str>),
        method: Option<Box<str>>,
        seconds_left: u32,
    ) {
        self.outputs.push(Output::Event(Event::HoldOff { what, call, user, device, method, seconds_left }));
    }

    /// A request of a held-off device was turned down.
    pub(super) fn note_rejected(&mut self, by: &DeviceKey, method: &str, seconds: u32) {
        self.counters.hold_off_rejections += 1;
        self.note_refused_device(by, method, seconds);
        let who = (Box::from(""), by.user().into(), by.device().into());
        self.tell_hold_off(HoldOffEvent::Rejected, who, Some(method.into()), seconds);
    }

    pub(super) fn tell_security(
        &mut self,
        what: &'static str,
        call: Option<CallHandle>,
        by: &DeviceKey,
        source: SocketAddr,
        detail: &'static str,
    ) {
        let call = call.and_then(|call| self.core.calls.get(call)).map(|call| call.id.clone());
        let user = Some(by.user().into());
        self.outputs.push(Output::Event(Event::Security { what, call, user, source: Some(source), detail }));
    }
}

/// The users whose devices had a part in a call.
fn users_of(record: &CallRecord) -> Users {
    // Of a call at a hot desk the segments name the device, which is another's.
    let mut users: Users = record.user.as_deref().map(Box::from).into_iter().collect();
    for (name, _) in record.segments.iter().filter_map(|segment| segment.device.split_once('*')) {
        if users.iter().all(|known| **known != *name) {
            users.push(name.into());
        }
    }
    users
}

fn cause_of(record: &CallRecord) -> &'static str {
    use crate::call::record::Disposition;
    match record.disposition {
        Disposition::Answered => "answered",
        Disposition::Busy => "busy",
        Disposition::NoAnswer => "no_answer",
        Disposition::Cancelled => "cancelled",
        Disposition::Failed => "failed",
    }
}
