//! What the demonstration saw, for people and for programs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::shell::phone::Phone;

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// One thing that had to be seen.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    label: String,
    good: bool,
    detail: String,
}

impl Finding {
    pub(super) fn of(label: &str, good: bool, detail: String) -> Self {
        Self { label: label.to_owned(), good, detail }
    }

    pub(super) fn seen(label: &str) -> Self {
        Self::of(label, true, String::new())
    }

    /// The play could not go on.
    pub(super) fn missing(detail: String) -> Self {
        Self::of("the play came to its end", false, detail)
    }
}

/// The whole outcome.
#[derive(Debug)]
pub(super) struct Report {
    node: SocketAddr,
    timeline: Vec<(Duration, String)>,
    gaps: Vec<(String, Duration)>,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(node: SocketAddr) -> Self {
        Self { node, timeline: Vec::new(), gaps: Vec::new(), findings: Vec::new() }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn gap(&mut self, label: &str, gap: Duration) {
        self.gaps.push((label.to_owned(), gap));
    }

    /// Merges what the phones saw, without the messages that say nothing to a reader.
    pub(super) fn timeline(&mut self, phones: [&Phone; 3], zero: Instant) {
        let plain = |line: &str| !line.contains(" ACK ") && !line.contains(" 100 Trying");
        let lines = phones.into_iter().flat_map(|phone| phone.log().ladder(zero));
        self.timeline = lines.filter(|(_, line)| plain(line)).collect();
        self.timeline.sort();
    }

    /// Whether all was seen that had to be, both moves among it.
    pub(super) fn is_success(&self) -> bool {
        self.gaps.len() == 2 && self.findings.iter().all(|finding| finding.good)
    }

    pub(super) fn print(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => format!("{:#}\n", self.json()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "segue demo: a node at {}, alice's desk and mobile, and bob\n\ntimeline (seconds)\n",
            self.node
        );
        for (at, line) in &self.timeline {
            let _ = writeln!(text, "{:8.3}  {line}", at.as_secs_f64());
        }
        text.push_str("\nwhat was seen\n");
        for finding in &self.findings {
            let mark = if finding.good { "ok  " } else { "FAIL" };
            let detail =
                if finding.detail.is_empty() { String::new() } else { format!("  ({})", finding.detail) };
            let _ = writeln!(text, "  {mark} {}{detail}", finding.label);
        }
        text.push_str("\ngap at bob's packet clock, last packet of the old handset to first of the new\n");
        for (label, gap) in &self.gaps {
            let _ = writeln!(text, "  {label}: {:.1} ms", gap.as_secs_f64() * 1000.0);
        }
        let verdict = if self.is_success() {
            "the call moved there and back, and bob noticed nothing"
        } else {
            "FAILED"
        };
        let _ = writeln!(text, "\nverdict: {verdict}");
        text
    }

    fn json(&self) -> serde_json::Value {
        let milliseconds = |duration: &Duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0;
        let gap = |(label, gap): &(String, Duration)| json!({"move": label, "gap_ms": milliseconds(gap)});
        let finding =
            |finding: &Finding| json!({"what": finding.label, "ok": finding.good, "detail": finding.detail});
        let line = |(at, line): &(Duration, String)| json!({"at_ms": milliseconds(at), "what": line});
        json!({
            "success": self.is_success(),
            "gaps": self.gaps.iter().map(gap).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "timeline": self.timeline.iter().map(line).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("127.0.0.1:5060".parse().unwrap());
        report.add(Finding::seen("desk and bob talk"));
        report.gap("desk to mobile", Duration::from_micros(21_340));
        report
    }

    #[test]
    fn success_needs_both_moves_and_every_finding() {
        let mut report = report();
        assert!(!report.is_success());
        report.gap("mobile back to desk", Duration::from_millis(19));
        assert!(report.is_success());
        report.add(Finding::missing("bob is deaf".to_owned()));
        assert!(!report.is_success());
        assert!(report.print(Format::Text).contains("FAIL the play came to its end  (bob is deaf)"));
    }

    #[test]
    fn both_forms_say_the_gap() {
        let report = report();
        assert!(report.print(Format::Text).contains("desk to mobile: 21.3 ms"));
        let json: serde_json::Value = serde_json::from_str(&report.print(Format::Json)).unwrap();
        assert_eq!(json["gaps"][0]["gap_ms"], 21.3);
        assert_eq!(json["success"], false);
    }
}
