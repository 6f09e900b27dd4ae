//! The rules of the dial plan: which calls each is for, and where it leads. Names only; who they are now, and which rule a
//! call follows, is said by [`super::dial_plan`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use regex::Regex;

use super::calendar::{Clock, Period};
use super::model::Service;
use super::settings::{Source as Network, Trunk};
use crate::base::{UnixMillis, Zone};
use crate::registrar::accounts::Account;
use crate::wire::sip::StatusCode;

/// One rule: all its conditions must hold, and one that it does not have holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What the operator calls it.
    pub name: Option<Box<str>>,
    /// The number that is dialled.
    pub number: Option<Pattern>,
    /// A number that it is not for.
    pub not: Option<Pattern>,
    /// The caller's number: of a user the name or the extension.
    pub from: Option<Pattern>,
    /// Where the call comes from: one of these.
    pub sources: Vec<Source>,
    /// When: in one of these.
    pub when: Vec<Period>,
    /// By which clock.
    pub clock: Clock,
    /// Whether it is also for numbers that are a user's, an extension's, or of a test.
    pub overrides: bool,
    /// Where the call goes, in turn.
    pub to: Vec<Goal>,
    /// How long a target rings that others follow.
    pub patience: Option<Duration>,
}

/// A regular expression that knows what it is.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Who a call may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `user`: a user, whichever.
    AnyUser,
    /// `trunk`: a trunk, whichever.
    AnyTrunk,
    /// `user:NAME`
    User(Box<str>),
    /// `trunk:NAME`
    Trunk(Box<str>),
    /// A user's device or a trunk at such an address.
    Network(Network),
}

/// A target as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// `user:NAME`: the devices of a user, or one of them (`user:alice*desk`).
    User(Box<str>),
    /// `extension:NUMBER`: the devices of the user who has it.
    Extension(Box<str>),
    /// `trunk:NAME`
    Trunk(Box<str>),
    /// `group:NAME`
    Group(Box<str>),
    /// `code:NUMBER`: what answers there.
    Code(Service, Box<str>),
    /// `reject:CODE REASON`
    Reject(LastWord),
}

/// A refusal that a rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWord {
    /// Its status.
    pub status: StatusCode,
    /// Its reason phrase.
    pub reason: Box<str>,
}

/// Users who are rung as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Box<str>,
    /// Users, or single devices of them.
    pub members: Vec<Goal>,
    /// How.
    pub ring: Ring,
    /// How long: all together, or each in turn.
    pub timeout: Duration,
}

/// How a group is rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ring {
    /// All at once.
    #[default]
    All,
    /// One after the other.
    InTurn,
}

/// A call that asks where to go.
#[derive(Clone, Copy, Debug)]
pub struct Dialling<'a> {
    /// The number.
    pub number: &'a str,
    /// Who calls.
    pub by: Caller<'a>,
    /// When.
    pub at: UnixMillis,
    /// What for.
    pub asks: Asks,
}

/// What somebody who dials wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Asks {
    /// To call.
    #[default]
    Call,
    /// To send something that stays in this node: a text, a word of waiting messages.
    Text,
}

/// Who calls, as it was proved.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// A user or a trunk.
    pub kind: CallerKind<'a>,
    /// From where, if that is known.
    pub address: Option<IpAddr>,
}

/// What calls.
#[derive(Clone, Copy, Debug)]
pub enum CallerKind<'a> {
    /// A user.
    User(&'a Account),
    /// A trunk, with the number of who is behind it. One that may transfer calls does what a user may (`refer`).
    Trunk {
        /// Its name.
        name: &'a str,
        /// The number that it says.
        number: &'a str,
        /// Whether it acts in a call that a user has with it.
        is_transferor: bool,
    },
}

/// The first condition of a rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// `match`
    Number,
    /// `not`
    Excluded,
    /// `source`
    Source,
    /// `from`
    From,
    /// `when`
    When,
    /// The number is one of ours, and the rule says nothing of those.
    Ours,
    /// It leads to trunks only, and says nothing of the trunk that calls.
    Reach,
}

impl Miss {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "match does not fit the number",
            Self::Excluded => "not fits the number",
            Self::Source => "source is another",
            Self::From => "from does not fit the caller",
            Self::When => "when is another time",
            Self::Ours => "the number is one of this node, and override is not set",
            Self::Reach => "a trunk reaches a trunk only where source names it",
        }
    }
}

impl Rule {
    /// Whether the rule is for this call: the one place where its conditions are looked at.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn judge(&self, call: &Dialling<'_>, is_ours: bool, local: &Zone) -> Result<(), Miss> {
        self.fits_number(call.number)?;
        if is_ours && !self.overrides {
            return Err(Miss::Ours);
        }
        if !self.sources.is_empty() && !self.sources.iter().any(|source| source.is(&call.by)) {
            return Err(Miss::Source);
        }
        if self.from.as_ref().is_some_and(|from| !call.by.numbers().any(|number| from.0.is_match(number))) {
            return Err(Miss::From);
        }
        if !self.when.is_empty() {
            let shown = self.clock.show(call.at, local);
            if !self.when.iter().any(|period| period.holds(shown)) {
                return Err(Miss::When);
            }
        }
        if !self.to.iter().any(|goal| self.may_reach(goal, &call.by)) {
            return Err(Miss::Reach);
        }
        Ok(())
    }

    /// The conditions on the number alone.
    ///
    /// # Errors
    /// The one that does not hold.
    pub fn fits_number(&self, number: &str) -> Result<(), Miss> {
        if self.number.as_ref().is_some_and(|pattern| !pattern.0.is_match(number)) {
            return Err(Miss::Number);
        }
        if self.not.as_ref().is_some_and(|pattern| pattern.0.is_match(number)) {
            return Err(Miss::Excluded);
        }
        Ok(())
    }

    /// Whether this caller may be led to `goal`: what calls us over a trunk pays nothing, so it gets out over another one
    /// only where the rule names it.
    #[must_use]
    pub fn may_reach(&self, goal: &Goal, by: &Caller<'_>) -> bool {
        match (goal, by.kind) {
            (Goal::Trunk(_), CallerKind::Trunk { name, is_transferor: false, .. }) => {
                self.sources.iter().any(|source| matches!(source, Source::Trunk(named) if **named == *name))
            }
            _ => true,
        }
    }
}

impl Source {
    fn is(&self, by: &Caller<'_>) -> bool {
        match (self, by.kind) {
            (Self::AnyUser, CallerKind::User(_)) | (Self::AnyTrunk, CallerKind::Trunk { .. }) => true,
            (Self::User(name), CallerKind::User(account)) => account.name == *name,
            (Self::Trunk(named), CallerKind::Trunk { name, .. }) => **named == *name,
            (Self::Network(network), _) => {
                let is_there = |ip| Network { port: None, ..*network }.contains(SocketAddr::new(ip, 0));
                by.address.is_some_and(is_there)
            }
            _ => false,
        }
    }
}

impl<'a> Caller<'a> {
    /// The names and numbers that it goes by.
    pub fn numbers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (first, second) = match self.kind {
            CallerKind::User(account) => (&*account.name, account.extension.as_deref()),
            CallerKind::Trunk { number, .. } => (number, None),
        };
        std::iter::once(first).chain(second)
    }

    /// The user, where it is one.
    #[must_use]
    pub fn account(&self) -> Option<&'a Account> {
        match self.kind {
            CallerKind::User(account) => Some(account),
            CallerKind::Trunk { .. } => None,
        }
    }
}

/// The place of a trunk in the settings.
#[must_use]
pub fn place_of(trunks: &[Trunk], name: &str) -> Option<usize> {
    trunks.iter().position(|trunk| *trunk.name == *name && !trunk.is_gone)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyUser => f.write_str("user"),
            Self::AnyTrunk => f.write_str("trunk"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Trunk(name) => write!(f, "trunk:{name}"),
            Self::Network(network) => write!(f, "{}/{}", network.network, network.prefix),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Extension(number) => write!(f, "extension:{number}"),
            Self::Trunk(name) => write!(f, "trunk:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Code(_, number) => write!(f, "code:{number}"),
            Self::Reject(last) => write!(f, "reject:{} {}", last.status.as_u16(), last.reason),
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::InTurn => "in-turn",
        })
    }
}
