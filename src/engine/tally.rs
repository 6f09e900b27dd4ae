//! What the media threads counted, brought into the call record: a port tells it as its last word, a moment after the
//! call has let go of it, so a record waits for the ports of its call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ask::codec_of;
use super::{Engine, Output};
use crate::base::{Timestamp, UnixMillis};
use crate::call::core::{LeftDialog, LeftPort};
use crate::call::record::{CallRecord, Segment};
use crate::call::{CallHandle, LegHandle};
use crate::media::codec::Codec;
use crate::media::relay::{PortId, PortStats};
use crate::moving::timeline::{What, When};

/// A record waits this long for the last word of a port.
const PATIENCE: Duration = Duration::from_secs(2);
/// Legs and moves of one call that are kept apart; a record has no more segments.
const MAX_KEPT: usize = 256;

/// What one device sent us over one leg.
struct Heard {
    /// `user*device`.
    device: Box<str>,
    /// When the call let go of the leg.
    until: UnixMillis,
    lost: u64,
    mos: Option<f64>,
}

#[derive(Default)]
struct Tally {
    expected: u64,
    lost: u64,
    jitter_us: u32,
    /// The worst score of any stream that came in: each direction of the call, and each device that it had.
    mos_min: Option<f64>,
    /// In the order in which the legs were let go of.
    heard: Vec<Heard>,
    /// Moves that want to know how a leg sounded.
    moves: Vec<(LegHandle, Box<str>, When)>,
    /// Ports that have not had their last word.
    open: usize,
    /// The record, once the call is over, and until when it waits.
    ended: Option<(Box<CallRecord>, Timestamp)>,
}

/// The counts of all calls that have let go of a port.
#[derive(Default)]
pub(super) struct Tallies {
    ports: BTreeMap<PortId, (LeftPort, UnixMillis)>,
    calls: BTreeMap<CallHandle, Tally>,
}

/// A last word, taken.
struct Counted {
    call: CallHandle,
    leg: Option<LegHandle>,
    mos: Option<f64>,
    /// What a capture server is told of it, beside the counts.
    told: Option<(Box<LeftDialog>, Codec, UnixMillis)>,
}

impl Tallies {
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.calls.values().filter_map(|tally| tally.ended.as_ref().map(|(_, due)| *due)).min()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Ports that calls have let go of.
    pub(super) fn leave(&mut self, now: UnixMillis, left: impl Iterator<Item = LeftPort>) {
        for left in left {
            self.calls.entry(left.call).or_default().open += 1;
            self.ports.insert(left.port, (left, now));
        }
    }

    /// The last word of a port.
    fn count(&mut self, port: PortId, stats: &PortStats) -> Option<Counted> {
        let (LeftPort { call, leg, device, codec, dialog, .. }, until) = self.ports.remove(&port)?;
        let tally = self.calls.get_mut(&call)?;
        let mos = codec.and_then(|codec| stats.measured().mos(&codec));
        tally.open = tally.open.saturating_sub(1);
        tally.count(stats, mos);
        if let Some(device) = device.filter(|_| stats.expected > 0) {
            tally.hear(device, until, u64::try_from(stats.lost).unwrap_or(0), mos);
        }
        let told = dialog.zip(codec).map(|(dialog, codec)| (dialog, codec, until));
        Some(Counted { call, leg, mos, told })
    }
}

impl Tally {
    fn count(&mut self, stats: &PortStats, mos: Option<f64>) {
        self.expected += stats.expected;
        self.lost += u64::try_from(stats.lost).unwrap_or(0);
        self.jitter_us = self.jitter_us.max(stats.jitter_us);
        self.mos_min = worse(self.mos_min, mos);
    }

    /// Streams of one leg, audio and video, were let go of together.
    fn hear(&mut self, device: Box<str>, until: UnixMillis, lost: u64, mos: Option<f64>) {
        if let Some(known) = self.heard.iter_mut().rfind(|h| h.device == device && h.until == until) {
            known.lost += lost;
            known.mos = worse(known.mos, mos);
        } else if self.heard.len() < MAX_KEPT {
            self.heard.push(Heard { device, until, lost, mos });
        }
    }

    /// Fills what only the media threads know.
    fn write(&mut self, record: &mut CallRecord) {
        if self.expected > 0 {
            record.loss = Some(self.lost as f64 / self.expected as f64);
            record.jitter = Some(f64::from(self.jitter_us) / 1000.0);
        }
        record.mos_min = self.mos_min;
        self.heard.sort_by_key(|heard| heard.until);
        for segment in &mut record.segments {
            let Some(heard) = self.heard_in(segment) else { continue };
            (segment.lost, segment.mos) = (Some(heard.lost), heard.mos);
        }
    }

    /// The leg that a device had in a segment: the first that was let go of at its end or later. A device that a move
    /// was rolled back to has one leg for two segments, and both show all of it.
    fn heard_in(&self, segment: &Segment) -> Option<&Heard> {
        let mut of_device = self.heard.iter().filter(|heard| *heard.device == *segment.device);
        let end = segment.end.unwrap_or(segment.start);
        of_device
            .clone()
            .find(|heard| heard.until >= end)
            .or_else(|| of_device.rfind(|heard| heard.until >= segment.start))
    }
}

/// The lower of two scores, where there are any.
fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Engine {
    /// The codecs of those who talk now, into the record and their open segments.
    pub(super) fn note_codecs(&mut self, call: CallHandle) {
        let Some(found) = self.core.calls.get_mut(call) else { return };
        for leg in std::iter::once(found.caller).chain(found.callee) {
            let Some(leg) = self.core.legs.get(leg) else { continue };
            found.record.srtp |= leg.media.as_ref().is_some_and(|media| media.is_secured());
            let Some(codec) = codec_of(leg) else { continue };
            found.record.note_codec(&codec);
            let Some((user, device)) = leg.party.device() else { continue };
            let is_of_leg = |segment: &&mut Segment| {
                segment.end.is_none() && segment.device.split_once('*') == Some((user, device))
            };
            if let Some(open) = found.record.segments.iter_mut().rev().find(is_of_leg) {
                open.codec = Some(codec);
            }
        }
    }

    /// A call is over: its record goes out when its ports have said their last word.
    pub(super) fn end_tally(&mut self, call: CallHandle, record: Box<CallRecord>) {
        let due = self.core.now.at + PATIENCE;
        self.tallies.leave(self.core.now.unix, self.core.left.drain(..));
        self.tallies.calls.entry(call).or_default().ended = Some((record, due));
        self.close_tally(call);
    }

    /// Takes the last word of a port that nobody has any more; false if the port is none of those.
    pub(super) fn on_last_word(&mut self, port: PortId, stats: &PortStats) -> bool {
        self.tallies.leave(self.core.now.unix, self.core.left.drain(..));
        let Some(counted) = self.tallies.count(port, stats) else { return false };
        if let (Some(leg), Some(mos)) = (counted.leg, counted.mos) {
            self.judge_moves(counted.call, leg, mos);
        }
        if let Some((dialog, codec, until)) = counted.told {
            self.tell_quality(*dialog, until, codec, stats);
        }
        self.close_tally(counted.call);
        true
    }

    /// A move is done: its timeline is to tell how these legs sounded, once they have been let go of.
    pub(super) fn judge_later(&mut self, call: CallHandle, move_id: &str, legs: [(LegHandle, When); 2]) {
        self.tallies.leave(self.core.now.unix, self.core.left.drain(..));
        if self.core.calls.get(call).is_none() && !self.tallies.calls.contains_key(&call) {
            return;
        }
        let tally = self.tallies.calls.entry(call).or_default();
        for (leg, when) in legs {
            if tally.moves.len() < MAX_KEPT {
                tally.moves.push((leg, move_id.into(), when));
            }
        }
    }

    /// The score of a leg, into the timelines of the moves that ended or began its time in the call.
    fn judge_moves(&mut self, call: CallHandle, leg: LegHandle, mos: f64) {
        let now = self.core.now.at;
        // A device that hung up by itself is gone before the move is through.
        if let Some(moving) = self.moves.live.values_mut().find(|moving| moving.old == leg) {
            moving.timeline.push(now, What::Quality { when: When::Before, mos });
        }
        let Some(tally) = self.tallies.calls.get_mut(&call) else { return };
        let asked: Vec<_> = tally.moves.extract_if(.., |(of, ..)| *of == leg).collect();
        for (_, id, when) in asked {
            self.note_later(|view| *view.id == *id, What::Quality { when, mos });
        }
    }

    fn close_tally(&mut self, call: CallHandle) {
        let now = self.core.now.at;
        let Some(tally) = self.tallies.calls.get(&call) else { return };
        let is_whole = match &tally.ended {
            Some((_, due)) => tally.open == 0 || *due <= now,
            // A port that outlived the record of its call: a device that was still to be let go of.
            None => tally.open == 0 && self.core.calls.get(call).is_none(),
        };
        if !is_whole {
            return;
        }
        let Some(mut tally) = self.tallies.calls.remove(&call) else { return };
        if tally.open > 0 {
            self.tallies.ports.retain(|_, (left, _)| left.call != call);
        }
        if let Some((mut record, _)) = tally.ended.take() {
            tally.write(&mut record);
            self.tell_record(record);
        }
    }

    /// Records whose ports keep silent go out without them.
    pub(super) fn on_tallies_timeout(&mut self) {
        let now = self.core.now.at;
        let due = |tally: &Tally| tally.ended.as_ref().is_some_and(|(_, due)| *due <= now);
        let late: Vec<_> =
            self.tallies.calls.iter().filter(|(_, tally)| due(tally)).map(|(call, _)| *call).collect();
        for call in late {
            self.close_tally(call);
        }
    }

    /// The node ends: records go out with what is known.
    pub(super) fn end_all_tallies(&mut self) {
        let waiting: Vec<_> = self
            .tallies
            .calls
            .iter()
            .filter(|(_, tally)| tally.ended.is_some())
            .map(|(call, _)| *call)
            .collect();
        for call in waiting {
            if let Some((_, due)) = self.tallies.calls.get_mut(&call).and_then(|tally| tally.ended.as_mut()) {
                *due = self.core.now.at;
            }
            self.close_tally(call);
        }
    }

    /// The record and the event that carries it.
    fn tell_record(&mut self, record: Box<CallRecord>) {
        let record = Arc::from(record);
        let event = Self::cdr_event(&record);
        self.outputs.push(Output::Event(event));
        self.outputs.push(Output::Record(record));
    }
}
