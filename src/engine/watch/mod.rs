//! SUBSCRIBE to the dialog package (RFC 6665, RFC 4235): who watches whose calls, and what they are told. And to word of
//! waiting messages (RFC 3842), which a trunk has.
//!
//! `subscribe` serves the requests, `document` writes what a watcher sees. Here is the table of subscriptions,
//! and when each is told: what changes while one input is worked off is told in one NOTIFY at its end.

mod document;
mod subscribe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::event::RegistrationEvent;
use crate::base::{Handle, Now, Slab, TimerHeap, Timestamp};
use crate::call::core::{Owner, move_dialog};
use crate::moving::identifier::REFRESH;
use crate::moving::star_code::Select;
use crate::moving::{DeviceKey, LegKey};
use crate::sip::dialog::Dialog;
use crate::sip::subscription::{Event, Limits, Notify, Reason, Subscription, SubscriptionState};
use crate::wire::dialog_info::CONTENT_TYPE;
use crate::wire::sip::{HeaderName, Message, Method};

/// Subscriptions of one device: more keys than the largest expansion modules have.
const MAX_PER_DEVICE: usize = 128;
/// Subscriptions of a worker. One is about 1.5 KB.
const MAX_TOTAL: usize = 50_000;
/// How long a subscription lasts.
const LIMITS: Limits = Limits { min: 60, max: 3600, default: 3600 };

/// Most bytes of a message summary that are kept for those who subscribe later.
const MAX_SUMMARY: usize = 1024;

/// A subscription in the table.
type WatchHandle = Handle<Watch>;

/// What is watched.
#[derive(Clone, Debug)]
enum Resource {
    /// The lamp of a star code: lit while dialling the code would bring a call.
    Lamp(Select),
    /// The calls of a user, or of one device.
    Calls { user: Arc<str>, device: Option<Box<str>> },
    /// Whether messages wait for a user.
    Messages { user: Arc<str> },
}

/// Who sees what.
#[derive(Debug)]
struct Sight {
    watcher: DeviceKey,
    resource: Resource,
    /// The user part of the entity.
    entity: Box<str>,
    /// Hides our keys in the ids of the document's dialogs, which must stay the same from one to the next.
    salt: u64,
}

impl Sight {
    /// Whose calls are watched.
    fn user(&self) -> Arc<str> {
        match &self.resource {
            Resource::Lamp(_) => self.watcher.shared_user(),
            Resource::Calls { user, .. } | Resource::Messages { user } => Arc::clone(user),
        }
    }
}

/// One subscription.
struct Watch {
    dialog: Dialog,
    event: Event,
    subscription: Subscription,
    sight: Arc<Sight>,
    /// The call that a lamp showed last.
    shown: Option<Option<LegKey>>,
    /// When the identifiers that were told last are to be told anew.
    retell: Timestamp,
    /// The earliest wake-up that is asked for.
    wake: Timestamp,
}

/// What a NOTIFY says.
struct Told {
    kind: &'static str,
    body: Bytes,
    /// The call that a lamp shows.
    shown: Option<LegKey>,
    /// Whether there are identifiers in it, which are to be told anew in time.
    has_identifiers: bool,
}

/// All subscriptions.
#[derive(Default)]
pub struct Watchers {
    subscriptions: Slab<Watch>,
    by_user: BTreeMap<Arc<str>, BTreeSet<WatchHandle>>,
    by_device: BTreeMap<DeviceKey, BTreeSet<WatchHandle>>,
    due: BTreeSet<WatchHandle>,
    /// What was last told of waiting messages, by user.
    waiting: BTreeMap<Arc<str>, Bytes>,
    timers: TimerHeap<WatchHandle>,
    /// The highest version that was told; every new subscription begins above it.
    told: u32,
}

/// What a start adds to the time of day, in sixteenths of a second: more than what was told in a burst just before a
/// quick restart.
const HEAD_START: u32 = 64;

impl Watchers {
    /// None.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { told: Subscription::first_number(now).saturating_add(HEAD_START), ..Self::default() }
    }

    /// Where version and CSeq of a new subscription begin: above all that were told, by us and before a restart. A
    /// phone that remembers them takes lower ones for old news.
    pub(super) fn first_number(&self, now: Now) -> u32 {
        Subscription::first_number(now).max(self.told)
    }

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn link(&mut self, handle: WatchHandle, sight: &Sight) {
        self.by_user.entry(sight.user()).or_default().insert(handle);
        self.by_device.entry(sight.watcher.clone()).or_default().insert(handle);
        self.due.insert(handle);
    }

    fn forget(&mut self, handle: WatchHandle) {
        self.due.remove(&handle);
        let Some(gone) = self.subscriptions.remove(handle) else { return };
        unlist(&mut self.by_user, &gone.sight.user(), handle);
        unlist(&mut self.by_device, &gone.sight.watcher, handle);
    }

    fn of_device(&self, device: &DeviceKey) -> usize {
        self.by_device.get(device).map_or(0, BTreeSet::len)
    }

    fn terminate(&mut self, handle: WatchHandle, reason: Reason) {
        if let Some(watch) = self.subscriptions.get_mut(handle) {
            watch.subscription.terminate(reason);
            self.due.insert(handle);
        }
    }

    /// Asks for a wake-up when the subscription next has something to say by itself.
    fn schedule(&mut self, handle: WatchHandle, now: Timestamp) {
        let Some(watch) = self.subscriptions.get_mut(handle) else { return };
        let own = watch.subscription.poll_timeout().map_or(Timestamp::NEVER, |at| at.max(now));
        let next = own.min(watch.retell);
        if next < watch.wake {
            watch.wake = next;
            self.timers.push(next, handle);
        }
    }
}

fn unlist<K: Ord>(lists: &mut BTreeMap<K, BTreeSet<WatchHandle>>, key: &K, handle: WatchHandle) {
    if let Some(list) = lists.get_mut(key) {
        list.remove(&handle);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

impl Engine {
    /// Tells every watcher for whom something has changed; true if there was one.
    pub(super) fn tell_watchers(&mut self) -> bool {
        let is_due = !self.watch.due.is_empty();
        while let Some(handle) = self.watch.due.pop_first() {
            self.tell_watcher(handle);
        }
        is_due
    }

    fn tell_watcher(&mut self, handle: WatchHandle) {
        let now = self.core.now.at;
        let Some(watch) = self.watch.subscriptions.get(handle) else { return };
        let sight = Arc::clone(&watch.sight);
        let is_allowed = self.may_watch(&sight.watcher, &sight.user());
        let Some(watch) = self.watch.subscriptions.get_mut(handle) else { return };
        if !is_allowed {
            watch.subscription.terminate(Reason::Rejected);
        }
        if let Some(notify) = watch.subscription.poll_notify(now) {
            let told = match &sight.resource {
                Resource::Messages { user } => self.summary(if is_allowed { user } else { "" }),
                Resource::Lamp(_) | Resource::Calls { .. } => self.calls_seen(&sight, &notify),
            };
            let branch = self.core.mint_branch();
            let Some(watch) = self.watch.subscriptions.get_mut(handle) else { return };
            watch.shown = Some(told.shown);
            self.watch.told = self.watch.told.max(notify.version);
            watch.retell = if told.has_identifiers { now + REFRESH } else { Timestamp::NEVER };
            let flow = watch.dialog.flow;
            let mut writer = watch.dialog.request(&Method::Notify, &branch);
            writer.header(&HeaderName::Event, &watch.event.to_string());
            writer.header(&HeaderName::SubscriptionState, &notify.state.to_string());
            writer.body(told.kind, &told.body);
            let bytes = writer.finish();
            let owner = Owner::Notify(handle.to_bits());
            self.core.send_request(flow, &Method::Notify, &branch, bytes, owner);
        }
        if self.watch.subscriptions.get(handle).is_some_and(|watch| watch.subscription.is_over()) {
            self.watch.forget(handle);
        } else {
            self.watch.schedule(handle, now);
        }
    }

    fn calls_seen(&mut self, sight: &Sight, notify: &Notify) -> Told {
        let (document, shown) = self.document(sight, notify);
        let is_active = matches!(notify.state, SubscriptionState::Active { .. });
        let has_identifiers = is_active && document.dialogs.iter().any(|dialog| dialog.call_id.is_some());
        Told { kind: CONTENT_TYPE, body: document.write().into(), shown, has_identifiers }
    }

    /// RFC 3842 5.2; nothing waits where nothing was said.
    fn summary(&self, user: &str) -> Told {
        let said = self.watch.waiting.get(user).cloned();
        let body = said.unwrap_or_else(|| Bytes::from_static(b"Messages-Waiting: no\r\n"));
        Told { kind: "application/simple-message-summary", body, shown: None, has_identifiers: false }
    }

    /// A trunk tells whether messages wait for a user: who has subscribed to that hears it; those devices.
    pub(super) fn on_messages_waiting(&mut self, user: &Arc<str>, summary: &Bytes) -> Vec<Box<str>> {
        if summary.len() <= MAX_SUMMARY {
            self.watch.waiting.insert(Arc::clone(user), Bytes::copy_from_slice(summary));
        }
        let handles = self.watch.by_user.get(user).cloned().unwrap_or_default();
        let mut told = Vec::new();
        for handle in handles {
            let Some(watch) = self.watch.subscriptions.get_mut(handle) else { continue };
            if matches!(watch.sight.resource, Resource::Messages { .. }) {
                told.push(Box::from(watch.sight.watcher.device()));
                watch.subscription.changed();
                self.watch.due.insert(handle);
            }
        }
        told
    }

    /// The answer to a NOTIFY; `None` where none came.
    pub(super) fn on_notify_response(&mut self, key: u64, response: Option<&Message>) {
        let handle = Handle::from_bits(key);
        let now = self.core.now.at;
        let Some(watch) = self.watch.subscriptions.get_mut(handle) else { return };
        match response.and_then(Message::status) {
            Some(status) => {
                let retry_after =
                    response.and_then(|response| response.header(HeaderName::RetryAfter)).and_then(
                        |header| header.value_str().ok()?.trim().split([' ', ';', '(']).next()?.parse().ok(),
                    );
                watch.subscription.answered(now, status.as_u16(), retry_after);
            }
            None => {
                watch.subscription.timed_out(now);
                self.follow_device(handle);
            }
        }
        self.watch.due.insert(handle);
    }

    /// A watcher that does not answer may be behind another address since it last registered: the next try goes
    /// there. Where several phones register as one device, Call-ID or instance tell which of them it was.
    fn follow_device(&mut self, handle: WatchHandle) {
        let Some(watch) = self.watch.subscriptions.get_mut(handle) else { return };
        let watcher = &watch.sight.watcher;
        let bindings = self.core.registrar.lookup_device(watcher.user(), watcher.device(), self.core.now.at);
        let before = bindings.iter().find(|binding| binding.flow == watch.dialog.flow);
        let found = match (before, &*bindings) {
            (Some(before), _) => bindings.iter().find(|binding| {
                binding.registered > before.registered
                    && (binding.call_id == before.call_id
                        || (binding.instance.is_some() && binding.instance == before.instance))
            }),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        if let Some(found) = found {
            move_dialog(&self.core.settings, &mut watch.dialog, found.flow);
        }
    }

    pub(super) fn on_watch_timeout(&mut self) {
        let now = self.core.now.at;
        while let Some(handle) = self.watch.timers.expire(now) {
            let Some(watch) = self.watch.subscriptions.get_mut(handle) else { continue };
            if watch.wake > now {
                continue;
            }
            watch.wake = Timestamp::NEVER;
            if watch.retell <= now {
                watch.retell = Timestamp::NEVER;
                watch.subscription.changed();
            }
            self.watch.due.insert(handle);
        }
    }

    /// The live legs of a user, or what may be done with them, are not what they were.
    pub(super) fn on_directory_changed(&mut self, user: &str) {
        let Some(handles) = self.watch.by_user.get(user) else { return };
        for handle in handles.iter().copied().collect::<Vec<_>>() {
            let Some(watch) = self.watch.subscriptions.get(handle) else { continue };
            // A lamp that would look the same is left alone.
            let unchanged = match &watch.sight.resource {
                Resource::Lamp(select) => {
                    watch.shown == Some(self.lamp(&watch.sight.watcher, select).map(|leg| leg.leg))
                }
                Resource::Messages { .. } => true,
                Resource::Calls { .. } => false,
            };
            if let Some(watch) = self.watch.subscriptions.get_mut(handle).filter(|_| !unchanged) {
                watch.subscription.changed();
                self.watch.due.insert(handle);
            }
        }
    }

    /// A device came or went. One that is gone for good does not watch any more; one that comes back may subscribe
    /// again at once.
    pub(super) fn on_binding_changed(&mut self, user: &str, device: &str, what: RegistrationEvent) {
        if what == RegistrationEvent::Added
            || self.core.registrar.is_registered(user, device, self.core.now.at)
        {
            return;
        }
        let handles = self.watch.by_device.get(&DeviceKey::new(user, device));
        for handle in handles.into_iter().flatten().copied().collect::<Vec<_>>() {
            self.watch.terminate(handle, Reason::Deactivated);
        }
    }

    /// Who may watch whom has changed: what nobody would be granted any more ends.
    pub(super) fn end_forbidden_watches(&mut self) {
        let is_forbidden = |watch: &Watch| match &watch.sight.resource {
            Resource::Calls { user, .. } => !self.may_watch(&watch.sight.watcher, user),
            Resource::Lamp(_) | Resource::Messages { .. } => false,
        };
        let all = self.watch.subscriptions.iter();
        let ended: Vec<_> = all.filter(|(_, watch)| is_forbidden(watch)).map(|(handle, _)| handle).collect();
        for handle in ended {
            self.watch.terminate(handle, Reason::Rejected);
        }
    }

    /// A device of a user, or all of them with the user, are no more.
    pub(super) fn on_device_removed(&mut self, user: &str, device: Option<&str>) {
        let is_meant = |name: &str| device.is_none_or(|device| device == name);
        let of_watchers = self
            .watch
            .by_device
            .range(DeviceKey::new(user, "")..)
            .take_while(|(key, _)| key.user() == user)
            .filter(|(key, _)| is_meant(key.device()))
            .flat_map(|(_, handles)| handles.iter().map(|handle| (*handle, Reason::Rejected)));
        let of_watched = self.watch.by_user.get(user).into_iter().flatten().filter(|handle| {
            let resource = self.watch.subscriptions.get(**handle).map(|watch| &watch.sight.resource);
            match resource {
                Some(Resource::Calls { device: watched, .. }) => {
                    watched.as_deref().map_or(device.is_none(), is_meant)
                }
                Some(Resource::Messages { .. }) => device.is_none(),
                Some(Resource::Lamp(_)) | None => false,
            }
        });
        let of_watched = of_watched.map(|handle| (*handle, Reason::NoResource));
        for (handle, reason) in of_watchers.chain(of_watched).collect::<Vec<_>>() {
            self.watch.terminate(handle, reason);
        }
    }
}
