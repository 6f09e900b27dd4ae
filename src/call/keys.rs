//! Keys from a party that sends them one way to a party that takes them another: INFO (RFC 6086 legacy use) and events
//! of RFC 4733. What both understand crosses as it is; no key is said twice and none is swallowed.

use super::core::{Core, Owner};
use super::media::port_at;
use super::model::{CallState, Leg, LegHandle, LegState};
use super::quirks::Dtmf;
use crate::media::plan::RemoteMedia;
use crate::media::relay::{MediaCommand, event_of};
use crate::wire::sdp::Kind;
use crate::wire::sip::Method;

/// How long a key is said to have been down, in ms.
const DURATION: u16 = 160;

impl Core {
    /// Presses a key that the party of `leg` told by INFO at the other end, as an event. False where that is not how it
    /// goes: the other end takes INFO, or whoever sent it could have sent the event itself.
    pub fn press_across(&mut self, leg: LegHandle, key: char) -> bool {
        let Some(event) = event_of(key) else { return false };
        let Some((from, to)) = self.talking_pair(leg) else { return false };
        let sends_events = audio_of(from).is_some_and(|end| end.telephone_event.is_some());
        if (sends_events && from.quirks.dtmf != Dtmf::Info) || to.quirks.dtmf == Dtmf::Info {
            return false;
        }
        let Some(end) = audio_of(to).filter(RemoteMedia::hears) else { return false };
        let clock = |format: &crate::media::plan::Format| format.codec.clock_rate();
        let voice = end.accepts.iter().find(|format| format.codec.is_primary()).map(clock);
        let events = || end.accepts.iter().filter(|format| format.codec.is_telephone_event());
        let format = events().find(|format| Some(clock(format)) == voice).or_else(|| events().next());
        let (Some(format), Some(port)) = (format, port_at(&to.ports, end.line)) else { return false };
        let (payload, clock_rate) = (format.number, clock(format));
        self.media.push(MediaCommand::Press { port, event, payload, clock_rate });
        true
    }

    /// A key came as an event of `leg`: the other end is told by INFO, where it takes no events.
    pub fn tell_key(&mut self, leg: LegHandle, key: char) {
        let Some(peer) = self.peer_of(leg).filter(|peer| self.takes_keys_by_info(*peer)) else { return };
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(peer) else { return };
        let (flow, body) = (found.dialog.flow, format!("Signal={key}\r\nDuration={DURATION}\r\n"));
        let mut writer = found.dialog.request(&Method::Info, &branch);
        writer.body("application/dtmf-relay", body.as_bytes());
        let bytes = writer.finish();
        self.send_request(flow, &Method::Info, &branch, bytes, Owner::Aside(peer));
    }

    /// Whether keys reach the party of a leg by INFO alone: it was found to be so (a quirk), or it agreed to no events
    /// and says that it takes INFO.
    #[must_use]
    pub fn takes_keys_by_info(&self, leg: LegHandle) -> bool {
        let Some(found) = self.legs.get(leg).filter(|leg| leg.state != LegState::Ended) else { return false };
        let is_deaf = || audio_of(found).is_some_and(|end| end.telephone_event.is_none());
        found.quirks.dtmf == Dtmf::Info || (found.allows_info && is_deaf())
    }

    fn talking_pair(&self, leg: LegHandle) -> Option<(&Leg, &Leg)> {
        let call = self.calls.get(self.call_of(leg)?).filter(|call| call.state == CallState::Talking)?;
        Some((self.legs.get(leg)?, self.legs.get(call.peer(leg)?)?))
    }
}

/// The audio that a leg has agreed on.
fn audio_of(leg: &Leg) -> Option<RemoteMedia> {
    let lines = leg.media.as_ref()?.remote_media();
    lines.into_iter().find(|end| end.kind == Kind::Audio)
}
