//! Trunks come, go and change while calls are on them.
//!
//! A trunk has a place for life, which calls and lookups know it by. One that is no more keeps its place, with its
//! settings, until the last call is off it: to that call nothing has changed. One that is somebody else by now (another host,
//! another account) is one that went and one that came.

use super::{Probe, Trunk, Trunks};
use crate::call::Party;
use crate::call::core::Core;
use crate::call::settings::{self, Settings};
use crate::call::targets::Ranked;
use crate::engine::Engine;
use crate::engine::trunks::registering::Registrant;
use crate::engine::trunks::registration::Registration;

impl Engine {
    /// Gives every trunk of `new` its place. Gives the places in the order of the file.
    pub(in crate::engine) fn exchange_trunks(&mut self, new: &mut Settings) -> Vec<usize> {
        let old = self.core.settings.clone();
        let wanted = std::mem::take(&mut new.trunks);
        let mut all = old.trunks.clone();
        let mut places: Vec<Option<usize>> =
            wanted.iter().map(|trunk| all.iter().position(|known| is_same(known, trunk))).collect();
        for index in 0..all.len() {
            if !places.contains(&Some(index)) {
                self.retire(index, &mut all);
            }
        }
        let mut taken = 0;
        for (trunk, place) in wanted.into_iter().zip(&mut places) {
            if let Some(index) = *place {
                self.change_trunk(index, &trunk);
                if let Some(known) = all.get_mut(index) {
                    *known = trunk;
                }
                continue;
            }
            let free = (taken..all.len())
                .find(|index| all.get(*index).is_some_and(|t| t.is_gone) && self.is_free(*index));
            let index = free.unwrap_or(all.len());
            taken = index + 1;
            self.add_trunk(index, &trunk);
            if let Some(known) = all.get_mut(index) {
                *known = trunk
            } else {
                all.push(trunk)
            }
            *place = Some(index);
        }
        self.core.capacity.follow(&all);
        self.trunks.look_ahead();
        let places: Vec<usize> = places.into_iter().flatten().collect();
        new.trunks = all;
        places
    }

    /// It takes no further calls; registrars are asked to let us go.
    fn retire(&mut self, index: usize, all: &mut [settings::Trunk]) {
        let Some(known) = all.get_mut(index).filter(|known| !known.is_gone) else { return };
        known.is_gone = true;
        self.stop_asking(index);
        self.leave_registration(Registrant::Trunk(index));
        self.leave_lines(|line| line.trunk == index);
        if let Some(trunk) = self.trunks.all.get_mut(index) {
            trunk.is_gone = true;
        }
    }

    /// Nobody is pinged any more, and nobody is down because of it.
    fn stop_asking(&mut self, index: usize) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let probes = std::mem::take(&mut trunk.probes);
        for probe in probes {
            self.core.targets.judge(index, probe.target, false);
            if let Some(asked) = probe.asked {
                self.core.transactions.abandon(asked.tx);
            }
        }
    }

    fn change_trunk(&mut self, index: usize, new: &settings::Trunk) {
        let is_draining = self.is_draining;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        if trunk.every != new.ping {
            trunk.every = new.ping;
            self.stop_asking(index);
            let Some(trunk) = self.trunks.all.get_mut(index) else { return };
            trunk.watch(index, &mut self.core);
        }
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let is_asked_for = trunk.registration.as_ref().is_some_and(|known| !known.has_left());
        if new.register && !is_asked_for && !is_draining {
            trunk.registration = Some(self.core.registration());
        } else if !new.register && is_asked_for {
            self.leave_registration(Registrant::Trunk(index));
        }
    }

    fn add_trunk(&mut self, index: usize, new: &settings::Trunk) {
        let is_draining = self.is_draining;
        self.core.realms.remove(&index);
        // Routes that the registrar of the trunk before named would lead the calls of this one there.
        self.core.service_routes.retain(|(at, _), _| *at != index);
        self.core.targets.place(index, &Ranked::in_order(new.targets.iter().copied()));
        let mut trunk = Trunk {
            registration: (new.register && !is_draining).then(|| self.core.registration()),
            every: new.ping,
            ..Trunk::default()
        };
        trunk.watch(index, &mut self.core);
        if let Some(known) = self.trunks.all.get_mut(index) {
            *known = trunk
        } else {
            self.trunks.all.push(trunk)
        }
        self.core.capacity.empty(index);
    }

    /// Whether the place of a trunk that is no more can be another's: nothing that lives knows it.
    fn is_free(&self, index: usize) -> bool {
        let core = &self.core;
        let is_leaving = self.trunks.all.get(index).and_then(|trunk| trunk.registration.as_ref());
        let is_leaving = is_leaving.is_some_and(Registration::is_leaving);
        let is_leaving = is_leaving || self.trunks.lines.is_on(index);
        let is_on = |party: &Party| matches!(party, Party::Trunk { index: at, .. } if *at == index);
        let is_ahead = || {
            core.calls.iter().any(|(_, call)| call.admitted_by == Some(index) || call.may_try_trunk(index))
        };
        !is_leaving && !core.legs.iter().any(|(_, leg)| is_on(&leg.party)) && !is_ahead()
    }
}

impl Core {
    /// One that begins now, of the account of a trunk.
    fn registration(&mut self) -> Registration {
        Registration::new(self.now.at, self.random.token().into(), &mut self.random)
    }
}

impl Trunk {
    /// Looks after the targets as they are.
    fn watch(&mut self, index: usize, core: &mut Core) {
        let Core { targets, random, now, .. } = core;
        let every = self.every;
        self.probes = targets.all(index).map(|at| Probe::new(at, every, now.at, random)).collect();
    }
}

impl Trunks {
    /// Those that are no more, by their place.
    pub(in crate::engine) fn is_gone(&self, index: usize) -> bool {
        self.all.get(index).is_none_or(|trunk| trunk.is_gone)
    }
}

/// Whether it is one trunk, before and after: what it is asked for by, and as whom.
fn is_same(old: &settings::Trunk, new: &settings::Trunk) -> bool {
    let is_same_account = match (&old.auth, &new.auth) {
        (Some(old), Some(new)) => old.user == new.user && old.realm == new.realm,
        (None, _) => true,
        (Some(_), None) => false,
    };
    !old.is_gone && old.name == new.name && old.host == new.host && is_same_account
}
