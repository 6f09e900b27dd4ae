//! Why a move is refused, and the one table from reason to status.

/// A reason not to move a call. What a stranger may not tell apart shares one reason: an unknown dialog and a
/// dialog of somebody else are both [`Refusal::DialogUnknown`], an unknown token and one of another device are
/// both [`Refusal::TokenRefused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Replaces (or Join) that no reading makes sense of: several, outside INVITE, together, no Call-ID.
    ReplacesMalformed,
    /// No dialog, several dialogs, or a dialog of somebody else.
    DialogUnknown,
    /// The matched dialog is over.
    DialogTerminated,
    /// `early-only` and the dialog is confirmed.
    EarlyOnly,
    /// A token that is unknown, used, expired, or was given to another device.
    TokenRefused,
    /// The user has no call that could be moved here.
    NoCall,
    /// The user has no such device.
    DeviceUnknown,
    /// The call is already on that device.
    AlreadyThere,
    /// A shared device on which nobody has given extension and PIN, or somebody else has.
    Locked,
    /// Extension or PIN did not fit.
    PinWrong,
    /// The old or the new device has no unexpired binding.
    NotRegistered,
    /// The device handed this call on a moment ago.
    HoldOff {
        /// Whole seconds left, at least 1.
        seconds: u32,
    },
    /// Emergency calls stay where they are.
    Emergency,
    /// Another move of this call is under way, or has just won.
    Busy,
    /// More than one move per second of one call.
    TooSoon {
        /// Whole seconds to wait, at least 1.
        seconds: u32,
    },
    /// No common media with the far side, or an offer that cannot be used.
    OfferUnusable,
    /// The far side refused the new media.
    FarRefused,
    /// The far side did not answer in time.
    FarSilent,
    /// The far side hung up.
    FarGone,
    /// The new device cancelled, or its mover did.
    Cancelled,
    /// The new device declined, was busy, or could not be reached.
    TargetRefused,
    /// The new device did not answer in time.
    TargetSilent,
    /// The new device never confirmed our answer.
    NeverAcked,
    /// The snapshot could not be stored.
    StoreUnavailable {
        /// Whole seconds to wait.
        seconds: u32,
    },
}

impl Refusal {
    /// The SIP status. One arm per reason and no wildcard: a new reason does not compile without a status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::ReplacesMalformed => 400, // RFC 3891 section 3
            Self::DialogUnknown => 481,     // RFC 3891 section 3
            Self::DialogTerminated => 603,  // RFC 3891 section 3
            Self::EarlyOnly => 486,         // RFC 3891 section 3
            Self::TokenRefused => 403,
            Self::NoCall | Self::DeviceUnknown => 404,
            Self::AlreadyThere => 482,
            Self::Locked | Self::PinWrong => 403,
            Self::NotRegistered => 403,
            Self::HoldOff { .. } => 403,
            Self::Emergency => 403,
            Self::Busy => 486,
            Self::TooSoon { .. } => 503,
            Self::OfferUnusable | Self::FarRefused => 488,
            Self::FarSilent => 504,
            Self::FarGone => 481,
            Self::Cancelled => 487,
            Self::TargetRefused | Self::TargetSilent => 480,
            Self::NeverAcked => 408,
            Self::StoreUnavailable { .. } => 503,
        }
    }

    /// The HTTP status of the same reason.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::ReplacesMalformed => 400,
            Self::DialogUnknown | Self::NoCall | Self::DeviceUnknown | Self::FarGone => 404,
            Self::DialogTerminated => 410,
            Self::EarlyOnly | Self::AlreadyThere | Self::Busy | Self::Cancelled | Self::NotRegistered => 409,
            Self::TokenRefused | Self::Locked | Self::PinWrong | Self::HoldOff { .. } | Self::Emergency => {
                403
            }
            Self::TooSoon { .. } => 429,
            Self::OfferUnusable | Self::FarRefused | Self::TargetRefused => 422,
            Self::FarSilent | Self::TargetSilent | Self::NeverAcked => 504,
            Self::StoreUnavailable { .. } => 503,
        }
    }

    /// What to put into Retry-After, where waiting helps.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::HoldOff { seconds } | Self::TooSoon { seconds } | Self::StoreUnavailable { seconds } => {
                Some(seconds)
            }
            _ => None,
        }
    }

    /// A word for metrics, events and records: `refused(hold_off)`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReplacesMalformed => "replaces_malformed",
            Self::DialogUnknown => "dialog_unknown",
            Self::DialogTerminated => "dialog_terminated",
            Self::EarlyOnly => "early_only",
            Self::TokenRefused => "token_refused",
            Self::NoCall => "no_call",
            Self::DeviceUnknown => "device_unknown",
            Self::AlreadyThere => "already_there",
            Self::Locked => "locked",
            Self::PinWrong => "pin_wrong",
            Self::NotRegistered => "not_registered",
            Self::HoldOff { .. } => "hold_off",
            Self::Emergency => "emergency",
            Self::Busy => "busy",
            Self::TooSoon { .. } => "too_soon",
            Self::OfferUnusable => "offer_unusable",
            Self::FarRefused => "far_refused",
            Self::FarSilent => "far_silent",
            Self::FarGone => "far_gone",
            Self::Cancelled => "cancelled",
            Self::TargetRefused => "target_refused",
            Self::TargetSilent => "target_silent",
            Self::NeverAcked => "never_acked",
            Self::StoreUnavailable { .. } => "store_unavailable",
        }
    }

    /// A sentence for `Reason: SIP;cause=…;text="…"` and for people. No name, no number, nothing to learn from.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ReplacesMalformed => "Replaces cannot be used",
            Self::DialogUnknown | Self::FarGone => "Call does not exist",
            Self::DialogTerminated => "Call has ended",
            Self::EarlyOnly => "Call is already answered",
            Self::TokenRefused => "Not valid here",
            Self::NoCall => "No call to move",
            Self::DeviceUnknown => "No such device",
            Self::AlreadyThere => "Call is already on this device",
            Self::Locked => "Sign in on this device first",
            Self::PinWrong => "Extension or PIN is wrong",
            Self::NotRegistered => "Device is not registered",
            Self::HoldOff { .. } => "Call was moved away from this device",
            Self::Emergency => "Emergency calls are not moved",
            Self::Busy => "Call is being moved",
            Self::TooSoon { .. } => "Call was moved a moment ago",
            Self::OfferUnusable => "No common media",
            Self::FarRefused => "Far side refused the new media",
            Self::FarSilent => "Far side did not answer",
            Self::Cancelled => "Move was cancelled",
            Self::TargetRefused => "Device refused the call",
            Self::TargetSilent => "Device did not answer",
            Self::NeverAcked => "Device did not confirm",
            Self::StoreUnavailable { .. } => "Try again shortly",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_helps_only_where_retry_after_says_how_long() {
        assert_eq!(Refusal::HoldOff { seconds: 7 }.retry_after(), Some(7));
        assert_eq!(Refusal::TooSoon { seconds: 1 }.status(), 503);
        assert_eq!(Refusal::DialogUnknown.retry_after(), None);
        assert_eq!(Refusal::HoldOff { seconds: 7 }.status(), 403);
    }
}
