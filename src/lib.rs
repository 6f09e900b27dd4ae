//! segue: a SIP registrar, B2BUA and media relay that carries a live call from one handset to another.
//!
//! The library is layered, low to high: [`base`], [`wire`], [`sip`], [`registrar`], [`media`], [`call`],
//! [`moving`], [`engine`], [`config`], `shell`. A layer may use those before it in this list and never
//! those after it; `tests/tidy.rs` holds that. Everything but `shell` is sans-IO: time, randomness, storage
//! and sockets are inputs and outputs: see [`engine::Input`] and [`engine::Output`].

pub mod base;
pub mod call;
pub mod config;
pub mod engine;
pub mod media;
pub mod moving;
pub mod registrar;
#[cfg(feature = "shell")]
pub mod shell;
pub mod sip;
pub mod wire;
