//! Which call a dialog of a device belongs to, or did a moment ago: what a device tells of its call after its end still
//! finds it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::Timestamp;
use crate::moving::{DeviceKey, LegKey};

/// How long a dialog that is over is known: phones report within seconds after the BYE.
const KEPT: Duration = Duration::from_secs(60);
/// Most of them: half a minute of a node that ends 100 calls a second, in which two devices each had a part.
const MAX_OVER: usize = 8192;

/// A dialog as its device names it.
type Name = (DeviceKey, Box<str>);

/// What is known of a dialog.
struct Known {
    /// The public name of its call.
    call: Box<str>,
    /// Since when it is over.
    over: Option<Timestamp>,
}

/// The dialogs of devices.
#[derive(Default)]
pub(crate) struct Dialogs {
    names: BTreeMap<Arc<Name>, Known>,
    live: BTreeMap<LegKey, Arc<Name>>,
    /// Those that are over, oldest first.
    over: VecDeque<(Timestamp, Arc<Name>)>,
}

impl Dialogs {
    /// Whether the leg is known.
    pub(crate) fn has(&self, leg: LegKey) -> bool {
        self.live.contains_key(&leg)
    }

    /// A leg of a device has become part of a call.
    pub(crate) fn begin(&mut self, leg: LegKey, device: DeviceKey, dialog: &str, call: &str) {
        let name = Arc::new((device, Box::from(dialog)));
        self.names.insert(Arc::clone(&name), Known { call: call.into(), over: None });
        self.live.insert(leg, name);
    }

    /// It is none any more.
    pub(crate) fn end(&mut self, now: Timestamp, leg: LegKey) {
        let Some(name) = self.live.remove(&leg) else { return };
        if let Some(known) = self.names.get_mut(&name) {
            known.over = Some(now);
        }
        self.over.push_back((now, name));
        let is_old = |(at, _): &(Timestamp, _)| *at + KEPT <= now;
        while self.over.len() > MAX_OVER || self.over.front().is_some_and(is_old) {
            let Some((at, name)) = self.over.pop_front() else { return };
            // A device that got its call back has its dialog again.
            if self.names.get(&name).is_some_and(|known| known.over == Some(at)) {
                self.names.remove(&name);
            }
        }
    }

    /// The call that a device means by the Call-ID of its own dialog.
    pub(crate) fn call(&self, device: &DeviceKey, dialog: &str) -> Option<&str> {
        self.names.get(&(device.clone(), Box::from(dialog))).map(|known| &*known.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceKey {
        DeviceKey::new("alice", name)
    }

    #[test]
    fn a_dialog_is_known_for_a_while_after_its_end_and_only_to_its_device() {
        let (mut dialogs, start) = (Dialogs::default(), Timestamp::from_micros(1));
        dialogs.begin(LegKey(1), device("desk"), "a@x", "01");
        assert_eq!(dialogs.call(&device("desk"), "a@x"), Some("01"));
        assert_eq!(dialogs.call(&device("mobile"), "a@x"), None);
        dialogs.end(start, LegKey(1));
        assert_eq!(dialogs.call(&device("desk"), "a@x"), Some("01"));
        dialogs.begin(LegKey(2), device("desk"), "b@x", "02");
        dialogs.end(start + KEPT, LegKey(2));
        assert_eq!(dialogs.call(&device("desk"), "a@x"), None);
        assert_eq!(dialogs.call(&device("desk"), "b@x"), Some("02"));
    }

    #[test]
    fn a_dialog_that_came_back_is_not_forgotten_with_its_first_end() {
        let (mut dialogs, start) = (Dialogs::default(), Timestamp::from_micros(1));
        dialogs.begin(LegKey(1), device("desk"), "a@x", "01");
        dialogs.end(start, LegKey(1));
        dialogs.begin(LegKey(1), device("desk"), "a@x", "01");
        dialogs.end(start + KEPT * 2, LegKey(9));
        dialogs.begin(LegKey(2), device("desk"), "b@x", "02");
        dialogs.end(start + KEPT * 2, LegKey(2));
        assert_eq!(dialogs.call(&device("desk"), "a@x"), Some("01"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut dialogs = Dialogs::default();
        for n in 0..MAX_OVER as u64 + 100 {
            dialogs.begin(LegKey(n), device("desk"), &format!("{n}@x"), "01");
            dialogs.end(Timestamp::from_micros(n), LegKey(n));
        }
        assert_eq!((dialogs.names.len(), dialogs.over.len(), dialogs.live.len()), (MAX_OVER, MAX_OVER, 0));
        assert_eq!(dialogs.call(&device("desk"), "99@x"), None);
        assert_eq!(dialogs.call(&device("desk"), "100@x"), Some("01"));
    }
}
