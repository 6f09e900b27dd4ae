//! The signalling worker: one thread that owns the engine, its listeners and its clock.
//!
//! One turn: wait for readiness, read batches, let the engine work, carry out what it asks, send batches. Nothing in
//! it blocks but the wait.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use socket2::Socket;

use super::bounds::Bounds;
use super::census::Census;
use super::conduit::{Conduits, News};
use super::hep::Tap;
use super::load::Load;
use super::outward::Outward;
use super::stream::{Happened, Streams};
use super::sys::{self, BATCH, Batch, Interest, Poll, Ready, Waker};
use crate::base::{Now, Timestamp, UnixMillis};
use crate::engine::command::Command;
use crate::engine::{CommandId, Counters, Engine, Input, NewConfiguration, Output, Reconfigured};
use crate::shell::control::{Answer, Request};
use crate::shell::pace::{Collect, Pace};
use crate::shell::telemetry::{AuthFailure, Direction, WorkerCounters};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Limits, Method, StatusCode};
use crate::wire::stun;

/// Tokens of the poll: the waker, then listeners, then connections.
const WAKER: u64 = 0;
const LISTENERS: u64 = 1;
const STREAMS: u64 = 1 << 32;

/// Batches read from one socket in one turn, so that a flood on it does not starve the others.
const ROUNDS: usize = 4;

/// When many messages come, those of a moment are served together: a wake-up and its system calls cost as much as
/// a message. From a thousand a second on (some 150 calls), for at most a millisecond.
const COLLECT: Collect = Collect { longest: Duration::from_millis(1), batch: 32, busy: 1_000 };

/// After a hang-up of everything, the time in which the last BYEs are answered.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Faults of our own in a row, without a turn between them that had none, after which the worker gives up: whoever
/// watches over the process starts it anew.
const FAULTS: u32 = 100;

/// Longest wait for the first media ports; without them calls are refused, all else is served.
const FIRST_PORTS: Duration = Duration::from_secs(2);

/// What comes in from the other threads.
pub(super) enum Mail {
    /// Something the engine has to know.
    Input(Input),
    /// From the connections that the runtime carries.
    Conduit(News),
    /// Another configuration; told when it holds.
    Reconfigure(Box<NewConfiguration>, SyncSender<Reconfigured>),
    /// It is time to end.
    Stop(Stop),
}

/// How the worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// No new calls; those that are there go on until they end, or until this much later.
    Drain(Duration),
    /// All calls are hung up.
    Now,
}

/// A bound listener.
pub(super) struct Listener {
    pub(super) transport: Transport,
    /// None where the runtime lets in who comes.
    pub(super) socket: Option<Socket>,
    pub(super) address: SocketAddr,
}

/// The clock of the engine: monotonic since the start, and the calendar beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) origin: Instant,
}

impl Clock {
    pub(super) fn now(self) -> Now {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Zero is before everything; the first moment is a little later.
        let at = Timestamp::from_micros(micros.saturating_add(1));
        Now { at, unix: UnixMillis(u64::try_from(unix.as_millis()).unwrap_or(0)) }
    }
}

/// Everything that the thread owns.
pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) listeners: Vec<Listener>,
    pub(super) waker: Arc<Waker>,
    pub(super) mail: Receiver<Mail>,
    pub(super) requests: Receiver<Request>,
    pub(super) outward: Outward,
    pub(super) counters: Arc<WorkerCounters>,
    /// Limits of connections.
    pub(super) bounds: Bounds,
    /// Who wants to see every message.
    pub(super) tap: Option<Tap>,
    /// Who has how many of them.
    pub(super) census: Arc<Census>,
    /// Those that the runtime carries.
    pub(super) conduits: Conduits,
    /// Called when all calls have ended, before the last mail is read and saved: the others finish what they have
    /// to tell.
    pub(super) at_end: Box<dyn FnOnce() + Send>,
}

/// What the turns work with.
struct Turn {
    poll: Poll,
    ready: Vec<Ready>,
    batch: Batch,
    streams: Streams,
    pace: Pace,
    load: Load,
    /// Messages that came in this turn.
    received: usize,
    happened: Vec<Happened>,
    outputs: Vec<Output>,
    /// Datagrams to be sent, by listener.
    datagrams: Vec<Vec<(SocketAddr, Bytes)>>,
    answers: BTreeMap<CommandId, Answer>,
    reconfiguring: Option<SyncSender<Reconfigured>>,
    commands: u64,
    seen: Counters,
    resent: [u64; Method::KINDS],
    ending: Option<Instant>,
    draining: bool,
    faults: u32,
}

impl Worker {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The system refuses what the loop cannot be without.
    pub(super) fn run(mut self) -> std::io::Result<()> {
        let poll = Poll::new()?;
        poll.add(&*self.waker, WAKER, Interest::Read)?;
        for (index, listener) in self.listeners.iter().enumerate() {
            if let Some(socket) = &listener.socket {
                poll.add(socket, LISTENERS + index as u64, Interest::Read)?;
            }
        }
        let mut turn = Turn {
            poll,
            ready: Vec::new(),
            batch: Batch::new(),
            streams: Streams::new(Limits::default(), self.bounds, Arc::clone(&self.census)),
            pace: Pace::new(COLLECT),
            load: Load::new(self.clock.now().at),
            received: 0,
            happened: Vec::new(),
            outputs: Vec::new(),
            datagrams: self.listeners.iter().map(|_| Vec::new()).collect(),
            answers: BTreeMap::new(),
            reconfiguring: None,
            commands: 0,
            seen: *self.engine.counters(),
            resent: self.engine.retransmitted(),
            ending: None,
            draining: false,
            faults: 0,
        };
        self.carry_out(&mut turn);
        self.await_ports(&mut turn);
        turn.load = Load::new(self.clock.now().at);
        loop {
            let timeout = self.timeout(&turn);
            let waiting = Instant::now();
            turn.poll.wait(timeout, &mut turn.ready)?;
            turn.load.waited(waiting.elapsed());
            self.take_load(&mut turn);
            let faults = turn.faults;
            turn.received = 0;
            self.read(&mut turn)?;
            self.take_mail(&mut turn);
            self.take_requests(&mut turn);
            turn.streams.sweep(&mut turn.happened);
            self.take_streams(&mut turn);
            self.take_time(&mut turn);
            turn.load.came(turn.received);
            self.carry_out(&mut turn);
            self.count(&mut turn);
            if self.is_over(&mut turn) {
                break;
            }
            if turn.faults == faults {
                turn.faults = 0;
            } else if turn.faults >= FAULTS {
                return Err(std::io::Error::other("fault upon fault"));
            }
            if let Some(pause) = turn.pace.after(self.clock.now().at, turn.received) {
                let sleeping = Instant::now();
                std::thread::sleep(pause);
                turn.load.waited(sleeping.elapsed());
            }
        }
        (std::mem::replace(&mut self.at_end, Box::new(|| {})))();
        self.take_mail(&mut turn);
        self.engine.save_all(self.clock.now());
        self.carry_out(&mut turn);
        self.conduits.finish();
        self.count(&mut turn);
        self.outward.close();
        Ok(())
    }

    /// The first calls find media ports: what arrives meanwhile waits in the sockets.
    fn await_ports(&mut self, turn: &mut Turn) {
        let late = Instant::now() + FIRST_PORTS;
        while self.engine.lacks_ports() && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(1));
            self.take_mail(turn);
            self.carry_out(turn);
        }
    }

    fn take_time(&mut self, turn: &mut Turn) {
        let now = self.clock.now();
        if self.engine.poll_timeout().is_none_or(|due| due > now.at) {
            return;
        }
        guarded("timers were served", &mut turn.faults, || self.engine.handle_timeout(now));
    }

    fn take_load(&mut self, turn: &mut Turn) {
        let now = self.clock.now();
        if let Some(share) = turn.load.after(now.at, self.engine.counters().new_work) {
            self.counters.set_overload(share);
            feed(&mut self.engine, now, Input::Pressure { share }, &mut turn.faults);
        }
    }

    /// Milliseconds until something is due, rounded up.
    fn timeout(&self, turn: &Turn) -> i32 {
        // What happened while outputs were carried out waits for the next turn; it shall not wait for long.
        if !turn.happened.is_empty() {
            return 0;
        }
        let now = self.clock.now().at;
        let mut wait = self.engine.poll_timeout().map(|due| due.since(now));
        // Slow connections are looked for once a second; an ending is looked at more often.
        let mut at_most = |limit: Duration| wait = Some(wait.map_or(limit, |known| known.min(limit)));
        if !turn.streams.is_empty() {
            at_most(Duration::from_secs(1));
        }
        if turn.ending.is_some() {
            at_most(Duration::from_millis(20));
        }
        wait.map_or(-1, |wait| i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX))
    }

    fn read(&mut self, turn: &mut Turn) -> std::io::Result<()> {
        for index in 0..turn.ready.len() {
            let Some(ready) = turn.ready.get(index).copied() else { break };
            if ready.token == WAKER {
                self.waker.clear();
            } else if ready.token >= STREAMS {
                let id = u32::try_from(ready.token - STREAMS).unwrap_or(0);
                let what = (ready.is_readable, ready.is_writable);
                turn.streams.ready(id, what, &turn.poll, STREAMS, &mut turn.happened);
            } else {
                self.read_listener(usize::try_from(ready.token - LISTENERS).unwrap_or(usize::MAX), turn)?;
            }
        }
        for listener in turn.streams.rested() {
            let listening = self.listeners.get(usize::from(listener));
            if let Some(socket) = listening.and_then(|listening| listening.socket.as_ref()) {
                turn.poll.change(socket, LISTENERS + u64::from(listener), Interest::Read)?;
            }
        }
        Ok(())
    }

    fn read_listener(&mut self, index: usize, turn: &mut Turn) -> std::io::Result<()> {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        for _ in 0..ROUNDS {
            let Some(listener) = self.listeners.get(index) else { return Ok(()) };
            let Some(socket) = &listener.socket else { return Ok(()) };
            if listener.transport.is_reliable() {
                if !turn.streams.accept(socket, number, &turn.poll, STREAMS) {
                    turn.poll.change(socket, LISTENERS + index as u64, Interest::Nothing)?;
                }
                return Ok(());
            }
            let now = self.clock.now();
            let (engine, counters, tap) = (&mut self.engine, &self.counters, &self.tap);
            let Turn { batch, datagrams, faults, .. } = turn;
            let mut answers = datagrams.get_mut(index);
            let received = batch.receive(socket, |peer, bytes| {
                // Keep-alives of phones behind address translation (RFC 5626 5.4): STUN is answered, CRLF and a zero
                // byte are not.
                if stun::is_stun(bytes) {
                    if let (Some(answers), Some(answer)) = (&mut answers, kept_alive(bytes, peer)) {
                        answers.push((peer, answer));
                    }
                    return;
                }
                if bytes.len() < 16 {
                    return;
                }
                note_received(counters, bytes, Transport::Udp);
                let flow = Flow { transport: Transport::Udp, listener: number, connection: 0, peer };
                let bytes = Bytes::copy_from_slice(bytes);
                if let Some(tap) = tap {
                    tap.message(flow, false, &bytes);
                }
                feed(engine, now, Input::Received { flow, bytes }, faults);
            });
            turn.received += received.as_ref().map_or(0, |count| *count);
            match received {
                Ok(count) if count == BATCH => self.carry_out(turn),
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, address = %listener.address, "reading datagrams");
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_streams(&mut self, turn: &mut Turn) {
        turn.received += turn.happened.len();
        for happened in std::mem::take(&mut turn.happened) {
            self.take_happened(happened, turn);
        }
    }

    fn take_happened(&mut self, happened: Happened, turn: &mut Turn) {
        let input = match happened {
            Happened::Received { flow, bytes } => {
                note_received(&self.counters, &bytes, flow.transport);
                if let Some(tap) = &self.tap {
                    tap.message(flow, false, &bytes);
                }
                Input::Received { flow, bytes }
            }
            Happened::Closed(flow) => Input::FlowClosed(flow),
        };
        feed(&mut self.engine, self.clock.now(), input, &mut turn.faults);
    }

    fn take_news(&mut self, news: News, turn: &mut Turn) {
        let mut happened = Vec::new();
        let room = self.conduits.take(news, &mut happened);
        turn.received += happened.len();
        for happened in happened {
            self.take_happened(happened, turn);
        }
        drop(room);
    }

    fn take_mail(&mut self, turn: &mut Turn) {
        // Bounded by what is there now: what arrives meanwhile wakes the next turn.
        for _ in 0..self.mail.len() {
            let Ok(mail) = self.mail.try_recv() else { return };
            let now = self.clock.now();
            match mail {
                Mail::Input(input) => {
                    self.outward.note(&input);
                    feed(&mut self.engine, now, input, &mut turn.faults);
                }
                Mail::Conduit(news) => self.take_news(news, turn),
                Mail::Reconfigure(new, done) => {
                    turn.reconfiguring = Some(done);
                    feed(&mut self.engine, now, Input::Reconfigure(new), &mut turn.faults);
                    self.carry_out(turn);
                    // Where a fault of ours came between, whoever waits is told by this.
                    turn.reconfiguring = None;
                }
                Mail::Stop(Stop::Drain(patience)) if turn.ending.is_none() => {
                    self.engine.drain(now);
                    turn.draining = true;
                    turn.ending = Some(Instant::now() + patience);
                }
                Mail::Stop(Stop::Now) if turn.ending.is_none() || turn.draining => self.hang_up(turn),
                // It is ending already.
                Mail::Stop(_) => {}
            }
        }
    }

    fn hang_up(&mut self, turn: &mut Turn) {
        let now = self.clock.now();
        self.engine.drain(now);
        guarded("calls were hung up", &mut turn.faults, || self.engine.hang_up_all(now));
        turn.draining = false;
        turn.ending = Some(Instant::now() + LAST_WORDS);
    }

    fn take_requests(&mut self, turn: &mut Turn) {
        for _ in 0..self.requests.len() {
            let Ok(Request { asked, answer }) = self.requests.try_recv() else { return };
            turn.commands += 1;
            let id = CommandId(turn.commands);
            turn.answers.insert(id, answer);
            let now = self.clock.now();
            if matches!(asked.command, Command::Status) {
                let state = Input::StoreState(self.outward.store.failing());
                feed(&mut self.engine, now, state, &mut turn.faults);
            }
            feed(&mut self.engine, now, Input::Command { id, asked }, &mut turn.faults);
        }
    }

    /// Whether the time has come.
    fn is_over(&mut self, turn: &mut Turn) -> bool {
        let Some(ending) = turn.ending else { return false };
        let no_calls = self.engine.core().calls.is_empty() && self.engine.core().legs.is_empty();
        if no_calls && !self.engine.is_leaving() {
            return true;
        }
        if Instant::now() < ending {
            return false;
        }
        if turn.draining {
            tracing::warn!(
                calls = self.engine.core().calls.len(),
                "calls are left at the end of draining: hanging up"
            );
            self.hang_up(turn);
            self.carry_out(turn);
            return false;
        }
        true
    }

    /// Does what the engine asks, until it asks nothing more.
    fn carry_out(&mut self, turn: &mut Turn) {
        loop {
            self.engine.take_outputs(&mut turn.outputs);
            if turn.outputs.is_empty() {
                break;
            }
            let unix = self.clock.now().unix;
            let mut outputs = std::mem::take(&mut turn.outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Send { flow, bytes } => self.send(flow, bytes, turn),
                    Output::Reply { id, reply } => {
                        if let Some(answer) = turn.answers.remove(&id) {
                            answer.send(reply);
                        }
                    }
                    Output::Reconfigured(done) => {
                        if let Some(told) = turn.reconfiguring.take() {
                            // Who waits no longer has given up.
                            let _ = told.try_send(done);
                        }
                    }
                    other => self.outward.carry_out(other, unix),
                }
            }
            // The buffer is kept, so that a busy worker does not allocate one in each turn.
            turn.outputs = outputs;
        }
        for (listener, datagrams) in self.listeners.iter().zip(&mut turn.datagrams) {
            if let Some(socket) = listener.socket.as_ref().filter(|_| !datagrams.is_empty()) {
                let dropped = sys::send(socket, datagrams);
                if dropped > 0 {
                    tracing::debug!(dropped, address = %listener.address, "datagrams could not be sent");
                }
                datagrams.clear();
            }
        }
    }

    fn send(&mut self, flow: Flow, bytes: Bytes, turn: &mut Turn) {
        note_sent(&self.counters, &bytes, flow.transport);
        if let Some(tap) = &self.tap {
            tap.message(flow, true, &bytes);
        }
        match flow.transport {
            Transport::Udp => {
                if let Some(datagrams) = turn.datagrams.get_mut(usize::from(flow.listener)) {
                    datagrams.push((flow.peer, bytes));
                }
            }
            Transport::Tcp => {
                let from = self.local_address(&flow);
                turn.streams.send((flow, from), bytes, &turn.poll, STREAMS, &mut turn.happened);
            }
            Transport::Tls | Transport::Ws | Transport::Wss => {
                let from = self.local_address(&flow);
                self.conduits.send((flow, from), bytes, &mut turn.happened);
            }
        }
    }

    fn local_address(&self, flow: &Flow) -> IpAddr {
        let listener = self.listeners.get(usize::from(flow.listener));
        listener.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |listener| listener.address.ip())
    }

    /// The engine's own counts, as far as they have risen, to the metrics.
    fn count(&self, turn: &mut Turn) {
        let now = *self.engine.counters();
        for _ in turn.seen.parse_errors..now.parse_errors {
            self.counters.parse_error();
        }
        let (seen, counters) = (turn.seen, &self.counters);
        for (reason, count) in [
            (AuthFailure::Wrong, now.auth_failures - seen.auth_failures),
            (AuthFailure::Stale, now.auth_stale - seen.auth_stale),
            (AuthFailure::Malformed, now.auth_malformed - seen.auth_malformed),
            (AuthFailure::Throttled, now.auth_throttled - seen.auth_throttled),
        ] {
            counters.auth_failures_of(reason, count);
        }
        let resent = self.engine.retransmitted();
        for (kind, (now, seen)) in resent.iter().zip(&turn.resent).enumerate() {
            counters.retransmissions_of(kind, now - seen);
        }
        turn.resent = resent;
        self.counters.overload_refusals(now.overload_refusals - turn.seen.overload_refusals);
        self.counters.strangers_dropped(now.strangers_dropped - turn.seen.strangers_dropped);
        turn.seen = now;
    }
}

/// The answer to a STUN Binding Request without credentials (RFC 5626 4.4.2, RFC 8489 6.3.1): where it came from.
fn kept_alive(bytes: &[u8], peer: SocketAddr) -> Option<Bytes> {
    let request = stun::Message::parse(bytes).ok()?;
    if request.class() != stun::Class::Request || request.username().is_some() {
        return None;
    }
    let answer = stun::Writer::new(stun::Class::Success, request.transaction());
    Some(Bytes::copy_from_slice(answer.mapped_address(peer).fingerprinted().bytes()))
}

/// Hands one input to the engine.
fn feed(engine: &mut Engine, now: Now, input: Input, faults: &mut u32) {
    guarded("an input was served", faults, || engine.handle_input(now, input));
}

/// Works. A fault of ours costs what was being done, not the node.
fn guarded(what: &str, faults: &mut u32, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        *faults += 1;
        tracing::error!("a fault while {what}; the node goes on");
    }
}

fn note_received(counters: &WorkerCounters, bytes: &[u8], transport: Transport) {
    if let Some(method) = method_of(bytes) {
        counters.request(&method, transport, Direction::In);
    }
}

fn note_sent(counters: &WorkerCounters, bytes: &[u8], transport: Transport) {
    if let Some(method) = method_of(bytes) {
        counters.request(&method, transport, Direction::Out);
        return;
    }
    let status = bytes.get(8..11).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let Some(status) = status.and_then(StatusCode::new) else { return };
    // What we write ourselves has one spelling.
    let Some(at) = memchr::memmem::find(bytes, b"\r\nCSeq: ") else { return };
    let line = bytes.get(at + 8..).unwrap_or_default();
    let method = line.split(|byte| matches!(byte, b' ' | b'\r')).nth(1);
    if let Some(method) = method.and_then(Method::from_bytes) {
        counters.response(&method, status);
    }
}

/// The method of a request, by its first word; `None` for a response.
fn method_of(bytes: &[u8]) -> Option<Method> {
    if bytes.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let word = bytes.get(..bytes.len().min(32))?.split(|byte| *byte == b' ').next()?;
    Method::from_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_counted_and_no_more() {
        let (mut faults, mut done) = (0, 0);
        guarded("a test ran", &mut faults, || done += 1);
        guarded("a test ran", &mut faults, || panic!("a fault of ours"));
        guarded("a test ran", &mut faults, || done += 1);
        assert_eq!((faults, done), (1, 2));
    }

    #[test]
    fn methods_and_answers_are_counted_by_what_is_written() {
        assert_eq!(method_of(b"INVITE sip:a SIP/2.0\r\n"), Some(Method::Invite));
        assert_eq!(method_of(b"SIP/2.0 200 OK\r\n"), None);
        assert_eq!(method_of(b""), None);
        let metrics = crate::shell::telemetry::Metrics::new("1");
        let counters = metrics.worker();
        note_received(&counters, b"BYE sip:a SIP/2.0\r\n\r\n", Transport::Tcp);
        note_sent(&counters, b"SIP/2.0 180 Ringing\r\nCSeq: 7 INVITE\r\n\r\n", Transport::Udp);
        note_sent(&counters, b"SIP/2.0 999 What\r\nCSeq: 7 INVITE\r\n\r\n", Transport::Udp);
        note_sent(&counters, b"SIP/2.0 200 OK\r\n\r\n", Transport::Udp);
        note_sent(&counters, b"ACK sip:a SIP/2.0\r\n\r\n", Transport::Udp);
        let text = metrics.encode();
        for line in [
            "segue_sip_requests_total{method=\"BYE\",transport=\"tcp\",direction=\"in\"} 1",
            "segue_sip_requests_total{method=\"ACK\",transport=\"udp\",direction=\"out\"} 1",
            "segue_sip_responses_total{method=\"INVITE\",code=\"180\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("segue_sip_responses_total{")).count(), 1);
    }
}
