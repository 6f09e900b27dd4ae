//! What the dial plan says, for whoever asks: the rules, and what a call would meet.
//!
//! A test decides by [`crate::call::Core::decide`], as calls do, and looks at what is there without touching it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::command::{CommandError, NAME_LEN, Reply};
use super::trunks::Health;
use super::view::{Listed, Order, Page, PageQuery};
use crate::call::Service;
use crate::call::calendar;
use crate::call::dial_plan::{Destination, Ground, Member, Plan, Stop, dialled};
use crate::call::identity::Shows;
use crate::call::numbers::{Toward, Whose};
use crate::call::rules::{Asks, Caller, CallerKind, Dialling, Goal, Miss, Rule};
use crate::call::settings::Trunk;
use crate::moving::star_code::StarCode;
use crate::registrar::accounts::{Account, Trust};
use crate::sip::Refusal;
use crate::wire::sip::{Scheme, Uri};

/// Longest number that is tested; longer ones are none.
const MAX_NUMBER: usize = 128;

/// A rule of the dial plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// Its place, from 1: the first that holds is followed.
    pub place: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The numbers that it is for.
    #[serde(rename = "match")]
    pub number: Option<String>,
    /// Those that it is not for.
    pub not: Option<String>,
    /// The callers.
    pub from: Option<String>,
    /// Where calls come from; any where it is empty.
    pub source: Vec<String>,
    /// When; always where it is empty.
    pub when: Vec<String>,
    /// By which clock; absent without `when`.
    pub zone: Option<String>,
    /// Whether it is for the node's own numbers, too.
    #[serde(rename = "override")]
    pub overrides: bool,
    /// Targets, in turn.
    pub to: Vec<String>,
    /// How long a target rings that others follow, where the rule says so.
    pub timeout_s: Option<u64>,
}

impl Listed for RouteView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        format!("{:06}", self.place)
    }
}

/// A call to be thought through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuestion {
    /// Who calls: a user, an extension or a device, or from a trunk a number.
    pub from: Box<str>,
    /// The number.
    pub to: Box<str>,
    /// `trunk:NAME`, or the address that a user calls from; `None`: the user's own.
    pub source: Option<Box<str>>,
    /// When; `None`: now.
    pub at: Option<Box<str>>,
}

/// What would become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTestView {
    /// The caller's number.
    pub from: String,
    /// The number that is dialled.
    pub to: String,
    /// `user:NAME` or `trunk:NAME`
    pub source: String,
    /// The time that was meant, by the clock of the machine (RFC 3339 with offset).
    pub at: String,
    /// What decides: `emergency`, `code`, `own-number`, `rule`, `pbx` or `nothing`.
    pub by: String,
    /// The rule that is followed, where it is one.
    pub rule: Option<u32>,
    /// Every rule in order.
    pub rules: Vec<RuleVerdictView>,
    /// Who is called, in turn.
    pub targets: Vec<RouteTargetView>,
    /// Whether the call would reach somebody.
    pub goes: bool,
    /// What the caller hears if nobody takes it; of a call that goes nowhere, at once.
    pub status: Option<u16>,
    /// The reason phrase of that.
    pub reason: Option<String>,
    /// The caller's number as the trunk says it, where rules of the trunk make `from` of it.
    pub trunk_from: Option<String>,
    /// The number as the trunk dials it, where rules of the trunk make `to` of it.
    pub trunk_to: Option<String>,
}

/// What a rule says of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleVerdictView {
    /// Its place, from 1.
    pub place: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether all its conditions hold.
    pub holds: bool,
    /// Whether the call follows it.
    pub followed: bool,
    /// Why it is not followed.
    pub why: Option<String>,
    /// Its targets.
    pub to: Vec<String>,
}

/// A target of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTargetView {
    /// From 1; those with the same number are called at once.
    pub turn: u32,
    /// `user:NAME`, `user:NAME*DEVICE`, `trunk:NAME`, `code:NUMBER`
    pub target: String,
    /// Whether it would be reached.
    pub reached: bool,
    /// `registered`, `unregistered`; of a trunk `up`, `down`, `unknown`, `full`, `unresolved`; `answers`.
    pub state: String,
    /// Devices that would ring.
    pub devices: Vec<String>,
    /// Calls of a trunk now.
    pub calls: Option<u32>,
    /// Most calls at once of a trunk.
    pub max_calls: Option<u32>,
    /// Most calls of a trunk begun in a second.
    pub max_cps: Option<u32>,
    /// How long it rings, if not as long as the call may.
    pub timeout_s: Option<u64>,
    /// The number that a trunk is called by.
    pub called: Option<String>,
    /// The number of the caller that a trunk is shown, unless the caller wants to be anonymous.
    pub calling: Option<String>,
}

/// The numbers of a call, as they are here.
struct Heard {
    from: Box<str>,
    to: Box<str>,
    /// The number that the trunk dials, where that is another.
    trunk_to: Option<Box<str>>,
}

impl Engine {
    /// The rules, as far as `query` asks for them.
    pub(super) fn list_routes(&self, query: &PageQuery) -> Reply {
        let views = self.core.settings.routes.iter().enumerate().map(|(at, rule)| route_view(at, rule));
        Reply::Routes(Page::cut(views, query))
    }

    /// What would become of a call. Nothing is changed by it.
    pub(super) fn test_route(&self, question: &RouteQuestion) -> Result<Reply, CommandError> {
        let core = &self.core;
        let to = self.number_of_question(&question.to)?;
        let heard = self.heard(question, to);
        let number = &heard.to;
        let at = match &question.at {
            Some(text) => calendar::instant(text, &core.settings.zone).map_err(|why| invalid("at", why))?,
            None => core.now.unix,
        };
        let account = if question.source.as_deref().is_some_and(|source| source.starts_with("trunk:")) {
            None
        } else {
            Some(self.user_of_question(&question.from)?)
        };
        let by = match &account {
            Some((account, device)) => self.calling_user(account, *device, question.source.as_deref())?,
            None => self.calling_trunk(question, &heard.from)?,
        };
        let call = Dialling { number, by, at, asks: Asks::Call };
        let mut view = RouteTestView {
            from: heard.from.to_string(),
            to: number.to_string(),
            source: match by.kind {
                CallerKind::User(account) => format!("user:{}", account.name),
                CallerKind::Trunk { name, .. } => format!("trunk:{name}"),
            },
            at: core.settings.zone.show(at).to_string(),
            trunk_from: (heard.from != question.from).then(|| question.from.to_string()),
            trunk_to: heard.trunk_to.as_deref().map(str::to_owned),
            ..RouteTestView::default()
        };
        let is_code = |caller: &Member| match StarCode::read(number, &self.settings.moving.codes) {
            Some(StarCode::Echo | StarCode::Tone) | None => false,
            Some(StarCode::SignIn | StarCode::SignOut) => has_shared(caller),
            Some(_) => true,
        };
        if account.as_ref().is_some_and(is_code) {
            "code".clone_into(&mut view.by);
            view.goes = true;
        } else {
            self.think_through(&call, &mut view);
        }
        if self.is_draining && view.by != "emergency" {
            view.goes = false;
            note_refusal(&mut view, &Refusal::Draining);
        }
        Ok(Reply::RouteTest(Box::new(view)))
    }

    /// The numbers of a question as they are here, which rules of its trunk may have made.
    fn heard(&self, question: &RouteQuestion, to: Box<str>) -> Heard {
        let named = question.source.as_deref().and_then(|source| source.strip_prefix("trunk:"));
        let trunk = self.core.settings.trunks.iter().rfind(|trunk| Some(&*trunk.name) == named);
        let from = trunk.and_then(|trunk| trunk.rewritten(Whose::Calling, Toward::Us, &question.from));
        let from = from.unwrap_or_else(|| question.from.clone());
        match trunk.and_then(|trunk| trunk.rewritten(Whose::Called, Toward::Us, &to)) {
            Some(here) => Heard { from, to: here, trunk_to: Some(to) },
            None => Heard { from, to, trunk_to: None },
        }
    }

    /// The number of a question, which may be a URI of this domain.
    fn number_of_question(&self, to: &str) -> Result<Box<str>, CommandError> {
        let is_uri = ["sip:", "sips:", "tel:"].iter().any(|scheme| to.starts_with(scheme));
        let none = || invalid("to", "is no number");
        if to.is_empty() || to.len() > MAX_NUMBER || to.chars().any(char::is_control) {
            return Err(none());
        }
        if !is_uri {
            return Ok(to.into());
        }
        let uri = Uri::parse(to).map_err(|_| invalid("to", "is no URI"))?;
        if uri.scheme() != Scheme::Tel && !self.core.settings.is_ours(uri.host()) {
            return Err(invalid("to", "is of another domain, and so is never called"));
        }
        dialled(&uri).map_err(|_| none())
    }

    fn user_of_question(&self, from: &str) -> Result<Member, CommandError> {
        let known = self.core.accounts.by_address(from).filter(|_| from.len() <= 2 * NAME_LEN);
        let why = "there is no such user; a call from a trunk has --source trunk:NAME";
        known.ok_or_else(|| invalid("from", why))
    }

    /// A user who calls from an address, or from where the device is registered.
    fn calling_user<'a>(
        &self,
        account: &'a Account,
        device: Option<usize>,
        source: Option<&str>,
    ) -> Result<Caller<'a>, CommandError> {
        let given = source.map(|source| source.parse::<IpAddr>());
        let given = given.transpose().map_err(|_| invalid("source", "must be trunk:NAME or an address"))?;
        let id = device.and_then(|at| account.devices.get(at)).map(|device| &device.id);
        let bindings = self.core.registrar.lookup(&account.name, self.core.now.at);
        let own = bindings.iter().find(|binding| id.is_none_or(|id| *binding.device == **id));
        let address = given.or_else(|| own.map(|binding| binding.flow.peer.ip()));
        Ok(Caller { kind: CallerKind::User(account), address })
    }

    fn calling_trunk<'a>(
        &'a self,
        question: &RouteQuestion,
        from: &'a str,
    ) -> Result<Caller<'a>, CommandError> {
        let named = question.source.as_deref().and_then(|source| source.strip_prefix("trunk:"));
        let mut trunks = self.core.settings.trunks.iter().enumerate();
        // One that is no more may have had the name, and has calls yet.
        let found = trunks.find(|(_, trunk)| Some(&*trunk.name) == named && !trunk.is_gone);
        let (index, trunk) = found.ok_or_else(|| invalid("source", "there is no such trunk"))?;
        let address = self.core.targets.all(index).next().map(|target| target.peer.ip());
        let kind = CallerKind::Trunk { name: &trunk.name, number: from, is_transferor: false };
        Ok(Caller { kind, address })
    }

    fn think_through(&self, call: &Dialling<'_>, view: &mut RouteTestView) {
        let core = &self.core;
        let mut verdicts = Vec::new();
        let (ground, plan) = core.decide(call, Some(&mut verdicts));
        let (by, followed) = match ground {
            Ground::Emergency => ("emergency", None),
            Ground::Ours => ("own-number", None),
            Ground::Pbx => ("pbx", None),
            Ground::Rule(place) => ("rule", Some(place)),
            Ground::Nobody => ("nothing", None),
        };
        by.clone_into(&mut view.by);
        view.rule = followed.map(place_from_one);
        let rules = core.settings.routes.iter().zip(verdicts).enumerate();
        view.rules =
            rules.map(|(at, (rule, verdict))| verdict_view(at, rule, verdict, (ground, call))).collect();
        view.targets = self.targets_of(&plan, call);
        view.goes = view.targets.iter().any(|target| target.reached);
        match (&plan.last_word, ground) {
            (Some(last), _) => {
                (view.status, view.reason) = (Some(last.status.as_u16()), Some(last.reason.to_string()));
            }
            _ if view.goes => {}
            _ if plan.is_empty() => note_refusal(view, &Refusal::DestinationUnknown),
            _ if view.targets.iter().any(|target| target.state == "full") => {
                note_refusal(view, &Refusal::Overloaded { what: "trunk", retry_after: 5 });
            }
            _ => note_refusal(view, &Refusal::Unreachable),
        }
    }

    fn targets_of(&self, plan: &Plan, call: &Dialling<'_>) -> Vec<RouteTargetView> {
        let mut views: Vec<RouteTargetView> = Vec::new();
        for Stop { to, limit, .. } in &plan.stops {
            let turn = views.last().map_or(1, |last| last.turn.saturating_add(1));
            let first = views.len();
            match to {
                Destination::User { account, device } => views.push(self.user_target(account, *device)),
                Destination::Group(members) => {
                    views.extend(members.iter().map(|(account, device)| self.user_target(account, *device)));
                }
                Destination::Trunks(trunks) => {
                    views.extend(trunks.iter().filter_map(|index| self.trunk_target(*index, call)));
                }
                Destination::Service(service) => views.push(RouteTargetView {
                    target: format!("code:{}", self.code_of(*service)),
                    reached: true,
                    state: "answers".to_owned(),
                    ..RouteTargetView::default()
                }),
            }
            let is_in_turn = matches!(to, Destination::Trunks(_));
            for (at, view) in (0..).zip(views.iter_mut().skip(first)) {
                view.turn = if is_in_turn { turn + at } else { turn };
                view.timeout_s = limit.map(|limit| limit.as_secs());
            }
        }
        views
    }

    fn user_target(&self, account: &Account, device: Option<usize>) -> RouteTargetView {
        let wanted = device.and_then(|at| account.devices.get(at)).map(|device| &device.id);
        let bindings = self.core.registrar.lookup(&account.name, self.core.now.at);
        let meant = bindings.iter().filter(|binding| wanted.is_none_or(|id| **id == *binding.device));
        let devices: Vec<String> =
            meant.map(|binding| format!("{}*{}", account.name, binding.device)).collect();
        let device = wanted.map(|id| format!("*{id}")).unwrap_or_default();
        RouteTargetView {
            target: format!("user:{}{device}", account.name),
            reached: !devices.is_empty(),
            state: if devices.is_empty() { "unregistered" } else { "registered" }.to_owned(),
            devices,
            ..RouteTargetView::default()
        }
    }

    fn trunk_target(&self, index: usize, call: &Dialling<'_>) -> Option<RouteTargetView> {
        let trunk: &Trunk = self.core.settings.trunks.get(index)?;
        let health = self.trunk_health(index);
        let is_resolved = self.core.targets.all(index).next().is_some();
        let has_line = self.core.capacity.has_line(index).is_ok();
        let state = match health {
            _ if !is_resolved => "unresolved",
            Health::Down => "down",
            _ if !has_line => "full",
            Health::Up | Health::Unknown => health.as_str(),
        };
        let caller = match call.by.kind {
            CallerKind::User(account) => account.number(),
            CallerKind::Trunk { number, .. } => number,
        };
        let pbx = call.by.account().and_then(|account| account.pbx.as_ref());
        let pbx = pbx.filter(|pbx| pbx.trunk == trunk.name);
        let called = pbx.and_then(|_| self.core.called_at_pbx(trunk, call.number));
        let called = called.or_else(|| trunk.rewritten(Whose::Called, Toward::Trunk, call.number));
        let calling = match pbx {
            Some(pbx) => Some(pbx.user.clone()),
            None if trunk.policy.shows == Shows::Nobody => Some("anonymous".into()),
            // As in a call: who is forwarded with its history stays who it is.
            None if call.by.account().is_none() && trunk.policy.tells.of_ours() => {
                trunk.rewritten(Whose::Calling, Toward::Trunk, caller)
            }
            None => trunk.shown_caller(caller),
        };
        Some(RouteTargetView {
            target: format!("trunk:{}", trunk.name),
            reached: is_resolved && has_line && health != Health::Down,
            state: state.to_owned(),
            calls: self.core.capacity.calls().nth(index),
            max_calls: trunk.policy.max_calls,
            max_cps: trunk.policy.max_cps,
            called: Some(called.map_or_else(|| call.number.to_owned(), String::from)),
            calling: Some(calling.map_or_else(|| caller.to_owned(), String::from)),
            ..RouteTargetView::default()
        })
    }

    fn code_of(&self, service: Service) -> &str {
        let settings = &self.core.settings;
        let code = match service {
            Service::Echo => settings.echo.as_deref(),
            Service::Tone => settings.tone.as_deref(),
            Service::Prompt | Service::Transfer => None,
        };
        code.unwrap_or_default()
    }
}

fn place_from_one(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

fn route_view(at: usize, rule: &Rule) -> RouteView {
    let shown = |pattern: &Option<crate::call::rules::Pattern>| pattern.as_ref().map(ToString::to_string);
    RouteView {
        place: place_from_one(at),
        name: rule.name.as_deref().map(str::to_owned),
        number: shown(&rule.number),
        not: shown(&rule.not),
        from: shown(&rule.from),
        source: rule.sources.iter().map(ToString::to_string).collect(),
        when: rule.when.iter().map(|period| period.as_str().to_owned()).collect(),
        zone: (!rule.when.is_empty()).then(|| rule.clock.to_string()),
        overrides: rule.overrides,
        to: rule.to.iter().map(ToString::to_string).collect(),
        timeout_s: rule.patience.map(|patience| patience.as_secs()),
    }
}

fn verdict_view(
    at: usize,
    rule: &Rule,
    verdict: Result<(), Miss>,
    (ground, call): (Ground, &Dialling<'_>),
) -> RuleVerdictView {
    let holds = verdict.is_ok();
    let is_way_out = || {
        let fits = rule.number.as_ref().is_some_and(|number| number.0.is_match(call.number));
        fits && rule.to.iter().any(|goal| matches!(goal, Goal::Trunk(_)) && rule.may_reach(goal, &call.by))
    };
    let (followed, why) = match (ground, verdict) {
        (Ground::Emergency, Ok(())) => (true, None),
        (Ground::Emergency, Err(miss)) if is_way_out() => (
            true,
            Some(format!("{}, but its trunks are tried last: the number is for emergencies", miss.as_str())),
        ),
        (Ground::Rule(place), Ok(())) if place == at => (true, None),
        (_, Ok(())) => (false, Some("an earlier rule is followed".to_owned())),
        (_, Err(miss)) => (false, Some(miss.as_str().to_owned())),
    };
    RuleVerdictView {
        place: place_from_one(at),
        name: rule.name.as_deref().map(str::to_owned),
        holds,
        followed,
        why,
        to: rule.to.iter().map(ToString::to_string).collect(),
    }
}

/// Whether a device of whoever asks is one at which users sign in.
fn has_shared((account, device): &Member) -> bool {
    let is_meant = |index: usize| device.is_none_or(|device| device == index);
    let mut devices = account.devices.iter().enumerate();
    devices.any(|(index, device)| device.trust == Trust::Shared && is_meant(index))
}

fn note_refusal(view: &mut RouteTestView, refusal: &Refusal) {
    let status = refusal.status();
    (view.status, view.reason) = (Some(status.as_u16()), Some(status.reason().to_owned()));
}

fn invalid(field: &str, why: &str) -> CommandError {
    CommandError::Invalid { field: field.into(), why: why.into() }
}
