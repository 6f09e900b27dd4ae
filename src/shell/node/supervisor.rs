//! Whoever watches over the process is told how it is: sd_notify(3), datagrams to the socket of `NOTIFY_SOCKET`.
//!
//! A node that nobody watches over tells nobody, and nothing else is different.

use std::convert::Infallible;
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Node;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::view::StatusView;

/// Where the datagrams go.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often the watchdog wants to be fed, microseconds, and by whom.
const WATCHDOG: (&str, &str) = ("WATCHDOG_USEC", "WATCHDOG_PID");
/// How often a node that nobody watches says how it is, and how often an ending one asks for more time.
const TURN: Duration = Duration::from_secs(5);
/// What it asks for then: the longest pause between two such words, and room for a busy machine.
const MORE_TIME: Duration = Duration::from_secs(15);

/// Whoever watches over the process.
#[derive(Clone)]
pub(super) struct Supervisor(Option<Arc<Watching>>);

struct Watching {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// It has been told that the node is ending.
    is_ending: AtomicBool,
}

impl Supervisor {
    /// That of the environment, which children do not inherit from here on. To be called while there is one thread.
    pub(super) fn of_environment() -> Self {
        let value = |name: &str| env::var(name).ok();
        let address = env::var_os(SOCKET);
        let (every, whom) = (value(WATCHDOG.0), value(WATCHDOG.1));
        for name in [SOCKET, WATCHDOG.0, WATCHDOG.1] {
            // SAFETY: the program has no other thread yet that could read the environment.
            #[expect(unsafe_code, reason = "the environment is changed before there are threads")]
            unsafe {
                env::remove_var(name);
            }
        }
        let Some(address) = address else { return Self(None) };
        match Watching::new(address.as_bytes(), watchdog(every.as_deref(), whom.as_deref())) {
            Ok(watching) => Self(Some(Arc::new(watching))),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET is of no use");
                Self(None)
            }
        }
    }

    /// All listeners stand.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=Ready");
    }

    /// The configuration is being read anew; [`Supervisor::reloaded`] is the end of it.
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reloading", monotonic_micros()));
    }

    /// It was read, with or without faults: the log says which.
    pub(super) fn reloaded(&self) {
        self.tell("READY=1\nSTATUS=Reloaded");
    }

    /// It has begun to end (sd_notify(3): "is beginning its shutdown"): it drains, takes nothing new, and there is no way
    /// back. Whoever watches counts its time to stop from there.
    pub(super) fn stopping(&self, how: &str) {
        if let Some(watching) = self.0.as_deref() {
            watching.is_ending.store(true, Ordering::Relaxed);
        }
        let more = MORE_TIME.as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={more}\nSTATUS={how}"));
    }

    /// Tells how the node is as long as somebody listens, and that it lives as long as its threads turn. Ends never.
    pub(super) async fn keep_telling(&self, node: &Node) -> Infallible {
        let Some(watching) = self.0.as_deref() else { return std::future::pending().await };
        let every = watching.watchdog.map_or(TURN, |watchdog| (watchdog / 2).min(TURN));
        let mut turns = tokio::time::interval(every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let pulse = node.store_pulse();
        let (mut seen, mut late) = (None, false);
        loop {
            turns.tick().await;
            let began = Instant::now();
            let status = match node.handle().command(&Subject::Admin, Command::Status).await {
                Ok(Reply::Status(status)) => Some(status),
                _ => None,
            };
            // It has had the time since it was asked last.
            let turned = seen.replace(pulse.turns()) != Some(pulse.turns());
            pulse.ask();
            let lives = status.is_some() && turned;
            let mut lines = Vec::new();
            if lives && watching.watchdog.is_some() {
                lines.push("WATCHDOG=1".to_owned());
            }
            if !lives && !late {
                let waited = began.elapsed();
                tracing::warn!(
                    ?waited,
                    signalling = status.is_some(),
                    store = turned,
                    "a thread does not turn"
                );
            }
            late = !lives;
            if let Some(status) = status {
                // Of a node that `segue drain` was given, and that does not end, it would be another time that is extended.
                if status.draining && watching.is_ending.load(Ordering::Relaxed) {
                    lines.push(format!("EXTEND_TIMEOUT_USEC={}", MORE_TIME.as_micros()));
                }
                lines.push(format!("STATUS={}", words(&status)));
            }
            self.tell(&lines.join("\n"));
        }
    }

    fn tell(&self, text: &str) {
        let Some(watching) = self.0.as_deref().filter(|_| !text.is_empty()) else { return };
        if let Err(error) = watching.socket.send_to_addr(text.as_bytes(), &watching.address) {
            tracing::debug!(%error, "whoever watches over the process does not listen");
        }
    }
}

impl Watching {
    fn new(address: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A full socket must not keep anybody waiting: the next word says the same.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: address_of(address)?, watchdog, is_ending: AtomicBool::new(false) })
    }
}

/// A path, or behind an `@` a name of the abstract namespace.
fn address_of(address: &[u8]) -> io::Result<SocketAddr> {
    match address {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(address))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path and no abstract name")),
    }
}

/// How often it wants to be fed, if it is us that it means.
fn watchdog(every: Option<&str>, whom: Option<&str>) -> Option<Duration> {
    let is_meant = whom.is_none_or(|whom| whom.parse() == Ok(std::process::id()));
    let micros = every.and_then(|every| every.parse().ok()).filter(|micros| *micros > 0 && is_meant);
    micros.map(Duration::from_micros)
}

/// How the node is, in a line.
fn words(status: &StatusView) -> String {
    let state = if status.draining { "Draining" } else { "Ready" };
    let calls = status.calls_ringing + status.calls_answered;
    let mut words = format!("{state}: {calls} calls, {} registrations", status.registrations);
    if status.store != "ok" {
        words += &format!("; {}", status.store);
    }
    words
}

/// Of CLOCK_MONOTONIC, by which the supervisor tells a reload from the one before.
fn monotonic_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local of the right type; the clock is one that every Linux has.
    #[expect(unsafe_code, reason = "the standard library does not give this clock away")]
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if done != 0 {
        return 0;
    }
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000).saturating_add(nanos.unwrap_or(0) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("segue-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(abstract_name.as_bytes()).unwrap();
        for (address, socket) in [
            (path.display().to_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{abstract_name}"), UnixDatagram::bind_addr(&by_name).unwrap()),
        ] {
            let supervisor = Supervisor(Some(Arc::new(Watching::new(address.as_bytes(), None).unwrap())));
            supervisor.ready();
            assert_eq!(heard(&socket), "READY=1\nSTATUS=Ready");
            let before = monotonic_micros();
            supervisor.reloading();
            let told = heard(&socket);
            let at = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
            let at: u64 = at.unwrap().parse().unwrap();
            assert!(told.starts_with("RELOADING=1\n") && at >= before && at <= monotonic_micros(), "{told}");
        }
        assert!(address_of(b"notify").is_err() && address_of(b"").is_err());
    }

    #[test]
    fn the_watchdog_is_fed_by_whom_it_means() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog(Some("30000000"), Some(&own)), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(Some("30000000"), None), Some(Duration::from_secs(30)));
        for (every, whom) in
            [(Some("30000000"), Some("1")), (Some("x"), None), (Some("0"), None), (None, None)]
        {
            assert_eq!(watchdog(every, whom), None);
        }
    }
}
