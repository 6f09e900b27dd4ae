//! The B2BUA: calls, legs, forks, dial plan, call records.
//!
//! A call joins two legs; a leg is one dialog with one party. Everything works on one [`Core`]; each file beside
//! this one adds one job to it: [`setup`] (INVITE in), `ring` (INVITE out), [`answer`] (what comes back), [`bridge`] (no common codec), [`capacity`] (how much trunks carry), [`prove`] (challenges of trunks), `failover` (trunks that are silent), [`numbers`] (as trunks have them), [`identity`] (who is shown to whom), `places` (what is not shown), [`diversion`] (what became of a call before), [`header_rules`] (an operator's headers), `turn` (users who do not answer), [`rules`] and [`calendar`] (the dial plan as it is written), [`modify`] (re-INVITE,
//! UPDATE), [`pickup`] (answered from outside), [`reliable`] (PRACK), [`release`] (BYE, CANCEL), [`rescue`] (a device dies), [`pass`] (INFO, MESSAGE in a dialog), [`keys`] (INFO and RFC 4733), [`spread`] (MESSAGE outside), [`transfer`] (what REFER needs), [`session_timer`] (RFC 4028), [`media`] (descriptions, ports, routes).
//! What the layers above must know is told in [`Happened`].

pub mod abilities;
pub mod answer;
pub mod bridge;
pub mod calendar;
pub mod capacity;
pub mod core;
pub mod dial_plan;
pub mod diversion;
mod early;
mod failover;
pub mod header_rules;
pub mod headers;
pub mod identity;
pub mod keys;
mod line;
pub mod media;
pub mod model;
pub mod modify;
mod multipart;
pub mod numbers;
pub mod pass;
pub mod pickup;
pub mod places;
pub mod policy;
pub mod prove;
pub mod quirks;
pub mod record;
pub mod release;
pub mod reliable;
pub mod rescue;
pub mod ring;
pub mod rules;
pub mod run;
pub mod session_timer;
pub mod settings;
pub mod setup;
pub mod spread;
mod stand_in;
pub mod targets;
pub mod transfer;
mod turn;
pub mod undo;

pub use self::core::{Core, Gone, Happened, Owner};
pub use self::model::{
    Call, CallHandle, CallState, Leg, LegHandle, LegState, Party, Purpose, Role, Service, Side,
};
