//! SUBSCRIBE: a new subscription, its refresh, its end.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{LIMITS, MAX_PER_DEVICE, MAX_TOTAL, Resource, Sight, Watch, WatchHandle};
use crate::base::{Handle, Timestamp};
use crate::call::LegHandle;
use crate::call::core::{ALLOW, contact_uri, move_dialog};
use crate::call::dial_plan::dialled;
use crate::engine::Engine;
use crate::engine::moves::{call_key, device_of};
use crate::moving::DeviceKey;
use crate::moving::hold_off::Access;
use crate::moving::star_code::{Select, StarCode};
use crate::sip::dialog::Dialog;
use crate::sip::subscription::{Event, Package, Refused, Subscription};
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::dialog_info::CONTENT_TYPE;
use crate::wire::sip::{HeaderName, Message, StatusCode, Uri};

/// When a subscriber for whom there is no room may try again, in seconds.
const RETRY: u32 = 60;

/// Why a SUBSCRIBE is turned down.
enum No {
    /// As any request.
    Refused(Refusal),
    /// 423 (RFC 6665 4.2.1.1).
    TooBrief { min: u32 },
    /// 406: it would not understand our documents.
    Unreadable,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooBrief { min } => Self::TooBrief { min },
            Refused::Gone => Self::Refused(Refusal::DialogUnknown),
        }
    }
}

impl Engine {
    /// A SUBSCRIBE outside dialogs.
    pub(in crate::engine) fn on_subscribe(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        let Some((account, device)) = self.authenticate_device(tx, flow, message) else { return };
        let by = Self::device_key(&account, device).ok_or(Refusal::NotAuthorised);
        if let Err(no) = by.map_err(No::from).and_then(|by| self.subscribe(tx, flow, message, by)) {
            self.turn_down(tx, &no, None);
        }
    }

    fn turn_down(&mut self, tx: ServerTx, no: &No, tag: Option<&str>) {
        let minted;
        let known = match tag {
            Some(tag) => tag,
            None => {
                minted = self.core.random.tag();
                &minted
            }
        };
        match no {
            No::Refused(refusal) => self.core.refuse(tx, refusal, Some(known)),
            No::Unreadable => {
                let status = StatusCode::NOT_ACCEPTABLE;
                let Some(mut writer) = self.core.reply(tx, status, known) else { return };
                writer.header(&HeaderName::Accept, CONTENT_TYPE);
                let bytes = writer.finish();
                self.core.respond(tx, status, bytes);
            }
            No::TooBrief { min } => {
                let status = StatusCode::INTERVAL_TOO_BRIEF;
                let Some(mut writer) = self.core.reply(tx, status, known) else { return };
                writer.header_number(&HeaderName::MinExpires, (*min).into());
                let bytes = writer.finish();
                self.core.respond(tx, status, bytes);
            }
        }
    }

    fn subscribe(&mut self, tx: ServerTx, flow: Flow, message: &Message, by: DeviceKey) -> Result<(), No> {
        let event = event_of(message).ok_or(Refusal::BadEvent)?;
        if event.package == Package::Dialog && !accepts_documents(message) {
            return Err(No::Unreadable);
        }
        let access = self.watched_call(&by, message);
        self.held(&by, access, "SUBSCRIBE")?;
        let (resource, entity) = match event.package {
            Package::Dialog => self.resource(&by, message)?,
            // Whatever number a phone has for its mailbox: it sees that of its own user.
            Package::MessageSummary => (Resource::Messages { user: by.shared_user() }, Box::from("")),
        };
        if self.watch.len() >= MAX_TOTAL || self.watch.of_device(&by) >= MAX_PER_DEVICE {
            return Err(Refusal::Overloaded { what: "subscriptions", retry_after: RETRY }.into());
        }
        let now = self.core.now;
        let first = self.watch.first_number(now);
        let subscription = Subscription::new(now, message.expires(), &LIMITS)?.starting_at(first);
        let (sent_by, worker, random) =
            (self.core.settings.sent_by(&flow).to_owned(), self.core.worker, self.core.random.bits());
        let mut dialog = Dialog::from_request(message, flow, &sent_by, "", "")?;
        dialog.local_cseq = first;
        let sight = Arc::new(Sight { watcher: by, resource, entity, salt: self.core.random.bits() });
        let settings = Arc::clone(&self.core.settings);
        let (shown, retell, wake) = (None, Timestamp::NEVER, Timestamp::NEVER);
        let watched = Arc::clone(&sight);
        let handle = self.watch.subscriptions.insert_with(|handle| {
            let tag = format_tag(worker, handle, random);
            dialog.set_contact(contact_uri(&settings, &tag, &flow));
            dialog.local_tag = tag;
            Watch { dialog, event, subscription, sight, shown, retell, wake }
        });
        self.watch.link(handle, &watched);
        self.accept(tx, handle, message);
        Ok(())
    }

    /// 200, with the time that is granted (RFC 6665 4.2.1.1).
    fn accept(&mut self, tx: ServerTx, handle: WatchHandle, message: &Message) {
        let Some(watch) = self.watch.subscriptions.get(handle) else { return };
        let left = watch.subscription.seconds_left(self.core.now.at);
        let Some(mut writer) = self.core.reply(tx, StatusCode::OK, &watch.dialog.local_tag) else { return };
        // RFC 3261 12.1.1: what creates a dialog says by which way.
        for route in message.all(HeaderName::RecordRoute) {
            writer.copy(&route);
        }
        writer.header_parts(&HeaderName::Contact, &["<", &watch.dialog.contact, ">"]);
        writer.header_number(&HeaderName::Expires, left.into());
        writer.header(&HeaderName::Allow, ALLOW);
        writer.header(&HeaderName::AllowEvents, Event::ALLOWED);
        let bytes = writer.finish();
        self.core.respond(tx, StatusCode::OK, bytes);
    }

    /// What the subscription touches, for the hold-off. To see one's calls is no access to the one that was moved
    /// away (it is shown as not movable); to name that one is (RFC 4235 3.2: the parameters of Event).
    fn watched_call(&self, by: &DeviceKey, message: &Message) -> Access {
        if self.moves.hold_offs.is_empty() {
            return Access::Other;
        }
        let of_device = |leg: &LegHandle| {
            let leg = self.core.legs.get(*leg)?;
            device_of(&leg.party).is_some_and(|device| device == *by).then_some(leg)
        };
        if let Some(call_id) = event_param(message, "call-id") {
            let mut released = self.core.calls.iter().flat_map(|(_, call)| call.released.iter());
            let named = released.find_map(|leg| of_device(leg).filter(|leg| *leg.dialog.call_id == *call_id));
            return named.map_or(Access::AnyMovedCall, |leg| Access::Call(call_key(leg.call)));
        }
        // Our Contact in the dialog that a move took from the device.
        let uri = Uri::parse(message.uri()).ok();
        let tag = uri.as_ref().and_then(Uri::user_decoded);
        let leg = tag.and_then(|tag| self.core.leg_of_tag(&tag)).and_then(|leg| of_device(&leg));
        leg.map_or(Access::Other, |leg| Access::Call(call_key(leg.call)))
    }

    /// What the Request-URI means to the watcher, and the user part of the entity. What is not there and what is not
    /// for this watcher is the same.
    fn resource(&self, by: &DeviceKey, message: &Message) -> Result<(Resource, Box<str>), Refusal> {
        let uri = Uri::parse(message.uri()).map_err(|_| Refusal::DestinationUnknown)?;
        let number = dialled(&uri)?;
        if !self.core.settings.is_ours(uri.host()) {
            return Err(Refusal::DestinationUnknown);
        }
        let codes = &self.settings.moving.codes;
        match StarCode::read(uri.user().unwrap_or_default(), codes) {
            Some(StarCode::Pull(select)) => {
                let entity = match &select {
                    Select::Newest => codes.pull.to_string(),
                    Select::Nth(n) => format!("{}*{n}", codes.pull),
                    Select::Device(device) => format!("{}*{device}", codes.pull),
                    Select::Extension(extension) => format!("{}{extension}", codes.pull),
                };
                return Ok((Resource::Lamp(select), entity.into()));
            }
            Some(_) => return Err(Refusal::DestinationUnknown),
            None => {}
        }
        let (account, device) = self.core.accounts.by_address(&number).ok_or(Refusal::DestinationUnknown)?;
        if !self.may_watch(by, &account.name) {
            return Err(Refusal::DestinationUnknown);
        }
        let device = device.and_then(|index| account.devices.get(index)).map(|device| device.id.clone());
        Ok((Resource::Calls { user: Arc::from(&*account.name), device }, number))
    }

    /// Whether a device sees the calls of `user`: its own user, or one that is on the list.
    pub(super) fn may_watch(&self, by: &DeviceKey, user: &str) -> bool {
        let accounts = &self.core.accounts;
        let is_there = accounts.by_name(by.user()).is_some_and(|own| own.device(by.device()).is_some());
        let watched = accounts.by_name(user);
        is_there
            && watched.is_some_and(|account| {
                *account.name == *by.user() || account.watchers.iter().any(|name| **name == *by.user())
            })
    }

    /// A SUBSCRIBE in a dialog; false if it is none of ours.
    pub(in crate::engine) fn on_resubscribe(&mut self, tx: ServerTx, flow: Flow, message: &Message) -> bool {
        let found = message.to_tag().and_then(|tag| self.watch_of_tag(tag));
        let Some((handle, watch)) = found.filter(|(_, watch)| watch.dialog.is_named_by(message)) else {
            return false;
        };
        let (tag, known) = (watch.dialog.local_tag.clone(), watch.dialog.flow);
        let is_same = known == flow || (known.transport == flow.transport && known.peer == flow.peer);
        let watcher = watch.sight.watcher.clone();
        if !is_same {
            // Call-ID and both tags are right, the source is another: credentials of the same device, or no entry.
            let Some((account, device)) = self.authenticate_device(tx, flow, message) else { return true };
            if Self::device_key(&account, device).as_ref() != Some(&watcher) {
                return false;
            }
        }
        if let Err(no) = self.resubscribe(tx, flow, message, handle, &watcher) {
            self.turn_down(tx, &no, Some(&tag));
        }
        true
    }

    fn resubscribe(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        message: &Message,
        handle: WatchHandle,
        watcher: &DeviceKey,
    ) -> Result<(), No> {
        let event = event_of(message).ok_or(Refusal::BadEvent)?;
        let now = self.core.now.at;
        let watch = self.watch.subscriptions.get_mut(handle).ok_or(Refusal::DialogUnknown)?;
        watch.dialog.accept(message)?;
        if watch.event != event {
            // RFC 6665 4.5.2 lets a notifier keep dialogs unshared: one subscription each.
            return Err(Refusal::NotAuthorised.into());
        }
        let user = watch.sight.user();
        // Who ends it may always.
        if message.expires() != Some(0) {
            self.held(watcher, Access::Other, "SUBSCRIBE")?;
        }
        if !self.may_watch(watcher, &user) {
            return Err(Refusal::DestinationUnknown.into());
        }
        let watch = self.watch.subscriptions.get_mut(handle).ok_or(Refusal::DialogUnknown)?;
        watch.subscription.refresh(now, message.expires(), &LIMITS)?;
        watch.dialog.refresh_target(message);
        move_dialog(&self.core.settings, &mut watch.dialog, flow);
        self.accept(tx, handle, message);
        self.watch.due.insert(handle);
        Ok(())
    }

    /// The subscription that a tag of ours names; the handle in it finds it without a table.
    fn watch_of_tag(&self, tag: &str) -> Option<(WatchHandle, &Watch)> {
        let (handle, _) = tag.get(2..)?.strip_prefix(MARK)?.split_once('.')?;
        let handle = Handle::from_bits(u64::from_str_radix(handle, 16).ok()?);
        let watch = self.watch.subscriptions.get(handle)?;
        (*watch.dialog.local_tag == *tag).then_some((handle, watch))
    }

    /// A SUBSCRIBE in the dialog of a call. RFC 6665 4.5.2 lets a notifier keep dialogs unshared.
    pub(in crate::engine) fn on_subscribe_in_dialog(
        &mut self,
        _leg: LegHandle,
        _tx: ServerTx,
        message: &Message,
    ) -> Result<(), Refusal> {
        Err(event_of(message).map_or(Refusal::BadEvent, |_| Refusal::NotAuthorised))
    }
}

/// Tells the tag of a subscription from that of a leg, which has a digit there.
const MARK: char = 'w';

/// A tag for a subscription, in the manner of [`crate::call::core::format_tag`].
fn format_tag(worker: u8, handle: WatchHandle, random: u64) -> Box<str> {
    let mut tag = String::with_capacity(40);
    let _ = write!(tag, "{worker:02x}{MARK}{:x}.{random:016x}", handle.to_bits());
    tag.into_boxed_str()
}

fn event_of(message: &Message) -> Option<Event> {
    Event::read(&event_text(message)?)
}

fn event_text(message: &Message) -> Option<Cow<'_, str>> {
    message.header(HeaderName::Event)?.value_str().ok()
}

/// A parameter of the Event header.
fn event_param(message: &Message, name: &str) -> Option<String> {
    let text = event_text(message)?;
    text.split(';').skip(1).find_map(|param| {
        let (key, value) = param.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// RFC 4235 3.5: who says nothing understands our documents.
fn accepts_documents(message: &Message) -> bool {
    let mut ranges = message.values(HeaderName::Accept).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            [CONTENT_TYPE, "application/*", "*/*"]
                .iter()
                .any(|known| range.eq_ignore_ascii_case(known.as_bytes()))
        })
}
