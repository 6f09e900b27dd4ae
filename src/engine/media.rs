//! What the media threads tell: ports, silence, digits, counters.

use super::event::Event;
use super::{Engine, Output};
use crate::call::rescue::Death;
use crate::media::quality::Measured;
use crate::media::relay::{MediaEvent, PortId};

impl Engine {
    pub(super) fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::PortsOpened { thread, pairs } => self.core.ports.opened(thread, pairs),
            MediaEvent::PortsFailed { thread, error } => {
                if self.core.ports.failed(self.core.now.at, thread, &error) {
                    tracing::warn!(thread, error, "media ports could not be opened");
                }
            }
            MediaEvent::Heard { port } => {
                if let Some(leg) = self.core.port_legs.get(&port).copied() {
                    self.core.on_leg_found(leg, true);
                }
            }
            MediaEvent::Latched { .. } => {}
            MediaEvent::Quiet { port } => self.on_quiet(port),
            MediaEvent::Dtmf { port, digit } => self.on_digit(port, digit),
            MediaEvent::Played { port } => self.on_played(port),
            MediaEvent::Swapped { far, gap_us, lost } => self.on_swapped(far, gap_us, lost),
            MediaEvent::Sounds { port, is_poor, measured } => self.on_sounds(port, is_poor, measured),
            MediaEvent::Stats { port, stats } => self.on_stats(port, &stats),
            MediaEvent::Rtcp { port, on, peer, packet } => self.on_rtcp(port, on, peer, packet),
            MediaEvent::Failed { port } => {
                self.counters.bugs += 1;
                self.on_quiet(port);
            }
        }
    }

    /// A stream has begun to sound bad, or sounds well again.
    fn on_sounds(&mut self, port: PortId, is_poor: bool, measured: Measured) {
        let core = &self.core;
        let Some(leg) = core.port_legs.get(&port).copied() else { return };
        // Of a picture the E-model knows nothing.
        let Some((_, codec)) = core.audio_of(leg).filter(|(audio, _)| *audio == port) else { return };
        let Some(found) = core.legs.get(leg) else { return };
        let Some(call) = core.calls.get(found.call) else { return };
        let parties = [Some(call.caller), call.callee];
        let devices = parties.into_iter().flatten().filter_map(|leg| core.legs.get(leg)?.party.device());
        self.outputs.push(Output::Event(Event::QualityAlert {
            call: call.id.clone(),
            users: devices.map(|(user, _)| user.into()).collect(),
            party: if leg == call.caller { "caller" } else { "callee" },
            device: found.party.device().map(|(user, id)| (user.into(), id.into())),
            is_poor,
            mos: measured.mos_of_window(&codec),
            loss: measured.loss(),
        }));
    }

    /// Nothing comes from a party any more: it is gone without a word (docs/THREATS.md: dead peers).
    fn on_quiet(&mut self, port: PortId) {
        let Some(leg) = self.core.port_legs.get(&port).copied() else { return };
        self.core.on_leg_lost(leg, Death::Silent, "SIP;cause=503;text=\"Media timeout\"");
    }
}
