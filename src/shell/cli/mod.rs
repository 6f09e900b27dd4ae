//! The command line: reads arguments, asks a running node through its control socket, prints.
//!
//! `serve` and `demo` run what `main` hands in as [`Programs`]; everything else is here.

mod accounts;
mod ask;
mod configuration;
mod doctor;
mod failure;
mod first_start;
mod operation;
mod options;
mod output;
mod quality;
mod reload;
mod report;
mod route;
mod secrets;
#[cfg(test)]
mod tests;
mod top;
mod trace;
mod trunks;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::ask::Asking;
use self::configuration::Make;
use self::failure::Failure;
use self::options::{Cli, Verb};
use crate::config::Resolved;
use crate::shell::node::Reread;
use crate::shell::telemetry::logs;

/// What runs a node; handed in, so that the command line can be tested without one.
pub struct Programs {
    /// Runs one until it is told to stop.
    pub serve: fn(Resolved, Reread) -> anyhow::Result<ExitCode>,
    /// Plays the demonstration; prints JSON where asked for it.
    pub demo: fn(DemoOutput) -> anyhow::Result<ExitCode>,
}

/// How the demonstration prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoOutput {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Reads the arguments of the process and does what they say.
#[must_use]
pub fn run(programs: &Programs) -> ExitCode {
    let cli = Cli::parse();
    match execute(cli, programs) {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "segue: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn execute(cli: Cli, programs: &Programs) -> Result<ExitCode, Failure> {
    let Cli { place, output, log, verb } = cli;
    let mut out = io::stdout().lock();
    match verb.unwrap_or(Verb::Serve { init: false }) {
        Verb::Serve { init } => {
            let make = if init { Make::Always } else { Make::OnTerminal };
            let (path, resolved) = configuration::for_serving(&place, make, &mut out)?;
            logs::start(log.log_format, &log.log_level).map_err(|error| Failure::usage(error.to_string()))?;
            drop(out);
            tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "starting");
            let reread = configuration::reread(path);
            (programs.serve)(resolved, reread).map_err(|error| Failure::general(format!("{error:#}")))
        }
        Verb::Demo => {
            logs::start(log.log_format, &log.log_level).map_err(|error| Failure::usage(error.to_string()))?;
            drop(out);
            let format = if output.is_json() { DemoOutput::Json } else { DemoOutput::Text };
            (programs.demo)(format).map_err(|error| Failure::general(format!("{error:#}")))
        }
        Verb::CheckConfig => {
            let (path, resolved) = configuration::load(&place)?;
            writeln!(out, "{}", configuration::summary(&path, &resolved))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Doctor => Ok(doctor::doctor(&place, output, &mut out)?),
        Verb::Hash(hash) => {
            secrets::hash(&hash, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Completion { shell } => {
            // Into memory first: the generator takes a closed pipe for a bug.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "segue", &mut script);
            out.write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        verb => {
            let data_dir = configuration::data_dir(&place);
            // The node would find the same faults, and changes nothing either.
            let is_reload = matches!(verb, Verb::Reload { .. });
            let data_dir =
                data_dir.map_err(|failure| if is_reload { failure.of_reload() } else { failure })?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(&data_dir, output, verb, &mut out))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What a running node is asked.
async fn ask(
    data_dir: &Path,
    output: output::Format,
    verb: Verb,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut asking = Asking::connect(data_dir, output, out).await?;
    match verb {
        Verb::Status => asking.status().await,
        Verb::Calls { user, action } => asking.calls(user, action).await,
        Verb::Trace(wanted) => trace::trace(&mut asking, wanted).await,
        Verb::Move(wanted) => asking.start_move(wanted).await,
        Verb::Moves { user, limit, action } => asking.moves(user, limit, action).await,
        Verb::Registrations { user, action } => asking.registrations(user, action).await,
        Verb::Quality { call } => asking.quality(call).await,
        Verb::Trunks => asking.trunks().await,
        Verb::Route { action } => asking.route(action).await,
        Verb::Report { run, svg } => report::show(&mut asking, run, svg.as_deref()).await,
        Verb::User { action } => accounts::user(&mut asking, action).await,
        Verb::Bans { action } => asking.bans(action).await,
        Verb::Cdr { action } => asking.records(action).await,
        Verb::Reload { dry_run } => reload::reload(&mut asking, dry_run).await,
        Verb::Top(wanted) => top::top(&mut asking, &wanted).await,
        Verb::Drain { wait } => asking.drain(wait).await,
        Verb::Serve { .. }
        | Verb::Demo
        | Verb::Doctor
        | Verb::CheckConfig
        | Verb::Hash(_)
        | Verb::Completion { .. } => Err(Failure::usage("not a question to a node".into())),
    }
}
