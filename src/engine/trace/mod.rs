//! The messages of calls, kept for a while: what an operator asks for when a call went wrong.
//!
//! Bounded in bytes, in age, and for each dialog. What belongs to no call, such as the INVITEs of strangers, has a small
//! part of the room to itself, so that nobody can push the calls out by calling. Nothing is parsed and nothing is
//! copied to keep a message, but what came by a stream: there it is a slice of the buffer that the next bytes are in.

mod keep;
mod show;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

pub use keep::masked;
pub use view::{TraceMessage, TraceParty, TraceView, Way};

use crate::base::{Now, Random, Timestamp, UnixMillis};
use crate::call::{CallHandle, LegHandle};
use crate::sip::Flow;

/// Messages of one dialog. A call with a session timer of a quarter of an hour has them after a day.
const MESSAGES_EACH: u32 = 512;
/// Bytes of one dialog: the messages above, at their usual size.
const BYTES_EACH: usize = 512 * 1024;
/// What a message costs beside its bytes: its place in the queue, the head of its buffer, its share of the tables.
const OVERHEAD: usize = 256;
/// The part of the room that is for what belongs to no call: one of so many.
const STRANGERS: usize = 8;
/// A buffer of ours has at least that much room, whatever is written into it.
const LEAST: usize = 512;
/// How late what is too old may go: then many go at once.
const SWEEP: Duration = Duration::from_secs(10);

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes, with what it costs to keep them; 0 keeps nothing.
    pub bytes: usize,
    /// How long, once the call is over. Of a call that lives everything is kept as long as there is room.
    pub age: Duration,
}

impl Settings {
    /// Keeps nothing.
    pub const OFF: Self = Self { bytes: 0, age: Duration::ZERO };
}

/// The keyed hash of a Call-ID. The seed is secret: nobody can aim at another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key(u64);

/// One message.
struct Kept {
    /// Its place among all.
    number: u64,
    key: Key,
    at: Timestamp,
    unix: UnixMillis,
    expires: Timestamp,
    flow: Flow,
    is_sent: bool,
    bytes: Bytes,
}

impl Kept {
    fn cost(&self) -> usize {
        self.bytes.len().max(LEAST) + OVERHEAD
    }
}

/// One SIP dialog, or what would be one.
#[derive(Default)]
struct Strand {
    /// Public names of the calls that it was in, in order: a transfer takes it from one to another.
    calls: SmallVec<[Box<str>; 1]>,
    /// Our leg in it, and the call that this was in last.
    leg: Option<(LegHandle, CallHandle)>,
    /// Who is at its far end.
    party: Option<Box<str>>,
    messages: u32,
    bytes: usize,
    /// Messages beyond what one dialog may have.
    left_out: u64,
}

/// Messages in the order of their arrival.
struct Ring {
    kept: VecDeque<Kept>,
    bytes: usize,
    room: usize,
}

impl Ring {
    const fn new(room: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, room }
    }

    fn pop(&mut self) -> Option<Kept> {
        let kept = self.kept.pop_front()?;
        self.bytes -= kept.cost();
        Some(kept)
    }

    fn push(&mut self, kept: Kept) {
        self.bytes += kept.cost();
        self.kept.push_back(kept);
    }
}

/// What is kept of the messages of one worker.
pub(super) struct Trace {
    age: Duration,
    hasher: DefaultHasher,
    strands: BTreeMap<Key, Strand>,
    calls: Ring,
    strangers: Ring,
    /// What was received and is being worked on: whose it is turns out while it is.
    received: Option<(Key, Flow, Bytes)>,
    /// Outputs of the engine that were looked at.
    pub(super) seen: usize,
    /// Dialogs that have no message, or have none left.
    empty: Vec<Key>,
    next: u64,
}

impl Trace {
    pub(super) fn new(settings: Settings, random: &mut Random) -> Self {
        let mut hasher = DefaultHasher::new();
        if settings != Settings::OFF {
            hasher.write(&random.bytes::<32>());
        }
        let strangers = settings.bytes / STRANGERS;
        Self {
            age: settings.age,
            hasher,
            strands: BTreeMap::new(),
            calls: Ring::new(settings.bytes - strangers),
            strangers: Ring::new(strangers),
            received: None,
            seen: 0,
            empty: Vec::new(),
            next: 0,
        }
    }

    /// Keeps more, or less; what has no room any more is forgotten, the oldest first.
    pub(super) fn resize(&mut self, settings: Settings, random: &mut Random) {
        if settings.bytes == 0 || !self.is_on() {
            let next = self.next;
            *self = Self { next, seen: self.seen, ..Self::new(settings, random) };
            return;
        }
        let strangers = settings.bytes / STRANGERS;
        self.age = settings.age;
        for (ring, room) in [(&mut self.calls, settings.bytes - strangers), (&mut self.strangers, strangers)]
        {
            ring.room = room;
            while ring.bytes > ring.room
                && let Some(kept) = ring.pop()
            {
                forget(&mut self.strands, &kept, &mut self.empty);
            }
        }
    }

    /// Whether anything is kept.
    pub(super) const fn is_on(&self) -> bool {
        self.calls.room > 0
    }

    fn key(&self, call_id: &[u8]) -> Key {
        let mut hasher = self.hasher.clone();
        hasher.write(call_id);
        Key(hasher.finish())
    }

    /// Keeps a message, unless its dialog has enough of them. What it has pushed out is forgotten.
    fn keep(&mut self, now: Now, key: Key, flow: Flow, is_sent: bool, bytes: Bytes) {
        let strand = self.strands.entry(key).or_default();
        if strand.messages >= MESSAGES_EACH || strand.bytes + bytes.len() > BYTES_EACH {
            strand.left_out += 1;
            return;
        }
        strand.messages += 1;
        strand.bytes += bytes.len();
        let ring = if strand.calls.is_empty() { &mut self.strangers } else { &mut self.calls };
        let expires = now.at + self.age;
        ring.push(Kept { number: self.next, key, at: now.at, unix: now.unix, expires, flow, is_sent, bytes });
        self.next += 1;
        while ring.bytes > ring.room
            && let Some(kept) = ring.pop()
        {
            forget(&mut self.strands, &kept, &mut self.empty);
        }
    }

    /// Of a dialog without messages nothing needs to be known, unless it `lives`: then more will come.
    fn sweep(&mut self, lives: impl Fn(LegHandle) -> bool) {
        for key in std::mem::take(&mut self.empty) {
            let is_over = |strand: &Strand| !strand.leg.is_some_and(|(leg, _)| lives(leg));
            if self.strands.get(&key).is_some_and(|strand| strand.messages == 0 && is_over(strand)) {
                self.strands.remove(&key);
            }
        }
    }

    /// What is too old goes, but for that of a dialog that `lives`: it stays for as long again.
    fn expire(&mut self, now: Timestamp, lives: impl Fn(LegHandle) -> bool) {
        let age = self.age;
        for ring in [&mut self.calls, &mut self.strangers] {
            // Who is put back at the end is not met again.
            while ring.kept.front().is_some_and(|kept| kept.expires <= now)
                && let Some(mut kept) = ring.pop()
            {
                let leg = self.strands.get(&kept.key).and_then(|strand| strand.leg);
                if leg.is_some_and(|(leg, _)| lives(leg)) {
                    kept.expires = now + age.max(SWEEP);
                    ring.push(kept);
                } else {
                    forget(&mut self.strands, &kept, &mut self.empty);
                }
            }
        }
        let all = self.strands.iter().filter(|(_, strand)| strand.messages == 0);
        self.empty = all.map(|(key, _)| *key).collect();
        self.sweep(lives);
    }

    /// Messages and dialogs that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.calls.kept.len() + self.strangers.kept.len(), self.strands.len())
    }

    /// When the next message is too old. May be early, never later than [`SWEEP`] after it.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let oldest = [&self.calls, &self.strangers].into_iter().filter_map(|ring| ring.kept.front());
        oldest.map(|kept| kept.expires + SWEEP).min()
    }
}

/// A message is gone.
fn forget(strands: &mut BTreeMap<Key, Strand>, kept: &Kept, empty: &mut Vec<Key>) {
    let Some(strand) = strands.get_mut(&kept.key) else { return };
    strand.messages = strand.messages.saturating_sub(1);
    strand.bytes = strand.bytes.saturating_sub(kept.bytes.len());
    if strand.messages == 0 {
        empty.push(kept.key);
    }
}
