//! How much a source may send that has not shown who it is, so that no stranger takes the time of all others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Timestamp;

/// Sources whose messages are counted. Those beyond them share one allowance of [`SHARED`] times that of one.
const MAX_SOURCES: usize = 16_384;
const SHARED: u32 = 10;
/// A source that was quiet may send what it may in so long a time at once.
const BURST: Duration = Duration::from_secs(4);
/// How often a full table is looked through for those that are quiet: invented sources are new at each message.
const SWEEP: Duration = Duration::from_secs(1);

/// Messages of each source, by the generic cell rate algorithm (ITU-T I.371): one time for each says it all.
#[derive(Default)]
pub(super) struct Strangers {
    /// Until when what a source sent is paid for.
    paid_until: BTreeMap<IpAddr, Timestamp>,
    others: Timestamp,
    swept: Option<Timestamp>,
    /// When it was last told that messages are dropped.
    told: Option<Timestamp>,
}

impl Strangers {
    /// Counts a message of `source`, which may send `rate` in a second; false if it is one too many.
    pub(super) fn take(&mut self, now: Timestamp, source: IpAddr, rate: u32) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(rate) else { return true };
        if self.paid_until.len() >= MAX_SOURCES && !self.paid_until.contains_key(&source) {
            if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP) {
                self.swept = Some(now);
                self.paid_until.retain(|_, until| *until > now);
            }
            if self.paid_until.len() >= MAX_SOURCES {
                return charge(&mut self.others, now, each / SHARED);
            }
        }
        charge(self.paid_until.entry(source).or_insert(now), now, each)
    }

    /// Whether that was not told for so long; it is from now on.
    pub(super) fn is_news(&mut self, now: Timestamp, again: Duration) -> bool {
        let is_news = self.told.is_none_or(|told| now.since(told) >= again);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }
}

fn charge(paid_until: &mut Timestamp, now: Timestamp, each: Duration) -> bool {
    let next = (*paid_until).max(now) + each;
    let is_within = next.since(now) <= BURST;
    if is_within {
        *paid_until = next;
    }
    is_within
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 | last).to_be_bytes())
    }

    #[test]
    fn a_source_has_a_burst_and_then_its_rate_and_no_other_pays_for_it() {
        let (mut strangers, mut now) = (Strangers::default(), Timestamp::ZERO + Duration::from_secs(1));
        let sent = |strangers: &mut Strangers, now, ip, count| {
            (0..count).filter(|_| strangers.take(now, ip, 100)).count()
        };
        assert_eq!(sent(&mut strangers, now, ip(1), 1000), 400);
        assert_eq!(sent(&mut strangers, now, ip(2), 10), 10);
        now = now + Duration::from_millis(100);
        assert_eq!(sent(&mut strangers, now, ip(1), 1000), 10);
        now = now + Duration::from_secs(60);
        assert_eq!(sent(&mut strangers, now, ip(1), 1000), 400, "no more is saved up than a burst");
        assert!((0..1000).all(|_| strangers.take(now, ip(3), 0)), "no bound");
    }

    #[test]
    fn sources_beyond_the_table_share_and_those_in_it_keep_theirs() {
        let (mut strangers, now) = (Strangers::default(), Timestamp::ZERO + Duration::from_secs(1));
        let most = u32::try_from(MAX_SOURCES).unwrap();
        assert!((0..most).all(|n| strangers.take(now, ip(n), 100)));
        let passed = (most..3 * most).filter(|n| strangers.take(now, ip(*n), 100)).count();
        assert_eq!((passed, strangers.paid_until.len()), (4000, MAX_SOURCES));
        assert!(strangers.take(now, ip(7), 100));
        // Those that are quiet give way, and are looked for once a second.
        assert!(!strangers.take(now, ip(4 * most), 100));
        assert!(strangers.take(now + SWEEP / 2, ip(4 * most), 100));
        assert_eq!(strangers.paid_until.len(), MAX_SOURCES, "it shares what the others have");
        assert!(strangers.take(now + SWEEP, ip(4 * most), 100));
        assert_eq!(strangers.paid_until.len(), 1);
    }
}
