//! The sans-IO engine: inputs in, outputs out. The simulator of the tests and the shell are two drivers of it.
//!
//! One [`Engine`] is one signalling worker. It reads no clock, draws no entropy of its own and touches nothing:
//! a failed side effect comes back as an [`Input`], an ordinary arm. Each file beside this one is one job:
//! [`dispatch`] finds out whose a message is, [`auth`] who sent it, [`register`], [`invite`] and [`watch`] serve it,
//! [`moves`] carries out moves, `transfer` transfers, [`trunks`] looks after trunks, [`ask`] answers commands,
//! `reconfigure` takes another configuration.

pub mod ask;
pub mod auth;
pub mod capture;
pub mod command;
mod dial_plan;
mod dialogs;
pub mod dispatch;
pub mod event;
mod hot_desk;
pub mod invite;
mod io;
pub mod media;
pub mod moves;
mod overload;
mod publish;
mod reconfigure;
pub mod register;
pub mod report;
pub mod settings;
pub mod store;
mod tally;
mod tell;
#[cfg(test)]
mod tests;
pub mod trace;
mod transfer;
pub mod trunks;
pub mod view;
pub mod watch;

use std::sync::Arc;

pub use io::{CommandId, Input, Output, VerifyTicket};
pub use reconfigure::{NewConfiguration, Reconfigured, ReloadView};
pub use settings::Settings;

use crate::base::{Now, Random, Slab, TimerHeap, Timestamp};
use crate::call::abilities::Abilities;
use crate::call::capacity::Capacity;
use crate::call::core::Core;
use crate::call::targets::Targets;
use crate::media::ports::Ports;
use crate::registrar::Registrar;
use crate::registrar::accounts::Accounts;
use crate::sip::digest::{self, Verifier};
use crate::sip::transaction::Transactions;

/// Counts for metrics; plain numbers, read by the worker that owns the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that could not be read.
    pub parse_errors: u64,
    /// Credentials that were wrong.
    pub auth_failures: u64,
    /// Credentials for a nonce that has run out.
    pub auth_stale: u64,
    /// Credentials that could not be read.
    pub auth_malformed: u64,
    /// Credentials that nobody looked at, after too many wrong ones.
    pub auth_throttled: u64,
    /// Requests of held-off devices turned down.
    pub hold_off_rejections: u64,
    /// Calls of which somebody was rung.
    pub calls: u64,
    /// Messages that belong to new work that was let in, by what a call or a request usually has.
    pub new_work: u64,
    /// New requests refused because the node could not keep up.
    pub overload_refusals: u64,
    /// Messages dropped of sources that sent too many and had not shown who they are.
    pub strangers_dropped: u64,
    /// Faults of our own that ended one call.
    pub bugs: u64,
}

/// One signalling worker.
pub struct Engine {
    pub(crate) core: Core,
    pub(crate) settings: Arc<Settings>,
    pub(crate) verifier: Verifier,
    pub(crate) bans: auth::Bans,
    /// With which list of algorithms a name that nobody has is challenged.
    lookalike: [u8; 32],
    pub(crate) moves: moves::Moves,
    pub(crate) watch: watch::Watchers,
    pub(crate) transfers: transfer::Transfers,
    pub(crate) trunks: trunks::Trunks,
    tallies: tally::Tallies,
    dialogs: dialogs::Dialogs,
    pub(crate) asks: ask::Parked,
    overload: overload::Overload,
    trace: trace::Trace,
    pub(crate) registrations: Vec<crate::registrar::Happened>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) counters: Counters,
    pub(crate) is_draining: bool,
    pub(crate) started: Now,
    pub(crate) tickets: u64,
    /// Accounts of the store that are not in use, because the file has what is theirs.
    aside: Vec<crate::registrar::accounts::Account>,
}

impl Engine {
    /// An engine with nothing in it but what the store had. `worker` is its number, in every id that it mints.
    #[must_use]
    pub fn new(
        settings: Settings,
        accounts: Accounts,
        loaded: &store::Loaded,
        worker: u8,
        mut random: Random,
        now: Now,
    ) -> Self {
        let realm = settings.realm.to_string();
        let verifier = Verifier::new(digest::Settings { realm, ..digest::Settings::default() }, &mut random);
        let lookalike = random.bytes();
        let transactions = Transactions::new(settings.transactions, &mut random);
        let listeners: Vec<_> = settings.call.listeners.iter().map(|listener| listener.transport).collect();
        let mut registrar = Registrar::default();
        registrar.restore(&loaded.bindings, &listeners, now);
        let moves = moves::Moves::new(loaded, worker, now);
        let media = &settings.call.media;
        let ports = Ports::new(media.threads, media.pairs, Arc::clone(&media.screen.own_ports));
        let targets = Targets::new(settings.call.trunks.iter().map(|trunk| &trunk.targets[..]));
        let trunks =
            trunks::Trunks::new(&settings.call.trunks, &targets, settings.contact_key, now, &mut random);
        let trace = trace::Trace::new(settings.trace, &mut random);
        let core = Core {
            now,
            settings: Arc::new(settings.call.clone()),
            random,
            transactions,
            effects: Vec::new(),
            calls: Slab::default(),
            legs: Slab::default(),
            on_streams: std::collections::BTreeSet::new(),
            accounts,
            registrar,
            ports,
            port_legs: rustc_hash::FxHashMap::default(),
            abilities: Abilities::default(),
            made: Vec::new(),
            left: Vec::new(),
            media: Vec::new(),
            happened: std::collections::VecDeque::new(),
            spreads: Slab::default(),
            timers: TimerHeap::default(),
            capacity: Capacity::new(&settings.call.trunks),
            realms: std::collections::BTreeMap::new(),
            service_routes: std::collections::BTreeMap::new(),
            unrung: 0,
            transcoded: 0,
            targets,
            hot_desks: crate::registrar::hot_desk::HotDesks::default(),
            worker,
        };
        let bans = auth::Bans::new(settings.ban.clone(), &loaded.failures, now, lookalike);
        let aside = reconfigure::aside(&loaded.accounts, &core.accounts);
        let mut engine = Self {
            core,
            settings: Arc::new(settings),
            verifier,
            bans,
            lookalike,
            moves,
            watch: watch::Watchers::new(now),
            transfers: transfer::Transfers::default(),
            trunks,
            tallies: tally::Tallies::default(),
            dialogs: dialogs::Dialogs::default(),
            asks: ask::Parked::default(),
            overload: overload::Overload::default(),
            trace,
            registrations: Vec::new(),
            outputs: Vec::new(),
            counters: Counters::default(),
            is_draining: false,
            started: now,
            tickets: 0,
            aside,
        };
        engine.take_up(loaded);
        engine.settle();
        engine
    }

    /// Goes on with what the store had.
    fn take_up(&mut self, loaded: &store::Loaded) {
        self.prove_registered();
        self.save_bans();
        self.forget_snapshots(loaded);
        self.restore_hot_desks(loaded);
        self.follow_lines();
    }

    /// A move that was under way when the node stopped has ended with its call: its session information is of no use.
    fn forget_snapshots(&mut self, loaded: &store::Loaded) {
        for snapshot in &loaded.snapshots {
            tracing::info!(
                id = snapshot.move_id,
                "a move was under way when the node stopped; its call is gone"
            );
            let ticket = store::StoreTicket(self.ticket());
            let op = store::StoreOp::RemoveSnapshot { move_id: snapshot.move_id.as_str().into() };
            self.outputs.push(Output::Store { ticket, op });
        }
    }

    /// Takes one input. What it leads to is in [`Engine::take_outputs`].
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.core.now = now;
        match input {
            Input::Received { flow, bytes } => self.on_received(flow, bytes),
            Input::FlowClosed(flow) => self.on_flow_closed(flow),
            Input::Stored { ticket, reply } => self.on_stored(ticket, reply),
            Input::StoreState(failing) => self.asks.store_failing = failing,
            Input::Media(event) => self.on_media(event),
            Input::Verified { ticket, right } => self.on_verified(ticket, right),
            Input::Remember(failures) => {
                let ticket = store::StoreTicket(self.ticket());
                self.outputs.push(Output::Store { ticket, op: store::StoreOp::SaveFailures(failures) });
            }
            Input::Resolved { trunk, targets } => self.on_trunk_located(trunk, &targets),
            Input::Pressure { share } => self.on_pressure(share),
            Input::Reconfigure(new) => self.on_reconfigured(*new),
            Input::Command { id, asked } => self.on_command(id, asked),
        }
        self.settle();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.core.now = now;
        let core = &mut self.core;
        core.transactions.handle_timeout(now.at, &mut core.effects);
        core.on_leg_timers();
        core.registrar.handle_timeout(now, &mut self.registrations);
        self.on_moves_timeout();
        self.on_hot_desks_timeout();
        self.on_transfers_timeout();
        self.on_watch_timeout();
        self.on_tallies_timeout();
        self.on_asks_timeout();
        self.on_trunks_timeout();
        self.on_trace_timeout();
        self.settle();
    }

    /// When [`Engine::handle_timeout`] is next due. May be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [
            self.core.transactions.poll_timeout(),
            self.core.timers.next(),
            self.core.registrar.poll_timeout(),
            self.moves.poll_timeout(),
            self.core.hot_desks.poll_timeout(),
            self.transfers.poll_timeout(),
            self.watch.poll_timeout(),
            self.tallies.poll_timeout(),
            self.asks.poll_timeout(),
            self.trunks.poll_timeout(),
            self.trace.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Moves what is to be done to the end of `into`, in order.
    pub fn take_outputs(&mut self, into: &mut Vec<Output>) {
        into.append(&mut self.outputs);
        self.trace.seen = 0;
    }

    /// Works off what one input has led to, until nothing is left: effects of transactions, news of the call layer,
    /// changes of bindings, commands to the media threads.
    fn settle(&mut self) {
        loop {
            if !self.core.effects.is_empty() {
                let mut effects = std::mem::take(&mut self.core.effects);
                for effect in effects.drain(..) {
                    self.on_effect(effect);
                }
                // The buffer is kept, so that a busy worker does not allocate one for each message.
                if self.core.effects.is_empty() {
                    self.core.effects = effects;
                }
                continue;
            }
            if let Some(happened) = self.core.happened.pop_front() {
                self.on_happened(happened);
                continue;
            }
            if self.welcome_arrivals() {
                continue;
            }
            self.tell_registrations();
            if self.tell_watchers() || !self.core.effects.is_empty() {
                continue;
            }
            break;
        }
        self.ask_suspects();
        self.tell_dialogs(self.trace.seen);
        self.keep_traffic();
        self.save_bindings();
        let Core { ports, media, now, settings, .. } = &mut self.core;
        if settings.media.anchor != crate::call::settings::Anchor::Never || settings.echo.is_some() {
            let address = settings.media.bind;
            ports.replenish(now.at, address, |command| media.push(command));
            if let Some(why) = ports.shortage(now.at) {
                tracing::warn!("calls are refused for want of media ports: {why}");
            }
        }
        self.outputs.extend(media.drain(..).map(Output::Media));
    }

    /// Whether media ports were asked for and none has come, nor word that none will.
    #[must_use]
    pub fn lacks_ports(&self) -> bool {
        let ports = &self.core.ports;
        ports.is_asking() && ports.counts() == (0, 0, 0) && ports.failure().is_none()
    }

    /// Takes no new calls from here on.
    pub fn drain(&mut self, now: Now) {
        self.core.now = now;
        self.stop_taking_calls();
        self.settle();
    }

    pub(crate) fn stop_taking_calls(&mut self) {
        self.is_draining = true;
        self.leave_trunks();
    }

    /// Whether a trunk was asked to forget us and has not answered; for two seconds at most.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.trunks.is_leaving()
    }

    /// Ends every call.
    pub fn hang_up_all(&mut self, now: Now) {
        self.core.now = now;
        let calls: Vec<_> = self.core.calls.iter().map(|(call, _)| call).collect();
        for call in calls {
            let by = crate::call::record::HangupBy::System;
            self.core.end_call(call, by, "SIP;cause=200;text=\"Server is stopping\"");
        }
        self.settle();
    }

    /// Whether nothing is left: no call, no transaction. What a shutdown waits for, and the simulator proves.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.core.calls.is_empty() && self.core.legs.is_empty() && self.core.transactions.is_empty()
    }

    /// Counts for metrics.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Messages that were sent again or came again, by the [kind](crate::wire::sip::Method::kind) of their method.
    #[must_use]
    pub const fn retransmitted(&self) -> [u64; crate::wire::sip::Method::KINDS] {
        self.core.transactions.counters().retransmitted
    }

    /// Read access for the shell's gauges and the tests' invariants.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}
