//! The control socket in the data directory: JSON lines, for whoever may open it.
//!
//! The directory and the socket belong to the user of the node (modes 0700 and 0600), and the kernel names the
//! peer: whoever gets in is the operator, so every command here is given by [`Subject::Admin`].

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::NodeHandle;
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::shell::files::Seldom;

/// Name of the socket in the data directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Version of the lines. A node and a command line of different versions say so instead of guessing.
pub const VERSION: u32 = 1;

/// Longest line from a client: an account with many devices is a few KiB.
pub(super) const MAX_LINE: u64 = 256 * 1024;

/// Clients at once; each is one command line.
const MAX_CLIENTS: usize = 32;

/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Longest path of a Unix socket on Linux (`sun_path` is 108 bytes with its end).
const MAX_PATH: usize = 107;

/// A line from a client.
#[derive(Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) v: u32,
    pub(super) ask: Command,
}

/// A line to a client.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) reply: Reply,
}

/// Only the version of a line, read before the rest is.
#[derive(Deserialize)]
pub(super) struct Versioned {
    pub(super) v: u32,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another node has the data directory.
    #[error(
        "another node is running with the data directory {0}: stop it first, or give this one its own data_dir"
    )]
    InUse(PathBuf),
    /// The path is longer than a Unix socket's may be.
    #[error("the path {0} is too long for a socket (107 bytes): choose a shorter data_dir")]
    PathTooLong(PathBuf),
    /// The system refused.
    #[error("cannot open the control socket {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The open socket; its file goes when it is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens it in `data_dir`. A socket that a dead node left behind is replaced, one that answers is not.
    ///
    /// # Errors
    /// [`ControlError`] where another node lives there, or the system refuses.
    pub async fn open(data_dir: &Path) -> Result<Self, ControlError> {
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().len() > MAX_PATH {
            return Err(ControlError::PathTooLong(path));
        }
        let failed = |source| ControlError::Io { path: path.clone(), source };
        if path.exists() {
            if UnixStream::connect(&path).await.is_ok() {
                return Err(ControlError::InUse(data_dir.to_owned()));
            }
            std::fs::remove_file(&path).map_err(failed)?;
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Serves clients until the future is dropped.
    pub async fn serve(self, node: NodeHandle) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut seldom = Seldom::default();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) if is_operator(&stream) => {
                    let node = node.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &node).await {
                            tracing::debug!(%error, "control client");
                        }
                        drop(place);
                    });
                }
                Ok(_) => {
                    tracing::warn!("a stranger opened the control socket; are the modes of data_dir right?")
                }
                Err(error) => {
                    // Out of descriptors, most likely: let others close theirs.
                    if seldom.is_due() {
                        tracing::warn!(%error, "control socket");
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether the peer runs as the user of the node or as root.
fn is_operator(stream: &UnixStream) -> bool {
    // SAFETY: `geteuid` takes nothing, changes nothing and cannot fail.
    #[expect(unsafe_code, reason = "the standard library has no call for the own user id")]
    let own = unsafe { libc::geteuid() };
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse(stream: UnixStream, node: &NodeHandle) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(MAX_LINE);
        match tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        let is_whole = line.last() == Some(&b'\n');
        let reply = if is_whole { answer(&line, node).await } else { malformed("the line is too long") };
        let mut text = serde_json::to_vec(&Told { v: VERSION, reply })?;
        text.push(b'\n');
        tokio::time::timeout(IDLE, write.write_all(&text)).await??;
        if !is_whole {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], node: &NodeHandle) -> Reply {
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { v: VERSION }) => {}
        Ok(_) => return malformed("the node speaks version 1: use the command line of the same release"),
        Err(_) => return malformed("not a JSON object with `v` and `ask`"),
    }
    match serde_json::from_slice::<Ask>(line) {
        Ok(ask) => match node.command(&Subject::Admin, ask.ask).await {
            Ok(reply) => reply,
            Err(unavailable) => Reply::Error(unavailable.into()),
        },
        Err(error) => malformed(&error.to_string()),
    }
}

fn malformed(why: &str) -> Reply {
    Reply::Error(CommandError::Invalid { field: "line".into(), why: why.into() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Node, admin_status};
    use super::super::{Client, ClientError};
    use super::*;

    #[tokio::test]
    async fn a_client_is_answered_and_the_socket_is_the_operators_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::open(dir.path()).await.unwrap();
        let mode = std::fs::metadata(dir.path().join(SOCKET_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let serving = tokio::spawn(socket.serve(Node::start().handle));
        let mut client = Client::connect(dir.path()).await.unwrap();
        for _ in 0..2 {
            let reply = client.ask(Command::Status).await.unwrap();
            assert_eq!(reply, admin_status());
        }
        assert!(matches!(ControlSocket::open(dir.path()).await, Err(ControlError::InUse(_))));
        serving.abort();
        let _ = serving.await;
        assert!(!dir.path().join(SOCKET_NAME).exists(), "the file goes with the node");
        assert!(matches!(Client::connect(dir.path()).await, Err(ClientError::NotRunning(_))));
    }

    #[tokio::test]
    async fn what_a_dead_node_left_is_replaced_and_a_long_path_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let socket = ControlSocket::open(dir.path()).await.unwrap();
        drop(socket);
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(ControlSocket::open(&long).await, Err(ControlError::PathTooLong(_))));
        let missing = dir.path().join("missing");
        assert!(matches!(ControlSocket::open(&missing).await, Err(ControlError::Io { .. })));
    }

    #[tokio::test]
    async fn bad_lines_get_an_error_and_the_connection_lives() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::open(dir.path()).await.unwrap();
        let serving = tokio::spawn(socket.serve(Node::start().handle));
        let stream = UnixStream::connect(dir.path().join(SOCKET_NAME)).await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        for (line, expected) in [
            ("hello\n", "`v` and `ask`"),
            ("{\"v\":2,\"ask\":{\"command\":\"status\"}}\n", "version 1"),
            ("{\"v\":1,\"ask\":{\"command\":\"login\",\"user\":\"alice\"}}\n", "login"),
            ("{\"v\":1,\"ask\":{\"command\":\"status\"}}\n", "\"status\""),
        ] {
            write.write_all(line.as_bytes()).await.unwrap();
            let told = lines.next_line().await.unwrap().unwrap();
            assert!(told.contains(expected), "{line} → {told}");
        }
        write.write_all(&vec![b'x'; MAX_LINE as usize + 10]).await.unwrap();
        assert!(lines.next_line().await.unwrap().unwrap().contains("too long"));
        serving.abort();
    }
}
