//! What can go wrong with a phone, said so that a failing test explains itself.

use std::time::Duration;

use super::message::Message;

/// An error of the software phone. Each names the phone that it happened to.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// A socket could not be made or used.
    #[error("{phone}: {what}: {source}")]
    Io {
        /// The phone.
        phone: String,
        /// What was attempted.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// Something that was waited for did not happen in time.
    #[error("{phone}: {what} did not happen within {after:?}")]
    Timeout {
        /// The phone.
        phone: String,
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// A request got a final answer other than 2xx.
    #[error("{phone}: {request} was answered {}", .response.summary())]
    Refused {
        /// The phone.
        phone: String,
        /// Method and target of the request.
        request: String,
        /// The answer.
        response: Box<Message>,
    },
    /// The peer sent something that does not make sense.
    #[error("{phone}: {what}")]
    Malformed {
        /// The phone.
        phone: String,
        /// What was wrong.
        what: String,
    },
    /// The call or subscription is over.
    #[error("{phone}: {what} has ended")]
    Ended {
        /// The phone.
        phone: String,
        /// What has ended.
        what: &'static str,
    },
}

impl PhoneError {
    /// The status of the answer, where the error is one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response().and_then(Message::status)
    }

    /// The answer itself, where the error is one.
    #[must_use]
    pub fn response(&self) -> Option<&Message> {
        match self {
            Self::Refused { response, .. } => Some(response),
            Self::Io { .. } | Self::Timeout { .. } | Self::Malformed { .. } | Self::Ended { .. } => None,
        }
    }
}

/// Shorthand of this module.
pub type Result<T, E = PhoneError> = std::result::Result<T, E>;
