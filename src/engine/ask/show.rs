//! Views of the node, its calls, registrations and users. Only what is shown is made into a view: a node with 50,000
//! calls answers a list of a hundred without the other 49,900.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};

use crate::call::record::{Direction, HangupBy};
use crate::call::{Call, CallHandle, CallState, Leg, LegHandle, LegState, Party, Role, Side};
use crate::engine::Engine;
use crate::engine::command::{CommandError, Reply, Subject, TrustName};
use crate::engine::moves::leg_key;
use crate::engine::view::{
    CallPhase, CallView, DeviceView, LegView, PAGE_MAX, Page, PageQuery, RegistrationView, StatusView, Time,
    UserView,
};
use crate::moving::directory::{Bar, Progress};
use crate::moving::{DeviceKey, Refusal as MoveRefusal};
use crate::registrar::Binding;
use crate::registrar::accounts::{Account, Device, Origin, Tenure, Trust};
use crate::wire::sdp::Kind;

/// Reason of the BYEs when a call is ended from outside.
const ENDED_FROM_OUTSIDE: &str = "SIP;cause=200;text=\"Call ended by request\"";

impl Engine {
    pub(super) fn status_view(&self) -> StatusView {
        let (core, now) = (&self.core, self.core.now);
        let in_state = |state| core.calls.iter().filter(|(_, call)| call.state == state).count() as u64;
        let (free, used, resting) = core.ports.counts();
        let store = self.asks.store_failing.map_or_else(|| "ok".to_owned(), |why| why.to_string());
        StatusView {
            node: core.settings.node.to_string(),
            domain: core.settings.domain.to_string(),
            realm: self.settings.realm.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Time(self.started.unix),
            uptime_s: now.at.since(self.started.at).as_secs(),
            draining: self.is_draining,
            overload_percent: self.overload(),
            listeners: core
                .settings
                .listeners
                .iter()
                .map(|listener| format!("{}://{}", listener.transport.uri_token(), listener.address))
                .collect(),
            workers: 1,
            browsers: core.settings.media.web.is_some(),
            follow: self.settings.moving.follow.as_str().to_owned(),
            calls_ringing: in_state(CallState::Ringing),
            calls_answered: in_state(CallState::Talking),
            moves: self.moves.live.len() as u64,
            registrations: core.registrar.len() as u64,
            users: core.accounts.len() as u64,
            calls_transcoded: core.transcoded as u64,
            hot_desks: core.hot_desks.len() as u64,
            ports_free: free as u64,
            ports_used: used as u64,
            ports_quarantined: resting as u64,
            store,
        }
    }

    pub(super) fn list_calls(
        &self,
        by: &Subject,
        user: Option<&str>,
        query: &PageQuery,
    ) -> Result<Reply, CommandError> {
        let (calls, next) = part(self.live_calls(by.scope(user)?), query);
        let views = calls.into_iter().filter_map(|(_, handle)| self.call_view(handle));
        Ok(Reply::Calls(Page { items: views.map(|view| view.cut_for(by)).collect(), next }))
    }

    pub(super) fn list_newest_calls(&self, by: &Subject, most: u16) -> Result<Reply, CommandError> {
        let live = self.live_calls(by.scope(None)?).map(|(id, handle)| (Reverse(id), handle));
        let calls = least(live, usize::from(most.clamp(1, PAGE_MAX)));
        let views = calls.into_iter().filter_map(|(_, handle)| self.call_view(handle));
        Ok(Reply::Calls(Page { items: views.map(|view| view.cut_for(by)).collect(), next: None }))
    }

    /// Live calls by their ids, of one user or of all.
    fn live_calls(&self, of: Option<&str>) -> impl Iterator<Item = (&str, CallHandle)> {
        let live = self.core.calls.iter().filter(|(_, call)| call.state != CallState::Ended);
        live.filter(move |(_, call)| of.is_none_or(|user| self.is_party(call, user)))
            .map(|(handle, call)| (&*call.id, handle))
    }

    pub(super) fn show_call(&self, by: &Subject, id: &str) -> Result<Reply, CommandError> {
        let handle = self.visible_call(by, id)?;
        let view = self.call_view(handle).ok_or(CommandError::NotFound)?;
        Ok(Reply::Call(Box::new(view.cut_for(by))))
    }

    pub(super) fn hang_up(&mut self, by: &Subject, id: &str) -> Result<Reply, CommandError> {
        let handle = self.visible_call(by, id)?;
        self.core.end_call(handle, HangupBy::System, ENDED_FROM_OUTSIDE);
        Ok(Reply::Done)
    }

    /// A live call by its public name, if `by` may know of it.
    pub(super) fn visible_call(&self, by: &Subject, id: &str) -> Result<CallHandle, CommandError> {
        let found = self.core.calls.iter().find(|(_, call)| *call.id == *id);
        found
            .filter(|(_, call)| call.state != CallState::Ended)
            .filter(|(_, call)| match by {
                Subject::Admin => true,
                Subject::User(name) => self.is_party(call, name),
            })
            .map(|(handle, _)| handle)
            .ok_or(CommandError::NotFound)
    }

    /// Whether a device of `user` is in the call.
    fn is_party(&self, call: &Call, user: &str) -> bool {
        std::iter::once(call.caller)
            .chain(call.callee)
            .chain(call.forks.iter().copied())
            .filter_map(|leg| self.core.legs.get(leg)?.user())
            .any(|account| *account.name == *user)
    }

    fn call_view(&self, handle: CallHandle) -> Option<CallView> {
        let call = self.core.calls.get(handle)?;
        let leg = |leg: LegHandle| self.core.legs.get(leg);
        let holds =
            || [Some(call.caller), call.callee].into_iter().flatten().filter_map(leg).any(|l| l.holds);
        let state = match call.state {
            CallState::Ringing => CallPhase::Ringing,
            CallState::Ended => CallPhase::Ended,
            CallState::Talking if call.moving => CallPhase::Moving,
            CallState::Talking if holds() => CallPhase::Held,
            CallState::Talking => CallPhase::Answered,
        };
        let mover = self.moves.of_leg(handle).and_then(|key| self.moves.live.get(&key)?.new);
        // Dialogs that a move ended are remembered for the hold-off's sake; they are no parties any more.
        let released = call.released.iter().copied();
        let released = released.filter(|old| leg(*old).is_some_and(|old| old.state != LegState::Ended));
        let mut seen = BTreeSet::new();
        let legs = std::iter::once(call.caller)
            .chain(call.callee)
            .chain(call.forks.iter().copied())
            .chain(mover)
            .chain(released)
            .filter(|leg| seen.insert(*leg))
            .filter_map(|handle| Some(self.leg_view(handle, leg(handle)?)));
        let record = &call.record;
        Some(CallView {
            id: call.id.to_string(),
            state,
            direction: match record.direction {
                Direction::Internal => "internal",
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            }
            .to_owned(),
            from: record.from.clone(),
            to: record.to.clone(),
            user: record.user.clone(),
            trunk: record.trunk.clone(),
            started: Time(record.start),
            answered: record.answer.map(Time),
            codec: leg(call.caller).and_then(codec_of).or_else(|| record.codecs.last().cloned()),
            anchored: call.anchored,
            moves: record.moves,
            legs: legs.collect(),
        })
    }

    fn leg_view(&self, handle: LegHandle, leg: &Leg) -> LegView {
        let role = match leg.role {
            Role::Talking(Side::Caller) => "caller",
            Role::Talking(Side::Callee) => "callee",
            Role::Fork => "ringing",
            Role::Mover => "moving",
            Role::Released => "released",
        };
        let is_lost = self.core.calls.get(leg.call).is_some_and(|call| call.has_lost(handle));
        let state = match leg.state {
            _ if is_lost => "lost",
            LegState::Early => "early",
            LegState::Answered => "answered",
            LegState::Confirmed => "confirmed",
            LegState::Ended => "ended",
        };
        let (user, device) = leg.party.device().unzip();
        let trunk = if let Party::Trunk { name, .. } = &leg.party { Some(name.to_string()) } else { None };
        let flow = (!matches!(leg.party, Party::Service(_))).then_some(leg.dialog.flow);
        LegView {
            role: role.to_owned(),
            state: state.to_owned(),
            user: user.map(str::to_owned),
            device: device.map(str::to_owned),
            trunk,
            transport: flow.map(|flow| flow.transport.uri_token().to_owned()),
            address: flow.map(|flow| flow.peer.to_string()),
            user_agent: leg.user_agent.as_deref().map(str::to_owned),
            held: leg.holds,
            immovable: self.immovable(handle).map(|why| why.as_str().to_owned()),
            signed_in: leg.acts_for.as_ref().map(|user| user.name.to_string()),
        }
    }

    /// What speaks against moving a leg to another device of its user, whichever that is.
    fn immovable(&self, leg: LegHandle) -> Option<MoveRefusal> {
        let Some(live) = self.moves.directory.leg(leg_key(leg)) else { return Some(MoveRefusal::NoCall) };
        match (live.bar, live.progress) {
            (Some(Bar::Emergency), _) => return Some(MoveRefusal::Emergency),
            (Some(Bar::Busy), _) => return Some(MoveRefusal::Busy),
            (Some(Bar::NoCommonMedia), _) => return Some(MoveRefusal::OfferUnusable),
            (None, Progress::Calling { .. } | Progress::Ringing { .. }) => return Some(MoveRefusal::NoCall),
            (None, Progress::Answered { .. }) => {}
        }
        let others = self.core.registrar.lookup(&live.owner, self.core.now.at);
        let is_other = |device: &str| *live.owner != *live.device.user() || *device != *live.device.device();
        let mut targets = others.iter().filter(|binding| is_other(&binding.device)).peekable();
        if targets.peek().is_none() {
            return Some(MoveRefusal::NotRegistered);
        }
        let is_useless = |target: &Binding| {
            self.is_without_common_media(live.leg, &DeviceKey::new(&*live.owner, &*target.device))
        };
        targets.all(|target| is_useless(target)).then_some(MoveRefusal::OfferUnusable)
    }

    pub(super) fn list_registrations(
        &self,
        by: &Subject,
        user: Option<&str>,
        query: &PageQuery,
    ) -> Result<Reply, CommandError> {
        let scope = by.scope(user)?;
        let now = self.core.now.at;
        let live = |bindings: &[Binding]| bindings.iter().any(|binding| binding.is_live(now));
        // Keys begin with the user, so the users at and after the cursor's are enough. Each has a binding at least,
        // but for the cursor's own, all of whose may stand before it.
        let from = query.cursor.as_deref().map_or("", |at| at.split_once('*').map_or(at, |(user, _)| user));
        let users = self.core.registrar.iter().filter(|(user, bindings)| {
            ***user >= *from && scope.is_none_or(|scope| ***user == *scope) && live(bindings)
        });
        let limit = query.limit.clamp(1, PAGE_MAX).saturating_add(2);
        let first = least(users.map(|(user, bindings)| (&**user, bindings)), limit.into());
        let views = first.into_iter().flat_map(|(user, bindings)| {
            let live = bindings.iter().filter(|binding| binding.is_live(now));
            live.map(|binding| self.registration_view(user, binding))
        });
        Ok(Reply::Registrations(Page::cut(views, query)))
    }

    fn registration_view(&self, user: &str, binding: &Binding) -> RegistrationView {
        let now = self.core.now;
        let pbx = self.core.accounts.by_name(user).and_then(|account| self.pbx_view(account));
        let left = u64::try_from(binding.expires.since(now.at).as_millis()).unwrap_or(u64::MAX);
        RegistrationView {
            user: user.to_owned(),
            device: binding.device.to_string(),
            contact: binding.contact.to_string(),
            transport: binding.flow.transport.uri_token().to_owned(),
            address: binding.flow.peer.to_string(),
            user_agent: (!binding.user_agent.is_empty()).then(|| binding.user_agent.to_string()),
            instance: binding.instance.as_deref().map(str::to_owned),
            expires: Time(crate::base::UnixMillis(now.unix.0.saturating_add(left))),
            expires_s: binding.seconds_left(now.at),
            pbx: pbx.map(|pbx| pbx.state),
            signed_in: self.core.hot_desks.user_at(user, &binding.device).map(str::to_owned),
        }
    }

    pub(super) fn kick(
        &mut self,
        by: &Subject,
        user: &str,
        device: Option<&str>,
    ) -> Result<Reply, CommandError> {
        if !by.may_see(user) {
            return Err(CommandError::NotFound);
        }
        let ended = self.core.registrar.kick(user, device, self.core.now, &mut self.registrations);
        if ended == 0 { Err(CommandError::NotFound) } else { Ok(Reply::Done) }
    }

    pub(super) fn list_users(&self, by: &Subject, query: &PageQuery) -> Page<UserView> {
        let accounts = self.core.accounts.iter().filter(|account| by.may_see(&account.name));
        let (accounts, next) = part(accounts.map(|account| (&*account.name, account)), query);
        let items = accounts.into_iter().map(|(_, account)| self.user_view(account)).collect();
        Page { items, next }
    }

    pub(super) fn show_user(&self, by: &Subject, name: &str) -> Result<Reply, CommandError> {
        let account = self.core.accounts.by_name(name).filter(|account| by.may_see(&account.name));
        Ok(Reply::User(Box::new(self.user_view(account.ok_or(CommandError::NotFound)?))))
    }

    fn user_view(&self, account: &Account) -> UserView {
        UserView {
            name: account.name.to_string(),
            display: account.display.as_deref().map(str::to_owned),
            extension: account.extension.as_deref().map(str::to_owned),
            origin: if account.origin == Origin::File { "file" } else { "store" }.to_owned(),
            login: account.login.is_some(),
            pin: account.pin.is_some(),
            devices: account.devices.iter().map(|device| self.device_view(account, device)).collect(),
            pbx: self.pbx_view(account),
            hot_desk: self.hot_desk_view(&account.name),
        }
    }

    fn device_view(&self, account: &Account, device: &Device) -> DeviceView {
        let now = self.core.now.at;
        let key = DeviceKey::new(&*account.name, &*device.id);
        DeviceView {
            user: account.name.to_string(),
            id: device.id.to_string(),
            address: key.to_string(),
            auth_user: device.auth_user.to_string(),
            trust: match device.trust {
                Trust::Personal => TrustName::Personal,
                Trust::Shared => TrustName::Shared,
            },
            registered: self.core.registrar.is_registered(&account.name, &device.id, now),
            hold_off_s: self.moves.hold_offs.seconds_left(now, &key).map(u64::from),
            lent: device.tenure == Tenure::Lent,
            signed_in: self.core.hot_desks.user_at(&account.name, &device.id).map(str::to_owned),
        }
    }
}

/// The audio codec that a leg was told first.
pub(in crate::engine) fn codec_of(leg: &Leg) -> Option<String> {
    let lines = leg.media.as_ref()?.remote_media();
    let audio = lines.iter().find(|line| line.kind == Kind::Audio)?;
    audio.accepts.first().map(|format| format.codec.name().to_owned())
}

/// The part of an ascending list that `query` asks for, and the cursor of the next one.
fn part<'k, T>(
    items: impl Iterator<Item = (&'k str, T)>,
    query: &PageQuery,
) -> (Vec<(&'k str, T)>, Option<String>) {
    let limit = usize::from(query.limit.clamp(1, PAGE_MAX));
    let after = items.filter(|(key, _)| query.cursor.as_deref().is_none_or(|at| *key > at));
    let mut found = least(after, limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(key, _)| (*key).to_owned());
    (found, next)
}

/// The `most` items with the least keys, in order. Keys are unique.
fn least<K: Ord + Copy, T>(items: impl Iterator<Item = (K, T)>, most: usize) -> Vec<(K, T)> {
    struct Keyed<K, T>(K, T);
    impl<K: Ord, T> PartialEq for Keyed<K, T> {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl<K: Ord, T> Eq for Keyed<K, T> {}
    impl<K: Ord, T> PartialOrd for Keyed<K, T> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl<K: Ord, T> Ord for Keyed<K, T> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }
    let mut heap = BinaryHeap::with_capacity(most.min(1024) + 1);
    for (key, item) in items {
        let is_full = heap.len() >= most;
        if is_full && heap.peek().is_some_and(|greatest: &Keyed<K, T>| key > greatest.0) {
            continue;
        }
        heap.push(Keyed(key, item));
        if is_full {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|Keyed(key, item)| (key, item)).collect()
}
