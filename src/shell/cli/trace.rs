//! `segue trace`: the messages of a call as a ladder, as JSON, as rows, as a capture.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::ask::Asking;
use super::failure::Failure;
use super::options;
use super::output::{Format, Table, or_dash};
use crate::engine::command::{Command, Reply};
use crate::engine::trace::{TraceView, Way};
use crate::shell::trace::{Charset, ladder, pcap};

/// Columns where there is no terminal to ask.
const COLUMNS: u16 = 120;

pub(super) async fn trace(asking: &mut Asking<'_>, wanted: options::Trace) -> Result<(), Failure> {
    let Reply::Trace(view) = asking.ask(Command::ShowTrace { call: wanted.call }).await? else {
        return Err(Failure::misfit());
    };
    if let Some(file) = &wanted.write {
        return write(asking, file, &view);
    }
    if asking.format == Format::Table {
        let width = wanted.width.or_else(columns).unwrap_or(COLUMNS);
        asking.out.write_all(ladder(&view, usize::from(width), charset()).as_bytes())?;
        return Ok(());
    }
    let rows = view.messages.iter().map(|message| {
        let party = view.parties.get(message.party).map(|party| party.name.as_str());
        vec![
            message.time.0.to_string(),
            message.offset_us.to_string(),
            or_dash(party),
            if message.way == Way::In { "in" } else { "out" }.into(),
            message.transport.clone(),
            message.local.clone(),
            message.peer.clone(),
            message.method.clone(),
            message.status.map_or_else(|| "-".into(), |status| status.to_string()),
            or_dash(message.sdp.as_deref()),
        ]
    });
    asking.print(&Table { headings: MESSAGE, rows: rows.collect() }, &*view)
}

const MESSAGE: &[&str] =
    &["TIME", "OFFSET US", "PARTY", "WAY", "TRANSPORT", "LOCAL", "PEER", "METHOD", "STATUS", "SDP"];

/// Who was called, and when, is nobody else's business: the file is its owner's.
fn write(asking: &mut Asking<'_>, file: &Path, view: &TraceView) -> Result<(), Failure> {
    let bytes = pcap(view);
    if file == Path::new("-") {
        return Ok(asking.out.write_all(&bytes)?);
    }
    let failed = |error| Failure::general(format!("{}: {error}", file.display()));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    opened.and_then(|mut opened| opened.write_all(&bytes)).map_err(failed)?;
    asking.say(&format!("{} messages are in {}.", view.messages.len(), file.display()))
}

/// The columns of the terminal on standard output.
fn columns() -> Option<u16> {
    if let Some(columns) = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()) {
        return Some(columns).filter(|columns| *columns >= 20);
    }
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes a `winsize` to where the pointer says, and that is one.
    #[expect(unsafe_code, reason = "the standard library has no call for the size of a terminal")]
    let outcome = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (outcome == 0 && size.ws_col >= 20).then_some(size.ws_col)
}

/// Whether the locale has more than ASCII.
fn charset() -> Charset {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { Charset::Unicode } else { Charset::Ascii }
}
