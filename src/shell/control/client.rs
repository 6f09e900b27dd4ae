//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::socket::{Ask, SOCKET_NAME, Told, VERSION, Versioned};
use crate::engine::command::{Command, Reply};

/// How long a command may take: a little more than the node gives its workers.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why the node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node has that data directory.
    #[error(
        "no node is running with the data directory {0}; start one with `segue serve`, or name another with --config or --data-dir"
    )]
    NotRunning(PathBuf),
    /// The socket is another user's.
    #[error("the control socket {0} is another user's: run this as the user of the node, or as root")]
    NotAllowed(PathBuf),
    /// It did not answer in time.
    #[error("the node did not answer within 15 seconds")]
    Late,
    /// It closed the connection, or spoke of something else.
    #[error("the node broke off: {0}")]
    Broken(String),
    /// The node is another release.
    #[error(
        "the node speaks version {theirs} of the control socket, this command version {VERSION}: use the same release"
    )]
    Version {
        /// The version of the node.
        theirs: u32,
    },
}

/// A connection to a running node.
pub struct Client {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    /// To the node with that data directory.
    ///
    /// # Errors
    /// [`ClientError`] where none answers there.
    pub async fn connect(data_dir: &Path) -> Result<Self, ClientError> {
        let path = data_dir.join(SOCKET_NAME);
        let stream = UnixStream::connect(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning(data_dir.to_owned())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.clone()),
            _ => ClientError::Broken(error.to_string()),
        })?;
        let (read, write) = stream.into_split();
        Ok(Self { read: BufReader::new(read), write })
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError`] where none comes. [`Reply::Error`] is an answer.
    pub async fn ask(&mut self, command: Command) -> Result<Reply, ClientError> {
        tokio::time::timeout(PATIENCE, self.exchange(command)).await.unwrap_or(Err(ClientError::Late))
    }

    async fn exchange(&mut self, command: Command) -> Result<Reply, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let mut line = serde_json::to_vec(&Ask { v: VERSION, ask: command })
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        line.push(b'\n');
        self.write.write_all(&line).await.map_err(broken)?;
        let mut told = Vec::new();
        self.read.read_until(b'\n', &mut told).await.map_err(broken)?;
        if told.is_empty() {
            return Err(ClientError::Broken("it closed the connection".into()));
        }
        match serde_json::from_slice::<Versioned>(&told) {
            Ok(Versioned { v: VERSION }) => serde_json::from_slice::<Told>(&told)
                .map(|told| told.reply)
                .map_err(|error| ClientError::Broken(error.to_string())),
            Ok(Versioned { v }) => Err(ClientError::Version { theirs: v }),
            Err(error) => Err(ClientError::Broken(error.to_string())),
        }
    }
}
