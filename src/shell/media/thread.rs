//! One media thread: its sockets, its relay, and the loop between them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::batch::Batch;
use super::ports::Ports;
use super::sys::{Epoll, Ready, Waker};
use super::uring::{Turn, Uring};
use super::{Driver, Events, MediaTotals};
use crate::base::{Random, Timestamp};
use crate::media::relay::{Component, DropReason, MediaCommand, MediaEvent, Outlet, PortPair, Relay};
use crate::media::web::{Identity, Web};
use crate::shell::pace::{Collect, Pace};

/// The token of the waker, which no socket has.
const WAKER: u64 = u64::MAX;
/// The token of the browsers' socket, which no slot has.
const WEB: u64 = 1 << 40;
/// Packets taken from it before other sockets have their turn.
const WEB_TURN: usize = 512;
/// Packets for which a busy thread waits before it serves them.
const GATHER: u64 = 24;
/// Packets a second from which on it waits: 20 calls.
const BUSY: u64 = 2_000;
/// Sums are published this often.
const PUBLISH: Duration = Duration::from_millis(100);
/// Batches that are taken from the ring before other work gets its turn.
const ROUNDS: usize = 32;
/// What waits in a socket that is taken into use again is thrown away, at most so many packets.
const DRAIN: usize = 256;

/// What other threads see of a media thread.
pub(super) struct Shared {
    pub waker: Waker,
    /// Set while a wake-up is under way, so that a burst of commands costs one.
    pub woken: AtomicBool,
    pub stop: AtomicBool,
    pub totals: Mutex<MediaTotals>,
}

/// Everything that the thread owns.
pub(super) struct MediaThread {
    pub thread: u8,
    pub origin: Instant,
    pub commands: Receiver<MediaCommand>,
    pub shared: Arc<Shared>,
    pub ports: Arc<Ports>,
    pub epoll: Epoll,
    pub relay: Relay,
    pub sockets: Sockets,
    pub pace: Pace,
    driver: Driver,
    failed: u64,
    published: Timestamp,
    unpublished: bool,
}

/// The sockets by slot, and the way of events.
pub(super) struct Sockets {
    // Before the sockets that it holds on to.
    uring: Option<Uring>,
    pairs: Vec<[UdpSocket; 2]>,
    web: Option<UdpSocket>,
    events: Arc<Events>,
}

impl Sockets {
    /// Takes packets again from sockets that the ring has let go of.
    fn ask_again(&mut self) {
        let Self { uring: Some(uring), pairs, web, .. } = self else { return };
        while let Some(token) = uring.lapsed() {
            let (slot, component) = from_token(token);
            let Some(socket) = socket_of(pairs, web, slot, component) else { continue };
            if let Err(error) = uring.add(socket.as_fd(), token) {
                tracing::error!("a media port is deaf: {error}");
            }
        }
    }

    fn socket(&self, slot: u32, component: Component) -> Option<&UdpSocket> {
        socket_of(&self.pairs, &self.web, slot, component)
    }
}

fn socket_of<'a>(
    pairs: &'a [[UdpSocket; 2]],
    web: &'a Option<UdpSocket>,
    slot: u32,
    component: Component,
) -> Option<&'a UdpSocket> {
    let pair = pairs.get(slot as usize);
    match component {
        Component::Rtp => pair.map(|[rtp, _]| rtp),
        Component::Rtcp => pair.map(|[_, rtcp]| rtcp),
        Component::Web => web.as_ref(),
    }
}

/// The token of a socket: `slot * 2`, and 1 more for RTCP.
pub(super) fn from_token(token: u64) -> (u32, Component) {
    if token == WEB {
        return (0, Component::Web);
    }
    ((token >> 1) as u32, if token & 1 == 0 { Component::Rtp } else { Component::Rtcp })
}

/// How far a wake-up is worked off: the socket that is next, and packets that the browsers' one may still bring.
struct Next {
    at: usize,
    of_web: usize,
}

impl Next {
    /// Goes on after a look at a socket; that of the browsers keeps its turn as long as it has something.
    fn pass(&mut self, component: Component, had_packet: bool) {
        if component == Component::Web && had_packet && self.of_web > 0 {
            self.of_web -= 1;
        } else {
            self.at += 1;
        }
    }
}

impl Outlet for Sockets {
    fn send(&mut self, slot: u32, component: Component, to: SocketAddr, packet: &[u8]) -> bool {
        let Self { uring, pairs, web, .. } = self;
        let Some(socket) = socket_of(pairs, web, slot, component) else { return false };
        if let Some(uring) = uring
            && uring.send(socket.as_fd(), to, packet)
        {
            return true;
        }
        socket.send_to(packet, to).is_ok()
    }

    fn event(&mut self, event: MediaEvent) {
        (self.events)(event);
    }
}

impl MediaThread {
    pub(super) fn new(
        thread: u8,
        settings: &super::MediaSettings,
        (commands, shared): (Receiver<MediaCommand>, Arc<Shared>),
        (ports, web): (Arc<Ports>, Option<(UdpSocket, Arc<Identity>)>),
        events: Arc<Events>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(shared.waker.as_fd(), WAKER)?;
        let mut seed = settings.seed;
        if let Some(byte) = seed.first_mut() {
            *byte ^= thread;
        }
        let mut relay = Relay::new(thread, Random::from_seed(seed));
        if settings.tells_rtcp {
            relay = relay.tell_rtcp();
        }
        let mut socket = None;
        if let Some((bound, identity)) = web {
            relay = relay.with_web(Web::new(identity, settings.origin));
            socket = Some(bound);
        }
        Ok(Self {
            thread,
            origin: settings.origin,
            commands,
            shared,
            ports,
            epoll,
            relay,
            sockets: Sockets { uring: None, pairs: Vec::new(), web: socket, events },
            driver: settings.driver,
            failed: 0,
            pace: Pace::new(Collect { longest: settings.collect, batch: GATHER, busy: BUSY }),
            published: Timestamp::ZERO,
            unpublished: false,
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        if self.driver != Driver::Epoll {
            match Uring::new(&self.shared.waker) {
                Ok(uring) => self.sockets.uring = Some(uring),
                Err(error) => tracing::warn!(thread = self.thread, "packets go through epoll: {error}"),
            }
        }
        if let Err(error) = self.watch_web() {
            tracing::error!(thread = self.thread, "browsers are not heard: {error}");
        }
        let mut batch = Batch::default();
        if self.sockets.uring.is_some() {
            self.run_uring(&mut batch);
        } else {
            self.run_epoll(&mut batch);
        }
        self.commands(self.now());
    }

    fn run_epoll(&mut self, batch: &mut Batch) {
        let mut ready = Ready::default();
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = self.now();
            let timeout = self.timeout(now);
            if let Err(error) = self.epoll.wait(timeout, &mut ready) {
                self.cannot_wait(&error);
            }
            let now = self.now();
            let (mut next, mut packets) = (Next { at: 0, of_web: WEB_TURN }, 0);
            while next.at < ready.len() {
                self.receive(now, &ready, &mut next, batch);
                packets += batch.len();
                self.forward(now, batch);
            }
            self.finish_turn(now, packets);
            if let Some(pause) = self.pace.after(now, packets) {
                std::thread::sleep(pause);
            }
        }
    }

    /// As [`MediaThread::run_epoll`]; the pause between two batches is a wait for many packets.
    fn run_uring(&mut self, batch: &mut Batch) {
        let mut pause = None;
        while !self.shared.stop.load(Ordering::Acquire) {
            let timeout = [self.timeout(self.now()), pause].into_iter().flatten().min();
            let wanted = if pause.is_some() { GATHER as usize } else { 1 };
            let Some(uring) = &mut self.sockets.uring else { return };
            if let Err(error) = uring.wait(timeout, wanted) {
                self.cannot_wait(&error);
            }
            let now = self.now();
            let packets = self.take_completions(now, batch);
            self.sockets.ask_again();
            self.finish_turn(now, packets);
            // A pause in which nothing came is followed by a wait for whatever comes.
            pause = self.pace.after(now, packets).filter(|_| packets > 0);
        }
    }

    /// Forwards what has come, then does what was asked for. Gives how many packets there were.
    fn take_completions(&mut self, now: Timestamp, batch: &mut Batch) -> usize {
        let (mut packets, mut is_woken, mut is_settled) = (0, false, false);
        for _ in 0..ROUNDS {
            let Some(uring) = &mut self.sockets.uring else { break };
            batch.clear();
            let turn = uring.receive(batch);
            packets += batch.len();
            self.forward(now, batch);
            if let Turn::Woken { lapsed } = turn {
                is_woken = true;
                if lapsed
                    && let Some(uring) = &mut self.sockets.uring
                    && let Err(error) = uring.watch_waker(&self.shared.waker)
                {
                    tracing::error!(thread = self.thread, "a media thread hears no commands: {error}");
                }
            }
            if turn != Turn::Done {
                continue;
            }
            if !is_woken || is_settled {
                break;
            }
            // What was received before a command is forwarded before it.
            is_settled = true;
            if let Some(uring) = &mut self.sockets.uring
                && let Err(error) = uring.settle()
            {
                self.cannot_wait(&error);
            }
        }
        if is_woken {
            self.woken(now);
        }
        packets
    }

    fn cannot_wait(&self, error: &io::Error) {
        tracing::error!(thread = self.thread, "media thread cannot wait for packets: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }

    fn woken(&mut self, now: Timestamp) {
        self.shared.waker.clear();
        self.shared.woken.store(false, Ordering::Release);
        self.commands(now);
    }

    /// What is due besides packets.
    fn finish_turn(&mut self, now: Timestamp, packets: usize) {
        if catch_unwind(AssertUnwindSafe(|| self.relay.handle_timeout(now, &mut self.sockets))).is_err() {
            self.fault(None);
        }
        self.unpublished |= packets > 0;
        self.publish(now);
    }

    /// Takes one packet each from the sockets that are ready, until the batch is full; from that of the browsers what is
    /// there.
    fn receive(&mut self, now: Timestamp, ready: &Ready, next: &mut Next, batch: &mut Batch) {
        batch.clear();
        while let Some(token) = ready.token(next.at) {
            if token == WAKER {
                // What was received before the command is forwarded before it.
                if !batch.is_empty() {
                    return;
                }
                self.woken(now);
                next.at += 1;
                continue;
            }
            let Some(packet) = batch.vacant() else { return };
            let (slot, component) = from_token(token);
            let received =
                self.sockets.socket(slot, component).map(|socket| socket.recv_from(&mut packet.bytes));
            let received = received.and_then(Result::ok);
            next.pass(component, received.is_some());
            if let Some((len, src)) = received {
                (packet.len, packet.src, packet.slot, packet.component) = (len, src, slot, component);
                batch.keep();
            }
        }
    }

    /// Sends on what was received.
    fn forward(&mut self, now: Timestamp, batch: &mut Batch) {
        let mut next = 0;
        while next < batch.len() {
            // A fault of ours while a packet is handled costs the port that it came in on, not the thread.
            let round = AssertUnwindSafe(|| {
                while let Some(packet) = batch.get_mut(next) {
                    next += 1;
                    let Some(bytes) = packet.bytes.get_mut(..packet.len) else { continue };
                    let (slot, component) = (packet.slot, packet.component);
                    self.relay.handle_packet(now, slot, component, packet.src, bytes, &mut self.sockets);
                }
            });
            if catch_unwind(round).is_err() {
                let culprit = batch.get_mut(next.wrapping_sub(1));
                // Whose a datagram of the browsers was, only the relay knows.
                let slot =
                    culprit.filter(|packet| packet.component != Component::Web).map(|packet| packet.slot);
                self.fault(slot);
            }
        }
    }

    fn timeout(&self, now: Timestamp) -> Option<Duration> {
        let publish = self.unpublished.then_some(self.published + PUBLISH);
        let next = [self.relay.poll_timeout(), publish].into_iter().flatten().min();
        next.map(|at| at.since(now))
    }

    fn commands(&mut self, now: Timestamp) {
        while let Ok(command) = self.commands.try_recv() {
            self.command(now, command);
        }
    }

    fn command(&mut self, now: Timestamp, command: MediaCommand) {
        match command {
            MediaCommand::OpenPorts { thread, address, count } => self.open_ports(thread, address, count),
            MediaCommand::Configure { port, .. } if !self.relay.is_open(port) => {
                self.drain(port.slot);
                self.relay.handle_command(now, command, &mut self.sockets);
            }
            command => self.relay.handle_command(now, command, &mut self.sockets),
        }
    }

    fn open_ports(&mut self, thread: u8, address: std::net::IpAddr, count: u16) {
        let (bound, mut error) = self.ports.bind(address, count);
        let mut pairs = Vec::with_capacity(bound.len());
        for pair in bound {
            let token = (self.sockets.pairs.len() as u64) << 1;
            let added =
                self.watch(pair.rtp.as_fd(), token).and_then(|()| self.watch(pair.rtcp.as_fd(), token | 1));
            if let Err(failure) = added {
                error = Some(format!("cannot watch port {}: {failure}", pair.port));
                break;
            }
            self.sockets.pairs.push([pair.rtp, pair.rtcp]);
            pairs.push(PortPair { id: self.relay.add_port(), address, rtp: pair.port });
        }
        if !pairs.is_empty() || error.is_none() {
            self.sockets.event(MediaEvent::PortsOpened { thread, pairs });
        }
        if let Some(error) = error {
            self.sockets.event(MediaEvent::PortsFailed { thread, error });
        }
    }

    fn watch_web(&mut self) -> io::Result<()> {
        match &mut self.sockets {
            Sockets { web: None, .. } => Ok(()),
            Sockets { uring: Some(uring), web: Some(web), .. } => uring.add(web.as_fd(), WEB),
            Sockets { web: Some(web), .. } => self.epoll.add(web.as_fd(), WEB),
        }
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        match &mut self.sockets.uring {
            Some(uring) => uring.add(fd, token),
            None => self.epoll.add(fd, token),
        }
    }

    /// Throws away what came for the last user of a port. (Through a ring it came already, and the route was shut.)
    fn drain(&self, slot: u32) {
        if self.sockets.uring.as_ref().is_some_and(|uring| !uring.has_lapsed()) {
            return;
        }
        let Some(pair) = self.sockets.pairs.get(slot as usize) else { return };
        for socket in pair {
            for _ in 0..DRAIN {
                if socket.recv_from(&mut [0]).is_err() {
                    break;
                }
            }
        }
    }

    fn fault(&mut self, slot: Option<u32>) {
        tracing::error!(thread = self.thread, "a fault in the media path; the port is out of service");
        if let Some(slot) = slot {
            self.relay.fail(slot, &mut self.sockets);
        }
    }

    fn publish(&mut self, now: Timestamp) {
        if now.since(self.published) < PUBLISH {
            return;
        }
        (self.published, self.unpublished) = (now, false);
        if let Some(uring) = &mut self.sockets.uring {
            self.failed += uring.take_failed();
        }
        let mut totals = self.relay.totals().clone();
        if let Some(count) = totals.dropped.get_mut(DropReason::SendFailed as usize) {
            *count += self.failed;
        }
        *self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner) = MediaTotals {
            received: totals.received,
            sent: totals.sent,
            lost: totals.lost,
            dropped: totals.dropped,
            pairs: self.sockets.pairs.len() as u64,
        };
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
