//! What the engine asks of everyone but the network: media threads, store, password pool, listeners of events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::Post;
use super::hep::Hep;
use super::records::Records;
use super::webhook::Webhooks;
use crate::base::UnixMillis;
use crate::engine::store::{StoreOp, StoreTicket};
use crate::engine::{Input, Output, VerifyTicket};
use crate::media::relay::{MediaCommand, MediaEvent, PortId};
use crate::shell::control::EventHub;
use crate::shell::media::MediaThreads;
use crate::shell::password::{Outcome, Passwords};
use crate::shell::store::Store;
use crate::shell::telemetry::Metrics;

/// The worker's hands.
pub(super) struct Outward {
    pub(super) media: Arc<MediaThreads>,
    pub(super) store: Store,
    pub(super) records: Option<Records>,
    pub(super) webhooks: Option<Webhooks>,
    pub(super) hep: Option<Hep>,
    pub(super) passwords: Passwords,
    pub(super) events: EventHub,
    pub(super) metrics: Metrics,
    pub(super) post: Post,
    pub(super) awaited: Awaited,
}

/// What is measured when its answer comes.
#[derive(Default)]
pub(super) struct Awaited {
    store: BTreeMap<StoreTicket, (&'static str, Instant)>,
    released: BTreeSet<PortId>,
}

impl Outward {
    /// Carries out one thing; what belongs to the worker itself is not here.
    pub(super) fn carry_out(&mut self, output: Output, unix: UnixMillis) {
        match output {
            Output::Media(command) => {
                if let MediaCommand::Release { port } = command {
                    self.awaited.released.insert(port);
                }
                self.media.send(command);
            }
            Output::Store { ticket, op } => {
                if let Some(name) = answered_name(&op) {
                    self.awaited.store.insert(ticket, (name, Instant::now()));
                }
                self.store.submit(ticket, op);
            }
            Output::Verify { ticket, hash, secret } => self.verify(ticket, hash, secret.0),
            Output::Event(event) => self.events.publish(unix, event),
            Output::Record(record) => {
                if let Some(records) = &self.records {
                    records.tell(&record);
                }
                // Write-behind: nobody waits for the answer.
                self.store.submit(StoreTicket(0), StoreOp::AddRecord(record));
            }
            Output::Capture(capture) => {
                if let Some(hep) = &self.hep {
                    hep.capture(capture);
                }
            }
            Output::Send { .. } | Output::Reply { .. } | Output::Reconfigured(_) => {}
        }
    }

    /// Measures what an input tells of an earlier output.
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Stored { ticket, .. } => {
                if let Some((name, asked)) = self.awaited.store.remove(ticket) {
                    self.metrics.store_op(name, asked.elapsed());
                }
            }
            Input::Media(MediaEvent::Stats { port, stats }) if self.awaited.released.remove(port) => {
                self.metrics.media_ended(stats);
            }
            _ => {}
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
        // What the store has taken goes into the files.
        drop(self.records.take());
        drop(self.webhooks.take());
        drop(self.hep.take());
    }
}

/// The `op` of `segue_store_op_seconds`, for those that are answered.
fn answered_name(op: &StoreOp) -> Option<&'static str> {
    Some(match op {
        StoreOp::PutAccount(_) => "put_account",
        StoreOp::RemoveAccount { .. } => "remove_account",
        StoreOp::PutHoldOff(_) => "put_hold_off",
        StoreOp::RemoveHoldOff { .. } => "remove_hold_off",
        StoreOp::PutSnapshot(_) => "put_snapshot",
        StoreOp::RemoveSnapshot { .. } => "remove_snapshot",
        StoreOp::ListMoves { .. } => "list_moves",
        StoreOp::FindMove { .. } => "find_move",
        StoreOp::ListRecords { .. } => "list_records",
        StoreOp::FindRecord { .. } => "find_record",
        StoreOp::SaveBindings(_)
        | StoreOp::SaveFailures(_)
        | StoreOp::SaveHotDesk(_)
        | StoreOp::SaveMove(_)
        | StoreOp::AddRecord(_) => {
            return None;
        }
    })
}
