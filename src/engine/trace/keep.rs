//! Which messages are kept, and whose they are.

use bytes::Bytes;

use super::{Key, Trace};
use crate::call::core::Core;
use crate::call::record::CallRecord;
use crate::call::{LegHandle, Party, Service};
use crate::engine::{Engine, Output};
use crate::moving::DeviceKey;
use crate::moving::identifier::Token;
use crate::sip::Flow;
use crate::wire::sip::{HeaderName, MASK, Message, Method, peek, redact};

/// Calls that a dialog was in. More are a game of transfers.
const MAX_CALLS: usize = 8;

/// A message as it may be shown or written: without credentials, keys, digits and one-time identifiers.
#[must_use]
pub fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    redact(&mut bytes);
    Token::mask_all(&mut bytes, MASK);
    bytes
}

impl Trace {
    /// A message is about to be worked on. Of a dialog that is not known an INVITE may begin a call; nothing else is
    /// of interest.
    pub(in crate::engine) fn receive(&mut self, flow: Flow, message: &Message) {
        if !self.is_on() {
            return;
        }
        let Ok(call_id) = message.call_id() else { return };
        let key = self.key(call_id.as_bytes());
        let begins = message.is_request() && *message.method() == Method::Invite;
        if begins || self.strands.contains_key(&key) {
            let bytes = message.bytes();
            // A stream's messages are slices of one large buffer.
            let bytes =
                if flow.transport.is_reliable() { Bytes::copy_from_slice(bytes) } else { bytes.clone() };
            self.received = Some((key, flow, bytes));
        }
    }

    /// A call has ended; of one that ended as it began the legs were never seen.
    pub(in crate::engine) fn ended(&mut self, record: &CallRecord) {
        if !self.is_on() {
            return;
        }
        for call_id in record.sip_call_id.iter().filter(|call_id| !call_id.is_empty()) {
            let key = self.key(call_id.as_bytes());
            self.note_call(key, &record.id);
        }
    }

    /// A dialog of ours that is no leg, on behalf of a call: a REFER.
    pub(in crate::engine) fn note_aside(&mut self, call_id: &str, call: &str, party: &DeviceKey) {
        if !self.is_on() {
            return;
        }
        let key = self.key(call_id.as_bytes());
        self.note_call(key, call);
        if let Some(strand) = self.strands.get_mut(&key) {
            strand.party = Some(format!("{}*{}", party.user(), party.device()).into());
        }
    }

    fn note_call(&mut self, key: Key, call: &str) {
        let strand = self.strands.entry(key).or_default();
        if strand.messages == 0 {
            self.empty.push(key);
        }
        if strand.calls.len() < MAX_CALLS && !strand.calls.iter().any(|known| **known == *call) {
            strand.calls.push(call.into());
        }
    }

    /// A leg of ours is the other end of a dialog.
    fn note_leg(&mut self, core: &Core, handle: LegHandle) {
        let Some(leg) = core.legs.get(handle).filter(|leg| !leg.dialog.call_id.is_empty()) else { return };
        let key = self.key(leg.dialog.call_id.as_bytes());
        if let Some(call) = core.calls.get(leg.call) {
            self.note_call(key, &call.id);
        }
        if let Some(strand) = self.strands.get_mut(&key) {
            strand.leg = Some((handle, leg.call));
            strand.party = Some(name_of(&leg.party));
        }
    }

    /// A dialog may have gone over to another call since its last message.
    fn follow(&mut self, core: &Core, key: Key) {
        let Some((leg, before)) = self.strands.get(&key).and_then(|strand| strand.leg) else { return };
        if core.legs.get(leg).is_some_and(|leg| leg.call != before) {
            self.note_leg(core, leg);
        }
    }
}

impl Engine {
    /// Keeps what was received and what is about to be sent.
    pub(in crate::engine) fn keep_traffic(&mut self) {
        let Self { trace, core, outputs, .. } = self;
        if !trace.is_on() {
            core.made.clear();
            trace.seen = outputs.len();
            return;
        }
        let now = core.now;
        for leg in std::mem::take(&mut core.made) {
            trace.note_leg(core, leg);
        }
        if let Some((key, flow, bytes)) = trace.received.take() {
            trace.follow(core, key);
            trace.keep(now, key, flow, false, bytes);
        }
        for output in outputs.iter().skip(trace.seen) {
            let Output::Send { flow, bytes } = output else { continue };
            let Some(call_id) = peek(bytes, HeaderName::CallId) else { continue };
            let key = trace.key(call_id);
            if trace.strands.contains_key(&key) {
                trace.follow(core, key);
                trace.keep(now, key, *flow, true, bytes.clone());
            }
        }
        trace.seen = outputs.len();
        trace.sweep(|leg| core.legs.get(leg).is_some());
    }

    /// What is too old goes.
    pub(in crate::engine) fn on_trace_timeout(&mut self) {
        let Self { trace, core, .. } = self;
        if trace.poll_timeout().is_some_and(|due| due <= core.now.at) {
            trace.expire(core.now.at, |leg| core.legs.get(leg).is_some());
        }
    }
}

fn name_of(party: &Party) -> Box<str> {
    match party {
        Party::User { .. } => match party.device() {
            Some((user, device)) => format!("{user}*{device}").into(),
            None => "?".into(),
        },
        Party::Trunk { name, .. } => format!("trunk {name}").into(),
        Party::Service(Service::Echo) => "echo".into(),
        Party::Service(Service::Tone) => "tone".into(),
        Party::Service(Service::Prompt) => "prompt".into(),
        Party::Service(Service::Transfer) => "transfer".into(),
    }
}
