//! Whether a target of a trunk is there: one that does not answer OPTIONS twice in a row is down, one that does is up.
//!
//! ```text
//!              answered                 failed            failed
//!  Unknown ──────────────────► Up ──────────────► in doubt ──────► Down
//!     └── in doubt, Down ◄── failed      ▲  ◄── answered ──┘  │
//!                                        └────── answered ────┘
//! ```
//! In doubt it is asked again at once, down it is asked more often: a trunk that is back is not left waiting.

use std::fmt;
use std::time::Duration;

use crate::base::{Random, Timestamp, UnixMillis};
use crate::call::targets::Target;
use crate::sip::transaction::ClientTx;
use crate::wire::sip::StatusCode;

/// Time for an answer: three of our OPTIONS were sent by then (RFC 3261 17.1.2.1).
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// Failures in a row with which a target is down: one may be a datagram that was lost.
const FAILURES: u32 = 2;
/// What is down is asked at least this often.
const DOWN_PING: Duration = Duration::from_secs(10);
/// The first questions of a start are spread over this.
const START: Duration = Duration::from_millis(500);

/// What is known of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It was never asked, or has not answered yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// Its word in views, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What was wrong with a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing came back in time.
    Silence,
    /// The request could not be carried there.
    NoWay,
    /// It said that it cannot.
    Status(StatusCode),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("no answer"),
            Self::NoWay => f.write_str("no connection"),
            Self::Status(status) => write!(f, "{} {}", status.as_u16(), status.reason()),
        }
    }
}

/// A question that is open.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: u64,
    pub(super) tx: ClientTx,
    pub(super) at: Timestamp,
    pub(super) target: Target,
}

/// One target.
pub(super) struct Probe {
    pub(super) target: Target,
    pub(super) health: Health,
    pub(super) asked: Option<Asked>,
    /// How long the last answer took.
    pub(super) rtt: Option<Duration>,
    /// What was wrong last, until it answers.
    pub(super) trouble: Option<Trouble>,
    /// Since when it is up, or down.
    pub(super) since: Option<UnixMillis>,
    /// How often it is asked; `None`: never.
    every: Option<Duration>,
    failures: u32,
    next: Timestamp,
}

impl Probe {
    pub(super) fn new(target: Target, every: Option<Duration>, now: Timestamp, random: &mut Random) -> Self {
        let next = every.map_or(Timestamp::NEVER, |_| now + below(START, random));
        Self {
            target,
            health: Health::Unknown,
            asked: None,
            rtt: None,
            trouble: None,
            since: None,
            every,
            failures: 0,
            next,
        }
    }

    /// When there is something to do: to ask, or to wait no longer.
    pub(super) fn poll_timeout(&self) -> Timestamp {
        self.asked.map_or(self.next, |asked| asked.at + PATIENCE)
    }

    /// Whether it is to be asked now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.asked.is_none() && self.next <= now
    }

    /// The question that was not answered in time; it is one no more.
    pub(super) fn take_unanswered(&mut self, now: Timestamp) -> Option<Asked> {
        self.asked.take_if(|asked| asked.at + PATIENCE <= now)
    }

    /// A call met silence or a refusal there: that is a failure, but not one to be down with. It is asked at once.
    pub(super) fn suspect(&mut self, now: Timestamp) {
        if self.every.is_some() && self.health != Health::Down && self.failures == 0 {
            (self.failures, self.next) = (1, now);
        }
    }

    /// Takes an answer. True if it is up from now on and was not.
    pub(super) fn answered(&mut self, now: Timestamp, asked: Asked, random: &mut Random) -> bool {
        (self.failures, self.trouble) = (0, None);
        self.rtt = Some(now.since(asked.at));
        self.next = self.every.map_or(Timestamp::NEVER, |every| now + about(every, random));
        std::mem::replace(&mut self.health, Health::Up) != Health::Up
    }

    /// Takes a failure. True if it is down from now on and was not.
    pub(super) fn failed(&mut self, now: Timestamp, trouble: Trouble, random: &mut Random) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(trouble);
        let Some(every) = self.every else { return false };
        if self.failures < FAILURES {
            self.next = now;
            return false;
        }
        self.next = now + about(every.min(DOWN_PING), random);
        std::mem::replace(&mut self.health, Health::Down) != Health::Down
    }
}

/// A tenth more or less, so that many nodes and trunks do not ask in step.
fn about(length: Duration, random: &mut Random) -> Duration {
    length * 9 / 10 + below(length / 5, random)
}

fn below(length: Duration, random: &mut Random) -> Duration {
    Duration::from_micros(random.below(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::sip::Transport;

    const SECOND: Duration = Duration::from_secs(1);

    fn probe(every: u32, random: &mut Random) -> Probe {
        let target = Target { transport: Transport::Udp, peer: SocketAddr::from(([192, 0, 2, 1], 5060)) };
        Probe::new(target, (every > 0).then(|| every * SECOND), Timestamp::ZERO, random)
    }

    fn ask(probe: &mut Probe, now: Timestamp) -> Asked {
        assert!(probe.is_due(now));
        let asked = Asked { key: 1, tx: ClientTx::from_bits(0), at: now, target: probe.target };
        probe.asked = Some(asked);
        probe.asked.take();
        asked
    }

    #[test]
    fn two_failures_in_a_row_are_down_and_one_answer_is_up() {
        let mut random = Random::from_number(1);
        let mut probe = probe(30, &mut random);
        let mut now = Timestamp::ZERO + START;
        let asked = ask(&mut probe, now);
        now = now + SECOND / 10;
        assert!(probe.answered(now, asked, &mut random), "from unknown to up");
        assert_eq!((probe.health, probe.rtt), (Health::Up, Some(SECOND / 10)));
        assert!(!probe.failed(now, Trouble::Silence, &mut random));
        assert_eq!(probe.health, Health::Up, "it is in doubt");
        let asked = ask(&mut probe, now);
        assert!(!probe.answered(now, asked, &mut random));
        assert!(!probe.failed(now, Trouble::Silence, &mut random), "not in a row");
        assert!(probe.failed(now, Trouble::NoWay, &mut random));
        assert!(!probe.failed(now, Trouble::Silence, &mut random), "told once");
        assert_eq!(probe.health, Health::Down);
        let next = probe.poll_timeout();
        let asked = ask(&mut probe, next);
        assert!(probe.answered(now, asked, &mut random));
        assert_eq!(probe.trouble, None);
    }

    #[test]
    fn it_is_asked_about_as_often_as_configured_and_more_often_while_down() {
        let mut random = Random::from_number(2);
        let now = Timestamp::ZERO + 100 * SECOND;
        for (every, down) in [(30, 10), (5, 5)] {
            let mut probe = probe(every, &mut random);
            for _ in 0..100 {
                let asked = Asked { key: 1, tx: ClientTx::from_bits(0), at: now, target: probe.target };
                probe.answered(now, asked, &mut random);
                let rest = probe.poll_timeout().since(now);
                assert!(rest >= every * SECOND * 9 / 10 && rest <= every * SECOND * 11 / 10, "{rest:?}");
                probe.failed(now, Trouble::Silence, &mut random);
                assert_eq!(probe.poll_timeout(), now, "at once");
                probe.failed(now, Trouble::Silence, &mut random);
                let rest = probe.poll_timeout().since(now);
                assert!(rest >= down * SECOND * 9 / 10 && rest <= down * SECOND * 11 / 10, "{rest:?}");
            }
        }
    }

    #[test]
    fn who_is_not_pinged_is_never_asked_and_never_down() {
        let mut random = Random::from_number(3);
        let mut probe = probe(0, &mut random);
        probe.suspect(Timestamp::ZERO);
        assert_eq!(probe.poll_timeout(), Timestamp::NEVER);
    }

    #[test]
    fn calls_alone_do_not_take_a_target_down() {
        let mut random = Random::from_number(4);
        let mut probe = probe(30, &mut random);
        let now = Timestamp::ZERO + 100 * SECOND;
        let asked = ask(&mut probe, now);
        probe.answered(now, asked, &mut random);
        for _ in 0..5 {
            probe.suspect(now);
        }
        assert_eq!((probe.health, probe.poll_timeout()), (Health::Up, now));
        assert!(probe.failed(now, Trouble::Silence, &mut random), "with the ping that fails it is down");
    }
}
