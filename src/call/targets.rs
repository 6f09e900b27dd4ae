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
pub struct Targets {
    trunks: Vec<Vec<Known>>,
    suspects: Vec<(usize, Target)>,
}

#[derive(Clone, Copy)]
struct Known {
    target: Target,
    avoided_until: Timestamp,
    /// Whoever pings it says so.
    is_down: bool,
}

impl Targets {
    /// Those that the configuration tells, by trunk.
    pub fn new<'t>(trunks: impl IntoIterator<Item = &'t [Target]>) -> Self {
        let mut all = Self::default();
        for (trunk, targets) in trunks.into_iter().enumerate() {
            all.trunks.push(Vec::new());
            all.set(trunk, targets);
        }
        all
    }

    /// Replaces the targets of a trunk; what is known of those that stay is kept.
    pub fn set(&mut self, trunk: usize, targets: &[Target]) {
        let Some(known) = self.trunks.get_mut(trunk) else { return };
        let fresh = |target: &Target| {
            let former = known.iter().find(|former| former.target == *target);
            let new = Known { target: *target, avoided_until: Timestamp::ZERO, is_down: false };
            former.copied().unwrap_or(new)
        };
        *known = targets.iter().take(MAX_TARGETS).map(fresh).collect();
    }

    /// All targets of a trunk, as they were told.
    pub fn all(&self, trunk: usize) -> impl Iterator<Item = Target> {
        self.trunks.get(trunk).into_iter().flatten().map(|known| known.target)
    }

    /// The ways of a call over these trunks, in the order in which they are to be tried: those that failed lately are
    /// the last of their trunk. What is down is passed over, unless everything is, or the call is `urgent`: then it
    /// comes after the rest.
    pub fn ways(
        &self,
        trunks: impl IntoIterator<Item = usize>,
        is_urgent: bool,
        now: Timestamp,
    ) -> SmallVec<[Way; 2]> {
        let (mut up, mut down) = (SmallVec::new(), SmallVec::<[Way; 2]>::new());
        for trunk in trunks {
            let mut known: SmallVec<[&Known; 2]> = self.trunks.get(trunk).into_iter().flatten().collect();
            known.sort_by_key(|known| known.avoided_until > now);
            for known in known {
                let way = Way { trunk, target: known.target };
                if known.is_down { down.push(way) } else { up.push(way) }
            }
        }
        if is_urgent || up.is_empty() {
            up.extend(down);
        }
        up
    }

    /// A target did not answer, or said that it cannot (RFC 3263 4.3).
    pub fn failed(&mut self, trunk: usize, peer: SocketAddr, now: Timestamp) {
        let known = self.trunks.get_mut(trunk).into_iter().flatten();
        for known in known.filter(|known| known.target.peer == peer) {
            known.avoided_until = now + AVOIDED;
            let suspect = (trunk, known.target);
            if !self.suspects.contains(&suspect) {
                self.suspects.push(suspect);
            }
        }
    }

    /// Targets that failed since this was asked last, for whoever pings them.
    pub fn take_suspects(&mut self) -> Vec<(usize, Target)> {
        std::mem::take(&mut self.suspects)
    }

    /// Takes note of what pings say of a target. One that is back is as good as any other.
    pub fn judge(&mut self, trunk: usize, target: Target, is_down: bool) {
        let known = self.trunks.get_mut(trunk).into_iter().flatten();
        for known in known.filter(|known| known.target == target && known.is_down != is_down) {
            (known.is_down, known.avoided_until) = (is_down, Timestamp::ZERO);
        }
    }

    /// Whether one of a trunk's targets is at `ip`.
    #[must_use]
    pub fn has(&self, trunk: usize, ip: IpAddr) -> bool {
        self.all(trunk).any(|target| target.peer.ip() == ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn at(last: u8) -> Target {
        Target { transport: Transport::Udp, peer: SocketAddr::from(([192, 0, 2, last], 5060)) }
    }

    fn order(targets: &Targets, trunks: &[usize], is_urgent: bool, now: Timestamp) -> Vec<u8> {
        let ways = targets.ways(trunks.iter().copied(), is_urgent, now);
        let last = |way: Way| match way.target.peer.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        ways.into_iter().map(last).collect()
    }

    #[test]
    fn what_failed_comes_last_for_a_while_also_when_it_is_looked_up_again() {
        let mut targets = Targets::new([&[at(1), at(2), at(3)][..], &[at(1)]]);
        targets.failed(0, at(1).peer, NOW);
        targets.failed(0, at(1).peer, NOW);
        assert_eq!(targets.take_suspects(), [(0, at(1))]);
        assert_eq!(targets.take_suspects(), []);
        assert_eq!(order(&targets, &[0], false, NOW), [2, 3, 1]);
        assert_eq!(order(&targets, &[1], false, NOW), [1], "of another trunk, and the only one");
        targets.set(0, &[at(1), at(3), at(4)]);
        assert_eq!(order(&targets, &[0], false, NOW), [3, 4, 1]);
        assert_eq!(order(&targets, &[0], false, NOW + AVOIDED), [1, 3, 4]);
        assert!(targets.has(0, at(4).peer.ip()) && !targets.has(0, at(2).peer.ip()));
        targets.set(9, &[at(1)]);
        assert!(order(&targets, &[9], false, NOW).is_empty());
    }

    #[test]
    fn what_is_down_is_passed_over_unless_all_is_or_somebody_is_in_need() {
        let mut targets = Targets::new([&[at(1), at(2)][..], &[at(3)]]);
        targets.judge(0, at(1), true);
        assert_eq!(order(&targets, &[0, 1], false, NOW), [2, 3]);
        assert_eq!(order(&targets, &[0, 1], true, NOW), [2, 3, 1]);
        targets.judge(0, at(2), true);
        assert_eq!(order(&targets, &[0, 1], false, NOW), [3]);
        assert_eq!(order(&targets, &[0], false, NOW), [1, 2], "one of them may be there after all");
        targets.set(0, &[at(2), at(4)]);
        assert_eq!(order(&targets, &[0], false, NOW), [4], "what is known stays known");
        targets.failed(0, at(2).peer, NOW);
        targets.judge(0, at(2), false);
        assert_eq!(order(&targets, &[0], false, NOW), [2, 4], "it is back");
    }
}
