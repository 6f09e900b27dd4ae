//! `segue report`: what the calls of a test run came to.

use std::path::Path;

use super::ask::Asking;
use super::failure::Failure;
use super::output::{Format, Table};
use crate::engine::command::{Command, Reply};
use crate::shell::report;

/// Prints the report, and draws it where a file is named.
pub(super) async fn show(asking: &mut Asking<'_>, run: Box<str>, svg: Option<&Path>) -> Result<(), Failure> {
    let Reply::Report(found) = asking.ask(Command::ShowReport { run }).await? else {
        return Err(Failure::misfit());
    };
    if let Some(path) = svg {
        let failed = |error| Failure::general(format!("cannot write {}: {error}", path.display()));
        std::fs::write(path, report::svg(&found)).map_err(failed)?;
    }
    let mut rows = report::rows(&found);
    if asking.format == Format::Table {
        rows.iter_mut().flatten().filter(|cell| cell.is_empty()).for_each(|cell| cell.push('-'));
    }
    asking.print(&Table { headings: report::HEADINGS, rows }, &found)
}
