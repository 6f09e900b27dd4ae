//! What is refused while the node cannot keep up, so that what it has begun goes on (RFC 3261 21.5.4, RFC 5390 4).
//!
//! The shell measures how much of its time the worker works and says what share of new work is too much. Never refused
//! are requests in dialogs, emergency calls, moves and whatever else concerns a call that lives. Registrations come
//! before calls: a phone that loses its own is lost to every caller.

use super::Engine;
use crate::sip::Refusal;
use crate::wire::sip::Method;

/// Seconds after which who was refused may come again, and how far that is spread so that all do not come at once.
const RETRY: (u32, u64) = (2, 6);
/// The share of refused calls from which on registrations are refused too; twice what is above it.
const CALLS_FIRST: u8 = 50;

/// How much of what is new is refused.
#[derive(Default)]
pub(super) struct Overload {
    /// Percent.
    share: u8,
    /// Since it began.
    refused: u64,
}

impl Engine {
    /// So much of what is new is too much, in percent.
    pub(super) fn on_pressure(&mut self, share: u8) {
        let before = std::mem::replace(&mut self.overload.share, share.min(100));
        match (before, share) {
            (0, 1..) => tracing::warn!("the node is overloaded: new calls are refused in part"),
            (1.., 0) => {
                let refused = std::mem::take(&mut self.overload.refused);
                tracing::warn!(refused, "the node keeps up again: all calls are taken");
            }
            _ => {}
        }
    }

    /// Percent of new calls that are refused now.
    #[must_use]
    pub const fn overload(&self) -> u8 {
        self.overload.share
    }

    /// Whether a request outside dialogs is one too many. Of an INVITE that is asked when it is known to be a new call.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`]
    pub(super) fn spare(&mut self, method: &Method) -> Result<(), Refusal> {
        let share = match method {
            Method::Invite | Method::Message | Method::Subscribe | Method::Publish => self.overload.share,
            Method::Register => self.overload.share.saturating_sub(CALLS_FIRST) * 2,
            _ => 0,
        };
        let random = &mut self.core.random;
        if share == 0 || random.below(100) >= u64::from(share) {
            return Ok(());
        }
        self.overload.refused += 1;
        self.counters.overload_refusals += 1;
        let spread = u32::try_from(random.below(RETRY.1)).unwrap_or(0);
        Err(Refusal::Overloaded { what: "the node", retry_after: RETRY.0 + spread })
    }
}
