//! A device that dies in mid-call, told to whoever is concerned; and how it is found out of one whose connection broke.

use std::time::Duration;

use crate::base::Timestamp;
use crate::call::rescue::Death;
use crate::call::{CallHandle, LegHandle, LegState, Party, Role};
use crate::engine::Engine;
use crate::engine::event::CallEvent;
use crate::media::relay::{MediaCommand, PortStats};
use crate::moving::machine::{Event, Way};
use crate::sip::Flow;

/// So long a device whose connection broke may send nothing before it counts as dead. Phones that suppress silence send
/// comfort noise or an Opus frame at least each half second; who opens a new connection has had two attempts.
const PATIENCE: Duration = Duration::from_secs(3);

/// A device whose connection broke.
pub(in crate::engine) struct Probe {
    /// When its counters are looked at; once they were asked for, when their answer is waited for no more.
    pub(super) due: Timestamp,
    is_asked: bool,
    /// Packets that it had sent when the connection broke.
    before: Option<u64>,
}

impl Engine {
    /// The connection of some devices broke. A phone opens another one, and its call goes on; one that is switched off
    /// falls silent, too. Of media that does not run through us nothing is known.
    pub(in crate::engine) fn probe_flow(&mut self, flow: Flow) {
        let is_concerned = |leg: &crate::call::Leg| {
            leg.state == LegState::Confirmed
                && matches!((leg.role, &leg.party), (Role::Talking(_), Party::User { .. }))
                && leg.media.as_ref().is_some_and(|media| media.remote_media().iter().any(|end| end.speaks()))
        };
        let on_it = self.core.legs_on(flow);
        let legs: Vec<LegHandle> =
            on_it.filter(|handle| self.core.legs.get(*handle).is_some_and(is_concerned)).collect();
        let due = self.core.now.at + PATIENCE;
        for leg in legs {
            self.moves.probes.insert(leg, Probe { due, is_asked: false, before: None });
            self.ask_for_counters(leg);
        }
    }

    fn ask_for_counters(&mut self, leg: LegHandle) {
        let ports = self.core.ports_toward(leg);
        if let Some(pair) = ports.iter().flatten().next() {
            self.core.media.push(MediaCommand::Report { port: pair.id });
        }
    }

    /// Probes whose time has come.
    pub(super) fn on_probes_timeout(&mut self) {
        let now = self.core.now.at;
        let due: Vec<LegHandle> =
            self.moves.probes.iter().filter(|(_, probe)| probe.due <= now).map(|(leg, _)| *leg).collect();
        for leg in due {
            // A media thread that did not answer the first question will not tell the truth in the second; and of ports
            // that are gone meanwhile there is no answer at all.
            let known = self.moves.probes.get_mut(&leg);
            match known.filter(|probe| probe.before.is_some() && !probe.is_asked) {
                Some(probe) if self.core.legs.get(leg).is_some() => {
                    (probe.due, probe.is_asked) = (now + PATIENCE, true);
                    self.ask_for_counters(leg);
                }
                _ => drop(self.moves.probes.remove(&leg)),
            }
        }
    }

    /// The counters of a device: before, or after.
    pub(super) fn on_probed(&mut self, leg: LegHandle, stats: &PortStats) {
        let Some(probe) = self.moves.probes.get_mut(&leg) else { return };
        match probe.before {
            None => probe.before = Some(stats.received),
            Some(before) if probe.is_asked => {
                self.moves.probes.remove(&leg);
                if stats.received == before {
                    self.core.on_leg_lost(leg, Death::Silent, "SIP;cause=503;text=\"Connection lost\"");
                }
            }
            Some(_) => {}
        }
    }

    /// A device dies while its call moves. Of the device that has the call the far side is kept, whatever comes of the
    /// move; of every other one nothing is.
    pub(super) fn on_device_dying(&mut self, leg: LegHandle, death: Death, reason: &str) {
        let moving = self.move_of(leg).and_then(|key| self.moving(key));
        let may_be_kept =
            moving.is_none_or(|moving| moving.old == leg && moving.machine.way() != Way::Pickup);
        if !may_be_kept || !self.core.keep_far(leg, death, reason) {
            self.core.on_leg_dead(leg, reason);
        }
    }

    pub(super) fn on_device_lost(&mut self, call: CallHandle, leg: LegHandle) {
        tracing::info!(call = %self.core.calls.get(call).map(|call| &*call.id).unwrap_or_default(), "a device is lost in mid-call");
        self.track(call);
        self.tell_call(call, CallEvent::Lost, self.core.calls.get(call).and_then(|call| call.side_of(leg)));
        if let Some(key) =
            self.moves.of_leg(call).filter(|key| self.moving(*key).is_some_and(|m| m.old == leg))
        {
            self.advance(key, Event::OldLost);
        }
    }

    pub(super) fn on_device_found(&mut self, call: CallHandle, leg: LegHandle) {
        self.track(call);
        self.tell_call(
            call,
            CallEvent::Resumed,
            self.core.calls.get(call).and_then(|call| call.side_of(leg)),
        );
        if let Some(key) =
            self.moves.of_leg(call).filter(|key| self.moving(*key).is_some_and(|m| m.old == leg))
        {
            self.advance(key, Event::OldFound);
        }
    }
}
