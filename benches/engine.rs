//! What the engine costs: calls between two trunks, registrations with digest, moves. Sans-IO: no socket, no thread.
//!
//! `cargo bench --no-default-features --bench engine`. A call is INVITE, 180, 200, ACK, BYE, 200 on both sides, with
//! 32 s of earlier ones lingering in the transaction tables once warmed up; the peers' own work (copying headers of a
//! request into an answer) is counted with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot set itself up has nothing to say"
)]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use segue::base::{Now, Random, Timestamp, UnixMillis};
use segue::call::rules::{self, Goal, Pattern, Rule};
use segue::call::settings::{self, Anchor, Listener, Source, Trunk};
use segue::call::targets::Target;
use segue::engine::settings::Ban;
use segue::engine::store::{Loaded, StoreReply};
use segue::engine::trace::Settings as Trace;
use segue::engine::{Engine, Input, Output, Settings};
use segue::media::plan::Screen;
use segue::media::relay::{Learning, MediaCommand, MediaEvent, PortId, PortPair};
use segue::registrar::accounts::{Account, Accounts, Device, Origin, Pull, Tenure, Trust};
use segue::sip::digest::{Algorithm, Challenge, Ha1s, Secret};
use segue::sip::{Flow, Transport};
use segue::wire::sip::{HeaderName, Limits, Message, Method};

fn main() {
    divan::main();
}

const ENGINE: &str = "192.0.2.1:5060";
const CALLER: &str = "198.51.100.1:5060";
const CALLEE: &str = "198.51.100.2:5060";

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
                   a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

fn trunk(name: &str, peer: &str) -> Trunk {
    let peer: SocketAddr = peer.parse().unwrap();
    Trunk {
        name: name.into(),
        host: peer.to_string().into(),
        targets: vec![Target { transport: Transport::Udp, peer }],
        from: vec![Source { network: peer.ip(), prefix: 32, port: None }],
        auth: None,
        register: false,
        ping: None,
        ..Trunk::default()
    }
}

fn configured(anchor: Anchor, trace: Trace) -> Settings {
    let address: SocketAddr = ENGINE.parse().unwrap();
    let media = settings::MediaSettings {
        anchor,
        bind: address.ip(),
        address: address.ip(),
        loopback: IpAddr::from([127, 0, 0, 1]),
        address_v6: None,
        timeout: None,
        learning: Learning::Guarded,
        srtp: segue::media::plan::Rule::PlainOnly,
        threads: 1,
        pairs: usize::MAX,
        transcode: 0,
        web: None,
        screen: Screen {
            own_addresses: vec![address.ip()],
            own_ports: std::sync::Arc::default(),
            limits: segue::wire::sdp::Limits::default(),
        },
    };
    let call = settings::Settings {
        node: "edge1".into(),
        domain: "example.org".into(),
        aliases: Vec::new(),
        software: "segue".into(),
        listeners: vec![Listener::new(Transport::Udp, address, address)],
        media,
        algorithms: vec![Algorithm::Md5],
        trunks: vec![trunk("in", CALLER), trunk("out", CALLEE)],
        routes: vec![Rule {
            number: Some(Pattern(regex::Regex::new("^[0-9]+$").unwrap())),
            sources: vec![rules::Source::Trunk("in".into())],
            to: vec![Goal::Trunk("out".into())],
            ..Rule::default()
        }],
        groups: Vec::new(),
        zone: segue::base::Zone::default(),
        quirks: segue::call::quirks::QuirkTable::default(),
        echo: None,
        tone: None,
        runs: None,
        tells_quality: false,
        limits: settings::Limits::default(),
    };
    Settings {
        limits: Limits::default(),
        transactions: segue::sip::transaction::Settings::default(),
        registrar: segue::registrar::Settings {
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            max_bindings: 10,
            own: segue::registrar::Own::default(),
        },
        call,
        moving: segue::moving::Settings::default(),
        ban: Ban::default(),
        trace,
        capture: segue::engine::capture::Settings::default(),
        realm: "example.org".into(),
        contact_key: [0; 32],
    }
}

/// The engine and who it talks with.
struct Load {
    engine: Engine,
    now: Now,
    outputs: Vec<Output>,
    inputs: Vec<Input>,
    ports: u32,
    count: u64,
    /// Time between two calls.
    pace: Duration,
}

impl Load {
    fn new(anchor: Anchor, trace: Trace) -> Self {
        let now = Now { at: Timestamp::from_micros(1_000_000), unix: UnixMillis(1_800_000_000_000) };
        let engine = Engine::new(
            configured(anchor, trace),
            accounts(),
            &Loaded::default(),
            0,
            Random::from_number(1),
            now,
        );
        let pace = Duration::from_micros(1000);
        let mut load =
            Self { engine, now, outputs: Vec::new(), inputs: Vec::new(), ports: 0, count: 0, pace };
        load.collect();
        load
    }

    fn feed(&mut self, from: &str, bytes: Bytes) {
        let flow =
            Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: from.parse().unwrap() };
        self.engine.handle_input(self.now, Input::Received { flow, bytes });
        self.collect();
    }

    /// Takes what is to be done; answers what is not the network's.
    fn collect(&mut self) {
        loop {
            let begin = self.outputs.len();
            self.engine.take_outputs(&mut self.outputs);
            for output in self.outputs.drain(begin..).collect::<Vec<_>>() {
                match output {
                    Output::Send { .. } => self.outputs.push(output),
                    Output::Store { ticket, .. } => {
                        self.inputs.push(Input::Stored { ticket, reply: StoreReply::Done });
                    }
                    Output::Media(MediaCommand::OpenPorts { thread, address, count }) => {
                        let pairs = (0..count)
                            .map(|_| {
                                self.ports += 1;
                                let id = PortId { thread, slot: self.ports };
                                PortPair { id, address, rtp: (20_000 + 2 * (self.ports % 10_000)) as u16 }
                            })
                            .collect();
                        self.inputs.push(Input::Media(MediaEvent::PortsOpened { thread, pairs }));
                    }
                    _ => {}
                }
            }
            if self.inputs.is_empty() {
                return;
            }
            for input in std::mem::take(&mut self.inputs) {
                self.engine.handle_input(self.now, input);
            }
        }
    }

    /// The one message that was sent to `to` and starts with `start`.
    fn sent(&mut self, to: &str, start: &[u8]) -> Bytes {
        let to: SocketAddr = to.parse().unwrap();
        let found = self.outputs.iter().position(|output| {
            matches!(output, Output::Send { flow, bytes } if flow.peer == to && bytes.starts_with(start))
        });
        match found.map(|at| self.outputs.swap_remove(at)) {
            Some(Output::Send { bytes, .. }) => bytes,
            _ => panic!("{:?} was not sent, but {:?}", String::from_utf8_lossy(start), self.outputs),
        }
    }

    fn tick(&mut self) {
        self.count += 1;
        self.now.at = self.now.at + self.pace;
        self.now.unix.0 = 1_800_000_000_000 + self.now.at.as_micros() / 1000;
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now.at) {
            self.engine.handle_timeout(self.now);
            self.collect();
        }
        self.outputs.clear();
    }

    fn call(&mut self) {
        self.tick();
        let n = self.count;
        let head = |method: &str, uri: &str, cseq: u32, to_tag: &str, branch: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}{n}\r\n\
                 From: <sip:1@{CALLER}>;tag=c{n}\r\nTo: <sip:2@{ENGINE}>{to_tag}\r\nCall-ID: {n}@bench\r\n\
                 CSeq: {cseq} {method}\r\nContact: <sip:1@{CALLER}>\r\nMax-Forwards: 70\r\n"
            )
        };
        let invite = head("INVITE", &format!("sip:2@{ENGINE}"), 1, "", "i")
            + &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len());
        self.feed(CALLER, invite.into());
        let invite = self.sent(CALLEE, b"INVITE");
        self.feed(CALLEE, reply(&invite, "180 Ringing", ""));
        self.sent(CALLER, b"SIP/2.0 180");
        self.feed(CALLEE, reply(&invite, "200 OK", SDP));
        self.sent(CALLEE, b"ACK");
        let accepted = self.sent(CALLER, b"SIP/2.0 200");
        let (target, tag) = dialog_of(&accepted);
        self.feed(CALLER, (head("ACK", &target, 1, &tag, "a") + "Content-Length: 0\r\n\r\n").into());
        self.feed(CALLER, (head("BYE", &target, 2, &tag, "b") + "Content-Length: 0\r\n\r\n").into());
        let bye = self.sent(CALLEE, b"BYE");
        self.sent(CALLER, b"SIP/2.0 200");
        self.feed(CALLEE, reply(&bye, "200 OK", ""));
    }
}

fn accounts() -> Accounts {
    let mut accounts = Accounts::default();
    let ha1 = Ha1s::from_password("alice-desk", "example.org", "secret");
    let device = Device {
        id: "desk".into(),
        auth_user: "alice-desk".into(),
        ha1,
        trust: Trust::Personal,
        auto_answer: false,
        pull: Pull::Direct,
        tenure: Tenure::Kept,
    };
    let account = Account {
        name: "alice".into(),
        display: None,
        extension: Some("1001".into()),
        algorithms: Vec::new(),
        login: None,
        admin: false,
        pin: None,
        hold_off: None,
        watchers: Vec::new(),
        devices: vec![device],
        pbx: None,
        origin: Origin::File,
    };
    accounts.put(account).unwrap();
    accounts
}

/// An answer as a peer writes it: what must be repeated is.
fn reply(request: &[u8], status: &str, body: &str) -> Bytes {
    let text = std::str::from_utf8(request).unwrap();
    let mut answer = format!("SIP/2.0 {status}\r\n");
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with("To:") {
            answer += line;
            answer += if line.contains(";tag=") { "\r\n" } else { ";tag=callee\r\n" };
        } else if ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
            answer += line;
            answer += "\r\n";
        }
    }
    answer += &format!("Contact: <sip:2@{CALLEE}>\r\n");
    if !body.is_empty() {
        answer += "Content-Type: application/sdp\r\n";
    }
    answer += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    answer.into()
}

fn dialog_of(response: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(response).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    let contact = line("Contact:").split(['<', '>']).nth(1).unwrap().to_owned();
    let tag = line("To:").split(";tag=").nth(1).unwrap();
    (contact, format!(";tag={tag}"))
}

fn bench_calls(bencher: Bencher<'_, '_>, anchor: Anchor, trace: Trace) {
    let load = RefCell::new(Load::new(anchor, trace));
    for _ in 0..40_000 {
        load.borrow_mut().call();
    }
    bencher.bench_local(|| load.borrow_mut().call());
}

/// Media passes us by.
#[divan::bench(sample_count = 200, sample_size = 50)]
fn call_unanchored(bencher: Bencher<'_, '_>) {
    bench_calls(bencher, Anchor::Never, Trace::OFF);
}

/// Media runs through us: four descriptions, two port pairs.
#[divan::bench(sample_count = 200, sample_size = 50)]
fn call_anchored(bencher: Bencher<'_, '_>) {
    bench_calls(bencher, Anchor::Always, Trace::OFF);
}

/// The same, and the messages are kept as a node does it unless it is told otherwise.
#[divan::bench(sample_count = 200, sample_size = 50)]
fn call_anchored_traced(bencher: Bencher<'_, '_>) {
    bench_calls(bencher, Anchor::Always, Trace { bytes: 16 << 20, age: Duration::from_secs(3600) });
}

/// A refresh with credentials of a known nonce.
#[divan::bench(sample_count = 200, sample_size = 50)]
fn register(bencher: Bencher<'_, '_>) {
    let load = RefCell::new(Load::new(Anchor::Never, Trace::OFF));
    let count = RefCell::new(0_u32);
    let write = |n: u32, authorization: &str| -> Bytes {
        format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP {CALLEE};branch=z9hG4bKr{n}\r\n\
             From: <sip:alice@example.org>;tag=r{n}\r\nTo: <sip:alice@example.org>\r\nCall-ID: r@bench\r\n\
             CSeq: {n} REGISTER\r\nContact: <sip:alice@{CALLEE}>\r\nExpires: 3600\r\nMax-Forwards: 70\r\n\
             {authorization}Content-Length: 0\r\n\r\n"
        )
        .into()
    };
    load.borrow_mut().feed(CALLEE, write(1, ""));
    let refusal = load.borrow_mut().sent(CALLEE, b"SIP/2.0 401");
    let refusal = Message::parse(refusal, &Limits::default()).unwrap();
    let challenge = Challenge::parse(refusal.header(HeaderName::WwwAuthenticate).unwrap().value).unwrap();
    let refresh = || {
        let (mut load, mut count) = (load.borrow_mut(), count.borrow_mut());
        *count += 1;
        load.tick();
        let secret = Secret::Password("secret");
        let value = challenge
            .answer("alice-desk", secret, &Method::Register, "sip:example.org", "c", *count)
            .unwrap();
        let bytes = write(*count + 1, &format!("Authorization: {value}\r\n"));
        load.feed(CALLEE, bytes);
        load.sent(CALLEE, b"SIP/2.0 200");
    };
    bencher.bench_local(refresh);
}
