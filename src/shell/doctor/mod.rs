//! `segue doctor`: what an operator would look for on a machine before, or while, a node runs on it.
//!
//! `gather` finds out, and changes nothing; `judge` is a pure function from what was found to findings.

mod gather;
mod judge;
mod system;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;

pub use judge::{Certificate, Data, Facts, Port, PortState, Range, judge};

use crate::config::Resolved;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, until it does not.
    Warning,
    /// A node will not start, or calls will fail.
    Fault,
}

impl State {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub state: State,
    /// What was looked at.
    pub what: String,
    /// What was found, and what it means.
    pub told: String,
    /// What to type, or to write into the configuration.
    pub mend: Option<String>,
}

/// Looks at this machine, for a node that runs by `resolved` or is to; `file` is where that was read.
///
/// Waits for name servers and for a node, some seconds at most.
#[must_use]
pub fn examine(file: Option<&Path>, resolved: &Resolved) -> Vec<Finding> {
    judge(&gather::facts(file, resolved))
}

/// The gravest of them.
#[must_use]
pub fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
}
