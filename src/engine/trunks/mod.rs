//! Trunks beside their calls: whether their targets answer, and our registrations there.
//!
//! `probe` decides who is up and down, `registration` how a registration stands; both are pure. Here and in `registering`
//! they are given time, sent for and told of: an event for each turn, a view for whoever asks. `lines` says which users
//! are registered at a PBX, and when.

mod exchange;
mod lines;
mod message;
mod probe;
mod registering;
mod registration;
mod view;

use std::time::Duration;

pub use probe::{Health, Trouble};
pub use registration::State as RegistrationState;
pub use view::{
    PbxView, TargetView, TrunkHeaderView, TrunkRegistrationView, TrunkRewriteView, TrunkSessionTimerView,
    TrunkView,
};

use lines::Lines;
use probe::{Asked, Probe};
use registering::Registrant;
use registration::Registration;

use super::event::{Event, TrunkEvent};
use super::{Engine, Output};
use crate::base::{Now, Random, RedactAddr, Timestamp};
use crate::call::core::Owner;
use crate::call::settings;
use crate::call::targets::{Ranked, Target, Targets};
use crate::sip::Flow;
use crate::wire::sip::{Message, Method, StatusCode, Uri};
use rustc_hash::FxHashMap;

/// How often what happened, since the start.
#[derive(Default)]
struct Counts {
    pings_answered: u64,
    pings_failed: u64,
    registered: u64,
    register_failed: u64,
}

/// One trunk.
#[derive(Default)]
struct Trunk {
    probes: Vec<Probe>,
    registration: Option<Registration>,
    /// Whether a user could not be registered there since the last one who could.
    loses_lines: bool,
    counts: Counts,
    every: Option<Duration>,
    /// The configuration has it no more; calls that it carries go on.
    is_gone: bool,
}

impl Trunk {
    /// Whether it can be relied on: a target answers, and we are registered where we want to be. Unknown where nobody
    /// asks.
    fn health(&self) -> Health {
        let registration = self.registration.as_ref().map(|registration| registration.state);
        let is = |health| move |probe: &Probe| probe.health == health;
        match registration {
            Some(RegistrationState::Refused | RegistrationState::Unreachable) => Health::Down,
            _ if self.probes.iter().all(is(Health::Down)) => Health::Down,
            Some(RegistrationState::Registered) => Health::Up,
            _ if self.probes.iter().any(is(Health::Up)) => Health::Up,
            Some(RegistrationState::Registering | RegistrationState::Unregistered) | None => Health::Unknown,
        }
    }

    fn poll_timeout(&self) -> Timestamp {
        let registration = self.registration.as_ref().map(Registration::poll_timeout);
        self.probes.iter().map(Probe::poll_timeout).chain(registration).min().unwrap_or(Timestamp::NEVER)
    }

    fn probe(&mut self, target: Target) -> Option<&mut Probe> {
        self.probes.iter_mut().find(|probe| probe.target == target)
    }
}

/// All trunks, each by its place in the settings.
#[derive(Default)]
pub(crate) struct Trunks {
    all: Vec<Trunk>,
    lines: Lines,
    keys: u64,
    /// Whose the REGISTERs are that are open.
    asked: FxHashMap<u64, Registrant>,
    due: Option<Timestamp>,
}

impl Trunks {
    pub(super) fn new(
        settings: &[settings::Trunk],
        targets: &Targets,
        contact_key: [u8; 32],
        now: Now,
        random: &mut Random,
    ) -> Self {
        let all = settings.iter().enumerate().map(|(index, trunk)| Trunk {
            probes: targets.all(index).map(|at| Probe::new(at, trunk.ping, now.at, random)).collect(),
            registration: trunk.register.then(|| Registration::new(now.at, random.token().into(), random)),
            loses_lines: false,
            counts: Counts::default(),
            every: trunk.ping,
            is_gone: false,
        });
        let mut trunks = Self { all: all.collect(), lines: Lines::new(contact_key), ..Self::default() };
        trunks.look_ahead();
        trunks
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        [self.due, self.lines.poll_timeout()].into_iter().flatten().min()
    }

    fn look_ahead(&mut self) {
        let due = self.all.iter().map(Trunk::poll_timeout).min();
        self.due = due.filter(|due| *due != Timestamp::NEVER);
    }

    fn key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// Whether we register anywhere.
    pub(super) fn have_lines(&self) -> bool {
        !self.lines.is_empty() || self.all.iter().any(|trunk| trunk.registration.is_some())
    }

    /// The trunk at which we registered the Contact that a request was sent to, and in the name of which user.
    pub(super) fn of_line(&self, uri: &Uri<'_>) -> Option<(usize, Option<&str>)> {
        let line = uri.param("line").flatten()?;
        if let Some((trunk, user)) = self.lines.named_by(line) {
            return Some((trunk, Some(user)));
        }
        let is_line = |known: &Registration| *known.line == *line;
        let is_it = |trunk: &Trunk| !trunk.is_gone && trunk.registration.as_ref().is_some_and(is_line);
        Some((self.all.iter().position(is_it)?, None))
    }

    /// Whether a registrar was asked to let us go and has not answered; bounded in time.
    pub(super) fn is_leaving(&self) -> bool {
        let of_trunks = self.all.iter().filter_map(|trunk| trunk.registration.as_ref());
        of_trunks.chain(self.lines.registrations()).any(Registration::is_leaving)
    }
}

impl Engine {
    /// What is due: questions that wait for an answer no longer, and those that are to be asked.
    pub(super) fn on_trunks_timeout(&mut self) {
        let now = self.core.now.at;
        self.on_lines_timeout();
        if self.trunks.due.is_none_or(|due| due > now) {
            return;
        }
        for index in 0..self.trunks.all.len() {
            self.ping_trunk(index, now);
            self.refresh_registration(Registrant::Trunk(index), now);
        }
        self.trunks.look_ahead();
    }

    fn ping_trunk(&mut self, index: usize, now: Timestamp) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let mut late: Vec<Asked> = Vec::new();
        late.extend(trunk.probes.iter_mut().filter_map(|probe| probe.take_unanswered(now)));
        let silent: Vec<Target> = late.iter().map(|asked| asked.target).collect();
        for asked in late {
            self.core.transactions.abandon(asked.tx);
        }
        for target in silent {
            self.on_ping_failed(index, target, Trouble::Silence);
        }
        let Some(trunk) = self.trunks.all.get(index) else { return };
        let due: Vec<Target> =
            trunk.probes.iter().filter(|probe| probe.is_due(now)).map(|probe| probe.target).collect();
        for target in due {
            self.ping(index, target);
        }
    }

    fn ping(&mut self, index: usize, target: Target) {
        let settings = self.core.settings.clone();
        let (Some(trunk), Some(flow)) = (settings.trunks.get(index), self.flow_to(target)) else {
            return self.on_ping_failed(index, target, Trouble::NoWay);
        };
        let key = self.trunks.key();
        let (branch, bytes) = message::options(&mut self.core, trunk, &flow);
        let tx = self.core.send_request(flow, &Method::Options, &branch, bytes, Owner::Ping(key));
        let at = self.core.now.at;
        if let Some(probe) = self.trunks.all.get_mut(index).and_then(|trunk| trunk.probe(target)) {
            probe.asked = Some(Asked { key, tx, at, target });
        }
    }

    fn flow_to(&self, Target { transport, peer }: Target) -> Option<Flow> {
        let listener = self.core.settings.listener_for(transport, peer)?;
        Some(Flow { transport, listener, connection: 0, peer })
    }

    /// The question with this key, which is open no more.
    fn take_ping(&mut self, key: u64) -> Option<(usize, Asked)> {
        let mut all = self.trunks.all.iter_mut().enumerate();
        all.find_map(|(index, trunk)| {
            let mut probes = trunk.probes.iter_mut();
            probes.find_map(|probe| probe.asked.take_if(|asked| asked.key == key)).map(|asked| (index, asked))
        })
    }

    /// A target answers OPTIONS: with anything but 408 and 503 it says that somebody is there.
    pub(super) fn on_ping_response(&mut self, key: u64, response: &Message) {
        let Some(status) = response.status().filter(|status| status.is_final()) else { return };
        let Some((index, asked)) = self.take_ping(key) else { return };
        if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE) {
            self.on_ping_failed(index, asked.target, Trouble::Status(status));
        } else {
            self.on_ping_answered(index, asked);
        }
        self.trunks.look_ahead();
    }

    /// OPTIONS could not be sent, or got no answer.
    pub(super) fn on_no_ping_response(&mut self, key: u64, status: StatusCode) {
        if let Some((index, asked)) = self.take_ping(key) {
            self.on_ping_failed(index, asked.target, trouble_of(status));
            self.trunks.look_ahead();
        }
    }

    fn on_ping_answered(&mut self, index: usize, asked: Asked) {
        let now = self.core.now;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.counts.pings_answered += 1;
        let Some(probe) = trunk.probe(asked.target) else { return };
        let was_down = probe.health == Health::Down;
        if !probe.answered(now.at, asked, &mut self.core.random) {
            return;
        }
        probe.since = Some(now.unix);
        if let Some(registration) = &mut trunk.registration
            && registration.state == RegistrationState::Unreachable
        {
            registration.hurry(now.at);
        }
        // A PBX that was away may have lost what it knew: its users are called there only if it knows where they are.
        let is_there = |line: &lines::Line| line.registration.at.is_some_and(|(at, _)| at == asked.target);
        self.hurry_lines(|line| {
            line.trunk == index && (line.is_unreachable() || (was_down && is_there(line)))
        });
        self.core.targets.judge(index, asked.target, false);
        let name = self.trunk_name(index);
        tracing::info!(trunk = &*name, target = %RedactAddr(asked.target.peer), "a target of a trunk is up");
        self.tell_trunk(index, TrunkEvent::Up, Some(asked.target), "it answers OPTIONS".into());
    }

    fn on_ping_failed(&mut self, index: usize, target: Target, trouble: Trouble) {
        let now = self.core.now;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.counts.pings_failed += 1;
        let Some(probe) = trunk.probe(target) else { return };
        if !probe.failed(now.at, trouble, &mut self.core.random) {
            return;
        }
        probe.since = Some(now.unix);
        self.core.targets.judge(index, target, true);
        let name = self.trunk_name(index);
        let peer = RedactAddr(target.peer);
        tracing::warn!(trunk = &*name, target = %peer, "a target of a trunk is down: {trouble}");
        self.tell_trunk(index, TrunkEvent::Down, Some(target), trouble.to_string().into());
        self.leave_target(index, target);
    }

    /// Calls met silence or a refusal at these targets: they are asked at once.
    pub(super) fn ask_suspects(&mut self) {
        let suspects = self.core.targets.take_suspects();
        if suspects.is_empty() {
            return;
        }
        for (index, target) in suspects {
            if let Some(probe) = self.trunks.all.get_mut(index).and_then(|trunk| trunk.probe(target)) {
                probe.suspect(self.core.now.at);
            }
        }
        self.trunks.look_ahead();
    }

    /// A trunk was looked up: what is known of targets that stay is kept.
    pub(super) fn on_trunk_located(&mut self, index: usize, targets: &[Ranked]) {
        if self.trunks.is_gone(index) {
            return;
        }
        self.core.targets.set(index, targets);
        let now = self.core.now.at;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let (mut known, mut is_new) = (std::mem::take(&mut trunk.probes), false);
        for target in self.core.targets.all(index) {
            let at = known.iter().position(|probe| probe.target == target);
            is_new |= at.is_none();
            let new = |random| Probe::new(target, trunk.every, now, random);
            trunk.probes.push(at.map_or_else(|| new(&mut self.core.random), |at| known.swap_remove(at)));
        }
        if let Some(registration) = &mut trunk.registration {
            let is_there = |(target, _)| trunk.probes.iter().any(|probe| probe.target == target);
            let is_wanted = match registration.at {
                Some(at) => !trunk.probes.is_empty() && !is_there(at),
                None => is_new && registration.state == RegistrationState::Unreachable,
            };
            if is_wanted {
                registration.hurry(now);
            }
        }
        let targets: Vec<Target> = self.core.targets.all(index).collect();
        self.hurry_lines(|line| {
            line.trunk == index
                && match line.registration.at {
                    Some((target, _)) => !targets.is_empty() && !targets.contains(&target),
                    None => is_new && line.is_unreachable(),
                }
        });
        self.trunks.look_ahead();
        for gone in known.into_iter().filter_map(|probe| probe.asked) {
            self.core.transactions.abandon(gone.tx);
        }
    }

    fn trunk_name(&self, index: usize) -> Box<str> {
        self.core.settings.trunks.get(index).map(|trunk| trunk.name.clone()).unwrap_or_default()
    }

    fn tell_trunk(&mut self, index: usize, what: TrunkEvent, target: Option<Target>, reason: Box<str>) {
        let Some(trunk) = self.trunks.all.get(index) else { return };
        let (trunk, state) = (self.trunk_name(index), trunk.health().as_str());
        let target = target.map(|target| shown(target).into());
        self.outputs.push(Output::Event(Event::Trunk { what, trunk, target, reason, state }));
    }
}

fn trouble_of(status: StatusCode) -> Trouble {
    if status == StatusCode::REQUEST_TIMEOUT { Trouble::Silence } else { Trouble::NoWay }
}

/// A target as views and events show it: `udp:192.0.2.1:5060`.
fn shown(Target { transport, peer }: Target) -> String {
    format!("{}:{peer}", transport.uri_token())
}
