//! The sans-IO engine: inputs in, outputs out.

pub mod command;
pub mod event;
pub mod store;
pub mod view;
