//! How the open files that the system allows are shared out, so that neither calls nor connections take the last one
//! from the store, from the command line and from each other.

use std::time::{Duration, Instant};

use crate::config::Resolved;

/// Files of a node beside listeners, media threads and webhooks: 27 while idle, and with those the readers of the store,
/// the files of call records, certificates being read, name servers being asked. So many of a low limit…
const OWN_LEAST: u64 = 40;
/// …and so many of a higher one, where there is room for the clients of the control socket.
const OWN_MOST: u64 = 76;
/// A media thread: its ring, what it waits with, its waker, the socket of its browsers.
const OF_THREAD: u64 = 4;
/// A webhook: its connection, and the next one while that ends.
const OF_WEBHOOK: u64 = 2;
/// A call: RTP and RTCP toward two sides.
const OF_CALL: u64 = 4;
/// SIP connections that peers make, at most.
pub const CONNECTIONS: u64 = 16_384;
/// SIP connections of our own making, beyond those.
pub const OUTGOING: u64 = 1_024;
/// HTTP connections: some hundred pages, each with its stream and up to five more while it reads its lists.
pub const PAGES: u64 = 1_024;
/// Without so many of each a node is of no use: a phone or two, somebody who looks at it, a call.
const LEAST: [u64; 3] = [4, 4, OF_CALL];
/// The same warning again: not before.
const SELDOM: Duration = Duration::from_secs(60);

/// What a node is to have files for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `media.ports`, first and last.
    pub ports: (u16, u16),
    /// Of listeners, media threads and webhooks.
    pub parts: u64,
}

impl Needs {
    /// Of a configuration.
    #[must_use]
    pub fn of(resolved: &Resolved) -> Self {
        let counted = |count: usize, each: u64| u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(each);
        let parts = counted(resolved.listens.len(), 1)
            + u64::from(media_threads(resolved)) * OF_THREAD
            + counted(resolved.webhooks.len(), OF_WEBHOOK)
            + u64::from(resolved.hep.is_some());
        Self { ports: resolved.media.ports, parts }
    }

    /// Of all media ports; a pair has two.
    fn media(self) -> u64 {
        let (first, last) = self.ports;
        (u64::from(last.saturating_sub(first)) + 1) & !1
    }

    /// Calls for which the range of ports is enough.
    #[must_use]
    pub fn calls(self) -> u64 {
        self.media() / OF_CALL
    }

    /// The limit with which nothing is cut short.
    #[must_use]
    pub fn whole(self) -> u64 {
        OWN_MOST + self.parts + self.media() + PAGES + CONNECTIONS + OUTGOING
    }

    /// The limit below which a node does not start.
    #[must_use]
    pub fn least(self) -> u64 {
        OWN_LEAST + self.parts + LEAST.iter().sum::<u64>()
    }

    /// What a limit is enough for; `None` where it is below [`Needs::least`].
    ///
    /// Of what the node itself leaves, a quarter at least is for SIP connections, an eighth for HTTP, as far as they may
    /// have so many; ports have what is left, up to their range; what they leave is for SIP connections.
    #[must_use]
    pub fn share(self, limit: u64) -> Option<Shares> {
        if limit < self.least() {
            return None;
        }
        let rest = limit - self.parts - (limit / 8).clamp(OWN_LEAST, OWN_MOST);
        let [connections, pages, _] = LEAST;
        let pages = (rest / 8).clamp(pages, PAGES);
        let floor = (rest / 4).clamp(connections, CONNECTIONS + OUTGOING);
        let pairs = rest.saturating_sub(pages + floor).min(self.media()) / 2;
        let connections = rest.saturating_sub(pages + pairs * 2).min(CONNECTIONS + OUTGOING);
        let outgoing = connections.div_ceil((CONNECTIONS + OUTGOING) / OUTGOING);
        Some(Shares {
            pairs: count(pairs),
            connections: count(connections - outgoing),
            outgoing: count(outgoing),
            pages: count(pages),
        })
    }
}

fn count(files: u64) -> usize {
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// What may be open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Pairs of media ports; a call has two.
    pub pairs: usize,
    /// SIP connections that peers make.
    pub connections: usize,
    /// SIP connections of our own making, beyond those.
    pub outgoing: usize,
    /// HTTP connections.
    pub pages: usize,
}

impl Shares {
    /// Calls of two legs that there are ports for.
    #[must_use]
    pub const fn calls(&self) -> usize {
        self.pairs / 2
    }
}

/// How many media threads a configuration has.
#[must_use]
pub fn media_threads(resolved: &Resolved) -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let half = u8::try_from((cores / 2).clamp(1, 16)).unwrap_or(1);
    resolved.media.threads.unwrap_or(half)
}

/// Lets a warning through once a minute: what lasts is not told every second.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether it is to be told now.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.0.is_none_or(|told| now.duration_since(told) >= SELDOM);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// A process that runs out of files: what other tests of this process would not survive.
#[cfg(test)]
pub(crate) mod drained {
    use std::fs::File;
    use std::process::Command;

    /// Whether this is such a process. If not, the test of this path is run in one, and has to pass there.
    pub(crate) fn is_here(test: &str) -> bool {
        const MARK: &str = "SEGUE_TEST_DRAINED";
        if std::env::var_os(MARK).is_some() {
            return true;
        }
        let program = std::env::current_exe().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(program).args(["--exact", test]);
        let output = shell.env(MARK, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        false
    }

    /// All files that the system still gives.
    pub(crate) fn take_all() -> Vec<File> {
        let taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(64).collect();
        assert!(taken.len() < 64, "there is a limit");
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { ports: (30_000, 39_999), parts: 6 };

    fn all(shares: Shares) -> u64 {
        (shares.pairs * 2 + shares.connections + shares.outgoing + shares.pages) as u64
    }

    #[test]
    fn no_limit_is_shared_out_twice() {
        for parts in [0, 6, 90] {
            let needs = Needs { parts, ..NEEDS };
            for limit in 0..70_000 {
                let Some(shares) = needs.share(limit) else {
                    assert!(limit < needs.least());
                    continue;
                };
                let own = (limit / 8).clamp(OWN_LEAST, OWN_MOST) + parts;
                assert!(all(shares) + own <= limit, "{limit}: {shares:?}");
                assert!(shares.calls() >= 1 && shares.connections >= 3 && shares.pages >= 4, "{limit}");
                assert!(shares.outgoing >= 1, "{limit}");
            }
        }
    }

    #[test]
    fn with_enough_files_nothing_is_cut_short() {
        let whole = Shares { pairs: 5000, connections: 16_384, outgoing: 1024, pages: 1024 };
        assert_eq!(NEEDS.whole(), 28_514);
        assert_eq!(NEEDS.share(NEEDS.whole()), Some(whole));
        assert_eq!(NEEDS.share(1 << 20), Some(whole));
        assert_ne!(NEEDS.share(NEEDS.whole() - 1), Some(whole));
    }

    #[test]
    fn a_low_limit_leaves_something_for_each() {
        let of = |limit| NEEDS.share(limit).map(|shares| (shares.calls(), shares.connections, shares.pages));
        assert_eq!(of(20_000), Some((2500, 8370, 1024)));
        assert_eq!(of(1024), Some((147, 221, 117)));
        assert_eq!(of(256), Some((33, 48, 26)));
        assert_eq!(of(60), Some((1, 3, 4)));
        assert_eq!((NEEDS.least(), of(58), of(57)), (58, Some((1, 3, 4)), None));
    }

    #[test]
    fn what_lasts_is_told_once() {
        let mut seldom = Seldom::default();
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
    }
}
