//! A session report as RFC 6035 4.6.2 has it, of what a relay has measured.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{Kind, Metrics, VqReport};
use crate::base::UnixMillis;

/// The ends of the stream, and when it was measured: what a reader of ours has no use for.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Where it came in.
    pub local: SocketAddr,
    /// Who sent it, and its SSRC.
    pub remote: Option<(SocketAddr, Option<u32>)>,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub stop: UnixMillis,
    /// Name and clock rate of the codec.
    pub codec: (&'a str, u32),
}

impl VqReport {
    /// The body. What was not measured is not in it.
    #[must_use]
    pub fn write(&self, session: &Session<'_>) -> String {
        let mut out = String::with_capacity(640);
        let first = match &self.kind {
            Kind::Session { is_final: true } => "VQSessionReport: CallTerm",
            Kind::Session { is_final: false } => "VQSessionReport",
            Kind::Interval => "VQIntervalReport",
            Kind::Alert { .. } => "VQAlertReport",
        };
        // Writing to a string does not fail.
        let _ = write!(out, "{first}\r\nCallID:{}\r\n", self.call_id);
        for (name, id) in
            [("LocalID", &self.local_id), ("RemoteID", &self.remote_id), ("OrigID", &self.local_id)]
        {
            if let Some(id) = id {
                let _ = write!(out, "{name}:{id}\r\n");
            }
        }
        address(&mut out, "LocalAddr", session.local, None);
        if let Some((remote, ssrc)) = session.remote {
            address(&mut out, "RemoteAddr", remote, ssrc);
        }
        out.push_str("LocalMetrics:\r\n");
        let _ = write!(out, "Timestamps:START={} STOP={}\r\n", session.start, session.stop);
        let _ = write!(out, "SessionDesc:PD={} SR={}\r\n", session.codec.0, session.codec.1);
        self.local.write(&mut out);
        if !self.remote.is_empty() {
            out.push_str("RemoteMetrics:\r\n");
            self.remote.write(&mut out);
        }
        out
    }
}

impl Metrics {
    fn write(&self, out: &mut String) {
        let loss = [("NLR", self.loss), ("JDR", self.discarded)];
        let bursts = [
            ("BLD", self.burst_density),
            ("BD", self.burst_ms),
            ("GLD", self.gap_density),
            ("GD", self.gap_ms),
        ];
        let delay = [("RTD", self.round_trip_ms), ("ESD", self.end_system_ms), ("IAJ", self.jitter_ms)];
        let scores = [("RLQ", self.r_lq), ("RCQ", self.r_cq), ("MOSLQ", self.mos_lq), ("MOSCQ", self.mos_cq)];
        let lines = [
            ("PacketLoss", &loss[..]),
            ("BurstGapLoss", &bursts[..]),
            ("Delay", &delay[..]),
            ("QualityEst", &scores[..]),
        ];
        for (name, fields) in lines {
            let mut known = fields.iter().filter_map(|(key, value)| Some((key, (*value)?))).peekable();
            if known.peek().is_none() {
                continue;
            }
            let _ = write!(out, "{name}:");
            for (n, (key, value)) in known.enumerate() {
                let gap = if n == 0 { "" } else { " " };
                let _ = write!(out, "{gap}{key}={}", rounded(value));
            }
            out.push_str("\r\n");
        }
    }
}

/// Two places, which is what the scores have.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn address(out: &mut String, name: &str, address: SocketAddr, ssrc: Option<u32>) {
    let _ = write!(out, "{name}:IP={} PORT={}", address.ip().to_canonical(), address.port());
    if let Some(ssrc) = ssrc {
        let _ = write!(out, " SSRC={ssrc:08x}");
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let local = Metrics {
            loss: Some(1.234_5),
            burst_density: Some(50.0),
            gap_density: Some(0.0),
            round_trip_ms: Some(40.0),
            jitter_ms: Some(2.25),
            mos_cq: Some(4.13),
            r_cq: Some(80.7),
            ..Metrics::default()
        };
        let report = VqReport {
            kind: Kind::Session { is_final: true },
            call_id: "a84b4c76e66710".into(),
            local_id: Some("<sip:segue@example.org>".into()),
            remote_id: Some("\"Alice\" <sip:alice@example.org>".into()),
            local,
            remote: Metrics { loss: Some(3.0), ..Metrics::default() },
        };
        let session = Session {
            local: "[2001:db8::1]:30000".parse().unwrap(),
            remote: Some(("192.0.2.7:4000".parse().unwrap(), Some(0xabc))),
            start: UnixMillis(1_000_000_000_000),
            stop: UnixMillis(1_000_000_065_000),
            codec: ("PCMU", 8000),
        };
        let text = report.write(&session);
        let wanted = "VQSessionReport: CallTerm\r\nCallID:a84b4c76e66710\r\n\
            LocalID:<sip:segue@example.org>\r\nRemoteID:\"Alice\" <sip:alice@example.org>\r\n\
            OrigID:<sip:segue@example.org>\r\nLocalAddr:IP=2001:db8::1 PORT=30000\r\n\
            RemoteAddr:IP=192.0.2.7 PORT=4000 SSRC=00000abc\r\nLocalMetrics:\r\n\
            Timestamps:START=2001-09-09T01:46:40.000Z STOP=2001-09-09T01:47:45.000Z\r\n\
            SessionDesc:PD=PCMU SR=8000\r\nPacketLoss:NLR=1.23\r\nBurstGapLoss:BLD=50 GLD=0\r\n\
            Delay:RTD=40 IAJ=2.25\r\nQualityEst:RCQ=80.7 MOSCQ=4.13\r\nRemoteMetrics:\r\nPacketLoss:NLR=3\r\n";
        assert_eq!(text, wanted);
        let read = VqReport::read(text.as_bytes()).unwrap();
        assert_eq!(read.local, Metrics { loss: Some(1.23), ..report.local });
        assert_eq!((read.kind, read.call_id, read.remote), (report.kind, report.call_id, report.remote));
    }
}
