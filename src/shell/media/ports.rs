//! The port numbers of the configured range, shared by the media threads, and the binding of pairs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of packets that may wait in a socket. A stream brings 10 KB a second; what a flood brings beyond this is
/// the kernel's to drop, before it costs us anything.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// The same for the one socket of all browsers: a thread that is late by 20 ms finds the packets of 1000 there. (The
/// system grants less where `net.core.rmem_max` is lower.)
const WEB_RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Two bound sockets: RTP on the even port, RTCP on the next.
pub(super) struct Pair {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
}

/// Hands out pairs of the range that nobody uses. A number is tried once; those that another program used are
/// tried again after the rest of the range.
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    cursors: Mutex<BTreeMap<IpAddr, Cursor>>,
}

#[derive(Default)]
struct Cursor {
    /// Even; the next number never tried. `None`: all were.
    next: Option<u16>,
    begun: bool,
    in_use: Vec<u16>,
    bound: usize,
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, cursors: Mutex::default() }
    }

    /// Binds up to `count` pairs at `address`; with fewer, says why in words for an operator.
    pub(super) fn bind(&self, address: IpAddr, count: u16) -> (Vec<Pair>, Option<String>) {
        // A panic while the lock was held leaves numbers untried, no more.
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = cursors.entry(address).or_default();
        if !cursor.begun {
            cursor.begun = true;
            cursor.next = even_from(*self.range.start());
        }
        let mut pairs = Vec::with_capacity(usize::from(count));
        let mut retries = cursor.in_use.len();
        while pairs.len() < usize::from(count) {
            let Some(port) = self.candidate(cursor, &mut retries) else {
                return (pairs, Some(self.exhausted(address, cursor)));
            };
            match Pair::bind(address, port) {
                Ok(pair) => {
                    cursor.bound += 1;
                    pairs.push(pair);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => cursor.in_use.push(port),
                Err(error) => {
                    cursor.in_use.push(port);
                    return (pairs, Some(explain(address, port, &error)));
                }
            }
        }
        (pairs, None)
    }

    fn candidate(&self, cursor: &mut Cursor, retries: &mut usize) -> Option<u16> {
        if let Some(port) = cursor.next {
            // The pair must fit into the range whole.
            if port < *self.range.end() {
                cursor.next = port.checked_add(2);
                return Some(port);
            }
            cursor.next = None;
        }
        *retries = retries.checked_sub(1)?;
        (!cursor.in_use.is_empty()).then(|| cursor.in_use.remove(0))
    }

    fn exhausted(&self, address: IpAddr, cursor: &Cursor) -> String {
        format!(
            "no free port pair left at {address} in {}-{}: {} in use here, {} by other programs; widen [media] ports",
            self.range.start(),
            self.range.end(),
            cursor.bound,
            cursor.in_use.len(),
        )
    }
}

fn even_from(port: u16) -> Option<u16> {
    // Port 0 would mean "any".
    port.max(2).checked_next_multiple_of(2)
}

impl Pair {
    fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        let rtp = bind(SocketAddr::new(address, port))?;
        let rtcp = bind(SocketAddr::new(address, port + 1))?;
        Ok(Self { rtp, rtcp, port })
    }
}

/// One socket; an IPv6 one takes no IPv4, so that both families can have the same number.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    bind_with(address, RECEIVE_BUFFER)
}

/// The socket of all browsers of a thread; the error says what an operator can do.
pub(super) fn bind_web(address: SocketAddr) -> io::Result<UdpSocket> {
    bind_with(address, WEB_RECEIVE_BUFFER).map_err(|error| {
        let why = explain(address.ip(), address.port(), &error);
        io::Error::new(error.kind(), format!("{why}; see [media] web_port"))
    })
}

fn bind_with(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(receive_buffer)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn explain(address: IpAddr, port: u16, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            format!(
                "too many open files for this process ({error}): raise its limit (ulimit -n, LimitNOFILE=)"
            )
        }
        Some(libc::ENFILE) => format!("too many open files for this machine ({error}): raise fs.file-max"),
        Some(libc::EADDRNOTAVAIL) => {
            format!("{address} is no address of this machine ({error}): check [media] address")
        }
        Some(libc::EACCES | libc::EPERM) => format!("no permission to bind {address} port {port}: {error}"),
        _ => format!("cannot bind {address} port {port}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A range of `len` ports of which the system says that they are free now.
    fn free_range(len: u16) -> RangeInclusive<u16> {
        let start = (0..200)
            .map(|_| UdpSocket::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port() & !1)
            .find(|start| {
                (0..len).all(|n| start.checked_add(n).is_some_and(|p| UdpSocket::bind((LOOPBACK, p)).is_ok()))
            });
        let start = start.unwrap();
        start..=start + len - 1
    }

    #[test]
    fn pairs_are_even_and_odd_and_skip_what_others_use() {
        let range = free_range(8);
        let other = UdpSocket::bind((LOOPBACK, *range.start() + 3)).unwrap();
        let ports = Ports::new(range.clone());
        let (pairs, error) = ports.bind(LOOPBACK, 2);
        assert_eq!(error, None);
        assert_eq!(pairs.iter().map(|p| p.port - range.start()).collect::<Vec<_>>(), [0, 4]);
        for pair in &pairs {
            assert_eq!(pair.rtp.local_addr().unwrap().port(), pair.port);
            assert_eq!(pair.rtcp.local_addr().unwrap().port(), pair.port + 1);
        }
        let (more, error) = ports.bind(LOOPBACK, 2);
        assert_eq!(more.len(), 1);
        assert!(error.unwrap().contains("3 in use here, 1 by other programs"));
        drop(other);
        let (rest, error) = ports.bind(LOOPBACK, 1);
        assert_eq!((rest.len(), error), (1, None), "the port that became free is found");
    }

    #[test]
    fn an_odd_range_gives_whole_pairs_only() {
        let range = free_range(6);
        let ports = Ports::new(*range.start() + 1..=range.start() + 4);
        let (pairs, error) = ports.bind(LOOPBACK, 5);
        assert_eq!(pairs.iter().map(|p| p.port - range.start()).collect::<Vec<_>>(), [2]);
        assert!(error.is_some());
    }

    #[test]
    fn an_address_of_somebody_else_is_told_clearly() {
        let ports = Ports::new(free_range(4));
        let (pairs, error) = ports.bind("192.0.2.1".parse().unwrap(), 1);
        assert!(pairs.is_empty());
        assert!(error.unwrap().contains("no address of this machine"));
        assert!(explain(LOOPBACK, 5, &io::Error::from_raw_os_error(libc::EMFILE)).contains("ulimit -n"));
    }
}
