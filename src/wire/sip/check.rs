//! The verdict on a message: RFC 3261 as RFC 4475 and RFC 5118 read it.

use super::header::HeaderName;
use super::message::Message;
use super::status::StatusCode;

/// What is wrong with a message that could be framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Violation {
    /// The answer to a request; a response is dropped.
    pub status: StatusCode,
    /// For the reason phrase and the log; never from the message.
    pub reason: &'static str,
    /// The header at fault, if it is one.
    pub header: Option<HeaderName>,
}

pub(super) fn check(message: &Message) -> Result<(), Violation> {
    message.index().fault.map_or(Ok(()), Err)
}
