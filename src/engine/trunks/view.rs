//! How trunks are, for whoever asks.

use serde::{Deserialize, Serialize};

use super::probe::{Health, Probe};
use super::registration::{Registration, State};
use super::shown;
use crate::base::Timestamp;
use crate::call::header_rules::{Deed, HeaderRule};
use crate::call::headers::Trust;
use crate::call::numbers::Rewrite;
use crate::call::session_timer::{Refresher, Terms};
use crate::engine::Engine;
use crate::engine::command::Reply;
use crate::engine::view::{Listed, Order, Page, PageQuery, Time};
use crate::registrar::accounts::Account;

/// A trunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkView {
    /// Its name.
    pub name: String,
    /// `up`, `down`, or `unknown` where nobody asks it.
    pub state: String,
    /// Where it is, in the order in which it was told or found.
    pub targets: Vec<TargetView>,
    /// Our registration there, where there is to be one.
    pub registration: Option<TrunkRegistrationView>,
    /// Calls that it carries now.
    pub calls: u32,
    /// Most calls at once.
    pub max_calls: Option<u32>,
    /// Most calls begun in a second.
    pub max_cps: Option<u32>,
    /// OPTIONS this often, seconds.
    pub ping_s: Option<u64>,
    /// OPTIONS that were answered, since the start.
    pub pings_answered: u64,
    /// OPTIONS that were not.
    pub pings_failed: u64,
    /// Registrations that were granted, refreshes among them: ours, and those of users behind it.
    pub registers_granted: u64,
    /// Registrations that were not.
    pub registers_failed: u64,
    /// Users who are to be registered there now: they are behind it, and have a device here.
    pub users: u64,
    /// How many of them are.
    pub users_registered: u64,
    /// Whether it is believed about identities, and learns those of callers who want privacy.
    pub trusted: bool,
    /// How it is shown who calls: `pai`, `rpid`, `from` or `none`.
    pub identity: String,
    /// Whether it hears by re-INVITE of what its media does not need: `when-needed`, `always` or `never`.
    pub re_invite: String,
    /// Whether it may transfer calls.
    pub refer: bool,
    /// Whether it may tell users of waiting messages.
    pub mwi: bool,
    /// Whether callers hear it before it answers: `pass` or `block`.
    pub early_media: String,
    /// The codecs that it may be offered and may offer, best first; empty: any.
    pub codecs: Vec<String>,
    /// Session timers with it.
    pub session_timer: TrunkSessionTimerView,
    /// What it is told of calls that were diverted: `keep`, `diversion`, `history-info`, `both` or `none`.
    pub diversion: String,
    /// Headers that are written to it, or taken from what passes.
    pub headers: Vec<TrunkHeaderView>,
    /// How numbers change on their way to it and from it, in the order in which they are tried.
    pub rewrites: Vec<TrunkRewriteView>,
    /// The calling number that it is shown where the caller's own will not do.
    pub caller_id: Option<String>,
    /// Patterns of those that will do.
    pub caller_ids: Vec<String>,
}

/// What is settled with a trunk about session timers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkSessionTimerView {
    /// `ask`, `accept` or `off`.
    pub mode: String,
    /// What it is asked for, and the longest that is agreed, seconds.
    pub expires_s: u32,
    /// Shorter ones are refused, seconds.
    pub min_s: u32,
    /// Who refreshes where that is for us to say: `auto`, `us` or `them`.
    pub refresher: String,
    /// How we refresh: `update` or `re-invite`.
    pub refresh: String,
}

impl TrunkSessionTimerView {
    fn of(terms: &Terms) -> Self {
        Self {
            mode: terms.mode.as_str().to_owned(),
            expires_s: terms.expires,
            min_s: terms.min,
            refresher: Refresher::word(terms.refresher).to_owned(),
            refresh: terms.by.as_str().to_owned(),
        }
    }
}

/// A rule for headers. One of the last three says what becomes of the header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkHeaderView {
    /// `out`: what the trunk gets; `in`: what others get of it.
    pub direction: String,
    /// The header.
    pub name: String,
    /// It has this value alone.
    pub set: Option<String>,
    /// It has this value, too.
    pub add: Option<String>,
    /// It is left out.
    pub remove: bool,
}

/// A rule by which numbers change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkRewriteView {
    /// `called` or `calling`.
    pub number: String,
    /// `out`: to the trunk; `in`: from it.
    pub direction: String,
    /// What it looks for in the number.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What takes the place of that.
    pub with: String,
    /// Whether it is for emergency numbers, too.
    pub emergency: bool,
}

/// A target of a trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetView {
    /// `udp:192.0.2.1:5060`
    pub address: String,
    /// `up`, `down`, or `unknown` where it was not asked yet.
    pub state: String,
    /// Since when.
    pub since: Option<Time>,
    /// How long its last answer took, ms.
    pub rtt_ms: Option<f64>,
    /// What was wrong last, until it answers.
    pub reason: Option<String>,
}

/// Our registration at a trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrunkRegistrationView {
    /// `registering`, `registered`, `refused`, `unreachable`, or `unregistered` when the node drains.
    pub state: String,
    /// Why it does not stand.
    pub reason: Option<String>,
    /// The target where it stands.
    pub target: Option<String>,
    /// Seconds until it ends unless refreshed.
    pub expires_s: Option<u64>,
}

/// How a user stands at a PBX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PbxView {
    /// The trunk that leads there.
    pub trunk: String,
    /// Who the user is there.
    pub user: String,
    /// `registering`, `registered`, `refused`, `unreachable`, or `unregistered` while no device is here.
    pub state: String,
    /// Why it is not registered.
    pub reason: Option<String>,
    /// Seconds until the registration there ends unless refreshed.
    pub expires_s: Option<u64>,
}

impl Listed for TrunkView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Engine {
    /// Whether a trunk can be relied on.
    pub(in crate::engine) fn trunk_health(&self, index: usize) -> Health {
        self.trunks.all.get(index).map_or(Health::Unknown, super::Trunk::health)
    }

    /// How a user stands at the PBX that the account names.
    pub(in crate::engine) fn pbx_view(&self, account: &Account) -> Option<PbxView> {
        let pbx = account.pbx.as_ref()?;
        let line = self.trunks.lines.of_user(&account.name).filter(|line| line.pbx.is_at(pbx));
        let known = line.map(|line| registration_view(&line.registration, self.core.now.at));
        let state = known.as_ref().map_or(State::Unregistered.as_str(), |known| &known.state).to_owned();
        Some(PbxView {
            trunk: pbx.trunk.to_string(),
            user: pbx.user.to_string(),
            state,
            reason: known.as_ref().and_then(|known| known.reason.clone()),
            expires_s: known.and_then(|known| known.expires_s),
        })
    }

    /// Trunks by name, as far as `query` asks for them.
    pub(in crate::engine) fn list_trunks(&self, query: &PageQuery) -> Reply {
        let (core, now) = (&self.core, self.core.now.at);
        let known = core.settings.trunks.iter().zip(&self.trunks.all).zip(core.capacity.calls()).enumerate();
        let known = known.filter(|(_, ((_, trunk), _))| !trunk.is_gone);
        let users = self.trunks.lines.counts();
        let users = |index| users.get(&index).copied().unwrap_or_default();
        let of_moves = self.settings.moving.re_invite.of_trunks();
        let views = known.map(|(index, ((settings, trunk), calls))| TrunkView {
            name: settings.name.to_string(),
            state: trunk.health().as_str().to_owned(),
            targets: trunk.probes.iter().map(target_view).collect(),
            registration: trunk.registration.as_ref().map(|known| registration_view(known, now)),
            calls,
            max_calls: settings.policy.max_calls,
            max_cps: settings.policy.max_cps,
            ping_s: settings.ping.map(|every| every.as_secs()),
            pings_answered: trunk.counts.pings_answered,
            pings_failed: trunk.counts.pings_failed,
            registers_granted: trunk.counts.registered,
            registers_failed: trunk.counts.register_failed,
            trusted: settings.policy.trust == Trust::Trusted,
            identity: settings.policy.shows.as_str().to_owned(),
            re_invite: settings.policy.re_invite.unwrap_or(of_moves).as_str().to_owned(),
            refer: settings.policy.may_refer,
            mwi: settings.policy.may_notify,
            early_media: if settings.policy.is_mute_early { "block" } else { "pass" }.to_owned(),
            codecs: settings
                .policy
                .codecs
                .iter()
                .flat_map(|list| list.named())
                .map(ToString::to_string)
                .collect(),
            session_timer: TrunkSessionTimerView::of(&settings.policy.session),
            diversion: settings.policy.tells.as_str().to_owned(),
            headers: settings.policy.headers.iter().map(header_view).collect(),
            rewrites: settings.policy.rewrites.iter().map(rewrite_view).collect(),
            caller_id: settings.policy.caller_id.as_ref().map(|id| id.number.to_string()),
            caller_ids: settings
                .policy
                .caller_id
                .iter()
                .flat_map(|id| &id.own)
                .map(ToString::to_string)
                .collect(),
            users: users(index).0,
            users_registered: users(index).1,
        });
        Reply::Trunks(Page::cut(views, query))
    }
}

fn header_view(rule: &HeaderRule) -> TrunkHeaderView {
    let (set, add) = match &rule.deed {
        Deed::Set(value) => (Some(value.to_string()), None),
        Deed::Add(value) => (None, Some(value.to_string())),
        Deed::Remove => (None, None),
    };
    let (direction, name) = (rule.direction.to_string(), rule.name.to_string());
    TrunkHeaderView { direction, name, set, add, remove: rule.deed == Deed::Remove }
}

fn rewrite_view(rule: &Rewrite) -> TrunkRewriteView {
    TrunkRewriteView {
        number: rule.number.to_string(),
        direction: rule.direction.to_string(),
        pattern: rule.pattern.to_string(),
        with: rule.with.to_string(),
        emergency: rule.emergency,
    }
}

fn target_view(probe: &Probe) -> TargetView {
    TargetView {
        address: shown(probe.target),
        state: probe.health.as_str().to_owned(),
        since: probe.since.map(Time),
        rtt_ms: probe.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        reason: probe.trouble.map(|trouble| trouble.to_string()),
    }
}

fn registration_view(registration: &Registration, now: Timestamp) -> TrunkRegistrationView {
    let left = registration.expires.filter(|until| *until > now).map(|until| until.since(now).as_secs());
    TrunkRegistrationView {
        state: registration.state.as_str().to_owned(),
        reason: registration.reason.as_deref().map(str::to_owned),
        target: registration.at.filter(|_| left.is_some()).map(|(target, _)| shown(target)),
        expires_s: left,
    }
}
