//! Why a node does not start, in words for whoever has to make it start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Resolved, StoreKind};
use crate::shell::control::ControlError;
use crate::shell::http::HttpError;
use crate::shell::store;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error("cannot listen on {transport}://{address} (listen[{index}].uri): {}", explain(source))]
    Listen {
        /// How.
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// Its place among the `[[listen]]` sections, from 0 as in the faults of a configuration.
        index: usize,
        /// Why not.
        source: io::Error,
    },
    /// Certificates of a listener.
    #[error("listen[{index}]: {error}")]
    Tls {
        /// Its place among the `[[listen]]` sections, from 0.
        index: usize,
        /// Which file, and why it is of no use.
        error: String,
    },
    /// What a trunk has to prove.
    #[error("trunk {name}: {error}")]
    TrunkTls {
        /// Which.
        name: Box<str>,
        /// Which file, and why it is of no use.
        error: String,
    },
    /// Certificate of the page.
    #[error("http: {0}")]
    PageTls(String),
    /// What waits for webhooks.
    #[error("{}: cannot be used for what waits for webhooks: {error}", path.display())]
    Outbox {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// What the capture server has to prove.
    #[error("hep.server: {error}")]
    Hep {
        /// Why it cannot be asked to.
        error: String,
    },
    /// What a webhook has to prove.
    #[error("webhook {name}: {error}")]
    Webhook {
        /// Which.
        name: Box<str>,
        /// Which file, and why it is of no use.
        error: String,
    },
    /// What is configured is not there.
    #[error("{key}: {what} is not supported; {instead}")]
    Unsupported {
        /// Where it stands.
        key: String,
        /// It.
        what: String,
        /// What can be done.
        instead: &'static str,
    },
    /// Name servers.
    #[error("names of trunks cannot be looked up ([dns] servers, /etc/resolv.conf): {0}")]
    Dns(String),
    /// The data directory.
    #[error("cannot use the data directory {} (node.data_dir): {}", path.display(), explain_directory(source))]
    DataDir {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The API.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Two accounts of the file that clash.
    #[error("account {name}: {why}")]
    Account {
        /// Its name.
        name: Box<str>,
        /// Why not.
        why: String,
    },
    /// Too few open files to do anything with.
    #[error("{limit} open files are allowed, and a node needs at least {least} (ulimit -n, LimitNOFILE=)")]
    Files {
        /// How many may be.
        limit: u64,
        /// How many must.
        least: u64,
    },
    /// Threads, entropy, descriptors.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another program (`ss -lnp` tells which)".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        io::ErrorKind::PermissionDenied => {
            "no permission (ports below 1024 need the capability CAP_NET_BIND_SERVICE)".into()
        }
        _ => error.to_string(),
    }
}

fn explain_directory(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to write there".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        io::ErrorKind::StorageFull => "no space is left".into(),
        _ => error.to_string(),
    }
}

/// For what the system refuses.
pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// What the configuration knows and the node does not do: an error where to go on without it would be a promise
/// broken.
pub(super) fn supported(resolved: &Resolved) -> Result<(), StartError> {
    let unsupported = |key: String, what: String, instead| StartError::Unsupported { key, what, instead };
    if resolved.node.store != StoreKind::Sqlite {
        let what = "a store other than sqlite".to_owned();
        return Err(unsupported("node.store".to_owned(), what, "say store = \"sqlite\""));
    }
    Ok(())
}
