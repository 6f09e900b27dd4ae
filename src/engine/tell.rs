//! Events and records: what the engine tells of calls, moves and hold-offs.

use std::net::SocketAddr;

use super::event::{CallEvent, Event, HoldOffEvent, MoveEvent, Phases, Users};
use super::moves::{MoveKey, Moving, call_of};
use super::{Engine, Output};
use crate::call::record::CallRecord;
use crate::call::{CallHandle, Side};
use crate::moving::directory::LiveLeg;
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
            user: self.from.user().into(),
            from_device: Some(self.from.device().into()),
            to_device: Some(self.to.device().into()),
            trigger: self.trigger,
            reason,
            gap_ms: self.gap_us.map(|us| us as f64 / 1000.0),
            phases: Phases::new(),
        }
    }
}

impl Engine {
    pub(super) fn tell_call(&mut self, call: CallHandle, what: CallEvent, side: Option<Side>) {
        let Some(found) = self.core.calls.get(call) else { return };
        let record = &found.record;
        let mut users = Users::new();
        let mut answered_by = None;
        for (leg, of) in [(Some(found.caller), Side::Caller), (found.callee, Side::Callee)] {
            let Some(device) = leg.and_then(|leg| self.core.legs.get(leg)).and_then(|leg| leg.party.device())
            else {
                continue;
            };
            users.push(device.0.into());
            if side.unwrap_or(Side::Callee) == of {
                answered_by = Some((device.0.into(), device.1.into()));
            }
        }
        let since = match what {
            CallEvent::Ringing => record.ring,
            CallEvent::Answered => record.answer,
            CallEvent::Held | CallEvent::Ended => None,
        };
        let took = since.map(|at| std::time::Duration::from_millis(at.0.saturating_sub(record.start.0)));
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

    /// The end of a call: its record, and the two events that tell of it.
    pub(super) fn tell_ended(&mut self, record: Box<CallRecord>) {
        let call: Box<str> = record.id.as_str().into();
        let mut users = Users::new();
        for name in
            record.segments.iter().filter_map(|segment| segment.device.split_once('*')).map(|(u, _)| u)
        {
            if users.iter().all(|known| **known != *name) {
                users.push(name.into());
            }
        }
        let took = record
            .answer
            .zip(record.end)
            .map(|(from, to)| std::time::Duration::from_millis(to.0.saturating_sub(from.0)));
        self.outputs.push(Output::Event(Event::Call {
            what: CallEvent::Ended,
            call: call.clone(),
            users: users.clone(),
            from: record.from.as_str().into(),
            to: record.to.as_str().into(),
            device: None,
            cause: Some(cause_of(&record)),
            took,
        }));
        let value = Box::new(serde_json::to_value(&*record).unwrap_or_default());
        self.outputs.push(Output::Event(Event::Cdr { call, users, record: value }));
        self.outputs.push(Output::Record(record));
    }

    pub(super) fn tell_move(&mut self, key: MoveKey, what: MoveEvent) {
        if let Some(moving) = self.moves.live.get(&key) {
            let event = moving.event(what);
            self.outputs.push(Output::Event(event));
        }
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
            user: live.device.user().into(),
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
        let who = (Box::from(""), by.user().into(), by.device().into());
        self.tell_hold_off(HoldOffEvent::Rejected, who, Some(method.into()), seconds);
    }

    pub(super) fn tell_security(
        &mut self,
        what: &'static str,
        call: CallHandle,
        by: &DeviceKey,
        source: SocketAddr,
        detail: &'static str,
    ) {
        let call = self.core.calls.get(call).map(|call| call.id.clone());
        let user = Some(by.user().into());
        self.outputs.push(Output::Event(Event::Security { what, call, user, source: Some(source), detail }));
    }
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
