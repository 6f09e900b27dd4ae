//! The configuration: as written, then resolved and cross-checked.
//!
//! Nothing here touches a file or the environment: the text, the variables and a way to read files that the text
//! names are given, so that every check runs in a test. Each fault carries file, line and key; all are reported
//! together. Paths in the file are relative to the file.

mod cdr;
mod checks;
mod diff;
mod error;
mod hep;
mod listen_tls;
mod network;
mod numbers;
mod quirks;
mod resolved;
mod routes;
mod sections;
#[cfg(test)]
mod tests;
mod tree;
mod trunk_headers;
mod trunk_policy;
mod trunks;
mod users;
mod values;
mod webhooks;

use std::path::{Path, PathBuf};

pub use diff::Diff;
pub use error::{ConfigError, ConfigErrors, Place};
pub use network::Network;
pub use resolved::{
    Anchor, Auth, Ban, CdrFormat, Hep, HepServer, HepTransport, HostPort, Http, Listen, Media, MediaIo, Node,
    Resolved, Secret, Site, Srtp, StoreKind, Tls, TlsFiles, Trunk, TrunkAuth, WebPort, Webhook, WebhookUrl,
};

/// Largest configuration file: accounts belong into the store long before.
pub const MAX_FILE: usize = 16 << 20;

/// What a configuration is made from.
pub struct Source<'a> {
    /// The file as the operator named it.
    pub path: &'a Path,
    /// Its content.
    pub text: &'a str,
    /// The environment; `SEGUE_SECTION__KEY` variables count, others are left alone.
    pub variables: &'a [(String, String)],
    /// The machine's name, for `node.id` where the file has none.
    pub hostname: &'a str,
    /// Reads a file that the configuration names.
    pub read: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

impl Source<'_> {
    /// Resolves and checks everything.
    ///
    /// # Errors
    /// All faults.
    pub fn resolve(&self) -> Result<Resolved, ConfigErrors> {
        let mut faults = tree::Faults::default();
        let file = self.path.display().to_string();
        let resolved = if self.text.len() > MAX_FILE {
            faults.add(&Place::Line { file, line: 0 }, "", "the file is larger than 16 MiB");
            None
        } else {
            let mut tree = tree::Tree::parse(self.text, &file, &mut faults);
            // What stands behind a broken line is not what was meant: nothing more to say about it.
            if faults.0.is_empty() {
                tree.overlay(self.variables, &mut faults);
                sections::read(tree, self, &mut faults)
            } else {
                None
            }
        };
        match resolved {
            Some(resolved) if faults.0.is_empty() => Ok(resolved),
            _ => {
                faults.0.sort();
                faults.0.dedup();
                Err(ConfigErrors(faults.0))
            }
        }
    }

    /// A path of the file, relative to the file.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}
