//! The decision: a set of bindings and a REGISTER make a new set, or a refusal (RFC 3261 10.3 steps 6 to 8).
//!
//! Which old binding a contact replaces, in this order:
//! 1. **Identity.** Same device and same `+sip.instance` (and same `reg-id`, where RFC 5626 outbound is in
//!    use): the same phone, whatever its contact, address and Call-ID are now. An end without `reg-id` goes by
//!    contact alone.
//! 2. **Contact.** Same device and equal Contact URIs (RFC 3261 19.1.4). Devices are told apart by digest
//!    identity, so two phones of a user with the same private address do not take each other's place.
//! 3. **Flow.** Same device, same flow, another Call-ID, no instance on either: one phone on one flow that has
//!    started anew with another contact. Several contacts under one Call-ID stand side by side.
//!
//! A phone without an instance that comes back from another port under another Call-ID is indistinguishable from
//! a second phone with the same credentials: it adds a binding, and the old one ends at its time. Should that
//! fill the set, the oldest of that device makes room, so that no phone locks its owner out by restarting; a device
//! that has no binding yet gets the place of the oldest of one that has several.
//! `Contact: *` ends all bindings of the address of record, other devices' too, as 10.2.2 says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Binding;
use super::register::{Asked, Asking, Register};
use crate::base::Timestamp;
use crate::wire::sip::{Host, Scheme, StatusCode, Uri};

/// For a contact that names no time, and the bound above which 423 is not used: one hour (RFC 3261 10.2.1.1).
const DEFAULT_EXPIRES: Duration = Duration::from_secs(3600);

/// What a registrar allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shorter registrations are refused with 423. Default 60 s: less is load without use.
    pub min_expires: Duration,
    /// Longer ones are cut to this. Default 3600 s.
    pub max_expires: Duration,
    /// Bindings of one address of record. Default 8.
    pub max_bindings: usize,
    /// Addresses of this server, refused as Contact: a call to one would come back to us.
    pub own: Own,
}

/// Where this server is reached. The shell fills in what a wildcard listener stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The domain and its aliases, lower case.
    pub names: Vec<Box<str>>,
    /// Addresses of our listeners, also those that are advertised.
    pub addresses: Vec<IpAddr>,
    /// Ports of our listeners, also those that are advertised.
    pub ports: Vec<u16>,
}

/// What came of a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The new set, in the order in which its members first registered.
    pub bindings: Vec<Binding>,
    /// How it differs from the old one.
    pub changes: SmallVec<[Change; 2]>,
    /// Whether a binding uses outbound: the 200 carries `Require: outbound` (RFC 5626 6).
    pub outbound: bool,
}

/// One difference between the old set and the new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device is reached at a new place.
    Added(Binding),
    /// The binding holds for longer, and perhaps leads elsewhere.
    Refreshed(Refreshed),
    /// A device is not reached there any more.
    Removed(Binding, Ended),
}

/// What a refresh changed besides the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing.
    InPlace,
    /// The same phone is now at another contact, flow or path.
    Moved,
}

/// Why a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The device asked for it.
    Unregistered,
    /// Its time ran out.
    Expired,
    /// The same phone started anew on the same flow, or its device needed the room.
    Replaced,
    /// By command.
    Kicked,
    /// Its connection is gone and cannot be made from here.
    FlowClosed,
}

/// Why a REGISTER changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: it says nothing that can be done.
    #[error("{0}")]
    Malformed(&'static str),
    /// 400: an equal or later CSeq of this Call-ID was seen (10.3 step 7).
    #[error("CSeq out of order")]
    OutOfOrder,
    /// 439: reg-id, and a proxy between us that does not keep flows (RFC 5626 6).
    #[error("first hop lacks outbound support")]
    FirstHopLacksOutbound,
    /// 423 with Min-Expires.
    #[error("interval too brief")]
    TooBrief {
        /// Seconds.
        min_expires: u64,
    },
    /// 403: the Contact is this server.
    #[error("contact is this server")]
    OwnAddress,
    /// 403: the address of record has as many bindings as it may.
    #[error("too many bindings")]
    TooMany,
}

impl Refusal {
    /// The status that says so (RFC 3261 10.3).
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::OutOfOrder => StatusCode::BAD_REQUEST,
            Self::FirstHopLacksOutbound => StatusCode::FIRST_HOP_LACKS_OUTBOUND_SUPPORT,
            Self::TooBrief { .. } => StatusCode::INTERVAL_TOO_BRIEF,
            Self::OwnAddress | Self::TooMany => StatusCode::FORBIDDEN,
        }
    }
}

impl Own {
    /// Whether a request to `uri` would come back to us.
    fn is(&self, uri: &Uri<'_>) -> bool {
        let host = uri.host();
        let default = if uri.scheme() == Scheme::Sips { 5061 } else { 5060 };
        let at_our_port = |or: bool| uri.port().map_or(or, |port| self.ports.contains(&port));
        match host {
            // A name without a port is found by SRV: it leads to us, wherever we listen.
            Host::Name(name) => {
                self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) && at_our_port(true)
            }
            Host::V4(_) | Host::V6(_) => {
                host.ip().is_some_and(|ip| self.addresses.contains(&ip))
                    && at_our_port(self.ports.contains(&default))
            }
        }
    }
}

/// Applies `request` to `old`. Pure: nothing has happened until the caller keeps the result, and a refusal means
/// that nothing changes at all (10.3: all or none).
///
/// # Errors
/// Why nothing changes.
pub fn apply(
    old: &[Binding],
    request: &Register<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Applied, Refusal> {
    let mut draft = Draft {
        request,
        settings,
        now,
        bindings: Vec::with_capacity(old.len() + 1),
        touched: SmallVec::new(),
        changes: SmallVec::new(),
    };
    for binding in old {
        if binding.is_live(now) {
            draft.bindings.push(binding.clone());
        } else {
            draft.changes.push(Change::Removed(binding.clone(), Ended::Expired));
        }
    }
    match &request.asked {
        Asked::Query => {}
        Asked::RemoveAll => draft.remove_all()?,
        Asked::Contacts(contacts) => contacts.iter().try_for_each(|contact| draft.take(contact))?,
    }
    let outbound = matches!(&request.asked, Asked::Contacts(all) if all.iter().any(|c| c.reg_id.is_some()));
    Ok(Applied { bindings: draft.bindings, changes: draft.changes, outbound })
}

/// The set while a REGISTER works on it.
struct Draft<'r, 'm> {
    request: &'r Register<'m>,
    settings: &'r Settings,
    now: Timestamp,
    bindings: Vec<Binding>,
    /// Contacts that this request has written: its other contacts do not replace them.
    touched: SmallVec<[Arc<str>; 2]>,
    changes: SmallVec<[Change; 2]>,
}

impl Draft<'_, '_> {
    /// 10.3 step 6, second paragraph.
    fn remove_all(&mut self) -> Result<(), Refusal> {
        self.bindings.iter().try_for_each(|binding| self.check_order(binding))?;
        let ended = self.bindings.drain(..).map(|binding| Change::Removed(binding, Ended::Unregistered));
        self.changes.extend(ended);
        Ok(())
    }

    /// 10.3 step 7 for one contact.
    fn take(&mut self, asking: &Asking<'_>) -> Result<(), Refusal> {
        let uri = Uri::parse(asking.uri).map_err(|_| Refusal::Malformed("bad Contact URI"))?;
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) {
            return Err(Refusal::Malformed("Contact is not a SIP URI"));
        }
        if self.settings.own.is(&uri) {
            return Err(Refusal::OwnAddress);
        }
        let lifetime = self.settings.lifetime(asking.expires)?;
        let place = match lifetime {
            // An end names a contact: a phone that has moved ends its former one and keeps the present.
            None if asking.reg_id.is_none() => self.position(|b| self.is_contact(b, asking, &uri)),
            _ => self
                .position(|b| self.is_phone(b, asking))
                .or_else(|| self.position(|b| self.is_contact(b, asking, &uri))),
        };
        if let Some(old) = place.and_then(|at| self.bindings.get(at))
            && !self.is_touched(old)
        {
            self.check_order(old)?;
        }
        match (lifetime, place) {
            (None, None) => {}
            (None, Some(at)) => self.end(at, Ended::Unregistered),
            (Some(lifetime), Some(at)) => {
                self.refresh(at, asking, lifetime);
                self.end_twins(at, asking, &uri);
            }
            (Some(lifetime), None) => self.add(asking, lifetime)?,
        }
        Ok(())
    }

    fn refresh(&mut self, at: usize, asking: &Asking<'_>, lifetime: Duration) {
        let Some(old) = self.bindings.get(at) else { return };
        let new = self.bind(asking, lifetime, Some(old));
        let in_place = new.contact == old.contact && new.flow == old.flow && new.path == old.path;
        self.changes.push(Change::Refreshed(if in_place { Refreshed::InPlace } else { Refreshed::Moved }));
        self.touched.push(Arc::clone(&new.contact));
        if let Some(slot) = self.bindings.get_mut(at) {
            *slot = new;
        }
    }

    fn add(&mut self, asking: &Asking<'_>, lifetime: Duration) -> Result<(), Refusal> {
        let restarted = |b: &Binding| {
            b.flow == self.request.flow
                && b.instance.is_none()
                && asking.instance.is_none()
                && self.may_give_way(b)
        };
        if let Some(at) = self.bindings.iter().position(restarted) {
            self.end(at, Ended::Replaced);
        }
        if self.bindings.len() >= self.settings.max_bindings {
            let at = self.oldest_that_makes_room().ok_or(Refusal::TooMany)?;
            self.end(at, Ended::Replaced);
        }
        let new = self.bind(asking, lifetime, None);
        self.touched.push(Arc::clone(&new.contact));
        self.changes.push(Change::Added(new.clone()));
        self.bindings.push(new);
        Ok(())
    }

    fn end(&mut self, at: usize, why: Ended) {
        let gone = self.bindings.remove(at);
        self.changes.push(Change::Removed(gone, why));
    }

    /// The phone at `at` may have taken the contact of another binding of its device.
    fn end_twins(&mut self, mut at: usize, asking: &Asking<'_>, uri: &Uri<'_>) {
        loop {
            let mut others = self.bindings.iter().enumerate().filter(|(other, _)| *other != at);
            let Some((twin, _)) = others.find(|(_, binding)| self.is_contact(binding, asking, uri)) else {
                return;
            };
            self.end(twin, Ended::Replaced);
            at -= usize::from(twin < at);
        }
    }

    fn position(&self, is_it: impl Fn(&Binding) -> bool) -> Option<usize> {
        self.bindings.iter().position(is_it)
    }

    /// Whether the device has left `binding` behind: it speaks under another Call-ID now.
    fn may_give_way(&self, binding: &Binding) -> bool {
        *binding.device == *self.request.device
            && *binding.call_id != *self.request.call_id
            && !self.is_touched(binding)
    }

    /// In a full set: the oldest that the device has left behind; or, of a device that has several, its oldest, so
    /// that no device keeps another one of the user out.
    fn oldest_that_makes_room(&self) -> Option<usize> {
        let oldest = |is_spare: &dyn Fn(&Binding) -> bool| {
            let spare = self.bindings.iter().enumerate().filter(|(_, b)| b.instance.is_none() && is_spare(b));
            spare.min_by_key(|(_, b)| b.registered).map(|(at, _)| at)
        };
        let has_several =
            |b: &Binding| self.bindings.iter().filter(|other| other.device == b.device).count() > 1;
        let is_first = self.bindings.iter().all(|b| *b.device != *self.request.device);
        let own = oldest(&|b| self.may_give_way(b));
        own.or_else(|| oldest(&|b| has_several(b)).filter(|_| is_first))
    }

    fn is_touched(&self, binding: &Binding) -> bool {
        self.touched.iter().any(|contact| Arc::ptr_eq(contact, &binding.contact))
    }

    /// Whether `asking` comes from the phone of `binding`.
    fn is_phone(&self, binding: &Binding, asking: &Asking<'_>) -> bool {
        *binding.device == *self.request.device
            && binding.instance.is_some()
            && binding.instance.as_deref() == asking.instance
            && binding.reg_id == asking.reg_id
            && !self.is_touched(binding)
    }

    /// Whether `asking` names the contact of `binding`, and nothing says that they are two phones or two flows.
    fn is_contact(&self, binding: &Binding, asking: &Asking<'_>, uri: &Uri<'_>) -> bool {
        let two_phones = binding.instance.is_some()
            && asking.instance.is_some()
            && binding.instance.as_deref() != asking.instance;
        let two_flows = binding.reg_id.is_some() && asking.reg_id.is_some();
        *binding.device == *self.request.device
            && !two_phones
            && !two_flows
            && (*binding.contact == *asking.uri
                || Uri::parse(&binding.contact).is_ok_and(|known| known.equivalent(uri)))
    }

    /// RFC 3261 10.3 step 7: within a Call-ID the CSeq must rise.
    fn check_order(&self, binding: &Binding) -> Result<(), Refusal> {
        if *binding.call_id == *self.request.call_id && self.request.cseq <= binding.cseq {
            return Err(Refusal::OutOfOrder);
        }
        Ok(())
    }

    fn bind(&self, asking: &Asking<'_>, lifetime: Duration, old: Option<&Binding>) -> Binding {
        let request = self.request;
        let path_unchanged = |b: &&Binding| {
            b.path.len() == request.path.len() && b.path.iter().zip(&request.path).all(|(a, b)| **a == **b)
        };
        Binding {
            contact: share(old.map(|b| &b.contact), asking.uri),
            instance: asking.instance.map(|new| share(old.and_then(|b| b.instance.as_ref()), new)),
            reg_id: asking.reg_id,
            q: asking.q,
            features: share(old.map(|b| &b.features), &asking.features),
            expires: self.now + lifetime,
            registered: self.now,
            call_id: share(old.map(|b| &b.call_id), request.call_id),
            cseq: request.cseq,
            flow: request.flow,
            path: old
                .filter(path_unchanged)
                .map_or_else(|| request.path.iter().map(|p| Arc::from(*p)).collect(), |b| b.path.clone()),
            user_agent: share(old.map(|b| &b.user_agent), &request.user_agent),
            device: share(old.map(|b| &b.device), request.device),
        }
    }
}

/// The old text where it says the same, so that a refresh allocates nothing.
fn share(old: Option<&Arc<str>>, new: &str) -> Arc<str> {
    old.filter(|old| ***old == *new).map_or_else(|| Arc::from(new), Arc::clone)
}

impl Settings {
    /// Granted for what was asked; `None` is an end (10.3 step 7, 423 of 21.4.17).
    fn lifetime(&self, asked: Option<u32>) -> Result<Option<Duration>, Refusal> {
        let Some(asked) = asked else {
            return Ok(Some(DEFAULT_EXPIRES.clamp(self.min_expires.min(self.max_expires), self.max_expires)));
        };
        let asked = Duration::from_secs(asked.into());
        if asked.is_zero() {
            return Ok(None);
        }
        // "if and only if the requested expiration interval is greater than zero AND smaller than one hour AND
        // less than a registrar-configured minimum"
        if asked < self.min_expires && asked < DEFAULT_EXPIRES {
            return Err(Refusal::TooBrief { min_expires: self.min_expires.as_secs() });
        }
        Ok(Some(asked.min(self.max_expires)))
    }
}
