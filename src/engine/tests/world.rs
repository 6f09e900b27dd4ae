//! The world around one engine: a clock, a network, a store, media threads, phones.

mod configured;
mod media;
mod ports;

pub(crate) use configured::settings;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::phone::Phone;
use crate::base::{Now, Random, Timestamp, UnixMillis};
use crate::call::policy::Policy;
use crate::call::record::CallRecord;
use crate::call::rules::{Goal, LastWord, Pattern, Rule};
use crate::call::settings;
use crate::call::targets::Target;
use crate::engine::capture::Capture;
use crate::engine::command::{Asked, Command, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket, Unavailable};
use crate::engine::view::{MoveView, Page};
use crate::engine::{CommandId, Engine, Input, Output, Reconfigured, Settings};
use crate::media::relay::{MediaCommand, MediaEvent, PortId, Sink};
use crate::registrar::accounts::{Account, Accounts, Device, Origin, Pull, Tenure, Trust};
use crate::sip::digest::Ha1s;
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Limits, Message, StatusCode};

/// Datagrams that are kept when they are captured.
const MOST_CAPTURED: usize = 64;

/// What is on its way.
enum Going {
    ToEngine(Flow, Bytes),
    ToPhone(Flow, Bytes),
    Input(Box<Input>),
}

/// What the network does to datagrams.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// In thousandths.
    pub(crate) loss: u64,
    /// Of what arrives, how much does so twice, in thousandths.
    pub(crate) twice: u64,
}

/// Everything.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    pub(crate) phones: Vec<Phone>,
    pub(crate) network: Network,
    /// Whether the store takes anything.
    pub(crate) store_works: bool,
    /// Whether the store answers at all.
    pub(crate) store_answers: bool,
    /// Names of devices whose media never comes, as `user*device`.
    pub(crate) silent: Vec<String>,
    /// Pairs of ports that may still be opened.
    pub(crate) openable: u16,
    /// Packets that each port will have expected.
    pub(crate) expected: u64,
    /// How many of them it will have lost, where that is not 6.
    pub(crate) lost: BTreeMap<PortId, i64>,
    pub(crate) events: Vec<Event>,
    pub(crate) records: Vec<CallRecord>,
    pub(crate) to_capture_server: Vec<Capture>,
    pub(crate) stored: Vec<StoreOp>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) reconfigured: Vec<Reconfigured>,
    pub(crate) routes: BTreeMap<PortId, Vec<Sink>>,
    pub(crate) media: Vec<MediaCommand>,
    /// Every message that was sent, for a look at what went wrong.
    pub(crate) log: Vec<String>,
    /// Every datagram that phones sent, newest last, where somebody wants them.
    pub(crate) captured: Option<std::collections::VecDeque<(SocketAddr, Bytes)>>,
    /// Final answers to INVITEs by branch, where somebody wants to be sure that there is one each.
    pub(crate) finals: Option<BTreeMap<String, String>>,
    /// The same for what phones get.
    pub(crate) heard_by_phones: Vec<Bytes>,
    /// And where each of them was.
    pub(crate) addressed: Vec<(SocketAddr, Bytes)>,
    /// What was sent to where no phone is.
    pub(crate) outside: Vec<(SocketAddr, Bytes)>,
    unanswered: Vec<(StoreTicket, StoreReply)>,
    /// Far legs that still hear an old device, and where that is.
    handed: BTreeMap<PortId, PortId>,
    released: Vec<PortId>,
    going: BinaryHeap<Reverse<(Timestamp, u64)>>,
    parcels: BTreeMap<u64, Going>,
    random: Random,
    sent: u64,
    ports: u32,
}

/// Users `alice` (1001) and `bob` (1002) and so on, each with devices `desk`, `mobile` and `tablet`.
pub(crate) fn accounts(names: &[&str]) -> Accounts {
    let mut accounts = Accounts::default();
    for (index, name) in names.iter().enumerate() {
        let device = |id: &str| {
            let auth_user = format!("{name}-{id}");
            let ha1 = Ha1s::from_password(&auth_user, "example.org", "secret");
            Device {
                id: id.into(),
                auth_user: auth_user.into(),
                ha1,
                trust: Trust::Personal,
                auto_answer: true,
                pull: Pull::Direct,
                tenure: Tenure::Kept,
            }
        };
        let account = Account {
            name: (*name).into(),
            display: Some(format!("{}{}", name[..1].to_uppercase(), &name[1..]).into()),
            extension: Some(format!("{}", 1001 + index).into()),
            algorithms: Vec::new(),
            login: None,
            admin: false,
            pin: None,
            hold_off: None,
            watchers: Vec::new(),
            devices: vec![device("desk"), device("mobile"), device("tablet")],
            pbx: None,
            origin: Origin::File,
        };
        accounts.put(account).unwrap();
    }
    accounts
}

/// An INVITE has one final answer, however often it is said.
fn note_final(finals: &mut BTreeMap<String, String>, bytes: &Bytes) {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    if !first.starts_with("SIP/2.0 ") || first.starts_with("SIP/2.0 1") || !line("CSeq:").ends_with(" INVITE")
    {
        return;
    }
    let known = finals.entry(line("Via:") + &line("Call-ID:")).or_insert_with(|| first.to_owned());
    assert_eq!(known, first, "two final answers to {}", line("Via:"));
}

/// A rule for the numbers of a pattern, with targets as they are written.
pub(crate) fn leads(pattern: &str, to: &[&str]) -> Rule {
    let number = Some(Pattern(regex::Regex::new(pattern).unwrap()));
    Rule { number, to: to.iter().map(|target| goal(target)).collect(), ..Rule::default() }
}

/// A target as it is written.
pub(crate) fn goal(text: &str) -> Goal {
    let (kind, name) = text.split_once(':').unwrap();
    match kind {
        "user" => Goal::User(name.into()),
        "extension" => Goal::Extension(name.into()),
        "trunk" => Goal::Trunk(name.into()),
        "group" => Goal::Group(name.into()),
        "code" => Goal::Code(crate::call::Service::Echo, name.into()),
        "reject" => {
            let status = StatusCode::new(name[..3].parse().unwrap()).unwrap();
            Goal::Reject(LastWord { status, reason: name.get(4..).unwrap_or(status.reason()).into() })
        }
        _ => panic!("{text}"),
    }
}

/// A trunk to `peer`, which needs no credentials, and the way to it: numbers that begin with 00.
pub(crate) fn trunk_to(settings: &mut Settings, peer: SocketAddr) -> &mut settings::Trunk {
    settings.call.routes = vec![leads("^00", &["trunk:outside"])];
    settings.call.trunks = vec![settings::Trunk {
        name: "outside".into(),
        host: "outside.example".into(),
        targets: vec![Target { transport: Transport::Udp, peer }],
        from: vec![settings::Source { network: peer.ip(), prefix: 32, port: None }],
        auth: None,
        register: false,
        ping: None,
        policy: Policy { may_notify: true, ..Policy::default() },
        ..settings::Trunk::default()
    }];
    &mut settings.call.trunks[0]
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, settings(), accounts(&["alice", "bob"]), &Loaded::default())
    }

    pub(crate) fn with(seed: u64, settings: Settings, accounts: Accounts, loaded: &Loaded) -> Self {
        let now = Now { at: Timestamp::from_micros(1_000_000), unix: UnixMillis(1_800_000_000_000) };
        let engine = Engine::new(settings, accounts, loaded, 0, Random::from_number(seed), now);
        let network = Network { delay: Duration::from_millis(1), jitter: Duration::ZERO, loss: 0, twice: 0 };
        let mut world = Self {
            engine,
            now,
            phones: Vec::new(),
            network,
            store_works: true,
            store_answers: true,
            silent: Vec::new(),
            openable: u16::MAX,
            expected: 300,
            lost: BTreeMap::new(),
            events: Vec::new(),
            records: Vec::new(),
            to_capture_server: Vec::new(),
            stored: Vec::new(),
            replies: Vec::new(),
            reconfigured: Vec::new(),
            routes: BTreeMap::new(),
            media: Vec::new(),
            log: Vec::new(),
            captured: None,
            finals: None,
            heard_by_phones: Vec::new(),
            addressed: Vec::new(),
            outside: Vec::new(),
            unanswered: Vec::new(),
            handed: BTreeMap::new(),
            released: Vec::new(),
            going: BinaryHeap::new(),
            parcels: BTreeMap::new(),
            random: Random::from_number(seed ^ 0x5eed),
            sent: 0,
            ports: 0,
        };
        world.collect();
        world
    }

    /// A phone of a device, registered.
    pub(crate) fn phone(&mut self, user: &str, device: &str) -> usize {
        self.phone_over(Transport::Udp, user, device)
    }

    pub(crate) fn phone_over(&mut self, transport: Transport, user: &str, device: &str) -> usize {
        let account = self.engine.core().accounts.by_name(user).unwrap().clone();
        let index = account.devices.iter().position(|found| *found.id == *device).unwrap();
        let number = self.phones.len();
        let address = SocketAddr::from(([198, 51, 100, 10 + number as u8], 5060));
        let seed = self.random.bits();
        self.phones.push(Phone::new(&account, index, address, seed));
        self.phones[number].now = self.now;
        self.phones[number].transport = transport;
        self.phones[number].connection = if transport.is_reliable() { 100 * (1 + number as u32) } else { 0 };
        self.phones[number].register(3600);
        self.run(Duration::from_millis(100));
        assert_eq!(self.phones[number].registered, Some(200), "{user}*{device}\n{}", self.log.join("\n"));
        number
    }

    /// A phone on a trunk's address, which neither registers nor has credentials.
    pub(crate) fn outsider(&mut self, user: &str, address: SocketAddr) -> usize {
        let account = self.engine.core().accounts.by_name(user).unwrap().clone();
        let seed = self.random.bits();
        self.phones.push(Phone::new(&account, 0, address, seed));
        self.phones.last_mut().unwrap().now = self.now;
        self.phones.len() - 1
    }

    /// The connection of a phone breaks; it comes back from another port.
    pub(crate) fn break_connection(&mut self, phone: usize) {
        let flow = self.phones[phone].flow();
        self.phones[phone].stray();
        if flow.transport.is_reliable() {
            self.input(Input::FlowClosed(flow));
        }
    }

    fn post(&mut self, after: Duration, what: Going) {
        self.sent += 1;
        self.going.push(Reverse((self.now.at + after, self.sent)));
        self.parcels.insert(self.sent, what);
    }

    /// Streams keep their order and lose nothing; datagrams do neither.
    fn send(&mut self, way: Transport, what: impl Fn() -> Going) {
        if way.is_reliable() {
            return self.post(self.network.delay, what());
        }
        if self.random.below(1000) < self.network.loss {
            return;
        }
        let copies = 1 + u64::from(self.random.below(1000) < self.network.twice);
        for _ in 0..copies {
            let jitter = self.network.jitter.as_micros() as u64;
            let jitter = Duration::from_micros(self.random.below(jitter.max(1)));
            self.post(self.network.delay + jitter, what());
        }
    }

    /// A command; its reply is the last of `replies`.
    pub(crate) fn ask(&mut self, by: Subject, command: Command) -> Reply {
        let input = Input::Command { id: CommandId(self.sent), asked: Asked { by, command } };
        let before = self.replies.len();
        self.engine.handle_input(self.now, input);
        self.collect();
        self.run(Duration::from_millis(10));
        assert!(self.replies.len() > before, "a command got no reply");
        self.replies.last().unwrap().clone()
    }

    /// A command that is answered later, or not.
    pub(crate) fn send_command(&mut self, by: Subject, command: Command) {
        self.input(Input::Command { id: CommandId(self.sent), asked: Asked { by, command } });
    }

    /// The store answers what it was asked while it did not answer.
    pub(crate) fn answer_store(&mut self) {
        self.store_answers = true;
        for (ticket, reply) in std::mem::take(&mut self.unanswered) {
            self.input(Input::Stored { ticket, reply });
        }
    }

    /// Moves as the store has them, the newest first.
    pub(crate) fn saved_moves(&self) -> impl Iterator<Item = MoveView> {
        self.stored.iter().rev().filter_map(|op| match op {
            StoreOp::SaveMove(view) => Some((**view).clone()),
            _ => None,
        })
    }

    /// What the store says to an operation that works.
    fn store_reply(&self, op: &StoreOp) -> StoreReply {
        let saved = || self.saved_moves();
        match op {
            StoreOp::FindMove { id } => StoreReply::Move(saved().find(|view| *view.id == **id).map(Box::new)),
            StoreOp::ListMoves { user, page } => {
                let of_user = |view: &MoveView| user.as_deref().is_none_or(|user| view.user == user);
                StoreReply::Moves(Page::cut(saved().filter(of_user), page))
            }
            StoreOp::ListRecords { wanted, page } => {
                let is_of = |record: &&CallRecord| {
                    wanted.user.is_none() || record.user == wanted.user.as_deref().map(Into::into)
                };
                StoreReply::Records(Page::cut(self.records.iter().filter(is_of).cloned(), page))
            }
            StoreOp::FindRecord { id } => {
                let found = self.records.iter().find(|record| *record.id == **id);
                StoreReply::Record(found.cloned().map(Box::new))
            }
            _ => StoreReply::Done,
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        if let Input::Media(MediaEvent::Swapped { far, .. }) = &input {
            self.part(*far);
        }
        self.engine.handle_input(self.now, input);
        self.collect();
    }

    /// A datagram from anywhere arrives at once.
    pub(crate) fn arrive(&mut self, from: SocketAddr, bytes: Bytes) {
        let flow = Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: from };
        self.input(Input::Received { flow, bytes });
    }

    /// The same, and what the sender gets for it.
    pub(crate) fn exchange(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) -> Vec<Message> {
        self.outside.clear();
        self.arrive(from, bytes.into());
        let answers = self.outside.iter().filter(|(to, _)| to.ip() == from.ip());
        answers.map(|(_, bytes)| Message::parse(bytes.clone(), &Limits::default()).unwrap()).collect()
    }

    /// The node ends every call.
    pub(crate) fn hang_up_all(&mut self) {
        self.engine.hang_up_all(self.now);
        self.collect();
    }

    /// Everything that is due within this time happens.
    pub(crate) fn run(&mut self, length: Duration) {
        let end = self.now.at + length;
        for _ in 0..1_000_000 {
            self.flush_phones(None);
            let next = [
                self.going.peek().map(|Reverse((at, _))| *at),
                self.engine.poll_timeout(),
                self.phones.iter().filter_map(Phone::poll_timeout).min(),
            ]
            .into_iter()
            .flatten()
            .min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.advance_to(at.max(self.now.at));
            self.happen();
        }
        self.advance_to(end);
    }

    /// Runs until something is so; panics if it does not become so within `most`.
    #[track_caller]
    pub(crate) fn run_until(&mut self, most: Duration, is_so: impl Fn(&Self) -> bool) {
        let end = self.now.at + most;
        while !is_so(self) {
            assert!(self.now.at < end, "did not happen in {most:?}\n{}", self.tail());
            self.run(Duration::from_millis(5));
        }
    }

    pub(crate) fn tail(&self) -> String {
        self.log.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n")
    }

    fn advance_to(&mut self, at: Timestamp) {
        let passed = at.since(self.now.at);
        self.now.unix.0 = 1_800_000_000_000 + at.as_micros() / 1000;
        self.now.at = self.now.at + passed;
        for phone in &mut self.phones {
            phone.now = self.now;
        }
    }

    fn happen(&mut self) {
        while let Some(Reverse((at, id))) = self.going.peek().copied()
            && at <= self.now.at
        {
            self.going.pop();
            match self.parcels.remove(&id) {
                Some(Going::ToEngine(flow, bytes)) => {
                    self.engine.handle_input(self.now, Input::Received { flow, bytes });
                    self.collect();
                }
                Some(Going::ToPhone(to, bytes)) => {
                    let open = |phone: &Phone| [0, phone.connection].contains(&to.connection);
                    if self.phones.iter().any(|phone| phone.address == to.peer && open(phone)) {
                        self.flush_phones(Some((to.peer, bytes)));
                    } else if to.transport.is_reliable() {
                        self.input(Input::FlowClosed(to));
                    }
                }
                Some(Going::Input(input)) => {
                    self.input(*input);
                }
                None => {}
            }
        }
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now.at) {
            self.engine.handle_timeout(self.now);
            self.collect();
        }
        self.flush_phones(None);
    }

    /// Lets every phone do what it has to, and takes what it sends.
    fn flush_phones(&mut self, mut arrived: Option<(SocketAddr, Bytes)>) {
        for index in 0..self.phones.len() {
            let address = self.phones[index].address;
            let bytes = arrived.take_if(|(to, _)| *to == address).map(|(_, bytes)| bytes);
            for bytes in self.phones[index].step(self.now, bytes) {
                self.note(&format!("phone {index} →"), &bytes);
                if let Some(captured) = &mut self.captured {
                    if captured.len() >= MOST_CAPTURED {
                        captured.pop_front();
                    }
                    captured.push_back((address, bytes.clone()));
                }
                let flow = self.phones[index].flow();
                self.send(flow.transport, || Going::ToEngine(flow, bytes.clone()));
            }
        }
    }

    fn note(&mut self, who: &str, bytes: &Bytes) {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let cseq = lines.find(|line| line.starts_with("CSeq")).unwrap_or_default();
        let id = text.lines().find(|line| line.starts_with("Call-ID: ")).unwrap_or_default();
        let id = id.get(9..15).unwrap_or_default();
        self.log.push(format!("{:?} {who} {first} ({cseq}, {id})", self.now.at));
        if self.log.len() > 4000 {
            self.log.drain(..2000);
        }
    }

    fn collect(&mut self) {
        let mut outputs = Vec::new();
        self.engine.take_outputs(&mut outputs);
        for output in outputs {
            match output {
                Output::Send { flow, bytes } => {
                    self.note(&format!("→ {}", flow.peer.ip()), &bytes);
                    if let Some(finals) = &mut self.finals {
                        note_final(finals, &bytes);
                    }
                    if !flow.transport.is_reliable()
                        && !self.phones.iter().any(|phone| phone.address == flow.peer)
                    {
                        self.outside.push((flow.peer, bytes));
                        continue;
                    }
                    if self.captured.is_some() {
                        self.heard_by_phones.push(bytes.clone());
                        self.addressed.push((flow.peer, bytes.clone()));
                    }
                    self.send(flow.transport, || Going::ToPhone(flow, bytes.clone()));
                }
                Output::Capture(capture) => {
                    if let Capture::Dialog { call_id, .. } = &capture {
                        self.log.push(format!("capture {call_id}"));
                    }
                    self.to_capture_server.push(capture);
                }
                Output::Media(command) => self.on_media(command),
                Output::Store { ticket, op } => {
                    let reply = if self.store_works {
                        self.store_reply(&op)
                    } else {
                        StoreReply::Unavailable(Unavailable::Failed)
                    };
                    self.stored.push(op);
                    if self.store_answers {
                        self.post(
                            Duration::from_micros(500),
                            Going::Input(Box::new(Input::Stored { ticket, reply })),
                        );
                    } else {
                        self.unanswered.push((ticket, reply));
                    }
                }
                Output::Verify { ticket, hash, secret } => {
                    // The hash of a simulated account is the secret itself.
                    let right = hash.is_some_and(|hash| hash.ends_with(&*secret.0));
                    self.post(
                        Duration::from_millis(50),
                        Going::Input(Box::new(Input::Verified { ticket, right })),
                    );
                }
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Reconfigured(done) => self.reconfigured.push(done),
                Output::Event(event) => self.events.push(event),
                Output::Record(record) => self.records.push((*record).clone()),
            }
        }
    }

    /// What must hold at any moment.
    #[track_caller]
    pub(crate) fn check(&self) {
        let core = self.engine.core();
        for (_, call) in core.calls.iter() {
            for leg in std::iter::once(call.caller).chain(call.callee).chain(call.forks.iter().copied()) {
                assert!(
                    core.legs.get(leg).is_some() || call.moving || call.transfer.is_some(),
                    "a call names a leg that is gone: {leg:?} of {:?} {:?} {:?}, {:?}\n{}",
                    call.caller,
                    call.callee,
                    call.forks,
                    call.state,
                    self.tail()
                );
            }
        }
        for (port, leg) in &core.port_legs {
            assert!(
                core.legs.get(*leg).is_some(),
                "port {port:?} serves a leg that is gone\n{}",
                self.tail()
            );
        }
        let on_streams = core.legs.iter().map(|(handle, leg)| (leg.dialog.flow, handle));
        let on_streams = on_streams.filter(|(flow, _)| flow.transport.is_reliable()).collect();
        assert_eq!(core.on_streams, on_streams, "legs are where their dialogs are");
        core.registrar.check_index();
        assert_eq!(self.engine.counters().bugs, 0);
    }

    /// What must hold when all calls are over and all timers have run out.
    #[track_caller]
    pub(crate) fn check_idle(&self) {
        let core = self.engine.core();
        self.check();
        let left = (core.calls.len(), core.legs.len(), core.port_legs.len());
        let legs: Vec<_> = core
            .legs
            .iter()
            .map(|(_, leg)| (leg.party.device(), leg.role, leg.state, leg.is_inbound, &leg.dialog.local_tag))
            .collect();
        assert_eq!(left, (0, 0, 0), "calls, legs and ports are left\n{}\n{legs:?}", self.tail());
        assert_eq!(core.transactions.len(), 0, "transactions are left\n{}", self.tail());
        assert!(self.engine.moves.prompts.is_empty(), "prompts are left");
        assert!(self.engine.moves.arrivals.is_empty(), "who signed in is waited for");
        assert!(self.engine.moves.live.is_empty() && self.engine.moves.by_call.is_empty());
        assert!(self.engine.moves.referrals.is_empty(), "REFERs of ours are left");
        assert!(self.engine.transfers.is_empty(), "transfers are left");
        assert!(self.engine.moves.probes.is_empty(), "devices are asked about that are gone");
        assert!(self.engine.moves.former.is_empty() && self.engine.moves.last.is_empty());
        assert!(self.engine.tallies.is_empty(), "records wait for ports");
        assert!(self.engine.moves.directory.is_empty(), "legs are left in the directory");
    }
}
