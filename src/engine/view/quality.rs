//! How a live call sounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::relay::PortStats;

/// How a live call sounds so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityView {
    /// The call.
    pub call: String,
    /// What each party sends us; none where its sound does not come through here.
    pub streams: Vec<StreamView>,
    /// The party of which nothing comes although the other's sound has come for seconds, and it has nobody on hold.
    pub silent: Option<String>,
}

/// What a party sends us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamView {
    /// `caller` or `callee`.
    pub role: String,
    /// The user.
    pub user: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// Packets that should have come.
    pub expected: u64,
    /// The share of them that did not.
    pub loss: Option<f64>,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Bursts of loss (RFC 3611 4.7.2, Gmin 16).
    pub bursts: u32,
    /// The share of packets lost in them.
    pub burst_loss: Option<f64>,
    /// The share of packets lost between them.
    pub gap_loss: Option<f64>,
    /// Interarrival jitter, ms.
    pub jitter_ms: Option<f64>,
    /// The way to its device and back, ms, where that sends reports.
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score; none for codecs without published values, and under 250 packets.
    pub mos: Option<f64>,
    /// How its device says that it hears the other party.
    pub hears: Option<HearsView>,
}

/// What a device reports of the stream that we send to it (RFC 3550 6.4.1, RFC 3611 4.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HearsView {
    /// The share of packets lost between its last two reports.
    pub loss: Option<f64>,
    /// Interarrival jitter, ms.
    pub jitter_ms: Option<f64>,
    /// Mean opinion score of listening quality, where it works one out.
    pub mos: Option<f64>,
}

impl StreamView {
    /// Fills in what was counted.
    pub fn count(&mut self, stats: &PortStats, mos: Option<f64>) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        let measured = stats.measured();
        self.expected = measured.expected;
        self.loss = share(measured.lost, measured.expected);
        (self.duplicates, self.reordered) = (stats.duplicates, stats.reordered);
        let bursts = stats.bursts;
        self.bursts = bursts.bursts;
        self.burst_loss = share(bursts.lost, bursts.packets);
        self.gap_loss = share(bursts.alone, measured.expected.saturating_sub(bursts.packets));
        self.jitter_ms = (measured.expected > 0).then(|| f64::from(stats.jitter_us) / 1000.0);
        self.round_trip_ms = stats.round_trip.map(ms);
        self.mos = mos;
        let says = stats.reported.is_some() || stats.voip.is_some();
        self.hears = says.then(|| HearsView {
            loss: stats.reported.map(|reported| f64::from(reported.fraction_lost) / 256.0),
            jitter_ms: stats.reported.map(|reported| f64::from(reported.jitter_us) / 1000.0),
            mos: stats.voip.and_then(|voip| voip.mos_lq).map(|tenths| f64::from(tenths) / 10.0),
        });
    }
}
