//! The `[move]` and `[test]` settings, resolved.

use std::time::Duration;

use super::hold_off::Scope;
use super::star_code::Codes;
use crate::call::policy;
use crate::media::plan::Hold;

/// What a node does about moves. Per-user values, where they exist, override the lengths given here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The star codes and the test codes.
    pub codes: Codes,
    /// How Replaces is read.
    pub replaces: ReplacesMode,
    /// Whether the far side is re-INVITEd when it need not be.
    pub re_invite: ReInvite,
    /// Which call a bare pull code takes.
    pub select: SelectPolicy,
    /// How long the old device may not touch the call; zero turns it off.
    pub hold_off: Duration,
    /// What a hold-off covers.
    pub hold_off_scope: Scope,
    /// How long the new device may stay silent after the swap before the call goes back.
    pub rollback: Duration,
    /// Whether the old device is told where its call went.
    pub notice: Notice,
    /// What becomes of the live call of a user who signs in at a device.
    pub follow: Follow,
    /// How long a user stays signed in at a shared device.
    pub hot_desk: Duration,
    /// What becomes of the hold that the old device had put on the far side.
    pub hold: Hold,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            codes: Codes::default(),
            replaces: ReplacesMode::Lenient,
            re_invite: ReInvite::WhenNeeded,
            select: SelectPolicy::Newest,
            hold_off: Duration::from_secs(30),
            hold_off_scope: Scope::Call,
            rollback: Duration::from_millis(2000),
            notice: Notice::Message,
            follow: Follow::Off,
            hot_desk: Duration::from_secs(12 * 3600),
            hold: Hold::Lift,
        }
    }
}

/// `replaces = "strict" | "lenient" | "off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacesMode {
    /// RFC 3891 section 3, to the letter.
    Strict,
    /// What real phones send is understood, for the authenticated owner alone.
    Lenient,
    /// Nothing matches.
    Off,
}

/// `re_invite = "when-needed" | "always"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReInvite {
    /// Only where the anchored media cannot stay as it is.
    WhenNeeded,
    /// At every move.
    Always,
}

impl ReInvite {
    /// The same for trunks of which nothing else is said.
    #[must_use]
    pub const fn of_trunks(self) -> policy::ReInvite {
        match self {
            Self::WhenNeeded => policy::ReInvite::WhenNeeded,
            Self::Always => policy::ReInvite::Always,
        }
    }
}

/// `follow = "off" | "offer" | "move"`: the live call of a user who signs in at a device and asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Stays where it is.
    Off,
    /// Rings at the device; whoever answers has it.
    Offer,
    /// Goes there: the device is asked to answer by itself, where its settings allow that.
    Move,
}

impl Follow {
    /// As it is configured.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Offer => "offer",
            Self::Move => "move",
        }
    }
}

/// `notice = "message" | "off"`: how a device hears that its call went on, besides what watchers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// By MESSAGE, if it says that it takes one.
    Message,
    /// Not at all.
    Off,
}

/// `select = "newest"`: the call a bare pull code takes among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The most recently answered.
    Newest,
    /// The one that was answered first.
    Oldest,
}
