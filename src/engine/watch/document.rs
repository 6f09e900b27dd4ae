//! What a watcher sees: the calls of a user with what may be done with each, or a lamp.

use std::fmt::Write as _;

use super::{Resource, Sight};
use crate::base::Timestamp;
use crate::engine::Engine;
use crate::moving::directory::{Ask, Direction, Directory, LiveLeg, Lock, Movable, Progress};
use crate::moving::star_code::Select;
use crate::moving::{DeviceKey, LegKey};
use crate::registrar::accounts::Trust;
use crate::sip::subscription::{Notify, Reason, SubscriptionState};
use crate::wire::dialog_info::{self, Dialog, DialogInfo, DialogState, Participant};

/// Dialogs of one document. A user with more calls at once is a trunk by another name.
const MAX_DIALOGS: usize = 32;
/// The id of a lamp's only dialog.
const LAMP: &str = "lamp";

/// Whether a document carries identifiers with which calls can be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identifiers {
    Minted,
    Withheld,
}

impl Engine {
    /// What is to be told now, and the call that a lamp shows by it.
    pub(super) fn document(&mut self, sight: &Sight, notify: &Notify) -> (DialogInfo, Option<LegKey>) {
        let domain = self.core.settings.domain.clone();
        let entity = address(&sight.entity, &domain);
        let (mut shown, mut dialogs) = (None, Vec::new());
        match (&sight.resource, notify.state) {
            // Whoever may not see it any more sees nothing more.
            (_, SubscriptionState::Terminated { reason: Reason::Rejected | Reason::NoResource })
            | (Resource::Messages { .. }, _) => {}
            (Resource::Lamp(select), _) => {
                let lit = self.lamp(&sight.watcher, select);
                shown = lit.map(|leg| leg.leg);
                dialogs.push(lamp(&entity, lit, &domain));
            }
            (Resource::Calls { user, device }, state) => {
                let legs = self.moves.directory.of_user(user).into_iter();
                let legs = legs.filter(|leg| device.as_ref().is_none_or(|id| **id == *leg.device.device()));
                let legs: Vec<LiveLeg> = legs.take(MAX_DIALOGS).cloned().collect();
                let identifiers = match state {
                    SubscriptionState::Active { .. } => Identifiers::Minted,
                    SubscriptionState::Terminated { .. } => Identifiers::Withheld,
                };
                for leg in &legs {
                    dialogs.push(self.dialog_of(sight, leg, identifiers, &domain));
                }
            }
        }
        (DialogInfo::full(notify.version, entity, dialogs), shown)
    }

    /// The call for which a lamp is lit: what the watcher would get by dialling the code, if it talks. A call that
    /// only rings does not light it, or the lamp would blink with every call that comes in.
    pub(super) fn lamp(&self, watcher: &DeviceKey, select: &Select) -> Option<&LiveLeg> {
        let ask = Ask {
            now: self.core.now.at,
            hold_offs: &self.moves.hold_offs,
            lock: self.lock_of(watcher),
            policy: self.settings.moving.select,
        };
        let leg = self.moves.directory.select(watcher, select, &ask).ok()?;
        matches!(leg.progress, Progress::Answered { .. }).then_some(leg)
    }

    /// A device that stands in a room takes nothing by a lamp: it asks for the PIN first.
    fn lock_of(&self, watcher: &DeviceKey) -> Lock {
        let account = self.core.accounts.by_name(watcher.user());
        match account.and_then(|account| account.device(watcher.device())).map(|device| device.trust) {
            Some(Trust::Personal) => Lock::Open,
            Some(Trust::Shared) | None => Lock::Locked,
        }
    }

    fn dialog_of(&mut self, sight: &Sight, leg: &LiveLeg, identifiers: Identifiers, domain: &str) -> Dialog {
        let now = self.core.now.at;
        let watcher = &sight.watcher;
        let is_owner = watcher.user() == &*leg.owner;
        let movable = is_owner
            .then(|| Directory::movable(leg, watcher, self.lock_of(watcher), &self.moves.hold_offs, now))
            .map(|movable| match movable {
                Movable::Yes if self.is_without_common_media(leg.leg, watcher) => Movable::NoCommonMedia,
                movable => movable,
            });
        // Others may look, if they are on the list; only the owner's devices can take (contract 6, 7).
        let minted = (movable == Some(Movable::Yes) && identifiers == Identifiers::Minted).then(|| {
            let random = &mut self.core.random;
            self.moves.identifiers.mint(now, watcher, leg.call, leg.leg, random)
        });
        let target = minted.as_ref().map(|minted| address(minted.token.as_str(), domain)).unwrap_or_default();
        let (state, since) = match leg.progress {
            Progress::Calling { .. } => (DialogState::Proceeding, None),
            Progress::Ringing { .. } => (DialogState::Early, None),
            Progress::Answered { at } => (DialogState::Confirmed, Some(at)),
        };
        let far = self.core.accounts.by_extension(&leg.far.number);
        let far = far.map_or(&*leg.far.number, |account| &*account.name);
        let mut dialog = Dialog::new(dialog_id(sight.salt, leg.leg), state);
        dialog.direction = Some(match leg.direction {
            Direction::Outgoing => dialog_info::Direction::Initiator,
            Direction::Incoming => dialog_info::Direction::Recipient,
        });
        dialog.duration = since.map(|since: Timestamp| now.since(since).as_secs());
        dialog.local = Some(Participant {
            display: leg.device.device().to_owned(),
            identity: address(&leg.owner, domain),
            target: target.clone(),
        });
        dialog.remote = Some(Participant {
            display: leg.far.display.to_string(),
            identity: address(far, domain),
            target,
        });
        if let Some(minted) = minted {
            dialog.call_id = Some(minted.token.as_str().to_owned());
            dialog.local_tag = Some(minted.local_tag);
            dialog.remote_tag = Some(minted.remote_tag);
        }
        dialog.movable = movable.map(|movable| match movable {
            Movable::Yes => dialog_info::Movable::Yes,
            other => dialog_info::Movable::No {
                reason: other.as_str().to_owned(),
                retry_after: if let Movable::HoldOff { seconds } = other { Some(seconds) } else { None },
            },
        });
        dialog
    }
}

/// A lamp: confirmed is lit, terminated is dark, and it is never early. It names no dialog, so that a press dials the
/// code and nothing else.
fn lamp(entity: &str, lit: Option<&LiveLeg>, domain: &str) -> Dialog {
    let Some(leg) = lit else { return Dialog::new(LAMP, DialogState::Terminated) };
    let mut dialog = Dialog::new(LAMP, DialogState::Confirmed);
    let side = |display: &str, identity: String| Participant {
        display: display.to_owned(),
        identity,
        target: entity.to_owned(),
    };
    dialog.direction = Some(dialog_info::Direction::Recipient);
    dialog.local = Some(side(leg.device.device(), entity.to_owned()));
    dialog.remote = Some(side(&leg.far.display, address(&leg.far.number, domain)));
    dialog.movable = Some(dialog_info::Movable::Yes);
    dialog
}

/// A name for a dialog that says nothing of our keys and stays as it is from one document to the next.
fn dialog_id(salt: u64, leg: LegKey) -> String {
    // A bijection for any salt (two odd factors, two shifts), so that no two legs share a name.
    let mut mixed = (leg.0 ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 29).wrapping_mul(salt | 1);
    format!("d{:016x}", mixed ^ mixed >> 32)
}

/// `sip:user@domain`, with what a user part cannot hold as it is escaped (RFC 3261 25.1).
fn address(user: &str, domain: &str) -> String {
    let mut uri = String::with_capacity(5 + user.len() + domain.len());
    uri.push_str("sip:");
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push('@');
    uri.push_str(domain);
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped_and_ids_differ() {
        assert_eq!(address("alice*desk", "pbx.test"), "sip:alice*desk@pbx.test");
        assert_eq!(address("a b\"<@>#é", "pbx.test"), "sip:a%20b%22%3C%40%3E%23%C3%A9@pbx.test");
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|leg| dialog_id(7, LegKey(leg))).collect();
        assert_eq!(ids.len(), 1000);
        assert_ne!(dialog_id(7, LegKey(1)), dialog_id(8, LegKey(1)));
        assert_eq!(dialog_id(7, LegKey(1)), dialog_id(7, LegKey(1)));
    }
}
