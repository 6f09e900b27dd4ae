//! The metrics of a node in Prometheus' text format. Base units; no label names a user or a call, and every label
//! value comes from a closed list.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::counters::{AuthFailure, CODES, DIRECTIONS, METHODS, TRANSPORTS, WorkerCounters};
use super::hep::HepCounters;
use super::histogram::Histogram;
use super::process::Process;
use super::webhooks::{self, WebhookCounters};
use crate::engine::event::{CallEvent, Event, HoldOffEvent, HotDeskEvent, MoveEvent};
use crate::engine::view::{StatusView, TrunkView};
use crate::media::relay::{DropReason, PortStats};
use crate::wire::sip::StatusCode;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From INVITE to answer: people take seconds, machines milliseconds.
const SETUP: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// Phases of a move: the node's own take milliseconds, ringing takes seconds.
const PHASE: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The gap of a move: one or two packets of 20 ms, the promise ends at 40.
const GAP: &[f64] = &[0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0];
/// Store operations: memory, disk, disk that is busy.
const STORE: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
/// Jitter of a finished stream.
const JITTER: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2];
/// Scores of finished calls: what ITU-T G.107 annex B calls nearly all dissatisfied, many, some dissatisfied, satisfied,
/// very satisfied; G.711 without loss scores 4.41.
const MOS: &[f64] = &[2.58, 3.1, 3.6, 4.03, 4.34, 4.5];

/// The metrics of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    version: &'static str,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    webhooks: Mutex<Vec<Arc<WebhookCounters>>>,
    hep: Mutex<Option<Arc<HepCounters>>>,
    moves: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    rollbacks: Mutex<BTreeMap<&'static str, u64>>,
    hold_off_rejections: Mutex<BTreeMap<&'static str, u64>>,
    sign_ins: Mutex<BTreeMap<&'static str, u64>>,
    setup: Histogram,
    gap: Histogram,
    phases: Mutex<BTreeMap<&'static str, Histogram>>,
    store: Mutex<BTreeMap<&'static str, Histogram>>,
    jitter: Histogram,
    mos: Histogram,
    rtp_received: AtomicU64,
    rtp_sent: AtomicU64,
    rtp_lost: AtomicU64,
    rtp_dropped: [AtomicU64; DropReason::ALL.len()],
    gauges: Mutex<Option<Gauges>>,
    trunks: Mutex<Vec<TrunkView>>,
    process: Process,
}

/// What the node itself last said.
#[derive(Clone, Copy, Debug)]
struct Gauges {
    registrations: u64,
    ringing: u64,
    answered: u64,
    transcoded: u64,
    hot_desks: u64,
    ports: [(&'static str, u64); 3],
}

impl Metrics {
    /// All zero. `version` is the release.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self(Arc::new(Families {
            version,
            workers: Mutex::default(),
            webhooks: Mutex::default(),
            hep: Mutex::default(),
            moves: Mutex::default(),
            rollbacks: Mutex::default(),
            hold_off_rejections: Mutex::default(),
            sign_ins: Mutex::default(),
            setup: Histogram::new(SETUP),
            gap: Histogram::new(GAP),
            phases: Mutex::default(),
            store: Mutex::default(),
            jitter: Histogram::new(JITTER),
            mos: Histogram::new(MOS),
            rtp_received: AtomicU64::new(0),
            rtp_sent: AtomicU64::new(0),
            rtp_lost: AtomicU64::new(0),
            rtp_dropped: std::array::from_fn(|_| AtomicU64::new(0)),
            gauges: Mutex::default(),
            trunks: Mutex::default(),
            process: Process::new(),
        }))
    }

    /// The counters of one more worker.
    #[must_use]
    pub fn worker(&self) -> Arc<WorkerCounters> {
        let counters = Arc::new(WorkerCounters::default());
        lock(&self.0.workers).push(Arc::clone(&counters));
        counters
    }

    /// The counts of one more webhook.
    #[must_use]
    pub fn webhook(&self, name: &str) -> Arc<WebhookCounters> {
        let counters = Arc::new(WebhookCounters::new(name));
        lock(&self.0.webhooks).push(Arc::clone(&counters));
        counters
    }

    /// The counts of the export to a capture server.
    #[must_use]
    pub fn hep(&self) -> Arc<HepCounters> {
        Arc::clone(lock(&self.0.hep).get_or_insert_default())
    }

    /// Counts what an event says of calls, moves and hold-offs.
    pub fn observe(&self, event: &Event) {
        match event {
            Event::Call { what: CallEvent::Answered, took: Some(took), .. } => self.0.setup.observe(*took),
            Event::Move { what, trigger, reason, gap_ms, phases, .. } => {
                let result = match what {
                    MoveEvent::Requested | MoveEvent::Authorized => return,
                    MoveEvent::Switched => "done",
                    MoveEvent::Refused => "refused",
                    MoveEvent::RolledBack => "rolled_back",
                    MoveEvent::Undone => "undone",
                };
                *lock(&self.0.moves).entry((trigger.as_str(), result)).or_default() += 1;
                if *what == MoveEvent::RolledBack {
                    *lock(&self.0.rollbacks).entry(reason.unwrap_or("other")).or_default() += 1;
                }
                if let Some(ms) = gap_ms.filter(|ms| ms.is_finite() && *ms >= 0.0) {
                    self.0.gap.observe(Duration::from_secs_f64(ms / 1000.0));
                }
                let mut histograms = lock(&self.0.phases);
                for (phase, took) in phases {
                    histograms.entry(phase).or_insert_with(|| Histogram::new(PHASE)).observe(*took);
                }
            }
            Event::HoldOff { what: HoldOffEvent::Rejected, method, .. } => {
                let method = method.as_deref().unwrap_or("other");
                let known = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
                *lock(&self.0.hold_off_rejections).entry(known).or_default() += 1;
            }
            Event::HotDesk { what, reason, .. } => {
                let change =
                    reason.unwrap_or(if *what == HotDeskEvent::SignedIn { "signed_in" } else { "other" });
                *lock(&self.0.sign_ins).entry(change).or_default() += 1;
            }
            Event::Call { .. }
            | Event::HoldOff { .. }
            | Event::Registration { .. }
            | Event::Trunk { .. }
            | Event::QualityReport { .. }
            | Event::QualityAlert { .. }
            | Event::Security { .. } => {}
            Event::Cdr { record, .. } => {
                if let Some(mos) = record.mos_min {
                    self.0.mos.observe_score(mos);
                }
            }
        }
    }

    /// A store operation was answered.
    pub fn store_op(&self, op: &'static str, took: Duration) {
        lock(&self.0.store).entry(op).or_insert_with(|| Histogram::new(STORE)).observe(took);
    }

    /// Counts what a port did between two of its reports; the first is measured against
    /// [`PortStats::default`].
    pub fn media(&self, before: &PortStats, after: &PortStats) {
        let add = |counter: &AtomicU64, before: u64, after: u64| {
            counter.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        };
        add(&self.0.rtp_received, before.received, after.received);
        add(&self.0.rtp_sent, before.sent, after.sent);
        // Loss may shrink by a late packet; a counter may not. What was counted too early is not counted again.
        let lost = |stats: &PortStats| u64::try_from(stats.lost).unwrap_or(0);
        add(&self.0.rtp_lost, lost(before), lost(after));
        for (counter, reason) in self.0.rtp_dropped.iter().zip(DropReason::ALL) {
            add(counter, before.dropped(reason), after.dropped(reason));
        }
    }

    /// The last word of a port that was in use: its jitter is measured now.
    pub fn media_ended(&self, stats: &PortStats) {
        if stats.received > 0 {
            self.0.jitter.observe(Duration::from_micros(u64::from(stats.jitter_us)));
        }
    }

    /// Takes the gauges from what the node says of itself.
    pub fn set_status(&self, status: &StatusView) {
        *lock(&self.0.gauges) = Some(Gauges {
            registrations: status.registrations,
            ringing: status.calls_ringing,
            answered: status.calls_answered,
            transcoded: status.calls_transcoded,
            hot_desks: status.hot_desks,
            ports: [
                ("free", status.ports_free),
                ("used", status.ports_used),
                ("quarantined", status.ports_quarantined),
            ],
        });
    }

    /// Takes what the node says of its trunks.
    pub fn set_trunks(&self, trunks: Vec<TrunkView>) {
        *lock(&self.0.trunks) = trunks;
    }

    /// The node does not say anything: gauges are left out instead of being wrong.
    pub fn forget_status(&self) {
        *lock(&self.0.gauges) = None;
        lock(&self.0.trunks).clear();
    }

    /// Everything, as [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut out = Out { encoder: &mut encoder };
        self.0.encode_signalling(&mut out)?;
        self.0.encode_moves(&mut out)?;
        self.0.encode_media(&mut out)?;
        self.0.encode_gauges(&mut out)?;
        self.0.encode_trunks(&mut out)?;
        out.histograms("segue_store_op_seconds", "Store operations", "op", &lock(&self.0.store))?;
        webhooks::encode(out.encoder, &lock(&self.0.webhooks))?;
        if let Some(hep) = &*lock(&self.0.hep) {
            hep.encode(out.encoder)?;
        }
        let help = "The release that runs";
        let mut info = out.encoder.encode_descriptor("segue_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(info.encode_family(&[("version", self.0.version)])?)?;
        self.0.process.encode(encoder)
    }
}

impl Families {
    fn encode_signalling(&self, out: &mut Out<'_, '_>) -> std::fmt::Result {
        let workers = lock(&self.workers).clone();
        let sum = |count: &dyn Fn(&WorkerCounters) -> u64| workers.iter().map(|worker| count(worker)).sum();
        let mut requests = out.counter("segue_sip_requests", "SIP requests")?;
        for (m, method) in METHODS.iter().enumerate() {
            for (t, transport) in TRANSPORTS.iter().enumerate() {
                for (d, direction) in DIRECTIONS.iter().enumerate() {
                    let count = sum(&|worker| worker.requests(m, t, d));
                    let labels = [("method", *method), ("transport", *transport), ("direction", *direction)];
                    write_nonzero(&mut requests, &labels, count)?;
                }
            }
        }
        let mut responses = out.counter("segue_sip_responses", "SIP responses")?;
        for (m, method) in METHODS.iter().enumerate() {
            let mut by_code = BTreeMap::<String, u64>::new();
            for code in 0..CODES {
                let count: u64 = sum(&|worker| worker.responses(m, code));
                if count > 0 {
                    *by_code.entry(code_label(code + 100)).or_default() += count;
                }
            }
            for (code, count) in &by_code {
                write_nonzero(&mut responses, &[("method", *method), ("code", code.as_str())], *count)?;
            }
        }
        let mut again = out.counter("segue_sip_retransmissions", "Messages sent again")?;
        for (m, method) in METHODS.iter().enumerate() {
            write_nonzero(&mut again, &[("method", *method)], sum(&|worker| worker.retransmissions(m)))?;
        }
        let errors = out.counter("segue_sip_parse_errors", "Messages that could not be read")?;
        ConstCounter::new(sum(&|worker| worker.parse_errors())).encode(errors)?;
        let help = "Messages dropped of sources that sent too many and had not shown who they are";
        let dropped = out.counter("segue_sip_strangers_dropped", help)?;
        ConstCounter::new(sum(&|worker| worker.dropped_of_strangers())).encode(dropped)?;
        let refused =
            out.counter("segue_overload_refusals", "New requests refused for want of time or room")?;
        ConstCounter::new(sum(&|worker| worker.overload().1)).encode(refused)?;
        let share = sum(&|worker| worker.overload().0);
        let gauge = out.gauge("segue_overload_percent", "Share of new calls that is refused")?;
        ConstGauge::new(share as i64).encode(gauge)?;
        let mut failures = out.counter("segue_auth_failures", "Credentials that were not accepted")?;
        for (r, reason) in AuthFailure::NAMES.iter().enumerate() {
            let count: u64 = sum(&|worker| worker.auth_failures(r));
            ConstCounter::new(count).encode(failures.encode_family(&[("reason", *reason)])?)?;
        }
        out.histogram("segue_call_setup_seconds", "From INVITE to answer", &self.setup)
    }

    fn encode_moves(&self, out: &mut Out<'_, '_>) -> std::fmt::Result {
        let mut moves = out.counter("segue_moves", "Moves by way in and outcome")?;
        for ((trigger, result), count) in lock(&self.moves).iter() {
            write_nonzero(&mut moves, &[("trigger", *trigger), ("result", *result)], *count)?;
        }
        let mut rollbacks = out.counter("segue_move_rollbacks", "Moves that went back")?;
        for (reason, count) in lock(&self.rollbacks).iter() {
            write_nonzero(&mut rollbacks, &[("reason", *reason)], *count)?;
        }
        let help = "Requests of an old device that were refused in its hold-off";
        let mut rejections = out.counter("segue_hold_off_rejections", help)?;
        for (method, count) in lock(&self.hold_off_rejections).iter() {
            write_nonzero(&mut rejections, &[("method", *method)], *count)?;
        }
        let help = "Users who signed in at the keys of shared phones, and why they are signed in no longer";
        let mut sign_ins = out.counter("segue_hot_desk_changes", help)?;
        for (change, count) in lock(&self.sign_ins).iter() {
            write_nonzero(&mut sign_ins, &[("change", *change)], *count)?;
        }
        let help = "Phases of moves";
        out.histograms("segue_move_duration_seconds", help, "phase", &lock(&self.phases))?;
        out.histogram("segue_move_gap_seconds", "Silence that the far side heard at a move", &self.gap)
    }

    fn encode_media(&self, out: &mut Out<'_, '_>) -> std::fmt::Result {
        let mut packets = out.counter("segue_rtp_packets", "RTP packets received and sent")?;
        for (direction, counter) in DIRECTIONS.iter().zip([&self.rtp_received, &self.rtp_sent]) {
            let count = counter.load(Ordering::Relaxed);
            ConstCounter::new(count).encode(packets.encode_family(&[("direction", *direction)])?)?;
        }
        let lost = out.counter("segue_rtp_lost", "RTP packets lost before they came here")?;
        ConstCounter::new(self.rtp_lost.load(Ordering::Relaxed)).encode(lost)?;
        let mut dropped = out.counter("segue_rtp_dropped", "RTP packets that were not forwarded")?;
        for (counter, reason) in self.rtp_dropped.iter().zip(DropReason::ALL) {
            let count = counter.load(Ordering::Relaxed);
            write_nonzero(&mut dropped, &[("reason", reason.as_str())], count)?;
        }
        out.histogram(
            "segue_rtp_jitter_seconds",
            "Interarrival jitter at the end of a stream",
            &self.jitter,
        )?;
        let help = "Estimated mean opinion score of a finished call, the worst of the streams that came in";
        out.histogram("segue_mos", help, &self.mos)
    }

    fn encode_gauges(&self, out: &mut Out<'_, '_>) -> std::fmt::Result {
        let Some(gauges) = *lock(&self.gauges) else { return Ok(()) };
        let int = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        int(gauges.registrations).encode(out.gauge("segue_registrations", "Bindings")?)?;
        let mut calls = out.gauge("segue_calls", "Live calls")?;
        for (state, count) in [("ringing", gauges.ringing), ("answered", gauges.answered)] {
            int(count).encode(calls.encode_family(&[("state", state)])?)?;
        }
        let help = "Calls whose speech is converted, for want of a common codec";
        int(gauges.transcoded).encode(out.gauge("segue_transcoded_calls", help)?)?;
        let help = "Shared devices at which somebody is signed in";
        int(gauges.hot_desks).encode(out.gauge("segue_hot_desks", help)?)?;
        let mut ports = out.gauge("segue_media_ports", "RTP port pairs")?;
        for (state, count) in gauges.ports {
            int(count).encode(ports.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

/// Names of trunks are those of the configuration, so nobody else can make new series.
impl Families {
    fn encode_trunks(&self, out: &mut Out<'_, '_>) -> std::fmt::Result {
        let trunks = lock(&self.trunks).clone();
        if trunks.is_empty() {
            return Ok(());
        }
        let help =
            "Whether a trunk can be relied on: a target answers, and we are registered where we want to be";
        let mut up = out.gauge("segue_trunk_up", help)?;
        for trunk in trunks.iter().filter(|trunk| trunk.state != "unknown") {
            let value = i64::from(trunk.state == "up");
            ConstGauge::new(value).encode(up.encode_family(&[("trunk", trunk.name.as_str())])?)?;
        }
        let mut targets =
            out.gauge("segue_trunk_targets", "Targets of a trunk by what OPTIONS say of them")?;
        for trunk in &trunks {
            for state in ["up", "down", "unknown"] {
                let count = trunk.targets.iter().filter(|target| target.state == state).count();
                let labels = [("trunk", trunk.name.as_str()), ("state", state)];
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(targets.encode_family(&labels)?)?;
            }
        }
        let mut calls = out.gauge("segue_trunk_calls", "Calls that a trunk carries")?;
        for trunk in &trunks {
            let value = i64::from(trunk.calls);
            ConstGauge::new(value).encode(calls.encode_family(&[("trunk", trunk.name.as_str())])?)?;
        }
        let mut pings = out.counter("segue_trunk_pings", "OPTIONS to targets of a trunk")?;
        for trunk in &trunks {
            for (result, count) in [("answered", trunk.pings_answered), ("failed", trunk.pings_failed)] {
                write_nonzero(&mut pings, &[("trunk", trunk.name.as_str()), ("result", result)], count)?;
            }
        }
        let mut registers =
            out.counter("segue_trunk_registrations", "Registrations at a trunk, with refreshes")?;
        for trunk in &trunks {
            for (result, count) in [("granted", trunk.registers_granted), ("failed", trunk.registers_failed)]
            {
                write_nonzero(&mut registers, &[("trunk", trunk.name.as_str()), ("result", result)], count)?;
            }
        }
        let help = "Users with a device here who are to be registered at a PBX, by whether they are";
        let mut users = out.gauge("segue_trunk_users", help)?;
        for trunk in trunks.iter().filter(|trunk| trunk.users > 0) {
            let missing = trunk.users.saturating_sub(trunk.users_registered);
            for (registered, count) in [("yes", trunk.users_registered), ("no", missing)] {
                let labels = [("trunk", trunk.name.as_str()), ("registered", registered)];
                ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
                    .encode(users.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// The encoder with fewer words.
struct Out<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
}

impl Out<'_, '_> {
    /// Without the `_total` of its name, which the encoder appends.
    fn counter<'s>(&'s mut self, name: &'s str, help: &str) -> Result<MetricEncoder<'s>, std::fmt::Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Counter)
    }

    fn gauge<'s>(&'s mut self, name: &'s str, help: &str) -> Result<MetricEncoder<'s>, std::fmt::Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> std::fmt::Result {
        histogram.encode(self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?)
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        histograms: &BTreeMap<&'static str, Histogram>,
    ) -> std::fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (value, histogram) in histograms {
            histogram.encode(encoder.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }
}

/// A series that never counted is left out, as client libraries do.
fn write_nonzero<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: u64,
) -> std::fmt::Result {
    if count == 0 {
        return Ok(());
    }
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

/// A registered code, or the class of another: a peer cannot make new series.
fn code_label(code: usize) -> String {
    let status = u16::try_from(code).ok().and_then(StatusCode::new);
    let is_registered = status.is_some_and(|status| match status.reason() {
        "Session Progress" => code == 183,
        "OK" => code == 200,
        "Redirection" | "Request Failure" | "Server Failure" | "Global Failure" => false,
        _ => true,
    });
    if is_registered { code.to_string() } else { format!("{}xx", code / 100) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::counters::Direction;
    use super::*;
    use crate::call::record::CallRecord;
    use crate::engine::event::{Phases, Users};
    use crate::moving::Trigger;
    use crate::sip::Transport;
    use crate::wire::sip::Method;

    fn moved(what: MoveEvent, reason: Option<&'static str>, gap_ms: Option<f64>) -> Event {
        Event::Move {
            what,
            id: "02".into(),
            call: "01".into(),
            user: "alice".into(),
            from_device: None,
            to_device: None,
            trigger: Trigger::StarCode,
            reason,
            gap_ms,
            phases: Phases::from_iter([("switch", Duration::from_millis(2))]),
        }
    }

    #[test]
    fn names_and_labels_are_those_of_the_contract() {
        let metrics = Metrics::new("1.2.3");
        let (one, two) = (metrics.worker(), metrics.worker());
        one.request(&Method::Invite, Transport::Udp, Direction::In);
        two.request(&Method::Invite, Transport::Udp, Direction::In);
        two.response(&Method::Invite, StatusCode::new(486).unwrap());
        two.response(&Method::Invite, StatusCode::new(477).unwrap());
        one.retransmissions_of(Method::Invite.kind(), 1);
        one.parse_error();
        one.auth_failures_of(AuthFailure::Wrong, 1);
        metrics.observe(&moved(MoveEvent::Switched, None, Some(19.0)));
        metrics.observe(&moved(MoveEvent::RolledBack, Some("new_silent"), None));
        metrics.observe(&Event::HoldOff {
            what: HoldOffEvent::Rejected,
            call: "01".into(),
            user: "alice".into(),
            device: "desk".into(),
            method: Some("EVIL{}\n".into()),
            seconds_left: 9,
        });
        for (what, reason) in [(HotDeskEvent::SignedIn, None), (HotDeskEvent::SignedOut, Some("expired"))] {
            let (user, device) = ("alice".into(), "rooms*lobby".into());
            metrics.observe(&Event::HotDesk { what, user, device, reason });
        }
        for mos_min in [Some(4.41), Some(3.92), None] {
            let record = CallRecord { mos_min, ..CallRecord::default() };
            metrics.observe(&Event::Cdr {
                call: "01".into(),
                users: Users::default(),
                record: Arc::new(record),
            });
        }
        metrics.store_op("put_account", Duration::from_millis(3));
        metrics.media(
            &PortStats::default(),
            &PortStats { received: 7, sent: 5, lost: 2, ..PortStats::default() },
        );
        metrics.media_ended(&PortStats { received: 7, jitter_us: 1500, ..PortStats::default() });
        let text = metrics.encode();
        for line in [
            "segue_sip_requests_total{method=\"INVITE\",transport=\"udp\",direction=\"in\"} 2",
            "segue_sip_responses_total{method=\"INVITE\",code=\"486\"} 1",
            "segue_sip_responses_total{method=\"INVITE\",code=\"4xx\"} 1",
            "segue_sip_retransmissions_total{method=\"INVITE\"} 1",
            "segue_sip_parse_errors_total 1",
            "segue_auth_failures_total{reason=\"wrong\"} 1",
            "segue_moves_total{trigger=\"star_code\",result=\"done\"} 1",
            "segue_move_rollbacks_total{reason=\"new_silent\"} 1",
            "segue_move_gap_seconds_bucket{le=\"0.02\"} 1",
            "segue_move_duration_seconds_count{phase=\"switch\"} 2",
            "segue_hold_off_rejections_total{method=\"other\"} 1",
            "segue_hot_desk_changes_total{change=\"signed_in\"} 1",
            "segue_hot_desk_changes_total{change=\"expired\"} 1",
            "segue_store_op_seconds_count{op=\"put_account\"} 1",
            "segue_rtp_packets_total{direction=\"in\"} 7",
            "segue_rtp_packets_total{direction=\"out\"} 5",
            "segue_rtp_lost_total 2",
            "segue_rtp_jitter_seconds_count 1",
            "segue_mos_bucket{le=\"4.03\"} 1",
            "segue_mos_sum 8.33",
            "segue_mos_count 2",
            "segue_call_setup_seconds_count 0",
            "segue_build_info{version=\"1.2.3\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
        }
    }

    #[test]
    fn gauges_are_what_the_node_says_or_absent() {
        let metrics = Metrics::new("1");
        assert!(!metrics.encode().contains("segue_calls"));
        metrics.set_status(&StatusView { calls_answered: 3, registrations: 4, ..StatusView::default() });
        let text = metrics.encode();
        assert!(
            text.contains("segue_calls{state=\"answered\"} 3\n") && text.contains("segue_registrations 4\n")
        );
        let trunk = |name: &str, state: &str| TrunkView {
            name: name.into(),
            state: state.into(),
            calls: 2,
            pings_failed: 3,
            ..TrunkView::default()
        };
        metrics.set_trunks(vec![trunk("one", "up"), trunk("two", "down"), trunk("three", "unknown")]);
        let text = metrics.encode();
        for line in [
            "segue_trunk_up{trunk=\"one\"} 1",
            "segue_trunk_up{trunk=\"two\"} 0",
            "segue_trunk_calls{trunk=\"three\"} 2",
            "segue_trunk_pings_total{trunk=\"one\",result=\"failed\"} 3",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("segue_trunk_up{trunk=\"three\"}"), "nobody asks it");
        metrics.forget_status();
        assert!(!metrics.encode().contains("segue_calls") && !metrics.encode().contains("segue_trunk"));
    }

    #[test]
    fn counters_of_media_never_go_back() {
        let metrics = Metrics::new("1");
        let report = |received, lost| PortStats { received, lost, ..PortStats::default() };
        let reports = [report(0, 0), report(10, 4), report(20, -1), report(30, 2)];
        for pair in reports.windows(2) {
            metrics.media(&pair[0], &pair[1]);
        }
        let text = metrics.encode();
        assert!(text.contains("segue_rtp_packets_total{direction=\"in\"} 30\n"));
        assert!(text.contains("segue_rtp_lost_total 6\n"), "{text}");
    }
}
