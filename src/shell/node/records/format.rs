//! How a call record is written: JSON lines, CSV, and the `Master.csv` of Asterisk's cdr_csv.

use std::fmt::Write as _;

use serde_json::Value;

use crate::base::UnixMillis;
use crate::call::record::{CallRecord, Direction, Disposition, HangupBy};
use crate::config::CdrFormat;

/// The columns of CSV: the fields of the record by their names, and the devices of its segments. New ones come last.
const COLUMNS: [&str; 30] = [
    "id",
    "sip_call_id",
    "direction",
    "from",
    "to",
    "user",
    "transferred_by",
    "first_device",
    "last_device",
    "trunk",
    "start",
    "ring",
    "answer",
    "end",
    "disposition",
    "sip_code",
    "hangup_by",
    "codecs",
    "srtp",
    "transports",
    "user_agents",
    "moves",
    "mos_min",
    "loss",
    "jitter",
    "node",
    "run",
    "devices",
    "trunk_from",
    "trunk_to",
];
/// Those that are times.
const TIMES: [&str; 4] = ["start", "ring", "answer", "end"];

impl CdrFormat {
    /// Its name in the configuration and in the store.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Asterisk => "asterisk",
        }
    }

    /// Its file in the data directory.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::JsonLines => "cdr.jsonl",
            Self::Csv => "cdr.csv",
            Self::Asterisk => "Master.csv",
        }
    }

    /// What a new file begins with.
    pub(super) fn header(self) -> String {
        match self {
            Self::Csv => COLUMNS.join(",") + "\n",
            Self::JsonLines | Self::Asterisk => String::new(),
        }
    }

    /// A record as one line, with its end.
    pub(super) fn line(self, record: &CallRecord) -> String {
        let mut line = match self {
            // Nothing in a record cannot be JSON.
            Self::JsonLines => serde_json::to_string(record).unwrap_or_default(),
            Self::Csv => csv(record),
            Self::Asterisk => asterisk(record),
        };
        line.push('\n');
        line
    }
}

fn csv(record: &CallRecord) -> String {
    let fields = serde_json::to_value(record).unwrap_or_default();
    let devices = record.segments.iter().map(|segment| segment.device.as_str()).collect();
    let mut line = String::with_capacity(512);
    for (at, column) in COLUMNS.iter().enumerate() {
        if at > 0 {
            line.push(',');
        }
        let value = if *column == "devices" { &devices } else { fields.get(column).unwrap_or(&Value::Null) };
        let text = match value.as_u64().filter(|_| TIMES.contains(column)) {
            Some(ms) => UnixMillis(ms).to_string(),
            None => plain(value),
        };
        push_field(&mut line, &harmless(&text));
    }
    line
}

/// A value as text; the items of a list with `|` between them, which in an item becomes `/`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| plain(item).replace('|', "/")).collect();
            items.join("|")
        }
        other => other.to_string(),
    }
}

/// One record is one line: what is no character of a line becomes a space.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text that a spreadsheet would take for a formula gets an apostrophe before it. Callers choose what is in a number,
/// and a formula can send a sheet away. `+4930123` is a number to a spreadsheet, and stays.
fn harmless(text: &str) -> String {
    let mut chars = text.trim_start().chars();
    let is_formula = match chars.next() {
        Some('=' | '@') => true,
        Some('+' | '-') => !chars.all(|c| c.is_ascii_digit() || c == '.'),
        _ => false,
    };
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

/// RFC 4180: in quotes where it must be.
fn push_field(line: &mut String, text: &str) {
    if text.contains([',', '"']) || text.starts_with(' ') || text.ends_with(' ') {
        let _ = write!(line, "\"{}\"", text.replace('"', "\"\""));
    } else {
        line.push_str(text);
    }
}

/// The columns of cdr_csv with `loguniqueid` and `loguserfield`, its quotes, and its times with `usegmtime`.
fn asterisk(record: &CallRecord) -> String {
    let caller = record.segments.first().map(|segment| segment.device.as_str());
    let (from, to) = parties(record, caller);
    let disposition = match record.disposition {
        Disposition::Answered => "ANSWERED",
        Disposition::Busy => "BUSY",
        Disposition::NoAnswer | Disposition::Cancelled => "NO ANSWER",
        Disposition::Failed => "FAILED",
    };
    let seconds = |from: Option<UnixMillis>| {
        record.end.zip(from).map_or(0, |(end, from)| end.0.saturating_sub(from.0) / 1000).to_string()
    };
    let quoted = |text: &str| format!("\"{}\"", one_line(text).replace('"', "\"\""));
    let time = |at: Option<UnixMillis>| at.map_or_else(String::new, |at| quoted(&stamp(at)));
    let hangup = match record.hangup_by {
        Some(HangupBy::Caller) => "caller",
        Some(HangupBy::Callee) => "callee",
        Some(HangupBy::System) => "system",
        None => "",
    };
    let user_field = format!(
        "moves={};last={};hangup={hangup};code={}",
        record.moves,
        record.last_device.as_deref().unwrap_or_default(),
        record.sip_code
    );
    let direction = serde_json::to_value(record.direction).unwrap_or_default();
    [
        quoted(record.user.as_deref().unwrap_or_default()),
        quoted(&record.from),
        quoted(&record.to),
        quoted(direction.as_str().unwrap_or_default()),
        quoted(&record.from),
        quoted(&from),
        quoted(&to),
        quoted("Dial"),
        quoted(&record.to),
        time(Some(record.start)),
        time(record.answer),
        time(record.end),
        seconds(Some(record.start)),
        seconds(record.answer),
        quoted(disposition),
        quoted("DOCUMENTATION"),
        quoted(&record.id),
        quoted(&user_field),
    ]
    .join(",")
}

/// What stands for the channels of caller and callee: the devices or the trunk that they began with.
fn parties(record: &CallRecord, first: Option<&str>) -> (String, String) {
    let tail = record.id.get(record.id.len().saturating_sub(8)..).unwrap_or_default();
    let channel = |name: Option<&str>| name.map_or_else(String::new, |name| format!("SIP/{name}-{tail}"));
    // The segments of those who were there at the answer come first: the caller's, then the callee's.
    let second = record.segments.get(1).filter(|segment| segment.trigger.is_none());
    let second = second.map(|segment| segment.device.as_str());
    let trunk = record.trunk.as_deref();
    match record.direction {
        Direction::Inbound => (channel(trunk), channel(first)),
        Direction::Outbound => (channel(first.or(Some(&record.from))), channel(trunk)),
        Direction::Internal => (channel(first.or(Some(&record.from))), channel(second)),
    }
}

/// `2026-11-27 08:06:03`, UTC.
fn stamp(at: UnixMillis) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or_default().replace('T', " ")
}
