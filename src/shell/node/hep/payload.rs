//! RTCP and quality as capture servers read them.

use serde_json::{Map, Value, json};

use crate::engine::capture::Quality;
use crate::media::quality::Impairment;
use crate::media::relay::PortStats;
use crate::wire::rtcp::{self, Packet, ReportBlock, SenderReport, VoipMetrics};
use crate::wire::vq_report::{Kind, Metrics, Session, VqReport};

/// A compound RTCP packet as the JSON that Homer knows; `None` where it reports nothing: a BYE, feedback of video.
pub(super) fn rtcp(compound: &[u8]) -> Option<Vec<u8>> {
    let packets = rtcp::parse(compound).ok()?;
    let first = packets.iter().find(|packet| matches!(packet.kind, rtcp::SR | rtcp::RR))?;
    let blocks: Vec<ReportBlock> = first.report_blocks().collect();
    let mut out = Map::new();
    out.insert("ssrc".into(), json!(first.sender()?));
    out.insert("type".into(), json!(first.kind));
    out.insert("report_count".into(), json!(blocks.len()));
    if let Some(report) = sender_report(first) {
        out.insert("sender_information".into(), report);
    }
    let xr = blocks
        .iter()
        .find_map(|block| packets.iter().find_map(|packet| Some((block, packet.voip_metrics(block.ssrc)?))));
    if let Some((block, metrics)) = xr {
        out.insert("report_blocks_xr".into(), voip(block.ssrc, &metrics));
    }
    out.insert("report_blocks".into(), blocks.iter().map(block).collect());
    serde_json::to_vec(&Value::Object(out)).ok()
}

fn sender_report(packet: &Packet<'_>) -> Option<Value> {
    let report = (packet.kind == rtcp::SR).then(|| SenderReport::parse(packet.body)).flatten()?;
    let fraction = report.ntp & u64::from(u32::MAX);
    Some(json!({
        "ntp_timestamp_sec": report.ntp >> 32,
        "ntp_timestamp_usec": (fraction * 1_000_000) >> 32,
        "rtp_timestamp": report.rtp_timestamp,
        "packets": report.packets,
        "octets": report.octets,
    }))
}

fn block(block: &ReportBlock) -> Value {
    json!({
        "source_ssrc": block.ssrc,
        "fraction_lost": block.fraction_lost,
        "packets_lost": block.lost,
        "highest_seq_no": block.highest,
        "ia_jitter": block.jitter,
        "lsr": block.last_sr,
        "dlsr": block.delay,
    })
}

fn voip(ssrc: u32, metrics: &VoipMetrics) -> Value {
    json!({
        "source_ssrc": ssrc,
        "fraction_lost": metrics.loss_rate,
        "fraction_discard": metrics.discard_rate,
        "burst_density": metrics.burst_density,
        "gap_density": metrics.gap_density,
        "round_trip_delay": metrics.round_trip_ms,
        "end_system_delay": metrics.end_system_ms,
        "r_factor": metrics.r_factor,
        "mos_lq": metrics.mos_lq.map(|tenths| f64::from(tenths) / 10.0),
        "mos_cq": metrics.mos_cq.map(|tenths| f64::from(tenths) / 10.0),
    })
}

/// How a leg sounded, as a session report (RFC 6035): local is what came in here, remote what its device says that it hears.
pub(super) fn quality(quality: &Quality) -> String {
    let Quality { dialog, until, codec, stats } = quality;
    let report = VqReport {
        kind: Kind::Session { is_final: true },
        call_id: dialog.call_id.clone(),
        local_id: Some(dialog.local_id.clone()),
        remote_id: Some(dialog.remote_id.clone()),
        local: came_in(quality),
        remote: says(stats),
    };
    report.write(&Session {
        local: dialog.local,
        remote: stats.source.map(|source| (source, stats.source_ssrc)),
        start: dialog.since,
        stop: *until,
        codec: (codec.name(), codec.clock_rate()),
    })
}

fn came_in(Quality { codec, stats, .. }: &Quality) -> Metrics {
    let measured = stats.measured();
    let percent = |part: u64, of: u64| (of > 0).then(|| 100.0 * part as f64 / of as f64);
    let mos = measured.mos(codec);
    Metrics {
        loss: percent(measured.lost, measured.expected),
        burst_density: percent(stats.bursts.lost, stats.bursts.packets),
        gap_density: percent(stats.bursts.alone, measured.expected.saturating_sub(stats.bursts.packets)),
        round_trip_ms: stats.round_trip.map(|trip| trip.as_secs_f64() * 1000.0),
        jitter_ms: (measured.expected > 0).then(|| f64::from(stats.jitter_us) / 1000.0),
        mos_cq: mos,
        r_cq: mos.and_then(|_| Some(measured.rating(Impairment::of(codec)?))),
        ..Metrics::default()
    }
}

fn says(stats: &PortStats) -> Metrics {
    let share = |of_256: u8| f64::from(of_256) * 100.0 / 256.0;
    let mut says = Metrics {
        loss: stats.reported.map(|reported| share(reported.fraction_lost)),
        jitter_ms: stats.reported.map(|reported| f64::from(reported.jitter_us) / 1000.0),
        ..Metrics::default()
    };
    if let Some(voip) = stats.voip {
        let known = |ms: u16| (ms > 0).then(|| f64::from(ms));
        says.loss = Some(share(voip.loss_rate));
        says.discarded = Some(share(voip.discard_rate));
        says.burst_density = Some(share(voip.burst_density));
        says.gap_density = Some(share(voip.gap_density));
        (says.round_trip_ms, says.end_system_ms) = (known(voip.round_trip_ms), known(voip.end_system_ms));
        says.r_cq = voip.r_factor.map(f64::from);
        says.mos_lq = voip.mos_lq.map(|tenths| f64::from(tenths) / 10.0);
        says.mos_cq = voip.mos_cq.map(|tenths| f64::from(tenths) / 10.0);
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;
    use crate::call::core::LeftDialog;
    use crate::media::codec::Codec;
    use crate::media::relay::Reported;
    use crate::wire::rtcp::Writer;

    #[test]
    fn rtcp_is_told_in_the_names_of_homer() {
        let mut compound = Writer::default();
        let block = ReportBlock {
            ssrc: 7,
            fraction_lost: 25,
            lost: -3,
            highest: 70_000,
            jitter: 160,
            last_sr: 1,
            delay: 2,
        };
        let report =
            SenderReport { ssrc: 9, ntp: 5 << 32 | 1 << 31, rtp_timestamp: 800, packets: 50, octets: 8000 };
        compound.packet(rtcp::SR, |body| {
            body.sender_report(&report);
            body.report_block(&block);
        });
        let told: Value = serde_json::from_slice(&rtcp(compound.bytes()).unwrap()).unwrap();
        let wanted = json!({
            "ssrc": 9, "type": 200, "report_count": 1,
            "sender_information": {
                "ntp_timestamp_sec": 5, "ntp_timestamp_usec": 500_000, "rtp_timestamp": 800, "packets": 50, "octets": 8000,
            },
            "report_blocks": [{
                "source_ssrc": 7, "fraction_lost": 25, "packets_lost": -3, "highest_seq_no": 70_000, "ia_jitter": 160,
                "lsr": 1, "dlsr": 2,
            }],
        });
        assert_eq!(told, wanted);
        let mut bye = Writer::default();
        bye.packet(rtcp::BYE, |body| body.word(9));
        assert_eq!((rtcp(bye.bytes()), rtcp(b"no RTCP")), (None, None));
    }

    #[test]
    fn a_leg_is_told_with_what_came_in_and_what_its_device_says() {
        let stats = PortStats {
            received: 950,
            expected: 1000,
            lost: 50,
            jitter_us: 2_500,
            reported: Some(Reported { fraction_lost: 64, lost: 9, jitter_us: 1_000 }),
            source: Some("192.0.2.7:4000".parse().unwrap()),
            source_ssrc: Some(0xabc),
            ..PortStats::default()
        };
        let dialog = LeftDialog {
            call_id: "one".into(),
            local_id: "<sip:bob@example.org>".into(),
            remote_id: "<sip:alice@example.org>".into(),
            local: "198.51.100.1:30000".parse().unwrap(),
            since: UnixMillis(0),
        };
        let codec = Codec::of_static(0).unwrap();
        let told = quality(&Quality { dialog, until: UnixMillis(20_000), codec, stats });
        let read = VqReport::read(told.as_bytes()).unwrap();
        assert_eq!(&*read.call_id, "one");
        assert_eq!((read.local.loss, read.local.jitter_ms), (Some(5.0), Some(2.5)));
        // G.711 with 5 % of random loss (G.107, with concealment).
        assert!(read.local.mos_cq.is_some_and(|mos| (3.8..4.1).contains(&mos)), "{told}");
        assert_eq!((read.remote.loss, read.remote.jitter_ms), (Some(25.0), Some(1.0)));
        assert!(told.contains("LocalAddr:IP=198.51.100.1 PORT=30000\r\n"), "{told}");
    }
}
