//! The built binary over real sockets on loopback: software phones, SIPp and baresip against it.
//! No test sleeps on hope: each waits for a condition with a deadline, and a failure prints the message chart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod api;
mod baresip;
mod calls;
mod capture;
mod counted;
mod demo;
mod doctor;
mod doors;
mod hold_off;
mod house;
mod lamps;
mod limits;
mod media;
mod moves;
mod node;
mod pbx;
mod reload;
mod rescue;
mod routes;
mod secured;
mod sipp;
mod srtp;
mod supervised;
mod terminal;
mod trace;
mod transfers;
mod trunks;
mod webhooks;
