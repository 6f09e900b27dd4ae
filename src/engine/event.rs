//! What happens, told to whoever listens: typed here, made into an envelope by the shell.
//!
//! An event is cheap to make (no formatting) because the engine makes several for every call.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use super::command::Subject;
use super::view::{Time, Trigger};
use crate::base::{Random, UnixMillis};
use crate::call::record::CallRecord;
use crate::wire::vq_report::{Kind, Metrics, VqReport};

/// Users whom an event concerns; only they and administrators see it.
pub type Users = SmallVec<[Box<str>; 2]>;

/// Phases of a move and how long each took: `authorize`, `ring`, `negotiate`, `switch`, `total`.
pub type Phases = SmallVec<[(&'static str, Duration); 5]>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `call.…`
    Call {
        /// What.
        what: CallEvent,
        /// The call.
        call: Box<str>,
        /// Whose.
        users: Users,
        /// Who calls.
        from: Box<str>,
        /// Who is called.
        to: Box<str>,
        /// The device that rings, answered, holds, or hung up: its user and its id.
        device: Option<(Box<str>, Box<str>)>,
        /// Why it ended: `normal`, `busy`, `no_answer`, `cancelled`, `failed`, `media_timeout`, …
        cause: Option<&'static str>,
        /// From INVITE to the answer (answered), or from the answer to the end (ended).
        took: Option<Duration>,
    },
    /// `move.…`
    Move {
        /// What.
        what: MoveEvent,
        /// The move.
        id: Box<str>,
        /// The call.
        call: Box<str>,
        /// Whose.
        user: Box<str>,
        /// The device that had it.
        from_device: Option<Box<str>>,
        /// The device that gets it.
        to_device: Option<Box<str>>,
        /// Which door it came in by.
        trigger: Trigger,
        /// Why it was refused or rolled back.
        reason: Option<&'static str>,
        /// Silence at the switch, ms.
        gap_ms: Option<f64>,
        /// How long each phase took; given with the last event of a move.
        phases: Phases,
    },
    /// `hold_off.…`
    HoldOff {
        /// What.
        what: HoldOffEvent,
        /// The call.
        call: Box<str>,
        /// The user.
        user: Box<str>,
        /// The device that is held off.
        device: Box<str>,
        /// What it tried.
        method: Option<Box<str>>,
        /// Seconds left.
        seconds_left: u32,
    },
    /// `registration.…`
    Registration {
        /// What.
        what: RegistrationEvent,
        /// The user.
        user: Box<str>,
        /// The device.
        device: Box<str>,
        /// Where it is.
        address: Option<SocketAddr>,
        /// What it calls itself.
        user_agent: Option<Box<str>>,
    },
    /// `registration.signed_in`, `registration.signed_out`: a user comes to a shared device, or leaves it.
    HotDesk {
        /// What.
        what: HotDeskEvent,
        /// The user.
        user: Box<str>,
        /// The address of the device.
        device: Box<str>,
        /// Why the sign-in is over: `code`, `replaced`, `elsewhere`, `expired`, `request`, `pin_changed`, `user_removed`,
        /// `device_removed`.
        reason: Option<&'static str>,
    },
    /// `trunk.…`: a target of a trunk, or our registration there.
    Trunk {
        /// What.
        what: TrunkEvent,
        /// The trunk.
        trunk: Box<str>,
        /// The target; none where it is about the registration.
        target: Option<Box<str>>,
        /// Why.
        reason: Box<str>,
        /// How the trunk as a whole is from now on: `up`, `down`, `unknown`.
        state: &'static str,
    },
    /// `security.…`: somebody tried what is not allowed.
    Security {
        /// The last part of the type: `auth_failed`, `login_failed`, `token_misused`, `pin_failed`, ….
        what: &'static str,
        /// The call it aimed at.
        call: Option<Box<str>>,
        /// The user it aimed at. Only administrators see security events of others.
        user: Option<Box<str>>,
        /// Where from.
        source: Option<SocketAddr>,
        /// What exactly, in a few words.
        detail: &'static str,
    },
    /// `quality.report`: a device tells how a call sounds, or sounded, to it (RFC 6035).
    QualityReport {
        /// The call, where the device means one of its own.
        call: Option<Box<str>>,
        /// The user.
        user: Box<str>,
        /// The device.
        device: Box<str>,
        /// What it tells.
        report: Box<VqReport>,
    },
    /// `quality.alert`: what a party sends has begun to arrive badly, or arrives well again.
    QualityAlert {
        /// The call.
        call: Box<str>,
        /// Whose.
        users: Users,
        /// Whose sound: `caller` or `callee`.
        party: &'static str,
        /// Its device, its user and its id; none of a trunk.
        device: Option<(Box<str>, Box<str>)>,
        /// Whether it is bad now.
        is_poor: bool,
        /// The mean opinion score of the last seconds, where the codec has one.
        mos: Option<f64>,
        /// Share of packets lost in them, 0 to 1.
        loss: f64,
    },
    /// `cdr`: the record of a call that ended.
    Cdr {
        /// The call.
        call: Box<str>,
        /// Whose.
        users: Users,
        /// The record.
        record: Arc<CallRecord>,
    },
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant,)+ }

        impl $type {
            /// The event type on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

names! {
    /// What happened to a call.
    CallEvent {
        /// A device rings.
        Ringing = "call.ringing",
        /// It was answered.
        Answered = "call.answered",
        /// A side holds, or no longer.
        Held = "call.held",
        /// A device died in mid-call; the other side is kept for a while.
        Lost = "call.lost",
        /// It is back.
        Resumed = "call.resumed",
        /// It is over.
        Ended = "call.ended",
    }
}
names! {
    /// What happened to a move.
    MoveEvent {
        /// Asked for.
        Requested = "move.requested",
        /// Granted.
        Authorized = "move.authorized",
        /// Not granted, or given up before anything changed.
        Refused = "move.refused",
        /// The call is on the new device.
        Switched = "move.switched",
        /// The call went back.
        RolledBack = "move.rolled_back",
        /// Taken back by its user.
        Undone = "move.undone",
    }
}
names! {
    /// What happened to a hold-off.
    HoldOffEvent {
        /// The old device may not touch the call from now on.
        Started = "hold_off.started",
        /// It tried.
        Rejected = "hold_off.rejected",
        /// It may again.
        Ended = "hold_off.ended",
    }
}
names! {
    /// What happened to a trunk.
    TrunkEvent {
        /// A target answers, or we are registered.
        Up = "trunk.up",
        /// It answers no longer, or we are not.
        Down = "trunk.down",
    }
}
names! {
    /// What happened at a shared device.
    HotDeskEvent {
        /// A user has signed in.
        SignedIn = "registration.signed_in",
        /// The user is signed in no longer.
        SignedOut = "registration.signed_out",
    }
}
names! {
    /// What happened to a binding.
    RegistrationEvent {
        /// New; refreshes are no event.
        Added = "registration.added",
        /// Gone: removed, expired or kicked.
        Removed = "registration.removed",
    }
}

impl Event {
    /// The event type: `call.answered`. Security events put `security.` before their own word.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Call { what, .. } => what.as_str().into(),
            Self::Move { what, .. } => what.as_str().into(),
            Self::HoldOff { what, .. } => what.as_str().into(),
            Self::Registration { what, .. } => what.as_str().into(),
            Self::HotDesk { what, .. } => what.as_str().into(),
            Self::Trunk { what, .. } => what.as_str().into(),
            Self::Security { what, .. } => format!("security.{what}"),
            Self::QualityReport { .. } => "quality.report".into(),
            Self::QualityAlert { .. } => "quality.alert".into(),
            Self::Cdr { .. } => "cdr".into(),
        }
    }

    /// The call it is about.
    #[must_use]
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::Call { call, .. }
            | Self::Move { call, .. }
            | Self::HoldOff { call, .. }
            | Self::QualityAlert { call, .. }
            | Self::Cdr { call, .. } => Some(call),
            Self::Security { call, .. } | Self::QualityReport { call, .. } => call.as_deref(),
            Self::Registration { .. } | Self::HotDesk { .. } | Self::Trunk { .. } => None,
        }
    }

    /// Whether `subject` may hear of it.
    #[must_use]
    pub fn is_seen_by(&self, subject: &Subject) -> bool {
        match (subject, self) {
            (Subject::Admin, _) => true,
            (
                Subject::User(_),
                Self::Call { users, .. } | Self::Cdr { users, .. } | Self::QualityAlert { users, .. },
            ) => users.iter().any(|user| subject.may_see(user)),
            (
                Subject::User(_),
                Self::Move { user, .. }
                | Self::HoldOff { user, .. }
                | Self::Registration { user, .. }
                | Self::HotDesk { user, .. }
                | Self::QualityReport { user, .. },
            ) => subject.may_see(user),
            (Subject::User(_), Self::Security { .. } | Self::Trunk { .. }) => false,
        }
    }

    /// The `data` of the envelope as `subject` may see it: of other users no device.
    #[must_use]
    pub fn data(&self, subject: &Subject) -> serde_json::Value {
        use serde_json::json;
        let mut data = match self {
            Self::Call { users, from, to, device, cause, took, .. } => {
                let device = device.as_ref().filter(|(user, _)| subject.may_see(user));
                let device = device.map(|(user, id)| format!("{user}*{id}"));
                json!({
                    "users": users.as_slice(), "from": from, "to": to, "device": device, "cause": cause,
                    "took_ms": took.map(|took| took.as_millis() as u64),
                })
            }
            Self::Move { id, user, from_device, to_device, trigger, reason, gap_ms, .. } => json!({
                "move": id, "user": user, "from_device": from_device, "to_device": to_device,
                "trigger": trigger, "reason": reason, "gap_ms": gap_ms,
            }),
            Self::HoldOff { user, device, method, seconds_left, .. } => {
                json!({ "user": user, "device": device, "method": method, "seconds_left": seconds_left })
            }
            Self::Registration { user, device, address, user_agent, .. } => {
                json!({ "user": user, "device": device, "address": address, "user_agent": user_agent })
            }
            Self::HotDesk { user, device, reason, .. } => {
                json!({ "user": user, "device": device, "reason": reason })
            }
            Self::Trunk { trunk, target, reason, state, .. } => {
                json!({ "trunk": trunk, "target": target, "reason": reason, "state": state })
            }
            Self::Security { user, source, detail, .. } => {
                json!({ "user": user, "source": source, "detail": detail })
            }
            Self::QualityReport { user, device, report, .. } => reported(user, device, report),
            Self::QualityAlert { party, device, is_poor, mos, loss, .. } => {
                let device = device.as_ref().filter(|(user, _)| subject.may_see(user));
                let device = device.map(|(user, id)| format!("{user}*{id}"));
                json!({
                    "party": party, "device": device, "state": if *is_poor { "poor" } else { "well" },
                    "mos": mos, "loss_percent": (loss * 1000.0).round() / 10.0,
                })
            }
            Self::Cdr { record, .. } => return serde_json::to_value(&**record).unwrap_or_default(),
        };
        if let Some(object) = data.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
        data
    }
}

/// A quality report; what was not measured is left out.
fn reported(user: &str, device: &str, report: &VqReport) -> serde_json::Value {
    use serde_json::json;
    let (is_final, alert, severity) = match &report.kind {
        Kind::Session { is_final } => (Some(*is_final), None, None),
        Kind::Interval => (None, None, None),
        Kind::Alert { what, severity } => (None, what.as_deref(), severity.as_deref()),
    };
    let metrics = |metrics: &Metrics| {
        let mut all = json!({
            "loss_percent": metrics.loss, "discarded_percent": metrics.discarded,
            "burst_density_percent": metrics.burst_density, "burst_ms": metrics.burst_ms,
            "gap_density_percent": metrics.gap_density, "gap_ms": metrics.gap_ms,
            "round_trip_ms": metrics.round_trip_ms, "end_system_ms": metrics.end_system_ms,
            "jitter_ms": metrics.jitter_ms, "mos_lq": metrics.mos_lq, "mos_cq": metrics.mos_cq,
            "r_lq": metrics.r_lq, "r_cq": metrics.r_cq,
        });
        if let Some(all) = all.as_object_mut() {
            all.retain(|_, value| !value.is_null());
        }
        (!metrics.is_empty()).then_some(all)
    };
    json!({
        "user": user, "device": device, "report": report.kind.as_str(), "final": is_final, "alert": alert,
        "severity": severity, "sip_call_id": report.call_id, "local": metrics(&report.local),
        "remote": metrics(&report.remote),
    })
}

/// An event with its place in the stream: id (ULID), type, time (RFC 3339 ms), node, call, data.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Rises with every event of a node.
    pub id: Ulid,
    /// When.
    pub time: Time,
    /// Which node.
    pub node: Box<str>,
    /// What.
    pub event: Event,
}

impl Envelope {
    /// As JSON, as `subject` may see it.
    #[must_use]
    pub fn to_json(&self, subject: &Subject) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "type": self.event.kind(),
            "time": self.time,
            "node": self.node,
            "call": self.event.call(),
            "data": self.event.data(subject),
        })
    }
}

/// A ULID: 48 bits of Unix milliseconds, 80 random bits, written as 26 characters of Crockford's base 32. Its order
/// is that of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Ulid {
    /// A new one.
    pub fn mint(at: UnixMillis, random: &mut Random) -> Self {
        let high = u128::from(at.0 & 0xFFFF_FFFF_FFFF) << 80;
        Self(high | u128::from(random.bits() & 0xFFFF) << 64 | u128::from(random.bits()))
    }

    /// The least one of a time: what was minted before is below it, what is minted from then on is not.
    #[must_use]
    pub fn first_at(at: UnixMillis) -> Self {
        Self(u128::from(at.0 & 0xFFFF_FFFF_FFFF) << 80)
    }

    /// A new one that is above `last`, also where the clock stood still or went back.
    pub fn mint_after(last: Option<Self>, at: UnixMillis, random: &mut Random) -> Self {
        let minted = Self::mint(at, random);
        match last {
            Some(last) if minted <= last => Self(last.0.wrapping_add(1)),
            _ => minted,
        }
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..26).rev() {
            let digit = (self.0 >> (place * 5)) & 31;
            let letter = CROCKFORD.get(digit as usize).copied().unwrap_or(b'0');
            fmt::Write::write_char(f, char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ulid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 26 || text.as_bytes().first().is_none_or(|first| *first > b'7') {
            return Err(());
        }
        text.bytes()
            .try_fold(0_u128, |value, byte| {
                let digit =
                    CROCKFORD.iter().position(|known| *known == byte.to_ascii_uppercase()).ok_or(())?;
                Ok(value << 5 | digit as u128)
            })
            .map(Self)
    }
}

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_rise_print_and_read() {
        let mut random = Random::from_number(1);
        let first = Ulid::mint(UnixMillis(1_469_922_850_259), &mut random);
        assert!(
            first.to_string().starts_with("01ARZ3NDEK"),
            "the example of the ULID specification: {first}"
        );
        assert_eq!(first.to_string().parse(), Ok(first));
        let mut last = Some(first);
        for at in [1_469_922_850_259, 1_469_922_850_259, 5, 1_469_922_850_260] {
            let next = Ulid::mint_after(last, UnixMillis(at), &mut random);
            assert!(Some(next) > last);
            last = Some(next);
        }
        for bad in ["", "01ARZ3NDEK", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "0iARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert!(bad.parse::<Ulid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_shows_each_subject_what_is_theirs() {
        let event = Event::Call {
            what: CallEvent::Answered,
            call: "01".into(),
            users: Users::from_iter(["alice".into(), "bob".into()]),
            from: "alice".into(),
            to: "bob".into(),
            device: Some(("bob".into(), "desk".into())),
            cause: None,
            took: None,
        };
        let (alice, bob) = (Subject::User("alice".into()), Subject::User("bob".into()));
        assert!(event.is_seen_by(&alice) && event.is_seen_by(&bob));
        assert!(!event.is_seen_by(&Subject::User("carol".into())));
        assert_eq!(event.data(&bob)["device"], "bob*desk");
        assert!(event.data(&alice).get("device").is_none());
        let envelope = Envelope {
            id: Ulid::mint(UnixMillis(1), &mut Random::from_number(1)),
            time: Time(UnixMillis(1)),
            node: "edge1".into(),
            event,
        };
        let json = envelope.to_json(&Subject::Admin);
        assert_eq!(json["type"], "call.answered");
        assert_eq!(json["time"], "1970-01-01T00:00:00.001Z");
        assert_eq!(json["call"], "01");
        assert_eq!(json["node"], "edge1");
    }
}
