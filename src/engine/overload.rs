//! What is refused while the node cannot keep up, so that what it has begun goes on (RFC 3261 21.5.4, RFC 5390 4).
//!
//! The shell measures how much of its time the worker works and says what share of new work is too much. Never refused
//! are requests in dialogs, emergency calls, moves and whatever else concerns a call that lives, and who is registered and
//! renews that. Other registrations come before calls: a phone without one is lost to every caller.

use std::time::Duration;

use super::Engine;
use crate::base::Timestamp;
use crate::call::core::write_refusal;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{Message, Method};

/// Seconds after which who was refused may come again, and how far that is spread so that all do not come at once.
const RETRY: (u32, u64) = (2, 6);
/// The share of refused calls from which on registrations are refused too; twice what is above it.
const CALLS_FIRST: u8 = 50;

/// Messages of a call that come to us: INVITE, 180, 200, ACK, BYE, 200, and one for what a call has more than that.
const MESSAGES: u64 = 7;
/// What begins again so soon is the same overload, and is not told anew.
const SAME: Duration = Duration::from_secs(60);

/// How much of what is new is refused.
#[derive(Default)]
pub(super) struct Overload {
    /// Percent.
    share: u8,
    /// Since it was told that it began.
    refused: u64,
    told: Option<Timestamp>,
    /// When it was last told that there is no room for transactions.
    full: Option<Timestamp>,
}

impl Engine {
    /// So much of what is new is too much, in percent.
    pub(super) fn on_pressure(&mut self, share: u8) {
        let now = self.core.now.at;
        let before = std::mem::replace(&mut self.overload.share, share.min(100));
        let is_told = self.overload.told.is_some_and(|told| now.since(told) < SAME);
        if before == 0 && share > 0 && !is_told {
            // At the edge it comes and goes.
            let refused = std::mem::take(&mut self.overload.refused);
            self.overload.told = Some(now);
            tracing::warn!(before = refused, "the node is overloaded: new calls are refused in part");
        } else if before > 0 && share == 0 {
            tracing::info!(refused = self.overload.refused, "the node keeps up: all calls are taken");
        }
    }

    /// Percent of new calls that are refused now.
    #[must_use]
    pub const fn overload(&self) -> u8 {
        self.overload.share
    }

    /// There is no room for another transaction: whoever asks may come again.
    pub(super) fn on_no_room(&mut self, flow: Flow, message: &Message) {
        let now = self.core.now.at;
        self.counters.overload_refusals += 1;
        if self.overload.full.is_none_or(|told| now.since(told) >= SAME) {
            self.overload.full = Some(now);
            tracing::warn!("no room for more transactions: new requests are refused");
        }
        let refusal = self.too_much();
        let status = refusal.status();
        let mut writer = self.core.transactions.stateless_reply(&flow, message, status);
        write_refusal(&mut writer, &refusal, &self.core.settings);
        let bytes = writer.finish();
        self.send_stateless(flow, message, bytes);
    }

    fn too_much(&mut self) -> Refusal {
        let spread = u32::try_from(self.core.random.below(RETRY.1)).unwrap_or(0);
        Refusal::Overloaded { what: "the node", retry_after: RETRY.0 + spread }
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
            self.counters.new_work += if *method == Method::Invite { MESSAGES } else { 1 };
            return Ok(());
        }
        self.overload.refused += 1;
        self.counters.overload_refusals += 1;
        Err(self.too_much())
    }
}
