//! What the engine asks of everyone but the network: media threads, store, password pool, listeners of events.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Post;
use crate::base::UnixMillis;
use crate::engine::store::StoreOp;
use crate::engine::{Input, Output, VerifyTicket};
use crate::shell::control::EventHub;
use crate::shell::media::MediaThreads;
use crate::shell::password::{Outcome, Passwords};
use crate::shell::store::Store;

/// The worker's hands.
pub(super) struct Outward {
    pub(super) media: Arc<MediaThreads>,
    pub(super) store: Store,
    pub(super) passwords: Passwords,
    pub(super) events: EventHub,
    pub(super) post: Post,
}

impl Outward {
    /// Carries out one thing; what belongs to the worker itself is not here.
    pub(super) fn carry_out(&mut self, output: Output, unix: UnixMillis) {
        match output {
            Output::Media(command) => self.media.send(command),
            Output::Store { ticket, op } => self.store.submit(ticket, op),
            Output::Verify { ticket, hash, secret } => self.verify(ticket, hash, secret),
            Output::Event(event) => self.events.publish(unix, event),
            Output::Record(record) => {
                // Write-behind: nobody waits for the answer.
                self.store.submit(crate::engine::store::StoreTicket(0), StoreOp::AddRecord(record));
            }
            Output::Send { .. } | Output::Reply { .. } => {}
        }
    }

    fn verify(&self, ticket: VerifyTicket, hash: Option<Box<str>>, secret: Box<str>) {
        let post = self.post.clone();
        self.passwords.submit(Zeroizing::new(secret.into_string()), hash, move |outcome| {
            // A pool without room says no: the same as a wrong secret to who asks.
            post.send(Input::Verified { ticket, right: outcome == Outcome::Accepted });
        });
    }

    /// The last of it is written.
    pub(super) fn close(&mut self) {
        self.store.close();
    }
}
