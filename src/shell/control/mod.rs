//! The way from API and command line to the engine: commands to the workers, events from them.
//!
//! A worker drains [`Request`]s from its queue and answers each once; a request that is dropped unanswered, or not
//! answered in time, is [`Unavailable`] to whoever asked. Nothing here waits for a worker without a limit.

mod client;
mod events;
mod handle;
mod socket;

pub use client::{Client, ClientError};
pub use events::{Batch, EventHub, Position};
pub use handle::{
    Answer, Metered, NodeHandle, OfShell, Reload, Reports, Request, Unavailable, WorkerLink, link,
};
pub use socket::{ControlError, ControlSocket, SOCKET_NAME, VERSION};

#[cfg(test)]
pub(crate) mod testing;
