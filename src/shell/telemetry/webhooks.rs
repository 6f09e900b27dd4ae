//! What webhooks have done. Their names are those of the configuration: a closed list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The counts of one webhook.
#[derive(Debug, Default)]
pub struct WebhookCounters {
    name: Box<str>,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    pending: AtomicU64,
}

impl WebhookCounters {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// An event was taken.
    pub fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// An event was not taken, and will be sent again.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Events are lost.
    pub fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// So many wait on disk.
    pub fn set_pending(&self, count: usize) {
        self.pending.store(count as u64, Ordering::Relaxed);
    }
}

type Count = fn(&WebhookCounters) -> &AtomicU64;

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    webhooks: &[Arc<WebhookCounters>],
) -> std::fmt::Result {
    let counters: [(&str, &str, Count); 3] = [
        ("segue_webhook_delivered", "Events that a webhook took", |webhook| &webhook.delivered),
        ("segue_webhook_failed", "Attempts that a webhook did not take", |webhook| &webhook.failed),
        ("segue_webhook_dropped", "Events that were lost: too many, or too old", |webhook| &webhook.dropped),
    ];
    for (name, help, count) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for webhook in webhooks {
            let count = count(webhook).load(Ordering::Relaxed);
            ConstCounter::new(count).encode(family.encode_family(&[("webhook", &*webhook.name)])?)?;
        }
    }
    let help = "Events that wait for a webhook";
    let mut family = encoder.encode_descriptor("segue_webhook_pending", help, None, MetricType::Gauge)?;
    for webhook in webhooks {
        let count = i64::try_from(webhook.pending.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(family.encode_family(&[("webhook", &*webhook.name)])?)?;
    }
    Ok(())
}
