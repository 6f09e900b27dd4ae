//! One media thread: its sockets, its relay, and the loop between them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::ports::Ports;
use super::sys::{Epoll, Ready, Waker};
use super::{Events, MediaTotals};
use crate::base::{Random, Timestamp};
use crate::media::relay::{Component, MAX_PACKET, MediaCommand, MediaEvent, Outlet, PortPair, Relay};
use crate::shell::pace::{Collect, Pace};

/// The token of the waker, which no socket has.
const WAKER: u64 = u64::MAX;
/// Packets that are received before the first of them is sent on.
const BATCH: usize = 32;
/// Packets for which a busy thread waits before it serves them.
const GATHER: u64 = 24;
/// Packets a second from which on it waits: 20 calls.
const BUSY: u64 = 2_000;
/// Sums are published this often.
const PUBLISH: Duration = Duration::from_millis(100);
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
    published: Timestamp,
    unpublished: bool,
}

/// The sockets by slot, and the way of events.
pub(super) struct Sockets {
    pairs: Vec<[UdpSocket; 2]>,
    events: Arc<Events>,
}

impl Sockets {
    fn socket(&self, slot: u32, component: Component) -> Option<&UdpSocket> {
        let [rtp, rtcp] = self.pairs.get(slot as usize)?;
        Some(if component == Component::Rtp { rtp } else { rtcp })
    }
}

/// The token of a socket: `slot * 2`, and 1 more for RTCP.
fn from_token(token: u64) -> (u32, Component) {
    ((token >> 1) as u32, if token & 1 == 0 { Component::Rtp } else { Component::Rtcp })
}

/// Packets under way between two sockets.
struct Batch {
    packets: Vec<Packet>,
    len: usize,
}

struct Packet {
    bytes: [u8; MAX_PACKET + 1],
    len: usize,
    src: SocketAddr,
    slot: u32,
    component: Component,
}

impl Default for Batch {
    fn default() -> Self {
        let packet = || Packet {
            bytes: [0; MAX_PACKET + 1],
            len: 0,
            src: SocketAddr::from(([0, 0, 0, 0], 0)),
            slot: 0,
            component: Component::Rtp,
        };
        Self { packets: std::iter::repeat_with(packet).take(BATCH).collect(), len: 0 }
    }
}

impl Outlet for Sockets {
    fn send(&mut self, slot: u32, component: Component, to: SocketAddr, packet: &[u8]) -> bool {
        self.socket(slot, component).is_some_and(|socket| socket.send_to(packet, to).is_ok())
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
        ports: Arc<Ports>,
        events: Arc<Events>,
    ) -> io::Result<Self> {
        use std::os::fd::AsFd as _;

        let epoll = Epoll::new()?;
        epoll.add(shared.waker.as_fd(), WAKER)?;
        let mut seed = settings.seed;
        if let Some(byte) = seed.first_mut() {
            *byte ^= thread;
        }
        Ok(Self {
            thread,
            origin: settings.origin,
            commands,
            shared,
            ports,
            epoll,
            relay: Relay::new(thread, Random::from_seed(seed)),
            sockets: Sockets { pairs: Vec::new(), events },
            pace: Pace::new(Collect { longest: settings.collect, batch: GATHER, busy: BUSY }),
            published: Timestamp::ZERO,
            unpublished: false,
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut ready = Ready::default();
        let mut batch = Batch::default();
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = self.now();
            let timeout = self.timeout(now);
            if let Err(error) = self.epoll.wait(timeout, &mut ready) {
                tracing::error!(thread = self.thread, "media thread cannot wait for packets: {error}");
                std::thread::sleep(Duration::from_millis(10));
            }
            let now = self.now();
            let (mut next, mut packets) = (0, 0);
            while next < ready.len() {
                self.receive(now, &ready, &mut next, &mut batch);
                packets += batch.len;
                self.forward(now, &mut batch);
            }
            if catch_unwind(AssertUnwindSafe(|| self.relay.handle_timeout(now, &mut self.sockets))).is_err() {
                self.fault(None);
            }
            self.unpublished |= packets > 0;
            self.publish(now);
            if let Some(pause) = self.pace.after(now, packets) {
                std::thread::sleep(pause);
            }
        }
        self.commands(self.now());
    }

    /// Takes one packet each from the sockets that are ready, until the batch is full.
    fn receive(&mut self, now: Timestamp, ready: &Ready, next: &mut usize, batch: &mut Batch) {
        batch.len = 0;
        while let Some(token) = ready.token(*next) {
            if token == WAKER {
                // What was received before the command is forwarded before it.
                if batch.len > 0 {
                    return;
                }
                self.shared.waker.clear();
                self.shared.woken.store(false, Ordering::Release);
                self.commands(now);
                *next += 1;
                continue;
            }
            let Some(packet) = batch.packets.get_mut(batch.len) else { return };
            *next += 1;
            let (slot, component) = from_token(token);
            let Some(socket) = self.sockets.socket(slot, component) else { continue };
            // A longer packet is cut to one byte more than the relay takes, and refused there.
            if let Ok((len, src)) = socket.recv_from(&mut packet.bytes) {
                (packet.len, packet.src, packet.slot, packet.component) = (len, src, slot, component);
                batch.len += 1;
            }
        }
    }

    /// Sends on what was received.
    fn forward(&mut self, now: Timestamp, batch: &mut Batch) {
        let mut next = 0;
        while next < batch.len {
            // A fault of ours while a packet is handled costs the port that it came in on, not the thread.
            let round = AssertUnwindSafe(|| {
                while let Some(packet) = batch.packets.get_mut(next).filter(|_| next < batch.len) {
                    next += 1;
                    let Some(bytes) = packet.bytes.get_mut(..packet.len) else { continue };
                    let (slot, component) = (packet.slot, packet.component);
                    self.relay.handle_packet(now, slot, component, packet.src, bytes, &mut self.sockets);
                }
            });
            if catch_unwind(round).is_err() {
                let slot = batch.packets.get(next.wrapping_sub(1)).map(|packet| packet.slot);
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
        use std::os::fd::AsFd as _;

        let (bound, mut error) = self.ports.bind(address, count);
        let mut pairs = Vec::with_capacity(bound.len());
        for pair in bound {
            let token = (self.sockets.pairs.len() as u64) << 1;
            let added = self
                .epoll
                .add(pair.rtp.as_fd(), token)
                .and_then(|()| self.epoll.add(pair.rtcp.as_fd(), token | 1));
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

    /// Throws away what came for the last user of a port.
    fn drain(&self, slot: u32) {
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
        let totals = self.relay.totals();
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
