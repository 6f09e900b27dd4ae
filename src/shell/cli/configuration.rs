//! Finding and reading the configuration.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::first_start;
use super::options::Place;
use crate::config::{Resolved, Source};
use crate::shell::node::Reread;

/// Looked for where none is named.
const NAMES: [&str; 2] = ["segue.toml", "/etc/segue/segue.toml"];

/// Reads and checks the configuration.
pub(super) fn load(place: &Place) -> Result<(PathBuf, Resolved), Failure> {
    let path = find(place).ok_or_else(|| {
        Failure::configuration(format!(
            "no configuration: neither ./{} nor {} is there; name one with --config",
            NAMES[0], NAMES[1]
        ))
    })?;
    let resolved = read(&path)?;
    Ok((path, resolved))
}

/// Reads the same configuration as often as a running node is told to.
pub(super) fn reread(path: PathBuf) -> Reread {
    Box::new(move || read(&path).map_err(|failure| failure.to_string()))
}

/// A configuration that says nothing but what is needed: what holds where there is none.
pub(super) fn bare() -> Result<Resolved, Failure> {
    let source = Source {
        path: Path::new(NAMES[0]),
        text: "[node]\ndomain = \"localhost\"\n",
        variables: &[],
        hostname: &hostname(),
        read: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    source.resolve().map_err(|errors| Failure::configuration(errors.to_string()))
}

/// Whether there is one to be read.
pub(super) fn is_there(place: &Place) -> bool {
    find(place).is_some()
}

/// When a configuration is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// On a terminal, which shows the new passwords.
    OnTerminal,
    /// Always: whoever asked for it sees to the output.
    Always,
}

/// As [`load`]; where there is none, one is made for whoever starts segue for the first time.
pub(super) fn for_serving(
    place: &Place,
    make: Make,
    out: &mut dyn Write,
) -> Result<(PathBuf, Resolved), Failure> {
    let is_missing = find(place).is_none_or(|path| make == Make::Always && !path.exists());
    if !is_missing {
        return load(place);
    }
    let has_terminal = io::stdout().is_terminal() || io::stdin().is_terminal();
    if make == Make::OnTerminal && !has_terminal {
        return Err(Failure::configuration(format!(
            "no configuration, and no terminal to show new passwords on: give --config FILE, or make \
             ./{} with two sample users by `segue serve --init`",
            NAMES[0]
        )));
    }
    let path = place.config.clone().unwrap_or_else(|| PathBuf::from(NAMES[0]));
    first_start::make(&path, out)?;
    let resolved = read(&path)?;
    Ok((path, resolved))
}

/// The data directory of the node to ask.
pub(super) fn data_dir(place: &Place) -> Result<PathBuf, Failure> {
    if let Some(data_dir) = &place.data_dir {
        return Ok(data_dir.clone());
    }
    match find(place) {
        Some(path) => Ok(read(&path)?.node.data_dir),
        None => Err(Failure::configuration(format!(
            "which node? neither ./{} nor {} is there; give --config FILE or --data-dir DIR",
            NAMES[0], NAMES[1]
        ))),
    }
}

/// What `check-config` says of a configuration without faults.
pub(super) fn summary(path: &Path, resolved: &Resolved) -> String {
    let devices: usize = resolved.accounts.iter().map(|account| account.devices.len()).sum();
    format!(
        "{}: no faults. Domain {}, {} listeners, {} users with {} devices, {} trunks, data in {}",
        path.display(),
        resolved.node.domain,
        resolved.listens.len(),
        resolved.accounts.len(),
        devices,
        resolved.trunks.len(),
        resolved.node.data_dir.display()
    )
}

/// The file that is named, even where it is not there; else the first that is.
fn find(place: &Place) -> Option<PathBuf> {
    if let Some(named) = &place.config {
        return Some(named.clone());
    }
    NAMES.iter().map(PathBuf::from).find(|path| path.exists())
}

fn read(path: &Path) -> Result<Resolved, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format!("cannot read {}: {error}", path.display())))?;
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("SEGUE_") && name.contains("__"))
        .collect();
    let source = Source {
        path,
        text: &text,
        variables: &variables,
        hostname: &hostname(),
        read: &|path| fs::read_to_string(path),
    };
    source.resolve().map_err(|errors| Failure::configuration(errors.to_string()))
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".into() } else { name.into() }
}
