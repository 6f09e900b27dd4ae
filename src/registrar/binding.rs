//! One binding: an address of record reached at a contact, over a flow, on a device.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::Timestamp;
use crate::sip::{Flow, Transport};

/// Preference among bindings, in thousandths (RFC 3261 20.10): 0 to 1000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quality(u16);

impl Quality {
    /// What a contact without `q` counts as.
    pub const HIGHEST: Self = Self(1000);

    /// From thousandths; more than 1000 is 1000.
    #[must_use]
    pub const fn from_thousandths(value: u16) -> Self {
        Self(if value > 1000 { 1000 } else { value })
    }

    /// 0 to 1000.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }
}

/// Where one device of a user is reached, until when, and who said so. Texts are shared, so that a refresh
/// copies pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The Contact URI as it was given.
    pub contact: Arc<str>,
    /// `+sip.instance` without quotes and angle brackets (RFC 5626 4.1).
    pub instance: Option<Arc<str>>,
    /// `reg-id`, where outbound is in use (RFC 5626 4.2).
    pub reg_id: Option<u32>,
    /// `q`, if given.
    pub q: Option<Quality>,
    /// Other Contact parameters as given, each with its leading `;` (RFC 3840 features).
    pub features: Arc<str>,
    /// Invalid from here on.
    pub expires: Timestamp,
    /// When it was last registered.
    pub registered: Timestamp,
    /// Call-ID of the REGISTER.
    pub call_id: Arc<str>,
    /// CSeq number of the REGISTER.
    pub cseq: u32,
    /// Where the REGISTER came from: requests to the device go there (RFC 3581, RFC 5626 5.3).
    pub flow: Flow,
    /// Path of the REGISTER, top first: the Route of requests to the device (RFC 3327 5.3).
    pub path: Vec<Arc<str>>,
    /// `User-Agent` of the REGISTER; empty where it gave none.
    pub user_agent: Arc<str>,
    /// Id of the device whose digest identity registered it.
    pub device: Arc<str>,
}

impl Binding {
    /// Whether it still holds.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires > now
    }

    /// Whether nobody can be reached at it once its connection is gone.
    #[must_use]
    pub const fn ends_with_its_flow(&self) -> bool {
        match self.flow.transport {
            Transport::Udp => false,
            Transport::Tcp => self.reg_id.is_some(),
            Transport::Tls | Transport::Ws | Transport::Wss => true,
        }
    }

    /// Whole seconds left, rounded up, so that what was just granted reads as granted.
    #[must_use]
    pub fn seconds_left(&self, now: Timestamp) -> u64 {
        self.expires.since(now).as_micros().div_ceil(1_000_000) as u64
    }

    /// Preference first, then the newest; equal ones by contact, so that the order never wavers.
    pub(super) fn rank(&self) -> (std::cmp::Reverse<Quality>, std::cmp::Reverse<Timestamp>, &str) {
        use std::cmp::Reverse;
        (Reverse(self.q.unwrap_or(Quality::HIGHEST)), Reverse(self.registered), &self.contact)
    }
}

/// Appends the Contact value of `binding` for a 200 to REGISTER (RFC 3261 10.3 step 8).
pub fn write_contact(binding: &Binding, now: Timestamp, out: &mut String) {
    let _ = write!(out, "<{}>", binding.contact);
    if let Some(q) = binding.q {
        let _ = write!(out, ";q={}.{:03}", q.0 / 1000, q.0 % 1000);
    }
    if let Some(instance) = &binding.instance {
        let _ = write!(out, ";+sip.instance=\"<{instance}>\"");
    }
    if let Some(reg_id) = binding.reg_id {
        let _ = write!(out, ";reg-id={reg_id}");
    }
    let _ = write!(out, "{};expires={}", binding.features, binding.seconds_left(now));
}
