//! Media threads: sockets and routes.
//!
//! Each thread owns its sockets and a [`Relay`](crate::media::relay::Relay); nothing is shared on the way of a
//! packet. Commands come through a queue and one wake-up; events go out through a function of the caller's.

mod batch;
mod ports;
mod sys;
#[cfg(test)]
mod tests;
mod thread;
mod uring;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use self::ports::Ports;
use self::sys::Waker;
use self::thread::{MediaThread, Shared};
use self::uring::Uring;
use crate::media::plan::WebPlace;
use crate::media::relay::{DropReason, MediaCommand, MediaEvent};
use crate::media::web::Identity;

/// How packets pass between the sockets and us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Driver {
    /// io_uring where the system lets us, else epoll.
    #[default]
    Auto,
    /// Two system calls a packet; everywhere.
    Epoll,
    /// One system call a batch (Linux 6.1); an error where the system does not let us.
    IoUring,
}

/// How the media threads run.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// How many threads; at least 1.
    pub threads: u8,
    /// The range of port numbers for pairs (even RTP, odd RTCP).
    pub ports: RangeInclusive<u16>,
    /// How long packets may be collected under load before they are forwarded together. Zero: never.
    pub collect: Duration,
    /// How packets pass.
    pub driver: Driver,
    /// The origin of the process's timestamps.
    pub origin: Instant,
    /// For SSRCs and CNAMEs.
    pub seed: [u8; 32],
    /// Browsers; `None`: none.
    pub web: Option<WebListen>,
    /// Whether what comes in by RTCP is told.
    pub tells_rtcp: bool,
}

/// Where browsers send their media, and whom they meet there.
#[derive(Clone, Copy, Debug)]
pub struct WebListen {
    /// The socket of the first thread; those of the others have the next ports. Port 0: whatever is free.
    pub bind: SocketAddr,
}

impl MediaSettings {
    /// One thread, collecting for up to a millisecond. (Measured: an idle call is forwarded at once; at 200 calls
    /// and more the mean wait is half of what is collected, and the processor time per packet falls by a third
    /// and more.)
    #[must_use]
    pub fn new(ports: RangeInclusive<u16>, origin: Instant, seed: [u8; 32]) -> Self {
        Self {
            threads: 1,
            ports,
            collect: Duration::from_millis(1),
            driver: Driver::Auto,
            origin,
            seed,
            web: None,
            tells_rtcp: false,
        }
    }
}

/// Sums over all ports and threads since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTotals {
    /// RTP packets accepted.
    pub received: u64,
    /// RTP packets sent.
    pub sent: u64,
    /// Lost on the way to us, of ports that were released.
    pub lost: u64,
    /// Dropped, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Pairs that are bound.
    pub pairs: u64,
}

/// Brings the soft limit of open files to the hard one; gives the limit in force.
///
/// # Errors
/// The system does not tell the limit.
pub fn raise_file_limit() -> io::Result<u64> {
    sys::raise_file_limit()
}

/// Whether this system lets us use io_uring.
///
/// # Errors
/// Why not.
pub fn probe_uring() -> io::Result<()> {
    Uring::probe()
}

type Events = dyn Fn(MediaEvent) + Send + Sync;

/// The running media threads. Dropping it ends them.
pub struct MediaThreads {
    threads: Vec<Running>,
    web_places: Vec<Arc<WebPlace>>,
}

struct Running {
    commands: Sender<MediaCommand>,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

impl MediaThreads {
    /// Starts the threads. `events` is called on them and must not block. The process's limit of open files is
    /// raised as far as it may be: a call takes four sockets.
    ///
    /// # Errors
    /// A thread, or what it waits with, could not be made.
    pub fn start(
        settings: &MediaSettings,
        events: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        match sys::raise_file_limit() {
            Ok(limit) => tracing::debug!(limit, "open files"),
            Err(error) => tracing::warn!("the limit of open files stays as it is: {error}"),
        }
        let mut settings = settings.clone();
        if settings.driver != Driver::Epoll {
            match Uring::probe() {
                Ok(()) => {}
                Err(error) if settings.driver == Driver::IoUring => return Err(error),
                Err(error) => {
                    tracing::info!("media goes through epoll, since io_uring is not to be had: {error}");
                    settings.driver = Driver::Epoll;
                }
            }
        }
        let ports = Arc::new(Ports::new(settings.ports.clone()));
        let events: Arc<Events> = Arc::new(events);
        let count = settings.threads.max(1);
        // All of these or none, before there is a thread.
        let bind = |thread| settings.web.map(|web| bind_web(web, thread)).transpose();
        let webs = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
        let web_places = webs.iter().flatten().map(place_of).collect::<io::Result<Vec<_>>>()?;
        let mut threads = Vec::new();
        for (thread, web) in (0..count).zip(webs) {
            let (commands, queue) = crossbeam_channel::unbounded();
            let shared = Arc::new(Shared {
                waker: Waker::new()?,
                woken: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                totals: Mutex::default(),
            });
            let body = MediaThread::new(
                thread,
                &settings,
                (queue, Arc::clone(&shared)),
                (Arc::clone(&ports), web),
                Arc::clone(&events),
            )?;
            let handle = std::thread::Builder::new().name(format!("media-{thread}")).spawn(|| body.run())?;
            threads.push(Running { commands, shared, handle: Some(handle) });
        }
        Ok(Self { threads, web_places })
    }

    /// How many threads there are; commands name them from 0.
    #[must_use]
    pub fn threads(&self) -> u8 {
        u8::try_from(self.threads.len()).unwrap_or(u8::MAX)
    }

    /// Where the browsers of each thread meet us; empty without browsers.
    #[must_use]
    pub fn web_places(&self) -> &[Arc<WebPlace>] {
        &self.web_places
    }

    /// Hands a command to its thread; never blocks. A command for a thread that is not there does nothing.
    pub fn send(&self, command: MediaCommand) {
        let Some(thread) = self.threads.get(usize::from(command.thread())) else { return };
        // The queue ends with the thread only, at shutdown.
        let _ = thread.commands.send(command);
        if !thread.shared.woken.swap(true, Ordering::AcqRel) {
            thread.shared.waker.wake();
        }
    }

    /// Sums for metrics, at most a tenth of a second old while packets flow.
    #[must_use]
    pub fn totals(&self) -> MediaTotals {
        let mut sum = MediaTotals::default();
        for thread in &self.threads {
            let one = thread.shared.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sum.received += one.received;
            sum.sent += one.sent;
            sum.lost += one.lost;
            sum.pairs += one.pairs;
            for (total, count) in sum.dropped.iter_mut().zip(one.dropped) {
                *total += count;
            }
        }
        sum
    }

    /// Ends the threads and closes all ports. Commands that were sent before are carried out.
    pub fn shutdown(self) {}
}

/// The socket of one thread's browsers, and its certificate: that of another thread would tell a browser that comes from
/// there to go on with keys which are not here.
fn bind_web(web: WebListen, thread: u8) -> io::Result<(UdpSocket, Arc<Identity>)> {
    let mut address = web.bind;
    if address.port() != 0 {
        let port = address.port().checked_add(thread.into());
        address.set_port(
            port.ok_or_else(|| io::Error::other("[media] web_port is too high for so many threads"))?,
        );
    }
    let identity = Identity::generate().map_err(io::Error::other)?;
    Ok((ports::bind_web(address)?, Arc::new(identity)))
}

fn place_of((socket, identity): &(UdpSocket, Arc<Identity>)) -> io::Result<Arc<WebPlace>> {
    let fingerprint = identity.fingerprint().to_string().into();
    Ok(Arc::new(WebPlace { port: socket.local_addr()?.port(), fingerprint }))
}

impl Drop for MediaThreads {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.shared.stop.store(true, Ordering::Release);
            thread.shared.waker.wake();
        }
        for thread in &mut self.threads {
            if thread.handle.take().is_some_and(|handle| handle.join().is_err()) {
                tracing::error!("a media thread ended in a panic");
            }
        }
    }
}
