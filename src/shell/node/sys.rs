//! The few system calls that no library wraps as they are needed here: readiness, a wake-up, batches of datagrams, the
//! size of pages.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// Datagrams read or written in one call.
pub(super) const BATCH: usize = 64;
/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// From one datagram's room to the next. Were it a power of two, the beginnings of all of them would compete for the
/// same lines of the processor's caches.
const STRIDE: usize = DATAGRAM + 9 * 64;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Has memory given to this process in pages of 4 KiB. The allocator asks for pages of 2 MiB, of which a held call
/// touches little: a node with them is a third larger, and clearing them costs more than they save
/// (docs/PERFORMANCE.md). A kernel without the setting has no such pages either.
pub(super) fn keep_pages_small() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: PR_SET_THP_DISABLE takes numbers only, and requires the unused ones to be 0 (prctl(2)).
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

/// Seconds east of UTC by the machine's clock, at an instant in seconds since 1970; 0 where it does not know.
pub(super) fn local_offset(unix: i64) -> i32 {
    let time = unix as libc::time_t;
    let mut shown = mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to values of ours that live beyond the call; it fills the second or returns null.
    let is_told = unsafe { !libc::localtime_r(&raw const time, shown.as_mut_ptr()).is_null() };
    // SAFETY: all bits zero are a valid `tm`, and so is what the call has written.
    let shown = unsafe { shown.assume_init() };
    if is_told { i32::try_from(shown.tm_gmtoff).unwrap_or(0) } else { 0 }
}

/// What a descriptor is watched for. A hang-up is told in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interest {
    /// Nothing, for a while.
    Nothing,
    /// Something to read.
    Read,
    /// Something to read, room to write.
    ReadWrite,
}

/// Readiness of descriptors.
pub(super) struct Poll {
    fd: OwnedFd,
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: u64,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the descriptor that comes back is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd })
    }

    fn control(&self, what: libc::c_int, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        let events = match interest {
            Interest::Nothing => 0,
            Interest::Read => libc::EPOLLIN,
            Interest::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: `event` outlives the call, which copies it.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &raw mut event) }).map(drop)
    }

    /// Watches `fd`, which is told as `token`. Closing it ends that.
    pub(super) fn add(&self, fd: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), token, interest)
    }

    pub(super) fn change(&self, fd: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), token, interest)
    }

    /// Waits at most `timeout_ms` (-1: without end). What is ready is put into `ready`.
    pub(super) fn wait(&self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: the array is writable for the length given and outlives the call.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                timeout_ms,
            )
        };
        ready.clear();
        let count = match checked(count) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.extend(events.iter().take(count).map(|event| {
            let bits = event.events as libc::c_int;
            // A hang-up or an error is found out by reading.
            let is_readable = bits & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) != 0;
            Ready { token: event.u64, is_readable, is_writable: bits & libc::EPOLLOUT != 0 }
        }));
        Ok(())
    }
}

/// Ends a wait from another thread.
pub(super) struct Waker {
    fd: OwnedFd,
    /// A wake-up is under way: a burst of mail costs one.
    woken: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the descriptor that comes back is owned by nobody else.
        let fd = unsafe {
            OwnedFd::from_raw_fd(checked(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?)
        };
        Ok(Self { fd, woken: AtomicBool::new(false) })
    }

    /// To be called after what the other thread is to see. Never blocks.
    pub(super) fn wake(&self) {
        if self.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1_u64;
        // SAFETY: eight readable bytes are passed. A full counter wakes as well, so the outcome is of no interest.
        let _ = unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// To be called before looking at what others have left.
    pub(super) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight writable bytes are passed.
        let _ = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        // A read of the flag as well: what was left before it was set is seen after this.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Room for a batch of datagrams.
pub(super) struct Batch {
    buffer: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: an address of all zeros is a valid value of the type.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            buffer: vec![0; BATCH * STRIDE].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
        }
    }

    /// Reads up to [`BATCH`] datagrams that are there; how many.
    pub(super) fn receive(
        &mut self,
        socket: &impl AsRawFd,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<usize> {
        // SAFETY: headers of all zeros are valid; the pointers set below are what the call looks at.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let slots = self.buffer.chunks_exact_mut(STRIDE).zip(self.names.iter_mut());
        for ((header, vector), (slot, name)) in headers.iter_mut().zip(vectors.iter_mut()).zip(slots) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: all headers point at vectors, slots and names that outlive the call and are written by it alone.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = match checked(count) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let slots = self.buffer.chunks_exact(STRIDE).zip(self.names.iter());
        for (header, (slot, name)) in headers.iter().take(count).zip(slots) {
            let length = header.msg_len as usize;
            if let (Some(from), Some(bytes)) = (address_of(name), slot.get(..length)) {
                each(from, bytes);
            }
        }
        Ok(count)
    }
}

/// Sends datagrams, in order, in as few calls as it takes. What the socket does not take is dropped: SIP repeats.
/// Returns how many were dropped.
pub(super) fn send(socket: &impl AsRawFd, datagrams: &[(SocketAddr, Bytes)]) -> usize {
    let mut dropped = 0;
    for chunk in datagrams.chunks(BATCH) {
        // SAFETY: values of all zeros are valid for the three types.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        let parts = headers.iter_mut().zip(vectors.iter_mut()).zip(names.iter_mut());
        for (((header, vector), name), (to, bytes)) in parts.zip(chunk) {
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_namelen = write_address(*to, name);
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        }
        let mut done = 0;
        while done < chunk.len() {
            let Some(rest) = headers.get_mut(done..chunk.len()) else { break };
            // SAFETY: the headers point at vectors, bytes and names that outlive the call, which only reads them.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match checked(sent) {
                Ok(sent) if sent > 0 => done += usize::try_from(sent).unwrap_or(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    dropped += rest.len();
                    break;
                }
                // The first of the rest cannot be sent (too long, unreachable): the others may.
                _ => {
                    done += 1;
                    dropped += 1;
                }
            }
        }
    }
    dropped
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what the kernel wrote.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is what the kernel wrote.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id)))
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: storage is large enough and aligned for every family.
            let name = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: storage is large enough and aligned for every family.
            let name = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn pair(address: &str) -> [UdpSocket; 2] {
        [(); 2].map(|()| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        })
    }

    fn crosses(address: &str) {
        let [ours, theirs] = pair(address);
        let to = theirs.local_addr().unwrap();
        let count = BATCH + 3;
        let datagrams: Vec<_> = (0..count).map(|n| (to, Bytes::from(format!("datagram {n}")))).collect();
        assert_eq!(send(&ours, &datagrams), 0);
        let mut got = Vec::new();
        let mut batch = Batch::new();
        while got.len() < count {
            let read = batch.receive(&theirs, |from, bytes| got.push((from, bytes.to_vec()))).unwrap();
            assert!(read <= BATCH && read > 0, "loopback delivers before the call that sends returns");
        }
        let from = ours.local_addr().unwrap();
        let sent = datagrams.into_iter().map(|(_, bytes)| (from, bytes.to_vec()));
        assert_eq!(got, sent.collect::<Vec<_>>());
        assert_eq!(batch.receive(&theirs, |_, _| panic!("nothing is there")).unwrap(), 0);
    }

    #[test]
    fn datagrams_cross_in_batches_with_their_addresses() {
        crosses("127.0.0.1:0");
        if UdpSocket::bind("[::1]:0").is_ok() {
            crosses("[::1]:0");
        }
    }

    #[test]
    fn one_datagram_that_cannot_go_does_not_keep_the_others() {
        let [ours, theirs] = pair("127.0.0.1:0");
        let to = theirs.local_addr().unwrap();
        let datagrams = [
            (to, Bytes::from_static(b"first")),
            (to, Bytes::from(vec![0; 70_000])),
            ("[::1]:5060".parse().unwrap(), Bytes::from_static(b"another family")),
            (to, Bytes::from_static(b"last")),
        ];
        assert_eq!(send(&ours, &datagrams), 2);
        let mut got = Vec::new();
        Batch::new().receive(&theirs, |_, bytes| got.push(bytes.to_vec())).unwrap();
        assert_eq!(got, [b"first".to_vec(), b"last".to_vec()]);
    }

    #[test]
    fn a_burst_of_wake_ups_is_one_and_the_next_is_not_lost() {
        let (poll, waker) = (Poll::new().unwrap(), Waker::new().unwrap());
        poll.add(&waker, 7, Interest::Read).unwrap();
        let mut ready = Vec::new();
        for _ in 0..2 {
            poll.wait(0, &mut ready).unwrap();
            assert!(ready.is_empty());
            waker.wake();
            waker.wake();
            poll.wait(5000, &mut ready).unwrap();
            assert_eq!(ready.iter().map(|ready| ready.token).collect::<Vec<_>>(), [7]);
            waker.clear();
        }
    }
}
