//! Bindings as a pure function: old set and REGISTER in, new set or refusal out (RFC 3261 10.3).
//!
//! [`apply`] decides and touches nothing; [`Registrar`] keeps the sets in memory, ends what expires, and says
//! what must be written down. Who may register what is decided before either is called.

pub mod accounts;
mod apply;
mod binding;
pub mod hot_desk;
mod live;
#[cfg(test)]
mod live_tests;
mod pbx;
mod register;
mod saved;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Change, Ended, Own, Refreshed, Refusal, Settings, apply};
pub use binding::{Binding, Quality, write_contact};
pub use live::{Accepted, Happened, Registrar};
pub use pbx::Pbx;
pub use register::{Asked, Asking, MAX_USER_AGENT, Register};
pub use saved::{SavedAor, SavedBinding};
