//! What every layer stands on: time, handles, timers, randomness, redaction. No I/O, no protocol.

mod chunks;
mod place;
mod random;
mod redact;
mod slab;
mod time;
mod timers;
mod zone;

pub use chunks::Chunks;
pub use place::names_place;
pub use random::Random;
pub use redact::{RedactAddr, Redacted, Secret};
pub use slab::{Handle, Slab};
pub use time::{Now, Timestamp, UnixMillis};
pub use timers::{TimerHeap, Timers};
pub use zone::{WallClock, Zone, civil, day_of};
