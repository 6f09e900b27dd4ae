//! The thread that owns the outbox: events go in, letters go out to those who deliver, what is delivered is forgotten.
//!
//! Whatever comes together is written together: an event waits at most [`GATHER`] and the disk, and is handed out only
//! when it is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::Error;
use tokio::sync::oneshot;

use super::outbox::{Change, Letter, Outbox};
use crate::config::Webhook;
use crate::engine::command::Subject;
use crate::engine::event::Envelope;
use crate::shell::telemetry::WebhookCounters;

/// An event waits so long for others that are written with it.
const GATHER: Duration = Duration::from_millis(20);
/// What is taken up in one go.
const BATCH: usize = 1024;
/// The pause after a failure of the disk.
const RETRY: Duration = Duration::from_secs(1);
/// Letters handed out at once.
const HANDFUL: usize = 64;
/// Events that may wait for the disk; of more the oldest are lost. Some 20 MB.
pub(super) const UNWRITTEN: usize = 16_384;

/// What the thread hears.
pub(super) enum Mail {
    /// Something happened.
    Event(Arc<Envelope>),
    /// The webhook of that place wants its letters after `n`; answered when there are some.
    Next { hook: usize, after: i64, answer: oneshot::Sender<Vec<Letter>> },
    /// The letters of a webhook up to `n` are over: delivered, or given up.
    Over { hook: usize, n: i64 },
    /// The end: what waits is written.
    Close,
}

/// One webhook as the thread sees it.
struct Hook {
    settings: Webhook,
    counters: Arc<WebhookCounters>,
    /// Its letters on disk: place and length.
    waiting: VecDeque<(i64, u64)>,
    bytes: u64,
    /// New ones.
    unwritten: VecDeque<Letter>,
    /// Letters up to here are over, and whether the file knows.
    over: i64,
    is_forgotten: bool,
    is_dropping: bool,
    asked: Option<(i64, oneshot::Sender<Vec<Letter>>)>,
}

pub(super) struct Keeper {
    outbox: Outbox,
    hooks: Vec<Hook>,
    next: i64,
    /// The disk fails: when it is tried again.
    retry: Option<Instant>,
}

impl Keeper {
    /// With what a former run has left.
    pub(super) fn new(outbox: Outbox, hooks: Vec<(Webhook, Arc<WebhookCounters>)>) -> Result<Self, Error> {
        let next = outbox.next()?;
        let hook = |(settings, counters): (Webhook, Arc<WebhookCounters>)| {
            let waiting = outbox.list(&settings.name)?;
            let bytes = waiting.iter().map(|(_, length)| length).sum();
            counters.set_pending(waiting.len());
            let (unwritten, over, asked) = (VecDeque::new(), 0, None);
            let (is_forgotten, is_dropping) = (true, false);
            Ok(Hook { settings, counters, waiting, bytes, unwritten, over, is_forgotten, is_dropping, asked })
        };
        let hooks = hooks.into_iter().map(hook).collect::<Result<_, Error>>()?;
        Ok(Self { outbox, hooks, next, retry: None })
    }

    /// Works until it is told to close.
    pub(super) fn run(mut self, mail: &Receiver<Mail>) {
        let mut is_open = true;
        while is_open {
            let first = match self.retry {
                Some(retry) => mail.recv_deadline(retry),
                None => mail.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let first = match first {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Mail::Close),
            };
            let gather = if matches!(first, Some(Mail::Event(_))) { GATHER } else { Duration::ZERO };
            let deadline = Instant::now() + gather;
            let mut next = first;
            for _ in 0..BATCH {
                let Some(one) = next else { break };
                is_open &= !matches!(one, Mail::Close);
                self.take(one);
                next = if is_open { mail.recv_deadline(deadline).ok() } else { mail.try_recv().ok() };
            }
            // A disk that fails has a pause, but for the last time.
            if is_open && self.retry.is_some_and(|retry| Instant::now() < retry) {
                self.make_room();
                continue;
            }
            let done = self.write().and_then(|()| self.answer());
            self.went(done.err());
        }
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Event(envelope) => self.post(&envelope),
            Mail::Next { hook, after, answer } => {
                if let Some(hook) = self.hooks.get_mut(hook) {
                    hook.asked = Some((after, answer));
                }
            }
            Mail::Over { hook, n } => {
                if let Some(hook) = self.hooks.get_mut(hook) {
                    hook.forget(n);
                }
            }
            Mail::Close => {}
        }
    }

    fn post(&mut self, envelope: &Envelope) {
        let kind = envelope.event.kind();
        let mut body = None;
        for hook in self.hooks.iter_mut().filter(|hook| hook.settings.wants(&kind)) {
            let body: &mut Bytes =
                body.get_or_insert_with(|| envelope.to_json(&Subject::Admin).to_string().into());
            let (id, at) = (envelope.id.to_string().into(), envelope.time.0);
            hook.unwritten.push_back(Letter { n: self.next, id, at, body: body.clone() });
            self.next += 1;
            if hook.unwritten.len() > UNWRITTEN {
                hook.unwritten.pop_front();
                hook.drop_some(1, "the disk does not take them");
            }
        }
    }

    /// The oldest give way where too much waits.
    fn make_room(&mut self) {
        for hook in &mut self.hooks {
            hook.make_room();
        }
    }

    /// Brings the file to what is known here.
    fn write(&mut self) -> Result<(), Error> {
        self.make_room();
        let mut change = Change::default();
        for hook in &self.hooks {
            change.new.extend(hook.unwritten.iter().map(|letter| (&*hook.settings.name, letter)));
            if !hook.is_forgotten {
                change.over.push((&hook.settings.name, hook.over));
            }
        }
        if change.new.is_empty() && change.over.is_empty() {
            return Ok(());
        }
        self.outbox.commit(&change)?;
        self.hooks.iter_mut().for_each(Hook::written);
        Ok(())
    }

    /// Gives letters to those who asked.
    fn answer(&mut self) -> Result<(), Error> {
        for hook in &mut self.hooks {
            let Some((after, _)) = hook.asked else { continue };
            if hook.waiting.back().is_none_or(|(last, _)| *last <= after) {
                continue;
            }
            let letters = self.outbox.after(&hook.settings.name, after, HANDFUL)?;
            if let Some((_, answer)) = hook.asked.take() {
                // Who does not wait any more has ended.
                let _ = answer.send(letters);
            }
        }
        Ok(())
    }

    fn went(&mut self, error: Option<Error>) {
        let retry = error.is_some().then(|| Instant::now() + RETRY);
        let was_failing = std::mem::replace(&mut self.retry, retry).is_some();
        match error {
            Some(error) if !was_failing => {
                tracing::error!(%error, "events for webhooks cannot be written or read; new ones wait in memory");
            }
            None if was_failing => tracing::warn!("events for webhooks are written and read again"),
            _ => {}
        }
    }
}

impl Hook {
    /// Letters up to `n` are over.
    fn forget(&mut self, n: i64) {
        while self.waiting.front().is_some_and(|(first, _)| *first <= n) {
            let length = self.waiting.pop_front().map_or(0, |(_, length)| length);
            self.bytes = self.bytes.saturating_sub(length);
            self.is_forgotten = false;
        }
        self.over = self.over.max(n);
        self.counters.set_pending(self.waiting.len());
    }

    /// The oldest give way when too much waits.
    fn make_room(&mut self) {
        let new: u64 = self.unwritten.iter().map(|letter| letter.body.len() as u64).sum();
        let mut excess = (self.bytes + new).saturating_sub(self.settings.outbox);
        if excess == 0 {
            self.is_dropping &= !self.waiting.is_empty();
            return;
        }
        let mut last = None;
        let mut count = 0;
        for (n, length) in &self.waiting {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(*length);
            (last, count) = (Some(*n), count + 1);
        }
        if let Some(last) = last {
            self.forget(last);
            self.drop_some(count, "its outbox is full");
        }
    }

    fn drop_some(&mut self, count: u64, why: &str) {
        self.counters.dropped(count);
        // Once until all has been delivered.
        if !std::mem::replace(&mut self.is_dropping, true) {
            tracing::error!(webhook = %self.settings.name, "the oldest events are lost: {why}");
        }
    }

    /// The file has it all.
    fn written(&mut self) {
        for letter in self.unwritten.drain(..) {
            let length = letter.body.len() as u64;
            self.waiting.push_back((letter.n, length));
            self.bytes += length;
        }
        self.is_forgotten = true;
        self.counters.set_pending(self.waiting.len());
    }
}
