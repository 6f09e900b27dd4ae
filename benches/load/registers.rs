//! Registrations with digest, in two steps as a phone makes them after a start.

use std::time::{Duration, Instant};

use bytes::Bytes;
use segue::sip::digest::{Challenge, Secret};
use segue::wire::sip::{HeaderName, Limits, Message, Method};

use crate::figures::{Times, per, verdict};
use crate::net::{self, Pace};
use crate::{Registers, process};

/// After which a request is repeated, and how often.
const PATIENCE: Duration = Duration::from_millis(500);
const REPETITIONS: u32 = 8;

/// One registration under way.
struct Phone {
    begun: Instant,
    asked: Instant,
    repeated: u32,
    authorization: Option<String>,
    is_done: bool,
}

struct Load<'o> {
    options: &'o Registers,
    socket: std::net::UdpSocket,
    run: u32,
    phones: Vec<Phone>,
    /// The first that may not be done.
    oldest: usize,
    done: u64,
    failed: u64,
    repeated: u64,
    times: Times,
}

pub(crate) fn run(options: &Registers) {
    net::wake_in_time();
    let socket = net::socket(options.phone);
    let mut load = Load {
        options,
        socket,
        run: std::process::id(),
        phones: Vec::new(),
        oldest: 0,
        done: 0,
        failed: 0,
        repeated: 0,
        times: Times::default(),
    };
    let before = options.server.pid.map(process::cpu);
    let mut pace = Pace::new(options.rate, options.count);
    let mut last = Instant::now();
    while load.done + load.failed < options.count {
        let now = Instant::now();
        while let Some(n) = pace.due(now) {
            last = now;
            load.phones.push(Phone {
                begun: now,
                asked: now,
                repeated: 0,
                authorization: None,
                is_done: false,
            });
            load.ask(n as usize);
        }
        load.hear(now);
        load.repeat(now);
        let next = pace.next().unwrap_or(now + Duration::from_millis(5));
        net::wait(&[&load.socket], next.saturating_duration_since(Instant::now()));
    }
    let cpu = before.zip(options.server.pid).map(|(before, pid)| process::cpu(pid) - before);
    println!(
        "registers={} rate={:.0} failed={} repeated={} clean={} per_1000={} p50_ms={:.2} p99_ms={:.2}",
        options.count,
        pace.reached(last),
        load.failed,
        load.repeated,
        verdict(options.count, load.failed, load.repeated, (pace.reached(last), options.rate)),
        per(cpu, options.count, 1000.0),
        load.times.at(500),
        load.times.at(990),
    );
}

impl Load<'_> {
    fn ask(&self, n: usize) {
        let Registers { server, users, phone, .. } = self.options;
        let (run, host, user) = (self.run, server.to.ip(), n as u64 % users);
        let authorization = self.phones[n].authorization.as_deref();
        let step = 1 + u32::from(authorization.is_some());
        let mut text = format!(
            "REGISTER sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {phone};rport;branch=z9hG4bK{run}-{n}-{step}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:user{user}@{host}>;tag=f{n}\r\nTo: <sip:user{user}@{host}>\r\n\
             Call-ID: {run}-{n}\r\nCSeq: {step} REGISTER\r\nContact: <sip:user{user}@{phone}>;expires=600\r\n"
        );
        if let Some(value) = authorization {
            text += &format!("Authorization: {value}\r\n");
        }
        text += "Content-Length: 0\r\n\r\n";
        net::send(&self.socket, server.to, text.as_bytes());
    }

    fn hear(&mut self, now: Instant) {
        let mut room = [0; 4096];
        while let Some((bytes, _)) = net::receive(&self.socket, &mut room) {
            let message =
                Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()).expect("an answer");
            let number = message.call_id().ok().and_then(|id| id.rsplit_once('-')?.1.parse::<usize>().ok());
            let Some(n) = number.filter(|n| *n < self.phones.len() && !self.phones[*n].is_done) else {
                continue;
            };
            match message.status().map(|status| status.as_u16()) {
                Some(100..=199) => {}
                Some(401) if self.phones[n].authorization.is_none() => self.prove(n, &message, now),
                // The challenge of a request that was repeated.
                Some(401) if message.cseq().is_ok_and(|cseq| cseq.number == 1) => {}
                Some(200) => {
                    self.phones[n].is_done = true;
                    self.done += 1;
                    self.times.add(now.duration_since(self.phones[n].begun).as_micros() as u64);
                }
                _ => self.fail(n),
            }
        }
    }

    fn prove(&mut self, n: usize, message: &Message, now: Instant) {
        let Registers { server, users, password, .. } = self.options;
        let challenge = message.header(HeaderName::WwwAuthenticate).expect("a challenge");
        let challenge = Challenge::parse(challenge.value).expect("a challenge in MD5");
        let (user, uri) = (format!("user{}", n as u64 % users), format!("sip:{}", server.to.ip()));
        let secret = Secret::Password(password);
        let value = challenge.answer(&user, secret, &Method::Register, &uri, &format!("{n:08x}"), 1);
        let phone = &mut self.phones[n];
        (phone.authorization, phone.asked, phone.repeated) = (value, now, 0);
        self.ask(n);
    }

    fn fail(&mut self, n: usize) {
        self.phones[n].is_done = true;
        self.failed += 1;
    }

    fn repeat(&mut self, now: Instant) {
        while self.phones.get(self.oldest).is_some_and(|phone| phone.is_done) {
            self.oldest += 1;
        }
        // Asked for in order, so that nobody behind one who still has time is late.
        for n in self.oldest..self.phones.len() {
            if now.duration_since(self.phones[n].begun) < PATIENCE {
                break;
            }
            if self.phones[n].is_done || now.duration_since(self.phones[n].asked) < PATIENCE {
                continue;
            }
            if self.phones[n].repeated == REPETITIONS {
                self.fail(n);
                continue;
            }
            self.phones[n].asked = now;
            self.phones[n].repeated += 1;
            self.repeated += 1;
            self.ask(n);
        }
    }
}
