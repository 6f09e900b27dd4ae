//! Everything that a phone does and sees, in one log that can be waited on from any point in it.
//! Nothing is lost to a slow reader, so a test can act first and look afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::{PhoneError, Result};
use super::message::Message;

/// A log longer than this forgets nothing but takes no more: a phone of a runaway test must not eat the machine.
const MAX_ENTRIES: usize = 200_000;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message was sent for the first time (retransmissions are not listed).
    Sent(Arc<Message>),
    /// A message came in for the first time.
    Received(Arc<Message>),
    /// A datagram came that a phone built on rsip cannot read.
    Unreadable(String),
    /// A call stands; the Call-ID.
    Answered(String),
    /// A call has ended; the Call-ID and why.
    Ended(String, String),
    /// The other side changed the media of a call; the Call-ID and the new description.
    Reoffered(String, String),
    /// A digit by INFO or by RFC 4733.
    Digit(char),
}

/// An event and its time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// The log of one phone; clones share it.
#[derive(Clone)]
pub struct EventLog {
    phone: Arc<str>,
    entries: Arc<Mutex<Vec<Entry>>>,
    count: Arc<watch::Sender<usize>>,
}

impl EventLog {
    pub(super) fn new(phone: &str) -> Self {
        Self { phone: phone.into(), entries: Arc::default(), count: Arc::new(watch::Sender::new(0)) }
    }

    pub(super) fn push(&self, event: Event) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < MAX_ENTRIES {
            entries.push(Entry { at: Instant::now(), event });
        }
        self.count.send_replace(entries.len());
    }

    /// How many entries there are: a place to wait from.
    #[must_use]
    pub fn mark(&self) -> usize {
        *self.count.borrow()
    }

    /// The entries since `mark`.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits for the first entry at or after `mark` for which `pick` has an answer.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] naming `what`.
    pub async fn wait<T>(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&Entry) -> Option<T>,
    ) -> Result<T> {
        let mut count = self.count.subscribe();
        let mut seen = mark;
        let search = async {
            loop {
                let fresh = self.since(seen);
                seen += fresh.len();
                if let Some(found) = fresh.iter().find_map(&mut pick) {
                    return Some(found);
                }
                count.changed().await.ok()?;
            }
        };
        let late =
            || PhoneError::Timeout { phone: self.phone.to_string(), what: what.to_owned(), after: patience };
        tokio::time::timeout(patience, search).await.ok().flatten().ok_or_else(late)
    }

    /// Waits for a request of `method` that came in at or after `mark`.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn request(&self, mark: usize, method: &str, patience: Duration) -> Result<Arc<Message>> {
        self.wait(mark, &format!("an incoming {method}"), patience, |entry| match &entry.event {
            Event::Received(message) if message.status().is_none() && message.method() == method => {
                Some(Arc::clone(message))
            }
            _ => None,
        })
        .await
    }

    /// What rsip could not read so far; empty when the peer speaks clean SIP.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let fault = |entry: &Entry| match &entry.event {
            Event::Unreadable(fault) => Some(fault.clone()),
            _ => None,
        };
        self.since(0).iter().filter_map(fault).collect()
    }

    /// A message chart since `zero`, one line an event.
    #[must_use]
    pub fn ladder(&self, zero: Instant) -> Vec<(Duration, String)> {
        let line = |entry: &Entry| {
            let phone = &self.phone;
            let text = match &entry.event {
                Event::Sent(message) => format!("{phone} > core  {}", message.summary()),
                Event::Received(message) => format!("core > {phone}  {}", message.summary()),
                Event::Unreadable(fault) => format!("core > {phone}  unreadable: {fault}"),
                Event::Answered(_) | Event::Reoffered(..) => return None,
                Event::Ended(_, why) => format!("{phone}: call over: {why}"),
                Event::Digit(digit) => format!("{phone}: digit {digit}"),
            };
            Some((entry.at.saturating_duration_since(zero), text))
        };
        self.since(0).iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_finds_what_was_before_and_what_comes_and_names_what_does_not() {
        let log = EventLog::new("desk");
        log.push(Event::Digit('1'));
        let digit = |entry: &Entry| match entry.event {
            Event::Digit(digit) => Some(digit),
            _ => None,
        };
        assert_eq!(log.wait(0, "a digit", Duration::from_secs(1), digit).await.unwrap(), '1');
        let (later, ()) = tokio::join!(log.wait(1, "a digit", Duration::from_secs(1), digit), async {
            log.push(Event::Digit('2'));
        });
        assert_eq!(later.unwrap(), '2');
        let error = log.wait(2, "a third digit", Duration::from_millis(1), digit).await.unwrap_err();
        assert!(error.to_string().contains("desk: a third digit did not happen"), "{error}");
    }
}
