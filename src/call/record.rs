//! The call record: one per logical call, however often it moves; a segment per device.

use serde::{Deserialize, Serialize};

use super::model::Side;
use crate::base::UnixMillis;
use crate::wire::sip::StatusCode;

/// Where a call came from and went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Between users, or from a user to a service of ours.
    #[default]
    Internal,
    /// From a trunk.
    Inbound,
    /// To a trunk.
    Outbound,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// It was answered.
    Answered,
    /// Every device was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The caller gave up.
    Cancelled,
    /// It could not be set up.
    #[default]
    Failed,
}

impl Disposition {
    /// Of a call that nobody answered, by what its caller was told.
    #[must_use]
    pub fn of_refusal(status: StatusCode) -> Self {
        match status.as_u16() {
            486 | 600 => Self::Busy,
            408 | 480 => Self::NoAnswer,
            487 => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

/// Who ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HangupBy {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
    /// The node: timeout, administrator, shutdown.
    System,
}

impl From<Side> for HangupBy {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Self::Caller,
            Side::Callee => Self::Callee,
        }
    }
}

/// The part of a call that one device had.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Segment {
    /// `user*device`.
    pub device: String,
    /// When the device got the call.
    pub start: UnixMillis,
    /// When it lost it.
    pub end: Option<UnixMillis>,
    /// What moved the call here; `None` for the first segment.
    pub trigger: Option<String>,
    /// Silence that the far side's packet clock saw at the switch, ms.
    pub gap_ms: Option<f64>,
    /// RTP packets lost on the way from the device.
    pub lost: Option<u64>,
    /// Codec of the device.
    pub codec: Option<String>,
    /// Mean opinion score; null until enough packets were measured.
    pub mos: Option<f64>,
}

/// One logical call. Written once, when it has ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CallRecord {
    /// ULID.
    pub id: String,
    /// Call-ID of the caller's dialog and of the answering one.
    pub sip_call_id: Vec<String>,
    /// Where it came from and went.
    pub direction: Direction,
    /// The caller: user, or number from a trunk.
    pub from: String,
    /// The number dialled.
    pub to: String,
    /// The user to whom it counts: who called, else who was called; see `transferred_by`.
    pub user: Option<String>,
    /// The user who transferred it to where it went; then it is that one's call, and not of who was transferred.
    pub transferred_by: Option<String>,
    /// Its first device, `user*device`.
    pub first_device: Option<String>,
    /// Its last device.
    pub last_device: Option<String>,
    /// The trunk.
    pub trunk: Option<String>,
    /// INVITE received.
    pub start: UnixMillis,
    /// First ringing.
    pub ring: Option<UnixMillis>,
    /// Answered.
    pub answer: Option<UnixMillis>,
    /// Ended.
    pub end: Option<UnixMillis>,
    /// How.
    pub disposition: Disposition,
    /// The final status toward the caller.
    pub sip_code: u16,
    /// By whom.
    pub hangup_by: Option<HangupBy>,
    /// Codecs used, in order of use.
    pub codecs: Vec<String>,
    /// Whether either leg was encrypted.
    pub srtp: bool,
    /// Transports of both sides.
    pub transports: Vec<String>,
    /// User agents of both sides.
    pub user_agents: Vec<String>,
    /// Completed moves.
    pub moves: u32,
    /// Lowest mean opinion score; null until measured.
    pub mos_min: Option<f64>,
    /// Share of RTP packets lost, 0 to 1, over both directions.
    pub loss: Option<f64>,
    /// Largest interarrival jitter, ms (RFC 3550 6.4.1).
    pub jitter: Option<f64>,
    /// The node that carried it.
    pub node: String,
    /// The test run that it belongs to.
    pub run: Option<String>,
    /// The caller's number as the trunk said it or was told it, where rules of the trunk make that another than `from`.
    pub trunk_from: Option<String>,
    /// The number that the trunk dialled or was called by, where that is another than `to`.
    pub trunk_to: Option<String>,
    /// By device, in order.
    pub segments: Vec<Segment>,
}

impl CallRecord {
    /// Adds a codec name that is not yet there.
    pub fn note_codec(&mut self, name: &str) {
        if self.codecs.len() < 8 && !self.codecs.iter().any(|known| known == name) {
            self.codecs.push(name.into());
        }
    }

    /// Opens a segment for a device on which `of` has the call: its user, or who is signed in there.
    pub fn begin_segment(
        &mut self,
        now: UnixMillis,
        (user, device): (&str, &str),
        of: &str,
        trigger: Option<String>,
    ) {
        let device = format!("{user}*{device}");
        if self.user.as_deref() == Some(of) {
            if self.first_device.is_none() {
                self.first_device = Some(device.clone());
            }
            self.last_device = Some(device.clone());
        }
        // A call that is moved without end keeps its newest segments countable and its record bounded.
        if self.segments.len() < 256 {
            self.segments.push(Segment { device, start: now, trigger, ..Segment::default() });
        }
    }

    /// Closes the open segment of a device.
    pub fn end_segment(&mut self, now: UnixMillis, user: &str, device: &str) {
        let is_of_device = |segment: &&mut Segment| {
            segment.end.is_none() && segment.device.split_once('*') == Some((user, device))
        };
        if let Some(open) = self.segments.iter_mut().find(is_of_device) {
            open.end = Some(now);
        }
    }

    /// Closes the segments that are open.
    pub fn end_segments(&mut self, now: UnixMillis) {
        for open in self.segments.iter_mut().filter(|segment| segment.end.is_none()) {
            open.end = Some(now);
        }
    }
}
