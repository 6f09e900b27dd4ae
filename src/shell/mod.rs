//! The only layer that knows sockets, threads, files, clocks and stores.

pub mod cli;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod files;
pub mod http;
pub mod media;
pub mod node;
mod pace;
pub mod page;
pub mod password;
pub mod phone;
mod report;
pub mod store;
pub mod telemetry;
pub mod trace;
