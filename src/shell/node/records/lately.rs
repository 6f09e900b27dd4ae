//! The records that ended just now: what is written to the files without being read back from the store.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::call::record::CallRecord;

/// Records held at most, some kilobytes each; what is more is read from the store.
pub(super) const MOST: usize = 4096;
/// Rounds of writing for which one is held. The store has it by the first; a store that is late has it by the second, or
/// the record is read from there when it can be.
const ROUNDS: u8 = 2;

/// By id, each with the rounds that it has seen.
#[derive(Default)]
pub(super) struct Lately(FxHashMap<String, (Arc<CallRecord>, u8)>);

impl Lately {
    pub(super) fn add(&mut self, records: impl Iterator<Item = Arc<CallRecord>>) {
        for record in records {
            if self.0.len() < MOST {
                self.0.insert(record.id.clone(), (record, 0));
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<CallRecord>> {
        self.0.get(id).map(|(record, _)| Arc::clone(record))
    }

    /// A round is over.
    pub(super) fn grow_older(&mut self) {
        self.0.retain(|_, (_, rounds)| {
            *rounds += 1;
            *rounds < ROUNDS
        });
    }
}
