//! `[[route]]` and `[[group]]`: the rules of the dial plan, checked against the names that there are.

use std::time::Duration;

use regex::RegexBuilder;

use super::Network;
use super::resolved::Trunk;
use super::sections::name;
use super::tree::{Section, Taken};
use crate::call::calendar::{Clock, Period};
use crate::call::model::Service;
use crate::call::rules::{Goal, Group, LastWord, Pattern, Ring, Rule, Source};
use crate::call::settings;
use crate::moving::star_code::Codes;
use crate::registrar::accounts::{DEVICE_SEPARATOR, check_extension};
use crate::wire::sip::StatusCode;

/// Memory that one compiled pattern may take: a dial plan needs a few kilobytes.
const MAX_PATTERN: usize = 1 << 20;
/// Rules are looked at one after the other, for each call.
const MAX_RULES: usize = 1000;
/// Targets of one rule.
const MAX_TARGETS: usize = 16;
/// Groups, and members of one: more devices than a call rings are of no use.
const MAX_GROUPS: usize = 1000;
const MAX_MEMBERS: usize = 32;
/// Longest reason phrase.
const MAX_REASON: usize = 64;
/// How long a group rings, unless it says: about six rings.
const RINGS: Duration = Duration::from_secs(30);
/// No call rings longer.
const MAX_RINGING: u32 = 180;

const TARGETS: &str =
    "trunk:NAME, user:NAME, extension:NUMBER, group:NAME, code:NUMBER or reject:CODE REASON";

/// The names that rules may use.
pub(super) struct Names<'a> {
    pub(super) trunks: &'a [Taken<Trunk>],
    pub(super) groups: &'a [Taken<Group>],
    pub(super) codes: &'a Codes,
}

pub(super) fn groups(root: &mut Section<'_>) -> Vec<Taken<Group>> {
    let mut all: Vec<Taken<Group>> = Vec::new();
    root.each("group", |section| {
        let (place, key) = (section.place.clone(), section.path.clone());
        if let Some(value) = group(section, &all) {
            all.push(Taken { value, place, key });
        }
    });
    if all.len() > MAX_GROUPS {
        root.fault("group", format!("at most {MAX_GROUPS} are possible"));
    }
    all
}

fn group(mut section: Section<'_>, before: &[Taken<Group>]) -> Option<Group> {
    let name = section.read_needed("name", |text| {
        let twin = before.iter().find(|other| *other.value.name == *text);
        twin.map_or_else(
            || name(text).map_err(str::to_owned),
            |twin| Err(format!("is the group at {} already", twin.place)),
        )
    });
    let named = section.has("members");
    let members: Vec<Goal> = values(section.read_all("members", member));
    if !named || members.is_empty() {
        section.fault("members", "names no member: users are needed");
    }
    if members.len() > MAX_MEMBERS {
        section.fault("members", format!("at most {MAX_MEMBERS} are possible"));
    }
    let twin = members
        .iter()
        .enumerate()
        .find(|(at, member)| members.iter().take(*at).any(|other| other == *member));
    if let Some((_, twin)) = twin {
        section.fault("members", format!("`{twin}` is a member twice"));
    }
    let ring = section.choice("ring", &[("all", Ring::All), ("in-turn", Ring::InTurn)]);
    let timeout = seconds(&mut section, "timeout_s");
    section.finish();
    let (name, timeout) = (name?.value, timeout.unwrap_or(RINGS));
    Some(Group { name, members, ring: ring.unwrap_or_default(), timeout })
}

/// `alice`, `alice*desk`, `user:alice`, `extension:1001`
fn member(text: &str) -> Result<Goal, &'static str> {
    match text.split_once(':') {
        None => user(text),
        Some(("user", name)) => user(name),
        Some(("extension", number)) => extension(number),
        Some(("group", _)) => Err("is a group: a group has users as members, and no groups"),
        Some(_) => Err("must be a user, user:NAME or extension:NUMBER"),
    }
}

pub(super) fn rules(root: &mut Section<'_>, names: &Names<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    root.each("route", |section| rules.push(rule(section, names)));
    if rules.len() > MAX_RULES {
        root.fault("route", format!("at most {MAX_RULES} are possible"));
    }
    rules
}

fn rule(mut section: Section<'_>, names: &Names<'_>) -> Rule {
    let called = section.read("name", label).map(|taken| taken.value);
    let [number, not, from] =
        ["match", "not", "from"].map(|key| section.read(key, pattern).map(|taken| taken.value));
    let sources = values(section.read_some("source", |text| source(text, names)));
    let when: Vec<Period> = values(section.read_some("when", Period::parse));
    let clock = section.read("zone", Clock::parse);
    if let Some(Taken { place, key, .. }) = clock.as_ref().filter(|_| when.is_empty()) {
        section.faults.add(place, key.clone(), "means nothing without when");
    }
    let overrides = section.flag("override").unwrap_or(false);
    let named = section.has("to");
    let to = section.read_some("to", |text| goal(text, names));
    if !named || to.as_ref().is_some_and(Vec::is_empty) {
        section.fault("to", format!("names no target: {TARGETS} is needed"));
    }
    if to.as_ref().is_some_and(|to| to.len() > MAX_TARGETS) {
        section.fault("to", format!("names more than {MAX_TARGETS} targets"));
    }
    let to = to.unwrap_or_default();
    order(&mut section, &to);
    let patience = seconds(&mut section, "timeout_s");
    section.finish();
    Rule {
        name: called,
        number,
        not,
        from,
        sources,
        when,
        clock: clock.map(|taken| taken.value).unwrap_or_default(),
        overrides,
        to: to.into_iter().map(|taken| taken.value).collect(),
        patience,
    }
}

/// What an operator calls a rule; shown, and nothing else.
fn label(text: &str) -> Result<Box<str>, &'static str> {
    let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.into()) } else { Err("1 to 64 characters are needed") }
}

pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    let built = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
    built.map(Pattern).map_err(|error| format!("is no pattern: {}", last_line(&error.to_string())))
}

/// The regex crate draws the pattern above its message; the place is known here already.
fn last_line(message: &str) -> &str {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line)
}

fn source(text: &str, names: &Names<'_>) -> Result<Source, String> {
    match (text, text.split_once(':')) {
        ("user", _) => return Ok(Source::AnyUser),
        ("trunk", _) => return Ok(Source::AnyTrunk),
        (_, Some(("user", user))) => return Ok(Source::User(name(user)?)),
        (_, Some(("trunk", trunk))) => return Ok(Source::Trunk(names.trunk(trunk)?)),
        _ => {}
    }
    match Network::parse(text) {
        Ok(network) if network.port().is_some() => Err("a network has no port here".to_owned()),
        Ok(network) => Ok(Source::Network(settings::Source {
            network: network.address(),
            prefix: network.prefix(),
            port: None,
        })),
        Err(why) if text.contains(['/', ':']) => Err(why.to_owned()),
        Err(_) => name(text)
            .map(Source::User)
            .map_err(|_| "must be user, trunk, trunk:NAME, the name of a user, or a network".to_owned()),
    }
}

fn goal(text: &str, names: &Names<'_>) -> Result<Goal, String> {
    match text.split_once(':') {
        Some(("trunk", name)) => Ok(Goal::Trunk(names.trunk(name)?)),
        Some(("user", name)) => Ok(user(name)?),
        Some(("extension", number)) => Ok(extension(number)?),
        Some(("group", name)) => {
            let found = names.groups.iter().find(|group| *group.value.name == *name);
            found
                .map(|group| Goal::Group(group.value.name.clone()))
                .ok_or_else(|| "there is no such group".into())
        }
        Some(("code", number)) => {
            let is = |code: &Option<Box<str>>| code.as_deref() == Some(number);
            let service = if is(&names.codes.echo) {
                Some(Service::Echo)
            } else {
                is(&names.codes.tone).then_some(Service::Tone)
            };
            let found = service.map(|service| Goal::Code(service, number.into()));
            found.ok_or_else(|| "is no number of test.echo or test.tone".into())
        }
        Some(("reject", answer)) => Ok(Goal::Reject(reject(answer)?)),
        Some(("route", _)) => Err("a rule leads to targets, not to rules".into()),
        _ => Err(format!("must be {TARGETS}")),
    }
}

/// A user of the store is known at run time only, so any name that one could have will do.
fn user(text: &str) -> Result<Goal, &'static str> {
    let (user, device) =
        text.split_once(DEVICE_SEPARATOR).map_or((text, None), |(user, id)| (user, Some(id)));
    name(user)?;
    device.map(name).transpose()?;
    Ok(Goal::User(text.into()))
}

fn extension(text: &str) -> Result<Goal, &'static str> {
    check_extension(text).map(|()| Goal::Extension(text.into()))
}

/// `486`, `603 No thanks`
fn reject(text: &str) -> Result<LastWord, &'static str> {
    let (code, reason) = text.split_once(' ').map_or((text, ""), |(code, reason)| (code, reason.trim()));
    let status = code.parse().ok().filter(|code| (400..700).contains(code)).and_then(StatusCode::new);
    let status =
        status.filter(|_| code.len() == 3).ok_or("must be a status from 400 to 699, and perhaps a reason")?;
    if [401, 407].contains(&status.as_u16()) {
        return Err("401 and 407 ask for credentials, and refuse nobody");
    }
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err("has a reason of more than 64 characters");
    }
    let reason = if reason.is_empty() { status.reason() } else { reason };
    Ok(LastWord { status, reason: reason.into() })
}

/// What follows something that always ends the call would never be reached, and what is named twice would be tried twice.
fn order(section: &mut Section<'_>, to: &[Taken<Goal>]) {
    for (at, Taken { value, place, key }) in to.iter().enumerate() {
        let why = match value {
            Goal::Code(..) if to.len() > 1 => "answers at once, and so stands alone",
            Goal::Reject(_) if at + 1 < to.len() => "ends the call: nothing can come after it",
            _ if to.iter().take(at).any(|other| other.value == *value) => "is named twice",
            _ => continue,
        };
        section.faults.add(place, key.clone(), format!("`{value}`: {why}"));
    }
}

fn seconds(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    section.number(key, 1..=MAX_RINGING).map(|taken| Duration::from_secs(taken.value.into()))
}

fn values<T>(taken: Option<Vec<Taken<T>>>) -> Vec<T> {
    taken.unwrap_or_default().into_iter().map(|taken| taken.value).collect()
}

impl Names<'_> {
    fn trunk(&self, name: &str) -> Result<Box<str>, &'static str> {
        let found = self.trunks.iter().find(|trunk| *trunk.value.name == *name);
        found.map(|trunk| trunk.value.name.clone()).ok_or("there is no such trunk")
    }
}
