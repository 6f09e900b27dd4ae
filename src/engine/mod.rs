//! The sans-IO engine: inputs in, outputs out.

pub mod command;
pub mod event;
mod io;
pub mod settings;
pub mod store;
pub mod view;

pub use io::{CommandId, Input, Output, VerifyTicket};
pub use settings::Settings;
