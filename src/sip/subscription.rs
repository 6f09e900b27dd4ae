//! Notifier side of subscriptions (RFC 6665), without the dialog and without the body.
//!
//! ```text
//!   SUBSCRIBE ──► Active ──── refresh ───► Active
//!                   │ expiry, Expires: 0, terminate(): one last NOTIFY `terminated`
//!                   ▼                                    481 and its kin, or three time-outs in a row
//!                 Ending ──── NOTIFY sent ───► Over ◄──────────────────── any state
//! ```
//! One NOTIFY is in flight at a time; what changes meanwhile is told by the next one, in one body. The body is made
//! when [`Subscription::poll_notify`] says so, and is then current: the resource's owner only says
//! [`Subscription::changed`].

use std::fmt;
use std::time::Duration;

use crate::base::{Now, Timestamp};

/// Bounds of a subscription's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shorter requests get 423 with Min-Expires.
    pub min: u32,
    /// Longer requests get this.
    pub max: u32,
    /// Where SUBSCRIBE has no Expires: RFC 4235 section 3.4 says an hour.
    pub default: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min: 60, max: 3600, default: 3600 }
    }
}

/// NOTIFY time-outs in a row after which the subscriber counts as gone. One does not: slow phones take seconds.
const MAX_TIMEOUTS: u8 = 3;
/// Wait before the next try after a time-out, or after an answer that says to retry without saying when.
const RETRY: Duration = Duration::from_secs(5);
/// No Retry-After holds us longer.
const MAX_RETRY: u32 = 300;

/// An event package that we notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Package {
    /// `dialog` (RFC 4235): a user, a device, or a star code's lamp.
    Dialog,
    /// `message-summary` (RFC 3842): whether messages wait for the subscriber.
    MessageSummary,
}

impl Package {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dialog => "dialog",
            Self::MessageSummary => "message-summary",
        }
    }
}

/// A read Event header. The `id` parameter tells apart subscriptions in one dialog (RFC 6665 section 4.5.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The package.
    pub package: Package,
    /// The `id` parameter.
    pub id: Option<Box<str>>,
}

impl Event {
    /// Reads an Event (or `o:`) header value; `None` is answered 489 with [`Event::ALLOWED`].
    ///
    /// ```
    /// use segue::sip::subscription::Event;
    /// assert_eq!(Event::read("dialog;id=7").unwrap().to_string(), "dialog;id=7");
    /// assert_eq!(Event::read("presence"), None);
    /// ```
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        // RFC 6665 section 8.2.1: event types are compared byte by byte.
        let name = parts.next()?;
        let package =
            [Package::Dialog, Package::MessageSummary].into_iter().find(|known| known.as_str() == name)?;
        let id = parts.find_map(|param| {
            let (name, content) = param.split_once('=')?;
            let token =
                content.len() <= 64 && content.bytes().all(|b| b.is_ascii_graphic() && !b"\",;".contains(&b));
            (name.trim().eq_ignore_ascii_case("id") && token && !content.is_empty()).then(|| content.into())
        });
        Some(Self { package, id })
    }

    /// The Allow-Events header.
    pub const ALLOWED: &'static str = "dialog, message-summary";
}

impl fmt::Display for Event {
    /// As the NOTIFY must repeat it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.package.as_str())?;
        self.id.iter().try_for_each(|id| write!(f, ";id={id}"))
    }
}

/// Why a subscription ends (RFC 6665 section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It may subscribe again at once: a restart, a migration.
    Deactivated,
    /// It may subscribe again later.
    Probation,
    /// Its right to watch is gone.
    Rejected,
    /// Not refreshed, or given up by the subscriber.
    Timeout,
    /// What it watched is gone.
    NoResource,
}

impl Reason {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::NoResource => "noresource",
        }
    }
}

/// A SUBSCRIBE that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 423 with Min-Expires.
    #[error("the duration is too short, the least is {min} s")]
    TooBrief {
        /// The Min-Expires value.
        min: u32,
    },
    /// 481: the subscription has ended.
    #[error("the subscription has ended")]
    Gone,
}

/// A NOTIFY to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The version of the document.
    pub version: u32,
    /// The Subscription-State header.
    pub state: SubscriptionState,
}

/// The Subscription-State header; `to_string()` is its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// `active;expires=…`
    Active {
        /// Seconds left.
        expires: u32,
    },
    /// `terminated;reason=…`
    Terminated {
        /// Why.
        reason: Reason,
    },
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active { expires } => write!(f, "active;expires={expires}"),
            Self::Terminated { reason } => write!(f, "terminated;reason={}", reason.as_str()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// The last NOTIFY is still to be sent.
    Ending(Reason),
    /// It is sent, or there is nobody to send it to.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Grounded,
    /// One is out; its answer is awaited.
    Out,
    /// A try failed; not before this.
    Waiting(Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Current,
    Stale,
}

/// One subscription.
///
/// ```
/// use segue::base::{Now, Timestamp, UnixMillis};
/// use segue::sip::subscription::{Limits, Subscription};
/// let now = Now { at: Timestamp::ZERO, unix: UnixMillis(1_700_000_000_000) };
/// let mut subscription = Subscription::new(now, Some(600), &Limits::default())?;
/// assert_eq!(subscription.seconds_left(now.at), 600);              // Expires of the 200
/// let notify = subscription.poll_notify(now.at).unwrap();          // at once: RFC 6665 section 4.2.1.2
/// assert_eq!(notify.state.to_string(), "active;expires=600");
/// subscription.changed();
/// assert_eq!(subscription.poll_notify(now.at), None);              // one is in flight
/// subscription.answered(now.at, 200, None);
/// assert_eq!(subscription.poll_notify(now.at).unwrap().version, notify.version + 1);
/// # Ok::<(), segue::sip::subscription::Refused>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subscription {
    state: State,
    expires: Timestamp,
    version: u32,
    flight: Flight,
    told: Told,
    timeouts: u8,
}

impl Subscription {
    /// From the first SUBSCRIBE and its Expires; zero is a fetch: one NOTIFY with the state, and over.
    ///
    /// # Errors
    /// [`Refused::TooBrief`].
    pub fn new(now: Now, requested: Option<u32>, limits: &Limits) -> Result<Self, Refused> {
        let granted = grant(requested, limits)?;
        let version = Self::first_number(now);
        let mut new = Self {
            state: State::Active,
            expires: now.at,
            version,
            flight: Flight::Grounded,
            told: Told::Stale,
            timeouts: 0,
        };
        new.extend(now.at, granted);
        Ok(new)
    }

    /// Where versions and CSeq of a subscription that begins now start: sixteenths of a second of calendar time. That
    /// is more than any number before a restart, however quick, unless there were more than sixteen NOTIFYs a second.
    /// Below 2^31, as CSeq must be (RFC 3261 section 8.1.1.5) and as phones with signed numbers need it, so that it
    /// goes back once in four years.
    #[must_use]
    pub fn first_number(now: Now) -> u32 {
        let sixteenths = u128::from(now.unix.0) * 16 / 1000;
        u32::try_from(sixteenths & 0x7fff_ffff).unwrap_or(0)
    }

    /// The same with a first number of the notifier's own.
    #[must_use]
    pub fn starting_at(self, number: u32) -> Self {
        Self { version: number, ..self }
    }

    /// A SUBSCRIBE in the dialog; Expires zero ends it. A NOTIFY follows in every case (RFC 6665 section 4.2.1.2).
    ///
    /// # Errors
    /// [`Refused`]; the subscription is then as it was.
    pub fn refresh(
        &mut self,
        now: Timestamp,
        requested: Option<u32>,
        limits: &Limits,
    ) -> Result<(), Refused> {
        if self.state != State::Active || self.expires <= now {
            return Err(Refused::Gone);
        }
        let granted = grant(requested, limits)?;
        self.extend(now, granted);
        self.told = Told::Stale;
        // It is there: whatever failed before is worth another try now.
        self.timeouts = 0;
        if matches!(self.flight, Flight::Waiting(_)) {
            self.flight = Flight::Grounded;
        }
        Ok(())
    }

    /// What is watched is not as it was told last.
    pub fn changed(&mut self) {
        self.told = Told::Stale;
    }

    /// Ends it with a last NOTIFY.
    pub fn terminate(&mut self, reason: Reason) {
        if self.state == State::Active {
            self.state = State::Ending(reason);
        }
    }

    /// Forgets the subscriber without a word: its flow broke, or it registers no more.
    pub fn abandon(&mut self) {
        self.state = State::Over;
    }

    /// The NOTIFY to send now, if any, counted as sent. Ask after every input that touches the subscription.
    pub fn poll_notify(&mut self, now: Timestamp) -> Option<Notify> {
        match self.flight {
            Flight::Out => return None,
            Flight::Waiting(until) if until > now => return None,
            Flight::Waiting(_) | Flight::Grounded => {}
        }
        let state = match (self.state, self.told) {
            (State::Active, _) if self.expires <= now => self.last(Reason::Timeout),
            (State::Active, Told::Stale) => SubscriptionState::Active { expires: self.seconds_left(now) },
            (State::Ending(reason), _) => self.last(reason),
            (State::Active, Told::Current) | (State::Over, _) => return None,
        };
        self.told = Told::Current;
        self.flight = Flight::Out;
        self.version = self.version.wrapping_add(1);
        Some(Notify { version: self.version, state })
    }

    /// The final answer to the NOTIFY, with its Retry-After.
    pub fn answered(&mut self, now: Timestamp, status: u16, retry_after: Option<u32>) {
        if self.flight != Flight::Out {
            return;
        }
        match (status, retry_after) {
            (200..=299, _) => {
                self.flight = Flight::Grounded;
                self.timeouts = 0;
            }
            // RFC 6665 section 4.2.2 and RFC 5057 section 5.1: these end it whatever else they carry.
            (404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604, _) => self.abandon(),
            (_, Some(seconds)) => {
                self.try_again(now + Duration::from_secs(u64::from(seconds.clamp(1, MAX_RETRY))));
            }
            (408 | 491 | 500..=599, None) => self.timed_out(now),
            // "considered failed": no way to repeat it with success. A challenge is never answered.
            (_, None) => self.abandon(),
        }
    }

    /// The NOTIFY got no answer (timer F), or could not be sent.
    pub fn timed_out(&mut self, now: Timestamp) {
        if self.flight != Flight::Out {
            return;
        }
        self.timeouts += 1;
        if self.timeouts >= MAX_TIMEOUTS { self.abandon() } else { self.try_again(now + RETRY) }
    }

    /// When [`Subscription::poll_notify`] may have something without further input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let waits = if let Flight::Waiting(until) = self.flight { Some(until) } else { None };
        match (self.state, self.flight, self.told) {
            (State::Over, ..) | (_, Flight::Out, _) => None,
            (State::Active, _, Told::Current) => {
                Some(waits.map_or(self.expires, |until| self.expires.max(until)))
            }
            (State::Active, _, Told::Stale) => Some(waits.unwrap_or(Timestamp::ZERO)),
            (State::Ending(_), ..) => Some(waits.unwrap_or(Timestamp::ZERO)),
        }
    }

    /// Whole seconds left, rounded up: Expires of the 200.
    #[must_use]
    pub fn seconds_left(&self, now: Timestamp) -> u32 {
        u32::try_from(self.expires.since(now).as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX)
    }

    /// Whether it may be forgotten. The answer to the last NOTIFY changes nothing.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn extend(&mut self, now: Timestamp, granted: u32) {
        self.expires = now + Duration::from_secs(u64::from(granted));
        if granted == 0 {
            self.state = State::Ending(Reason::Timeout);
        }
    }

    fn last(&mut self, reason: Reason) -> SubscriptionState {
        self.state = State::Over;
        SubscriptionState::Terminated { reason }
    }

    fn try_again(&mut self, at: Timestamp) {
        (self.flight, self.told) = (Flight::Waiting(at), Told::Stale);
    }
}

fn grant(requested: Option<u32>, limits: &Limits) -> Result<u32, Refused> {
    match requested.unwrap_or(limits.default) {
        0 => Ok(0),
        // RFC 6665 section 4.2.1.1: 423 only for less than an hour.
        seconds if seconds < limits.min && seconds < 3600 => Err(Refused::TooBrief { min: limits.min }),
        seconds => Ok(seconds.min(limits.max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;

    const LIMITS: Limits = Limits { min: 60, max: 3600, default: 3600 };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn subscribed(expires: u32) -> Subscription {
        let now = Now { at: at(0), unix: UnixMillis(1_000_000) };
        Subscription::new(now, Some(expires), &LIMITS).unwrap()
    }

    fn notify(subscription: &mut Subscription, now: Timestamp) -> Option<String> {
        subscription.poll_notify(now).map(|notify| notify.state.to_string())
    }

    #[test]
    fn the_first_notify_comes_at_once_and_one_is_in_flight() {
        let mut watch = subscribed(600);
        assert_eq!(watch.poll_timeout(), Some(Timestamp::ZERO));
        let first = watch.poll_notify(at(0)).unwrap();
        assert_eq!((first.version, watch.poll_timeout()), (16_001, None));
        for _ in 0..5 {
            watch.changed();
            assert_eq!(watch.poll_notify(at(1)), None);
        }
        watch.answered(at(2), 200, None);
        let second = watch.poll_notify(at(2)).unwrap();
        assert_eq!((second.version, second.state), (16_002, SubscriptionState::Active { expires: 598 }));
        watch.answered(at(3), 202, None);
        assert_eq!(watch.poll_notify(at(3)), None);
        assert_eq!(watch.poll_timeout(), Some(at(600)));
    }

    #[test]
    fn it_ends_on_time_with_a_last_word() {
        let mut watch = subscribed(60);
        notify(&mut watch, at(0));
        watch.answered(at(0), 200, None);
        assert_eq!(notify(&mut watch, at(59)), None);
        assert_eq!(notify(&mut watch, at(60)).as_deref(), Some("terminated;reason=timeout"));
        assert!(watch.is_over());
        assert_eq!(notify(&mut watch, at(61)), None);
        assert_eq!(watch.refresh(at(61), Some(600), &LIMITS), Err(Refused::Gone));
        watch.answered(at(62), 200, None);
        assert!(watch.is_over() && watch.poll_timeout().is_none());
    }

    #[test]
    fn a_refresh_lengthens_and_is_told() {
        let mut watch = subscribed(60);
        notify(&mut watch, at(0));
        watch.answered(at(0), 200, None);
        assert_eq!(watch.refresh(at(50), Some(10), &LIMITS), Err(Refused::TooBrief { min: 60 }));
        assert_eq!(watch.seconds_left(at(50)), 10);
        watch.refresh(at(50), None, &LIMITS).unwrap();
        assert_eq!(notify(&mut watch, at(50)).as_deref(), Some("active;expires=3600"));
        watch.answered(at(50), 200, None);
        watch.refresh(at(60), Some(0), &LIMITS).unwrap();
        assert_eq!(watch.seconds_left(at(60)), 0);
        assert_eq!(notify(&mut watch, at(60)).as_deref(), Some("terminated;reason=timeout"));
    }

    #[test]
    fn a_fetch_is_one_notify_and_long_requests_are_cut() {
        let mut fetch = subscribed(0);
        assert_eq!(notify(&mut fetch, at(0)).as_deref(), Some("terminated;reason=timeout"));
        assert!(fetch.is_over());
        assert_eq!(subscribed(u32::MAX).seconds_left(at(0)), 3600);
        let now = Now::default();
        assert!(matches!(Subscription::new(now, Some(59), &LIMITS), Err(Refused::TooBrief { min: 60 })));
    }

    #[test]
    fn a_481_and_its_kin_end_it_without_a_word() {
        for status in
            [481, 404, 405, 410, 416, 480, 482, 483, 484, 485, 489, 501, 604, 401, 403, 302, 420, 603]
        {
            let mut watch = subscribed(600);
            notify(&mut watch, at(0));
            watch.answered(at(1), status, None);
            assert!(watch.is_over(), "{status}");
            watch.changed();
            assert_eq!(notify(&mut watch, at(2)), None);
        }
    }

    #[test]
    fn one_timeout_is_forgiven_and_three_are_not() {
        let mut watch = subscribed(600);
        notify(&mut watch, at(0));
        watch.answered(at(32), 408, None);
        assert_eq!(notify(&mut watch, at(36)), None);
        assert_eq!(watch.poll_timeout(), Some(at(37)));
        assert!(notify(&mut watch, at(37)).is_some());
        watch.answered(at(38), 200, None);
        for round in 1..=3 {
            watch.changed();
            assert!(notify(&mut watch, at(40 + round * 50)).is_some(), "{round}");
            watch.timed_out(at(41 + round * 50));
        }
        assert!(watch.is_over());
    }

    #[test]
    fn retry_after_is_kept_and_a_refresh_tries_at_once() {
        let mut watch = subscribed(3600);
        notify(&mut watch, at(0));
        watch.answered(at(0), 503, Some(1_000_000));
        assert_eq!(watch.poll_timeout(), Some(at(300)));
        watch.refresh(at(10), Some(600), &LIMITS).unwrap();
        assert!(notify(&mut watch, at(10)).is_some());
    }

    #[test]
    fn ending_waits_for_the_answer_that_is_out() {
        let mut watch = subscribed(600);
        notify(&mut watch, at(0));
        watch.terminate(Reason::Deactivated);
        assert_eq!(notify(&mut watch, at(1)), None);
        watch.timed_out(at(32));
        watch.terminate(Reason::Rejected);
        assert_eq!(notify(&mut watch, at(37)).as_deref(), Some("terminated;reason=deactivated"));
        assert!(watch.is_over());
    }

    #[test]
    fn a_restart_does_not_go_back() {
        let mut before = subscribed(3600);
        let mut last = 0;
        for n in 0..30 {
            before.changed();
            last = before.poll_notify(at(n)).unwrap().version;
            before.answered(at(n), 200, None);
        }
        let now = Now { at: at(0), unix: UnixMillis(1_000_000 + 31_000) };
        let mut after = Subscription::new(now, None, &LIMITS).unwrap();
        assert!(after.poll_notify(at(0)).unwrap().version > last);
    }

    #[test]
    fn every_answer_in_every_state_leaves_at_most_one_notify_in_flight() {
        // All strings of length 6 over these inputs: versions rise, nothing follows the last word.
        const INPUTS: usize = 8;
        for code in 0..INPUTS.pow(6) {
            let (mut rest, mut watch, mut last, mut out) = (code, subscribed(600), 0, false);
            for step in 0..6_u64 {
                let now = at(step * 100);
                match rest % INPUTS {
                    0 => watch.changed(),
                    1 => (watch.answered(now, 200, None), out = false).0,
                    2 => (watch.answered(now, 481, None), out = false).0,
                    3 => (watch.timed_out(now), out = false).0,
                    4 => drop(watch.refresh(now, Some(600), &LIMITS)),
                    5 => drop(watch.refresh(now, Some(0), &LIMITS)),
                    6 => watch.terminate(Reason::NoResource),
                    _ => (watch.answered(now, 500, Some(10)), out = false).0,
                }
                rest /= INPUTS;
                let over = watch.is_over();
                if let Some(notify) = watch.poll_notify(now) {
                    assert!(!out && !over && notify.version > last, "{code}");
                    (out, last) = (true, notify.version);
                    let ended = matches!(notify.state, SubscriptionState::Terminated { .. });
                    assert_eq!(ended, watch.is_over());
                }
            }
        }
    }

    #[test]
    fn events_are_read_byte_by_byte() {
        for (value, shown) in [
            ("dialog", Some("dialog")),
            ("dialog ; x=y; ID=a1", Some("dialog;id=a1")),
            ("dialog;id=", Some("dialog")),
        ] {
            assert_eq!(Event::read(value).map(|event| event.to_string()).as_deref(), shown);
        }
        for other in ["", "Dialog", "dialog.winfo", "presence", "Message-Summary"] {
            assert_eq!(Event::read(other), None);
        }
        assert_eq!(Event::read(&format!("dialog;id={}", "x".repeat(65))).unwrap().id, None);
    }
}
