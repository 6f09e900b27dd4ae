//! `segue reload`: what another configuration changes.

use super::ask::Asking;
use super::failure::Failure;
use super::output::{Format, Table, printable};
use crate::engine::ReloadView;
use crate::engine::command::{Command, Reply};

const HEADINGS: &[&str] = &["WHAT", "LINE"];

/// Has the node read its configuration, and prints what that changes.
pub(super) async fn reload(asking: &mut Asking<'_>, dry_run: bool) -> Result<(), Failure> {
    let Reply::Reload(view) = asking.ask(Command::Reload { dry_run }).await? else {
        return Err(Failure::misfit());
    };
    if asking.format == Format::Table {
        for line in text(&view) {
            writeln!(asking.out, "{}", printable(&line))?;
        }
    } else {
        let of = |what: &'static str, lines: &[String]| {
            lines.iter().map(|line| vec![what.to_owned(), line.clone()]).collect::<Vec<_>>()
        };
        let rows =
            [of("change", &view.changes), of("restart", &view.restart), of("note", &view.notes)].concat();
        asking.print(&Table { headings: HEADINGS, rows }, &view)?;
    }
    if view.restart.is_empty() {
        return Ok(());
    }
    let (waits, verb) = match view.restart.len() {
        1 => ("1 change".to_owned(), "waits"),
        count => (format!("{count} changes"), "wait"),
    };
    Err(Failure::half_done(format!("{waits} {verb} for a restart of the node")))
}

fn text(view: &ReloadView) -> Vec<String> {
    let mut lines = view.changes.clone();
    lines.extend(view.restart.iter().map(|line| format!("restart needed: {line}")));
    lines.extend(view.notes.iter().map(|line| format!("note: {line}")));
    lines.push(match (view.changes.len(), view.applied) {
        (0, _) => "There is nothing to apply.".to_owned(),
        (_, false) => "Nothing was applied: this was a dry run.".to_owned(),
        (1, true) => "Applied: 1 change.".to_owned(),
        (count, true) => format!("Applied: {count} changes."),
    });
    lines
}
