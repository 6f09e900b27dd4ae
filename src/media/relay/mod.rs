//! The packet path: routes, source learning, rewriting, counters. No lock, allocation or hash per packet.
//!
//! The engine compiles its decisions into flat routes by [`MediaCommand`]; a media thread owns one [`Relay`] and
//! is told in return what happened by [`MediaEvent`]. The relay itself is sans-IO: packets and time go in,
//! packets and events come out through an [`Outlet`].

mod stats;
mod types;

pub use stats::{DropReason, PortStats, Reported};
pub use types::{
    Ingress, Kind, Law, Learning, MediaCommand, MediaEvent, PayloadMap, PortId, PortPair, Prompt, Sending,
    Sink, Sound, Voice,
};
