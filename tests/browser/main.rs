//! The page of the built binary in headless Chromium, with software phones at the other ends.
//!
//! `page.mjs` has the browser; each test says what it does there and looks at both sides. `SEGUE_SHOTS=DIR` keeps a
//! picture of each state.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![expect(dead_code, reason = "the house of the interop tests has more than this needs")]

#[path = "../interop/api.rs"]
mod api;
#[path = "../interop/house.rs"]
mod house;
#[path = "../interop/node.rs"]
mod node;
mod page;
