//! What devices can speak, learnt from the offers with which they began calls.
//!
//! Only such an offer tells all that a device can do: an answer names what was asked for, and some phones offer no more
//! than the codec in use later in a call. What is learnt serves to show that a move would fail; the move itself goes by
//! the offer that it comes with.

use std::collections::BTreeMap;

use crate::media::codec::Codec;

/// Devices that are remembered, at about 300 bytes each. Of more nothing is known, and nothing is shown.
const MAX_DEVICES: usize = 50_000;

/// The codecs of devices, by `user*device`.
#[derive(Default)]
pub struct Abilities {
    known: BTreeMap<Box<str>, Known>,
    /// The software of devices that turned a MESSAGE down though it had promised to take one.
    deaf: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Default)]
struct Known {
    codecs: Box<[Codec]>,
    user_agent: Box<str>,
    /// Whether it spoke SRTP or refused an offer of it; `None` if neither was seen.
    srtp: Option<bool>,
    /// Whether its last offer was a browser's.
    web: Option<bool>,
}

impl Abilities {
    /// Takes note of the first offer of a call. `user_agent` is the device's software, empty if it does not say.
    pub fn learn(&mut self, user: &str, device: &str, user_agent: &str, codecs: &[Codec]) {
        if codecs.is_empty() {
            return;
        }
        let Some(known) = self.entry(user, device) else { return };
        if *known.user_agent != *user_agent && !known.user_agent.is_empty() {
            // Another phone, or a new release: what the old one did says nothing of it.
            known.srtp = None;
        }
        (known.codecs, known.user_agent) = (codecs.into(), user_agent.into());
    }

    /// Takes note that a device spoke SRTP, or refused an offer of it. Who spoke it once is not taken for less.
    pub fn learn_srtp(&mut self, user: &str, device: &str, speaks: bool) {
        if let Some(known) = self.entry(user, device)
            && known.srtp != Some(true)
        {
            known.srtp = Some(speaks);
        }
    }

    /// Whether a device speaks SRTP, if it has shown either.
    #[must_use]
    pub fn srtp(&self, user: &str, device: &str) -> Option<bool> {
        self.known.get(&key(user, device))?.srtp
    }

    /// Takes note whether a device's offer was a browser's.
    pub fn learn_web(&mut self, user: &str, device: &str, is_browser: bool) {
        if let Some(known) = self.entry(user, device) {
            known.web = Some(is_browser);
        }
    }

    /// Whether a device is a browser, if it ever made an offer.
    #[must_use]
    pub fn web(&self, user: &str, device: &str) -> Option<bool> {
        self.known.get(&key(user, device))?.web
    }

    fn entry(&mut self, user: &str, device: &str) -> Option<&mut Known> {
        let name = key(user, device);
        if self.known.len() >= MAX_DEVICES && !self.known.contains_key(&name) {
            return None;
        }
        Some(self.known.entry(name).or_default())
    }

    /// What a device can speak, if that is known of the software that it runs now.
    #[must_use]
    pub fn of(&self, user: &str, device: &str, user_agent: &str) -> Option<&[Codec]> {
        let known = self.known.get(&key(user, device)).filter(|known| *known.user_agent == *user_agent)?;
        (!known.codecs.is_empty()).then_some(&known.codecs)
    }

    /// A device has no use for texts, whatever its Allow says.
    pub fn learn_deaf(&mut self, user: &str, device: &str, user_agent: &str) {
        if self.deaf.len() < MAX_DEVICES {
            self.deaf.insert(key(user, device), user_agent.into());
        }
    }

    /// Whether that is known of the software that it runs now.
    #[must_use]
    pub fn is_deaf(&self, user: &str, device: &str, user_agent: &str) -> bool {
        self.deaf.get(&key(user, device)).is_some_and(|known| **known == *user_agent)
    }
}

fn key(user: &str, device: &str) -> Box<str> {
    format!("{user}*{device}").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_srtp_is_never_taken_for_less_until_its_software_changes() {
        let mut abilities = Abilities::default();
        abilities.learn_srtp("alice", "desk", false);
        assert_eq!((abilities.srtp("alice", "desk"), abilities.srtp("alice", "mobile")), (Some(false), None));
        assert_eq!(abilities.of("alice", "desk", ""), None, "its codecs are not known");
        abilities.learn("alice", "desk", "Phone/1", &[Codec::PCMU]);
        abilities.learn_srtp("alice", "desk", true);
        abilities.learn_srtp("alice", "desk", false);
        assert_eq!(abilities.srtp("alice", "desk"), Some(true));
        abilities.learn("alice", "desk", "Phone/2", &[Codec::PCMU]);
        assert_eq!(abilities.srtp("alice", "desk"), None);
    }

    #[test]
    fn the_last_offer_counts_for_the_software_that_made_it() {
        let mut abilities = Abilities::default();
        abilities.learn("alice", "desk", "Phone/1", &[Codec::PCMU, Codec::PCMA]);
        abilities.learn("alice", "desk", "Phone/1", &[Codec::PCMA]);
        assert_eq!(abilities.of("alice", "desk", "Phone/1"), Some(&[Codec::PCMA][..]));
        assert_eq!(abilities.of("alice", "desk", "Phone/2"), None, "another phone, or a new release");
        assert_eq!(abilities.of("alice", "mobile", "Phone/1"), None);
        abilities.learn("alice", "desk", "Phone/1", &[]);
        assert!(
            abilities.of("alice", "desk", "Phone/1").is_some(),
            "an offer without audio tells nothing of it"
        );
    }
}
