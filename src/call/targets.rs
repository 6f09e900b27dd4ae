//! Where trunks are reached: the targets of RFC 3263 in their order, those that failed lately at the end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::{Random, Timestamp};
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

/// A target with its place among those of its trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ranked {
    /// It.
    pub target: Target,
    /// Lower ones are tried first; calls are shared among those that are equal.
    pub rank: u32,
    /// Its share of the calls among its equals (RFC 2782).
    pub weight: u32,
}

impl Ranked {
    /// Targets that are tried in their order.
    pub fn in_order(targets: impl IntoIterator<Item = Target>) -> Vec<Self> {
        (0..).zip(targets).map(|(rank, target)| Self { target, rank, weight: 0 }).collect()
    }
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
    rank: u32,
    weight: u32,
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
            all.set(trunk, &Ranked::in_order(targets.iter().copied()));
        }
        all
    }

    /// Replaces the targets of a trunk; what is known of those that stay is kept.
    pub fn set(&mut self, trunk: usize, targets: &[Ranked]) {
        let Some(known) = self.trunks.get_mut(trunk) else { return };
        let fresh = |&Ranked { target, rank, weight }: &Ranked| {
            let new = Known { target, rank, weight, avoided_until: Timestamp::ZERO, is_down: false };
            let former = known.iter().find(|former| former.target == target);
            former.map_or(new, |former| Known { rank, weight, ..*former })
        };
        let mut all: Vec<Known> = Vec::with_capacity(targets.len().min(MAX_TARGETS));
        for ranked in targets {
            // A place with two names is one: who failed there must not be asked again by the other.
            let is_new = !all.iter().any(|other| other.target == ranked.target);
            if is_new && all.len() < MAX_TARGETS {
                all.push(fresh(ranked));
            }
        }
        *known = all;
    }

    /// Gives a place to a trunk that is new, with what the configuration tells of it.
    pub fn place(&mut self, trunk: usize, targets: &[Ranked]) {
        if trunk >= self.trunks.len() {
            self.trunks.resize(trunk + 1, Vec::new());
        }
        if let Some(known) = self.trunks.get_mut(trunk) {
            known.clear();
        }
        self.suspects.retain(|(at, _)| *at != trunk);
        self.set(trunk, targets);
    }

    /// All targets of a trunk, as they were told.
    pub fn all(&self, trunk: usize) -> impl Iterator<Item = Target> {
        self.trunks.get(trunk).into_iter().flatten().map(|known| known.target)
    }

    /// The ways of a call over these trunks, in the order in which they are to be tried: by rank, equals by lot, those
    /// that failed lately last of their trunk. What is down is passed over, unless everything is, or the call is `urgent`: then it
    /// comes after the rest.
    pub fn ways(
        &self,
        trunks: impl IntoIterator<Item = usize>,
        is_urgent: bool,
        now: Timestamp,
        random: &mut Random,
    ) -> SmallVec<[Way; 2]> {
        let (mut up, mut down) = (SmallVec::new(), SmallVec::<[Way; 2]>::new());
        for trunk in trunks {
            for known in ordered(self.trunks.get(trunk).into_iter().flatten(), now, random) {
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

/// By rank, those that failed lately last; among equals by lot, in proportion to weight.
fn ordered<'k>(
    known: impl Iterator<Item = &'k Known>,
    now: Timestamp,
    random: &mut Random,
) -> SmallVec<[&'k Known; 2]> {
    let place = |known: &Known| (known.avoided_until > now, known.rank);
    let mut left: SmallVec<[&Known; 2]> = known.collect();
    // Those without weight stand before their equals, as the lot wants it.
    left.sort_by_key(|known| (place(known), known.weight));
    let mut ordered = SmallVec::new();
    while let Some(first) = left.first().map(|known| place(known)) {
        let equals = left.iter().take_while(|known| place(known) == first);
        let is_alone = equals.clone().nth(1).is_none();
        let chosen = if is_alone { 0 } else { random.lot(equals.map(|known| known.weight.into())) };
        ordered.push(left.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn at(last: u8) -> Target {
        Target { transport: Transport::Udp, peer: SocketAddr::from(([192, 0, 2, last], 5060)) }
    }

    fn order(targets: &Targets, trunks: &[usize], is_urgent: bool, now: Timestamp) -> Vec<u8> {
        let ways = targets.ways(trunks.iter().copied(), is_urgent, now, &mut Random::from_number(1));
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
        targets.set(0, &Ranked::in_order([at(1), at(3), at(4)]));
        assert_eq!(order(&targets, &[0], false, NOW), [3, 4, 1]);
        assert_eq!(order(&targets, &[0], false, NOW + AVOIDED), [1, 3, 4]);
        assert!(targets.has(0, at(4).peer.ip()) && !targets.has(0, at(2).peer.ip()));
        targets.set(0, &Ranked::in_order([at(4), at(1), at(4)]));
        assert_eq!(order(&targets, &[0], false, NOW), [4, 1], "a place with two names is one");
        targets.set(9, &Ranked::in_order([at(1)]));
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
        targets.set(0, &Ranked::in_order([at(2), at(4)]));
        assert_eq!(order(&targets, &[0], false, NOW), [4], "what is known stays known");
        targets.failed(0, at(2).peer, NOW);
        targets.judge(0, at(2), false);
        assert_eq!(order(&targets, &[0], false, NOW), [2, 4], "it is back");
    }

    #[test]
    fn calls_are_shared_among_equals_in_proportion_to_their_weights() {
        let ranked = |last, rank, weight| Ranked { target: at(last), rank, weight };
        let mut targets = Targets::new([&[][..]]);
        targets.set(0, &[ranked(9, 2, 50), ranked(1, 1, 75), ranked(2, 1, 25), ranked(3, 1, 0)]);
        let (mut random, mut first) = (Random::from_number(7), [0; 10]);
        for _ in 0..4000 {
            let ways = targets.ways([0], false, NOW, &mut random);
            assert_eq!(ways.len(), 4);
            assert_eq!(ways[3].target, at(9), "a higher rank is the last");
            let IpAddr::V4(ip) = ways[0].target.peer.ip() else { panic!() };
            first[usize::from(ip.octets()[3])] += 1;
        }
        assert!((2850..3100).contains(&first[1]) && (900..1100).contains(&first[2]), "{first:?}");
        assert!(first[3] > 0 && first[3] < 120, "without weight a very small chance: {first:?}");
        // What failed lately has no share.
        targets.failed(0, at(1).peer, NOW);
        let chosen = |random: &mut Random| targets.ways([0], false, NOW, random)[0].target;
        assert!((0..200).all(|_| chosen(&mut random) != at(1)));
    }
}
