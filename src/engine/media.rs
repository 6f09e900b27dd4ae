//! What the media threads tell: ports, silence, digits, counters.

use super::Engine;
use crate::call::rescue::Death;
use crate::media::relay::{MediaEvent, PortId};

impl Engine {
    pub(super) fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::PortsOpened { thread, pairs } => self.core.ports.opened(thread, pairs),
            MediaEvent::PortsFailed { thread, error } => {
                tracing::warn!(thread, error, "media ports could not be opened");
                self.core.ports.failed(thread, &error);
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
            MediaEvent::Stats { port, stats } => self.on_stats(port, &stats),
            MediaEvent::Failed { port } => {
                self.counters.bugs += 1;
                self.on_quiet(port);
            }
        }
    }

    /// Nothing comes from a party any more: it is gone without a word (docs/THREATS.md: dead peers).
    fn on_quiet(&mut self, port: PortId) {
        let Some(leg) = self.core.port_legs.get(&port).copied() else { return };
        self.core.on_leg_lost(leg, Death::Silent, "SIP;cause=503;text=\"Media timeout\"");
    }
}
