//! TCP connections of the signalling worker: framing, bounded queues, limits on who may hold how many for how long.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use socket2::{Domain, Protocol, Socket, Type};

use super::sys::Poll;
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Frame, Limits, MessageWriter, StreamFramer};

/// Connections at once.
const MOST: usize = 16_384;
/// Connections at once from one address.
const MOST_EACH: usize = 256;
/// Bytes that may wait to be written on one connection; a peer that does not read is let go.
const QUEUE: usize = 512 * 1024;
/// A connection brings its first whole message, and ends each message it begins, within this.
const PATIENCE: Duration = Duration::from_secs(20);
/// A connection on which nothing came for so long is closed. Longer than any keep-alive and any registration.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// Read at a time.
const CHUNK: usize = 16 * 1024;

/// A connection that is on its way; writable when it stands or has failed.
fn connect(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// What happened on the connections.
pub(super) enum Happened {
    /// One message.
    Received { flow: Flow, bytes: Bytes },
    /// A connection is gone, or could not be made.
    Closed(Flow),
}

struct Connection {
    socket: Socket,
    peer: SocketAddr,
    listener: u16,
    framer: StreamFramer,
    queue: VecDeque<Bytes>,
    written: usize,
    queued: usize,
    waits_to_write: bool,
    /// When it must have brought a whole message.
    due: Option<Instant>,
    heard: Instant,
}

/// All connections of one worker.
pub(super) struct Streams {
    connections: FxHashMap<u32, Connection>,
    by_peer: BTreeMap<SocketAddr, u32>,
    each: BTreeMap<IpAddr, usize>,
    next: u32,
    limits: Limits,
    swept: Instant,
}

impl Streams {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            connections: FxHashMap::default(),
            by_peer: BTreeMap::new(),
            each: BTreeMap::new(),
            next: 0,
            limits,
            swept: Instant::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Takes in who waits at a listener.
    pub(super) fn accept(&mut self, socket: &Socket, listener: u16, poll: &Poll, base: u64) {
        for _ in 0..64 {
            let (accepted, peer) = match socket.accept() {
                Ok((accepted, peer)) => (accepted, peer.as_socket()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    return;
                }
            };
            let Some(peer) = peer else { continue };
            let of_peer = self.each.get(&peer.ip()).copied().unwrap_or(0);
            if self.connections.len() >= MOST || of_peer >= MOST_EACH {
                // Dropped, so closed: an answer would be work for who has too many already.
                continue;
            }
            if accepted.set_nonblocking(true).is_ok() {
                let _ = accepted.set_tcp_nodelay(true);
                let _ = self.keep(accepted, peer, listener, poll, base, false);
            }
        }
    }

    fn keep(
        &mut self,
        socket: Socket,
        peer: SocketAddr,
        listener: u16,
        poll: &Poll,
        base: u64,
        connecting: bool,
    ) -> io::Result<u32> {
        self.next = self.next.wrapping_add(1).max(1);
        let id = self.next;
        poll.add(&socket, base + u64::from(id), connecting)?;
        let now = Instant::now();
        self.connections.insert(
            id,
            Connection {
                socket,
                peer,
                listener,
                framer: StreamFramer::new(self.limits),
                queue: VecDeque::new(),
                written: 0,
                queued: 0,
                waits_to_write: connecting,
                due: (!connecting).then_some(now + PATIENCE),
                heard: now,
            },
        );
        self.by_peer.insert(peer, id);
        *self.each.entry(peer.ip()).or_default() += 1;
        Ok(id)
    }

    /// Sends on the connection of a flow, on another to the same peer, or on a new one.
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        let known = Some(flow.connection).filter(|id| self.connections.contains_key(id));
        let id = known.or_else(|| self.by_peer.get(&flow.peer).copied());
        let id = match id {
            Some(id) => id,
            None => {
                let made = if self.connections.len() < MOST {
                    connect(flow.peer)
                } else {
                    Err(io::ErrorKind::Other.into())
                };
                match made.and_then(|socket| self.keep(socket, flow.peer, flow.listener, poll, base, true)) {
                    Ok(id) => id,
                    Err(_) => {
                        out.push(Happened::Closed(flow));
                        return;
                    }
                }
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.queued + bytes.len() > QUEUE {
            self.close(id, out);
            return;
        }
        connection.queued += bytes.len();
        connection.queue.push_back(bytes);
        self.write(id, poll, base, out);
    }

    /// A connection is ready.
    pub(super) fn ready(
        &mut self,
        id: u32,
        (readable, writable): (bool, bool),
        poll: &Poll,
        base: u64,
        out: &mut Vec<Happened>,
    ) {
        if writable {
            self.write(id, poll, base, out);
        }
        if readable {
            self.read(id, poll, base, out);
        }
    }

    fn write(&mut self, id: u32, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut failed = false;
        while let Some(front) = connection.queue.front() {
            let rest = front.get(connection.written..).unwrap_or_default();
            match connection.socket.write(rest) {
                Ok(count) => {
                    connection.written += count;
                    connection.queued = connection.queued.saturating_sub(count);
                    if connection.written >= front.len() {
                        connection.queue.pop_front();
                        connection.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        let waits = !connection.queue.is_empty();
        if !failed && waits != connection.waits_to_write {
            connection.waits_to_write = waits;
            failed = poll.change(&connection.socket, base + u64::from(id), waits).is_err();
        }
        if failed {
            self.close(id, out);
        }
    }

    fn read(&mut self, id: u32, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        let mut chunk = [0_u8; CHUNK];
        // A talkative peer waits for its next turn after this much.
        for _ in 0..4 {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.socket.read(&mut chunk) {
                Ok(0) => return self.close(id, out),
                Ok(count) => {
                    connection.framer.push(chunk.get(..count).unwrap_or_default());
                    connection.heard = Instant::now();
                    if !self.frames(id, poll, base, out) || count < CHUNK {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(id, out),
            }
        }
    }

    /// Takes the messages that are whole; false if the connection is gone.
    fn frames(&mut self, id: u32, poll: &Poll, base: u64, out: &mut Vec<Happened>) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return false };
            let flow = Flow {
                transport: Transport::Tcp,
                listener: connection.listener,
                connection: id,
                peer: connection.peer,
            };
            match connection.framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    connection.due = None;
                    out.push(Happened::Received { flow, bytes });
                }
                Ok(Some(Frame::Ping)) => {
                    // RFC 5626 4.4.1.
                    connection.queued += 2;
                    connection.queue.push_back(Bytes::from_static(b"\r\n"));
                    self.write(id, poll, base, out);
                }
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => {
                    let is_partial = connection.framer.is_partial();
                    if is_partial && connection.due.is_none() {
                        connection.due = Some(Instant::now() + PATIENCE);
                    }
                    return true;
                }
                Err(error) => {
                    // The stream cannot be followed any more: one last word, then it is closed (RFC 3261 18.3).
                    if let Some(request) = &error.reply {
                        let tag = format!("{id:x}");
                        let status = error.status();
                        let peer = connection.peer;
                        let bytes =
                            MessageWriter::reply_from(request, status, None, peer, Some(&tag)).finish();
                        connection.queued += bytes.len();
                        connection.queue.push_back(bytes);
                        self.write(id, poll, base, out);
                    }
                    self.close(id, out);
                    return false;
                }
            }
        }
    }

    fn close(&mut self, id: u32, out: &mut Vec<Happened>) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if self.by_peer.get(&connection.peer) == Some(&id) {
            self.by_peer.remove(&connection.peer);
        }
        if let Some(count) = self.each.get_mut(&connection.peer.ip()) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&connection.peer.ip());
            }
        }
        let flow = Flow {
            transport: Transport::Tcp,
            listener: connection.listener,
            connection: id,
            peer: connection.peer,
        };
        out.push(Happened::Closed(flow));
        // What was sent before the connection had a number of its own.
        out.push(Happened::Closed(Flow { connection: 0, ..flow }));
    }

    /// Closes what has been silent, or slow, for too long. Looks at most once a second.
    pub(super) fn sweep(&mut self, out: &mut Vec<Happened>) {
        let now = Instant::now();
        if now.duration_since(self.swept) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        let late: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| c.due.is_some_and(|due| due <= now) || now.duration_since(c.heard) > IDLE)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.close(id, out);
        }
    }
}
