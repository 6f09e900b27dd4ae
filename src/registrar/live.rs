//! All bindings of the node in memory: looked up by user and device, ended on time, written down behind.
//!
//! Writing is coalesced. A user whose set changed (a device came, went or moved) is due within a second, one that
//! was only refreshed within ten; what happens meanwhile costs nothing more. So 16,000 refreshes a second of
//! 10,000 phones are a thousand rows a second, and a crash forgets at most the last ten seconds of refreshes,
//! each of which the phone repeats at half its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Binding, Change, Ended, Refreshed, Refusal, Register, SavedAor, SavedBinding, Settings, apply};
use crate::base::{Handle, Now, Slab, TimerHeap, Timestamp};
use crate::sip::{Flow, Transport};

/// A device that came, went or moved is written within this time.
const SAVE_CHANGE: Duration = Duration::from_secs(1);
/// A refresh is written within this time.
const SAVE_REFRESH: Duration = Duration::from_secs(10);

/// Something that happened to a user's bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Whose.
    pub user: Arc<str>,
    /// What.
    pub change: Change,
}

/// What a REGISTER led to: the material of its 200.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// All bindings of the address of record.
    pub bindings: &'a [Binding],
    /// Whether the 200 carries `Require: outbound`.
    pub outbound: bool,
}

/// The bindings of all users.
#[derive(Default)]
pub struct Registrar {
    aors: Slab<Aor>,
    // Users are those of the accounts, never free text of the network: a hash without a seed is safe.
    by_user: FxHashMap<Arc<str>, Handle<Aor>>,
    expiry: TimerHeap<Handle<Aor>>,
    saves: TimerHeap<Handle<Aor>>,
    /// Who is bound to which connection.
    on_streams: BTreeSet<(Flow, Handle<Aor>)>,
    bindings: usize,
}

/// One address of record. Stays until it is empty and that has been written.
struct Aor {
    user: Arc<str>,
    bindings: Vec<Binding>,
    /// The earliest wake-up asked for; a refresh moves deadlines back and asks for none.
    wake: Timestamp,
    /// When it must be written; `NEVER` while nothing differs from what was.
    save: Timestamp,
}

impl Registrar {
    /// Applies a REGISTER for `user`, who is known, from a device that may.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn register(
        &mut self,
        user: &str,
        request: &Register<'_>,
        settings: &Settings,
        now: Now,
        out: &mut Vec<Happened>,
    ) -> Result<Accepted<'_>, Refusal> {
        let known = self.by_user.get(user).copied();
        let old = known.and_then(|handle| self.aors.get(handle)).map_or(&[][..], |aor| &aor.bindings);
        let applied = apply(old, request, settings, now.at)?;
        let (outbound, changed) = (applied.outbound, !applied.changes.is_empty());
        if !changed {
            let bindings =
                known.and_then(|handle| self.aors.get(handle)).map_or(&[][..], |aor| &aor.bindings);
            return Ok(Accepted { bindings, outbound });
        }
        let handle = known.unwrap_or_else(|| self.open(Arc::from(user)));
        self.keep(handle, applied.bindings, applied.changes, now.at, out);
        let bindings = self.aors.get(handle).map_or(&[][..], |aor| &aor.bindings);
        Ok(Accepted { bindings, outbound })
    }

    /// The live bindings of a user, best first: by q, then the newest.
    #[must_use]
    pub fn lookup(&self, user: &str, now: Timestamp) -> SmallVec<[&Binding; 4]> {
        let mut found: SmallVec<[&Binding; 4]> = self.live(user, now).collect();
        found.sort_by(|a, b| a.rank().cmp(&b.rank()));
        found
    }

    /// The live bindings of one device of a user, best first.
    #[must_use]
    pub fn lookup_device(&self, user: &str, device: &str, now: Timestamp) -> SmallVec<[&Binding; 4]> {
        let mut found = self.lookup(user, now);
        found.retain(|binding| *binding.device == *device);
        found
    }

    /// Whether a device has a live binding.
    #[must_use]
    pub fn is_registered(&self, user: &str, device: &str, now: Timestamp) -> bool {
        self.live(user, now).any(|binding| *binding.device == *device)
    }

    /// Whose device is reached over `flow` as `device` of `user`: whether a request from there may pass as a
    /// registered source.
    #[must_use]
    pub fn is_bound_to(&self, user: &str, device: &str, flow: &Flow, now: Timestamp) -> bool {
        self.live(user, now).any(|binding| *binding.device == *device && binding.flow == *flow)
    }

    /// Ends the bindings of a user, or of one device of the user. Gives how many ended.
    pub fn kick(&mut self, user: &str, device: Option<&str>, now: Now, out: &mut Vec<Happened>) -> usize {
        let Some(handle) = self.by_user.get(user).copied() else { return 0 };
        let concerns = |binding: &Binding| device.is_none_or(|device| *binding.device == *device);
        self.end(handle, now.at, Ended::Kicked, concerns, out)
    }

    /// A connection is gone. A browser cannot be called back, nor a phone that asked for its flow to be used (RFC 5626
    /// 5.3) or whose name we cannot prove over TLS: their bindings end. To another phone a new connection can be made, so
    /// its binding stays with the address alone.
    pub fn flow_closed(&mut self, flow: &Flow, now: Now, out: &mut Vec<Happened>) {
        let is_lost = |binding: &Binding| binding.flow == *flow && binding.ends_with_its_flow();
        let (first, last) = (Handle::from_bits(0), Handle::from_bits(u64::MAX));
        let bound: SmallVec<[_; 4]> =
            self.on_streams.range((*flow, first)..=(*flow, last)).map(|(_, handle)| *handle).collect();
        for handle in bound {
            self.end(handle, now.at, Ended::FlowClosed, is_lost, out);
            let Some(aor) = self.aors.get(handle) else { continue };
            let mut bindings = aor.bindings.clone();
            for binding in bindings.iter_mut().filter(|binding| binding.flow == *flow) {
                binding.flow.connection = 0;
            }
            self.bind(handle, bindings);
        }
    }

    /// When [`Registrar::handle_timeout`] or [`Registrar::take_saves`] next has work.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.expiry.next(), self.saves.next()].into_iter().flatten().min()
    }

    /// Ends what has expired.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<Happened>) {
        while let Some(handle) = self.expiry.expire(now.at) {
            if let Some(aor) = self.aors.get_mut(handle)
                && aor.wake <= now.at
            {
                aor.wake = Timestamp::NEVER;
                self.end(handle, now.at, Ended::Expired, |binding| !binding.is_live(now.at), out);
                self.schedule(handle);
            }
        }
    }

    /// Takes up to `most` sets that are due to be written, as they are now. They count as written: a store that
    /// fails keeps trying by itself.
    pub fn take_saves(&mut self, now: Now, most: usize) -> Vec<SavedAor> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(handle) = self.saves.expire(now.at)
        {
            let Some(aor) = self.aors.get_mut(handle).filter(|aor| aor.save <= now.at) else { continue };
            aor.save = Timestamp::NEVER;
            due.push(aor.saved(now));
            self.forget_if_empty(handle);
        }
        due
    }

    /// Everything that is not written yet, due or not: for a shutdown.
    pub fn take_all_saves(&mut self, now: Now) -> Vec<SavedAor> {
        let waiting = self.aors.iter().filter(|(_, aor)| aor.save != Timestamp::NEVER);
        let waiting: Vec<_> = waiting.map(|(handle, _)| handle).collect();
        for handle in &waiting {
            if let Some(aor) = self.aors.get_mut(*handle) {
                aor.save = now.at;
                self.saves.push(now.at, *handle);
            }
        }
        self.take_saves(now, usize::MAX)
    }

    /// Puts back what was written before a restart, without reporting it; what has expired stays out.
    /// `listeners` are the transports of our listeners, in order.
    pub fn restore(&mut self, saved: &[SavedAor], listeners: &[Transport], now: Now) {
        for aor in saved {
            let bindings: Vec<_> =
                aor.bindings.iter().filter_map(|binding| binding.restored(listeners, now)).collect();
            if !bindings.is_empty() && !self.by_user.contains_key(&aor.user) {
                let handle = self.open(Arc::clone(&aor.user));
                self.bind(handle, bindings);
                self.schedule(handle);
            }
        }
    }

    /// Every user with bindings, live or about to be ended, in a steady order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &[Binding])> {
        self.aors.iter().map(|(_, aor)| (&aor.user, &aor.bindings[..])).filter(|(_, b)| !b.is_empty())
    }

    /// How many bindings there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bindings
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bindings == 0
    }

    fn live(&self, user: &str, now: Timestamp) -> impl Iterator<Item = &Binding> {
        let aor = self.by_user.get(user).and_then(|handle| self.aors.get(*handle));
        aor.into_iter().flat_map(|aor| &aor.bindings).filter(move |binding| binding.is_live(now))
    }

    fn open(&mut self, user: Arc<str>) -> Handle<Aor> {
        let aor = Aor {
            user: Arc::clone(&user),
            bindings: Vec::new(),
            wake: Timestamp::NEVER,
            save: Timestamp::NEVER,
        };
        let handle = self.aors.insert(aor);
        self.by_user.insert(user, handle);
        handle
    }

    fn keep(
        &mut self,
        handle: Handle<Aor>,
        bindings: Vec<Binding>,
        changes: impl IntoIterator<Item = Change>,
        now: Timestamp,
        out: &mut Vec<Happened>,
    ) {
        let Some(aor) = self.aors.get_mut(handle) else { return };
        let mut within = SAVE_REFRESH;
        for change in changes {
            if change != Change::Refreshed(Refreshed::InPlace) {
                within = SAVE_CHANGE;
            }
            out.push(Happened { user: Arc::clone(&aor.user), change });
        }
        if now + within < aor.save {
            aor.save = now + within;
            self.saves.push(aor.save, handle);
        }
        self.bind(handle, bindings);
        self.schedule(handle);
    }

    /// Exchanges the bindings of an address of record.
    fn bind(&mut self, handle: Handle<Aor>, bindings: Vec<Binding>) {
        let Some(aor) = self.aors.get_mut(handle) else { return };
        let before = std::mem::replace(&mut aor.bindings, bindings);
        self.bindings = self.bindings + aor.bindings.len() - before.len();
        let way = |binding: &Binding| {
            let flow = binding.flow;
            flow.transport.is_reliable().then_some((flow, handle))
        };
        // A refresh comes over the connection before, as a rule.
        if !before.iter().filter_map(way).eq(aor.bindings.iter().filter_map(way)) {
            for gone in before.iter().filter_map(way) {
                self.on_streams.remove(&gone);
            }
            self.on_streams.extend(aor.bindings.iter().filter_map(way));
        }
    }

    #[cfg(test)]
    pub(crate) fn check_index(&self) {
        let bound =
            self.aors.iter().flat_map(|(handle, aor)| aor.bindings.iter().map(move |b| (b.flow, handle)));
        let bound: BTreeSet<_> = bound.filter(|(flow, _)| flow.transport.is_reliable()).collect();
        assert_eq!(self.on_streams, bound, "who is bound to which connection");
    }

    fn end(
        &mut self,
        handle: Handle<Aor>,
        now: Timestamp,
        why: Ended,
        concerns: impl Fn(&Binding) -> bool,
        out: &mut Vec<Happened>,
    ) -> usize {
        let Some(aor) = self.aors.get(handle) else { return 0 };
        let (gone, kept): (Vec<_>, Vec<_>) = aor.bindings.iter().cloned().partition(concerns);
        let count = gone.len();
        if count > 0 {
            self.keep(handle, kept, gone.into_iter().map(|binding| Change::Removed(binding, why)), now, out);
        }
        count
    }

    /// Asks to be woken for the earliest expiry, unless an earlier wake-up is already asked for.
    fn schedule(&mut self, handle: Handle<Aor>) {
        let Some(aor) = self.aors.get_mut(handle) else { return };
        let Some(next) = aor.bindings.iter().map(|binding| binding.expires).min() else { return };
        if next < aor.wake {
            aor.wake = next;
            self.expiry.push(next, handle);
        }
    }

    fn forget_if_empty(&mut self, handle: Handle<Aor>) {
        if self.aors.get(handle).is_some_and(|aor| aor.bindings.is_empty() && aor.save == Timestamp::NEVER)
            && let Some(aor) = self.aors.remove(handle)
        {
            self.by_user.remove(&aor.user);
        }
    }
}

impl Aor {
    fn saved(&self, now: Now) -> SavedAor {
        let bindings = self.bindings.iter().map(|binding| SavedBinding::of(binding, now)).collect();
        SavedAor { user: Arc::clone(&self.user), bindings }
    }
}
