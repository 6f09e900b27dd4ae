//! What went to the capture server.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// The counts of the export.
#[derive(Debug, Default)]
pub struct HepCounters {
    sip: AtomicU64,
    rtcp: AtomicU64,
    quality: AtomicU64,
    full: AtomicU64,
    unsent: AtomicU64,
}

/// What was sent, or was to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HepCount {
    /// A SIP message was sent.
    Sip,
    /// An RTCP report was sent.
    Rtcp,
    /// A quality report was sent.
    Quality,
    /// Left out: the queue was full.
    Full,
    /// Left out: the network did not take it.
    Unsent,
}

impl HepCounters {
    /// One more.
    pub fn count(&self, what: HepCount) {
        self.of(what).fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn read(&self, what: HepCount) -> u64 {
        self.of(what).load(Ordering::Relaxed)
    }

    const fn of(&self, what: HepCount) -> &AtomicU64 {
        match what {
            HepCount::Sip => &self.sip,
            HepCount::Rtcp => &self.rtcp,
            HepCount::Quality => &self.quality,
            HepCount::Full => &self.full,
            HepCount::Unsent => &self.unsent,
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let sent = [("sip", HepCount::Sip), ("rtcp", HepCount::Rtcp), ("quality", HepCount::Quality)];
        let lost = [("queue", HepCount::Full), ("network", HepCount::Unsent)];
        let families = [
            ("segue_hep_packets", "Packets that went to the capture server", "type", &sent[..]),
            ("segue_hep_dropped", "Packets that did not go to the capture server", "reason", &lost[..]),
        ];
        for (name, help, label, counts) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (value, count) in counts {
                ConstCounter::new(self.read(*count)).encode(family.encode_family(&[(label, *value)])?)?;
            }
        }
        Ok(())
    }
}
