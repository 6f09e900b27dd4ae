//! Test runs: calls that a test tool marks as its own, so that they can be reported together.

use crate::wire::sip::Message;

/// The header of an INVITE that names the run.
const HEADER: &str = "X-Test-Run";
/// Longest name of a run.
const MAX_TAG: usize = 64;

/// How calls are known to belong to a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// A Call-ID `PREFIX-TAG-…` names the run as well, for tools that cannot add a header.
    pub prefix: Option<Box<str>>,
}

impl Runs {
    /// The run that an INVITE belongs to. The header counts before the Call-ID; what is no name is none.
    #[must_use]
    pub fn of(&self, invite: &Message) -> Option<String> {
        if let Some(header) = invite.other(HEADER) {
            return std::str::from_utf8(header.value).ok().filter(|tag| is_tag(tag)).map(str::to_owned);
        }
        let rest = invite.call_id().ok()?.strip_prefix(&**self.prefix.as_ref()?)?.strip_prefix('-')?;
        let (tag, _) = rest.split_once('-')?;
        is_tag(tag).then(|| tag.to_owned())
    }
}

/// Whether `text` may name a run: up to 64 letters, digits, dots, hyphens and underscores, so that it can stand in a
/// path, a file name and a table as it is.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::sip::Limits;

    fn run_of(runs: &Runs, call_id: &str, header: &str) -> Option<String> {
        let text = format!(
            "INVITE sip:bob@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@pbx>;tag=1\r\n\
             To: <sip:bob@pbx>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n{header}Content-Length: 0\r\n\r\n"
        );
        runs.of(&Message::parse(Bytes::from(text), &Limits::default()).unwrap())
    }

    #[test]
    fn a_call_names_its_run_by_header_or_by_the_beginning_of_its_call_id() {
        let by_header = Runs::default();
        let by_both = Runs { prefix: Some("run".into()) };
        assert_eq!(run_of(&by_header, "x@y", "x-test-run:  night-1 \r\n").as_deref(), Some("night-1"));
        assert_eq!(run_of(&by_header, "run-t7-1@y", ""), None);
        assert_eq!(run_of(&by_both, "run-t7-1@y", "").as_deref(), Some("t7"));
        assert_eq!(run_of(&by_both, "run-t7-1@y", "X-Test-Run: t8\r\n").as_deref(), Some("t8"));
        for other in ["runt7-1", "run-t7", "run--1", "ru", "x"] {
            assert_eq!(run_of(&by_both, other, ""), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long = "x".repeat(65);
        for tag in ["", "a b", "a/b", "../a", "'; DROP TABLE cdrs", "ä", &long] {
            assert_eq!(run_of(&Runs::default(), "x@y", &format!("X-Test-Run: {tag}\r\n")), None, "{tag}");
        }
        assert!(is_tag(&"x".repeat(64)));
    }
}
