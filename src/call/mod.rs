//! The B2BUA: calls, legs, forks, dial plan, call records.
//!
//! A call joins two legs; a leg is one dialog with one party. Everything works on one [`Core`]; each file beside
//! this one adds one job to it: [`setup`] (INVITE out), [`answer`] (what comes back), [`bridge`] (no common codec), [`modify`] (re-INVITE,
//! UPDATE), [`pickup`] (answered from outside), [`release`] (BYE, CANCEL), [`rescue`] (a device dies), [`pass`] (INFO, MESSAGE), [`session_timer`] (RFC 4028), [`media`] (descriptions, ports, routes).
//! What the layers above must know is told in [`Happened`].

pub mod abilities;
pub mod answer;
pub mod bridge;
pub mod core;
pub mod dial_plan;
pub mod headers;
pub mod media;
pub mod model;
pub mod modify;
mod multipart;
pub mod pass;
pub mod pickup;
pub mod record;
pub mod release;
pub mod rescue;
pub mod session_timer;
pub mod settings;
pub mod setup;
pub mod targets;

pub use self::core::{Core, Gone, Happened, Owner};
pub use self::model::{
    Call, CallHandle, CallState, Leg, LegHandle, LegState, Party, Purpose, Role, Service, Side,
};
