//! Who a dialled URI means: a service, users, one device of a user, trunks, nobody; one after the other where there are
//! several.
//!
//! [`Core::decide`] is the one function that says where a call goes. Calls, transfers and messages ask it through
//! [`Core::route`]; `segue route test` asks it with a witness, who is told of every rule what calls are not told of. In
//! this order:
//!
//! 1. an emergency number: every rule that holds, then the trunks of every rule whose number fits, whatever else it says;
//! 2. a number of ours (a user's, an extension, a test number): the first rule with `override` that holds, else that one;
//! 3. any other number: the first rule that holds, else nobody.
//!
//! Who is behind a PBX calls over that where this says a user of the same PBX, or nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::core::Core;
use super::model::Service;
use super::rules::{Asks, Dialling, Goal, Group, LastWord, Miss, Ring, Rule, place_of};
use crate::registrar::accounts::Account;
use crate::sip::Refusal;
use crate::wire::sip::{Scheme, Uri};

/// Longest number or name that is looked up.
const MAX_NUMBER: usize = 128;

/// Numbers that always mean an emergency (European, North American, and common others). Never moved.
pub const EMERGENCY: [&str; 5] = ["112", "911", "999", "110", "118"];

/// How long users ring that others follow, where the rule does not say: about six rings.
const TURN: Duration = Duration::from_secs(30);

/// A user, and one device by its place in `account.devices` where only that is meant.
pub type Member = (Arc<Account>, Option<usize>);

/// What is called at once.
#[derive(Clone)]
pub enum Destination {
    /// All devices of a user, or one.
    User {
        /// The user.
        account: Arc<Account>,
        /// The one device, by its place in `account.devices`.
        device: Option<usize>,
    },
    /// The devices of several users.
    Group(Vec<Member>),
    /// Trunks in the order to be tried.
    Trunks(SmallVec<[usize; 2]>),
    /// Ourselves.
    Service(Service),
}

/// One target of a call.
#[derive(Clone)]
pub struct Stop {
    /// Who.
    pub to: Destination,
    /// How long it rings; `None`: as long as the call may.
    pub limit: Option<Duration>,
    /// Whether a refusal of one user is no refusal of the others (RFC 3261 16.7 step 5 knows no groups).
    pub is_of_group: bool,
}

/// Where a call goes, in turn.
#[derive(Clone, Default)]
pub struct Plan {
    /// What is still to be tried.
    pub stops: VecDeque<Stop>,
    /// What the caller hears if none of it takes the call; `None`: the best of the answers.
    pub last_word: Option<LastWord>,
}

/// Why a plan is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The number is an emergency number.
    Emergency,
    /// The number is a user's, an extension or a test number.
    Ours,
    /// A rule, by its place.
    Rule(usize),
    /// The caller is behind a PBX, whose number it is.
    Pbx,
    /// Nothing.
    Nobody,
}

/// What [`Core::decide`] says of each rule, in their order.
pub type Verdicts = Vec<Result<(), Miss>>;

impl Plan {
    /// A call to ourselves.
    #[must_use]
    pub fn service(service: Service) -> Self {
        Self::to(Destination::Service(service))
    }

    /// A call to one destination.
    #[must_use]
    pub fn to(to: Destination) -> Self {
        let stop = Stop { to, limit: None, is_of_group: false };
        Self { stops: VecDeque::from([stop]), last_word: None }
    }

    /// The user that is called, first of all.
    #[must_use]
    pub fn user(&self) -> Option<Member> {
        match &self.stops.front()?.to {
            Destination::User { account, device } => Some((Arc::clone(account), *device)),
            Destination::Group(_) | Destination::Trunks(_) | Destination::Service(_) => None,
        }
    }

    /// The service that is called.
    #[must_use]
    pub fn as_service(&self) -> Option<Service> {
        match self.stops.front()?.to {
            Destination::Service(service) => Some(service),
            Destination::User { .. } | Destination::Group(_) | Destination::Trunks(_) => None,
        }
    }

    /// Whether a trunk may be called.
    #[must_use]
    pub fn leads_out(&self) -> bool {
        self.stops.iter().any(|stop| matches!(stop.to, Destination::Trunks(_)))
    }

    /// Whether there is nothing to be tried and nothing to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty() && self.last_word.is_none()
    }
}

/// The number or name that a URI dials, percent-decoded.
///
/// # Errors
/// `DestinationUnknown` where the URI has none, or is of a scheme or a size that we do not route.
pub fn dialled(uri: &Uri<'_>) -> Result<Box<str>, Refusal> {
    let user = match uri.scheme() {
        Scheme::Sip | Scheme::Sips => uri.user_decoded().ok_or(Refusal::DestinationUnknown)?,
        // RFC 3966: visual separators do not count.
        Scheme::Tel => {
            uri.user_decoded().ok_or(Refusal::DestinationUnknown)?.replace(['-', '.', '(', ')'], "").into()
        }
        Scheme::Other => return Err(Refusal::DestinationUnknown),
    };
    if user.is_empty() || user.len() > MAX_NUMBER || user.chars().any(char::is_control) {
        return Err(Refusal::DestinationUnknown);
    }
    Ok(user.as_ref().into())
}

/// Whether `number` calls an emergency service.
#[must_use]
pub fn is_emergency(number: &str) -> bool {
    EMERGENCY.contains(&number)
}

impl Core {
    /// Where a call that is dialled at `uri` goes.
    ///
    /// # Errors
    /// `DestinationUnknown` where nothing matches, and for foreign domains: we are nobody's open relay.
    pub fn route(&self, uri: &Uri<'_>, call: &Dialling<'_>) -> Result<Plan, Refusal> {
        let foreign = uri.scheme() != Scheme::Tel && !self.settings.is_ours(uri.host());
        if foreign {
            return Err(Refusal::DestinationUnknown);
        }
        self.route_here(call)
    }

    /// The same for a number that was dialled here by whatever URI.
    ///
    /// # Errors
    /// `DestinationUnknown` where nothing matches.
    pub fn route_here(&self, call: &Dialling<'_>) -> Result<Plan, Refusal> {
        let (_, plan) = self.decide(call, None);
        if plan.is_empty() { Err(Refusal::DestinationUnknown) } else { Ok(plan) }
    }

    /// Where a call goes, and why. A witness is told the verdict on every rule; without one the rules behind the one that
    /// is followed are not looked at. The plan is the same.
    pub fn decide(&self, call: &Dialling<'_>, mut witness: Option<&mut Verdicts>) -> (Ground, Plan) {
        let (rules, local) = (&self.settings.routes, &self.settings.zone);
        let ours = self.ours(call.number);
        let is_emergency = is_emergency(call.number);
        let mut holding: SmallVec<[usize; 2]> = SmallVec::new();
        for (place, rule) in rules.iter().enumerate() {
            if witness.is_none() && !is_emergency && !holding.is_empty() {
                break;
            }
            let verdict = rule.judge(call, ours.is_some() && !is_emergency, local);
            if verdict.is_ok() {
                holding.push(place);
            }
            if let Some(verdicts) = &mut witness {
                verdicts.push(verdict);
            }
        }
        if is_emergency {
            let plan = self.for_help(call, &holding);
            if !plan.stops.is_empty() {
                return (Ground::Emergency, plan);
            }
        } else if let Some((place, rule)) =
            holding.first().and_then(|place| Some((*place, rules.get(*place)?)))
        {
            return (Ground::Rule(place), self.plan_of(rule, call));
        }
        if let Some(trunk) = self.pbx_for(call, ours.as_ref()) {
            return (Ground::Pbx, Plan::to(Destination::Trunks(SmallVec::from_slice(&[trunk]))));
        }
        match ours {
            Some(to) => (Ground::Ours, Plan::to(to)),
            None => (Ground::Nobody, Plan::default()),
        }
    }

    /// The PBX that a call goes to: that of the user who calls, unless the number is of this node alone: a test number, one
    /// device of somebody, a user who is not behind that PBX.
    fn pbx_for(&self, call: &Dialling<'_>, ours: Option<&Destination>) -> Option<usize> {
        let pbx = call.by.account().filter(|_| call.asks == Asks::Call)?.pbx.as_ref()?;
        let is_of_pbx = match ours {
            Some(Destination::User { account, device: None }) => {
                account.pbx.as_ref().is_some_and(|other| other.trunk == pbx.trunk)
            }
            Some(_) => false,
            None => true,
        };
        if is_of_pbx { place_of(&self.settings.trunks, &pbx.trunk) } else { None }
    }

    /// What a number is here, whatever the rules say.
    fn ours(&self, number: &str) -> Option<Destination> {
        if self.settings.echo.as_deref() == Some(number) {
            return Some(Destination::Service(Service::Echo));
        }
        if self.settings.tone.as_deref() == Some(number) {
            return Some(Destination::Service(Service::Tone));
        }
        let (account, device) = self.accounts.by_address(number)?;
        Some(Destination::User { account, device })
    }

    /// A call for help: nothing refuses it, and no time, caller or place keeps it from a trunk that its number leads to. Only
    /// who comes from a trunk gets no other one than its rules name.
    fn for_help(&self, call: &Dialling<'_>, holding: &[usize]) -> Plan {
        let mut plan = Plan::default();
        let rules = &self.settings.routes;
        for rule in holding.iter().filter_map(|place| rules.get(*place)) {
            let is_of_use = |goal: &&Goal| !matches!(goal, Goal::Code(..) | Goal::Reject(_));
            for goal in rule.to.iter().filter(is_of_use) {
                self.add_goal(&mut plan, rule, goal, call);
            }
        }
        let numbered = rules.iter().filter(|rule| rule.number.is_some());
        for rule in
            numbered.filter(|rule| rule.number.as_ref().is_some_and(|fits| fits.0.is_match(call.number)))
        {
            for goal in rule.to.iter().filter(|goal| matches!(goal, Goal::Trunk(_))) {
                self.add_goal(&mut plan, rule, goal, call);
            }
        }
        if let Some(trunk) = self.pbx_for(call, None) {
            add_trunk(&mut plan, trunk, None);
        }
        limit_turns(&mut plan, None);
        plan
    }

    /// The plan of one rule. Who is not there, or no longer, is passed over.
    fn plan_of(&self, rule: &Rule, call: &Dialling<'_>) -> Plan {
        let mut plan = Plan::default();
        for goal in &rule.to {
            self.add_goal(&mut plan, rule, goal, call);
        }
        limit_turns(&mut plan, rule.patience);
        plan
    }

    fn add_goal(&self, plan: &mut Plan, rule: &Rule, goal: &Goal, call: &Dialling<'_>) {
        if !rule.may_reach(goal, &call.by) {
            return;
        }
        let to = match goal {
            Goal::User(_) | Goal::Extension(_) => {
                self.member(goal).map(|(account, device)| Destination::User { account, device })
            }
            Goal::Trunk(name) => {
                let Some(index) = place_of(&self.settings.trunks, name) else { return };
                return add_trunk(plan, index, rule.patience);
            }
            Goal::Group(name) => {
                let group = self.settings.groups.iter().find(|group| group.name == *name);
                return group.into_iter().for_each(|group| self.add_group(plan, group, call));
            }
            Goal::Code(service, _) => Some(Destination::Service(*service)),
            Goal::Reject(last_word) => {
                plan.last_word = Some(last_word.clone());
                None
            }
        };
        plan.stops.extend(to.map(|to| Stop { to, limit: None, is_of_group: false }));
    }

    /// The members of a group, but for the user who calls: that one is not rung by its own call.
    fn add_group(&self, plan: &mut Plan, group: &Group, call: &Dialling<'_>) {
        let caller = call.by.account().map(|account| &account.name);
        let members = group.members.iter().filter_map(|member| self.member(member));
        let members = members.filter(|(account, _)| Some(&account.name) != caller);
        let limit = Some(group.timeout);
        let stop = |to| Stop { to, limit, is_of_group: true };
        match group.ring {
            Ring::All => {
                let members: Vec<Member> = members.collect();
                if !members.is_empty() {
                    plan.stops.push_back(stop(Destination::Group(members)));
                }
            }
            Ring::InTurn => {
                plan.stops
                    .extend(members.map(|(account, device)| stop(Destination::User { account, device })));
            }
        }
    }

    /// The user, or the device, that a target names.
    #[must_use]
    pub fn member(&self, goal: &Goal) -> Option<Member> {
        match goal {
            Goal::User(name) => self.accounts.by_address(name),
            Goal::Extension(number) => Some((Arc::clone(self.accounts.by_extension(number)?), None)),
            Goal::Trunk(_) | Goal::Group(_) | Goal::Code(..) | Goal::Reject(_) => None,
        }
    }
}

/// Trunks that follow each other are one target: what is down of them is passed over as long as anything is up. Where the
/// rule limits each, they are several. One that is in the plan already is not tried again.
fn add_trunk(plan: &mut Plan, index: usize, patience: Option<Duration>) {
    let is_known = |stop: &Stop| matches!(&stop.to, Destination::Trunks(trunks) if trunks.contains(&index));
    if plan.stops.iter().any(is_known) {
        return;
    }
    match plan.stops.back_mut().map(|stop| &mut stop.to) {
        Some(Destination::Trunks(trunks)) if patience.is_none() => trunks.push(index),
        _ => {
            let to = Destination::Trunks(SmallVec::from_slice(&[index]));
            plan.stops.push_back(Stop { to, limit: None, is_of_group: false });
        }
    }
}

/// Every target but the last has its turn, and a group has its own.
fn limit_turns(plan: &mut Plan, patience: Option<Duration>) {
    let last = if plan.last_word.is_some() { plan.stops.len() } else { plan.stops.len().saturating_sub(1) };
    for stop in plan.stops.iter_mut().take(last).filter(|stop| stop.limit.is_none()) {
        stop.limit = match stop.to {
            Destination::User { .. } | Destination::Group(_) => Some(patience.unwrap_or(TURN)),
            // A trunk that rings is somebody's phone far away; it has as long as it wants unless the rule says otherwise.
            Destination::Trunks(_) | Destination::Service(_) => patience,
        };
    }
}
