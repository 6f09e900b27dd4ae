//! A software phone without sockets: one user agent that registers, calls, answers, and remembers what it was told.

mod credentials;
mod demand;
mod follow;
mod heard;
mod kind;
mod place;
mod reliable;
mod session;

use std::net::SocketAddr;

use bytes::Bytes;
pub(crate) use demand::Demand;
pub(crate) use kind::{Kind, Unfit};
pub(crate) use reliable::{Early, Progress};

use crate::base::{Now, Random, Timestamp};
use crate::registrar::accounts::Account;
use crate::sip::Transport;
use crate::sip::dialog::Dialog;
use crate::sip::digest::{Challenge, Secret};
use crate::sip::transaction::{self, ClientTx, Effect, ServerTx, Transactions};
use crate::wire::sip::{HeaderName, Limits, Message, Method, StatusCode};

/// What a phone does with a call that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Rings until told.
    Ring,
    /// Rings and answers at once.
    Now,
    /// Says 486.
    Busy,
    /// Says nothing.
    Silent,
}

/// What a phone does with a REFER outside dialogs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refers {
    /// Takes it, calls, and tells how that went.
    Follow { with_replaces: bool },
    /// Takes it and does nothing.
    Ignore,
    /// Takes it, and its user says no to it.
    Decline,
    /// Answers this.
    Refuse(u16),
    /// Answers nothing.
    Silent,
}

/// One call of a phone.
pub(crate) struct Line {
    pub(crate) dialog: Dialog,
    /// The last final status of our INVITE or re-INVITE.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) phrase: String,
    /// The Warning in the last final answer.
    pub(crate) warning: String,
    /// The last answer to a request that is no INVITE.
    pub(crate) answer: Option<Message>,
    pub(crate) is_up: bool,
    pub(crate) is_over: bool,
    /// Why the other side said that it ended.
    pub(crate) reason: String,
    /// Descriptions that came, oldest first.
    pub(crate) heard: Vec<Bytes>,
    /// Sent in answers and offers.
    pub(crate) sdp: String,
    pub(crate) identity: Option<String>,
    /// What a REFER led to, from NOTIFYs.
    pub(crate) referred: Vec<String>,
    /// Where a 302 sent our INVITE.
    pub(crate) moved_to: Option<String>,
    /// Of a request outside dialogs that is no INVITE.
    method: Option<Method>,
    extra: Vec<(String, String)>,
    invite: Option<ServerTx>,
    accepted: Option<ServerTx>,
    client: Option<ClientTx>,
}

impl Line {
    fn new(dialog: Dialog, sdp: String) -> Self {
        Self {
            dialog,
            status: None,
            retry_after: None,
            phrase: String::new(),
            warning: String::new(),
            answer: None,
            is_up: false,
            is_over: false,
            reason: String::new(),
            heard: Vec::new(),
            sdp,
            identity: None,
            referred: Vec::new(),
            moved_to: None,
            method: None,
            extra: Vec::new(),
            invite: None,
            accepted: None,
            client: None,
        }
    }

    /// Whether a call rings here.
    pub(crate) fn rings(&self) -> bool {
        self.invite.is_some() && !self.is_up && !self.is_over
    }

    /// The last description that came.
    pub(crate) fn last_heard(&self) -> String {
        self.heard.last().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default()
    }
}

/// The phone.
pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// Of its Contact.
    pub(crate) scheme: &'static str,
    /// Behind an address translator: its contact is not where it comes from.
    pub(crate) is_translated: bool,
    /// Of a stream; a new one after it was closed.
    pub(crate) connection: u32,
    /// Whether the node may no longer find it in a dialog, since it went to another port.
    pub(crate) has_strayed: bool,
    pub(crate) name: String,
    pub(crate) auth_user: String,
    pub(crate) password: String,
    pub(crate) domain: String,
    pub(crate) answer: Answer,
    /// The answer to re-INVITEs; 200 unless told.
    pub(crate) reinvite: u16,
    /// The answer to in-dialog re-INVITEs is held back until [`Phone::release_reinvite`].
    pub(crate) holds_reinvites: bool,
    /// Whether a CANCEL ends what is held back.
    pub(crate) heeds_cancel: bool,
    pub(crate) acks: bool,
    /// What it does when it is asked to call.
    pub(crate) refers: Refers,
    /// Lines of REFERs that came, and of the calls that they led to.
    referrals: Vec<(usize, usize)>,
    pub(crate) codecs: &'static str,
    /// Refuses offers that have none of its codecs.
    pub(crate) is_picky: bool,
    /// What it does with a re-INVITE that has none of its codecs, if it is picky.
    pub(crate) unfit: Unfit,
    /// Kinds of media that it offers and takes.
    pub(crate) media: &'static [&'static str],
    /// How its media is protected.
    pub(crate) kind: Kind,
    /// What it says to an offer whose protection it has no use for.
    pub(crate) refusal: u16,
    pub(crate) lines: Vec<Line>,
    pub(crate) registered: Option<u16>,
    /// Bodies of NOTIFYs, and their state.
    pub(crate) notified: Vec<(String, String)>,
    /// Their CSeq numbers.
    pub(crate) notify_numbers: Vec<u32>,
    /// `User-Agent` in its REGISTER; empty: none.
    pub(crate) software: String,
    /// `Session-Expires` in our 2xx to INVITE and UPDATE; empty: the phone knows no session timer.
    pub(crate) session: &'static str,
    /// `Min-SE`, below which INVITE and UPDATE get 422.
    pub(crate) min_se: u32,
    /// What INVITE and UPDATE that came, and 2xx, said of the session: method or status, and `Session-Expires`.
    pub(crate) sessions: Vec<(String, String)>,
    /// The direction in its answers to re-INVITE and UPDATE.
    pub(crate) direction: &'static str,
    /// What it does before it answers.
    pub(crate) early: Early,
    /// Provisional responses to its INVITEs.
    pub(crate) progress: Vec<Progress>,
    /// Whether it acknowledges reliable ones.
    pub(crate) pracks: bool,
    /// What its next PRACK offers.
    pub(crate) prack_offer: String,
    /// Headers that go into re-INVITEs.
    pub(crate) reinvite_headers: Vec<(String, String)>,
    /// `Allow` of this phone.
    pub(crate) allow: &'static str,
    /// The answer to NOTIFYs; 0: none.
    pub(crate) notify_answer: u16,
    /// Final statuses of requests that are no INVITE: method and status.
    pub(crate) finals: Vec<(String, u16, Option<u32>)>,
    /// Texts of MESSAGEs that came, and what they are answered.
    pub(crate) texts: Vec<String>,
    pub(crate) text_answer: Option<StatusCode>,
    /// Methods that came in, in order.
    pub(crate) requests: Vec<String>,
    /// Credentials that it asks for.
    pub(crate) demand: Option<Demand>,
    held: Vec<(usize, ServerTx)>,
    transactions: Transactions<Want>,
    effects: Vec<Effect<Want>>,
    random: Random,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) tries: u32,
    count: u32,
    pub(crate) now: Now,
    registration: (String, u32),
}

/// What a request of ours is about, so that it can be sent again with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Register,
    Invite(usize),
    Reinvite(usize),
    Other(usize),
}

pub(crate) const ENGINE: &str = "192.0.2.1:5060";

impl Phone {
    pub(crate) fn new(account: &Account, device: usize, address: SocketAddr, seed: u64) -> Self {
        let mut random = Random::from_number(seed);
        let transactions = Transactions::new(transaction::Settings::default(), &mut random);
        let device = &account.devices[device];
        let registration = (random.token(), 0);
        Self {
            address,
            transport: Transport::Udp,
            scheme: "sip",
            is_translated: false,
            connection: 0,
            has_strayed: false,
            name: account.name.to_string(),
            auth_user: device.auth_user.to_string(),
            password: "secret".into(),
            domain: "example.org".into(),
            answer: Answer::Now,
            reinvite: 200,
            holds_reinvites: false,
            heeds_cancel: false,
            acks: true,
            refers: Refers::Follow { with_replaces: true },
            referrals: Vec::new(),
            codecs: "0 8 101",
            is_picky: false,
            unfit: Unfit::Refused,
            media: &["audio"],
            kind: Kind::Plain,
            refusal: 488,
            lines: Vec::new(),
            registered: None,
            notified: Vec::new(),
            notify_numbers: Vec::new(),
            software: String::new(),
            session: "",
            min_se: 0,
            sessions: Vec::new(),
            direction: "sendrecv",
            early: Early::No,
            progress: Vec::new(),
            pracks: true,
            prack_offer: String::new(),
            reinvite_headers: Vec::new(),
            allow: "INVITE, ACK, BYE, CANCEL, UPDATE, INFO, REFER, NOTIFY",
            notify_answer: 200,
            finals: Vec::new(),
            texts: Vec::new(),
            text_answer: Some(StatusCode::OK),
            requests: Vec::new(),
            demand: None,
            held: Vec::new(),
            transactions,
            effects: Vec::new(),
            random,
            challenge: None,
            tries: 0,
            count: 0,
            now: Now::default(),
            registration,
        }
    }

    /// Dials; the line's index.
    pub(crate) fn dial(&mut self, number: &str) -> usize {
        self.dial_with(number, &[], true)
    }

    pub(crate) fn dial_with(&mut self, number: &str, headers: &[(&str, &str)], offer: bool) -> usize {
        let line = self.open(number, headers);
        if offer {
            self.lines[line].sdp = self.sdp(line, "sendrecv");
        }
        self.invite(line, Want::Invite(line));
        line
    }

    /// A request outside dialogs; the line's index.
    pub(crate) fn request_to(&mut self, number: &str, method: &Method, headers: &[(&str, &str)]) -> usize {
        let line = self.open(number, headers);
        self.lines[line].method = Some(method.clone());
        self.send_again(line);
        line
    }

    /// A report of a call (RFC 6035), to the user's own address; the line's index.
    pub(crate) fn publish(&mut self, headers: &[(&str, &str)], body: &str) -> usize {
        let line = self.open(&self.name.clone(), headers);
        self.lines[line].method = Some(Method::Publish);
        self.lines[line].sdp = body.into();
        self.send_again(line);
        line
    }

    fn open(&mut self, number: &str, headers: &[(&str, &str)]) -> usize {
        let domain = self.domain.clone();
        let own = format!("<sip:{}@{domain}>", self.name);
        let uri = format!("sip:{number}@{domain}");
        let contact = self.contact();
        let dialog = Dialog {
            call_id: self.random.token().into(),
            local_tag: self.random.tag().into(),
            remote_tag: "".into(),
            local: own.into(),
            remote: format!("<{uri}>").into(),
            contact: contact.into(),
            is_secret: false,
            local_cseq: 0,
            remote_cseq: None,
            remote_invite: None,
            target: uri.into(),
            routes: Vec::new(),
            flow: self.flow_to(ENGINE.parse().unwrap()),
            sent_by: self.address.to_string().into(),
        };
        let mut line = Line::new(dialog, String::new());
        line.extra = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.lines.push(line);
        self.lines.len() - 1
    }

    fn send_again(&mut self, line: usize) {
        let Some(method) = self.lines[line].method.clone() else { return };
        let branch = self.branch();
        let uri = self.lines[line].dialog.target.to_string();
        let extra = self.lines[line].extra.clone();
        let mut writer = self.lines[line].dialog.request(&method, &branch);
        for (name, value) in &extra {
            writer.header(name.as_str(), value);
        }
        self.authorise(&mut writer, &method, &uri);
        writer.raw_body(self.lines[line].sdp.as_bytes());
        let bytes = writer.finish();
        self.send(&method, &branch, bytes, Want::Other(line));
    }

    fn invite(&mut self, line: usize, want: Want) {
        let branch = self.branch();
        let extra = self.lines[line].extra.clone();
        let sdp = self.lines[line].sdp.clone();
        let uri = self.lines[line].dialog.target.to_string();
        let mut writer = self.lines[line].dialog.request(&Method::Invite, &branch);
        writer.header(&HeaderName::Allow, self.allow);
        for (name, value) in &extra {
            writer.header(name.as_str(), value);
        }
        self.authorise(&mut writer, &Method::Invite, &uri);
        if !sdp.is_empty() {
            writer.body("application/sdp", sdp.as_bytes());
        }
        let bytes = writer.finish();
        let tx = self.send(&Method::Invite, &branch, bytes, want);
        self.lines[line].client = Some(tx);
        self.lines[line].status = None;
    }

    pub(crate) fn reinvite(&mut self, line: usize, direction: &str) {
        self.reinvite_with(line, self.sdp(line, direction));
    }

    pub(crate) fn reinvite_with(&mut self, line: usize, sdp: String) {
        self.lines[line].sdp = sdp;
        self.lines[line].extra.clone_from(&self.reinvite_headers);
        self.invite(line, Want::Reinvite(line));
    }

    /// A request in a line's dialog.
    pub(crate) fn request(&mut self, line: usize, method: &Method, headers: &[(&str, &str)], body: &[u8]) {
        let branch = self.branch();
        let uri = self.lines[line].dialog.target.to_string();
        let mut writer = self.lines[line].dialog.request(method, &branch);
        for (name, value) in headers {
            writer.header(*name, value);
        }
        self.authorise(&mut writer, method, &uri);
        if !body.is_empty() {
            writer.raw_body(body);
        }
        let bytes = writer.finish();
        self.send(method, &branch, bytes, Want::Other(line));
    }

    pub(crate) fn bye(&mut self, line: usize) {
        self.lines[line].is_over = true;
        self.request(line, &Method::Bye, &[], b"");
    }

    pub(crate) fn cancel(&mut self, line: usize) {
        if let Some(tx) = self.lines[line].client {
            self.transactions.cancel(self.now.at, tx, None, &mut self.effects);
        }
    }

    /// Picks up what rings.
    pub(crate) fn pick_up(&mut self, line: usize) {
        let Some(tx) = self.lines[line].invite.take() else { return };
        if self.lines[line].sdp.is_empty() {
            self.lines[line].sdp = self.sdp(line, "sendrecv");
        }
        let (dialog, sdp) = (self.lines[line].dialog.clone(), self.lines[line].sdp.clone());
        let Some(mut writer) = self.transactions.reply(tx, StatusCode::OK, None, Some(&dialog.local_tag))
        else {
            return;
        };
        writer.header(&HeaderName::Contact, &format!("<{}>", dialog.contact));
        writer.header(&HeaderName::Allow, self.allow);
        if !self.session.is_empty() {
            writer.header(&HeaderName::Supported, "timer");
            writer.header(&HeaderName::SessionExpires, self.session);
        }
        if self.early != Early::Settled || self.lines[line].is_up {
            writer.body("application/sdp", sdp.as_bytes());
        }
        let bytes = writer.finish();
        self.transactions.respond(self.now.at, tx, StatusCode::OK, bytes, &mut self.effects);
        self.lines[line].accepted = Some(tx);
        self.lines[line].is_up = true;
    }

    pub(crate) fn refuse(&mut self, line: usize, status: u16) {
        self.refuse_with(line, status, &[]);
    }

    pub(crate) fn refuse_with(&mut self, line: usize, status: u16, headers: &[(&str, &str)]) {
        let Some(tx) = self.lines[line].invite.take() else { return };
        let (tag, status) = (self.lines[line].dialog.local_tag.clone(), StatusCode::new(status).unwrap());
        self.lines[line].is_over = true;
        let Some(mut writer) = self.transactions.reply(tx, status, None, Some(&tag)) else { return };
        for (name, value) in headers {
            writer.header(*name, value);
        }
        let bytes = writer.finish();
        self.transactions.respond(self.now.at, tx, status, bytes, &mut self.effects);
    }

    pub(crate) fn release_reinvites(&mut self) {
        for (line, tx) in std::mem::take(&mut self.held) {
            self.answer_reinvite(line, tx);
        }
    }

    fn answer_reinvite(&mut self, line: usize, tx: ServerTx) {
        let tag = self.lines[line].dialog.local_tag.clone();
        if self.reinvite != 200 {
            self.reply(tx, StatusCode::new(self.reinvite).unwrap(), &tag);
            return;
        }
        self.lines[line].invite = Some(tx);
        self.lines[line].sdp = self.sdp(line, self.direction);
        self.pick_up(line);
    }

    fn reply(&mut self, tx: ServerTx, status: StatusCode, tag: &str) {
        if let Some(mut writer) = self.transactions.reply(tx, status, None, Some(tag)) {
            let bytes = writer.finish();
            self.transactions.respond(self.now.at, tx, status, bytes, &mut self.effects);
        }
    }

    fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.random.tag())
    }

    /// The value of Authorization for a request, once there was a challenge.
    pub(crate) fn credentials(&mut self, method: &Method, uri: &str) -> Option<String> {
        self.count += 1;
        let cnonce = self.random.tag();
        let secret = Secret::Password(&self.password);
        self.challenge.as_ref()?.answer(&self.auth_user, secret, method, uri, &cnonce, self.count)
    }

    /// Answers the challenge of `message`, from here on with every request.
    pub(crate) fn challenged_by(&mut self, message: &Message) {
        let header = message.header(HeaderName::WwwAuthenticate);
        self.challenge = header.and_then(|header| Challenge::parse(header.value).ok());
        self.count = 0;
    }

    fn send(&mut self, method: &Method, branch: &str, bytes: Bytes, want: Want) -> ClientTx {
        let flow = self.flow_to(ENGINE.parse().unwrap());
        self.transactions.request(self.now.at, flow, method, branch, bytes, want, &mut self.effects)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.transactions.poll_timeout()
    }

    /// Does what is due, and gives what is to be sent.
    pub(crate) fn step(&mut self, now: Now, arrived: Option<Bytes>) -> Vec<Bytes> {
        self.now = now;
        self.transactions.handle_timeout(now.at, &mut self.effects);
        if let Some(bytes) = arrived
            && let Ok(message) = Message::parse(bytes, &Limits::default())
        {
            let flow = self.flow_to(ENGINE.parse().unwrap());
            self.transactions.receive(now.at, flow, message, &mut self.effects);
        }
        let mut sent = Vec::new();
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Send { bytes, .. } => sent.push(bytes),
                    Effect::Request { tx, message, .. } => self.on_request(tx, &message),
                    Effect::Response { tx, owner, message, .. } => self.on_response(tx, owner, &message),
                    Effect::Cancelled { tx, message, .. } => self.on_cancelled(tx, &message),
                    Effect::Ack { message, .. } => self.on_ack(&message),
                    Effect::Timeout { owner, .. } | Effect::Failed { owner, .. } => {
                        self.on_final(owner, 408, None, "")
                    }
                    Effect::Stray { .. } | Effect::AckTimeout { .. } | Effect::Overloaded { .. } => {}
                }
            }
        }
        sent
    }
}
