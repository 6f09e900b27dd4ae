//! Logs and metrics: what an operator hears of a node.

mod counters;
mod hep;
mod histogram;
pub mod logs;
mod metrics;
mod process;
mod webhooks;

pub use counters::{AuthFailure, Direction, WorkerCounters};
pub use hep::{HepCount, HepCounters};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use webhooks::WebhookCounters;
