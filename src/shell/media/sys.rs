//! The system calls that neither std nor socket2 offers: epoll, eventfd, the limit of open files. The only unsafe
//! code of the media path; every function here takes and gives safe values.
#![expect(unsafe_code, reason = "system calls without a safe wrapper among the dependencies")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A set of sockets that tells which of them can be read (level triggered).
pub(super) struct Epoll(OwnedFd);

/// Room for so many tokens in one wait.
const EVENTS: usize = 512;

/// The tokens of the last wait.
pub(super) struct Ready {
    events: [libc::epoll_event; EVENTS],
    len: usize,
}

impl Default for Ready {
    fn default() -> Self {
        Self { events: [libc::epoll_event { events: 0, u64: 0 }; EVENTS], len: 0 }
    }
}

impl Ready {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Token `n`.
    pub(super) fn token(&self, n: usize) -> Option<u64> {
        self.events.get(..self.len)?.get(n).map(|event| event.u64)
    }
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes a flag; gives a new descriptor or -1.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd`, which is told as `token`. Closing it ends that.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: both descriptors are open, as their owners live; `event` is read during the call only.
        check(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    /// Waits until something can be read, or for `timeout` (rounded up to a millisecond; `None`: without end).
    /// An interruption by a signal is no error: nothing is ready.
    pub(super) fn wait(&self, timeout: Option<Duration>, ready: &mut Ready) -> io::Result<()> {
        let ms = match timeout {
            None => -1,
            Some(time) => i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        };
        ready.len = 0;
        // SAFETY: `events` has room for `EVENTS` entries, all initialised; the kernel writes at most that many.
        let n = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), ready.events.as_mut_ptr(), EVENTS as libc::c_int, ms)
        };
        match check(n) {
            Ok(n) => ready.len = usize::try_from(n).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Wakes a thread that waits in [`Epoll::wait`].
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes numbers; gives a new descriptor or -1.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Never blocks. (A full counter, the only other outcome, wakes just as well.)
    pub(super) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes that live for the call to a descriptor that is open.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes all wake-ups so far.
    pub(super) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: reads eight bytes into a buffer of eight from a descriptor that is open and does not block.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Brings the soft limit of open files to the hard one; gives the limit in force.
pub(super) fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: the kernel reads one `rlimit`.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
