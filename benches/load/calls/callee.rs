//! Who is called: 180 at once, 200 when it has rung long enough.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use segue::wire::sip::{HeaderName, Message, MessageWriter, Method, StatusCode};

use super::{PATIENCE, REPETITIONS, RINGS, description, each};
use crate::{Calls, net};

/// What is owed to a call.
struct Call {
    answer: Bytes,
    is_acked: bool,
    repeated: u32,
}

pub(super) struct Callee {
    at: SocketAddr,
    pub(super) socket: Rc<UdpSocket>,
    server: SocketAddr,
    description: String,
    calls: BTreeMap<String, Call>,
    /// When the 200 of which call is due, first or again, in order of each.
    answers: VecDeque<(Instant, String)>,
    repetitions: VecDeque<(Instant, String)>,
    pub(super) repeated: u64,
}

impl Callee {
    pub(super) fn new(options: &Calls) -> Self {
        Self {
            at: options.callee,
            socket: Rc::new(net::socket(options.callee)),
            server: options.server.to,
            description: description(options.callee.ip(), 40_002),
            calls: BTreeMap::new(),
            answers: VecDeque::new(),
            repetitions: VecDeque::new(),
            repeated: 0,
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.answers.front().map(|(due, _)| *due)
    }

    pub(super) fn turn(&mut self, now: Instant) {
        let socket = Rc::clone(&self.socket);
        each(&socket, |message| self.hear(message, now));
        while self.answers.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.answers.pop_front() else { return };
            if let Some(call) = self.calls.get(&id) {
                net::send(&self.socket, self.server, &call.answer);
                self.repetitions.push_back((now + PATIENCE, id));
            }
        }
        while self.repetitions.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.repetitions.pop_front() else { return };
            let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_acked) else { continue };
            net::send(&self.socket, self.server, &call.answer);
            self.repeated += 1;
            call.repeated += 1;
            if call.repeated < REPETITIONS {
                self.repetitions.push_back((now + PATIENCE, id));
            }
        }
    }

    fn hear(&mut self, message: &Message, now: Instant) {
        if !message.is_request() {
            return;
        }
        let id = message.call_id().expect("a Call-ID").to_owned();
        match message.method() {
            Method::Invite if self.calls.contains_key(&id) => self.repeated += 1,
            Method::Invite => {
                net::send(&self.socket, self.server, &self.reply(message, StatusCode::RINGING, &id).finish());
                let mut answer = self.reply(message, StatusCode::OK, &id);
                let answer = answer.body("application/sdp", self.description.as_bytes()).finish();
                self.calls.insert(id.clone(), Call { answer, is_acked: false, repeated: 0 });
                self.answers.push_back((now + RINGS, id));
            }
            Method::Ack => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.is_acked = true;
                }
            }
            _ => {
                // A BYE that comes again is answered again.
                self.calls.remove(&id);
                net::send(&self.socket, self.server, &self.reply(message, StatusCode::OK, &id).finish());
            }
        }
    }

    fn reply<'b>(&self, request: &Message, status: StatusCode, id: &str) -> MessageWriter<'b> {
        let tag = format!("t{id}");
        let mut writer = MessageWriter::reply_from(request, status, None, self.server, Some(&tag));
        for route in request.all(HeaderName::RecordRoute) {
            writer.copy(&route);
        }
        writer.header(&HeaderName::Contact, &format!("<sip:bench@{}>", self.at));
        writer
    }
}
