//! Trunks beside their calls: whether their targets answer, and our registrations there.
//!
//! `probe` decides who is up and down, `registration` how a registration stands; both are pure. Here they are given
//! time, sent for and told of: an event for each turn, a view for whoever asks.

mod exchange;
mod message;
mod probe;
mod registration;
mod view;

use std::time::Duration;

pub use probe::{Health, Trouble};
pub use registration::State as RegistrationState;
pub use view::{TargetView, TrunkRegistrationView, TrunkRewriteView, TrunkView};

use probe::{Asked, Probe};
use registration::{Pause, Registration, Verdict};

use super::event::{Event, TrunkEvent};
use super::{Engine, Output};
use crate::base::{Now, Random, RedactAddr, Timestamp};
use crate::call::core::Owner;
use crate::call::settings;
use crate::call::targets::{Ranked, Target, Targets};
use crate::sip::Flow;
use crate::sip::transaction::Sent;
use crate::wire::sip::{Message, Method, StatusCode, Uri};

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
    keys: u64,
    due: Option<Timestamp>,
}

impl Trunks {
    pub(super) fn new(
        settings: &[settings::Trunk],
        targets: &Targets,
        now: Now,
        random: &mut Random,
    ) -> Self {
        let all = settings.iter().enumerate().map(|(index, trunk)| Trunk {
            probes: targets.all(index).map(|at| Probe::new(at, trunk.ping, now.at, random)).collect(),
            registration: trunk.register.then(|| Registration::new(now.at, random)),
            counts: Counts::default(),
            every: trunk.ping,
            is_gone: false,
        });
        let mut trunks = Self { all: all.collect(), keys: 0, due: None };
        trunks.look_ahead();
        trunks
    }

    pub(super) const fn poll_timeout(&self) -> Option<Timestamp> {
        self.due
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
        self.all.iter().any(|trunk| trunk.registration.is_some())
    }

    /// The trunk at which we registered the Contact that a request was sent to.
    pub(super) fn of_line(&self, uri: &Uri<'_>) -> Option<usize> {
        let line = uri.param("line").flatten()?;
        let is_line = |known: &Registration| *known.line == *line;
        let is_it = |trunk: &Trunk| !trunk.is_gone && trunk.registration.as_ref().is_some_and(is_line);
        self.all.iter().position(is_it)
    }

    /// Whether a registrar was asked to let us go and has not answered; bounded in time.
    pub(super) fn is_leaving(&self) -> bool {
        self.all.iter().filter_map(|trunk| trunk.registration.as_ref()).any(Registration::is_leaving)
    }
}

impl Engine {
    /// What is due: questions that wait for an answer no longer, and those that are to be asked.
    pub(super) fn on_trunks_timeout(&mut self) {
        let now = self.core.now.at;
        if self.trunks.due.is_none_or(|due| due > now) {
            return;
        }
        for index in 0..self.trunks.all.len() {
            self.ping_trunk(index, now);
            self.refresh_registration(index, now);
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
        if !probe.answered(now.at, asked, &mut self.core.random) {
            return;
        }
        probe.since = Some(now.unix);
        if let Some(registration) = &mut trunk.registration
            && registration.state == RegistrationState::Unreachable
        {
            registration.hurry(now.at);
        }
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

/// The registrations.
impl Engine {
    fn refresh_registration(&mut self, index: usize, now: Timestamp) {
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        let Some(registration) = found else { return };
        if let Some(asked) = registration.take_unanswered(now) {
            self.core.transactions.abandon(asked.tx);
            self.on_registrar_failed(index, Trouble::Silence.to_string().into(), Duration::ZERO);
        } else if registration.is_due(now) {
            let ways = self.core.targets.ways([index], false, now, &mut self.core.random);
            registration.begin(ways.into_iter().map(|way| way.target).collect());
            self.register_at_next(index, "its name has no address yet".into(), Duration::ZERO);
        }
    }

    /// Asks the next target of this round; where none is left, `why` is why we are not registered.
    fn register_at_next(&mut self, index: usize, why: Box<str>, retry_after: Duration) {
        let found = |engine: &mut Self| -> Option<Target> {
            engine.trunks.all.get_mut(index)?.registration.as_mut()?.take_target()
        };
        while let Some(target) = found(self) {
            if let Some(flow) = self.flow_to(target) {
                return self.send_register(index, target, flow);
            }
        }
        self.on_register_failed(index, (RegistrationState::Unreachable, why), Pause::AtLeast(retry_after));
    }

    fn send_register(&mut self, index: usize, target: Target, flow: Flow) {
        let settings = self.core.settings.clone();
        let Some(trunk) = settings.trunks.get(index) else { return };
        let Some(auth) = &trunk.auth else { return };
        let key = self.trunks.key();
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        let Some(registration) = found else { return };
        registration.cseq = registration.cseq.saturating_add(1);
        let (branch, bytes) = message::register(&mut self.core, (trunk, &auth.user), &flow, registration);
        let tx = self.core.send_request(flow, &Method::Register, &branch, bytes, Owner::Register(key));
        registration.sent(self.core.now.at, key, tx, (target, flow));
    }

    /// The REGISTER with this key, which is open no more.
    fn take_register(&mut self, key: u64) -> Option<(usize, registration::Asked)> {
        let mut all = self.trunks.all.iter_mut().enumerate();
        all.find_map(|(index, trunk)| {
            let asked = trunk.registration.as_mut()?.asked.take_if(|asked| asked.key == key)?;
            Some((index, asked))
        })
    }

    /// A registrar answers.
    pub(super) fn on_register_response(
        &mut self,
        key: u64,
        flow: Flow,
        response: &Message,
        sent: Option<&Sent>,
    ) {
        if response.status().is_none_or(StatusCode::is_provisional) {
            return;
        }
        let Some((index, asked)) = self.take_register(key) else { return };
        let unproved = match sent.map(|sent| self.prove_registration(index, asked, response, sent)) {
            Some(Ok(())) => return,
            Some(Err(why)) => Some(why),
            None => None,
        };
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        let Some(registration) = found else { return };
        if registration.state == RegistrationState::Unregistered {
            return self.trunks.look_ahead();
        }
        match registration.judge(response, unproved) {
            Some(Verdict::Granted(length)) => self.on_registered(index, length, (asked.target, flow)),
            Some(Verdict::TooBrief) => self.send_register(index, asked.target, asked.flow),
            Some(Verdict::NextTarget { why, retry_after }) => {
                self.on_registrar_failed(index, why, retry_after)
            }
            Some(Verdict::Refused { why, pause }) => {
                self.on_register_failed(index, (RegistrationState::Refused, why), pause);
            }
            None => {}
        }
        self.trunks.look_ahead();
    }

    /// Answers the challenge of a registrar; or says why not.
    fn prove_registration(
        &mut self,
        index: usize,
        asked: registration::Asked,
        response: &Message,
        sent: &Sent,
    ) -> Result<(), Box<str>> {
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        let Some(registration) = found else { return Ok(()) };
        let cseq = registration.cseq.saturating_add(1);
        let again = self.core.with_credentials(index, response, sent, cseq);
        let again = again.map_err(|why| why.to_string())?;
        registration.cseq = cseq;
        let key = self.trunks.key();
        let tx = self.core.send_again(asked.flow, again, Owner::Register(key));
        let now = self.core.now.at;
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        if let Some(registration) = found {
            registration.sent(now, key, tx, (asked.target, asked.flow));
        }
        self.trunks.look_ahead();
        Ok(())
    }

    /// REGISTER could not be sent, or got no answer.
    pub(super) fn on_no_register_response(&mut self, key: u64, status: StatusCode) {
        if let Some((index, _)) = self.take_register(key) {
            self.on_registrar_failed(index, trouble_of(status).to_string().into(), Duration::ZERO);
            self.trunks.look_ahead();
        }
    }

    fn on_registrar_failed(&mut self, index: usize, why: Box<str>, retry_after: Duration) {
        let found = self.trunks.all.get(index).and_then(|trunk| trunk.registration.as_ref());
        if found.is_some_and(|registration| registration.state != RegistrationState::Unregistered) {
            self.register_at_next(index, why, retry_after);
        }
    }

    fn on_registered(&mut self, index: usize, length: Duration, at: (Target, Flow)) {
        let now = self.core.now.at;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.counts.registered += 1;
        let Some(registration) = &mut trunk.registration else { return };
        if registration.granted(now, length, at) {
            let name = self.trunk_name(index);
            tracing::info!(trunk = &*name, seconds = length.as_secs(), "registered at a trunk");
            self.tell_trunk(index, TrunkEvent::Up, None, "registered".into());
        }
    }

    fn on_register_failed(
        &mut self,
        index: usize,
        (state, why): (RegistrationState, Box<str>),
        pause: Pause,
    ) {
        let now = self.core.now.at;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.counts.register_failed += 1;
        let Some(registration) = &mut trunk.registration else { return };
        if registration.failed(now, (state, why.clone()), pause, &mut self.core.random) {
            let (name, state) = (self.trunk_name(index), state.as_str());
            tracing::warn!(trunk = &*name, "the registration at a trunk is {state}: {why}");
            self.tell_trunk(index, TrunkEvent::Down, None, format!("registration {state}: {why}").into());
        }
    }

    /// A target is down: who is registered there is soon registered at another.
    fn leave_target(&mut self, index: usize, target: Target) {
        let now = self.core.now.at;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let has_other = trunk.probes.iter().any(|probe| probe.health != Health::Down);
        if let Some(registration) = trunk.registration.as_mut().filter(|_| has_other)
            && registration.at.is_some_and(|(known, _)| known == target)
        {
            registration.at = None;
            registration.hurry(now);
        }
    }

    /// A connection is gone: what is registered over it has to be registered anew.
    pub(super) fn on_trunk_flow_closed(&mut self, flow: Flow) {
        let now = self.core.now.at;
        let is_on_it = |known: &Registration| known.at.is_some_and(|(_, at)| at == flow);
        let all = self.trunks.all.iter_mut().filter_map(|trunk| trunk.registration.as_mut());
        let mut is_any = false;
        for registration in all.filter(|known| is_on_it(known)) {
            registration.hurry(now);
            is_any = true;
        }
        if is_any {
            self.trunks.look_ahead();
        }
    }

    /// No new calls: registrars are asked to let us go.
    pub(super) fn leave_trunks(&mut self) {
        for index in 0..self.trunks.all.len() {
            self.leave_trunk(index);
        }
        self.trunks.look_ahead();
    }

    fn leave_trunk(&mut self, index: usize) {
        let now = self.core.now.at;
        let found = self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut());
        let Some(registration) = found else { return };
        let (known, open) = registration.leave(now);
        if let Some(tx) = open {
            self.core.transactions.abandon(tx);
        }
        if let Some((target, flow)) = known {
            self.send_register(index, target, flow);
        }
    }
}

fn trouble_of(status: StatusCode) -> Trouble {
    if status == StatusCode::REQUEST_TIMEOUT { Trouble::Silence } else { Trouble::NoWay }
}

/// A target as views and events show it: `udp:192.0.2.1:5060`.
fn shown(Target { transport, peer }: Target) -> String {
    format!("{}:{peer}", transport.uri_token())
}
