//! How a phone proves who it is: a challenge answered, and kept for what follows.

use super::{Phone, Want};
use crate::sip::dialog::write_via;
use crate::sip::digest::{Challenge, Stale};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method};

impl Phone {
    pub(crate) fn register(&mut self, expires: u32) {
        let branch = self.branch();
        self.registration.1 += 1;
        let uri = format!("sip:{}", self.domain);
        let mut writer = MessageWriter::request(&Method::Register, &uri);
        let own = format!("<sip:{}@{}>", self.name, self.domain);
        write_via(&mut writer, &self.flow_to(self.address), &self.address.to_string(), &branch);
        writer.header(&HeaderName::MaxForwards, "70");
        writer.header(&HeaderName::From, &format!("{own};tag=r{}", self.registration.1));
        writer.header(&HeaderName::To, &own);
        writer.header(&HeaderName::CallId, &self.registration.0.clone());
        writer.cseq(self.registration.1, &Method::Register);
        writer.header(&HeaderName::Contact, &format!("<{}>", self.contact()));
        writer.header(&HeaderName::Expires, &expires.to_string());
        if !self.software.is_empty() {
            writer.header(&HeaderName::UserAgent, &self.software);
        }
        self.authorise(&mut writer, &Method::Register, &uri);
        let bytes = writer.finish();
        self.send(&Method::Register, &branch, bytes, Want::Register);
    }

    pub(super) fn authorise(&mut self, writer: &mut MessageWriter<'_>, method: &Method, uri: &str) {
        if let Some(value) = self.credentials(method, uri) {
            writer.header(&HeaderName::Authorization, &value);
        }
    }

    pub(super) fn authenticate(&mut self, want: Want, message: &Message) -> bool {
        let challenge =
            message.all(HeaderName::WwwAuthenticate).find_map(|header| Challenge::parse(header.value).ok());
        let Some(challenge) = challenge else { return false };
        let fresh = self
            .challenge
            .as_ref()
            .is_none_or(|known| challenge.stale == Stale::Yes || known.realm != challenge.realm)
            || self.tries == 0;
        if !fresh || self.tries > 2 {
            self.tries = 0;
            return false;
        }
        self.tries += 1;
        (self.challenge, self.count) = (Some(challenge), 0);
        match want {
            Want::Register => self.register(3600),
            Want::Invite(line) | Want::Reinvite(line) => {
                self.lines[line].dialog.remote_tag = if matches!(want, Want::Invite(_)) {
                    "".into()
                } else {
                    self.lines[line].dialog.remote_tag.clone()
                };
                self.invite(line, want);
            }
            Want::Other(line) => {
                if self.lines[line].is_over && self.lines[line].method.is_none() {
                    self.bye(line);
                } else if self.lines[line].method.is_some() {
                    self.send_again(line);
                } else {
                    return false;
                }
            }
        }
        true
    }
}
