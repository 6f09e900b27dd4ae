//! The signalling machines of RFC 3261: transactions, dialogs, digest, subscriptions, refusals.

pub mod dialog;
pub mod digest;
mod flow;
mod refusal;
pub mod subscription;
pub mod transaction;

pub use flow::{Flow, Transport};
pub use refusal::Refusal;
