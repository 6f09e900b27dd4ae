//! Streams of G.711 through a relay: each packet carries when it was sent, the kernel says when it came back.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::figures::{Times, per};
use crate::{Rtp, net, process};

const EVERY: Duration = Duration::from_millis(20);
/// Until it is counted: sources are learned, pages touched.
const WARM: Duration = Duration::from_secs(1);
/// For what is on its way at the end.
const DRAINS: Duration = Duration::from_millis(300);
const PAYLOAD: usize = 160;
/// Marks our packets, before the time at which they were sent.
const MAGIC: [u8; 8] = *b"segueRTP";

struct Stream {
    socket: UdpSocket,
    to: SocketAddr,
    next: Instant,
    sequence: u32,
}

#[derive(Default)]
struct Counted {
    sent: u64,
    received: u64,
    latency: Times,
    late: Times,
}

pub(crate) fn run(options: &Rtp) {
    net::wake_in_time();
    let begun = Instant::now() + Duration::from_millis(10);
    let mut streams = streams(options, begun);
    let poll = Poll::new(&streams);
    let (measured, end) = (begun + WARM, begun + WARM + Duration::from_secs(options.seconds));
    let since = wall() + measured.duration_since(Instant::now()).as_nanos() as u64;
    let mut counted = Counted::default();
    let (mut current, mut cpu) = (0, None);
    loop {
        let mut now = Instant::now();
        if now >= end {
            break;
        }
        if cpu.is_none() && now >= measured {
            cpu = Some(options.pid.map(process::cpu));
        }
        let mut burst = 0;
        while streams[current].next <= now && burst < 64 {
            let stream = &mut streams[current];
            if now >= measured {
                counted.sent += 1;
                counted.late.add(now.duration_since(stream.next).as_micros() as u64);
            }
            stream.send();
            stream.next += EVERY;
            current = (current + 1) % streams.len();
            burst += 1;
            if burst % 8 == 0 {
                now = Instant::now();
            }
        }
        let heard = poll.each(Duration::ZERO, |n| counted.receive(&streams[n].socket, since));
        let rest = streams[current].next.saturating_duration_since(Instant::now());
        if burst == 0 && heard == 0 && rest > Duration::from_micros(200) {
            poll.each(rest.min(Duration::from_millis(1)), |n| counted.receive(&streams[n].socket, since));
        }
    }
    let cpu = cpu.flatten().zip(options.pid).map(|(before, pid)| process::cpu(pid) - before);
    let drained = Instant::now() + DRAINS;
    while Instant::now() < drained {
        poll.each(Duration::from_millis(20), |n| counted.receive(&streams[n].socket, since));
    }
    println!(
        "streams={} sent={} lost={} per_million={} p50_ms={:.3} p99_ms={:.3} late_p99_ms={:.3}",
        streams.len(),
        counted.sent,
        counted.sent.saturating_sub(counted.received),
        per(cpu, counted.sent, 1e6),
        counted.latency.at(500),
        counted.latency.at(990),
        counted.late.at(990),
    );
}

/// Evenly over the time of one packet, in the order in which they are served.
fn streams(options: &Rtp, begun: Instant) -> Vec<Stream> {
    let text = std::fs::read_to_string(&options.map).expect("the map");
    let words: Vec<SocketAddr> =
        text.split_whitespace().map(|word| word.parse().expect("an address")).collect();
    let count = words.len() / 2;
    assert!(count > 0, "the map is empty");
    let stream = |(n, pair): (usize, &[SocketAddr])| {
        let socket = net::socket(pair[0]);
        let on: libc::c_int = 1;
        // SAFETY: an option of one integer.
        let done = unsafe {
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw const on).cast(),
                length,
            )
        };
        assert_eq!(done, 0, "SO_TIMESTAMPNS");
        let next = begun + EVERY * n as u32 / count as u32;
        Stream { socket, to: pair[1], next, sequence: 0 }
    };
    words.chunks_exact(2).enumerate().map(stream).collect()
}

impl Stream {
    fn send(&mut self) {
        let mut packet = [0xd5; 12 + PAYLOAD];
        let ssrc = 0x1000_0000 | u32::from(self.to.port());
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&(self.sequence as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&self.sequence.wrapping_mul(PAYLOAD as u32).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet[12..20].copy_from_slice(&MAGIC);
        packet[20..28].copy_from_slice(&wall().to_be_bytes());
        self.sequence += 1;
        net::send(&self.socket, self.to, &packet);
    }
}

impl Counted {
    /// Packets that were sent since `since` (ns of the wall) and wait on `socket`.
    fn receive(&mut self, socket: &UdpSocket, since: u64) {
        let mut room = [0; 2048];
        while let Some((length, came)) = receive(socket, &mut room) {
            let ours = room[..length].get(12..28).filter(|payload| payload[..8] == MAGIC);
            let Some(sent) = ours.map(|payload| u64::from_be_bytes(payload[8..].try_into().unwrap())) else {
                continue;
            };
            if sent >= since {
                self.received += 1;
                self.latency.add(came.saturating_sub(sent) / 1000);
            }
        }
    }
}

/// A datagram's length and when the kernel had it, ns of the wall.
fn receive(socket: &UdpSocket, room: &mut [u8]) -> Option<(usize, u64)> {
    let mut slice = IoSliceMut::new(room);
    // Room for one timestamp and its header, aligned as the header wants it.
    let mut control = [0u64; 16];
    // SAFETY: null is what msghdr means by nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = (&raw mut slice).cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: header names one buffer and the room for control messages, both alive.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).ok()?;
    // SAFETY: the kernel has filled what header says.
    let came = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        assert!(!first.is_null() && (*first).cmsg_type == libc::SCM_TIMESTAMPNS, "no timestamp");
        libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned()
    };
    Some((length, came.tv_sec as u64 * 1_000_000_000 + came.tv_nsec as u64))
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64
}

/// All sockets in one set.
struct Poll(libc::c_int);

impl Poll {
    fn new(streams: &[Stream]) -> Self {
        // SAFETY: plain calls on descriptors that live.
        let poll = unsafe { libc::epoll_create1(0) };
        for (n, stream) in streams.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: n as u64 };
            let fd = stream.socket.as_raw_fd();
            // SAFETY: as above.
            let done = unsafe { libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
            assert!(poll >= 0 && done == 0, "epoll");
        }
        Self(poll)
    }

    /// Says which may be read; gives how many.
    fn each(&self, patience: Duration, mut what: impl FnMut(usize)) -> usize {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos() as libc::c_long };
        // SAFETY: room for as many events as is said; no mask.
        let count = unsafe {
            libc::epoll_pwait2(self.0, events.as_mut_ptr(), 256, &raw const timeout, std::ptr::null())
        };
        let count = usize::try_from(count).unwrap_or(0);
        for event in &events[..count] {
            what(event.u64 as usize);
        }
        count
    }
}
