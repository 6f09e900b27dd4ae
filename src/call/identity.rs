//! Who is shown to whom: the identity of a caller toward a trunk, what a trunk is believed, and privacy (RFC 3323,
//! RFC 3325).

use std::fmt;

use super::core::Core;
use super::headers::{ANONYMOUS, Trust};
use super::model::{LegHandle, Party};
use super::numbers::{Toward, Whose};
use super::quirks::{Quirks, Shown, write_identity};
use super::ring::Outgoing;
use super::settings::Trunk;
use super::setup::{Incoming, user_value};
use crate::sip::dialog::Dialog;
use crate::wire::sip::{HeaderName, Message, MessageWriter, NameAddr, Scheme, escaped_user};

/// Signatures of one call that are told on: that of the origin, and of those who diverted it (RFC 8946).
const MAX_SIGNATURES: usize = 10;

/// How a trunk is shown who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shows {
    /// P-Asserted-Identity beside From (RFC 3325 9.1).
    #[default]
    Asserted,
    /// Remote-Party-ID beside From, as older carriers read it.
    RemoteParty,
    /// From alone.
    From,
    /// Nothing: From is anonymous.
    Nobody,
}

impl Shows {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asserted => "pai",
            Self::RemoteParty => "rpid",
            Self::From => "from",
            Self::Nobody => "none",
        }
    }
}

/// What a Privacy header asks for (RFC 3323 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Privacy {
    asked: u8,
}

/// The values that are known: `id` is of RFC 3325 9.3, `history` of RFC 7044 10.1.
const VALUES: [&str; 7] = ["user", "header", "session", "id", "history", "none", "critical"];
/// Those of them that hide who sends.
const HIDES: [&str; 3] = ["user", "header", "id"];
/// Stands for any other value.
const OTHER: u8 = 1 << VALUES.len();
/// Longest part of a value that a refusal repeats.
const MAX_VALUE: usize = 32;

impl Privacy {
    /// `id`
    pub const ID: Self = Self { asked: 1 << 3 };

    /// What a message asks for. `none` says that nobody is to give any on its own (4.2), and goes before the others.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let mut asked = 0;
        if message.has(HeaderName::Privacy) {
            for_each_value(message, |value| asked |= bit(value));
        }
        let none = bit("none");
        Self { asked: if asked & none == 0 { asked } else { none } }
    }

    /// What a party wants: by Privacy, and where its trunk says who calls by Remote-Party-ID, by that header's own
    /// parameter (draft-ietf-sip-privacy 7.2), which older carriers use alone.
    #[must_use]
    pub fn wished(trunk: Option<&Trunk>, message: &Message) -> Self {
        let mut wished = Self::of(message);
        let reads =
            |trunk: &Trunk| trunk.policy.trust == Trust::Trusted && trunk.policy.shows == Shows::RemoteParty;
        if !trunk.is_some_and(reads) || message.has(HeaderName::PAssertedIdentity) {
            return wished;
        }
        let party = message.address(HeaderName::RemotePartyId).ok();
        let said = party.and_then(|party| party.params.value("privacy")).unwrap_or_default();
        if ["full", "name", "uri"].iter().any(|value| value.eq_ignore_ascii_case(said)) {
            wished.asked |= Self::ID.asked;
        }
        wished
    }

    fn has(self, value: &str) -> bool {
        self.asked & bit(value) != 0
    }

    /// Whether the sender is not to be named to those who are not trusted.
    #[must_use]
    pub fn hides(self) -> bool {
        HIDES.iter().any(|value| self.has(value))
    }

    /// Whether the ways that a call has taken are not to be told (RFC 7044 10.1.2: `history`, `header` and `session` too).
    #[must_use]
    pub fn hides_history(self) -> bool {
        self.hides() || self.has("history") || self.has("session")
    }
}

/// As it goes on to who is trusted: it keeps the identity to itself (RFC 3325 7).
impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = if self.hides() { self.asked | bit("id") } else { self.asked };
        let values = VALUES.iter().filter(|value| asked & bit(value) != 0);
        values.enumerate().try_for_each(|(at, value)| {
            f.write_str(if at > 0 { ";" } else { "" })?;
            f.write_str(value)
        })
    }
}

fn bit(value: &str) -> u8 {
    VALUES.iter().position(|known| known.eq_ignore_ascii_case(value)).map_or(OTHER, |at| 1 << at)
}

fn for_each_value(message: &Message, mut take: impl FnMut(&str)) {
    for header in message.all(HeaderName::Privacy) {
        let Ok(text) = header.value_str() else { continue };
        text.split([';', ',']).map(str::trim).filter(|value| !value.is_empty()).for_each(&mut take);
    }
}

/// The values of a `critical` Privacy header that cannot be given here (RFC 3323 5: 500, which names them). A B2BUA
/// gives those of headers and identity; that of the session only where media runs through us.
#[must_use]
pub fn unavailable(message: &Message, is_anchored: bool) -> Option<String> {
    let privacy = Privacy::of(message);
    let lacks_session = privacy.has("session") && !is_anchored;
    if !privacy.has("critical") || (privacy.asked & OTHER == 0 && !lacks_session) {
        return None;
    }
    let mut lacking = String::new();
    for_each_value(message, |value| {
        let is_known = bit(value) != OTHER && !(lacks_session && value.eq_ignore_ascii_case("session"));
        if !is_known && lacking.len() < MAX_VALUE {
            let plain = value.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(MAX_VALUE);
            lacking.push_str(if lacking.is_empty() { "" } else { ", " });
            lacking.extend(plain);
        }
    });
    Some(lacking)
}

/// The address that says who calls. A trunk that is trusted is believed what it asserts (RFC 3325 9.1), and in
/// Remote-Party-ID where it is shown that, too; anybody else has From alone.
#[must_use]
pub fn caller<'m>(trunk: Option<&Trunk>, message: &'m Message) -> Option<NameAddr<'m>> {
    let asserted = trunk.filter(|trunk| trunk.policy.trust == Trust::Trusted).and_then(|trunk| {
        let asserted = message.address(HeaderName::PAssertedIdentity).ok();
        let older = || message.address(HeaderName::RemotePartyId).ok();
        asserted.or_else(|| if trunk.policy.shows == Shows::RemoteParty { older() } else { None })
    });
    asserted.or_else(|| message.from().ok())
}

/// The number of an address; empty where it has none.
#[must_use]
pub fn number(address: Option<NameAddr<'_>>) -> String {
    let uri = address.and_then(|address| address.parsed_uri().ok());
    let Some((scheme, user)) = uri.and_then(|uri| Some((uri.scheme(), uri.user_decoded()?))) else {
        return String::new();
    };
    // RFC 3966 5.1.1: visual separators do not count.
    let counts = |c: &char| scheme != Scheme::Tel || !"-.()".contains(*c);
    user.chars().filter(counts).take(64).collect()
}

impl Core {
    /// The numbers that a trunk said in a call of it: who calls, who is called.
    pub(super) fn said_of(&self, incoming: &Incoming<'_>) -> Option<(Box<str>, Box<str>)> {
        self.trunk(&incoming.party)?;
        let calling = self.said_number(&incoming.party, incoming.message).into();
        Some((calling, incoming.dialled.as_ref().unwrap_or(&incoming.number).clone()))
    }

    /// The settings of a party that is a trunk.
    #[must_use]
    pub fn trunk(&self, party: &Party) -> Option<&Trunk> {
        match party {
            Party::Trunk { index, .. } => self.settings.trunks.get(*index),
            Party::User { .. } | Party::Service(_) => None,
        }
    }

    /// What a party is believed.
    #[must_use]
    pub fn trust_of(&self, party: &Party) -> Trust {
        self.trunk(party).map_or(Trust::Untrusted, |trunk| trunk.policy.trust)
    }

    /// The number of who calls as the party says it.
    #[must_use]
    pub fn said_number(&self, party: &Party, message: &Message) -> String {
        number(caller(self.trunk(party), message))
    }

    /// The value of From toward a target for a caller on a trunk: display name and number in our domain; `here` where
    /// that number is another than the one that the trunk says.
    #[must_use]
    pub fn caller_value(&self, party: &Party, message: &Message, here: Option<&str>) -> Box<str> {
        let number = here.map_or_else(|| self.said_number(party, message), str::to_owned);
        let display = message.from().ok().and_then(|from| from.display());
        let display: String = display.iter().flat_map(|display| display.chars()).take(64).collect();
        let is_plain =
            here.is_some() || number.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.*#".contains(c));
        let number = if number.is_empty() || !is_plain { NOBODY } else { &number };
        user_value(&display, &escaped_user(number), &self.settings.domain)
    }

    /// Whether we vouch for who calls: for users, and for whom a trusted trunk asserts (RFC 3325 5).
    #[must_use]
    pub fn vouches_for(&self, party: &Party, message: &Message) -> bool {
        match self.trunk(party) {
            Some(trunk) => {
                trunk.policy.trust == Trust::Trusted && caller(Some(trunk), message) != message.from().ok()
            }
            None => true,
        }
    }

    /// Shows a party of a call who is at the other end, in an answer or later.
    pub fn show_party(&self, leg: LegHandle, identity: &str, writer: &mut MessageWriter<'_>) {
        let Some(found) = self.legs.get(leg) else { return };
        match self.trunk(&found.party) {
            Some(trunk) => {
                let shown = self.as_shown_to(trunk, identity, false);
                trunk.write_identity(shown.as_deref().unwrap_or(identity), Shown::Called, "off", writer);
            }
            None => write_identity(writer, identity, found.quirks, Shown::Called),
        }
    }

    /// An identity with the number that a trunk is shown for it; `None` where that is its own. Of a call that is forwarded
    /// with its history the caller stays who it is: `caller_id` stands in for nobody then.
    fn as_shown_to(&self, trunk: &Trunk, identity: &str, is_forwarded: bool) -> Option<Box<str>> {
        if !trunk.changes_caller() {
            return None;
        }
        let address = NameAddr::parse(identity.as_bytes()).ok()?;
        let own = number(Some(address));
        let shown = match is_forwarded {
            true => trunk.rewritten(Whose::Calling, Toward::Trunk, &own),
            false => trunk.shown_caller(&own),
        }?;
        Some(user_value(&address.display().unwrap_or_default(), &escaped_user(&shown), &self.settings.domain))
    }
}

/// The user part of an address that has no number.
const NOBODY: &str = "anonymous";

impl Trunk {
    /// Writes an identity as the trunk is shown it.
    fn write_identity(&self, identity: &str, shown: Shown, privacy: &str, writer: &mut MessageWriter<'_>) {
        match self.policy.shows {
            Shows::Asserted => {
                writer.header(&HeaderName::PAssertedIdentity, identity);
            }
            Shows::RemoteParty => {
                let party = if shown == Shown::Calling { "calling" } else { "called" };
                let parts = [identity, ";party=", party, ";screen=yes;privacy=", privacy];
                writer.header_parts(&HeaderName::RemotePartyId, &parts);
            }
            Shows::From | Shows::Nobody => {}
        }
    }
}

impl Outgoing<'_> {
    /// Whether a target is not to learn who calls: it is a device, or a trunk that is not trusted (RFC 3325 5, 7).
    pub(super) fn is_hidden_from(&self, trunk: Option<&Trunk>) -> bool {
        self.privacy.hides() && trunk.is_none_or(|trunk| trunk.policy.trust == Trust::Untrusted)
    }

    /// What a target is to be kept from: a trunk that is trusted is told all, and what its caller wants.
    pub(super) fn privacy_from(&self, trunk: Option<&Trunk>) -> Privacy {
        match trunk {
            Some(trunk) if trunk.policy.trust == Trust::Trusted => Privacy::default(),
            _ => self.privacy,
        }
    }

    /// Writes who calls, and the wish to keep it, into an INVITE.
    pub(super) fn write_caller(&self, trunk: Option<&Trunk>, quirks: Quirks, writer: &mut MessageWriter<'_>) {
        let is_known = self.is_vouched && !self.identity.contains("<sip:anonymous@");
        if self.is_hidden_from(trunk) || !is_known {
            // A PBX is told by From whose call it is, and by this alone to keep it to itself.
            let is_named = trunk.is_some() && self.privacy.hides() && *self.from != *ANONYMOUS;
            // RFC 3323 4.2: `none` is nobody's to take away.
            if is_named || self.privacy.has("none") {
                writer.header(&HeaderName::Privacy, &self.privacy.to_string());
            }
            return;
        }
        let hides = self.privacy.hides();
        match trunk {
            Some(trunk) => {
                let privacy = if hides { "full" } else { "off" };
                trunk.write_identity(&self.identity, Shown::Calling, privacy, writer);
            }
            None => write_identity(writer, &self.identity, quirks, Shown::Calling),
        }
        let says =
            trunk.is_none_or(|trunk| matches!(trunk.policy.shows, Shows::Asserted | Shows::RemoteParty));
        if (hides && says) || self.privacy.has("none") {
            writer.header(&HeaderName::Privacy, &self.privacy.to_string());
        }
    }

    /// Tells on the signature of a trunk that is trusted (RFC 8224) to another one, where both numbers of which it speaks
    /// stay what they are: anything else would be no proof, but a contradiction.
    pub(super) fn write_signature(
        &self,
        message: &Message,
        trunk: Option<&Trunk>,
        dialog: &Dialog,
        writer: &mut MessageWriter<'_>,
    ) {
        let Some((calling, called)) = self.said.as_ref().filter(|_| message.has(HeaderName::Identity)) else {
            return;
        };
        let of = |address: &str| number(NameAddr::parse(address.as_bytes()).ok());
        let is_kept = of(&dialog.local) == **calling && of(&dialog.remote) == **called;
        if trunk.is_some_and(|trunk| trunk.policy.trust == Trust::Trusted) && is_kept {
            for header in message.all(HeaderName::Identity).take(MAX_SIGNATURES) {
                writer.copy(&header);
            }
        }
    }

    /// From and identity toward a trunk that is to be shown another caller; gives the number that it is shown, where that
    /// is another, and what they were before.
    pub(super) fn show_to(&mut self, core: &Core, trunk: &Trunk) -> (Option<Box<str>>, Option<Before>) {
        let is_forwarded = self.source.is_some() && trunk.policy.tells.of_ours();
        let identity = core.as_shown_to(trunk, &self.identity, is_forwarded);
        if identity.is_none() && trunk.policy.shows != Shows::Nobody {
            return (None, None);
        }
        let address = identity.as_deref().and_then(|address| NameAddr::parse(address.as_bytes()).ok());
        let shown = address.map(|address| number(Some(address)).into_boxed_str());
        let identity = identity.unwrap_or_else(|| self.identity.clone());
        let is_nobody = self.privacy.hides() || trunk.policy.shows == Shows::Nobody;
        let from = if is_nobody { ANONYMOUS.into() } else { identity.clone() };
        let before = Before {
            from: std::mem::replace(&mut self.from, from),
            identity: std::mem::replace(&mut self.identity, identity),
        };
        (shown, Some(before))
    }

    /// The next target is shown who really calls.
    pub(super) fn show_again(&mut self, before: Option<Before>) {
        if let Some(before) = before {
            (self.from, self.identity) = (before.from, before.identity);
        }
    }
}

/// How a caller is shown where nothing of a trunk changes it.
pub(super) struct Before {
    pub(super) from: Box<str>,
    pub(super) identity: Box<str>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::policy::Policy;
    use super::*;
    use crate::wire::sip::Limits;

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:1@a.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: \"F\" <sip:100@a.example>;tag=1\r\nTo: <sip:1@a.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             {headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    #[test]
    fn what_a_privacy_header_asks_for() {
        for (headers, hides, hides_history, goes_on) in [
            ("", false, false, ""),
            ("Privacy: id\r\n", true, true, "id"),
            ("Privacy: user;critical\r\n", true, true, "user;id;critical"),
            ("Privacy: Header\r\nPrivacy: SESSION\r\n", true, true, "header;session;id"),
            ("Privacy: none\r\n", false, false, "none"),
            ("Privacy: id;none\r\n", false, false, "none"),
            ("Privacy: history\r\n", false, true, "history"),
            ("Privacy: session\r\n", false, true, "session"),
            ("Privacy: something\r\n", false, false, ""),
        ] {
            assert_eq!(Privacy::ID, Privacy::of(&invite("Privacy: id\r\n")));
            let privacy = Privacy::of(&invite(headers));
            assert_eq!((privacy.hides(), privacy.hides_history()), (hides, hides_history), "{headers}");
            assert_eq!(privacy.to_string(), goes_on, "{headers}");
        }
    }

    #[test]
    fn what_is_critical_and_cannot_be_given_is_named() {
        for (value, is_anchored, lacking) in [
            ("id;critical", true, None),
            ("session;user;header;history;id;critical", true, None),
            ("session;critical", false, Some("session")),
            ("session", false, None),
            ("silence", true, None),
            ("id;silence;critical;x<>y", true, Some("silence, xy")),
            ("none;critical", true, None),
        ] {
            let message = invite(&format!("Privacy: {value}\r\n"));
            assert_eq!(unavailable(&message, is_anchored).as_deref(), lacking, "{value}");
        }
    }

    #[test]
    fn a_trunk_is_believed_what_it_asserts_where_it_is_trusted() {
        let message = invite(
            "P-Asserted-Identity: <tel:+49-30-1>\r\nRemote-Party-ID: <sip:200@b.example>;party=calling\r\n",
        );
        let older = invite("Remote-Party-ID: <sip:200@b.example>;party=calling\r\n");
        for (trust, shows, said, said_older) in [
            (Trust::Trusted, Shows::Asserted, "+49301", "100"),
            (Trust::Trusted, Shows::RemoteParty, "+49301", "200"),
            (Trust::Untrusted, Shows::Asserted, "100", "100"),
            (Trust::Untrusted, Shows::RemoteParty, "100", "100"),
        ] {
            let policy = Policy { trust, shows, ..Policy::default() };
            let trunk = Trunk { policy, ..Trunk::default() };
            assert_eq!(number(caller(Some(&trunk), &message)), said);
            assert_eq!(number(caller(Some(&trunk), &older)), said_older);
        }
        assert_eq!(number(caller(None, &message)), "100", "a user");
    }
}
