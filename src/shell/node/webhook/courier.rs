//! Delivers the letters of one webhook, one after the other: the next goes out when the one before is taken, or given
//! up because it is too old.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use super::keeper::Mail;
use super::line::{Failure, Line, Post};
use super::outbox::Letter;
use super::signature::Signer;
use crate::base::Random;
use crate::config::Webhook;
use crate::shell::telemetry::WebhookCounters;

/// The first pause after a failure; doubled up to [`LONGEST`]. A receiver that is started again loses no time.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) struct Courier {
    pub(super) place: usize,
    pub(super) settings: Webhook,
    pub(super) line: Line,
    pub(super) signer: Signer,
    pub(super) keeper: Sender<Mail>,
    pub(super) counters: Arc<WebhookCounters>,
    pub(super) random: Random,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) is_giving_up: bool,
}

impl Courier {
    /// Works until the keeper is gone.
    pub(super) async fn run(mut self) {
        let mut last = 0;
        loop {
            let (answer, letters) = oneshot::channel();
            let next = Mail::Next { hook: self.place, after: last, answer };
            if self.keeper.send(next).is_err() {
                return;
            }
            let Ok(letters) = letters.await else { return };
            for letter in letters {
                self.deliver(&letter).await;
                last = letter.n;
                if self.keeper.send(Mail::Over { hook: self.place, n: last }).is_err() {
                    return;
                }
            }
        }
    }

    /// Until it is taken, or too old.
    async fn deliver(&mut self, letter: &Letter) {
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            if now.saturating_sub(Duration::from_millis(letter.at.0)) > self.settings.keep {
                self.counters.dropped(1);
                // Once until one is delivered.
                if !std::mem::replace(&mut self.is_giving_up, true) {
                    tracing::error!(webhook = %self.settings.name, "events are lost: they waited for too long");
                }
                return;
            }
            let post = Post {
                id: &letter.id,
                timestamp: now.as_secs(),
                signature: self.signer.sign(&letter.id, now.as_secs(), &letter.body),
                body: letter.body.clone(),
            };
            let sent = self.line.send(post, self.settings.timeout).await;
            let Err(failure) = sent else { return self.delivered() };
            self.failed(&failure);
            tokio::time::sleep(pause(self.failures, &mut self.random)).await;
        }
    }

    fn delivered(&mut self) {
        self.counters.delivered();
        self.is_giving_up = false;
        if std::mem::take(&mut self.failures) > 0 {
            tracing::warn!(webhook = %self.settings.name, "events are delivered again");
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.counters.failed();
        // Once for each time that it does not answer.
        if self.failures == 0 {
            tracing::warn!(webhook = %self.settings.name, "an event is not taken and will be sent again: {failure}");
        } else {
            tracing::debug!(webhook = %self.settings.name, failures = self.failures, "not taken: {failure}");
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// Between half and all of what so many failures ask for, so that nodes do not come back as one.
fn pause(failures: u32, random: &mut Random) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let whole = doubled.min(LONGEST).as_millis() as u64;
    Duration::from_millis(whole / 2 + random.below(whole / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread() {
        let mut random = Random::from_number(1);
        for (failures, most) in [(1, 500), (2, 1000), (5, 8000), (12, 300_000), (u32::MAX, 300_000)] {
            let pauses: Vec<_> = (0..100).map(|_| pause(failures, &mut random).as_millis()).collect();
            assert!(pauses.iter().all(|pause| (most / 2..most).contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.iter().max() > pauses.iter().min());
        }
    }
}
