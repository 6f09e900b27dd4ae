//! The configuration is read anew while the node runs: checked whole, compared, and applied by the worker. At a fault
//! nothing is changed; a worker that is late may yet change it, and whoever asked is told so.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::failure::{StartError, supported};
use super::trunks::{Lookups, Prepared};
use super::worker::Mail;
use super::{Post, settings};
use crate::config::{Diff, Resolved, Trunk};
use crate::engine::command::{CommandError, Reply};
use crate::engine::{NewConfiguration, ReloadView};

/// The worker takes it between two batches; so long it may take at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads and checks the configuration once more; its faults, a line each.
pub type Reread = Box<dyn Fn() -> Result<Resolved, String> + Send + Sync>;

/// Who takes another configuration.
pub(super) struct Reloader(Mutex<State>);

struct State {
    /// What the node runs by.
    running: Resolved,
    /// The worker was late: it may run by another by now, whose trunks nobody looks for.
    is_unsure: bool,
    reread: Reread,
    bound: Vec<SocketAddr>,
    media_threads: usize,
    post: Post,
    lookups: Lookups,
}

/// Why it is not known to hold.
#[derive(Debug)]
enum Refused {
    /// Nothing was changed.
    Faulty(Vec<String>),
    /// It was given to the worker, who has not said that it holds.
    Unknown(&'static str),
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Self::Faulty(vec![error.to_string()])
    }
}

impl Reloader {
    pub(super) fn new(
        running: Resolved,
        reread: Reread,
        bound: Vec<SocketAddr>,
        media_threads: usize,
        lookups: Lookups,
        post: Post,
    ) -> Self {
        Self(Mutex::new(State { running, is_unsure: false, reread, bound, media_threads, post, lookups }))
    }

    /// Reads the configuration, and has it hold unless it is only looked at. The answer, and the users whose account is
    /// another by now. Waits for the worker, and a moment for name servers.
    pub(super) fn reload(&self, dry_run: bool) -> (Reply, Vec<Box<str>>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.reload(dry_run) {
            Ok((view, users)) => {
                if view.applied {
                    log(&view);
                }
                (Reply::Reload(Box::new(view)), users)
            }
            Err(Refused::Faulty(faults)) => {
                if !dry_run {
                    for fault in &faults {
                        tracing::warn!("the configuration is not reloaded: {fault}");
                    }
                }
                (Reply::Error(CommandError::Faulty { faults }), Vec::new())
            }
            Err(Refused::Unknown(why)) => {
                tracing::warn!("whether the configuration is reloaded is not known: {why}");
                (Reply::Error(CommandError::Unavailable { why: why.into(), retry_after: 2 }), Vec::new())
            }
        }
    }
}

/// One line. Users have no name in it.
fn log(view: &ReloadView) {
    let count = |what: &str| view.changes.iter().filter(|line| line.starts_with(what)).count();
    let restart: Vec<&str> =
        view.restart.iter().map(|line| line.split([' ', ':']).next().unwrap_or_default()).collect();
    tracing::info!(
        changes = view.changes.len(),
        users = count("user "),
        trunks = count("trunk "),
        routes = count("route"),
        notes = view.notes.len(),
        restart_needed = restart.join(","),
        "configuration reloaded"
    );
}

/// What is known where the worker has not said that it holds: it has the new configuration, and what this one runs by is
/// still taken for the old. So the same changes are told and made once more by the next reload, with the search for
/// trunks that are new.
fn unknown(error: RecvTimeoutError) -> Refused {
    Refused::Unknown(match error {
        RecvTimeoutError::Timeout => {
            "the signalling thread has not taken it within 5 seconds, and does so when it comes to it; reload once more"
        }
        RecvTimeoutError::Disconnected => {
            "the signalling thread broke off, or the node is ending; some of it may hold; reload once more"
        }
    })
}

impl State {
    fn reload(&mut self, dry_run: bool) -> Result<(ReloadView, Vec<Box<str>>), Refused> {
        let split = |faults: String| Refused::Faulty(faults.lines().map(str::to_owned).collect());
        let new = (self.reread)().map_err(split)?;
        supported(&new)?;
        let Diff { changes, restart, mut users } = Diff::between(&self.running, &new);
        let mut view = ReloadView { applied: !dry_run, changes, restart, notes: Vec::new() };
        let next = self.running.adopt(new);
        let is_other_dns = self.running.dns != next.dns;
        let names = is_other_dns.then(|| self.lookups.resolver(&next)).transpose()?;
        let prepared = self.prepare(&next, is_other_dns || self.is_unsure)?;
        if dry_run {
            return Ok((view, Vec::new()));
        }
        if let Some(names) = names {
            self.lookups.ask(names);
        }
        // What is told of a trunk from here on is of the new configuration.
        self.lookups.stop_all_but(if self.is_unsure { &[] } else { &next.trunks });
        let settings = settings::engine(&next, &self.bound, self.media_threads);
        let new = NewConfiguration { settings, accounts: next.accounts.clone() };
        let (done, told) = mpsc::sync_channel(1);
        self.post.put(Mail::Reconfigure(Box::new(new), done));
        self.is_unsure = true;
        let told = told.recv_timeout(PATIENCE).map_err(unknown)?;
        self.is_unsure = false;
        let place = |trunk: &Trunk| {
            let at = next.trunks.iter().position(|known| known.name == trunk.name)?;
            told.places.get(at).copied()
        };
        let begun = prepared.into_iter().filter_map(|one| Some((place(one.trunk())?, one)));
        self.lookups.begin(begun.collect::<Vec<_>>());
        view.notes = told.notes;
        // Their sessions end as well: the account is not in use.
        users.extend(told.aside);
        self.running = next;
        Ok((view, users))
    }

    /// What has to be looked for, as far as that can be found out before.
    fn prepare(&mut self, next: &Resolved, all: bool) -> Result<Vec<Prepared>, StartError> {
        let is_new = |trunk: &&Trunk| all || !self.running.trunks.contains(trunk);
        let new: Vec<Trunk> = next.trunks.iter().filter(is_new).cloned().collect();
        new.iter().map(|trunk| self.lookups.prepare(trunk, next)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said_to_be_as_it_was() {
        let (keep, told) = mpsc::sync_channel::<()>(1);
        let Refused::Unknown(late) = unknown(told.recv_timeout(Duration::ZERO).unwrap_err()) else {
            panic!()
        };
        drop(keep);
        let Refused::Unknown(gone) = unknown(told.recv_timeout(Duration::ZERO).unwrap_err()) else {
            panic!()
        };
        assert!(
            late.contains(&format!("within {} seconds", PATIENCE.as_secs()))
                && late.contains("when it comes to it")
        );
        assert!(gone.contains("broke off") && gone.contains("may hold"));
        assert!([late, gone].iter().all(|why| why.ends_with("reload once more")));
    }
}
