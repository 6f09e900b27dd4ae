//! Sockets that never block, and waiting for them to the microsecond.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// A socket on `at` with room for a burst.
pub(crate) fn socket(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"));
    socket.set_nonblocking(true).unwrap();
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket
}

/// What waits on `socket`, one datagram, if any.
pub(crate) fn receive<'b>(socket: &UdpSocket, room: &'b mut [u8]) -> Option<(&'b [u8], SocketAddr)> {
    match socket.recv_from(room) {
        Ok((length, from)) => Some((&room[..length], from)),
        // A port of the server that is not open yet tells itself on the next read.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => None,
        Err(error) => panic!("receive: {error}"),
    }
}

pub(crate) fn send(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    // What the kernel has no room for is repeated like anything that was lost.
    let _ = socket.send_to(bytes, to);
}

/// Until something is to be read from one of `sockets`, or `patience` is over.
pub(crate) fn wait(sockets: &[&UdpSocket], patience: Duration) {
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let timeout = libc::timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(patience.subsec_nanos() as i32),
    };
    // SAFETY: the array is as long as is said, and the mask may be null.
    unsafe {
        libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const timeout, std::ptr::null())
    };
}

/// Asks the kernel to wake this thread when it said, not up to 50 µs later.
pub(crate) fn wake_in_time() {
    // SAFETY: a flag of the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

/// Work that is begun at an even pace.
pub(crate) struct Pace {
    begun: Instant,
    every: Duration,
    next: u64,
    all: u64,
}

impl Pace {
    pub(crate) fn new(a_second: u64, all: u64) -> Self {
        Self {
            begun: Instant::now(),
            every: Duration::from_nanos(1_000_000_000 / a_second.max(1)),
            next: 0,
            all,
        }
    }

    /// The next piece, if it is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        (self.next < self.all && now >= self.at()).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn at(&self) -> Instant {
        self.begun + self.every * u32::try_from(self.next).expect("fewer than four thousand million")
    }

    /// When the next piece is due; `None` after the last.
    pub(crate) fn next(&self) -> Option<Instant> {
        (self.next < self.all).then(|| self.at())
    }

    /// What was begun a second.
    pub(crate) fn reached(&self, last: Instant) -> f64 {
        self.next as f64 / last.duration_since(self.begun).as_secs_f64().max(0.001)
    }
}
