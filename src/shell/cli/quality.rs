//! How a live call sounds.

use super::ask::Asking;
use super::failure::Failure;
use super::output::{Format, Table, or_dash};
use crate::engine::command::{Command, Reply};
use crate::engine::view::{QualityView, StreamView};

const STREAM: &[&str] = &[
    "FROM",
    "PARTY",
    "PACKETS",
    "LOSS %",
    "BURSTS",
    "TWICE",
    "LATE",
    "JITTER MS",
    "ROUND TRIP MS",
    "MOS",
    "HEARS LOSS %",
    "HEARS JITTER MS",
    "HEARS MOS",
];

impl Asking<'_> {
    /// A row for what each party sends; in its last columns what it says of what it gets.
    pub(super) async fn quality(&mut self, call: Box<str>) -> Result<(), Failure> {
        let Reply::Quality(view) = self.ask(Command::ShowQuality { call }).await? else {
            return Err(Failure::misfit());
        };
        let rows = view.streams.iter().map(row).collect();
        self.print(&Table { headings: STREAM, rows }, &*view)?;
        if self.format == Format::Table
            && let Some(remark) = remark(&view)
        {
            writeln!(self.out, "\n{remark}")?;
        }
        Ok(())
    }
}

fn remark(view: &QualityView) -> Option<String> {
    let nothing =
        "Sound of this call does not run through this node, or it is not answered, or is being moved.";
    let silent = |role: &String| format!("One-way audio: nothing comes from the {role}.");
    view.silent.as_ref().map(silent).or_else(|| view.streams.is_empty().then(|| nothing.to_owned()))
}

fn row(stream: &StreamView) -> Vec<String> {
    let number =
        |value: Option<f64>, places: usize| or_dash(value.map(|v| format!("{v:.places$}")).as_deref());
    let percent = |share: Option<f64>| number(share.map(|share| share * 100.0), 2);
    let party = stream.user.as_ref().map(|user| match &stream.device {
        Some(device) => format!("{user}*{device}"),
        None => user.clone(),
    });
    let hears = stream.hears.as_ref();
    vec![
        stream.role.clone(),
        or_dash(party.as_deref()),
        stream.expected.to_string(),
        percent(stream.loss),
        stream.bursts.to_string(),
        stream.duplicates.to_string(),
        stream.reordered.to_string(),
        number(stream.jitter_ms, 1),
        number(stream.round_trip_ms, 1),
        number(stream.mos, 2),
        percent(hears.and_then(|hears| hears.loss)),
        number(hears.and_then(|hears| hears.jitter_ms), 1),
        number(hears.and_then(|hears| hears.mos), 1),
    ]
}
