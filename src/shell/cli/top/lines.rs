//! The head of the screen as words, and a whole look as plain lines.

use std::io::{self, Write};

use super::super::output::printable;
use super::sample::Sample;
use super::screen::{Tab, rows};

/// The lines above the list.
pub(super) fn head(sample: &Sample) -> Vec<String> {
    let (status, rates) = (&sample.status, &sample.rates);
    let state = if status.draining { "draining" } else { "running" };
    let lost = rates.rtp_lost / (rates.rtp_in + rates.rtp_lost).max(1.0) * 100.0;
    let up = sample.trunks.iter().filter(|trunk| trunk.state != "down").count();
    let lines = [
        format!(
            "{} ({})  {state}  up {}  segue {}  store {}",
            status.node,
            status.domain,
            length(status.uptime_s),
            status.version,
            status.store
        ),
        format!(
            "calls    {} answered, {} ringing   {:.1} answers/s, {:.1} INVITE/s   {} moves, {} transcoded",
            status.calls_answered,
            status.calls_ringing,
            rates.answered,
            rates.invites,
            status.moves,
            status.calls_transcoded
        ),
        format!(
            "signal   {:.1} requests/s   {:.1} wrong credentials/s   {} registrations, {} users",
            rates.requests, rates.auth_failures, status.registrations, status.users
        ),
        format!(
            "media    {:.0} packets/s in, {:.0} out   {lost:.2} % lost, {:.0}/s dropped   ports {} used, {} free",
            rates.rtp_in, rates.rtp_out, rates.rtp_dropped, status.ports_used, status.ports_free
        ),
        format!(
            "process  {:.1} % of a core   {:.0} MB   trunks {up} of {} not down",
            rates.cpu_percent,
            rates.memory_bytes / 1e6,
            sample.trunks.len()
        ),
    ];
    lines.map(|line| printable(&line)).into()
}

/// Days and hours as people say them.
fn length(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}

/// A look, without a word to the terminal.
pub(super) fn print(sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
    for line in head(sample) {
        writeln!(out, "{line}")?;
    }
    for tab in [Tab::Calls, Tab::Trunks] {
        let rows = rows(sample, tab);
        if rows.is_empty() {
            continue;
        }
        writeln!(out)?;
        if let Some(part) = sample.part(tab) {
            writeln!(out, "{}: {part}", tab.title())?;
        }
        for line in columns(tab.headings(), &rows) {
            writeln!(out, "{line}")?;
        }
    }
    writeln!(out)
}

/// How wide each column is.
pub(super) fn widths(headings: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize, heading: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).chain([heading.chars().count()]).max().unwrap_or(0)
    };
    headings.iter().enumerate().map(|(column, heading)| width(column, heading)).collect()
}

/// Headings and rows, lined up.
fn columns(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let widths = widths(headings, rows);
    let first: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&first).chain(rows).map(line).collect()
}
