//! Registrations are asked for, refreshed and given up: that of a trunk's own account, and those of users behind a PBX, by
//! one machine.

use std::time::Duration;

use super::lines::Line;
use super::probe::{Health, Trouble};
use super::registration::{Asked, Pause, Registration, State, Verdict, service_route};
use super::{Trunks, message, trouble_of};
use crate::base::{Handle, Timestamp};
use crate::call::core::Owner;
use crate::call::targets::Target;
use crate::engine::Engine;
use crate::engine::event::TrunkEvent;
use crate::sip::Flow;
use crate::sip::transaction::Sent;
use crate::wire::sip::{Message, Method, StatusCode};

/// Whose a registration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Registrant {
    /// A trunk's, by its place: that of our account there.
    Trunk(usize),
    /// A user's, at a PBX.
    Line(Handle<Line>),
}

impl Trunks {
    fn registration(&mut self, who: Registrant) -> Option<&mut Registration> {
        match who {
            Registrant::Trunk(index) => self.all.get_mut(index)?.registration.as_mut(),
            Registrant::Line(handle) => Some(&mut self.lines.get_mut(handle)?.registration),
        }
    }

    /// The place of the trunk where it is.
    fn place(&self, who: Registrant) -> Option<usize> {
        match who {
            Registrant::Trunk(index) => Some(index),
            Registrant::Line(handle) => self.lines.get(handle).map(|line| line.trunk),
        }
    }

    /// The REGISTER with this key, which is open no more.
    fn take_register(&mut self, key: u64) -> Option<(Registrant, Asked)> {
        let who = self.asked.remove(&key)?;
        let asked = self.registration(who)?.asked.take_if(|asked| asked.key == key)?;
        Some((who, asked))
    }

    /// Something of it has changed.
    fn settle(&mut self, who: Registrant, now: Timestamp) {
        match who {
            Registrant::Trunk(_) => self.look_ahead(),
            Registrant::Line(handle) => self.lines.schedule(handle, now),
        }
    }
}

impl Engine {
    pub(super) fn refresh_registration(&mut self, who: Registrant, now: Timestamp) {
        let Some(registration) = self.trunks.registration(who) else { return };
        if let Some(asked) = registration.take_unanswered(now) {
            self.trunks.asked.remove(&asked.key);
            self.core.transactions.abandon(asked.tx);
            self.on_registrar_failed(who, Trouble::Silence.to_string().into(), Duration::ZERO);
        } else if registration.is_due(now) {
            if let Registrant::Line(handle) = who
                && !self.trunks.lines.may_ask(handle, now)
            {
                return;
            }
            let Some(index) = self.trunks.place(who) else { return };
            let ways = self.core.targets.ways([index], false, now, &mut self.core.random);
            let Some(registration) = self.trunks.registration(who) else { return };
            registration.begin(ways.into_iter().map(|way| way.target).collect());
            self.register_at_next(who, "its name has no address yet".into(), Duration::ZERO);
        }
    }

    /// Asks the next target of this round; where none is left, `why` is why it does not stand.
    fn register_at_next(&mut self, who: Registrant, why: Box<str>, retry_after: Duration) {
        while let Some(target) = self.trunks.registration(who).and_then(Registration::take_target) {
            if let Some(flow) = self.flow_to(target) {
                return self.send_register(who, target, flow);
            }
        }
        self.on_register_failed(who, (State::Unreachable, why), Pause::AtLeast(retry_after));
    }

    fn send_register(&mut self, who: Registrant, target: Target, flow: Flow) {
        let settings = self.core.settings.clone();
        let Some(trunk) = self.trunks.place(who).and_then(|index| settings.trunks.get(index)) else { return };
        let user: Box<str> = match who {
            Registrant::Trunk(_) => trunk.auth.as_ref().map(|auth| auth.user.clone()),
            Registrant::Line(handle) => self.trunks.lines.get(handle).map(|line| line.pbx.user.clone()),
        }
        .unwrap_or_default();
        let key = self.trunks.key();
        let Some(registration) = self.trunks.registration(who) else { return };
        registration.cseq = registration.cseq.saturating_add(1);
        let (branch, bytes) = message::register(&mut self.core, (trunk, &user), &flow, registration);
        let tx = self.core.send_request(flow, &Method::Register, &branch, bytes, Owner::Register(key));
        registration.sent(self.core.now.at, key, tx, (target, flow));
        self.trunks.asked.insert(key, who);
    }

    /// A registrar answers.
    pub(in crate::engine) fn on_register_response(
        &mut self,
        key: u64,
        flow: Flow,
        response: &Message,
        sent: Option<&Sent>,
    ) {
        if response.status().is_none_or(StatusCode::is_provisional) {
            return;
        }
        let Some((who, asked)) = self.trunks.take_register(key) else { return };
        let now = self.core.now.at;
        let unproved = match sent.map(|sent| self.prove_registration(who, asked, response, sent)) {
            Some(Ok(())) => return,
            Some(Err(why)) => Some(why),
            None => None,
        };
        let Some(registration) = self.trunks.registration(who) else { return };
        if registration.state == State::Unregistered {
            return self.trunks.settle(who, now);
        }
        match registration.judge(response, unproved) {
            Some(Verdict::Granted(length)) => {
                self.keep_service_route(who, service_route(response));
                self.on_registered(who, length, (asked.target, flow));
            }
            Some(Verdict::TooBrief) => self.send_register(who, asked.target, asked.flow),
            Some(Verdict::NextTarget { why, retry_after }) => self.on_registrar_failed(who, why, retry_after),
            Some(Verdict::Refused { why, pause }) => {
                self.on_register_failed(who, (State::Refused, why), pause);
            }
            None => {}
        }
        self.trunks.settle(who, now);
    }

    /// Answers the challenge of a registrar; or says why not.
    fn prove_registration(
        &mut self,
        who: Registrant,
        asked: Asked,
        response: &Message,
        sent: &Sent,
    ) -> Result<(), Box<str>> {
        let Some(index) = self.trunks.place(who) else { return Ok(()) };
        let Some(registration) = self.trunks.registration(who) else { return Ok(()) };
        let cseq = registration.cseq.saturating_add(1);
        let pbx = match who {
            Registrant::Trunk(_) => None,
            Registrant::Line(handle) => self.trunks.lines.get(handle).map(|line| line.pbx.clone()),
        };
        let again = self.core.with_credentials((index, pbx.as_ref()), response, sent, cseq);
        let again = again.map_err(|why| why.to_string())?;
        let key = self.trunks.key();
        let tx = self.core.send_again(asked.flow, again, Owner::Register(key));
        let now = self.core.now.at;
        if let Some(registration) = self.trunks.registration(who) {
            registration.cseq = cseq;
            registration.sent(now, key, tx, (asked.target, asked.flow));
            self.trunks.asked.insert(key, who);
        }
        self.trunks.settle(who, now);
        Ok(())
    }

    /// REGISTER could not be sent, or got no answer.
    pub(in crate::engine) fn on_no_register_response(&mut self, key: u64, status: StatusCode) {
        if let Some((who, _)) = self.trunks.take_register(key) {
            self.on_registrar_failed(who, trouble_of(status).to_string().into(), Duration::ZERO);
            self.trunks.settle(who, self.core.now.at);
        }
    }

    fn on_registrar_failed(&mut self, who: Registrant, why: Box<str>, retry_after: Duration) {
        let found = self.trunks.registration(who);
        if found.is_some_and(|registration| registration.state != State::Unregistered) {
            self.register_at_next(who, why, retry_after);
        }
    }

    fn on_registered(&mut self, who: Registrant, length: Duration, at: (Target, Flow)) {
        let now = self.core.now.at;
        let Some(registration) = self.trunks.registration(who) else { return };
        let is_news = registration.granted(now, length, at);
        let Some(index) = self.trunks.place(who) else { return };
        let name = self.trunk_name(index);
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.counts.registered += 1;
        match who {
            Registrant::Trunk(_) => {
                if is_news {
                    tracing::info!(trunk = &*name, seconds = length.as_secs(), "registered at a trunk");
                    self.tell_trunk(index, TrunkEvent::Up, None, "registered".into());
                }
            }
            Registrant::Line(handle) => {
                if std::mem::take(&mut trunk.loses_lines) {
                    tracing::info!(trunk = &*name, "a PBX registers users again");
                }
                let user = self.trunks.lines.get(handle).map(|line| &*line.user).filter(|_| is_news);
                if let Some(user) = user {
                    tracing::debug!(user, trunk = &*name, seconds = length.as_secs(), "registered at a PBX");
                }
            }
        }
    }

    fn on_register_failed(&mut self, who: Registrant, (state, why): (State, Box<str>), pause: Pause) {
        let now = self.core.now.at;
        let Some(index) = self.trunks.place(who) else { return };
        let name = self.trunk_name(index);
        if let Some(trunk) = self.trunks.all.get_mut(index) {
            trunk.counts.register_failed += 1;
        }
        let found = match who {
            Registrant::Trunk(index) => {
                self.trunks.all.get_mut(index).and_then(|trunk| trunk.registration.as_mut())
            }
            Registrant::Line(handle) => self.trunks.lines.get_mut(handle).map(|line| &mut line.registration),
        };
        let Some(registration) = found else { return };
        let is_news = registration.failed(now, (state, why.clone()), pause, &mut self.core.random);
        match who {
            _ if !is_news => {}
            Registrant::Trunk(_) => {
                let state = state.as_str();
                tracing::warn!(trunk = &*name, "the registration at a trunk is {state}: {why}");
                self.tell_trunk(index, TrunkEvent::Down, None, format!("registration {state}: {why}").into());
            }
            Registrant::Line(handle) => self.tell_of_line(handle, (index, &name), state, &why),
        }
    }

    /// A user is not registered at a PBX. That it wants none of the user is of the user; that nobody answers there is of
    /// the PBX, and is told once for all of its users.
    fn tell_of_line(&mut self, handle: Handle<Line>, (index, name): (usize, &str), state: State, why: &str) {
        let Some(line) = self.trunks.lines.get(handle) else { return };
        let user = &*line.user;
        if state == State::Refused {
            tracing::warn!(user, trunk = name, "a PBX does not register a user: {why}");
            return;
        }
        tracing::debug!(user, trunk = name, "not registered at a PBX: {why}");
        if let Some(trunk) = self.trunks.all.get_mut(index)
            && !std::mem::replace(&mut trunk.loses_lines, true)
        {
            tracing::warn!(trunk = name, "users cannot be registered at a PBX: {why}");
        }
    }

    /// What requests outside dialogs go by from now on.
    fn keep_service_route(&mut self, who: Registrant, route: Vec<Box<str>>) {
        let Some(index) = self.trunks.place(who) else { return };
        let user: Box<str> = match who {
            Registrant::Trunk(_) => Box::default(),
            Registrant::Line(handle) => {
                self.trunks.lines.get(handle).map(|line| (*line.user).into()).unwrap_or_default()
            }
        };
        if route.is_empty() {
            self.core.service_routes.remove(&(index, user));
        } else {
            self.core.service_routes.insert((index, user), route);
        }
    }

    /// A target is down: who is registered there is soon registered at another.
    pub(super) fn leave_target(&mut self, index: usize, target: Target) {
        let now = self.core.now.at;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        if trunk.probes.iter().all(|probe| probe.health == Health::Down) {
            return;
        }
        let is_there =
            |registration: &Registration| registration.at.is_some_and(|(known, _)| known == target);
        if let Some(registration) = trunk.registration.as_mut().filter(|known| is_there(known)) {
            registration.at = None;
            registration.hurry(now);
        }
        self.hurry_lines(|line| line.trunk == index && is_there(&line.registration));
    }

    /// A connection is gone: what is registered over it has to be registered anew.
    pub(in crate::engine) fn on_trunk_flow_closed(&mut self, flow: Flow) {
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
        // Most connections that end are those of phones.
        let is_of_trunk = |index| self.core.targets.has(index, flow.peer.ip());
        if flow.transport.is_reliable() && (0..self.trunks.all.len()).any(is_of_trunk) {
            self.hurry_lines(|line| is_on_it(&line.registration));
        }
    }

    /// No new calls: registrars are asked to let us go.
    pub(in crate::engine) fn leave_trunks(&mut self) {
        for index in 0..self.trunks.all.len() {
            self.leave_registration(Registrant::Trunk(index));
        }
        self.leave_lines(|_| true);
        self.trunks.look_ahead();
    }

    pub(super) fn leave_registration(&mut self, who: Registrant) {
        let now = self.core.now.at;
        let Some(registration) = self.trunks.registration(who) else { return };
        let (known, open) = registration.leave(now);
        self.keep_service_route(who, Vec::new());
        if let Some(asked) = open {
            self.trunks.asked.remove(&asked.key);
            self.core.transactions.abandon(asked.tx);
        }
        if let Some((target, flow)) = known {
            self.send_register(who, target, flow);
        }
        self.trunks.settle(who, now);
    }
}
