//! Voice quality reports of phones: `application/vq-rtcpxr` (RFC 6035 4.6), read with caps.
//!
//! Lines that are not known are skipped, and numbers that make no sense are left out: phones write what they like
//! there, and one odd value must not cost the others. What names the call must be there.

mod write;

pub use write::Session;

/// The event package.
pub const PACKAGE: &str = "vq-rtcpxr";
/// The media type of its bodies.
pub const CONTENT_TYPE: &str = "application/vq-rtcpxr";

/// The largest body that is read; a whole report has two kilobytes.
const MAX_BYTES: usize = 16 * 1024;
/// The most lines.
const MAX_LINES: usize = 256;
/// Longest Call-ID, and longest identity that is kept.
const MAX_TEXT: usize = 256;

/// What a phone reports of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct VqReport {
    /// When in the call.
    pub kind: Kind,
    /// The Call-ID of the phone's dialog.
    pub call_id: Box<str>,
    /// Who reports.
    pub local_id: Option<Box<str>>,
    /// Whom it talks with.
    pub remote_id: Option<Box<str>>,
    /// What came in at the phone.
    pub local: Metrics,
    /// What the other end told the phone (RFC 3611); all empty where it told nothing.
    pub remote: Metrics,
}

/// When a report is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At the end, or when the session changed.
    Session {
        /// Whether the call is over.
        is_final: bool,
    },
    /// Every now and then.
    Interval,
    /// A value crossed a limit.
    Alert {
        /// Which value, as the phone says it: `NLR`, `MOSLQ`, …
        what: Option<Box<str>>,
        /// `Critical`, `Warning`, `Clear`.
        severity: Option<Box<str>>,
    },
}

impl Kind {
    /// A word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Session { .. } => "session",
            Self::Interval => "interval",
            Self::Alert { .. } => "alert",
        }
    }
}

/// What was measured of one direction (RFC 6035 4.6.2); what was not is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// NLR: packets lost in the network, %.
    pub loss: Option<f64>,
    /// JDR: packets that came too late to be played, %.
    pub discarded: Option<f64>,
    /// BLD: loss and discard within bursts, %.
    pub burst_density: Option<f64>,
    /// BD: mean length of bursts, ms.
    pub burst_ms: Option<f64>,
    /// GLD: loss and discard between bursts, %.
    pub gap_density: Option<f64>,
    /// GD: mean length of what is between, ms.
    pub gap_ms: Option<f64>,
    /// RTD: round trip, ms.
    pub round_trip_ms: Option<f64>,
    /// ESD: delay of the end system, ms.
    pub end_system_ms: Option<f64>,
    /// IAJ: jitter (RFC 3550), ms.
    pub jitter_ms: Option<f64>,
    /// MOSLQ: mean opinion score for listening, 1 to 5.
    pub mos_lq: Option<f64>,
    /// MOSCQ: for conversation.
    pub mos_cq: Option<f64>,
    /// RLQ: R factor for listening, 0 to 120.
    pub r_lq: Option<f64>,
    /// RCQ: for conversation.
    pub r_cq: Option<f64>,
}

/// Why a body is not read. Such a request is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// More than 16 KiB or 256 lines.
    #[error("quality report too long")]
    TooLong,
    /// Not UTF-8.
    #[error("quality report is no text")]
    NotText,
    /// It does not begin with VQSessionReport, VQIntervalReport or VQAlertReport.
    #[error("no quality report")]
    NoReport,
    /// Nothing says of which call it is.
    #[error("quality report without a CallID")]
    NoCallId,
}

impl VqReport {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ReadError`]; see the head of the file for what is none.
    pub fn read(body: &[u8]) -> Result<Self, ReadError> {
        if body.len() > MAX_BYTES {
            return Err(ReadError::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| ReadError::NotText)?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let kind = lines.next().and_then(kind).ok_or(ReadError::NoReport)?;
        let (mut call_id, mut local_id, mut remote_id) = (None, None, None);
        let (mut local, mut remote) = (Metrics::default(), Metrics::default());
        let mut is_remote = false;
        for (n, line) in lines.enumerate() {
            if n >= MAX_LINES {
                return Err(ReadError::TooLong);
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim_end(), value.trim());
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("CallID") {
                call_id = call_id.or_else(|| text_of(value));
            } else if is("LocalID") {
                local_id = local_id.or_else(|| text_of(value));
            } else if is("RemoteID") {
                remote_id = remote_id.or_else(|| text_of(value));
            } else if is("LocalMetrics") {
                is_remote = false;
            } else if is("RemoteMetrics") {
                is_remote = true;
            } else {
                let metrics = if is_remote { &mut remote } else { &mut local };
                metrics.read(name, value);
            }
        }
        let call_id = call_id.ok_or(ReadError::NoCallId)?;
        Ok(Self { kind, call_id, local_id, remote_id, local, remote })
    }
}

impl Metrics {
    /// Whether anything was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A line of metrics: `PacketLoss:NLR=5.0 JDR=2.0`.
    fn read(&mut self, name: &str, value: &str) {
        const PERCENT: (f64, f64) = (0.0, 100.0);
        // The fields are 16 bits wide in RFC 3611.
        const MS: (f64, f64) = (0.0, 65_535.0);
        const MOS: (f64, f64) = (1.0, 5.0);
        const R: (f64, f64) = (0.0, 120.0);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let fields: &mut [(&str, &mut Option<f64>, (f64, f64))] = if is("PacketLoss") {
            &mut [("NLR", &mut self.loss, PERCENT), ("JDR", &mut self.discarded, PERCENT)]
        } else if is("BurstGapLoss") {
            &mut [
                ("BLD", &mut self.burst_density, PERCENT),
                ("BD", &mut self.burst_ms, MS),
                ("GLD", &mut self.gap_density, PERCENT),
                ("GD", &mut self.gap_ms, MS),
            ]
        } else if is("Delay") {
            &mut [
                ("RTD", &mut self.round_trip_ms, MS),
                ("ESD", &mut self.end_system_ms, MS),
                ("IAJ", &mut self.jitter_ms, MS),
            ]
        } else if is("QualityEst") {
            &mut [
                ("MOSLQ", &mut self.mos_lq, MOS),
                ("MOSCQ", &mut self.mos_cq, MOS),
                ("RLQ", &mut self.r_lq, R),
                ("RCQ", &mut self.r_cq, R),
            ]
        } else {
            return;
        };
        for word in value.split_ascii_whitespace() {
            let Some((key, number)) = word.split_once('=') else { continue };
            let Some((_, field, range)) =
                fields.iter_mut().find(|(known, ..)| known.eq_ignore_ascii_case(key))
            else {
                continue;
            };
            // What is no number, infinity among it, is in no range.
            let number = number.parse::<f64>().ok();
            **field = number.filter(|number| (range.0..=range.1).contains(number));
        }
    }
}

/// The first line: `VQSessionReport: CallTerm`, `VQIntervalReport`, `VQAlertReport: Type=NLR Severity=Critical …`.
fn kind(line: &str) -> Option<Kind> {
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    let name = name.trim_end();
    if name.eq_ignore_ascii_case("VQSessionReport") {
        return Some(Kind::Session { is_final: rest.trim().eq_ignore_ascii_case("CallTerm") });
    }
    if name.eq_ignore_ascii_case("VQIntervalReport") {
        return Some(Kind::Interval);
    }
    if !name.eq_ignore_ascii_case("VQAlertReport") {
        return None;
    }
    let value = |key: &str| {
        let words = rest.split(|c: char| c.is_ascii_whitespace() || c == ',');
        words.filter_map(|word| word.split_once('=')).find(|(known, _)| known.eq_ignore_ascii_case(key))
    };
    let word = |key| value(key).and_then(|(_, word)| text_of(word));
    Some(Kind::Alert { what: word("Type"), severity: word("Severity") })
}

/// Text that is kept: not empty, not longer than sense.
fn text_of(value: &str) -> Option<Box<str>> {
    (!value.is_empty() && value.len() <= MAX_TEXT).then(|| value.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// After RFC 6035 5.1.
    pub(crate) const EXAMPLE: &str = "VQSessionReport: CallTerm\r\nCallID: 6dg37f1890463\r\n\
        LocalID: Alice <sip:alice@example.org>\r\nRemoteID: Bill <sip:bill@example.net>\r\n\
        OrigID: Alice <sip:alice@example.org>\r\nLocalGroup: example-phone-55671\r\n\
        LocalAddr: IP=10.10.1.100 PORT=5000 SSRC=1a3b5c7d\r\nLocalMAC: 00:1f:5b:cc:21:0f\r\n\
        RemoteAddr: IP=11.1.1.150 PORT=5002 SSRC=0x2468abcd\r\nLocalMetrics:\r\n\
        Timestamps:START=2004-10-10T18:23:43Z STOP=2004-10-01T18:26:02Z\r\n\
        SessionDesc:PT=18 PD=G729 SR=8000 FD=20 FO=20 FPP=2 PPS=50 FMTP=\"annexb=no\" PLC=3 SSUP=on\r\n\
        JitterBuffer:JBA=3 JBR=2 JBN=40 JBM=80 JBX=120\r\nPacketLoss:NLR=5.0 JDR=2.0\r\n\
        BurstGapLoss:BLD=0 BD=0 GLD=2.0 GD=500 GMIN=16\r\nDelay:RTD=200 ESD=140 SOWD=200 IAJ=2 MAJ=10\r\n\
        Signal:SL=-18 NL=-50 RERL=55\r\n\
        QualityEst:RLQ=90 RCQ=85 EXTRI=90 MOSLQ=4.2 MOSCQ=4.3 QoEEstAlg=P.564\r\nRemoteMetrics:\r\n\
        PacketLoss:NLR=3.0 JDR=2.0\r\nDelay:RTD=200 ESD=140\r\nQualityEst:MOSLQ=4.0\r\n\
        DialogID:1890463548@alice.example.org;to-tag=8472761;from-tag=9123dh311\r\n";

    #[test]
    fn the_example_is_read() {
        let report = VqReport::read(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(
            (report.kind.clone(), &*report.call_id),
            (Kind::Session { is_final: true }, "6dg37f1890463")
        );
        assert_eq!(report.local_id.as_deref(), Some("Alice <sip:alice@example.org>"));
        assert_eq!(report.remote_id.as_deref(), Some("Bill <sip:bill@example.net>"));
        let local = report.local;
        assert_eq!((local.loss, local.discarded), (Some(5.0), Some(2.0)));
        assert_eq!(
            (local.burst_density, local.gap_density, local.gap_ms),
            (Some(0.0), Some(2.0), Some(500.0))
        );
        assert_eq!(
            (local.round_trip_ms, local.end_system_ms, local.jitter_ms),
            (Some(200.0), Some(140.0), Some(2.0))
        );
        assert_eq!(
            (local.mos_lq, local.mos_cq, local.r_lq, local.r_cq),
            (Some(4.2), Some(4.3), Some(90.0), Some(85.0))
        );
        assert_eq!(
            (report.remote.loss, report.remote.mos_lq, report.remote.mos_cq),
            (Some(3.0), Some(4.0), None)
        );
    }

    #[test]
    fn the_three_kinds_are_told_apart() {
        let kind =
            |first: &str| VqReport::read(format!("{first}\nCallID:x\n").as_bytes()).map(|report| report.kind);
        assert_eq!(kind("VQSessionReport"), Ok(Kind::Session { is_final: false }));
        assert_eq!(kind("vqsessionreport : callterm"), Ok(Kind::Session { is_final: true }));
        assert_eq!(kind("VQIntervalReport"), Ok(Kind::Interval));
        let alert = Kind::Alert { what: Some("MOSLQ".into()), severity: Some("Critical".into()) };
        assert_eq!(kind("VQAlertReport: Type=MOSLQ Severity=Critical Dir=local"), Ok(alert.clone()));
        assert_eq!(kind("VQAlertReport:Type=MOSLQ,Severity=Critical"), Ok(alert));
        assert_eq!(kind("VQAlertReport"), Ok(Kind::Alert { what: None, severity: None }));
        assert_eq!(kind("CallID:y"), Err(ReadError::NoReport));
    }

    #[test]
    fn odd_values_are_left_out_and_cost_no_other() {
        let text = "VQIntervalReport\nCallID: x\nCallID: y\nX-Vendor: NLR=1\nnonsense\n\
                    PacketLoss: NLR=101 JDR=nan BLD=1 NLR\nDelay:RTD=-1 ESD=1e400 IAJ=7\n\
                    QualityEst:MOSLQ=127 MOSCQ=4,1 RLQ=93 RCQ=inf\n";
        let report = VqReport::read(text.as_bytes()).unwrap();
        assert_eq!(&*report.call_id, "x");
        let wanted = Metrics { jitter_ms: Some(7.0), r_lq: Some(93.0), ..Metrics::default() };
        assert_eq!(report.local, wanted);
        assert!(report.remote.is_empty());
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for (body, why) in [
            (&b""[..], ReadError::NoReport),
            (b"\r\n\r\n", ReadError::NoReport),
            (b"v=0\r\n", ReadError::NoReport),
            (b"VQSessionReport\r\nPacketLoss:NLR=1\r\n", ReadError::NoCallId),
            (b"VQSessionReport\r\nCallID:\r\n", ReadError::NoCallId),
            (b"VQSessionReport\r\nCallID: \xff\r\n", ReadError::NotText),
        ] {
            assert_eq!(VqReport::read(body), Err(why), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(VqReport::read(&[b'x'; MAX_BYTES + 1]), Err(ReadError::TooLong));
        let many = format!("VQSessionReport\nCallID: x\n{}", "a:b\n".repeat(300));
        assert_eq!(VqReport::read(many.as_bytes()), Err(ReadError::TooLong));
        let long = format!("VQSessionReport\nCallID: {}\n", "x".repeat(MAX_TEXT + 1));
        assert_eq!(VqReport::read(long.as_bytes()), Err(ReadError::NoCallId));
    }

    #[test]
    fn no_mutation_of_a_report_makes_it_panic_and_every_number_stays_in_its_range() {
        let mut random = crate::base::Random::from_number(35);
        for _ in 0..20_000 {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            for _ in 0..=random.bits() % 6 {
                if bytes.is_empty() {
                    break;
                }
                let at = random.bits() as usize % bytes.len();
                match random.bits() % 4 {
                    0 => bytes[at] = random.bits() as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b":=\r\n 9e-.,"[random.bits() as usize % 10]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let Ok(report) = VqReport::read(&bytes) else { continue };
            assert!(report.call_id.len() <= MAX_TEXT && !report.call_id.is_empty());
            for metrics in [report.local, report.remote] {
                assert!(metrics.loss.is_none_or(|loss| (0.0..=100.0).contains(&loss)));
                assert!(metrics.mos_lq.is_none_or(|mos| (1.0..=5.0).contains(&mos)));
                assert!(metrics.round_trip_ms.is_none_or(|ms| (0.0..=65_535.0).contains(&ms)));
            }
        }
    }
}
