//! Why a command failed, and the exit code of it. The codes are a contract, told in `segue help`.

use std::fmt;
use std::io;

use crate::engine::command::CommandError;
use crate::shell::control::ClientError;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    text: String,
    is_broken_pipe: bool,
}

/// The codes, for the help text.
pub(super) const CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the arguments make no sense
  3  no node is running there, or it does not answer
  4  there is no such thing
  5  refused: the move, the call of a test, or it clashes with what there is
  6  the configuration has faults (of `reload`: 2)
  7  done, but for what waits for a restart
Of `doctor`: 0 all is well, 1 warnings, 2 faults";

impl Failure {
    fn new(code: u8, text: String) -> Self {
        Self { code, text, is_broken_pipe: false }
    }

    pub(super) fn general(text: String) -> Self {
        Self::new(1, text)
    }

    pub(super) fn usage(text: String) -> Self {
        Self::new(2, text)
    }

    pub(super) fn not_found(text: String) -> Self {
        Self::new(4, text)
    }

    pub(super) fn refused(text: String) -> Self {
        Self::new(5, text)
    }

    pub(super) fn configuration(text: String) -> Self {
        Self::new(6, text)
    }

    pub(super) fn half_done(text: String) -> Self {
        Self::new(7, text)
    }

    /// A fault of the configuration is what a reload fails by.
    pub(super) fn of_reload(self) -> Self {
        Self { code: if self.code == 6 { 2 } else { self.code }, ..self }
    }

    /// An answer that does not fit its question.
    pub(super) fn misfit() -> Self {
        Self::new(1, "the node gave an answer that does not fit".into())
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// Whoever read our output has read enough.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.is_broken_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { code: 1, text: error.to_string(), is_broken_pipe }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NotRunning(_) | ClientError::Late => 3,
            ClientError::NotAllowed(_) | ClientError::Broken(_) | ClientError::Version { .. } => 1,
        };
        Self::new(code, error.to_string())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::NotFound => 4,
            CommandError::Invalid { .. } | CommandError::Faulty { .. } => 2,
            CommandError::Conflict { .. } | CommandError::Refused { .. } | CommandError::TooMany { .. } => 5,
            CommandError::Unavailable { .. } => 3,
            CommandError::Forbidden => 1,
        };
        let mut text = error.to_string();
        if let CommandError::Refused { retry_after: Some(seconds), .. } = &error {
            text += &format!("; try again in {seconds} s");
        }
        Self::new(code, text)
    }
}
