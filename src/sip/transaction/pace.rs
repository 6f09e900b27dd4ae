//! How fast: table 4 of RFC 3261 (appendix A), once for datagrams and once for streams.

use std::time::Duration;

use super::Settings;
use crate::sip::Transport;

/// The timer values that hold on one kind of transport. Letters as in RFC 3261 table 4 and RFC 6026 7.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    pub(super) t1: Duration,
    pub(super) t2: Duration,
    t4: Duration,
    transport: Transport,
}

impl Pace {
    pub(super) const fn new(settings: &Settings, transport: Transport) -> Self {
        Self { t1: settings.t1, t2: settings.t2, t4: settings.t4, transport }
    }

    /// Whether we repeat what may have been lost (timers A, E, G).
    pub(super) const fn repeats(&self) -> bool {
        !self.transport.is_reliable()
    }

    /// B, F, H, L and M: 64*T1 everywhere.
    pub(super) fn patience(&self) -> Duration {
        self.t1 * 64
    }

    /// D: at least 32 s on datagrams, nothing on streams.
    pub(super) fn d(&self) -> Duration {
        if self.repeats() { self.patience().max(Duration::from_secs(32)) } else { Duration::ZERO }
    }

    /// I and K: T4 on datagrams, nothing on streams.
    pub(super) fn i_or_k(&self) -> Duration {
        if self.repeats() { self.t4 } else { Duration::ZERO }
    }

    /// J: 64*T1 on datagrams, nothing on streams.
    pub(super) fn j(&self) -> Duration {
        if self.repeats() { self.patience() } else { Duration::ZERO }
    }

    /// The interval after this one: MIN(2 * interval, T2).
    pub(super) fn slower(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}
