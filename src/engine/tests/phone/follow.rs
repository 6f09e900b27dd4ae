//! What a phone does that is sent elsewhere: by 302.

use super::{Phone, Want};
use crate::wire::sip::{HeaderName, Message, StatusCode};

impl Phone {
    pub(super) fn note_redirect(&mut self, want: Want, message: &Message) {
        if let (Want::Invite(line), Some(StatusCode::MOVED_TEMPORARILY)) = (want, message.status()) {
            let contact = message.header(HeaderName::Contact).unwrap();
            self.lines[line].moved_to = contact.value_str().ok().map(|value| value.into_owned());
        }
    }

    /// The identifier to which a line was sent.
    pub(crate) fn identifier(&self, line: usize) -> String {
        let contact = self.lines[line].moved_to.as_deref().unwrap();
        let uri = contact.strip_prefix("<sip:").and_then(|rest| rest.strip_suffix(">;expires=60")).unwrap();
        uri.strip_suffix("@example.org").unwrap().to_owned()
    }

    /// Follows a 302: the same Call-ID, To and From with the next CSeq (RFC 3261 8.1.3.4).
    pub(crate) fn follow(&mut self, line: usize) {
        let target = format!("sip:{}@example.org", self.identifier(line));
        let found = &mut self.lines[line];
        (found.dialog.target, found.dialog.remote_tag) = (target.into(), "".into());
        found.is_over = false;
        self.invite(line, Want::Invite(line));
    }
}
