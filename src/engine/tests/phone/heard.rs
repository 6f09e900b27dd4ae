//! What a phone does about what it hears: requests, answers to its own, CANCEL and ACK.

use super::{Answer, Dialog, ENGINE, Kind, Line, Phone, Want};
use crate::sip::transaction::{ClientTx, ServerTx};
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

impl Phone {
    pub(super) fn line_of(&self, message: &Message) -> Option<usize> {
        let id = message.call_id().ok()?;
        self.lines.iter().position(|line| &*line.dialog.call_id == id)
    }

    pub(super) fn on_request(&mut self, tx: ServerTx, message: &Message) {
        self.requests.push(message.method().as_str().into());
        if self.demands(tx, message) {
            return;
        }
        let line = self.line_of(message);
        if self.refuses_session(tx, message) || self.refuses_media(tx, message) {
            return;
        }
        match (message.method(), line) {
            (Method::Invite, None) => self.on_invite(tx, message),
            (Method::Invite, Some(line)) => {
                let _ = self.lines[line].dialog.accept(message);
                self.lines[line].heard.push(message.body());
                self.note_identity(line, message);
                if self.holds_reinvites {
                    self.held.push((line, tx));
                } else {
                    self.answer_reinvite(line, tx);
                }
            }
            (Method::Bye, Some(line)) => {
                self.lines[line].is_over = true;
                self.lines[line].is_up = false;
                let reason = message.header(HeaderName::Reason);
                self.lines[line].reason =
                    reason.and_then(|r| r.value_str().ok().map(|v| v.into_owned())).unwrap_or_default();
                let tag = self.lines[line].dialog.local_tag.clone();
                self.reply(tx, StatusCode::OK, &tag);
            }
            (Method::Notify, _) => {
                let state = message.header(HeaderName::SubscriptionState);
                let state =
                    state.and_then(|s| s.value_str().ok().map(|v| v.into_owned())).unwrap_or_default();
                let body = String::from_utf8_lossy(&message.body()).into_owned();
                if let Some(line) = line
                    && body.starts_with("SIP/2.0")
                {
                    self.lines[line].referred.push(body.trim().into());
                }
                self.notified.push((state, body));
                self.notify_numbers.push(message.cseq().unwrap().number);
                if let Some(status) = StatusCode::new(self.notify_answer) {
                    self.reply(tx, status, "n");
                }
            }
            (_, Some(line)) => {
                let tag = self.lines[line].dialog.local_tag.clone();
                if *message.method() == Method::Update {
                    self.note_identity(line, message);
                    let body = message.body();
                    let is_offer = !body.is_empty();
                    if is_offer {
                        self.lines[line].heard.push(body);
                    }
                    let answer = if is_offer { self.sdp(line, "sendrecv") } else { String::new() };
                    self.answer_update(tx, &tag, &answer);
                } else {
                    self.reply(tx, StatusCode::OK, &tag);
                }
            }
            (Method::Refer, None) => self.on_refer(tx, message),
            (Method::Message, None) => {
                self.texts.push(String::from_utf8_lossy(&message.body()).into_owned());
                if let Some(status) = self.text_answer {
                    self.reply(tx, status, "x");
                }
            }
            (Method::Bye, None) => self.reply(tx, StatusCode::CALL_DOES_NOT_EXIST, "x"),
            (_, None) => self.reply(tx, StatusCode::OK, "x"),
        }
    }

    pub(super) fn note_identity(&mut self, line: usize, message: &Message) {
        if let Some(header) = message.header(HeaderName::PAssertedIdentity) {
            self.lines[line].identity = header.value_str().ok().map(|v| v.into_owned());
        }
    }

    pub(super) fn on_invite(&mut self, tx: ServerTx, message: &Message) {
        if self.answer == Answer::Silent {
            return;
        }
        let tag = self.random.tag();
        let contact = self.contact();
        let flow = self.flow_to(ENGINE.parse().unwrap());
        let Ok(dialog) = Dialog::from_request(message, flow, &self.address.to_string(), &tag, &contact)
        else {
            return;
        };
        let line = self.lines.len();
        let mut new = Line::new(dialog, String::new());
        new.heard.push(message.body());
        new.invite = Some(tx);
        self.lines.push(new);
        self.note_identity(line, message);
        if self.answer == Answer::Busy {
            self.refuse(line, 486);
            return;
        }
        let names_keys = message.body().windows(9).any(|window| window == b"a=crypto:");
        if !message.body().is_empty() && names_keys != (self.kind == Kind::Sdes) {
            self.refuse(line, self.refusal);
            return;
        }
        self.play_early(line, tx);
        self.reply(tx, StatusCode::RINGING, &tag);
        if self.answer == Answer::Now {
            self.pick_up(line);
        }
    }

    pub(super) fn on_cancelled(&mut self, tx: ServerTx, message: &Message) {
        if let Some(place) = self.held.iter().position(|held| held.1 == tx && self.heeds_cancel) {
            let (line, _) = self.held.remove(place);
            let tag = self.lines[line].dialog.local_tag.clone();
            return self.reply(tx, StatusCode::REQUEST_TERMINATED, &tag);
        }
        if let Some(line) = self.lines.iter_mut().find(|line| line.invite == Some(tx)) {
            line.invite = None;
            line.is_over = true;
            let reason = message.header(HeaderName::Reason);
            line.reason = reason.and_then(|r| r.value_str().ok().map(|v| v.into_owned())).unwrap_or_default();
            let tag = line.dialog.local_tag.clone();
            self.reply(tx, StatusCode::REQUEST_TERMINATED, &tag);
        }
    }

    pub(super) fn on_ack(&mut self, message: &Message) {
        if let Some(demand) = &mut self.demand {
            demand.note(message);
        }
        let Some(line) = self.line_of(message) else { return };
        if !message.body().is_empty() {
            self.lines[line].heard.push(message.body());
        }
        if let Some(tx) = self.lines[line].accepted.take() {
            self.transactions.acknowledge(tx);
        }
    }

    pub(super) fn on_response(&mut self, tx: ClientTx, want: Want, message: &Message) {
        let Some(status) = message.status() else { return };
        if status.is_provisional() {
            return self.on_provisional(want, message);
        }
        if status == StatusCode::UNAUTHORIZED && self.authenticate(want, message) {
            return;
        }
        self.note_redirect(want, message);
        let seconds = message
            .header(HeaderName::RetryAfter)
            .and_then(|header| header.value_str().ok())
            .and_then(|value| value.trim().parse().ok());
        if status.is_success() && matches!(message.method(), Method::Invite | Method::Update) {
            self.note_session("200", message);
        }
        if let (Want::Invite(line) | Want::Reinvite(line), Some(header)) =
            (want, message.header(HeaderName::Warning))
        {
            self.lines[line].warning = header.value_str().unwrap().into_owned();
        }
        if let (Want::Invite(line) | Want::Reinvite(line), true) = (want, status.is_success()) {
            self.on_accepted(line, tx, message);
        }
        if let Want::Other(line) = want {
            self.lines[line].dialog.on_response(message);
            self.lines[line].answer = Some(message.clone());
            self.finals.push((message.method().as_str().into(), status.as_u16(), seconds));
        }
        self.on_final(want, status.as_u16(), seconds, message.reason_phrase());
    }

    pub(super) fn on_final(&mut self, want: Want, status: u16, seconds: Option<u32>, phrase: &str) {
        match want {
            Want::Register => self.registered = Some(status),
            Want::Invite(line) | Want::Reinvite(line) => {
                let first = matches!(want, Want::Invite(_));
                let found = &mut self.lines[line];
                (found.status, found.retry_after, found.phrase) = (Some(status), seconds, phrase.into());
                found.client = None;
                if first && status >= 300 {
                    found.is_over = true;
                }
                self.tell_referrer(line, status);
            }
            Want::Other(line) => self.lines[line].status = Some(status),
        }
    }

    pub(super) fn on_accepted(&mut self, line: usize, tx: ClientTx, message: &Message) {
        let branch = self.branch();
        self.lines[line].heard.push(message.body());
        self.note_identity(line, message);
        let offered = !self.lines[line].sdp.is_empty();
        let answer = if offered { String::new() } else { self.sdp(line, "sendrecv") };
        let found = &mut self.lines[line];
        found.dialog.on_response(message);
        found.is_up = true;
        if !self.acks {
            return;
        }
        let cseq = message.cseq().unwrap().number;
        let body = (!answer.is_empty()).then_some(("application/sdp", answer.as_bytes()));
        let ack = found.dialog.ack(&branch, cseq, None, body);
        let (flow, tag) = (found.dialog.flow, found.dialog.remote_tag.clone());
        self.transactions.acked(self.now.at, tx, Some(&tag), flow, ack, &mut self.effects);
    }
}
