//! The sockets of a media thread through one io_uring: packets come without being asked for, and what a batch sends
//! goes out with the wait for the next one, so that a batch costs one system call where epoll costs two a packet.
//!
//! Receives are multishot into buffers that the kernel picks from a ring (Linux 6.0), work is deferred to the thread's
//! own waits (6.1). Where the system has none of it, or forbids it as many container runtimes do, [`Uring::probe`] says
//! so and the thread uses epoll.
#![expect(unsafe_code, reason = "shared memory with the kernel, which no dependency wraps whole")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::batch::Batch;
use super::sys::Waker;
use super::thread::from_token;
use crate::media::relay::MAX_PACKET;

/// Requests that may wait for a submission.
const ENTRIES: u32 = 512;
/// Completions that may wait for us: all buffers, all sends, and what else there is.
const COMPLETIONS: u32 = 2048;
/// Packets that may wait for us, beyond what waits in the sockets. A power of two.
const BUFFERS: u16 = 512;
/// The one group of buffers.
const GROUP: u16 = 0;
/// `struct io_uring_recvmsg_out` before each packet: lengths of name, control data and payload, and flags.
const RECEIVED_HEADER: usize = 16;
/// Room for `struct sockaddr_in6`, the longest address of these sockets.
const NAME: usize = 28;
/// What a buffer takes, the byte that tells a packet as too long included.
const BUFFER: usize = RECEIVED_HEADER + NAME + MAX_PACKET + 1;
/// Packets that may be on their way out.
const SENDS: u16 = 256;
/// A packet with what protects it.
const SEND_ROOM: usize = MAX_PACKET + 64;
/// So many queued packets are sent before more are handled.
const SUBMIT_AT: usize = 64;

/// `user_data` of the wake-up.
const WAKER: u64 = u64::MAX;
/// Set in the `user_data` of a send; the rest is its slot.
const SEND: u64 = 1 << 63;

/// A ring, and all memory that the kernel reads or writes for it.
pub(super) struct Uring {
    // Dropped first: the kernel has let go of the memory below when it is freed.
    ring: IoUring,
    buffers: Buffers,
    /// What each receive asks for: an address, no control data. Read by the kernel when a receive is submitted.
    asked: Box<libc::msghdr>,
    sends: Box<[Outgoing]>,
    free: Vec<u16>,
    /// Requests that were queued since the last submission.
    queued: usize,
    flags: EnterFlags,
    /// Receives that the kernel has ended (its buffers ran out) and that are to be asked for again.
    lapsed: Vec<u64>,
    failed: u64,
}

// SAFETY: the pointers inside (`asked`, which has none set, and the entries of `buffers`) are to memory that this value
// alone owns. A thread that is not the ring's own gets errors from the kernel, no more.
unsafe impl Send for Uring {}

/// A packet on its way out.
struct Outgoing {
    to: SockAddr,
    bytes: [u8; SEND_ROOM],
}

/// What a look at the completions has brought besides packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// All that was there.
    Done,
    /// The batch is full; there may be more.
    More,
    /// Somebody woke the thread; there may be more.
    Woken {
        /// The kernel no longer looks at the waker (it lets go of it where completions have no room).
        lapsed: bool,
    },
}

impl Uring {
    /// Whether this system lets us: makes a ring and sends a packet through it on the loopback.
    pub(super) fn probe() -> io::Result<()> {
        // On a thread of its own: what is left of a ring interrupts system calls of the thread that made it.
        let result = std::thread::Builder::new().spawn(Self::try_out)?.join();
        result.unwrap_or_else(|_| Err(io::Error::other("the probe ended in a panic")))
    }

    fn try_out() -> io::Result<()> {
        let waker = Waker::new()?;
        let mut uring = Self::new(&waker)?;
        let (a, b) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        uring.add(b.as_fd(), 0)?;
        if !uring.send(a.as_fd(), b.local_addr()?, b"probe") {
            return Err(io::Error::other("nothing can be sent"));
        }
        let mut batch = Batch::default();
        for _ in 0..4 {
            uring.wait(Some(Duration::from_millis(100)), 1)?;
            uring.receive(&mut batch);
            if let Some(packet) = batch.get_mut(0) {
                let came =
                    packet.bytes.get(..packet.len) == Some(b"probe") && packet.src == a.local_addr()?;
                return if came { Ok(()) } else { Err(io::Error::other("a packet came changed")) };
            }
        }
        Err(io::Error::other("no packet came"))
    }

    /// A ring that `waker` wakes. Must be made on the thread that uses it.
    pub(super) fn new(waker: &Waker) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(ENTRIES)?;
        let buffers = Buffers::new();
        // SAFETY: the ring of buffers is page-aligned, has as many entries as is said, all of them initialised, and
        // lives until the ring is gone (order of fields).
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers.address(), BUFFERS, GROUP, 0)? };
        let is_quiet = ring.params().is_feature_no_iowait();
        // SAFETY: `msghdr` is a plain C struct for which all zeroes are a value.
        let mut asked: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        asked.msg_namelen = NAME as libc::socklen_t;
        let outgoing = || Outgoing {
            to: SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            bytes: [0; SEND_ROOM],
        };
        let mut uring = Self {
            ring,
            buffers,
            asked,
            sends: std::iter::repeat_with(outgoing).take(usize::from(SENDS)).collect(),
            free: (0..SENDS).collect(),
            queued: 0,
            // Without it a thread that waits for packets is shown as one that waits for a disk.
            flags: if is_quiet { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() },
            lapsed: Vec::new(),
            failed: 0,
        };
        uring.watch_waker(waker)?;
        Ok(uring)
    }

    /// Lets `waker` end a wait from now on; again where [`Turn::Woken`] says so.
    pub(super) fn watch_waker(&mut self, waker: &Waker) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(waker.as_fd().as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(&poll.build().user_data(WAKER))
    }

    /// Takes packets of `fd` from now on; they are told as `token`. The descriptor stays open as long as the ring.
    pub(super) fn add(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let receive = opcode::RecvMsgMulti::new(Fd(fd.as_raw_fd()), &raw const *self.asked, GROUP);
        self.push(&receive.build().user_data(token))
    }

    /// Sends a packet with the next submission. False: there is no room, and all that was queued has been sent, so
    /// that the caller may send this one itself without overtaking any.
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, to: SocketAddr, packet: &[u8]) -> bool {
        let Some(n) = self.free.pop() else {
            self.submit();
            return false;
        };
        let Some(slot) = self.sends.get_mut(usize::from(n)) else { return false };
        let Some(room) = slot.bytes.get_mut(..packet.len()) else {
            self.free.push(n);
            return false;
        };
        room.copy_from_slice(packet);
        slot.to = SockAddr::from(to);
        // Never waited for: a packet that finds the socket full is late already.
        let send = opcode::Send::new(Fd(fd.as_raw_fd()), slot.bytes.as_ptr(), packet.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(slot.to.as_ptr().cast())
            .dest_addr_len(slot.to.len());
        let send = send.build().user_data(SEND | u64::from(n));
        if self.push(&send).is_err() {
            self.free.push(n);
            return false;
        }
        if self.queued >= SUBMIT_AT {
            self.submit();
        }
        true
    }

    fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        for _ in 0..2 {
            // SAFETY: what the request points to (`asked`, a slot of `sends`) is on the heap, lives as long as the
            // ring, and is not touched before the request's completion has been seen.
            if unsafe { self.ring.submission().push(request) }.is_ok() {
                self.queued += 1;
                return Ok(());
            }
            self.submit();
        }
        Err(io::Error::other("the submission queue is full"))
    }

    fn submit(&mut self) {
        // What cannot be taken now (EBUSY: completions wait) is taken with the next wait.
        if self.ring.submit().is_ok() {
            self.queued = 0;
        }
    }

    /// Submits what is queued, and waits until `packets` have come, or for `timeout` (`None`: without end). An
    /// interruption by a signal is no error.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, packets: usize) -> io::Result<()> {
        // A send completes as it is submitted, and would pass for a packet that has come.
        let sends = usize::from(SENDS) - self.free.len();
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        self.enter(packets + sends, &args)
    }

    fn enter(&mut self, wanted: usize, args: &SubmitArgs<'_, '_>) -> io::Result<()> {
        let result = self.ring.submitter().submit_with_args_and_flags(wanted, args, self.flags);
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY), _)) => {
                self.queued = self.ring.submission().len();
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Has the kernel show what has come by now, without a wait; where that is nothing, without asking it.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.ring.submission().taskrun() { self.enter(0, &SubmitArgs::new()) } else { Ok(()) }
    }

    /// Moves packets that have come into the batch.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> Turn {
        while let Some(packet) = batch.vacant() {
            let Some(done) = self.ring.completion().next() else { return Turn::Done };
            match done.user_data() {
                WAKER => return Turn::Woken { lapsed: !cqueue::more(done.flags()) },
                send if send & SEND != 0 => {
                    self.free.push((send & u64::from(u16::MAX)) as u16);
                    self.failed += u64::from(done.result() < 0);
                }
                token => {
                    if !cqueue::more(done.flags()) {
                        self.lapsed.push(token);
                    }
                    let Some(id) = cqueue::buffer_select(done.flags()) else { continue };
                    let len = usize::try_from(done.result()).unwrap_or(0);
                    if let Some((src, payload)) = self.buffers.get(id).get(..len).and_then(received) {
                        let kept = payload.len().min(packet.bytes.len());
                        if let (Some(to), Some(from)) = (packet.bytes.get_mut(..kept), payload.get(..kept)) {
                            to.copy_from_slice(from);
                            (packet.len, packet.src) = (kept, src);
                            (packet.slot, packet.component) = from_token(token);
                            batch.keep();
                        }
                    }
                    self.buffers.give_back(id);
                }
            }
        }
        Turn::More
    }

    /// Whether a receive has ended and was not asked for again: then packets lie with the socket.
    pub(super) fn has_lapsed(&self) -> bool {
        !self.lapsed.is_empty()
    }

    /// The next receive that has ended and must be asked for again with [`Uring::add`].
    pub(super) fn lapsed(&mut self) -> Option<u64> {
        self.lapsed.pop()
    }

    /// Packets that the system has refused to send since the last call.
    pub(super) fn take_failed(&mut self) -> u64 {
        std::mem::take(&mut self.failed)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Without it the kernel would hold the sockets, and their ports, until it comes round to the ring's end.
        let patience = Timespec::from(Duration::from_secs(1));
        if let Err(error) = self.ring.submitter().register_sync_cancel(Some(patience), CancelBuilder::any()) {
            tracing::debug!("requests of the ring end with it: {error}");
        }
        // What was cancelled lets go of its socket when this thread next asks what is done.
        for _ in 0..8 {
            let _ = self.wait(Some(Duration::from_millis(1)), 1);
            if self.ring.completion().by_ref().count() == 0 {
                break;
            }
        }
    }
}

/// The address and payload in a buffer that a receive has filled (io_uring_prep_recvmsg_multishot(3)).
fn received(buffer: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (name, payload) = buffer.get(RECEIVED_HEADER..)?.split_at_checked(NAME)?;
    Some((address(name)?, payload))
}

/// `struct sockaddr_in` or `struct sockaddr_in6` (the family in host order, ports and addresses in network order).
fn address(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match libc::c_int::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => Some(SocketAddr::from((Ipv4Addr::from(*rest.first_chunk::<4>()?), port))),
        libc::AF_INET6 => {
            let (flow, rest) = rest.split_first_chunk::<4>()?;
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
            let (ip, flow) = (Ipv6Addr::from(*ip), u32::from_be_bytes(*flow));
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
        }
        _ => None,
    }
}

/// The buffers for packets that come, and the ring in which the kernel finds those that are free.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: Box<[u8]>,
    tail: u16,
}

impl Buffers {
    /// The kernel wants the entries on pages of their own.
    const LAYOUT: Layout = match Layout::from_size_align(BUFFERS as usize * size_of::<BufRingEntry>(), 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("not a layout"),
    };

    fn new() -> Self {
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(Self::LAYOUT) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(Self::LAYOUT)
        };
        let memory = vec![0; usize::from(BUFFERS) * BUFFER].into_boxed_slice();
        let mut buffers = Self { entries, memory, tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give_back(id));
        buffers
    }

    fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    /// A buffer that the kernel has filled and told of, until it is given back.
    fn get(&self, id: u16) -> &[u8] {
        let start = usize::from(id) * BUFFER;
        self.memory.get(start..start + BUFFER).unwrap_or_default()
    }

    /// Gives a buffer (back) to the kernel.
    fn give_back(&mut self, id: u16) {
        let start = usize::from(id) * BUFFER;
        let Some(buffer) = self.memory.get_mut(start..start + BUFFER) else { return };
        let place = usize::from(self.tail % BUFFERS);
        // SAFETY: `place` is below the number of entries, all of which were zeroed, and which nobody else writes.
        // The kernel reads an entry after it has seen the tail behind it. The tail lies in the unused part of the
        // first entry, which `set_*` do not touch.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(buffer.as_mut_ptr() as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed once; the ring that used it is gone.
        unsafe { dealloc(self.entries.as_ptr().cast(), Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let mut name = [0u8; NAME];
        for text in ["192.0.2.1:5004", "[2001:db8::1]:5006"] {
            let wanted: SocketAddr = text.parse().unwrap();
            let raw = SockAddr::from(wanted);
            // SAFETY: `raw` has `len` bytes at its pointer.
            let bytes = unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<u8>(), raw.len() as usize) };
            name[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(address(&name), Some(wanted));
        }
        assert_eq!(address(&[9; NAME]), None);
        assert_eq!(address(&name[..20]), None, "cut short");
    }
}
