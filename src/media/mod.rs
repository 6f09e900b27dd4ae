//! What must be forwarded, transformed or dropped, decided from two descriptions; and the packet path.

pub mod codec;
pub mod permitted;
pub mod plan;
pub mod ports;
pub mod quality;
pub mod relay;
pub mod srtp;
pub mod transcode;
pub mod web;
