//! A target of a trunk that says nothing at all is given up while another way is left, long before its INVITE runs out
//! after 32 s (RFC 3261 17.1.1.2).

use std::time::Duration;

use super::core::Core;
use super::model::{Call, CallHandle, Leg, LegHandle, LegState, Party, timer};

/// Time for the first response: 100 comes within 200 ms (RFC 3261 17.2.1), and three of our INVITEs were sent by then.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Reason of a CANCEL to a target that was given up.
const GIVEN_UP: &str = "SIP;cause=408;text=\"No response\"";

impl Core {
    /// The target rung last is given up if it stays silent and there is another.
    pub(super) fn expect_response(&mut self, call: CallHandle) {
        let found = self.calls.get(call).filter(|call| call.has_more_targets());
        if let Some(leg) = found.and_then(|call| call.forks.last().copied()) {
            self.arm(leg, timer::SILENCE, PATIENCE);
        }
    }

    /// A target has said nothing: the next one is rung. If it answers after all it is hung up, as who lost a race is.
    pub(super) fn on_silent_target(&mut self, leg: LegHandle) {
        let is_rung = |leg: &&Leg| leg.state == LegState::Early && leg.release.is_none();
        let Some(found) = self.legs.get(leg).filter(is_rung) else { return };
        let Party::Trunk { index, .. } = found.party else { return };
        let (call, peer) = (found.call, found.dialog.flow.peer);
        let is_waited_for =
            |call: &&Call| call.is_open() && call.forks.contains(&leg) && call.has_more_targets();
        if self.calls.get(call).filter(is_waited_for).is_none() {
            return;
        }
        self.targets.failed(index, peer, self.now.at);
        // Nobody is there who could count it as a call, and the next target may be of the same trunk.
        self.free_line(leg);
        if !self.try_next(call) {
            self.take_line(leg);
            return;
        }
        if let Some(found) = self.calls.get_mut(call) {
            found.forks.retain(|fork| *fork != leg);
        }
        tracing::info!("a target of a trunk is silent; the next one is called");
        self.release_leg(leg, GIVEN_UP);
    }

    fn free_line(&mut self, leg: LegHandle) {
        if let Some(found) = self.legs.get_mut(leg).filter(|leg| leg.has_line) {
            found.has_line = false;
            self.capacity.leave(&found.party);
        }
    }

    fn take_line(&mut self, leg: LegHandle) {
        if let Some(found) = self.legs.get_mut(leg).filter(|leg| !leg.has_line) {
            found.has_line = true;
            self.capacity.enter(&found.party);
        }
    }
}
