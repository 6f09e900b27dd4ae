//! The audio of one call: a sender that says a tone every 20 ms and a receiver that writes down every packet.

mod report;
mod rtp;
mod sdes;
pub mod tone;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

pub use self::report::{Heard, MediaReport, STEP_TOLERANCE, Stretch, TimestampStep};
use self::rtp::{Edge, Packet};
pub use self::sdes::Crypto;
use self::sdes::Guard;
use super::error::{PhoneError, Result};
use super::events::{Event, EventLog};
use super::options::Options;
use super::sdp::{Codec, Remote};
use crate::base::Random;

/// One packet each so long.
pub const PACKET_TIME: Duration = Duration::from_millis(20);
/// More than an hour of one direction; a runaway test must not eat the machine.
const MAX_RECORDED: usize = 200_000;
/// A digit lasts so many packets, and its end is said three times (RFC 4733 2.5.1.4).
const DIGIT_PACKETS: u16 = 4;
/// See [`DIGIT_PACKETS`].
const DIGIT_ENDS: u16 = 3;
/// Tries to find an even port whose odd neighbour is free.
const PORT_TRIES: usize = 64;

/// The audio of one call. Dropping it closes the sockets.
pub struct Media {
    line: Arc<Line>,
    tasks: Vec<AbortHandle>,
}

struct Line {
    log: EventLog,
    rtp: UdpSocket,
    local: SocketAddr,
    plan: Mutex<Plan>,
    /// SRTP; nothing for a phone without.
    guard: Option<Mutex<Guard>>,
    /// Packets that could not be opened.
    unopened: AtomicU32,
    sending: watch::Sender<bool>,
    heard: Mutex<Vec<Heard>>,
    heard_count: watch::Sender<usize>,
    sent: Mutex<Vec<Instant>>,
    rtcp_received: AtomicU32,
}

/// What the sender does at the next tick.
struct Plan {
    remote: Option<SocketAddr>,
    codec: Codec,
    tone: Option<u32>,
    telephone_event: Option<u8>,
    received_event: Option<u8>,
    digits: VecDeque<u8>,
    pressed: Option<Pressed>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
}

/// A key that is being sent.
struct Pressed {
    event: u8,
    begun: u32,
    packets: u16,
}

impl Media {
    /// Opens an RTP port and the RTCP port above it on `ip`.
    pub(super) async fn open(
        phone: &str,
        options: &Options,
        random: &mut Random,
        log: EventLog,
    ) -> Result<Self> {
        let (rtp, rtcp) = bind_pair(options.ip).await.map_err(|source| PhoneError::Io {
            phone: phone.to_owned(),
            what: "no pair of media ports",
            source,
        })?;
        let local = rtp.local_addr().map_err(|source| PhoneError::Io {
            phone: phone.to_owned(),
            what: "media port",
            source,
        })?;
        let plan = Plan {
            remote: None,
            codec: Codec::Pcmu,
            tone: Some(options.tone),
            telephone_event: None,
            received_event: None,
            digits: VecDeque::new(),
            pressed: None,
            ssrc: random.bits() as u32,
            sequence: options.first_sequence.unwrap_or(random.bits() as u16),
            timestamp: random.bits() as u32,
            marker: true,
        };
        let guard = if options.srtp { Guard::new(random.bytes()).map(Mutex::new) } else { None };
        let line = Arc::new(Line {
            log,
            rtp,
            local,
            plan: Mutex::new(plan),
            guard,
            unopened: AtomicU32::new(0),
            sending: watch::Sender::new(false),
            heard: Mutex::default(),
            heard_count: watch::Sender::new(0),
            sent: Mutex::default(),
            rtcp_received: AtomicU32::new(0),
        });
        let tasks = vec![
            tokio::spawn(Arc::clone(&line).send()).abort_handle(),
            tokio::spawn(Arc::clone(&line).receive()).abort_handle(),
            tokio::spawn(Arc::clone(&line).receive_rtcp(rtcp)).abort_handle(),
        ];
        Ok(Self { line, tasks })
    }

    /// Where this phone receives RTP.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.line.local
    }

    /// Takes the other side's description: where to send, what, and whether at all.
    /// `own_event` is the payload type that this phone offered for telephone events.
    pub(super) fn connect(&self, remote: &Remote, codecs: &[Codec], own_event: Option<u8>, sends: Sends) {
        let mut plan = self.line.plan();
        plan.remote = remote.address;
        if let Some(codec) = remote.codecs.iter().find(|codec| codecs.contains(codec)) {
            plan.codec = *codec;
        }
        plan.telephone_event = remote.telephone_event;
        plan.received_event = own_event;
        drop(plan);
        if let (Some(mut guard), Some(theirs)) = (self.line.guard(), &remote.crypto) {
            guard.meet(theirs);
        }
        self.line.sending.send_replace(sends == Sends::Yes && remote.address.is_some());
    }

    /// Our line of keys, of a phone with SRTP.
    #[must_use]
    pub fn crypto(&self) -> Option<Crypto> {
        self.line.guard().map(|guard| guard.crypto().clone())
    }

    /// Packets that were not sealed as agreed.
    #[must_use]
    pub fn unopened(&self) -> u32 {
        self.line.unopened.load(Ordering::Relaxed)
    }

    /// Stops sending, for good or until the next description.
    pub fn stop(&self) {
        self.line.sending.send_replace(false);
    }

    /// Sends regardless of what was agreed, as a phone that does not obey: for tests of the hold-off.
    pub fn send_anyway(&self) {
        self.line.sending.send_replace(true);
    }

    /// Whether the sender is on.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        *self.line.sending.borrow()
    }

    /// Says another tone, or silence, from the next packet on.
    pub fn say(&self, tone: Option<u32>) {
        self.line.plan().tone = tone;
    }

    /// The codec that is being sent.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.line.plan().codec
    }

    /// Presses keys as RFC 4733 events, one after the other.
    ///
    /// # Errors
    /// [`PhoneError::Malformed`] when a character is no key or telephone events were not agreed.
    pub fn press(&self, phone: &str, keys: &str) -> Result<()> {
        let mut plan = self.line.plan();
        let events: Option<Vec<u8>> = keys.chars().map(rtp::event_of).collect();
        match (events, plan.telephone_event) {
            (Some(events), Some(_)) => {
                plan.digits.extend(events);
                Ok(())
            }
            (None, _) => {
                Err(PhoneError::Malformed { phone: phone.to_owned(), what: format!("no such keys: {keys}") })
            }
            (_, None) => Err(PhoneError::Malformed {
                phone: phone.to_owned(),
                what: "telephone-event was not agreed".to_owned(),
            }),
        }
    }

    /// How many packets were heard: a place to look from.
    #[must_use]
    pub fn mark(&self) -> usize {
        *self.line.heard_count.borrow()
    }

    /// The packets heard since `mark`.
    #[must_use]
    pub fn heard(&self, mark: usize) -> Vec<Heard> {
        let heard = self.line.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(mark..).unwrap_or_default().to_vec()
    }

    /// The judgement over the packets since `mark`.
    #[must_use]
    pub fn report(&self, mark: usize) -> MediaReport {
        MediaReport::of(&self.heard(mark))
    }

    /// When packets were sent. A late sender explains a gap that the server did not make.
    #[must_use]
    pub fn sent(&self) -> Vec<Instant> {
        self.line.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The longest time beyond 20 ms between two packets that this phone sent in `from..=to`.
    #[must_use]
    pub fn lateness(&self, from: Instant, to: Instant) -> Duration {
        let sent = self.sent();
        let steps = sent.windows(2).filter_map(|pair| match pair {
            [before, after] if *after >= from && *before <= to => Some(after.duration_since(*before)),
            _ => None,
        });
        steps.max().unwrap_or_default().saturating_sub(PACKET_TIME)
    }

    /// RTCP packets received.
    #[must_use]
    pub fn rtcp_received(&self) -> u32 {
        self.line.rtcp_received.load(Ordering::Relaxed)
    }

    /// Waits until `count` packets with the tone `hz` have come since `mark`; gives the last of them.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] with what was heard instead.
    pub async fn hear(
        &self,
        phone: &str,
        mark: usize,
        hz: u32,
        count: usize,
        patience: Duration,
    ) -> Result<Heard> {
        self.until(phone, mark, &format!("{count} packets of {hz} Hz"), patience, |heard| {
            heard.iter().filter(|packet| packet.tone == Some(hz)).nth(count.saturating_sub(1)).copied()
        })
        .await
    }

    /// Waits until the packets since `mark` satisfy `pick`.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] with what was heard instead.
    pub async fn until<T>(
        &self,
        phone: &str,
        mark: usize,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&[Heard]) -> Option<T>,
    ) -> Result<T> {
        let mut count = self.line.heard_count.subscribe();
        let search = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = pick(&self.heard(mark)) {
                    return Some(found);
                }
                count.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(patience, search).await.ok().flatten();
        found.ok_or_else(|| PhoneError::Timeout {
            phone: phone.to_owned(),
            what: format!("hearing {what} (heard: {})", self.report(mark)),
            after: patience,
        })
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Whether a description makes the phone send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sends {
    Yes,
    No,
}

impl Line {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard(&self) -> Option<MutexGuard<'_, Guard>> {
        self.guard.as_ref().map(|guard| guard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn send(self: Arc<Self>) {
        let mut sending = self.sending.subscribe();
        if sending.wait_for(|on| *on).await.is_err() {
            return;
        }
        let mut ticks = tokio::time::interval(PACKET_TIME);
        // A phone that was held up catches up: its sound card did not stop.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticks.tick().await;
            let on = *sending.borrow_and_update();
            let (packets, remote) = {
                let mut plan = self.plan();
                (plan.tick(on), plan.remote)
            };
            let Some(remote) = remote else { continue };
            for packet in packets {
                let packet = match self.guard() {
                    None => packet,
                    Some(mut guard) => guard.seal(&packet).unwrap_or_default(),
                };
                let sent = self.rtp.send_to(&packet, remote).await.is_ok();
                let mut log = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                if sent && log.len() < MAX_RECORDED {
                    log.push(Instant::now());
                }
            }
        }
    }

    async fn receive(self: Arc<Self>) {
        let mut buffer = vec![0; 2048];
        let mut last_digit = None;
        loop {
            // An ICMP error of an earlier packet comes back here; it is not the end of the socket.
            let Ok((length, from)) = self.rtp.recv_from(&mut buffer).await else { continue };
            let at = Instant::now();
            let arrived = buffer.get(..length).unwrap_or_default();
            let opened = match self.guard() {
                None => Some(arrived.to_vec()),
                Some(guard) if !guard.is_keyed() => continue,
                Some(mut guard) => guard.open(arrived),
            };
            let Some(opened) = opened else {
                self.unopened.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let Some(packet) = Packet::parse(&opened) else { continue };
            if self.plan().received_event == Some(packet.payload_type) {
                let event = packet.payload.first().copied().and_then(rtp::digit_of);
                if last_digit != Some(packet.timestamp) {
                    last_digit = Some(packet.timestamp);
                    event.into_iter().for_each(|digit| self.log.push(Event::Digit(digit)));
                }
            }
            self.record(at, from, &packet);
        }
    }

    fn record(&self, at: Instant, from: SocketAddr, packet: &Packet<'_>) {
        let heard = Heard {
            at,
            from,
            payload_type: packet.payload_type,
            marker: packet.marker,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            tone: tone::listen(packet.payload_type, packet.payload),
        };
        let mut log = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() < MAX_RECORDED {
            log.push(heard);
        }
        self.heard_count.send_replace(log.len());
    }

    async fn receive_rtcp(self: Arc<Self>, socket: UdpSocket) {
        let mut buffer = vec![0; 2048];
        loop {
            if socket.recv_from(&mut buffer).await.is_ok() {
                self.rtcp_received.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Plan {
    /// The packets of one tick: audio, or the next packet of a key. The timestamp runs on while nothing is sent.
    fn tick(&mut self, on: bool) -> Vec<Vec<u8>> {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(tone::SAMPLES as u32);
        if !on {
            self.marker = true;
            return Vec::new();
        }
        if let Some(event) = self.telephone_event {
            if self.pressed.is_none() {
                let digit = self.digits.pop_front();
                self.pressed = digit.map(|event| Pressed { event, begun: timestamp, packets: 0 });
            }
            if let Some(mut pressed) = self.pressed.take() {
                pressed.packets += 1;
                let last = pressed.packets > DIGIT_PACKETS;
                let duration = pressed.packets.min(DIGIT_PACKETS) * tone::SAMPLES as u16;
                let edge = if last { Edge::Up } else { Edge::Down };
                let payload = rtp::event_payload(pressed.event, edge, duration);
                let packet = self.packet(event, pressed.packets == 1, pressed.begun, &payload);
                if pressed.packets < DIGIT_PACKETS + DIGIT_ENDS {
                    self.pressed = Some(pressed);
                }
                return vec![packet];
            }
        }
        let payload = match self.tone {
            Some(hz) => tone::tone(self.codec, hz),
            None => vec![tone::encode(self.codec, 0); tone::SAMPLES],
        };
        let marker = std::mem::take(&mut self.marker);
        vec![self.packet(self.codec.payload_type(), marker, timestamp, &payload)]
    }

    fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        Packet { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.ssrc, payload }
            .to_bytes()
    }
}

async fn bind_pair(ip: IpAddr) -> std::io::Result<(UdpSocket, UdpSocket)> {
    let mut failure = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let rtp = UdpSocket::bind((ip, 0)).await?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0 {
            match UdpSocket::bind((ip, port + 1)).await {
                Ok(rtcp) => return Ok((rtp, rtcp)),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}
