//! Which port pairs are free: a list fed by the shell, which binds ahead of need, and a quarantine so that late
//! packets of an ended call never reach the next one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::relay::{MediaCommand, PortPair};
use crate::base::Timestamp;

/// How long a port rests after a call: longer than packets live on a network path, shorter than a busy hour's need.
pub const QUARANTINE: Duration = Duration::from_secs(5);

/// Pairs asked of the shell at once. A media thread forwards nothing while it opens them, some 40 µs each: a few at a
/// time are no jitter, and a request follows the other until there are enough.
const STEP: u16 = 8;

/// Free pairs below which more are asked for: enough for 48 calls of two legs that come at the same moment.
const LOW_WATER: usize = 96;

/// The most that is kept free.
const HIGH_WATER: usize = 256;

/// After a failure, no other attempt for this long: what is lacking (files, numbers) does not come back at once.
const RETRY: Duration = Duration::from_secs(1);

/// What lasts is told this often.
const TELL: Duration = Duration::from_secs(60);

/// The ports that our media threads have bound: a description that names one of them on an address of ours would make
/// us talk to ourselves. Not the whole configured range: on one machine a softphone may well use a port of it that we
/// do not have.
#[derive(Debug)]
pub struct OwnPorts(Box<[AtomicU64]>);

impl Default for OwnPorts {
    fn default() -> Self {
        Self((0..1024).map(|_| AtomicU64::new(0)).collect())
    }
}

impl OwnPorts {
    fn word(&self, port: u16) -> Option<&AtomicU64> {
        self.0.get(usize::from(port / 64))
    }

    /// Notes a port as bound. They stay bound as long as the process lives.
    pub fn insert(&self, port: u16) {
        if let Some(word) = self.word(port) {
            word.fetch_or(1 << (port % 64), Ordering::Relaxed);
        }
    }

    /// Whether a port is bound.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.word(port).is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (port % 64) != 0)
    }
}

impl FromIterator<u16> for OwnPorts {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let own = Self::default();
        ports.into_iter().for_each(|port| own.insert(port));
        own
    }
}

#[derive(Default)]
struct Thread {
    free: VecDeque<PortPair>,
    resting: VecDeque<(Timestamp, PortPair)>,
    lent: usize,
    asked: bool,
    failed: Option<Box<str>>,
    /// When to ask again after a failure.
    retry: Timestamp,
    /// When to tell of a failure again.
    tell: Timestamp,
    /// The most that may be open.
    most: usize,
}

/// The port pairs of all media threads.
#[derive(Default)]
pub struct Ports {
    threads: Vec<Thread>,
    next: usize,
    own: Option<Arc<OwnPorts>>,
    /// Since the last word about it, somebody went without.
    short: bool,
    /// When to tell of that again.
    tell: Timestamp,
}

impl Ports {
    /// For so many media threads, all empty, that open no more than `most` pairs together. What they bind is noted in
    /// `own`.
    #[must_use]
    pub fn new(threads: usize, most: usize, own: Arc<OwnPorts>) -> Self {
        // A call is on one thread: where there are few pairs, on fewer threads with two for each side.
        let threads = threads.clamp(1, 64);
        let used = (most / 4).clamp(1, threads);
        let share = |index| if index < used { most / used + usize::from(index < most % used) } else { 0 };
        let threads = (0..threads).map(|index| Thread { most: share(index), ..Thread::default() }).collect();
        Self { threads, own: Some(own), ..Self::default() }
    }

    /// The thread for a new call: the next one in turn that may have ports for both of its sides, if there is one.
    pub fn pick_thread(&mut self) -> u8 {
        let count = self.threads.len().max(1);
        let has_room = |index: &usize| self.threads.get(*index).is_some_and(|thread| thread.room() >= 2);
        let turn = || (1..=count).map(|step| (self.next + step) % count);
        self.next = turn().find(has_room).or_else(|| turn().next()).unwrap_or(0);
        u8::try_from(self.next).unwrap_or(0)
    }

    /// Takes a pair on `thread`; `None` when all are in use or resting.
    pub fn take(&mut self, now: Timestamp, thread: u8) -> Option<PortPair> {
        let thread = self.threads.get_mut(usize::from(thread))?;
        thread.wake(now);
        let pair = thread.free.pop_front();
        thread.lent += usize::from(pair.is_some());
        self.short |= pair.is_none();
        pair
    }

    /// Gives a pair back; it rests for [`QUARANTINE`].
    pub fn give_back(&mut self, now: Timestamp, pair: PortPair) {
        if let Some(thread) = self.threads.get_mut(usize::from(pair.id.thread)) {
            thread.lent = thread.lent.saturating_sub(1);
            thread.resting.push_back((now + QUARANTINE, pair));
        }
    }

    /// The shell has bound more.
    pub fn opened(&mut self, thread: u8, pairs: impl IntoIterator<Item = PortPair>) {
        if let Some(thread) = self.threads.get_mut(usize::from(thread)) {
            thread.asked = false;
            thread.failed = None;
            for pair in pairs {
                if let Some(own) = &self.own {
                    own.insert(pair.rtp);
                    own.insert(pair.rtp.saturating_add(1));
                }
                thread.free.push_back(pair);
            }
        }
    }

    /// The shell could not bind more; a second later the next need asks again. Whether that is to be told: once a minute
    /// while it lasts.
    pub fn failed(&mut self, now: Timestamp, thread: u8, why: &str) -> bool {
        let Some(thread) = self.threads.get_mut(usize::from(thread)) else { return false };
        thread.asked = false;
        let is_news = thread.tell <= now;
        thread.failed = Some(why.into());
        if is_news {
            thread.tell = now + TELL;
        }
        is_news
    }

    /// Once a minute, and only after somebody went without: how it stands, for an operator.
    pub fn shortage(&mut self, now: Timestamp) -> Option<String> {
        if !self.short || self.tell > now {
            return None;
        }
        (self.short, self.tell) = (false, now + TELL);
        let (_, lent, resting) = self.counts();
        let most = self.threads.iter().fold(0_usize, |sum, thread| sum.saturating_add(thread.most));
        Some(format!(
            "{lent} pairs are in use and {resting} rest after a call, of {most} that [media] ports and the limit of open \
             files allow"
        ))
    }

    /// Requests for more pairs where a thread runs low.
    pub fn replenish(&mut self, now: Timestamp, address: IpAddr, mut ask: impl FnMut(MediaCommand)) {
        for (index, thread) in self.threads.iter_mut().enumerate() {
            thread.wake(now);
            // A busy thread keeps more, so that a ramp of calls is not a ramp of round trips. Short calls are seen by
            // what rests after them.
            let busy = (thread.lent + thread.resting.len()) / 8;
            let is_low = thread.free.len() < busy.clamp(LOW_WATER, HIGH_WATER);
            let may_ask = !thread.asked && (thread.failed.is_none() || thread.retry <= now);
            let room = thread.most.saturating_sub(thread.open());
            if is_low && may_ask && room > 0 {
                let count = STEP.min(u16::try_from(room).unwrap_or(STEP));
                (thread.asked, thread.retry) = (true, now + RETRY);
                ask(MediaCommand::OpenPorts { thread: u8::try_from(index).unwrap_or(0), address, count });
            }
        }
    }

    /// Pairs (free, in use, resting) over all threads: `segue_media_ports`.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        self.threads.iter().fold((0, 0, 0), |(free, lent, resting), thread| {
            (free + thread.free.len(), lent + thread.lent, resting + thread.resting.len())
        })
    }

    /// Whether an answer to a request for more is still to come.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.threads.iter().any(|thread| thread.asked)
    }

    /// Why the last attempt to bind failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.threads.iter().find_map(|thread| thread.failed.as_deref())
    }
}

impl Thread {
    /// Pairs that are open.
    fn open(&self) -> usize {
        self.free.len() + self.lent + self.resting.len()
    }

    /// Pairs that calls may have now, those included that are still to be opened.
    fn room(&self) -> usize {
        self.most.saturating_sub(self.lent + self.resting.len())
    }

    fn wake(&mut self, now: Timestamp) {
        while let Some((until, pair)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.free.push_back(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::relay::PortId;

    const ANY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn pair(slot: u32) -> PortPair {
        PortPair { id: PortId { thread: 0, slot }, address: ANY, rtp: 30_000 + 2 * slot as u16 }
    }

    #[test]
    fn a_port_rests_before_it_is_lent_again() {
        let mut ports = Ports::new(1, usize::MAX, Arc::default());
        let t = |s| Timestamp::ZERO + Duration::from_secs(s);
        assert!(ports.take(t(0), 0).is_none());
        ports.opened(0, [pair(0)]);
        let lent = ports.take(t(0), 0).unwrap();
        assert_eq!(ports.counts(), (0, 1, 0));
        ports.give_back(t(1), lent);
        assert!(ports.take(t(5), 0).is_none());
        assert_eq!(ports.take(t(6), 0), Some(pair(0)));
    }

    #[test]
    fn a_low_thread_asks_once_until_answered() {
        let mut ports = Ports::new(1, usize::MAX, Arc::default());
        let mut asked = 0;
        ports.replenish(Timestamp::ZERO, ANY, |_| asked += 1);
        ports.replenish(Timestamp::ZERO, ANY, |_| asked += 1);
        assert_eq!(asked, 1);
        assert!(ports.failed(Timestamp::ZERO, 0, "file limit"));
        assert_eq!(ports.failure(), Some("file limit"));
        ports.replenish(Timestamp::ZERO, ANY, |_| asked += 1);
        assert_eq!(asked, 1, "no attempt follows a failed one at once");
        ports.replenish(Timestamp::ZERO + RETRY, ANY, |_| asked += 1);
        ports.opened(0, (0..LOW_WATER as u32).map(pair));
        ports.replenish(Timestamp::ZERO, ANY, |_| asked += 1);
        assert_eq!(asked, 2);
    }

    #[test]
    fn no_more_are_asked_for_than_may_be_open() {
        let mut ports = Ports::new(2, 22, Arc::default());
        let mut slots = 0;
        for _ in 0..10 {
            let mut asked = Vec::new();
            ports.replenish(Timestamp::ZERO, ANY, |command| asked.push(command));
            for command in asked {
                let MediaCommand::OpenPorts { thread, count, .. } = command else { panic!("{command:?}") };
                let id = |slot| PortId { thread, slot };
                ports.opened(
                    thread,
                    (slots..slots + u32::from(count)).map(|n| PortPair { id: id(n), ..pair(n) }),
                );
                slots += u32::from(count);
            }
        }
        assert_eq!(ports.counts(), (22, 0, 0));
        // A thread that has none left is passed over, and comes back when its own have rested.
        let lent: Vec<_> = std::iter::from_fn(|| ports.take(Timestamp::ZERO, 0)).collect();
        assert_eq!(lent.len(), 11);
        assert_eq!([(); 3].map(|()| ports.pick_thread()), [1, 1, 1]);
        lent.into_iter().for_each(|pair| ports.give_back(Timestamp::ZERO, pair));
        assert_eq!([(); 3].map(|()| ports.pick_thread()), [1, 1, 1], "they rest");
        assert!(ports.take(Timestamp::ZERO + QUARANTINE, 0).is_some());
        assert_eq!([(); 3].map(|()| ports.pick_thread()), [0, 1, 0]);
    }

    #[test]
    fn few_pairs_are_not_torn_between_threads() {
        let mut ports = Ports::new(4, 9, Arc::default());
        let mut asked = Vec::new();
        ports.replenish(Timestamp::ZERO, ANY, |command| asked.push(command));
        let counts: Vec<_> = asked
            .iter()
            .map(|command| match command {
                MediaCommand::OpenPorts { thread, count, .. } => (*thread, *count),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [(0, 5), (1, 4)]);
        assert_eq!([(); 4].map(|()| ports.pick_thread()), [1, 0, 1, 0]);
    }

    #[test]
    fn what_lasts_is_told_once_a_minute() {
        let mut ports = Ports::new(1, 2, Arc::default());
        let t = |s| Timestamp::ZERO + Duration::from_secs(s);
        let told = (10..200).filter(|s| ports.failed(t(*s), 0, "file limit")).count();
        assert_eq!(told, 4);
        assert_eq!(ports.shortage(t(200)), None, "nobody went without");
        let short: Vec<_> = (200..300)
            .filter_map(|s| {
                assert!(ports.take(t(s), 0).is_none());
                ports.shortage(t(s))
            })
            .collect();
        assert_eq!(short.len(), 2);
        assert!(short[0].contains("0 pairs are in use") && short[0].contains("of 2 that"), "{}", short[0]);
    }

    #[test]
    fn what_is_bound_is_our_own_and_nothing_else() {
        let own = Arc::new(OwnPorts::default());
        let mut ports = Ports::new(1, usize::MAX, Arc::clone(&own));
        ports.opened(0, [pair(3)]);
        assert!(own.contains(30_006) && own.contains(30_007));
        assert!(!own.contains(30_005) && !own.contains(30_008) && !own.contains(0));
        assert!([0, 63, 64, u16::MAX].into_iter().collect::<OwnPorts>().contains(u16::MAX));
    }
}
