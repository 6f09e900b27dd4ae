//! A registration of ours (RFC 3261 10.2), of our account at a trunk or of a user at a PBX: when it is asked for, what comes
//! of it, and when it is asked for again.
//!
//! ```text
//!  Registering ──2xx──► Registered ──at 80 % of what was granted──► (asked again)
//!     │    │
//!     │    └─ 408, 503, silence of every target ─► Unreachable ─┐ after a pause that doubles
//!     └────── any other refusal ─────────────────► Refused ─────┘ or is long, asked again
//! ```

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::{Random, Timestamp};
use crate::call::targets::Target;
use crate::sip::Flow;
use crate::sip::transaction::ClientTx;
use crate::wire::sip::{Contacts, HeaderName, Message, Uri};

/// Seconds asked for.
const WISH: u32 = 3600;
/// Longest registration, wished or granted: a day.
const LONGEST: u32 = 86_400;
/// However little is granted, it is not asked for more often than this.
const SHORTEST_REST: Duration = Duration::from_secs(10);
/// The first pause after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1800));
/// The pause after credentials were refused, or everything is forbidden: a person has to do something, and a registrar
/// that is asked again and again bans.
const LONG_PAUSE: Duration = Duration::from_secs(600);
/// A Retry-After is heeded up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// Time for the answer of a target while there is another.
const PATIENCE: Duration = Duration::from_secs(4);
/// Time for the registrar to let us go.
const LEAVE: Duration = Duration::from_secs(2);
/// Hops, and bytes, of a service route; more is an attack on the size of our requests.
const LONGEST_ROUTE: (usize, usize) = (16, 2048);
/// Bindings that ended with their connection are made anew at most this often.
const RENEW: Duration = Duration::from_secs(30);

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It was asked for the first time, or is about to be.
    Registering,
    /// It stands.
    Registered,
    /// The registrar does not want it.
    Refused,
    /// No registrar answers.
    Unreachable,
    /// No calls are to come any more: the node drains, or no device of the user is left.
    Unregistered,
}

impl State {
    /// Its word in views.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unregistered => "unregistered",
        }
    }
}

/// A REGISTER that is open.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: u64,
    pub(super) tx: ClientTx,
    pub(super) target: Target,
    pub(super) flow: Flow,
    /// When the next target is asked instead.
    until: Timestamp,
}

/// What a registrar's answer, or its silence, comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It stands for this long.
    Granted(Duration),
    /// It is to be asked for at the same place, for longer.
    TooBrief,
    /// This target does not work; another may.
    NextTarget { why: Box<str>, retry_after: Duration },
    /// No target would say anything else.
    Refused { why: Box<str>, pause: Pause },
}

/// How soon it is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    /// After the next pause, or what the registrar said where that is longer.
    AtLeast(Duration),
    /// After the long one.
    Long,
}

/// One registration at a trunk.
pub(super) struct Registration {
    /// What our Contact there is known by.
    pub(super) line: Box<str>,
    pub(super) call_id: Box<str>,
    pub(super) tag: Box<str>,
    pub(super) cseq: u32,
    /// Seconds asked for.
    pub(super) wish: u32,
    pub(super) state: State,
    /// Why it does not stand.
    pub(super) reason: Option<Box<str>>,
    /// Until when it stands, as far as we know.
    pub(super) expires: Option<Timestamp>,
    pub(super) asked: Option<Asked>,
    /// Where it stands.
    pub(super) at: Option<(Target, Flow)>,
    /// Targets that may still be asked in this round.
    round: SmallVec<[Target; 2]>,
    was_brief: bool,
    failures: u32,
    next: Timestamp,
    granted: Option<Timestamp>,
    /// Until when we wait for a registrar to let us go.
    leaving: Option<Timestamp>,
}

impl Registration {
    /// One whose Contact is known by `line`.
    pub(super) fn new(now: Timestamp, line: Box<str>, random: &mut Random) -> Self {
        Self {
            line,
            call_id: random.token().into(),
            tag: random.tag().into(),
            cseq: 0,
            wish: WISH,
            state: State::Registering,
            reason: None,
            expires: None,
            asked: None,
            at: None,
            round: SmallVec::new(),
            was_brief: false,
            failures: 0,
            next: now,
            granted: None,
            leaving: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Timestamp {
        match (self.asked, self.leaving) {
            (Some(_), Some(until)) => until,
            (Some(asked), None) => asked.until,
            (None, Some(_)) => Timestamp::NEVER,
            (None, None) => self.next,
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.asked.is_none() && self.leaving.is_none() && self.next <= now
    }

    /// Begins a round: where it stands is asked first.
    pub(super) fn begin(&mut self, mut targets: SmallVec<[Target; 2]>) {
        if let Some((known, _)) = self.at {
            targets.sort_by_key(|target| *target != known);
        }
        (self.round, self.was_brief) = (targets, false);
    }

    /// The target that is to be asked next in this round.
    pub(super) fn take_target(&mut self) -> Option<Target> {
        (!self.round.is_empty()).then(|| self.round.remove(0))
    }

    /// A REGISTER was sent.
    pub(super) fn sent(&mut self, now: Timestamp, key: u64, tx: ClientTx, (target, flow): (Target, Flow)) {
        let until = if self.round.is_empty() { Timestamp::NEVER } else { now + PATIENCE };
        self.asked = Some(Asked { key, tx, target, flow, until });
    }

    /// The REGISTER that was not answered in time; it is open no more.
    pub(super) fn take_unanswered(&mut self, now: Timestamp) -> Option<Asked> {
        let until = self.poll_timeout();
        self.asked.take_if(|_| until <= now)
    }

    /// Seconds that the Contact asks for.
    pub(super) fn asks_for(&self) -> u32 {
        if self.leaving.is_some() { 0 } else { self.wish }
    }

    /// Whether a registrar was asked to let us go and has not answered.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some() && self.asked.is_some()
    }

    /// Whether it is over for good.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.is_some()
    }

    /// No calls any more. Where a registrar is to be asked to let us go, if there is one; and what was asked before.
    pub(super) fn leave(&mut self, now: Timestamp) -> (Option<(Target, Flow)>, Option<Asked>) {
        if self.leaving.is_some() {
            return (None, None);
        }
        let asked = self.asked.take();
        let stands = self.expires.is_some_and(|until| until > now);
        let known = self.at.filter(|_| stands).or(asked.map(|asked| (asked.target, asked.flow)));
        (self.leaving, self.state) = (Some(now + LEAVE), State::Unregistered);
        (self.expires, self.at, self.reason) = (None, None, None);
        self.round.clear();
        (known, asked)
    }

    /// Whether the registrar has said what it had to say to our leaving, or not in time.
    pub(super) fn is_over(&self) -> bool {
        self.leaving.is_some() && self.asked.is_none()
    }

    /// It left, and is wanted again: the same Call-ID and the CSeq after the last one (10.2), since the registrar may not have
    /// heard yet of what was said before.
    pub(super) fn rejoin(&mut self, now: Timestamp) {
        (self.leaving, self.state) = (None, State::Registering);
        (self.failures, self.granted, self.next) = (0, None, now);
    }

    /// It is not asked for before `at`.
    pub(super) fn put_off(&mut self, at: Timestamp) {
        self.next = self.next.max(at);
    }

    /// What it depends on is gone, or came: it is asked for soon.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        let soonest = self.granted.map_or(now, |at| now.max(at + RENEW));
        self.next = self.next.min(soonest);
    }

    /// Reads the answer to a REGISTER, where it is no challenge that was answered.
    pub(super) fn judge(&mut self, response: &Message, unproved: Option<Box<str>>) -> Option<Verdict> {
        let status = response.status().filter(|status| status.is_final())?;
        let retry_after = retry_after(response);
        let why = || format!("{} {}", status.as_u16(), status.reason()).into_boxed_str();
        Some(match status.as_u16() {
            200..=299 => match self.granted_by(response) {
                0 => Verdict::Refused {
                    why: "it was granted for no time".into(),
                    pause: Pause::AtLeast(retry_after),
                },
                seconds => Verdict::Granted(Duration::from_secs(seconds.into())),
            },
            423 if !self.was_brief && self.is_raised_by(response) => {
                self.was_brief = true;
                Verdict::TooBrief
            }
            408 | 503 => Verdict::NextTarget { why: why(), retry_after },
            401 | 403 | 407 => {
                let why = unproved.map_or_else(why, |unproved| format!("{}: {unproved}", why()).into());
                Verdict::Refused { why, pause: Pause::Long }
            }
            _ => Verdict::Refused { why: why(), pause: Pause::AtLeast(retry_after) },
        })
    }

    /// Seconds that a 2xx grants (10.2.4): as our Contact in it says, or all of it.
    fn granted_by(&self, response: &Message) -> u32 {
        let is_ours = |uri: &str| {
            Uri::parse(uri)
                .is_ok_and(|uri| uri.param("line").flatten().is_some_and(|line| *line == *self.line))
        };
        let ours = match response.contacts() {
            Ok(Contacts::List(list)) => {
                list.iter().find(|contact| is_ours(contact.uri)).and_then(|contact| contact.expires())
            }
            Ok(Contacts::Star) | Err(_) => None,
        };
        ours.or_else(|| response.expires()).unwrap_or(self.wish).min(LONGEST)
    }

    /// Follows Min-Expires (10.2.8, 10.3 step 7).
    fn is_raised_by(&mut self, response: &Message) -> bool {
        let least = response.header(HeaderName::MinExpires).and_then(|header| number(header.value));
        let least = least.filter(|least| (self.wish + 1..=LONGEST).contains(least));
        self.wish = least.unwrap_or(self.wish);
        least.is_some()
    }

    /// It stands. True if it did not before.
    pub(super) fn granted(&mut self, now: Timestamp, length: Duration, at: (Target, Flow)) -> bool {
        (self.expires, self.at, self.granted) = (Some(now + length), Some(at), Some(now));
        (self.failures, self.reason) = (0, None);
        self.round.clear();
        self.next = now + (length * 4 / 5).max(SHORTEST_REST);
        std::mem::replace(&mut self.state, State::Registered) != State::Registered
    }

    /// It was not to be had. True if that is news.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        (state, why): (State, Box<str>),
        pause: Pause,
        random: &mut Random,
    ) -> bool {
        self.round.clear();
        let doubled = PAUSE.0.saturating_mul(1 << self.failures.min(8)).min(PAUSE.1);
        self.failures = self.failures.saturating_add(1);
        let pause = match pause {
            Pause::AtLeast(told) => jittered(doubled, random).max(told),
            Pause::Long => jittered(LONG_PAUSE.max(doubled), random),
        };
        self.next = now + pause;
        let is_news = self.state != state || self.reason.as_deref() != Some(&*why);
        (self.state, self.reason) = (state, Some(why));
        is_news
    }
}

/// A quarter more or less: registrars that come back are not met by all at once.
fn jittered(length: Duration, random: &mut Random) -> Duration {
    let half = u64::try_from(length.as_micros() / 2).unwrap_or(u64::MAX);
    length * 3 / 4 + Duration::from_micros(random.below(half))
}

/// The route that a 2xx names for requests outside dialogs, first hop first; empty where it names none, which takes away
/// one that was named before (RFC 3608 6.1).
pub(super) fn service_route(response: &Message) -> Vec<Box<str>> {
    let values = response.values(HeaderName::ServiceRoute);
    let route: Vec<Box<str>> =
        values.filter_map(|value| std::str::from_utf8(value).ok()).map(|hop| hop.trim().into()).collect();
    let bytes: usize = route.iter().map(|hop| hop.len()).sum();
    let (hops, most) = LONGEST_ROUTE;
    if route.len() > hops || bytes > most { Vec::new() } else { route }
}

fn retry_after(response: &Message) -> Duration {
    let told = response.header(HeaderName::RetryAfter).and_then(|header| number(header.value));
    Duration::from_secs(told.unwrap_or(0).into()).min(LONGEST_RETRY)
}

/// The number that a value begins with.
fn number(value: &[u8]) -> Option<u32> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::sip::Transport;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn place() -> (Target, Flow) {
        let peer = SocketAddr::from(([192, 0, 2, 1], 5060));
        let flow = Flow { transport: Transport::Tcp, listener: 0, connection: 7, peer };
        (Target { transport: Transport::Tcp, peer }, flow)
    }

    #[test]
    fn what_ended_with_its_connection_is_made_anew_but_not_more_often_than_each_half_minute() {
        let mut random = Random::from_number(1);
        let mut registration = Registration::new(START, "line".into(), &mut random);
        assert!(registration.is_due(START));
        assert!(registration.granted(START, 3600 * SECOND, place()), "it stands for the first time");
        assert_eq!(registration.poll_timeout(), START + 2880 * SECOND);
        registration.hurry(START + SECOND);
        assert_eq!(
            registration.poll_timeout(),
            START + RENEW,
            "a registrar that closes each connection at once"
        );
        let later = START + 100 * SECOND;
        assert!(!registration.granted(later, 3600 * SECOND, place()), "that is no news");
        let much_later = later + 1000 * SECOND;
        registration.hurry(much_later);
        assert!(registration.is_due(much_later));
        assert!(!registration.granted(much_later, SECOND, place()));
        assert_eq!(registration.poll_timeout(), much_later + SHORTEST_REST, "however little is granted");
    }

    #[test]
    fn pauses_double_up_to_half_an_hour_and_what_the_registrar_says_is_heeded_up_to_an_hour() {
        let mut random = Random::from_number(2);
        let mut registration = Registration::new(START, "line".into(), &mut random);
        let mut pause = |registration: &mut Registration, pause, why: &str| {
            let news = registration.failed(START, (State::Unreachable, why.into()), pause, &mut random);
            (registration.poll_timeout().since(START).as_secs(), news)
        };
        let no_more = Pause::AtLeast(Duration::ZERO);
        for (count, doubled) in [30, 60, 120, 240, 480, 960, 1800, 1800].into_iter().enumerate() {
            let (length, news) = pause(&mut registration, no_more, "no answer");
            assert!((doubled * 3 / 4..=doubled * 5 / 4).contains(&length), "{count}: {length}");
            assert_eq!(news, count == 0, "it is told once");
        }
        assert!(pause(&mut registration, no_more, "no connection").1, "another reason is news");
        registration.granted(START, 60 * SECOND, place());
        assert!(pause(&mut registration, no_more, "no answer").0 <= 38, "it stood, so it begins anew");
        registration.granted(START, 60 * SECOND, place());
        assert_eq!(pause(&mut registration, Pause::AtLeast(99 * SECOND), "503").0, 99);
        assert!((450..=750).contains(&pause(&mut registration, Pause::Long, "403").0));
        assert_eq!(number(b"120 (in a while);duration=9"), Some(120));
        assert_eq!((number(b""), number(b"soon"), number(b"99999999999")), (None, None, None));
    }
}
