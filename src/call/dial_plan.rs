//! Who a dialled URI means: a service, a user, one device of a user, a trunk.

use std::sync::Arc;

use smallvec::SmallVec;

use super::core::Core;
use super::model::Service;
use crate::registrar::accounts::Account;
use crate::sip::Refusal;
use crate::wire::sip::{Scheme, Uri};

/// Longest number or name that is looked up.
const MAX_NUMBER: usize = 128;

/// Numbers that always mean an emergency (European, North American, and common others). Never moved.
const EMERGENCY: [&str; 5] = ["112", "911", "999", "110", "118"];

/// Where a call goes.
pub enum Destination {
    /// All devices of a user, or one.
    User {
        /// The user.
        account: Arc<Account>,
        /// The one device, by its place in `account.devices`.
        device: Option<usize>,
    },
    /// Trunks in the order to be tried.
    Trunks(SmallVec<[usize; 2]>),
    /// Ourselves.
    Service(Service),
}

/// The number or name that a URI dials, percent-decoded.
///
/// # Errors
/// `DestinationUnknown` where the URI has none, or is of a scheme or a size that we do not route.
pub fn dialled(uri: &Uri<'_>) -> Result<Box<str>, Refusal> {
    let user = match uri.scheme() {
        Scheme::Sip | Scheme::Sips => uri.user_decoded().ok_or(Refusal::DestinationUnknown)?,
        // RFC 3966: visual separators do not count.
        Scheme::Tel => {
            uri.user_decoded().ok_or(Refusal::DestinationUnknown)?.replace(['-', '.', '(', ')'], "").into()
        }
        Scheme::Other => return Err(Refusal::DestinationUnknown),
    };
    if user.is_empty() || user.len() > MAX_NUMBER || user.chars().any(char::is_control) {
        return Err(Refusal::DestinationUnknown);
    }
    Ok(user.as_ref().into())
}

/// Whether `number` calls an emergency service.
#[must_use]
pub fn is_emergency(number: &str) -> bool {
    EMERGENCY.contains(&number)
}

impl Core {
    /// Where `number`, dialled at `uri`, goes.
    ///
    /// # Errors
    /// `DestinationUnknown` where nothing matches, and for foreign domains: we are nobody's open relay.
    pub fn route(&self, uri: &Uri<'_>, number: &str) -> Result<Destination, Refusal> {
        let foreign = uri.scheme() != Scheme::Tel && !self.settings.is_ours(uri.host());
        if foreign {
            return Err(Refusal::DestinationUnknown);
        }
        if self.settings.echo.as_deref() == Some(number) {
            return Ok(Destination::Service(Service::Echo));
        }
        if self.settings.tone.as_deref() == Some(number) {
            return Ok(Destination::Service(Service::Tone));
        }
        if let Some((account, device)) = self.accounts.by_address(number) {
            return Ok(Destination::User { account, device });
        }
        let rule = self.settings.routes.iter().find(|route| route.pattern.is_match(number));
        let rule = rule.ok_or(Refusal::DestinationUnknown)?;
        if let Some((account, device)) = rule.user.as_deref().and_then(|user| self.accounts.by_address(user))
        {
            return Ok(Destination::User { account, device });
        }
        if rule.trunks.is_empty() {
            return Err(Refusal::DestinationUnknown);
        }
        Ok(Destination::Trunks(rule.trunks.iter().copied().collect()))
    }
}
