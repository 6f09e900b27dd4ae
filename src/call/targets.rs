//! Where trunks are reached: the targets of RFC 3263 in their order, those that failed lately at the end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::Timestamp;
use crate::sip::Transport;

/// A target that failed is tried after the others for this long: a call that meets it again waits as long again.
const AVOIDED: Duration = Duration::from_secs(60);
/// Targets of one trunk; more is a list of hosts to attack.
pub const MAX_TARGETS: usize = 16;

/// One way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where.
    pub peer: SocketAddr,
}

/// A target of a trunk that a call may still try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The trunk, by its place in the settings.
    pub trunk: usize,
    /// The target.
    pub target: Target,
}

/// The targets of all trunks.
#[derive(Default)]
pub struct Targets(Vec<Vec<Known>>);

struct Known {
    target: Target,
    avoided_until: Timestamp,
}

impl Targets {
    /// Those that the configuration tells, by trunk.
    pub fn new<'t>(trunks: impl IntoIterator<Item = &'t [Target]>) -> Self {
        let mut all = Self::default();
        for (trunk, targets) in trunks.into_iter().enumerate() {
            all.0.push(Vec::new());
            all.set(trunk, targets);
        }
        all
    }

    /// Replaces the targets of a trunk; what is known of those that stay is kept.
    pub fn set(&mut self, trunk: usize, targets: &[Target]) {
        let Some(known) = self.0.get_mut(trunk) else { return };
        let avoided = |target: &Target| {
            let former = known.iter().find(|former| former.target == *target);
            former.map_or(Timestamp::ZERO, |former| former.avoided_until)
        };
        let fresh = |target: &Target| Known { target: *target, avoided_until: avoided(target) };
        *known = targets.iter().take(MAX_TARGETS).map(fresh).collect();
    }

    /// The targets of a trunk, in the order in which they are to be tried.
    pub fn of(&self, trunk: usize, now: Timestamp) -> SmallVec<[Target; 2]> {
        let mut known: SmallVec<[&Known; 2]> = self.0.get(trunk).into_iter().flatten().collect();
        known.sort_by_key(|known| known.avoided_until > now);
        known.into_iter().map(|known| known.target).collect()
    }

    /// A target did not answer, or said that it cannot (RFC 3263 4.3).
    pub fn failed(&mut self, trunk: usize, peer: SocketAddr, now: Timestamp) {
        let known = self.0.get_mut(trunk).into_iter().flatten();
        for known in known.filter(|known| known.target.peer == peer) {
            known.avoided_until = now + AVOIDED;
        }
    }

    /// Whether one of a trunk's targets is at `ip`.
    #[must_use]
    pub fn has(&self, trunk: usize, ip: IpAddr) -> bool {
        self.0.get(trunk).into_iter().flatten().any(|known| known.target.peer.ip() == ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> Target {
        Target { transport: Transport::Udp, peer: SocketAddr::from(([192, 0, 2, last], 5060)) }
    }

    #[test]
    fn what_failed_comes_last_for_a_while_also_when_it_is_looked_up_again() {
        let mut targets = Targets::new([&[at(1), at(2), at(3)][..], &[at(1)]]);
        let (now, soon) = (Timestamp::from_micros(1), Timestamp::from_micros(1) + AVOIDED);
        targets.failed(0, at(1).peer, now);
        assert_eq!(targets.of(0, now)[..], [at(2), at(3), at(1)]);
        assert_eq!(targets.of(1, now)[..], [at(1)], "of another trunk, and the only one");
        targets.set(0, &[at(1), at(3), at(4)]);
        assert_eq!(targets.of(0, now)[..], [at(3), at(4), at(1)]);
        assert_eq!(targets.of(0, soon)[..], [at(1), at(3), at(4)]);
        assert!(targets.has(0, at(4).peer.ip()) && !targets.has(0, at(2).peer.ip()));
        targets.set(9, &[at(1)]);
        assert!(targets.of(9, now).is_empty());
    }
}
