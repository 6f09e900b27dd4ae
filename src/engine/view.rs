//! What the engine shows of calls, moves, registrations, users and itself: plain values, ready to be serialised.

use std::cmp::Ordering;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::command::{Subject, TrustName};
pub use super::dial_plan::{RouteQuestion, RouteTargetView, RouteTestView, RouteView, RuleVerdictView};
pub use super::trunks::{TargetView, TrunkRegistrationView, TrunkView};
use crate::base::UnixMillis;
use crate::call::record::CallRecord;
use crate::media::relay::PortStats;
pub use crate::moving::Trigger;
pub use crate::moving::machine::State as MoveState;
use crate::moving::timeline::Timeline;

/// Items of a list without a `limit`.
pub const PAGE_DEFAULT: u16 = 100;
/// Most items of one answer.
pub const PAGE_MAX: u16 = 1000;

/// A wall-clock time that is written as RFC 3339 with milliseconds, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub UnixMillis);

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuery {
    /// Only items after the one with this key.
    pub cursor: Option<Box<str>>,
    /// Most items; [`PAGE_DEFAULT`] unless given, at most [`PAGE_MAX`].
    pub limit: u16,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { cursor: None, limit: PAGE_DEFAULT }
    }
}

/// Which end of a list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least key.
    Ascending,
    /// The greatest key: of ULIDs the newest.
    Descending,
}

impl Order {
    /// How two keys stand in the list.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Ascending => a.cmp(b),
            Self::Descending => b.cmp(a),
        }
    }
}

/// What can stand in a list: it has a key that orders it.
pub trait Listed {
    /// The order of such lists.
    const ORDER: Order;

    /// The key; unique in the list.
    fn key(&self) -> String;
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next part; `None` at the end.
    pub next: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

impl<T: Listed> Page<T> {
    /// The part that `query` asks for of `items`, which need not be in order.
    #[must_use]
    pub fn cut(items: impl IntoIterator<Item = T>, query: &PageQuery) -> Self {
        let is_after = |key: &str| query.cursor.as_deref().is_none_or(|at| T::ORDER.compare(key, at).is_gt());
        let mut keyed: Vec<(String, T)> =
            items.into_iter().map(|item| (item.key(), item)).filter(|(key, _)| is_after(key)).collect();
        keyed.sort_by(|(a, _), (b, _)| T::ORDER.compare(a, b));
        // Workers that share a store give the same item each: the first one stands.
        keyed.dedup_by(|(a, _), (b, _)| a == b);
        let limit = usize::from(query.limit.clamp(1, PAGE_MAX));
        let more = keyed.len() > limit;
        keyed.truncate(limit);
        let next = keyed.last().filter(|_| more).map(|(key, _)| key.clone());
        Self { items: keyed.into_iter().map(|(_, item)| item).collect(), next }
    }

    /// One part of the parts that several workers gave to the same query.
    #[must_use]
    pub fn merge(pages: Vec<Self>, query: &PageQuery) -> Self {
        // A worker that had more than fits ends the list where its own part ends.
        let end = pages.iter().filter_map(|page| page.next.clone()).min_by(|a, b| T::ORDER.compare(a, b));
        let mut merged = Self::cut(pages.into_iter().flat_map(|page| page.items), query);
        if let Some(end) = end
            && merged.next.as_deref().is_none_or(|next| T::ORDER.compare(next, &end).is_gt())
        {
            merged.items.retain(|item| T::ORDER.compare(&item.key(), &end).is_le());
            merged.next = Some(end);
        }
        merged
    }
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// No answer yet.
    Ringing,
    /// Both sides talk.
    Answered,
    /// A side holds.
    Held,
    /// A move is under way.
    Moving,
    /// Being taken down.
    Ended,
}

/// A live call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// Its name (ULID).
    pub id: String,
    /// How it stands.
    pub state: CallPhase,
    /// `internal`, `inbound`, `outbound`.
    pub direction: String,
    /// Who calls: user or number.
    pub from: String,
    /// Who is called: user or number.
    pub to: String,
    /// The user whose call it is: the caller where that is a user, else the callee.
    pub user: Option<String>,
    /// Trunk.
    pub trunk: Option<String>,
    /// When it came in.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
    /// The audio codec in use.
    pub codec: Option<String>,
    /// Whether its media runs through this node.
    pub anchored: bool,
    /// Moves so far.
    pub moves: u32,
    /// The parties.
    pub legs: Vec<LegView>,
}

/// One party of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// `caller`, `callee`, `ringing` (one of the devices rung), `moving` (new device of a move), `released`.
    pub role: String,
    /// `early`, `answered`, `confirmed`, `ended`; `lost` where the device died and the other side is kept for it.
    pub state: String,
    /// The user.
    pub user: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The trunk.
    pub trunk: Option<String>,
    /// `udp`, `tcp`, ….
    pub transport: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// What it calls itself.
    pub user_agent: Option<String>,
    /// Whether it holds the call.
    pub held: bool,
    /// Why it cannot be moved to another device now, a word as in [`MoveView::reason`]; `None`: it can.
    pub immovable: Option<String>,
}

impl CallView {
    /// Whether `subject` may know of it.
    #[must_use]
    pub fn is_seen_by(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Admin => true,
            Subject::User(_) => {
                self.legs.iter().filter_map(|leg| leg.user.as_deref()).any(|user| subject.may_see(user))
            }
        }
    }

    /// What `subject` may see of it: of other people's legs neither device, address nor software.
    #[must_use]
    pub fn cut_for(mut self, subject: &Subject) -> Self {
        for leg in &mut self.legs {
            if leg.user.as_deref().is_some_and(|user| subject.may_see(user)) || *subject == Subject::Admin {
                continue;
            }
            (leg.device, leg.address, leg.user_agent, leg.transport) = (None, None, None, None);
            (leg.trunk, leg.immovable) = (None, None);
        }
        if *subject != Subject::Admin {
            self.trunk = None;
        }
        self
    }
}

/// How a live call sounds so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityView {
    /// The call.
    pub call: String,
    /// What each party sends us; none where its sound does not come through here.
    pub streams: Vec<StreamView>,
    /// The party of which nothing comes although the other's sound has come for seconds, and it has nobody on hold.
    pub silent: Option<String>,
}

/// What a party sends us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamView {
    /// `caller` or `callee`.
    pub role: String,
    /// The user.
    pub user: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// Packets that should have come.
    pub expected: u64,
    /// The share of them that did not.
    pub loss: Option<f64>,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Bursts of loss (RFC 3611 4.7.2, Gmin 16).
    pub bursts: u32,
    /// The share of packets lost in them.
    pub burst_loss: Option<f64>,
    /// The share of packets lost between them.
    pub gap_loss: Option<f64>,
    /// Interarrival jitter, ms.
    pub jitter_ms: Option<f64>,
    /// The way to its device and back, ms, where that sends reports.
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score; none for codecs without published values, and under 250 packets.
    pub mos: Option<f64>,
    /// How its device says that it hears the other party.
    pub hears: Option<HearsView>,
}

/// What a device reports of the stream that we send to it (RFC 3550 6.4.1, RFC 3611 4.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HearsView {
    /// The share of packets lost between its last two reports.
    pub loss: Option<f64>,
    /// Interarrival jitter, ms.
    pub jitter_ms: Option<f64>,
    /// Mean opinion score of listening quality, where it works one out.
    pub mos: Option<f64>,
}

impl StreamView {
    /// Fills in what was counted.
    pub fn count(&mut self, stats: &PortStats, mos: Option<f64>) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        let measured = stats.measured();
        self.expected = measured.expected;
        self.loss = share(measured.lost, measured.expected);
        (self.duplicates, self.reordered) = (stats.duplicates, stats.reordered);
        let bursts = stats.bursts;
        self.bursts = bursts.bursts;
        self.burst_loss = share(bursts.lost, bursts.packets);
        self.gap_loss = share(bursts.alone, measured.expected.saturating_sub(bursts.packets));
        self.jitter_ms = (measured.expected > 0).then(|| f64::from(stats.jitter_us) / 1000.0);
        self.round_trip_ms = stats.round_trip.map(ms);
        self.mos = mos;
        let says = stats.reported.is_some() || stats.voip.is_some();
        self.hears = says.then(|| HearsView {
            loss: stats.reported.map(|reported| f64::from(reported.fraction_lost) / 256.0),
            jitter_ms: stats.reported.map(|reported| f64::from(reported.jitter_us) / 1000.0),
            mos: stats.voip.and_then(|voip| voip.mos_lq).map(|tenths| f64::from(tenths) / 10.0),
        });
    }
}

/// A move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// Its name (ULID).
    pub id: String,
    /// The call.
    pub call: String,
    /// Whose call.
    pub user: String,
    /// The device that had it.
    pub from_device: Option<String>,
    /// The device that gets it.
    pub to_device: Option<String>,
    /// Which door it came in by.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: MoveState,
    /// Why it was refused or rolled back: the word of [`Refusal`](crate::moving::Refusal) or
    /// [`Rollback`](crate::moving::machine::Rollback).
    pub reason: Option<String>,
    /// When it was asked for.
    pub requested: Time,
    /// When it became final.
    pub ended: Option<Time>,
    /// Silence at the switch on the far side's packet clock, ms.
    pub gap_ms: Option<f64>,
    /// RTP packets lost at the switch.
    pub lost: Option<u64>,
    /// Until when the old device may not touch the call.
    pub hold_off_until: Option<Time>,
    /// What happened, in order. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistrationView {
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
    /// The contact URI.
    pub contact: String,
    /// `udp`, `tcp`, ….
    pub transport: String,
    /// Where it comes from.
    pub address: String,
    /// What the device calls itself.
    pub user_agent: Option<String>,
    /// `+sip.instance`.
    pub instance: Option<String>,
    /// When it ends unless refreshed.
    pub expires: Time,
    /// Seconds until then.
    pub expires_s: u64,
}

/// A source that is not listened to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanView {
    /// The address; of IPv6 the first of a network.
    pub address: String,
    /// Bits of the address that count: 32, or 64 of IPv6.
    pub prefix: u8,
    /// When it is listened to again.
    pub until: Time,
    /// Seconds until then.
    pub seconds: u64,
}

/// Which call records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordQuery {
    /// Of this user.
    pub user: Option<Box<str>>,
    /// Of this caller: user, or number from a trunk.
    pub from: Option<Box<str>>,
    /// To this number, as it was dialled.
    pub to: Option<Box<str>>,
    /// That came in at this time or later.
    pub since: Option<UnixMillis>,
    /// That came in before this time.
    pub until: Option<UnixMillis>,
}

/// A user with devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// Shown to the other side.
    pub display: Option<String>,
    /// The number that dials the user.
    pub extension: Option<String>,
    /// `file` or `store`.
    pub origin: String,
    /// Whether there is a login.
    pub login: bool,
    /// Whether there is a PIN.
    pub pin: bool,
    /// The devices.
    pub devices: Vec<DeviceView>,
}

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// The user.
    pub user: String,
    /// Its name among the devices of the user.
    pub id: String,
    /// Its own address: `alice*desk`.
    pub address: String,
    /// The digest username.
    pub auth_user: String,
    /// Whether it is one person's.
    pub trust: TrustName,
    /// Whether it is registered now.
    pub registered: bool,
    /// Seconds left of a hold-off on it.
    pub hold_off_s: Option<u64>,
    /// Whether it is lent to a session, and gone with it.
    pub lent: bool,
}

/// How the node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its id.
    pub node: String,
    /// Its domain.
    pub domain: String,
    /// The realm of digest, under which hashes of passwords are made.
    pub realm: String,
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started: Time,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Whether it refuses new calls.
    pub draining: bool,
    /// Percent of new calls that are refused because the node cannot keep up.
    #[serde(default)]
    pub overload_percent: u8,
    /// Where it listens: `udp://127.0.0.1:5060`.
    pub listeners: Vec<String>,
    /// Signalling workers.
    pub workers: u32,
    /// Whether browsers can have calls: there is a port for their media.
    pub browsers: bool,
    /// What becomes of the live call of a user who signs in elsewhere: `move.follow`.
    pub follow: String,
    /// Calls that ring.
    pub calls_ringing: u64,
    /// Calls that are answered.
    pub calls_answered: u64,
    /// Calls whose speech is converted, for want of a common codec.
    pub calls_transcoded: u64,
    /// Moves under way.
    pub moves: u64,
    /// Bindings.
    pub registrations: u64,
    /// Users.
    pub users: u64,
    /// Free RTP port pairs.
    pub ports_free: u64,
    /// RTP port pairs in use.
    pub ports_used: u64,
    /// RTP port pairs in quarantine.
    pub ports_quarantined: u64,
    /// `ok`, or what is wrong with the store.
    pub store: String,
}

impl StatusView {
    /// The status of the node from those of its workers: what is counted per worker is added up.
    pub fn add(&mut self, other: &Self) {
        self.workers += other.workers;
        self.calls_ringing += other.calls_ringing;
        self.calls_answered += other.calls_answered;
        self.calls_transcoded += other.calls_transcoded;
        self.moves += other.moves;
        self.registrations += other.registrations;
        self.ports_free += other.ports_free;
        self.ports_used += other.ports_used;
        self.ports_quarantined += other.ports_quarantined;
        self.draining |= other.draining;
        self.overload_percent = self.overload_percent.max(other.overload_percent);
        if self.store == "ok" {
            self.store.clone_from(&other.store);
        }
    }
}

impl Listed for CallView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.id.clone()
    }
}
impl Listed for MoveView {
    const ORDER: Order = Order::Descending;

    fn key(&self) -> String {
        self.id.clone()
    }
}
impl Listed for CallRecord {
    const ORDER: Order = Order::Descending;

    fn key(&self) -> String {
        self.id.clone()
    }
}
impl Listed for BanView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.address.clone()
    }
}
impl Listed for RegistrationView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        format!("{}*{} {}", self.user, self.device, self.contact)
    }
}
impl Listed for UserView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.name.clone()
    }
}
impl Listed for DeviceView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.address.clone()
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a time such as 2026-01-31T12:00:00.000Z"))
    }
}

impl Time {
    /// Reads a time as people write it: a date, with or without the time of day, its milliseconds and the `Z`. All
    /// is UTC.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        const WHOLE: &str = "1970-01-01T00:00:00.000Z";
        let text = text.strip_suffix('Z').unwrap_or(text);
        let is_cut_well = [10, 16, 19, 23].contains(&text.len());
        let rest = WHOLE.get(text.len()..).filter(|_| is_cut_well && text.is_ascii())?;
        format!("{text}{rest}").parse().ok()
    }
}

impl FromStr for Time {
    type Err = ();

    /// Reads what [`UnixMillis`] prints: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |range: std::ops::Range<usize>| -> Result<u64, ()> {
            let digits = text.get(range).ok_or(())?;
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                digits.parse().map_err(|_| ())
            } else {
                Err(())
            }
        };
        let punctuation = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "."), (23, "Z")];
        if text.len() != 24 || punctuation.iter().any(|(at, mark)| text.get(*at..at + 1) != Some(mark)) {
            return Err(());
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second, ms) = (number(11..13)?, number(14..16)?, number(17..19)?, number(20..23)?);
        if year < 1970
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return Err(());
        }
        // Days from the civil date, the reverse of the printing in `base`.
        let y = if month <= 2 { year - 1 } else { year };
        let (era, yoe) = (y / 400, y % 400);
        let mp = (month + 9) % 12;
        let doy = (153 * mp + 2) / 5 + day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let days = era * 146_097 + doe - 719_468;
        Ok(Self(UnixMillis((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Up(&'static str);
    impl Listed for Up {
        const ORDER: Order = Order::Ascending;
        fn key(&self) -> String {
            self.0.into()
        }
    }
    struct Down(&'static str);
    impl Listed for Down {
        const ORDER: Order = Order::Descending;
        fn key(&self) -> String {
            self.0.into()
        }
    }

    fn query(cursor: Option<&str>, limit: u16) -> PageQuery {
        PageQuery { cursor: cursor.map(Box::from), limit }
    }

    /// Every key that following `next` from part to part gives.
    fn walk<T: Listed>(part: impl Fn(&PageQuery) -> Page<T>, limit: u16) -> Vec<String> {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..20 {
            let page = part(&query(cursor.as_deref(), limit));
            assert!(page.items.len() <= usize::from(limit));
            seen.extend(page.items.iter().map(Listed::key));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
        panic!("the list does not end: {seen:?}");
    }

    #[test]
    fn parts_follow_each_other_without_hole_or_overlap() {
        const ALL: [&str; 5] = ["d", "a", "c", "b", "e"];
        for limit in 1..=6 {
            assert_eq!(walk(|query| Page::cut(ALL.map(Up), query), limit), ["a", "b", "c", "d", "e"]);
            assert_eq!(walk(|query| Page::cut(ALL.map(Down), query), limit), ["e", "d", "c", "b", "a"]);
        }
        assert_eq!(Page::cut(ALL.map(Up), &query(None, 0)).items.len(), 1);
    }

    #[test]
    fn parts_of_several_workers_merge_as_if_there_were_one() {
        const ONE: [&str; 4] = ["a", "c", "e", "g"];
        const TWO: [&str; 3] = ["b", "d", "f"];
        for limit in 1..=8 {
            let up = |query: &PageQuery| {
                Page::merge(vec![Page::cut(ONE.map(Up), query), Page::cut(TWO.map(Up), query)], query)
            };
            assert_eq!(walk(up, limit), ["a", "b", "c", "d", "e", "f", "g"]);
            let down = |query: &PageQuery| {
                Page::merge(vec![Page::cut(ONE.map(Down), query), Page::cut(TWO.map(Down), query)], query)
            };
            assert_eq!(walk(down, limit), ["g", "f", "e", "d", "c", "b", "a"]);
        }
    }

    #[test]
    fn what_two_workers_found_in_one_store_is_listed_once() {
        for limit in 1..=4 {
            let both = |query: &PageQuery| {
                let found = || Page::cut(["a", "b", "c"].map(Down), query);
                Page::merge(vec![found(), found()], query)
            };
            assert_eq!(walk(both, limit), ["c", "b", "a"]);
        }
    }

    #[test]
    fn times_read_as_they_are_written() {
        for ms in [0, 951_782_400_000, 1_795_766_763_007, 1_709_164_799_999] {
            let time = Time(UnixMillis(ms));
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time, "{text}");
        }
        for bad in ["", "2026-13-01T00:00:00.000Z", "2026-01-01T00:00:00Z", "2026-01-01T24:00:00.000Z", "é"]
        {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_sees_own_legs_only() {
        let leg = |user: &str| LegView {
            role: "caller".into(),
            state: "confirmed".into(),
            user: Some(user.into()),
            device: Some("desk".into()),
            trunk: None,
            transport: Some("udp".into()),
            address: Some("192.0.2.1:5060".into()),
            user_agent: Some("phone".into()),
            held: false,
            immovable: None,
        };
        let call = CallView {
            id: "1".into(),
            state: CallPhase::Answered,
            direction: "internal".into(),
            from: "alice".into(),
            to: "bob".into(),
            user: Some("alice".into()),
            trunk: None,
            started: Time::default(),
            answered: None,
            codec: None,
            anchored: true,
            moves: 0,
            legs: vec![leg("alice"), leg("bob")],
        };
        let bob = Subject::User("bob".into());
        assert!(call.is_seen_by(&bob) && !call.is_seen_by(&Subject::User("carol".into())));
        let seen = call.clone().cut_for(&bob);
        assert_eq!(seen.legs[0].device, None);
        assert_eq!(seen.legs[0].address, None);
        assert_eq!(seen.legs[1], call.legs[1]);
        assert_eq!(call.clone().cut_for(&Subject::Admin), call);
    }
}
