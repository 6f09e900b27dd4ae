//! How calls of a trunk are treated: what the operator of a trunk has settled with whoever is there. The configuration
//! reads it, the call layer goes by it.

use std::sync::Arc;

use super::diversion::Tells;
use super::header_rules::HeaderRule;
use super::headers::Trust;
use super::identity::Shows;
use super::numbers::{CallerId, Rewrite};
use super::session_timer::Terms;
use crate::media::permitted::Permitted;

/// Whether a trunk hears, by re-INVITE, of what its media does not need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReInvite {
    /// Of a move only where media cannot stay as it is; of hold and the like always.
    WhenNeeded,
    /// Of every move, too.
    Always,
    /// Of neither: what another side wants to change is answered here.
    Never,
}

impl ReInvite {
    /// As the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhenNeeded => "when-needed",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What holds for each call over a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most calls at once; `None` without limit.
    pub max_calls: Option<u32>,
    /// Most calls begun in a second; `None` without limit.
    pub max_cps: Option<u32>,
    /// `refer`: whether it may transfer our users' calls (RFC 3515).
    pub may_refer: bool,
    /// `mwi`: whether it may tell users of waiting messages (RFC 3842).
    pub may_notify: bool,
    /// `trusted`: whether it is believed about identities, and learns those of callers who want privacy (RFC 3325 5).
    pub trust: Trust,
    /// `identity`: how it is shown who calls.
    pub shows: Shows,
    /// `diversion`: what it is told of calls that were diverted.
    pub tells: Tells,
    /// `early_media`: whether its callers hear nothing of it before it answers (RFC 3960): 183 is 180 to them, without a
    /// description.
    pub is_mute_early: bool,
    /// `codecs`: what it may be offered and may offer, best first; `None`: anything.
    pub codecs: Option<Arc<Permitted>>,
    /// `re_invite`; `None`: as `[move]` says.
    pub re_invite: Option<ReInvite>,
    /// `session_timer`: RFC 4028 with it.
    pub session: Terms,
    /// `[[trunk.header]]`: headers that are written to it, or taken from what passes, in the order of the file.
    pub headers: Vec<HeaderRule>,
    /// `[[trunk.rewrite]]`: how numbers change on their way to it and from it; the first that fits is followed.
    pub rewrites: Vec<Rewrite>,
    /// `caller_id` and `caller_ids`: the number that it is shown where the caller's own will not do.
    pub caller_id: Option<CallerId>,
}
