//! Who calls: INVITE, ACK, and BYE when the talk is over.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::{Duration, Instant};

use segue::wire::sip::{HeaderName, Message, Method};

use super::{PATIENCE, REPETITIONS, description, each, lines};
use crate::Calls;
use crate::figures::Times;
use crate::net;

enum Stage {
    /// No answer yet.
    Inviting,
    /// A provisional answer came: the server owes the final one (RFC 3261 17.1.1.2).
    Ringing,
    Up,
    Ending,
    Ended,
}

struct Call {
    begun: Instant,
    stage: Stage,
    /// What is repeated: INVITE, then ACK when its answer comes again, then BYE.
    last: String,
    sent: Instant,
    repeated: u32,
}

pub(super) struct Caller<'o> {
    options: &'o Calls,
    pub(super) socket: Rc<UdpSocket>,
    run: u32,
    calls: Vec<Call>,
    /// When the BYE of which call is due, in order.
    byes: VecDeque<(Instant, usize, String)>,
    /// When what call is looked at again, in order.
    patience: VecDeque<(Instant, usize)>,
    pub(super) up: u64,
    done: u64,
    pub(super) failed: u64,
    pub(super) repeated: u64,
    /// INVITE to 200.
    pub(super) setup: Times,
}

impl<'o> Caller<'o> {
    pub(super) fn new(options: &'o Calls) -> Self {
        Self {
            options,
            socket: Rc::new(net::socket(options.caller)),
            run: std::process::id(),
            calls: Vec::new(),
            byes: VecDeque::new(),
            patience: VecDeque::new(),
            up: 0,
            done: 0,
            failed: 0,
            repeated: 0,
            setup: Times::default(),
        }
    }

    pub(super) fn ended(&self) -> u64 {
        self.done + self.failed
    }

    pub(super) fn call(&mut self, now: Instant) {
        let n = self.calls.len();
        let Calls { server, user, caller, .. } = self.options;
        let (run, host) = (self.run, server.to);
        let body = description(caller.ip(), 40_000);
        let invite = format!(
            "INVITE sip:{user}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};rport;branch=z9hG4bKi{run}-{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@{caller}>;tag=f{n}\r\nTo: <sip:{user}@{host}>\r\n\
             Call-ID: {run}-{n}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{caller}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        net::send(&self.socket, host, invite.as_bytes());
        self.calls.push(Call { begun: now, stage: Stage::Inviting, last: invite, sent: now, repeated: 0 });
        self.patience.push_back((now + PATIENCE, n));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.byes.front().map(|(due, ..)| *due)
    }

    pub(super) fn turn(&mut self, now: Instant) {
        let socket = Rc::clone(&self.socket);
        each(&socket, |message| self.hear(message, now));
        while self.byes.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, n, bye)) = self.byes.pop_front() else { return };
            net::send(&self.socket, self.options.server.to, bye.as_bytes());
            let call = &mut self.calls[n];
            (call.stage, call.last, call.sent, call.repeated) = (Stage::Ending, bye, now, 0);
            self.patience.push_back((now + PATIENCE, n));
        }
        while self.patience.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, n)) = self.patience.pop_front() else { return };
            self.look_again(n, now);
        }
    }

    fn look_again(&mut self, n: usize, now: Instant) {
        let call = &mut self.calls[n];
        if now < call.sent + PATIENCE {
            // It was about something earlier.
            return;
        }
        match call.stage {
            Stage::Up | Stage::Ended => return,
            // Not repeated once a provisional answer came; it may still fail.
            Stage::Ringing => {}
            Stage::Inviting | Stage::Ending => {
                self.repeated += 1;
                net::send(&self.socket, self.options.server.to, call.last.as_bytes());
            }
        }
        call.sent = now;
        call.repeated += 1;
        if call.repeated > REPETITIONS {
            call.stage = Stage::Ended;
            self.failed += 1;
        } else {
            self.patience.push_back((now + PATIENCE, n));
        }
    }

    fn hear(&mut self, message: &Message, now: Instant) {
        let number = message.call_id().ok().and_then(|id| id.rsplit_once('-')?.1.parse::<usize>().ok());
        let (Some(n), Some(status)) = (number, message.status()) else { return };
        let Some(call) = self.calls.get_mut(n) else { return };
        match (&call.stage, message.method(), status.as_u16()) {
            (Stage::Inviting, Method::Invite, 100..=199) => call.stage = Stage::Ringing,
            (Stage::Inviting | Stage::Ringing, Method::Invite, 200..=299) => {
                self.setup.add(now.duration_since(call.begun).as_micros() as u64);
                self.answered(n, message, now);
            }
            // Our ACK was lost or late.
            (Stage::Up, Method::Invite, 200..=299) => {
                self.repeated += 1;
                net::send(&self.socket, self.options.server.to, call.last.as_bytes());
            }
            (Stage::Inviting | Stage::Ringing, Method::Invite, 300..) => {
                call.stage = Stage::Ended;
                self.failed += 1;
            }
            (Stage::Ending, Method::Bye, 200) => {
                call.stage = Stage::Ended;
                self.done += 1;
            }
            (Stage::Ending, Method::Bye, 300..) => {
                call.stage = Stage::Ended;
                self.failed += 1;
            }
            _ => {}
        }
    }

    fn answered(&mut self, n: usize, answer: &Message, now: Instant) {
        let Calls { server, caller, talk_ms, held, .. } = self.options;
        let run = self.run;
        let contact = answer.contact().expect("a Contact in the 200");
        let to = lines(answer, HeaderName::To).join(",");
        // The route set is what was recorded, the other way round (RFC 3261 12.1.2).
        let mut routes = lines(answer, HeaderName::RecordRoute);
        routes.reverse();
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let request = |method: &str, cseq: u32, branch: char| {
            format!(
                "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};rport;branch=z9hG4bK{branch}{run}-{n}\r\n\
                 Max-Forwards: 70\r\n{routes}From: <sip:caller@{caller}>;tag=f{n}\r\nTo: {to}\r\n\
                 Call-ID: {run}-{n}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
                contact.uri
            )
        };
        let ack = request("ACK", 1, 'a');
        net::send(&self.socket, server.to, ack.as_bytes());
        if !held {
            self.byes.push_back((now + Duration::from_millis(*talk_ms), n, request("BYE", 2, 'b')));
        }
        let call = &mut self.calls[n];
        (call.stage, call.last, call.repeated) = (Stage::Up, ack, 0);
        self.up += 1;
    }
}
