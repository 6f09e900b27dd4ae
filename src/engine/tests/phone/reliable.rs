//! Reliable provisional responses of a phone (RFC 3262), as far as tests need them.

use super::{Phone, Want};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// How a phone that is called plays before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Early {
    /// It rings.
    No,
    /// 183 with a description.
    Unreliable,
    /// The same with `Require: 100rel`, said twice, as over a network that doubles.
    Reliable,
    /// The same without a description.
    Bare,
    /// Reliable, and what it says is not repeated in the 200.
    Settled,
}

/// A provisional response that a phone heard.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) status: u16,
    pub(crate) number: Option<u32>,
    pub(crate) body: String,
}

impl Phone {
    pub(super) fn on_provisional(&mut self, want: Want, message: &Message) {
        let (Want::Invite(line), Some(status)) = (want, message.status()) else { return };
        let number =
            message.header(HeaderName::RSeq).and_then(|header| header.value_str().ok()?.parse().ok());
        let body = String::from_utf8_lossy(&message.body()).into_owned();
        let is_new = number.is_none() || self.progress.iter().all(|known| known.number != number);
        self.progress.push(Progress { status: status.as_u16(), number, body });
        if number.is_some() {
            self.lines[line].dialog.on_response(message);
        }
        if let (Some(number), true, true) = (number, is_new, self.pracks) {
            self.prack(line, number, message.cseq().unwrap().number);
        }
    }

    /// Acknowledges a response, with an offer if the phone was given one.
    pub(crate) fn prack(&mut self, line: usize, number: u32, invite: u32) {
        let rack = format!("{number} {invite} INVITE");
        let offer = std::mem::take(&mut self.prack_offer);
        let mut headers = vec![("RAck", rack.as_str())];
        if !offer.is_empty() {
            headers.push(("Content-Type", "application/sdp"));
        }
        self.request(line, &Method::Prack, &headers, offer.as_bytes());
    }

    /// Plays again, or for the first time, to whom its line rings for.
    pub(crate) fn play(&mut self, line: usize) {
        if let Some(tx) = self.lines[line].invite {
            self.play_early(line, tx);
        }
    }

    /// Plays before it answers.
    pub(super) fn play_early(&mut self, line: usize, tx: ServerTx) {
        if self.early == Early::No {
            return;
        }
        let status = StatusCode::SESSION_PROGRESS;
        let (dialog, sdp) = (self.lines[line].dialog.clone(), self.sdp(line, "sendrecv"));
        let Some(mut writer) = self.transactions.reply(tx, status, None, Some(&dialog.local_tag)) else {
            return;
        };
        writer.header(&HeaderName::Contact, &format!("<{}>", dialog.contact));
        writer.header(&HeaderName::Allow, self.allow);
        if self.early != Early::Unreliable {
            writer.header(&HeaderName::Require, "100rel");
            writer.header(&HeaderName::RSeq, "17");
        }
        if self.early != Early::Bare {
            writer.body("application/sdp", sdp.as_bytes());
        }
        let bytes = writer.finish();
        for _ in 0..2 {
            self.transactions.respond(self.now.at, tx, status, bytes.clone(), &mut self.effects);
        }
    }
}
