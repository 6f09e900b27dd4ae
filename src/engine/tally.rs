//! What the media threads counted, brought into the call record: a port tells it as its last word, a moment after the
//! call has let go of it, so a record waits for the ports of its call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ask::codec_of;
use super::{Engine, Output};
use crate::base::Timestamp;
use crate::call::CallHandle;
use crate::call::core::LeftPort;
use crate::call::record::{CallRecord, Segment};
use crate::media::relay::{PortId, PortStats};

/// A record waits this long for the last word of a port.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Tally {
    expected: u64,
    lost: u64,
    jitter_us: u32,
    /// Lost on the way from each device, `user*device`.
    by_device: BTreeMap<Box<str>, u64>,
    /// Ports that have not had their last word.
    open: usize,
    /// The record, once the call is over, and until when it waits.
    ended: Option<(Box<CallRecord>, Timestamp)>,
}

/// The counts of all calls that have let go of a port.
#[derive(Default)]
pub(super) struct Tallies {
    ports: BTreeMap<PortId, (CallHandle, Option<Box<str>>)>,
    calls: BTreeMap<CallHandle, Tally>,
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
    pub(super) fn leave(&mut self, left: impl Iterator<Item = LeftPort>) {
        for LeftPort { port, call, device } in left {
            self.calls.entry(call).or_default().open += 1;
            self.ports.insert(port, (call, device));
        }
    }

    /// The last word of a port: the call it was of.
    fn count(&mut self, port: PortId, stats: &PortStats) -> Option<CallHandle> {
        let (call, device) = self.ports.remove(&port)?;
        let tally = self.calls.get_mut(&call)?;
        let lost = u64::try_from(stats.lost).unwrap_or(0);
        tally.open = tally.open.saturating_sub(1);
        tally.expected += stats.expected;
        tally.lost += lost;
        tally.jitter_us = tally.jitter_us.max(stats.jitter_us);
        if let Some(device) = device.filter(|_| stats.expected > 0) {
            *tally.by_device.entry(device).or_default() += lost;
        }
        Some(call)
    }
}

impl Tally {
    /// Fills what only the media threads know.
    fn write(&self, record: &mut CallRecord) {
        if self.expected > 0 {
            record.loss = Some(self.lost as f64 / self.expected as f64);
            record.jitter = Some(f64::from(self.jitter_us) / 1000.0);
        }
        for segment in record.segments.iter_mut().rev() {
            if segment.lost.is_none() {
                segment.lost = self.by_device.get(&*segment.device).copied();
            }
        }
    }
}

impl Engine {
    /// The codecs of those who talk now, into the record and their open segments.
    pub(super) fn note_codecs(&mut self, call: CallHandle) {
        let Some(found) = self.core.calls.get_mut(call) else { return };
        for leg in std::iter::once(found.caller).chain(found.callee) {
            let Some(leg) = self.core.legs.get(leg) else { continue };
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
        self.tallies.leave(self.core.left.drain(..));
        self.tallies.calls.entry(call).or_default().ended = Some((record, due));
        self.close_tally(call);
    }

    /// Takes the last word of a port that nobody has any more; false if the port is none of those.
    pub(super) fn on_last_word(&mut self, port: PortId, stats: &PortStats) -> bool {
        self.tallies.leave(self.core.left.drain(..));
        let Some(call) = self.tallies.count(port, stats) else { return false };
        self.close_tally(call);
        true
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
            self.tallies.ports.retain(|_, (of, _)| *of != call);
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
