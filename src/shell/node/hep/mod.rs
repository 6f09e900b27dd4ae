//! Export to a capture server (Homer and its kin) by HEP version 3: messages, RTCP, and how each leg sounded.
//!
//! ```text
//! worker ─► Tap (a bounded queue) ─► a task of the services ─► capture server
//! ```
//!
//! The worker puts a slice of each message into the queue and goes on; masking and packing are done by the task. What does
//! not fit, or finds no server, is left out and counted: calls wait for no capture.

mod line;
mod packet;
mod payload;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::ServerName;

use self::line::Line;
use self::packet::{Agent, Kind, Seen};
use super::failure::StartError;
use super::tls;
use crate::call::settings::Listener;
use crate::config::{self, HepTransport};
use crate::engine::capture::Capture;
use crate::engine::trace::masked;
use crate::shell::telemetry::{HepCount, HepCounters};
use crate::sip::Flow;
use crate::wire::sip::{HeaderName, peek};

/// What may wait, in packets and in bytes: a second of a node that works hard.
const WAITING: usize = 16_384;
const WAITING_BYTES: usize = 16 << 20;
/// Dialogs whose caller's is remembered.
const DIALOGS: usize = 65_536;
/// Pauses between attempts to reach a server.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The address of a server is looked up again that often where a broken stream does not ask for it.
const FRESH: Duration = Duration::from_secs(300);
/// A fault that goes on is told again that often.
const TOLD: Duration = Duration::from_secs(60);
/// How long the end waits for what is still to be sent.
const LAST: Duration = Duration::from_millis(500);

/// What goes through the queue.
enum Told {
    Sip { at: SystemTime, flow: Flow, is_sent: bool, bytes: Bytes },
    Capture(SystemTime, Capture),
    End,
}

impl Told {
    fn size(&self) -> usize {
        match self {
            Self::Sip { bytes, .. } => bytes.len(),
            Self::Capture(_, Capture::Rtcp { packet, .. }) => packet.len(),
            Self::Capture(..) | Self::End => 0,
        }
    }
}

/// Where what happens is put. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tap {
    queue: mpsc::Sender<Told>,
    bytes: Arc<AtomicUsize>,
    counters: Arc<HepCounters>,
    is_sip: bool,
}

impl Tap {
    /// A message came in, or goes out.
    pub(super) fn message(&self, flow: Flow, is_sent: bool, bytes: &Bytes) {
        if self.is_sip {
            self.put(Told::Sip { at: SystemTime::now(), flow, is_sent, bytes: bytes.clone() });
        }
    }

    /// What the engine tells.
    pub(super) fn capture(&self, capture: Capture) {
        self.put(Told::Capture(SystemTime::now(), capture));
    }

    fn put(&self, told: Told) {
        let size = told.size();
        // Counted before it can be taken out.
        let waiting = self.bytes.fetch_add(size, Ordering::Relaxed);
        if waiting + size > WAITING_BYTES || self.queue.try_send(told).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.counters.count(HepCount::Full);
        }
    }
}

/// The export of a node. Closed, what waited is sent, as far as half a second allows.
pub(super) struct Hep {
    tap: Tap,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Hep {
    /// Starts the task on `services`. A server that is not there is no fault of the start.
    ///
    /// # Errors
    /// The authorities for its certificate cannot be read, or its name cannot be in one.
    pub(super) fn start(
        settings: &config::Hep,
        listeners: &[Listener],
        services: &Handle,
        counters: Arc<HepCounters>,
    ) -> Result<Self, StartError> {
        let failed = |error: String| StartError::Hep { error };
        let proof = if settings.server.transport == HepTransport::Tls {
            let name = ServerName::try_from(settings.server.host.to_string());
            let name = name.map_err(|error| failed(error.to_string()))?;
            let config =
                tls::client_config(settings.ca.as_deref()).map_err(|error| failed(error.to_string()))?;
            Some((Arc::new(config), name))
        } else {
            None
        };
        let (queue, mail) = mpsc::channel(WAITING);
        let (ending, ended) = std::sync::mpsc::channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let tap =
            Tap { queue, bytes: Arc::clone(&bytes), counters: Arc::clone(&counters), is_sip: settings.sip };
        let exporter = Exporter {
            line: Line::new(settings.server.clone(), proof),
            settings: settings.clone(),
            listeners: listeners.iter().map(|listener| (listener.address, listener.loopback)).collect(),
            dialogs: Dialogs::default(),
            counters,
            packet: Vec::new(),
            opened: Instant::now(),
            retry: None,
            pause: PAUSES.0,
            told: None,
            missed: 0,
        };
        services.spawn(async move {
            exporter.run(mail, &bytes).await;
            // Nobody waits where the node is gone already.
            let _ = ending.send(());
        });
        Ok(Self { tap, ended })
    }

    /// What the engine tells.
    pub(super) fn capture(&self, capture: Capture) {
        self.tap.capture(capture);
    }

    /// For whoever has something to tell.
    pub(super) fn tap(&self) -> Tap {
        self.tap.clone()
    }
}

impl Drop for Hep {
    fn drop(&mut self) {
        if self.tap.queue.try_send(Told::End).is_ok() {
            // A task that is late is not waited for.
            let _ = self.ended.recv_timeout(LAST);
        }
    }
}

/// The Call-IDs of callers by those of our other dialogs; the oldest make room.
#[derive(Default)]
struct Dialogs {
    callers: HashMap<Box<str>, Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Dialogs {
    fn put(&mut self, call_id: Box<str>, caller: Box<str>) {
        if self.callers.insert(call_id.clone(), caller).is_some() {
            return;
        }
        self.order.push_back(call_id);
        if self.order.len() > DIALOGS
            && let Some(oldest) = self.order.pop_front()
        {
            self.callers.remove(&oldest);
        }
    }

    fn caller(&self, call_id: &str) -> Option<&str> {
        self.callers.get(call_id).map(|caller| &**caller)
    }
}

/// The task.
struct Exporter {
    settings: config::Hep,
    line: Line,
    listeners: Vec<(SocketAddr, SocketAddr)>,
    dialogs: Dialogs,
    counters: Arc<HepCounters>,
    packet: Vec<u8>,
    opened: Instant,
    /// No attempt before.
    retry: Option<Instant>,
    pause: Duration,
    /// When a fault was last told.
    told: Option<Instant>,
    /// Packets that nobody got since then.
    missed: u64,
}

impl Exporter {
    async fn run(mut self, mut mail: mpsc::Receiver<Told>, bytes: &AtomicUsize) {
        while let Some(told) = mail.recv().await {
            bytes.fetch_sub(told.size(), Ordering::Relaxed);
            match told {
                Told::End => break,
                Told::Sip { at, flow, is_sent, bytes } => self.sip(at, flow, is_sent, &bytes).await,
                Told::Capture(_, Capture::Dialog { call_id, caller }) => self.dialogs.put(call_id, caller),
                Told::Capture(at, Capture::Rtcp { call_id, local, peer, packet }) => {
                    if let Some(json) = payload::rtcp(&packet) {
                        self.send(&Seen::new(at, Kind::Rtcp, (peer, local), Some(&call_id), &json)).await;
                    }
                }
                Told::Capture(at, Capture::Quality(quality)) => {
                    let report = payload::quality(&quality);
                    let local = quality.dialog.local;
                    let ends = (local, quality.stats.source.unwrap_or(local));
                    let call_id = Some(&*quality.dialog.call_id);
                    self.send(&Seen::new(at, Kind::Quality, ends, call_id, report.as_bytes())).await;
                }
            }
            if mail.is_empty()
                && let Err(error) = self.line.flush().await
            {
                self.broke(&error);
            }
        }
        // Nobody is told of a server that is gone at the very end.
        let _ = self.line.flush().await;
    }

    async fn sip(&mut self, at: SystemTime, flow: Flow, is_sent: bool, bytes: &Bytes) {
        let text = |name| peek(bytes, name).and_then(|value| std::str::from_utf8(value).ok());
        let method = text(HeaderName::CSeq).and_then(|cseq| cseq.split_ascii_whitespace().nth(1));
        if method.is_some_and(|method| self.settings.except.iter().any(|except| **except == *method)) {
            return;
        }
        let caller = text(HeaderName::CallId).and_then(|call_id| self.dialogs.caller(call_id));
        let caller = caller.map(str::to_owned);
        let message = masked(bytes.get(..bytes.len().min(packet::MAX_PAYLOAD)).unwrap_or_default());
        let Some((address, loopback)) = self.listeners.get(usize::from(flow.listener)).copied() else {
            return;
        };
        let local = if flow.peer.ip().to_canonical().is_loopback() { loopback } else { address };
        let ends = if is_sent { (local, flow.peer) } else { (flow.peer, local) };
        let mut seen = Seen::new(at, Kind::Sip, ends, caller.as_deref(), &message);
        seen.is_stream = flow.transport.is_reliable();
        self.send(&seen).await;
    }

    async fn send(&mut self, seen: &Seen<'_>) {
        let agent = Agent {
            id: self.settings.capture_id,
            name: &self.settings.name,
            password: self.settings.password.as_ref().map(|password| password.expose()),
        };
        packet::write(&mut self.packet, agent, seen);
        if !self.reach().await {
            self.miss();
            return;
        }
        if let Err(error) = self.line.send(&self.packet).await {
            self.miss();
            self.broke(&error);
            return;
        }
        self.counters.count(match seen.kind {
            Kind::Sip => HepCount::Sip,
            Kind::Rtcp => HepCount::Rtcp,
            Kind::Quality => HepCount::Quality,
        });
    }

    fn miss(&mut self) {
        self.counters.count(HepCount::Unsent);
        self.missed += 1;
    }

    /// Whether there is a way to the server. One that was not there a moment ago is not asked for again yet.
    async fn reach(&mut self) -> bool {
        let now = Instant::now();
        let is_stream = self.settings.server.transport != HepTransport::Udp;
        if self.line.is_open() {
            if is_stream || now.duration_since(self.opened) < FRESH {
                return true;
            }
            self.line.close();
        }
        if self.retry.is_some_and(|retry| now < retry) {
            return false;
        }
        match self.line.open().await {
            Ok(()) => {
                (self.opened, self.retry) = (Instant::now(), None);
                if self.missed > 0 {
                    tracing::info!(missed = self.missed, "the capture server is there again");
                    (self.missed, self.told) = (0, None);
                }
                true
            }
            Err(error) => {
                self.rest();
                self.fault(&error);
                false
            }
        }
    }

    /// A server that takes connections and breaks them is not asked more often than one that is not there. A socket for
    /// datagrams stays open whatever became of one.
    fn broke(&mut self, error: &std::io::Error) {
        if !self.line.is_open() {
            if self.opened.elapsed() > PAUSES.1 {
                self.pause = PAUSES.0;
            }
            self.rest();
        }
        self.fault(error);
    }

    fn rest(&mut self) {
        self.retry = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    fn fault(&mut self, error: &std::io::Error) {
        if self.told.is_some_and(|told| told.elapsed() < TOLD) {
            return;
        }
        self.told = Some(Instant::now());
        let server = &self.settings.server;
        tracing::warn!(
            missed = self.missed,
            "the capture server {}:{} does not take what it is sent: {error}",
            server.host,
            server.port
        );
    }
}
