//! The store. It keeps nothing over a restart yet: what is asked of it is said to be done.

use std::path::Path;

use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket};

/// Settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;

/// It.
pub struct Store(Box<dyn Fn(StoreTicket, StoreReply) + Send>);

impl Store {
    /// Opens.
    pub fn open(
        _: &Path,
        _: Settings,
        answered: impl Fn(StoreTicket, StoreReply) + Send + 'static,
    ) -> Result<(Self, Loaded), OpenError> {
        Ok((Self(Box::new(answered)), Loaded::default()))
    }
    /// Submits.
    pub fn submit(&self, ticket: StoreTicket, _: StoreOp) {
        (self.0)(ticket, StoreReply::Done);
    }
    /// Closes.
    pub fn close(&mut self) {}
}
