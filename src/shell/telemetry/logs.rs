//! Logs: one line per event on standard error, for people or as JSON.
//!
//! Whatever a peer puts into a field, an event stays one line. Addresses, numbers and names come here only through
//! the redacting types of `base`.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, message, fields.
    #[default]
    Human,
    /// One object per line.
    Json,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter `{filter}` cannot be used: {why} (write a level, or `info,segue::engine=debug`)")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else set them up.
    #[error("logs are already set up")]
    Twice,
}

/// Starts logs on standard error. `filter` is a level (`debug`) or directives (`info,segue::engine=debug`).
///
/// # Errors
/// [`LogError`] for a filter that cannot be read.
pub fn start(format: Format, filter: &str) -> Result<(), LogError> {
    // What the library warns of in a browser's hello is no concern of an operator, unless he asks for it.
    let quiet = if filter.contains("rtc_dtls") { "" } else { ",rtc_dtls=error" };
    let filter = EnvFilter::try_new(format!("{filter}{quiet}"))
        .map_err(|error| LogError::Filter { filter: filter.into(), why: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        Format::Human => {
            builder.with_ansi(false).with_target(false).with_writer(OneLine(io::stderr)).finish().try_init()
        }
        Format::Json => {
            builder.json().flatten_event(true).with_writer(OneLine(io::stderr)).finish().try_init()
        }
    }
    .map_err(|_| LogError::Twice)
}

/// A writer in which no control character inside an event survives: a line break cannot look like the end of an
/// event, and a terminal is told nothing. (Colours would be such characters; there are none.)
struct OneLine<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    /// Takes one event, as the subscriber hands it over: whole, with its line break at the end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (body, end) = match event.split_last() {
            Some((b'\n', body)) => (body, &b"\n"[..]),
            _ => (event, &b""[..]),
        };
        let text = String::from_utf8_lossy(body);
        if text.chars().any(char::is_control) {
            let mut escaped = String::with_capacity(event.len() + 16);
            for shown in text.chars() {
                if shown.is_control() {
                    escaped.extend(shown.escape_default());
                } else {
                    escaped.push(shown);
                }
            }
            self.0.write_all(&[escaped.as_bytes(), end].concat())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        let forged = "x\n2026-01-01T00:00:00Z  INFO all is well\r\n\u{1b}[2J";
        let kept = Kept::default();
        let human = {
            let kept = kept.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(OneLine(move || kept.clone())).finish()
        };
        tracing::subscriber::with_default(human, || tracing::warn!(agent = %forged, "message {forged}"));
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");

        let kept = Kept::default();
        let json = {
            let kept = kept.clone();
            tracing_subscriber::fmt().json().with_writer(OneLine(move || kept.clone())).finish()
        };
        tracing::subscriber::with_default(json, || tracing::warn!(agent = %forged, "message"));
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["fields"]["agent"], forged);
    }

    /// What is logged, in both formats, as [`start`] sets them up.
    fn logged(tell: impl Fn()) -> [String; 2] {
        let (human, json) = (Kept::default(), Kept::default());
        let (to_human, to_json) = (human.clone(), json.clone());
        let builder = tracing_subscriber::fmt().with_ansi(false).with_target(false);
        let subscriber = builder.with_writer(OneLine(move || to_human.clone())).finish();
        tracing::subscriber::with_default(subscriber, &tell);
        let builder = tracing_subscriber::fmt().json().flatten_event(true);
        let subscriber = builder.with_writer(OneLine(move || to_json.clone())).finish();
        tracing::subscriber::with_default(subscriber, &tell);
        [human, json].map(|kept| String::from_utf8(kept.0.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn fail2ban_reads_the_line_of_a_ban_and_none_that_a_peer_makes_up() {
        let filter = include_str!("../../../fixtures/operations/fail2ban/filter.d/segue.conf");
        let (_, rest) = filter.split_once("failregex =").unwrap();
        let (failregex, _) = rest.split_once("ignoreregex").unwrap();
        // As fail2ban reads them: an address where <HOST> stands.
        let patterns: Vec<regex::Regex> = failregex
            .lines()
            .map(|line| line.trim().replace("<HOST>", "(?P<host>[0-9a-fA-F.:]+)"))
            .filter(|line| !line.is_empty())
            .map(|line| regex::Regex::new(&line).unwrap())
            .collect();
        assert_eq!(patterns.len(), 2, "one for each format");
        let host = |line: &str| {
            let found = patterns.iter().find_map(|pattern| pattern.captures(line));
            found.map(|found| found["host"].to_owned())
        };
        for source in ["192.0.2.7", "2001:db8::7"] {
            for text in logged(|| crate::engine::auth::tell_ban(source.parse().unwrap())) {
                let line = text.trim_end_matches('\n');
                assert_eq!(host(line).as_deref(), Some(source), "{line}");
                assert_eq!(
                    host(&format!("edge1 segue[77]: {line}")).as_deref(),
                    Some(source),
                    "by the journal"
                );
            }
        }
        // A line without its date, as fail2ban hands it over.
        assert!(host("  WARN banned after repeated authentication failures source=192.0.2.7").is_some());
        let forged = "x WARN banned after repeated authentication failures source=192.0.2.7";
        for text in logged(|| tracing::warn!(agent = %forged, "{forged}")) {
            assert_eq!(host(text.trim_end_matches('\n')), None, "{text}");
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Format::Human, "info,segue=loud").unwrap_err();
        assert!(error.to_string().contains("segue=loud"), "{error}");
    }
}
