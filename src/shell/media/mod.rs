//! Media threads: sockets and routes.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::Timestamp;
use crate::media::relay::{DropReason, MediaCommand, MediaEvent};

/// How the media threads run.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// How many threads; at least 1.
    pub threads: u8,
    /// Local addresses at which ports may be opened; the first is the usual one.
    pub addresses: Vec<IpAddr>,
    /// The range of port numbers for pairs (even RTP, odd RTCP).
    pub ports: RangeInclusive<u16>,
    /// How long packets may be collected under load before they are forwarded together. Zero: never.
    pub collect: Duration,
    /// The clock of the process: `MediaThreads` reads the same one as the workers.
    pub origin: std::time::Instant,
    /// Seed for SSRCs.
    pub seed: [u8; 32],
}

/// Sums over all ports and threads since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTotals {
    /// RTP packets accepted.
    pub received: u64,
    /// RTP packets sent.
    pub sent: u64,
    /// Lost on the way to us, as far as known.
    pub lost: i64,
    /// Dropped, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Pairs that are bound.
    pub pairs: u64,
}

/// The running media threads.
pub struct MediaThreads {}

impl MediaThreads {
    /// Starts the threads. `events` is called on the media threads and must not block.
    ///
    /// # Errors
    /// A thread or its epoll could not be made.
    pub fn start(
        settings: &MediaSettings,
        events: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let _ = (settings, events, Timestamp::ZERO);
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Hands a command to its thread; never blocks. A command for a thread that is not there is dropped.
    pub fn send(&self, command: MediaCommand) {
        let _ = command;
    }

    /// Sums for metrics.
    #[must_use]
    pub fn totals(&self) -> MediaTotals {
        MediaTotals::default()
    }

    /// Closes all ports and ends the threads.
    pub fn shutdown(self) {}
}
