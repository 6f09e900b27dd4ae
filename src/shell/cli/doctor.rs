//! `segue doctor`: prints what was found, and tells by its exit code how grave it is.

use std::io::Write;
use std::process::ExitCode;

use super::configuration;
use super::failure::Failure;
use super::options::Place;
use super::output::{Format, Table, printable};
use crate::shell::doctor::{Finding, State, examine, worst};

const HEADINGS: &[&str] = &["STATE", "WHAT", "TOLD", "MEND"];

/// Looks, also where there is no configuration, or one with faults.
pub(super) fn doctor(place: &Place, format: Format, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let findings = match configuration::load(place) {
        Ok((path, resolved)) => examine(Some(&path), &resolved),
        Err(_) if !configuration::is_there(place) => examine(None, &configuration::bare()?),
        Err(failure) => {
            let mut all = examine(None, &configuration::bare()?);
            let told = format!("{failure}; what follows is of the defaults").replace('\n', "; ");
            let mend = Some("segue check-config".to_owned());
            let fault = Finding { state: State::Fault, what: "configuration".to_owned(), told, mend };
            if let Some(first) = all.first_mut() {
                *first = fault;
            }
            all
        }
    };
    if format == Format::Table {
        print(&findings, out)?;
    } else {
        let row = |finding: &Finding| {
            let mend = finding.mend.clone().unwrap_or_default();
            vec![finding.state.as_str().to_owned(), finding.what.clone(), finding.told.clone(), mend]
        };
        Table { headings: HEADINGS, rows: findings.iter().map(row).collect() }
            .print(format, &findings, out)?;
    }
    Ok(ExitCode::from(code(&findings)))
}

/// The exit code: of the gravest.
fn code(findings: &[Finding]) -> u8 {
    match worst(findings) {
        State::Ok => 0,
        State::Warning => 1,
        State::Fault => 2,
    }
}

/// A line each; what is to be typed on a line of its own, to be copied.
fn print(findings: &[Finding], out: &mut dyn Write) -> Result<(), Failure> {
    let wide = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0).min(40);
    for Finding { state, what, told, mend } in findings {
        writeln!(out, "{:7}  {:wide$}  {}", state.as_str(), printable(what), printable(told))?;
        if let Some(mend) = mend {
            writeln!(out, "{:7}  {:wide$}  > {}", "", "", printable(mend))?;
        }
    }
    let count = |wanted| findings.iter().filter(|finding| finding.state == wanted).count();
    let (faults, warnings) = (count(State::Fault), count(State::Warning));
    writeln!(out, "\n{} looked at: {faults} faults, {warnings} warnings", findings.len())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_is_the_exit_code() {
        use State::{Fault, Ok, Warning};
        for (states, wanted) in [
            (&[][..], 0),
            (&[Ok, Ok], 0),
            (&[Ok, Warning, Ok], 1),
            (&[Fault], 2),
            (&[Warning, Fault, Warning, Ok], 2),
        ] {
            let finding = |state: &State| Finding {
                state: *state,
                what: "disk".into(),
                told: "little".into(),
                mend: Some("df".into()),
            };
            let findings: Vec<_> = states.iter().map(finding).collect();
            assert_eq!(code(&findings), wanted, "{states:?}");
        }
    }
}
