//! Browsers: ICE (lite), DTLS and SRTP of all of them through one socket for each media thread.
//!
//! ```text
//!  datagram ─► first byte (RFC 7983) ─┬─ STUN ─ username ─► leg ─ signed with its password? ─► answer; picked? ─► pair
//!                                     ├─ DTLS ─ source of a pair that was picked? ─► handshake ─► keys
//!                                     └─ media ─ source is a leg's? ─► the relay, which opens it
//! ```
//! Sans-IO: datagrams and time go in, datagrams go out through a function, and what matters to the relay is returned.
//! A stranger gets no answer at all: what a check is answered with is shorter than the check, and a handshake is begun
//! only toward an address that signed a check.

mod agent;
mod dtls;
mod identity;
#[cfg(test)]
pub(in crate::media) mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, CONSENT};
pub use dtls::Role;
use dtls::{Dtls, Progress};
pub use identity::{Credentials, Fingerprint, Hash, Identity, IdentityError};

use crate::base::{TimerHeap, Timestamp};
use crate::media::relay::Component;
use crate::media::srtp::Keys;
use crate::wire::stun;

/// An address stays a leg's for so long after its last check, if another leg checks from it. Browsers check every two to
/// three seconds; a user of ours who forges addresses does not take the packets of somebody who is there.
const CLAIM: Duration = Duration::from_secs(10);

/// Who says goodbye by DTLS has so long to say it by SIP, too: a call that ends with BYE did not end by itself.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the two descriptions of a leg say of its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebEnd {
    /// Our credentials.
    pub local: Credentials,
    /// Their username fragment. (We send no checks, so that their password is of no use to us.)
    pub remote: Box<str>,
    /// Their certificate.
    pub fingerprint: Fingerprint,
    /// Our end of the handshake.
    pub role: Role,
    /// Which DTLS association of the leg it is, as our descriptions count them (RFC 8842 4).
    pub association: u32,
    /// How theirs names it, where it does.
    pub tls_id: Option<Box<str>>,
}

impl WebEnd {
    /// Whether another description is of another association than this one (RFC 8842 4).
    fn is_replaced_by(&self, next: &Self) -> bool {
        let is_told = self.tls_id.is_some() && next.tls_id.is_some();
        self.fingerprint != next.fingerprint
            || self.role != next.role
            || self.association != next.association
            || is_told && self.tls_id != next.tls_id
    }
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Media of a leg, still sealed.
    Media {
        /// Whose.
        slot: u32,
        /// RTP or RTCP (RFC 5761 4).
        component: Component,
    },
    /// Media of a leg goes to another address from now on.
    Picked {
        /// Whose.
        slot: u32,
        /// Where to.
        address: SocketAddr,
    },
    /// A leg has keys.
    Secured {
        /// Which one.
        slot: u32,
        /// They.
        keys: Box<Keys>,
    },
    /// A leg's handshake came to an end without keys.
    Refused {
        /// Which one.
        slot: u32,
        /// Why.
        why: &'static str,
    },
    /// Dealt with here.
    Handled,
    /// From nobody that we know, or not what it should be.
    Stranger,
}

/// All browsers of one media thread.
pub struct Web {
    identity: Arc<Identity>,
    /// What [`Timestamp::ZERO`] is to the handshakes.
    origin: Instant,
    agents: BTreeMap<u32, Box<Agent>>,
    names: BTreeMap<Box<str>, u32>,
    sources: BTreeMap<SocketAddr, u32>,
    timers: TimerHeap<Timer>,
    lives: u32,
}

/// A wake-up of a leg: its slot, and which of the legs that had the slot is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Consent(u32, u32),
    Goodbye(u32, u32),
    Handshake(u32, u32),
}

impl Web {
    /// Without legs yet.
    #[must_use]
    pub fn new(identity: Arc<Identity>, origin: Instant) -> Self {
        let (agents, names, sources) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { identity, origin, agents, names, sources, timers: TimerHeap::default(), lives: 0 }
    }

    fn instant(&self, now: Timestamp) -> Instant {
        self.origin + Duration::from_micros(now.as_micros())
    }

    /// Takes a leg in, or what a later exchange of its descriptions changed: other credentials are an ICE restart
    /// (RFC 8445 9), under which the pair and the keys stay until the new ones are used; another fingerprint or `tls-id`, or
    /// the other role, is a new association (RFC 8842 4), which we begin at once where that is our part and a pair is there.
    /// True if there must be keys anew.
    pub fn configure(
        &mut self,
        now: Timestamp,
        slot: u32,
        end: &WebEnd,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let instant = self.instant(now);
        let dtls = || Dtls::new(&self.identity, end.role);
        let mut is_new = true;
        match self.agents.get_mut(&slot) {
            Some(agent) if agent.end == *end => return false,
            Some(agent) => {
                is_new = agent.end.is_replaced_by(end);
                if is_new {
                    agent.dtls = dtls();
                    if let Some(to) = agent.nominated {
                        agent.dtls.start(instant, &self.identity, &mut |datagram| send(to, datagram));
                    }
                }
                let before = std::mem::replace(&mut agent.end, end.clone());
                if before.local != end.local {
                    // Of credentials in use and those that never were, the former are worth keeping.
                    let unused = match agent.before.is_some() && agent.nominated.is_some() {
                        true => Some(before.local),
                        false => agent.before.replace(before.local),
                    };
                    if let Some(unused) = unused {
                        self.names.remove(&unused.ufrag);
                    }
                }
            }
            None => {
                let agent = Agent::new(now, self.lives, end.clone(), dtls());
                self.agents.insert(slot, Box::new(agent));
                self.timers.push(now + CONSENT, Timer::Consent(slot, self.lives));
                self.lives = self.lives.wrapping_add(1);
            }
        }
        self.names.insert(end.local.ufrag.clone(), slot);
        self.arm(slot);
        is_new
    }

    /// Lets a leg go, and says goodbye to it.
    pub fn release(&mut self, now: Timestamp, slot: u32, send: &mut impl FnMut(SocketAddr, &[u8])) {
        let now = self.instant(now);
        let Some(mut agent) = self.agents.remove(&slot) else { return };
        if let Some(to) = agent.nominated {
            agent.dtls.close(now, &mut |datagram| send(to, datagram));
        }
        for credentials in [Some(&agent.end.local), agent.before.as_ref()].into_iter().flatten() {
            self.names.remove(&credentials.ufrag);
        }
        for source in &agent.sources {
            if self.sources.get(&source.address) == Some(&slot) {
                self.sources.remove(&source.address);
            }
        }
    }

    /// Drops a leg without a word.
    pub fn forget(&mut self, slot: u32) {
        self.release(Timestamp::ZERO, slot, &mut |_, _| {});
    }

    /// Where media of a leg goes; none before the other side has picked a pair.
    #[must_use]
    pub fn target(&self, slot: u32) -> Option<SocketAddr> {
        self.agents.get(&slot)?.nominated
    }

    /// Legs in care.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        datagram: &[u8],
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> Arrival {
        if stun::is_stun(datagram) {
            return self.handle_check(now, src, datagram, send).unwrap_or(Arrival::Stranger);
        }
        let Some(slot) = self.sources.get(&src).copied() else { return Arrival::Stranger };
        match datagram {
            _ if dtls::is_dtls(datagram) => {
                self.handle_dtls(now, slot, src, datagram, send).unwrap_or(Arrival::Stranger)
            }
            [128..=191, kind, ..] => {
                let component = if (192..=223).contains(kind) { Component::Rtcp } else { Component::Rtp };
                Arrival::Media { slot, component }
            }
            _ => Arrival::Stranger,
        }
    }

    fn handle_check(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        datagram: &[u8],
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> Option<Arrival> {
        let request = stun::Message::parse(datagram).ok()?;
        let (ours, _) = request.username()?;
        let slot = *self.names.get(std::str::from_utf8(ours).ok()?)?;
        let owner =
            self.sources.get(&src).filter(|owner| **owner != slot).and_then(|owner| self.agents.get(owner));
        if owner.and_then(|owner| owner.checked(src)).is_some_and(|checked| now.since(checked) < CLAIM) {
            return None;
        }
        let instant = self.instant(now);
        let agent = self.agents.get_mut(&slot)?;
        let had = agent.before.as_ref().map(|before| before.ufrag.clone());
        let checked = agent.check(now, src, &request)?;
        if let Some(name) = had.filter(|_| agent.before.is_none()) {
            self.names.remove(&name);
        }
        // An address that was forgotten may be another leg's by now.
        if let Some(evicted) = checked.evicted.filter(|evicted| self.sources.get(evicted) == Some(&slot)) {
            self.sources.remove(&evicted);
        }
        self.sources.insert(src, slot);
        send(src, checked.answer.bytes());
        let Some(address) = checked.moved else { return Some(Arrival::Handled) };
        agent.dtls.start(instant, &self.identity, &mut |datagram| send(address, datagram));
        self.arm(slot);
        Some(Arrival::Picked { slot, address })
    }

    fn handle_dtls(
        &mut self,
        now: Timestamp,
        slot: u32,
        src: SocketAddr,
        datagram: &[u8],
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> Option<Arrival> {
        let instant = self.instant(now);
        let agent = self.agents.get_mut(&slot).filter(|agent| agent.has_picked(src))?;
        let mut send = |datagram: &[u8]| send(src, datagram);
        let expected = &agent.end.fingerprint;
        let progress = agent.dtls.receive(instant, datagram, &self.identity, expected, &mut send);
        let arrival = match progress {
            Progress::None => Arrival::Handled,
            Progress::Secured(keys) => Arrival::Secured { slot, keys },
            Progress::Closed => {
                // Its BYE may be on the way, and says it better.
                agent.due = now + GOODBYE;
                self.timers.push(agent.due, Timer::Goodbye(slot, agent.life));
                Arrival::Handled
            }
            Progress::Refused(why) => Arrival::Refused { slot, why },
        };
        self.arm(slot);
        Some(arrival)
    }

    /// Asks for the wake-up that the handshake of a leg wants.
    fn arm(&mut self, slot: u32) {
        let Some(agent) = self.agents.get_mut(&slot) else { return };
        let Some(at) = agent.dtls.poll_timeout() else { return };
        let micros = at.saturating_duration_since(self.origin).as_micros();
        let at = Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        if at != agent.armed {
            agent.armed = at;
            self.timers.push(at, Timer::Handshake(slot, agent.life));
        }
    }

    /// When [`Web::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Sends again what is due, and gives the legs whose other side has not been heard for `CONSENT`, one for each
    /// call; none when all is done.
    pub fn handle_timeout(
        &mut self,
        now: Timestamp,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> Option<u32> {
        let instant = self.instant(now);
        while let Some(timer) = self.timers.expire(now) {
            let (Timer::Consent(slot, life) | Timer::Goodbye(slot, life) | Timer::Handshake(slot, life)) =
                timer;
            let Some(agent) = self.agents.get_mut(&slot).filter(|agent| agent.life == life) else { continue };
            match timer {
                Timer::Consent(..) | Timer::Goodbye(..) => {
                    if timer == Timer::Consent(slot, life) {
                        self.timers.push(if agent.due > now { agent.due } else { now + CONSENT }, timer);
                    }
                    if agent.due <= now && !std::mem::replace(&mut agent.is_gone, true) {
                        return Some(slot);
                    }
                }
                Timer::Handshake(..) => {
                    agent.armed = Timestamp::NEVER;
                    if let Some(to) = agent.nominated {
                        agent
                            .dtls
                            .handle_timeout(instant, &self.identity, &mut |datagram| send(to, datagram));
                    }
                    self.arm(slot);
                }
            }
        }
        None
    }
}
