//! TCP connections of the signalling worker: framing, bounded queues, limits on who may hold how many for how long.
//!
//! The number of a connection is part of the flow of its messages and is never given to another one. A flow whose
//! connection was made by a peer ends with it: whoever is at that address later may be somebody else (RFC 5626 3.2).
//! One of our own making is made anew when it is needed again.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::backlog::{Backlog, Full};
use super::bounds::Bounds;
use super::census::{Arrival, Census, Seat};
use super::sys::{Interest, Poll};
use crate::shell::files::Seldom;
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Frame, FrameError, Limits, MessageWriter, StreamFramer};

/// Numbers of connections of our own making have this bit.
pub(super) const OURS: u32 = 1 << 31;
/// Taken in from one listener in one turn.
const ACCEPTS: usize = 64;
/// Read from one connection in one turn: a talkative peer waits for its next.
const READS: usize = 4;
/// Read at a time.
const CHUNK: usize = 16 * 1024;
/// Flows without a number that went to one connection and are told of its end.
pub(super) const GUESTS: usize = 8;

/// What happened on the connections.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// One message.
    Received { flow: Flow, bytes: Bytes },
    /// A connection is gone, or could not be made.
    Closed(Flow),
}

/// Tells that a connection is gone. Of many messages that were for it, the first tells.
pub(super) fn tell_closed(flow: Flow, out: &mut Vec<Happened>) {
    let closed = Happened::Closed(flow);
    if out.last() != Some(&closed) {
        out.push(closed);
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// On its way to the peer.
    Connecting,
    /// In use.
    Open,
    /// Told its last word; what still comes is thrown away.
    Parting,
}

struct Connection {
    socket: Socket,
    flow: Flow,
    stage: Stage,
    framer: StreamFramer,
    queue: VecDeque<Bytes>,
    /// Bytes of the first of the queue that are written.
    written: usize,
    backlog: Backlog,
    interest: Interest,
    /// When it must have got further: connected, brought a whole message, or been left.
    due: Option<Instant>,
    heard: Instant,
    /// Flows without a number that were served here.
    guests: SmallVec<[Flow; 1]>,
    _seat: Seat,
}

/// All connections of one worker.
pub(super) struct Streams {
    connections: FxHashMap<u32, Connection>,
    by_peer: BTreeMap<SocketAddr, u32>,
    census: Arc<Census>,
    next: u32,
    limits: Limits,
    bounds: Bounds,
    swept: Instant,
    /// Listeners that are left alone, and until when.
    paused: Vec<(u16, Instant)>,
    seldom: Seldom,
}

impl Streams {
    pub(super) fn new(limits: Limits, bounds: Bounds, census: Arc<Census>) -> Self {
        Self {
            connections: FxHashMap::default(),
            by_peer: BTreeMap::new(),
            census,
            next: 0,
            limits,
            bounds,
            swept: Instant::now(),
            paused: Vec::new(),
            seldom: Seldom::default(),
        }
    }

    /// Whether there is nothing that [`Streams::sweep`] has to look after.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.paused.is_empty()
    }

    /// Takes in who waits at a listener; false where it is to be left alone for a while.
    pub(super) fn accept(&mut self, socket: &Socket, listener: u16, poll: &Poll, base: u64) -> bool {
        for _ in 0..ACCEPTS {
            let (accepted, peer) = match socket.accept() {
                Ok((accepted, peer)) => (accepted, peer.as_socket()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if is_out_of_resources(&error) => {
                    // The peer stays in the backlog and the listener readable: asking on would be all we do.
                    if self.seldom.is_due() {
                        tracing::warn!(%error, "no room for one more connection (ulimit -n, LimitNOFILE=)");
                    }
                    self.paused.push((listener, Instant::now() + self.bounds.pause));
                    return false;
                }
                // That one is gone already; the next may not be (accept(2), "Error handling").
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    continue;
                }
            };
            let Some(peer) = peer else { continue };
            // Dropped, so closed: an answer would be work for who has too many already.
            let Some(seat) = self.census.admit(peer.ip(), Arrival::Open) else { continue };
            if accepted.set_nonblocking(true).is_ok() {
                tune(&accepted);
                let flow = Flow { transport: Transport::Tcp, listener, connection: 0, peer };
                if let Err(error) = self.keep((accepted, seat), flow, Stage::Open, poll, base) {
                    tracing::warn!(%error, "a connection cannot be watched");
                }
            }
        }
        true
    }

    /// Listeners whose pause is over.
    pub(super) fn rested(&mut self) -> SmallVec<[u16; 4]> {
        let now = Instant::now();
        let over = self.paused.iter().filter(|(_, until)| *until <= now).map(|(listener, _)| *listener);
        let over = over.collect();
        self.paused.retain(|(_, until)| *until > now);
        over
    }

    fn keep(
        &mut self,
        (socket, seat): (Socket, Seat),
        flow: Flow,
        stage: Stage,
        poll: &Poll,
        base: u64,
    ) -> io::Result<u32> {
        let ours = if stage == Stage::Connecting { OURS } else { 0 };
        let id = loop {
            self.next = (self.next + 1) & !OURS;
            let id = self.next | ours;
            if self.next != 0 && !self.connections.contains_key(&id) {
                break id;
            }
        };
        let interest = if stage == Stage::Connecting { Interest::ReadWrite } else { Interest::Read };
        poll.add(&socket, base + u64::from(id), interest)?;
        let now = Instant::now();
        let wait = if stage == Stage::Connecting { self.bounds.connect } else { self.bounds.patience };
        let connection = Connection {
            socket,
            flow: Flow { connection: id, ..flow },
            stage,
            framer: StreamFramer::new(self.limits),
            queue: VecDeque::new(),
            written: 0,
            backlog: seat.backlog(),
            interest,
            due: Some(now + wait),
            heard: now,
            guests: SmallVec::new(),
            _seat: seat,
        };
        self.connections.insert(id, connection);
        self.by_peer.insert(flow.peer, id);
        Ok(id)
    }

    /// Sends on the connection of a flow; for a flow without one, on one to its peer, made where there is none.
    /// `from` is the local address of a connection to be made; unspecified: whichever leads there.
    pub(super) fn send(
        &mut self,
        (flow, from): (Flow, IpAddr),
        bytes: Bytes,
        poll: &Poll,
        base: u64,
        out: &mut Vec<Happened>,
    ) {
        let is_usable =
            |id: &u32| self.connections.get(id).is_some_and(|found| found.stage != Stage::Parting);
        let own = Some(flow.connection).filter(is_usable);
        let is_free = flow.connection == 0 || flow.connection & OURS != 0;
        let id = match own
            .or_else(|| self.by_peer.get(&flow.peer).copied().filter(|id| is_free && is_usable(id)))
        {
            Some(id) => id,
            None if is_free => match self.connect(flow, from, poll, base) {
                Ok(id) => id,
                Err(error) => {
                    tracing::debug!(%flow, %error, "no connection");
                    return tell_closed(flow, out);
                }
            },
            None => return tell_closed(flow, out),
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_guest = flow.connection != id && !connection.guests.contains(&flow);
        if is_guest && connection.guests.len() < GUESTS {
            connection.guests.push(flow);
        }
        if connection.backlog.put(bytes.len(), &self.bounds) == Err(Full) {
            tracing::debug!(%flow, "a peer does not read what it is sent");
            return self.close(id, out);
        }
        connection.queue.push_back(bytes);
        self.write(id, poll, base, out);
    }

    fn connect(&mut self, flow: Flow, from: IpAddr, poll: &Poll, base: u64) -> io::Result<u32> {
        let seat = self.census.admit(flow.peer.ip(), Arrival::Ours);
        let seat = seat.ok_or_else(|| io::Error::other("too many connections"))?;
        let socket = Socket::new(Domain::for_address(flow.peer), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        tune(&socket);
        if !from.is_unspecified() {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&flow.peer.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.keep((socket, seat), flow, Stage::Connecting, poll, base)
    }

    /// Adds a word of ours, which is written at all events.
    fn enqueue(&mut self, id: u32, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.backlog.force(bytes.len());
        connection.queue.push_back(bytes);
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
                    if connection.stage == Stage::Connecting {
                        (connection.stage, connection.due) = (Stage::Open, None);
                    }
                    connection.written += count;
                    if connection.written >= front.len() {
                        connection.backlog.take(front.len());
                        connection.queue.pop_front();
                        connection.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Still connecting.
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        let interest = if connection.queue.is_empty() { Interest::Read } else { Interest::ReadWrite };
        if !failed && interest != connection.interest {
            connection.interest = interest;
            failed = poll.change(&connection.socket, base + u64::from(id), interest).is_err();
        }
        if failed {
            self.close(id, out);
        }
    }

    fn read(&mut self, id: u32, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        let mut chunk = [0_u8; CHUNK];
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.socket.read(&mut chunk) {
                Ok(0) => return self.close(id, out),
                Ok(_) if connection.stage == Stage::Parting => {}
                Ok(count) => {
                    connection.framer.push(chunk.get(..count).unwrap_or_default());
                    connection.heard = Instant::now();
                    self.frames(id, poll, base, out);
                    if count < CHUNK {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Told as ready for the other reason, that it is still connecting.
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(id, out),
            }
        }
    }

    /// Takes the messages that are whole.
    fn frames(&mut self, id: u32, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    connection.due = None;
                    out.push(Happened::Received { flow: connection.flow, bytes });
                }
                // RFC 5626 4.4.1. Who lets answers pile up does not wait for one more.
                Ok(Some(Frame::Ping)) if connection.queue.is_empty() => {
                    self.enqueue(id, Bytes::from_static(b"\r\n"));
                    self.write(id, poll, base, out);
                }
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => {
                    if connection.framer.is_partial() && connection.due.is_none() {
                        connection.due = Some(Instant::now() + self.bounds.patience);
                    }
                    return;
                }
                Err(error) => return self.part(id, &error, poll, base, out),
            }
        }
    }

    /// The stream cannot be followed any more: one last word, then it is closed (RFC 3261 18.3).
    fn part(&mut self, id: u32, error: &FrameError, poll: &Poll, base: u64, out: &mut Vec<Happened>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let flow = connection.flow;
        tracing::debug!(%flow, %error, "a stream that cannot be read");
        let Some(reply) = last_word(error, &flow) else { return self.close(id, out) };
        self.enqueue(id, reply);
        self.write(id, poll, base, out);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // Closed at once, with bytes of the peer unread, it would be reset, and the word lost on the way.
        connection.stage = Stage::Parting;
        connection.due = Some(Instant::now() + self.bounds.parting);
        if connection.queue.is_empty() {
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, id: u32, out: &mut Vec<Happened>) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let Connection { flow, guests, .. } = connection;
        if self.by_peer.get(&flow.peer) == Some(&id) {
            self.by_peer.remove(&flow.peer);
        }
        out.push(Happened::Closed(flow));
        out.extend(guests.into_iter().map(Happened::Closed));
    }

    /// Closes what has been silent, or slow, for too long. Looks at most once a second.
    pub(super) fn sweep(&mut self, out: &mut Vec<Happened>) {
        let now = Instant::now();
        if now.duration_since(self.swept) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        let idle = self.bounds.idle;
        let is_late =
            |c: &Connection| c.due.is_some_and(|due| due <= now) || now.duration_since(c.heard) > idle;
        let mut late: Vec<u32> =
            self.connections.iter().filter(|(_, c)| is_late(c)).map(|(id, _)| *id).collect();
        late.sort_unstable();
        for id in late {
            self.close(id, out);
        }
    }
}

/// What is said to who sent something that cannot be read, and with it all that follows (RFC 3261 18.3).
pub(super) fn last_word(error: &FrameError, flow: &Flow) -> Option<Bytes> {
    let request = error.reply.as_ref()?;
    let tag = format!("{:x}", flow.connection);
    Some(MessageWriter::reply_from(request, error.status(), None, flow.peer, Some(&tag)).finish())
}

/// Small messages go at once; a peer that vanished is found out within a minute and a half when all is quiet, and
/// within half a minute when something is on its way to it.
pub(super) fn tune(socket: &Socket) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    // What the system refuses costs comfort, not correctness.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(30)));
}

pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::super::sys::Ready;
    use super::*;
    use crate::shell::files::drained;

    const BASE: u64 = 1000;
    const SOON: Duration = Duration::from_secs(10);
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    /// Connections with what drives them.
    struct Driven {
        streams: Streams,
        poll: Poll,
        happened: Vec<Happened>,
        listener: Socket,
        census: Arc<Census>,
    }

    impl Driven {
        fn new(bounds: Bounds) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let census = Census::new(bounds);
            let streams = Streams::new(Limits::default(), bounds, Arc::clone(&census));
            let poll = Poll::new().unwrap();
            let listener = Socket::from(listener);
            poll.add(&listener, 0, Interest::Read).unwrap();
            Self { streams, poll, happened: Vec::new(), listener, census }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap().as_socket().unwrap()
        }

        /// Turns until something has happened.
        fn next(&mut self) -> Happened {
            let begun = Instant::now();
            let mut ready: Vec<Ready> = Vec::new();
            while self.happened.is_empty() {
                assert!(begun.elapsed() < SOON, "nothing happens");
                self.poll.wait(100, &mut ready).unwrap();
                for ready in &ready {
                    match ready.token {
                        0 => assert!(self.streams.accept(&self.listener, 3, &self.poll, BASE)),
                        token => self.streams.ready(
                            u32::try_from(token - BASE).unwrap(),
                            (ready.is_readable, ready.is_writable),
                            &self.poll,
                            BASE,
                            &mut self.happened,
                        ),
                    }
                }
                self.streams.sweep(&mut self.happened);
            }
            self.happened.remove(0)
        }

        /// What waits to be written on all connections.
        fn queued(&self) -> usize {
            self.census.queued()
        }

        fn send(&mut self, flow: Flow, bytes: impl Into<Bytes>) {
            self.streams.send((flow, ANY), bytes.into(), &self.poll, BASE, &mut self.happened);
        }
    }

    fn to(peer: SocketAddr) -> Flow {
        Flow { transport: Transport::Tcp, listener: 0, connection: 0, peer }
    }

    fn message(id: &str) -> String {
        format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {id}\r\nl: 0\r\n\r\n")
    }

    fn flow_of(happened: &Happened) -> Flow {
        match happened {
            Happened::Received { flow, .. } | Happened::Closed(flow) => *flow,
        }
    }

    #[test]
    fn a_flow_without_a_connection_makes_one_and_hears_of_its_end() {
        let mut ours = Driven::new(Bounds::default());
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = to(peer.local_addr().unwrap());
        ours.send(asked, message("a"));
        ours.send(asked, message("b"));
        let (mut accepted, _) = peer.accept().unwrap();
        accepted.write_all(message("c").as_bytes()).unwrap();
        let received = ours.next();
        let flow = flow_of(&received);
        assert_eq!(received, Happened::Received { flow, bytes: message("c").into() });
        assert!(flow.connection & OURS != 0 && flow.peer == asked.peer, "{flow:?}");
        let mut both = vec![0; message("a").len() * 2];
        accepted.read_exact(&mut both).unwrap();
        assert_eq!(String::from_utf8(both).unwrap(), message("a") + &message("b"));
        drop(accepted);
        let ended = [ours.next(), ours.next()];
        assert_eq!(ended, [Happened::Closed(flow), Happened::Closed(asked)]);
        assert!(ours.streams.is_empty() && ours.queued() == 0);
        // One of our own making is made anew.
        ours.send(flow, message("d"));
        assert!(ours.happened.is_empty());
        let (mut accepted, _) = peer.accept().unwrap();
        let mut again = vec![0; message("d").len()];
        accepted.read_exact(&mut again).unwrap();
    }

    #[test]
    fn a_flow_that_a_peer_made_ends_with_its_connection() {
        let mut ours = Driven::new(Bounds::default());
        // A socket that can be listened on where the first connection came from.
        let mut first = TcpStream::connect(ours.address()).unwrap();
        let peer = first.local_addr().unwrap();
        first.write_all(message("a").as_bytes()).unwrap();
        let flow = flow_of(&ours.next());
        assert_eq!((flow.peer, flow.listener, flow.connection & OURS), (peer, 3, 0));
        // The same peer is reached without a number, too.
        ours.send(to(peer), message("b"));
        drop(first);
        assert_eq!([ours.next(), ours.next()], [Happened::Closed(flow), Happened::Closed(to(peer))]);
        for _ in 0..3 {
            ours.send(flow, message("c"));
        }
        assert_eq!(ours.happened, [Happened::Closed(flow)], "told once");
        assert!(ours.streams.is_empty(), "nobody is called back");
    }

    #[test]
    fn a_connection_that_cannot_be_made_is_told() {
        let mut ours = Driven::new(Bounds::default());
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        ours.send(to(nobody), message("a"));
        let mut told = vec![flow_of(&ours.next())];
        told.extend(ours.happened.iter().map(flow_of));
        assert!(told.contains(&to(nobody)), "{told:?}");
        assert!(ours.streams.is_empty() && ours.queued() == 0);
    }

    #[test]
    fn a_peer_that_does_not_read_is_let_go_and_costs_no_more_than_its_queue() {
        let bounds = Bounds { queue: 100_000, ..Bounds::default() };
        let mut ours = Driven::new(bounds);
        let mut deaf = TcpStream::connect(ours.address()).unwrap();
        deaf.write_all(message("a").as_bytes()).unwrap();
        let flow = flow_of(&ours.next());
        let (mut rounds, body) = (0, Bytes::from(vec![b'x'; 50_000]));
        while ours.happened.is_empty() {
            ours.send(flow, body.clone());
            assert!(ours.queued() <= bounds.queue);
            rounds += 1;
            assert!(rounds < 10_000, "500 MB and no end");
        }
        assert_eq!(ours.happened, [Happened::Closed(flow)]);
        assert_eq!(ours.queued(), 0);
    }

    #[test]
    fn pings_of_a_peer_that_does_not_read_do_not_pile_up() {
        let mut ours = Driven::new(Bounds::default());
        let mut deaf = TcpStream::connect(ours.address()).unwrap();
        deaf.set_nonblocking(true).unwrap();
        let pings = b"\r\n\r\n".repeat(4096);
        for _ in 0..200 {
            match deaf.write(&pings) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            let mut ready = Vec::new();
            ours.poll.wait(1, &mut ready).unwrap();
            for ready in &ready {
                match ready.token {
                    0 => assert!(ours.streams.accept(&ours.listener, 3, &ours.poll, BASE)),
                    token => {
                        let id = u32::try_from(token - BASE).unwrap();
                        let what = (ready.is_readable, ready.is_writable);
                        ours.streams.ready(id, what, &ours.poll, BASE, &mut ours.happened);
                    }
                }
            }
            assert!(ours.queued() <= 2 + 64);
        }
        assert_eq!(ours.happened, []);
    }

    #[test]
    fn a_connection_that_does_not_come_to_stand_is_given_up() {
        // A backlog that is full answers nobody, as a host that is switched off.
        let full = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let peer = full.local_addr().unwrap().as_socket().unwrap();
        let _waiting: Vec<_> = (0..2)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&peer.into());
                socket
            })
            .collect();
        let mut ours = Driven::new(Bounds { connect: Duration::from_millis(100), ..Bounds::default() });
        ours.send(to(peer), message("a"));
        let mut told = vec![flow_of(&ours.next())];
        told.extend(ours.happened.iter().map(flow_of));
        assert!(told.contains(&to(peer)), "{told:?}");
        assert!(ours.streams.is_empty());
    }

    #[test]
    fn without_a_file_for_one_more_the_others_wait_and_are_served_later() {
        if !drained::is_here(
            "shell::node::stream::tests::without_a_file_for_one_more_the_others_wait_and_are_served_later",
        ) {
            return;
        }
        let mut ours = Driven::new(Bounds { pause: Duration::from_millis(50), ..Bounds::default() });
        let mut peer = TcpStream::connect(ours.address()).unwrap();
        peer.write_all(message("a").as_bytes()).unwrap();
        let all = drained::take_all();
        assert!(!ours.streams.accept(&ours.listener, 3, &ours.poll, BASE), "it is to be left alone");
        assert!(!ours.streams.is_empty() && ours.streams.rested().is_empty(), "for a while");
        // One of our own making is not to be had either, and that is told.
        ours.send(to(ours.address()), message("b"));
        assert_eq!(ours.happened, [Happened::Closed(to(ours.address()))]);
        ours.happened.clear();
        let begun = Instant::now();
        let rested = loop {
            let rested = ours.streams.rested();
            if !rested.is_empty() {
                break rested;
            }
            assert!(begun.elapsed() < SOON, "it is left alone for ever");
        };
        assert_eq!((&rested[..], ours.streams.is_empty()), (&[3_u16][..], true));
        assert!(!ours.streams.accept(&ours.listener, 3, &ours.poll, BASE), "there is still none");
        drop(all);
        assert!(matches!(ours.next(), Happened::Received { bytes, .. } if bytes == message("a")));
    }
}
