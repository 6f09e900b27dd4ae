//! The session timer of a phone (RFC 4028), as far as tests need one.

use super::{Phone, Unfit};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

impl Phone {
    /// 488 to an offer without a codec of this phone, if it minds.
    pub(super) fn refuses_media(&mut self, tx: ServerTx, message: &Message) -> bool {
        let body = String::from_utf8_lossy(&message.body()).into_owned();
        let offered = body.lines().find_map(|line| line.strip_prefix("m=audio "));
        let Some(offered) = offered.filter(|_| self.is_picky && *message.method() == Method::Invite) else {
            return false;
        };
        let is_again = self.line_of(message).is_some();
        let is_taken = self.speaks(offered) || is_again && self.unfit != Unfit::Refused;
        if !is_taken {
            self.reply(tx, StatusCode::NOT_ACCEPTABLE_HERE, "m");
        }
        !is_taken
    }

    /// Whether it has a codec of an offer: `4000 RTP/AVP 0 101`.
    pub(super) fn speaks(&self, offered: &str) -> bool {
        let own = |number: &str| number != "101" && self.codecs.split(' ').any(|known| known == number);
        offered.split(' ').skip(2).any(own)
    }

    pub(super) fn note_session(&mut self, what: &str, message: &Message) {
        let value = message.header(HeaderName::SessionExpires);
        let value = value.and_then(|value| value.value_str().ok().map(|value| value.into_owned()));
        self.sessions.push((what.into(), value.unwrap_or_default()));
    }

    /// 422, where the interval is too short for this phone.
    pub(super) fn refuses_session(&mut self, tx: ServerTx, message: &Message) -> bool {
        if !matches!(message.method(), Method::Invite | Method::Update) {
            return false;
        }
        self.note_session(message.method().as_str(), message);
        let asked = &self.sessions.last().unwrap().1;
        let seconds: Option<u32> = asked.split(';').next().and_then(|seconds| seconds.parse().ok());
        if seconds.is_none_or(|seconds| seconds >= self.min_se) {
            return false;
        }
        let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
        if let Some(mut writer) = self.transactions.reply(tx, status, None, Some("s")) {
            writer.header_number(&HeaderName::MinSe, self.min_se.into());
            let bytes = writer.finish();
            self.transactions.respond(self.now.at, tx, status, bytes, &mut self.effects);
        }
        true
    }

    pub(super) fn answer_update(&mut self, tx: ServerTx, tag: &str, answer: &str) {
        let Some(mut writer) = self.transactions.reply(tx, StatusCode::OK, None, Some(tag)) else { return };
        if !self.session.is_empty() {
            writer.header(&HeaderName::Supported, "timer");
            writer.header(&HeaderName::SessionExpires, self.session);
        }
        if !answer.is_empty() {
            writer.body("application/sdp", answer.as_bytes());
        }
        let bytes = writer.finish();
        self.transactions.respond(self.now.at, tx, StatusCode::OK, bytes, &mut self.effects);
    }
}
