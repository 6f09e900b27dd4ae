//! What is not shown across: where the other side is. Between a user and a trunk no header tells an address of the other
//! side, nor what names its dialog.

use smallvec::SmallVec;

use super::core::Core;
use super::model::{LegHandle, Party};
use crate::base::names_place;
use crate::wire::sip::{Header, HeaderName, Host, Message, MessageWriter, Via};

/// Between whom a message passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Across {
    /// Users of this node.
    House,
    /// A trunk and anybody.
    Border,
}

impl Across {
    /// Between parties of which one may be a trunk.
    #[must_use]
    pub const fn border_if(is_border: bool) -> Self {
        if is_border { Self::Border } else { Self::House }
    }
}

/// Who warns is nobody's business there; RFC 3261 20.43 lets a pseudonym stand for it.
const WARNER: &[u8] = b"segue";
/// Shorter names of a dialog or host are in other words by chance.
const MIN_NAME: usize = 6;

impl Core {
    /// Between whom a leg's messages pass.
    #[must_use]
    pub(super) fn border_of(&self, leg: LegHandle) -> Across {
        let is_trunk = |leg| self.legs.get(leg).is_some_and(|leg| matches!(leg.party, Party::Trunk { .. }));
        Across::border_if(is_trunk(leg) || self.peer_of(leg).is_some_and(is_trunk))
    }
}

/// What in `message` names its sender's dialog or machine.
pub(super) fn names_in(message: &Message) -> SmallVec<[&str; 8]> {
    let contact = message.contact().ok().and_then(|contact| contact.parsed_uri().ok());
    let via = if message.is_request() { message.via().ok() } else { None };

    let names = [
        message.call_id().ok(),
        message.from_tag(),
        message.to_tag(),
        via.as_ref().and_then(Via::branch),
        via.as_ref().and_then(|via| name_of(via.host)),
        contact.as_ref().and_then(|uri| name_of(uri.host())),
    ];
    names.into_iter().flatten().filter(|name| name.len() >= MIN_NAME).collect()
}

fn name_of(host: Host<'_>) -> Option<&str> {
    match host {
        Host::Name(name) => Some(name),
        Host::V4(_) | Host::V6(_) => None,
    }
}

/// Copies a header across the border of the house, as far as it says nothing of the side that it comes from.
pub(super) fn copy_over(header: &Header<'_>, names: &[&str], onto: &mut MessageWriter<'_>) {
    use HeaderName as N;
    match header.name {
        // Times, words and types that tell of nobody.
        N::Accept | N::AcceptLanguage | N::ContentLanguage | N::Date | N::MimeVersion | N::Priority => {
            onto.copy(header);
        }
        // Call-IDs of the other side (RFC 3261 20.21), and where its caller is to be answered (20.31): here nobody is.
        N::InReplyTo | N::ReplyTo => {}
        N::Warning => {
            let mut parts = header.value.splitn(3, |byte| *byte == b' ');
            let (code, _, text) = (parts.next(), parts.next(), parts.next());
            if let (Some(code), Some(text)) = (code, text)
                && !tells(text, names)
            {
                onto.header_bytes(&N::Warning, &[code, WARNER, text].join(&b' '));
            }
        }
        _ if tells(header.value, names) => {}
        _ => {
            onto.copy(header);
        }
    }
}

fn tells(value: &[u8], names: &[&str]) -> bool {
    names_place(value) || names.iter().any(|name| memchr::memmem::find(value, name.as_bytes()).is_some())
}

/// A Reason (RFC 3326) without what tells where somebody is.
#[must_use]
pub fn plain_reason(reason: &str) -> &str {
    if !names_place(reason.as_bytes()) {
        return reason;
    }
    let cause = reason.split(";text=").next().unwrap_or_default();
    if names_place(cause.as_bytes()) { "SIP;cause=480" } else { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_cause() {
        for (reason, plain) in [
            ("Q.850;cause=16;text=\"bye\"", "Q.850;cause=16;text=\"bye\""),
            ("SIP;cause=503;text=\"10.0.0.5 is away\"", "SIP;cause=503"),
            ("SIP;cause=503;at=10.0.0.5", "SIP;cause=480"),
        ] {
            assert_eq!(plain_reason(reason), plain);
        }
    }
}
