//! Whose packets are taken, and where ours go: the guard against RTP bleed and injection.
//!
//! Invariant: a source other than the signalled address is taken at most twice per `Configure`: once before the
//! signalled address was heard, from the host of the signalling; once in the window, carrying on the same SSRC and
//! sequence run. A stranger knows neither. Nothing is ever sent to an address that was refused.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Ingress, Learning, Sending};
use crate::base::Timestamp;

/// How long after the first packet another source may carry on the stream. Phones behind NAT settle within the
/// first second or two of a call; a stranger who sprays ports has no use for a longer one.
const WINDOW: Duration = Duration::from_secs(3);
/// [`Learning::Always`] changes its mind no more often than this.
const RELATCH: Duration = Duration::from_millis(250);

/// What becomes of a packet from some source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// From where the last ones came.
    Known,
    /// From a source that is taken from now on; it is the signalled one.
    Signalled,
    /// From a source that is taken from now on; it was learned.
    Learned,
    /// From somebody else.
    Refused,
}

#[derive(Default)]
pub(super) struct Latch {
    signalled: Option<SocketAddr>,
    signalled_rtcp: Option<SocketAddr>,
    signalling: Option<IpAddr>,
    learning: Learning,
    sending: Sending,
    /// The description says: send nothing (`c=` without address). What was learned is kept for the resumption.
    held: bool,
    source: Option<SocketAddr>,
    rtcp_source: Option<SocketAddr>,
    /// Whether the signalled address of RTCP has sent any.
    is_rtcp_heard: bool,
    window_until: Timestamp,
    second_chance: bool,
    latched_at: Timestamp,
}

impl Latch {
    /// Takes a (new) description. True if the remote end is another than before.
    pub(super) fn configure(&mut self, ingress: &Ingress) -> bool {
        self.signalling = ingress.signalling;
        self.learning = ingress.learning;
        self.sending = ingress.sending;
        self.held = ingress.remote.is_none();
        self.window_until = Timestamp::NEVER;
        self.second_chance = true;
        if self.held {
            return false;
        }
        let changed = self.signalled != ingress.remote;
        let rtcp = ingress.remote_rtcp.or_else(|| ingress.remote.and_then(next_port));
        if changed || rtcp != self.signalled_rtcp {
            (self.rtcp_source, self.is_rtcp_heard) = (None, false);
        }
        if changed {
            self.source = None;
        }
        (self.signalled, self.signalled_rtcp) = (ingress.remote, rtcp);
        changed
    }

    /// The other end has proved by other means where it is.
    pub(super) fn settle(&mut self, address: SocketAddr) {
        let here = Some(address);
        (self.signalled, self.signalled_rtcp) = (here, here);
        (self.source, self.rtcp_source) = (here, here);
        (self.learning, self.held) = (Learning::Off, false);
    }

    /// Whether RTP from `src` is refused whatever it says; nothing changes by the question.
    pub(super) fn refuses(&self, now: Timestamp, src: SocketAddr) -> bool {
        self.source != Some(src) && !self.takes(now, src, || true)
    }

    /// Whether RTP from `src`, from which the last packets did not come, is taken.
    fn takes(&self, now: Timestamp, src: SocketAddr, carries_on: impl FnOnce() -> bool) -> bool {
        let Some(signalled) = self.signalled else { return false };
        let open = now <= self.window_until;
        match (self.source, self.learning) {
            (None, _) if src == signalled => true,
            (None, Learning::Off) => src.ip() == signalled.ip(),
            (None, Learning::Guarded) => Some(src.ip()) == self.signalling,
            (None, Learning::Always) => true,
            // The signalled address itself comes after somebody who stood in for it.
            (Some(_), Learning::Off | Learning::Guarded) if src == signalled => open,
            (Some(_), Learning::Off) => false,
            (Some(_), Learning::Guarded) => open && self.second_chance && carries_on(),
            (Some(_), Learning::Always) => now.since(self.latched_at) >= RELATCH,
        }
    }

    /// Whether RTP from `src` is taken. `carries_on` tells whether the packet carries on the current stream.
    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        carries_on: impl FnOnce() -> bool,
    ) -> Admission {
        if self.source == Some(src) {
            if self.window_until == Timestamp::NEVER {
                self.window_until = now + WINDOW;
            }
            return Admission::Known;
        }
        if !self.takes(now, src, carries_on) {
            return Admission::Refused;
        }
        if self.source.is_some() {
            self.second_chance = false;
            self.rtcp_source = None;
        }
        if self.window_until == Timestamp::NEVER {
            self.window_until = now + WINDOW;
        }
        self.source = Some(src);
        self.latched_at = now;
        if self.signalled == Some(src) { Admission::Signalled } else { Admission::Learned }
    }

    /// Whether RTCP from `src` is refused whatever it says.
    pub(super) fn refuses_rtcp(&self, src: SocketAddr) -> bool {
        !self.knows_rtcp(src) && !self.may_send_rtcp(src)
    }

    fn knows_rtcp(&self, src: SocketAddr) -> bool {
        self.rtcp_source == Some(src) || self.signalled_rtcp == Some(src)
    }

    fn may_send_rtcp(&self, src: SocketAddr) -> bool {
        self.rtcp_source.is_none() && self.source.is_some_and(|s| s.ip() == src.ip())
    }

    /// Whether RTCP from `src` is taken: from the signalled RTCP address, or once from the host that RTP comes
    /// from, if `same_sender` (the sender's SSRC is that of the RTP stream).
    pub(super) fn admit_rtcp(&mut self, src: SocketAddr, same_sender: bool) -> bool {
        if self.knows_rtcp(src) {
            self.is_rtcp_heard |= self.signalled_rtcp == Some(src);
            return true;
        }
        if self.may_send_rtcp(src) && same_sender {
            self.rtcp_source = Some(src);
            return true;
        }
        false
    }

    /// Where packets come from.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Where RTP goes.
    pub(super) fn rtp_target(&self) -> Option<SocketAddr> {
        if self.held || self.sending == Sending::OnceHeard && self.source.is_none() {
            return None;
        }
        match self.learning {
            Learning::Off => self.signalled,
            Learning::Guarded | Learning::Always => self.source.or(self.signalled),
        }
    }

    /// Where RTCP goes: where it came from, else beside the RTP. Another host than that of the RTP has asked for nothing
    /// until it is heard: a description may name anybody.
    pub(super) fn rtcp_target(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_target()?;
        match self.rtcp_source {
            Some(learned) if self.learning != Learning::Off => Some(learned),
            _ if Some(rtp) == self.signalled => {
                self.signalled_rtcp.filter(|rtcp| self.is_rtcp_heard || rtcp.ip() == rtp.ip())
            }
            _ => next_port(rtp),
        }
    }
}

fn next_port(rtp: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "192.0.2.7:4000";
    const STRANGER: &str = "198.51.100.66:4000";

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }
    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
    fn latch(remote: &str, signalling: &str, change: impl FnOnce(&mut Ingress)) -> Latch {
        let mut ingress = Ingress::audio(Some(addr(remote)), Some(signalling.parse().unwrap()));
        change(&mut ingress);
        let mut latch = Latch::default();
        latch.configure(&ingress);
        latch
    }
    fn guarded(remote: &str, signalling: &str) -> Latch {
        latch(remote, signalling, |_| {})
    }

    #[test]
    fn the_signalled_address_is_taken_and_strangers_never() {
        let mut latch = guarded(PHONE, "192.0.2.7");
        assert_eq!(latch.rtp_target(), Some(addr(PHONE)));
        assert_eq!(latch.admit(at(0), addr(STRANGER), || true), Admission::Refused);
        assert_eq!(latch.admit(at(1), addr(PHONE), || false), Admission::Signalled);
        assert_eq!(latch.admit(at(2), addr(PHONE), || false), Admission::Known);
        assert_eq!(latch.admit(at(3), addr(STRANGER), || false), Admission::Refused);
        assert_eq!(latch.rtp_target(), Some(addr(PHONE)));
    }

    #[test]
    fn one_other_source_may_carry_on_the_run_and_only_in_the_window() {
        let mut latch = guarded(PHONE, "192.0.2.7");
        latch.admit(at(0), addr(PHONE), || false);
        assert_eq!(latch.admit(at(2900), addr("192.0.2.7:5000"), || true), Admission::Learned);
        assert_eq!(latch.rtp_target(), Some(addr("192.0.2.7:5000")));
        assert_eq!(latch.admit(at(2910), addr("192.0.2.7:5002"), || true), Admission::Refused, "once only");

        let mut latch = guarded(PHONE, "192.0.2.7");
        latch.admit(at(0), addr(PHONE), || false);
        assert_eq!(
            latch.admit(at(3001), addr("192.0.2.7:5000"), || true),
            Admission::Refused,
            "window closed"
        );
        latch.configure(&Ingress::audio(Some(addr(PHONE)), Some(addr(PHONE).ip())));
        assert_eq!(latch.source(), Some(addr(PHONE)), "the same remote keeps what was learned");
        assert_eq!(latch.admit(at(9000), addr(PHONE), || false), Admission::Known);
        assert_eq!(latch.admit(at(9001), addr("192.0.2.7:5000"), || true), Admission::Learned, "opened anew");
    }

    #[test]
    fn behind_nat_only_the_host_of_the_signalling_stands_in() {
        let mut latch = guarded("10.0.0.5:4000", "192.0.2.7");
        assert_eq!(latch.rtp_target(), None, "a third host is not sent to before it was heard");
        assert_eq!(latch.admit(at(0), addr(STRANGER), || true), Admission::Refused);
        assert_eq!(latch.admit(at(90_000), addr("192.0.2.7:61000"), || false), Admission::Learned);
        assert_eq!(latch.rtp_target(), Some(addr("192.0.2.7:61000")));
        assert_eq!(latch.rtcp_target(), Some(addr("192.0.2.7:61001")));
        assert_eq!(latch.admit(at(90_020), addr("10.0.0.5:4000"), || false), Admission::Signalled);
        assert_eq!(latch.admit(at(90_040), addr("192.0.2.7:61000"), || true), Admission::Refused);
    }

    #[test]
    fn a_new_remote_forgets_the_old_source_and_hold_does_not() {
        let mut latch = guarded(PHONE, "192.0.2.7");
        latch.admit(at(0), addr(PHONE), || false);
        assert!(!latch.configure(&Ingress::audio(None, None)));
        assert_eq!((latch.rtp_target(), latch.rtcp_target()), (None, None));
        assert_eq!(latch.admit(at(1), addr(PHONE), || false), Admission::Known, "music on hold");
        assert!(!latch.configure(&Ingress::audio(Some(addr(PHONE)), None)));
        assert_eq!(latch.rtp_target(), Some(addr(PHONE)));
        assert!(latch.configure(&Ingress::audio(Some(addr("192.0.2.8:4000")), None)));
        assert_eq!(latch.admit(at(2), addr(PHONE), || true), Admission::Refused);
        assert_eq!(latch.rtp_target(), None);
    }

    #[test]
    fn off_pins_a_port_of_the_host_and_sends_to_the_signalled_one() {
        let mut latch = latch(PHONE, "203.0.113.1", |i| i.learning = Learning::Off);
        assert_eq!(latch.rtp_target(), None);
        assert_eq!(latch.admit(at(0), addr("192.0.2.7:9999"), || false), Admission::Learned);
        assert_eq!(latch.rtp_target(), Some(addr(PHONE)));
        assert_eq!(latch.admit(at(1), addr("192.0.2.7:9998"), || true), Admission::Refused);
        assert_eq!(latch.admit(at(2), addr(PHONE), || false), Admission::Signalled);
        assert_eq!(latch.admit(at(3), addr("192.0.2.7:9999"), || true), Admission::Refused);
    }

    #[test]
    fn always_follows_but_not_every_packet() {
        let mut latch = latch(PHONE, "192.0.2.7", |i| i.learning = Learning::Always);
        assert_eq!(latch.admit(at(0), addr(STRANGER), || false), Admission::Learned);
        assert_eq!(latch.admit(at(20), addr(PHONE), || false), Admission::Refused);
        assert_eq!(latch.admit(at(250), addr(PHONE), || false), Admission::Signalled);
    }

    #[test]
    fn rtcp_goes_to_another_host_only_when_that_was_heard() {
        let elsewhere = |i: &mut Ingress| i.remote_rtcp = Some(addr(STRANGER));
        for learning in [Learning::Off, Learning::Guarded] {
            let mut latch = latch(PHONE, "192.0.2.7", |i| {
                elsewhere(i);
                i.learning = learning;
            });
            latch.admit(at(0), addr(PHONE), || false);
            assert_eq!(latch.rtcp_target(), None, "{learning:?}");
            assert!(latch.admit_rtcp(addr(STRANGER), false));
            assert_eq!(latch.rtcp_target(), Some(addr(STRANGER)), "{learning:?}");
        }
    }

    #[test]
    fn rtcp_is_taken_from_beside_the_rtp() {
        let mut latch = guarded(PHONE, "192.0.2.7");
        assert!(!latch.admit_rtcp(addr("192.0.2.7:7000"), true), "nothing heard yet");
        assert!(latch.admit_rtcp(addr("192.0.2.7:4001"), false));
        latch.admit(at(0), addr(PHONE), || false);
        assert!(!latch.admit_rtcp(addr(STRANGER), true));
        assert!(!latch.admit_rtcp(addr("192.0.2.7:7000"), false));
        assert!(latch.admit_rtcp(addr("192.0.2.7:7000"), true));
        assert_eq!(latch.rtcp_target(), Some(addr("192.0.2.7:7000")));
        assert!(!latch.admit_rtcp(addr("192.0.2.7:7002"), true), "once");
        latch.configure(&Ingress {
            remote_rtcp: Some(addr("192.0.2.7:4444")),
            ..Ingress::audio(Some(addr(PHONE)), Some(addr(PHONE).ip()))
        });
        assert_eq!(latch.rtcp_target(), Some(addr("192.0.2.7:4444")));
    }
}
