//! What a phone does that is sent elsewhere: by 302, or by REFER.

use super::{ENGINE, Line, Phone, Refers, Want};
use crate::sip::dialog::Dialog;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

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

    /// A REFER outside dialogs (RFC 3515 2.4.2).
    pub(super) fn on_refer(&mut self, tx: ServerTx, message: &Message) {
        if let Refers::Refuse(status) = self.refers {
            return self.reply(tx, StatusCode::new(status).unwrap(), "x");
        }
        if self.refers == Refers::Silent {
            return;
        }
        // One that was passed on, in a dialog that this phone does not know any more, asks for nothing here.
        let Some((uri, user, replaces)) = call_asked_for(message) else {
            return self.reply(tx, StatusCode::OK, "x");
        };
        let (tag, contact) = (self.random.tag(), self.contact());
        let flow = self.flow_to(ENGINE.parse().unwrap());
        let dialog = Dialog::from_request(message, flow, &self.address.to_string(), &tag, &contact).unwrap();
        let line = self.lines.len();
        self.lines.push(Line::new(dialog, String::new()));
        self.reply(tx, StatusCode::ACCEPTED, &tag);
        self.report(line, "active;expires=60", 100);
        self.lines[line].moved_to = Some(uri);
        match self.refers {
            Refers::Follow { with_replaces } => {
                let headers = [("Replaces", replaces.as_str())];
                let headers = if with_replaces { &headers[..] } else { &[] };
                let call = self.dial_with(&user, headers, true);
                self.referrals.push((line, call));
            }
            Refers::Decline => self.report(line, "terminated;reason=noresource", 603),
            Refers::Ignore | Refers::Refuse(_) | Refers::Silent => {}
        }
    }

    /// How the call ended that a REFER led to (RFC 3515 2.4.5).
    pub(super) fn tell_referrer(&mut self, call: usize, status: u16) {
        if let Some(place) = self.referrals.iter().position(|(_, found)| *found == call) {
            let (line, _) = self.referrals.remove(place);
            self.report(line, "terminated;reason=noresource", status);
        }
    }

    fn report(&mut self, line: usize, state: &str, status: u16) {
        let headers = [
            ("Event", "refer"),
            ("Subscription-State", state),
            ("Content-Type", "message/sipfrag;version=2.0"),
        ];
        let body = format!("SIP/2.0 {status} Told\r\n");
        self.request(line, &Method::Notify, &headers, body.as_bytes());
    }
}

/// The Refer-To, its user and its Replaces, where it has all of them.
fn call_asked_for(message: &Message) -> Option<(String, String, String)> {
    let refer_to = message.address(HeaderName::ReferTo).ok()?;
    let uri = refer_to.parsed_uri().ok()?;
    let replaces = uri.header("Replaces")?.into_owned();
    Some((refer_to.uri.to_owned(), uri.user()?.to_owned(), replaces))
}
