//! One UDP socket that speaks SIP: retransmission, duplicates, ACK of failures, and who gets which message
//! (RFC 3261 17, as small as a phone needs it).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::error::{PhoneError, Result};
use super::events::{Event, EventLog};
use super::message::{Message, StartLine};
use crate::base::Random;

/// T1 of RFC 3261.
const T1: Duration = Duration::from_millis(500);
/// T2 of RFC 3261.
const T2: Duration = Duration::from_secs(4);
/// Finished server transactions remembered, to answer duplicates.
const MAX_REMEMBERED: usize = 4_096;

/// Call-ID and local tag.
pub(super) type DialogKey = (String, String);

/// The signalling side of a phone.
pub(super) struct Endpoint {
    pub(super) phone: String,
    pub(super) log: EventLog,
    pub(super) local: SocketAddr,
    server: SocketAddr,
    socket: UdpSocket,
    tables: Mutex<Tables>,
    random: Mutex<Random>,
    strangers: UnboundedSender<Message>,
}

#[derive(Default)]
struct Tables {
    /// Our requests by branch.
    clients: BTreeMap<String, UnboundedSender<Message>>,
    /// Their requests by key, with our last answer.
    servers: BTreeMap<String, Option<(Vec<u8>, SocketAddr)>>,
    server_order: VecDeque<String>,
    /// Where the answers to a request go: the source of its first datagram.
    sources: BTreeMap<String, SocketAddr>,
    dialogs: BTreeMap<DialogKey, UnboundedSender<Message>>,
    /// Our ACKs by Call-ID, local tag and CSeq, sent again when the final answer comes again.
    acks: BTreeMap<(String, String, u32), (Vec<u8>, SocketAddr)>,
}

impl Endpoint {
    /// Binds `ip` to a free port. The receiver gets requests that belong to no dialog.
    pub(super) async fn open(
        phone: &str,
        ip: IpAddr,
        server: SocketAddr,
        random: Random,
        log: EventLog,
    ) -> Result<(Arc<Self>, UnboundedReceiver<Message>)> {
        let io = |what| move |source| PhoneError::Io { phone: phone.to_owned(), what, source };
        let socket = UdpSocket::bind((ip, 0)).await.map_err(io("no signalling port"))?;
        let local = socket.local_addr().map_err(io("signalling port"))?;
        let (strangers, unclaimed) = unbounded_channel();
        let endpoint = Self {
            phone: phone.to_owned(),
            log,
            local,
            server,
            socket,
            tables: Mutex::default(),
            random: Mutex::new(random),
            strangers,
        };
        Ok((Arc::new(endpoint), unclaimed))
    }

    /// Reads the socket for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut buffer = vec![0; 65_535];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let bytes = buffer.get(..length).unwrap_or_default();
            // Keep-alives (RFC 5626 3.5.1) and empty datagrams are no messages.
            if bytes.iter().all(|byte| b"\r\n\0".contains(byte)) {
                continue;
            }
            match Message::parse(bytes) {
                Ok(message) => self.dispatch(message, from).await,
                Err(fault) => self.log.push(Event::Unreadable(fault)),
            }
        }
    }

    /// Random text for a tag, a branch or a Call-ID.
    pub(super) fn mint(&self) -> String {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).tag()
    }

    /// Draws from the phone's generator.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a request for `uri` goes: its address where it is one, else the server.
    pub(super) fn next_hop(&self, uri: &str) -> SocketAddr {
        let host = uri.split_once(':').map_or(uri, |(_, rest)| rest);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let host = host.split([';', '?', '>']).next().unwrap_or(host);
        let by_ip = || host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 5060));
        host.parse().ok().or_else(by_ip).unwrap_or(self.server)
    }

    /// The server of this phone.
    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Begins a client transaction: adds the Via and sends.
    pub(super) async fn begin(
        self: &Arc<Self>,
        mut request: Message,
        to: SocketAddr,
    ) -> Result<ClientTransaction> {
        let branch = format!("z9hG4bK{}", self.mint());
        request.headers.insert(0, self.via(&branch));
        let bytes = request.to_bytes();
        let (sender, responses) = unbounded_channel();
        self.tables().clients.insert(branch.clone(), sender);
        self.log.push(Event::Sent(Arc::new(request.clone())));
        let sent = self.transmit(&bytes, to).await;
        let now = Instant::now();
        let transaction = ClientTransaction {
            endpoint: Arc::clone(self),
            request,
            branch,
            bytes,
            to,
            responses,
            interval: T1,
            next: Some(now + T1),
            give_up: now + 64 * T1,
        };
        sent.map(|()| transaction)
    }

    /// Sends a CANCEL of `invite` (RFC 3261 9.1) and waits for its answer.
    pub(super) async fn cancel(self: &Arc<Self>, invite: &Message, to: SocketAddr) -> Result<Message> {
        let mut cancel = Message::request("CANCEL", invite.uri());
        let copied = ["Via", "Max-Forwards", "From", "To", "Call-ID", "Route"];
        let headers = invite.headers.iter().filter(|(name, _)| copied.contains(&name.as_str()));
        cancel.headers = headers.cloned().collect();
        cancel.set("CSeq", format!("{} CANCEL", invite.cseq().unwrap_or_default()));
        let key = format!("{} CANCEL", invite.branch().unwrap_or_default());
        let (sender, mut answers) = unbounded_channel();
        self.tables().clients.insert(key.clone(), sender);
        self.log.push(Event::Sent(Arc::new(cancel.clone())));
        let bytes = cancel.to_bytes();
        let mut interval = T1;
        let give_up = Instant::now() + 64 * T1;
        let answer = loop {
            self.transmit(&bytes, to).await?;
            match tokio::time::timeout(interval, answers.recv()).await {
                Ok(answer) => break answer,
                Err(_) if Instant::now() > give_up => break None,
                Err(_) => interval = (interval * 2).min(T2),
            }
        };
        self.tables().clients.remove(&key);
        answer.ok_or_else(|| self.timeout("an answer to CANCEL", 64 * T1))
    }

    /// Sends an ACK of a 2xx and keeps it for a repeated 2xx.
    pub(super) async fn acknowledge(&self, mut ack: Message, to: SocketAddr) -> Result<()> {
        ack.headers.insert(0, self.via(&format!("z9hG4bK{}", self.mint())));
        let bytes = ack.to_bytes();
        self.keep_ack(&ack, bytes.clone(), to);
        self.log.push(Event::Sent(Arc::new(ack)));
        self.transmit(&bytes, to).await
    }

    fn keep_ack(&self, ack: &Message, bytes: Vec<u8>, to: SocketAddr) {
        let tag = ack.from_tag().unwrap_or_default().to_owned();
        self.tables()
            .acks
            .insert((ack.call_id().to_owned(), tag, ack.cseq().unwrap_or_default()), (bytes, to));
    }

    /// Answers a request; the answer is repeated when the request is.
    pub(super) async fn respond(&self, request: &Message, response: Message) -> Result<()> {
        let bytes = response.to_bytes();
        let key = server_key(request);
        let to = {
            let mut tables = self.tables();
            let to = tables.sources.get(&key).copied().unwrap_or(self.server);
            if let Some(kept) = tables.servers.get_mut(&key) {
                *kept = Some((bytes.clone(), to));
            }
            to
        };
        self.log.push(Event::Sent(Arc::new(response)));
        self.transmit(&bytes, to).await
    }

    /// Sends the answer to `request` once more, as it was.
    pub(super) async fn repeat(&self, request: &Message) {
        let kept = self.tables().servers.get(&server_key(request)).cloned().flatten();
        if let Some((bytes, to)) = kept {
            let _ = self.transmit(&bytes, to).await;
        }
    }

    /// Claims the requests of a dialog.
    pub(super) fn claim(&self, key: DialogKey) -> UnboundedReceiver<Message> {
        let (sender, requests) = unbounded_channel();
        self.tables().dialogs.insert(key, sender);
        requests
    }

    /// Lets a dialog go: its further requests get 481.
    pub(super) fn release(&self, key: &DialogKey) {
        self.tables().dialogs.remove(key);
    }

    pub(super) fn timeout(&self, what: &str, after: Duration) -> PhoneError {
        PhoneError::Timeout { phone: self.phone.clone(), what: what.to_owned(), after }
    }

    async fn dispatch(&self, message: Message, from: SocketAddr) {
        match message.start {
            StartLine::Response { .. } => self.response(message).await,
            StartLine::Request { .. } => self.request(message, from).await,
        }
    }

    async fn response(&self, message: Message) {
        let branch = message.branch().unwrap_or_default();
        let key = if message.method() == "CANCEL" { format!("{branch} CANCEL") } else { branch.to_owned() };
        let client = self.tables().clients.get(&key).cloned();
        let repeated_ack =
            if message.method() == "INVITE" && message.status().is_some_and(|status| status >= 200) {
                let tag = message.from_tag().unwrap_or_default().to_owned();
                let key = (message.call_id().to_owned(), tag, message.cseq().unwrap_or_default());
                self.tables().acks.get(&key).cloned()
            } else {
                None
            };
        if let Some((ack, to)) = repeated_ack {
            let _ = self.transmit(&ack, to).await;
            return;
        }
        self.received(&message);
        if let Some(client) = client {
            let _ = client.send(message);
        }
    }

    async fn request(&self, message: Message, from: SocketAddr) {
        if message.method() != "ACK" {
            let key = server_key(&message);
            let known = self.tables().servers.get(&key).cloned();
            match known {
                Some(Some((answer, to))) => {
                    let _ = self.transmit(&answer, to).await;
                    return;
                }
                Some(None) => return,
                None => self.tables().remember(key, from),
            }
        }
        self.received(&message);
        let key = (message.call_id().to_owned(), message.to_tag().unwrap_or_default().to_owned());
        let dialog = self.tables().dialogs.get(&key).cloned();
        match dialog {
            Some(dialog) if message.to_tag().is_some() => {
                let _ = dialog.send(message);
            }
            _ if message.method() == "ACK" => {}
            _ if message.to_tag().is_some() => {
                let _ = self.respond(&message, Message::reply(&message, 481)).await;
            }
            _ => {
                let _ = self.strangers.send(message);
            }
        }
    }

    fn received(&self, message: &Message) {
        for fault in message.unreadable() {
            self.log.push(Event::Unreadable(format!("{fault} in {}", message.summary())));
        }
        self.log.push(Event::Received(Arc::new(message.clone())));
    }

    fn via(&self, branch: &str) -> (String, String) {
        ("Via".to_owned(), format!("SIP/2.0/UDP {};branch={branch};rport", self.local))
    }

    async fn transmit(&self, bytes: &[u8], to: SocketAddr) -> Result<()> {
        let sent = self.socket.send_to(bytes, to).await;
        let io = |source| PhoneError::Io { phone: self.phone.clone(), what: "cannot send", source };
        sent.map(drop).map_err(io)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn remember(&mut self, key: String, from: SocketAddr) {
        self.servers.insert(key.clone(), None);
        self.sources.insert(key.clone(), from);
        self.server_order.push_back(key);
        if self.server_order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.server_order.pop_front()
        {
            self.servers.remove(&oldest);
            self.sources.remove(&oldest);
        }
    }
}

/// RFC 3261 17.2.3: branch, sent-by and method name a server transaction.
fn server_key(request: &Message) -> String {
    let via = request.header("Via").unwrap_or_default();
    let sent_by = via.split(';').next().unwrap_or_default();
    format!("{} {sent_by} {}", request.branch().unwrap_or_default(), request.method())
}

/// A request on its way; it lives as long as someone waits for its answer.
pub(super) struct ClientTransaction {
    endpoint: Arc<Endpoint>,
    pub(super) request: Message,
    pub(super) to: SocketAddr,
    branch: String,
    bytes: Vec<u8>,
    responses: UnboundedReceiver<Message>,
    interval: Duration,
    next: Option<Instant>,
    give_up: Instant,
}

impl ClientTransaction {
    /// The next response; the request is repeated meanwhile (timers A and E), a failure of an INVITE is ACKed.
    pub(super) async fn next(&mut self) -> Result<Message> {
        let invite = self.request.method() == "INVITE";
        loop {
            let wake = self.next.unwrap_or(self.give_up).min(self.give_up);
            match tokio::time::timeout_at(wake, self.responses.recv()).await {
                Ok(Some(response)) => {
                    if invite {
                        self.next = None;
                        // Ringing may last: timer B stands only until the first answer of any kind.
                        self.give_up = Instant::now() + Duration::from_secs(180);
                    }
                    if invite && response.status().is_some_and(|status| status >= 300) {
                        self.acknowledge_failure(&response).await?;
                    }
                    return Ok(response);
                }
                Ok(None) => {
                    return Err(PhoneError::Ended { phone: self.endpoint.phone.clone(), what: "the socket" });
                }
                Err(_) if Instant::now() >= self.give_up => {
                    let what = format!("an answer to {}", self.request.summary());
                    return Err(self.endpoint.timeout(&what, 64 * T1));
                }
                Err(_) => {
                    self.endpoint.transmit(&self.bytes, self.to).await?;
                    self.interval = if invite { self.interval * 2 } else { (self.interval * 2).min(T2) };
                    self.next = Some(Instant::now() + self.interval);
                }
            }
        }
    }

    /// The final response.
    pub(super) async fn outcome(mut self) -> Result<Message> {
        loop {
            let response = self.next().await?;
            if response.status().is_some_and(|status| status >= 200) {
                return Ok(response);
            }
        }
    }

    /// RFC 3261 17.1.1.3.
    async fn acknowledge_failure(&self, response: &Message) -> Result<()> {
        let mut ack = Message::request("ACK", self.request.uri());
        for name in ["Via", "Max-Forwards", "From", "Call-ID", "Route"] {
            ack.headers.extend(self.request.all(name).map(|value| (name.to_owned(), value.to_owned())));
        }
        ack.set("To", response.header("To").unwrap_or_default());
        ack.set("CSeq", format!("{} ACK", self.request.cseq().unwrap_or_default()));
        self.endpoint.keep_ack(&ack, ack.to_bytes(), self.to);
        self.endpoint.log.push(Event::Sent(Arc::new(ack.clone())));
        self.endpoint.transmit(&ack.to_bytes(), self.to).await
    }
}

impl Drop for ClientTransaction {
    fn drop(&mut self) {
        self.endpoint.tables().clients.remove(&self.branch);
    }
}
