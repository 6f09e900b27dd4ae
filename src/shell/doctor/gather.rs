//! Finds out. Ports are bound for a moment, a file is made in the data directory and removed; nothing else is
//! touched.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::net::UnixStream;

use super::judge::{Data, Facts, Port, PortState};
use super::system;
use crate::config::{MediaIo, Resolved};
use crate::engine::command::{Command, Reply};
use crate::shell::control::{Client, SOCKET_NAME};
use crate::shell::files::Needs;
use crate::shell::{media, node};
use crate::sip::Transport;

/// How long the integrity of the store is looked at.
const CHECK: Duration = Duration::from_secs(10);
/// How long the page is waited for, on this machine.
const CONNECT: Duration = Duration::from_secs(1);
/// Of ports that others hold no more are told.
const MAX_TAKEN: usize = 64;

/// A node that answers in the data directory.
#[derive(Default)]
struct Running {
    listeners: Vec<String>,
    pid: Option<i32>,
}

/// All facts.
pub(super) fn facts(file: Option<&Path>, resolved: &Resolved) -> Facts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let running = match &runtime {
        Ok(runtime) => runtime.block_on(running(&resolved.node.data_dir)),
        Err(error) => Err(error.to_string()),
    };
    let ours = running.as_ref().ok().and_then(Option::as_ref);
    let own = ours.and_then(|running| running.pid).and_then(system::open_files_of);
    Facts {
        file: file.map(Path::to_owned),
        is_file_open: file.is_some_and(system::is_open),
        node: running.as_ref().map(Option::is_some).map_err(Clone::clone),
        ports: ports(resolved, ours),
        private: private(resolved),
        is_synchronised: system::is_synchronised(),
        certificates: node::inspect::certificates(resolved),
        files: own.or_else(|| media::raise_file_limit().ok()),
        parts: Needs::of(resolved).parts,
        media: resolved.media.ports,
        media_taken: if ours.is_some() { Vec::new() } else { taken(resolved) },
        buffers: system::setting("net/core/rmem_max").zip(system::setting("net/core/wmem_max")),
        ephemeral: system::ephemeral(),
        data: data(&resolved.node.data_dir),
        store: store(&resolved.node.data_dir.join("segue.db")),
        zone: system::zone(),
        names: node::inspect::names(resolved),
        uring: media::probe_uring().map_err(|error| error.to_string()),
        io: match resolved.media.io {
            MediaIo::Auto => "auto",
            MediaIo::Epoll => "epoll",
            MediaIo::IoUring => "io_uring",
        },
    }
}

/// The node of this directory, if one answers.
///
/// # Errors
/// One is there, and does not speak to us.
async fn running(data_dir: &Path) -> Result<Option<Running>, String> {
    let mut client = match Client::connect(data_dir).await {
        Ok(client) => client,
        Err(crate::shell::control::ClientError::NotRunning(_)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let status = client.ask(Command::Status).await.map_err(|error| error.to_string())?;
    let Reply::Status(status) = status else { return Err("the node gives no answer".to_owned()) };
    let peer = UnixStream::connect(data_dir.join(SOCKET_NAME)).await;
    let pid = peer.ok().and_then(|peer| peer.peer_cred().ok()).and_then(|peer| peer.pid());
    Ok(Some(Running { listeners: status.listeners, pid }))
}

fn ports(resolved: &Resolved, ours: Option<&Running>) -> Vec<Port> {
    let of_listens = resolved.listens.iter().enumerate().map(|(at, listen)| {
        let name = format!("{}://{}", listen.transport.uri_token(), listen.bind);
        let state = state_of(listen.bind, listen.transport.is_reliable());
        // It tells of its listeners by address; one for every address has some other.
        let held = ours.is_some_and(|running| {
            let told = listen.advertise.as_ref().and_then(|at| at.port).unwrap_or(listen.bind.port());
            let (way, port) = (format!("{}://", listen.transport.uri_token()), format!(":{told}"));
            running.listeners.iter().any(|known| known.starts_with(&way) && known.ends_with(&port))
        });
        let state = whose(state, || held);
        Port { name, key: format!("listen[{at}].uri"), number: listen.bind.port(), state }
    });
    let bind = resolved.http.bind;
    let page = {
        let scheme = if resolved.http.tls.is_some() { "https" } else { "http" };
        // A node has its page, or it would not run.
        let state = whose(state_of(bind, true), || ours.is_some() && is_listened_on(bind));
        Port { name: format!("{scheme}://{bind}"), key: "http.bind".to_owned(), number: bind.port(), state }
    };
    of_listens.chain([page]).collect()
}

/// Whose a port is that we do not get. The system looks at rights before it looks at who has it: without those for
/// ports below 1024 it does not say that one is taken.
fn whose(state: PortState, is_held: impl Fn() -> bool) -> PortState {
    match state {
        PortState::Taken | PortState::Forbidden if is_held() => PortState::Ours,
        state => state,
    }
}

/// Whether somebody takes connections there.
fn is_listened_on(at: SocketAddr) -> bool {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    TcpStream::connect_timeout(&SocketAddr::new(ip, at.port()), CONNECT).is_ok()
}

fn state_of(at: SocketAddr, is_stream: bool) -> PortState {
    let tried = if is_stream { TcpListener::bind(at).map(drop) } else { UdpSocket::bind(at).map(drop) };
    match tried.map_err(|error| (error.kind(), error)) {
        Ok(()) => PortState::Free,
        Err((io::ErrorKind::AddrInUse, _)) => PortState::Taken,
        Err((io::ErrorKind::PermissionDenied, _)) => PortState::Forbidden,
        Err((io::ErrorKind::AddrNotAvailable, _)) => PortState::Elsewhere,
        Err((_, error)) => PortState::Odd(error.to_string()),
    }
}

/// Media ports that somebody has.
fn taken(resolved: &Resolved) -> Vec<u16> {
    let (first, last) = resolved.media.ports;
    let is_taken = |port: &u16| {
        let bound = UdpSocket::bind((resolved.media.address, *port));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    (first..=last).filter(is_taken).take(MAX_TAKEN).collect()
}

/// What is reached at an address that only a private network knows.
fn private(resolved: &Resolved) -> Vec<(String, IpAddr)> {
    let mut all = Vec::new();
    for (at, listen) in resolved.listens.iter().enumerate().filter(|(_, listen)| listen.advertise.is_none()) {
        let ip = reached(listen.bind.ip());
        // A browser is not called at an address, it calls.
        if is_private(ip) && matches!(listen.transport, Transport::Udp | Transport::Tcp | Transport::Tls) {
            all.push((format!("listen[{at}]"), ip));
        }
    }
    let ip = reached(resolved.media.address);
    if resolved.media.advertise.is_none() && is_private(ip) {
        all.push(("media".to_owned(), ip));
    }
    all
}

/// Where others reach what is bound to `ip`.
fn reached(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { node::inspect::outward(ip.is_ipv4()) } else { ip }
}

/// RFC 1918, RFC 6598 and RFC 4193. Loopback is for who is here.
fn is_private(ip: IpAddr) -> bool {
    let is_shared = |ip: Ipv4Addr| ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    match ip {
        IpAddr::V4(ip) => ip.is_private() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

fn data(path: &Path) -> Data {
    let is_there = path.is_dir();
    let nearest = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let probed = is_there.then(|| probe(path, &format!(".doctor-{}", std::process::id())));
    Data {
        path: path.to_owned(),
        writable: probed.map(|probed| probed.map_err(|error| error.to_string())),
        is_open: is_there && system::is_open(path),
        free: system::free_space(nearest),
    }
}

/// Makes a file and removes it. What has that name already is not opened, and no link is followed: whoever may write
/// into the directory must not choose what this, which may run as root, writes to.
fn probe(dir: &Path, name: &str) -> io::Result<()> {
    let path = dir.join(name);
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::Error::other(format!("{name} is there already: remove it")),
        _ => error,
    })?;
    fs::remove_file(&path)
}

/// Whether SQLite finds its file sound; what it says otherwise. A large one may take longer than there is patience for.
fn store(path: &Path) -> Option<Result<(), String>> {
    if !path.is_file() {
        return None;
    }
    let checked = || -> rusqlite::Result<String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Connection::open_with_flags(path, flags)?;
        store.busy_timeout(Duration::from_secs(2))?;
        let interrupt = store.get_interrupt_handle();
        let (done, wait) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if wait.recv_timeout(CHECK) == Err(mpsc::RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let said = store.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        drop(done);
        let _ = watch.join();
        said
    };
    match checked() {
        Ok(said) if said == "ok" => Some(Ok(())),
        Ok(said) => Some(Err(said)),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_data_directory_already_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (other, link) = (dir.path().join("shadow"), dir.path().join("probe"));
        fs::write(&other, "root:x").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let told = probe(dir.path(), "probe").unwrap_err().to_string();
        assert!(told.contains("probe is there already"), "{told}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "root:x");
        // Nor is a file made where a link leads to.
        fs::remove_file(&other).unwrap();
        assert!(probe(dir.path(), "probe").is_err() && !other.exists());
        fs::write(&other, "root:x").unwrap();
        assert!(probe(dir.path(), "shadow").is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "root:x");
        assert!(probe(dir.path(), "new").is_ok() && !dir.path().join("new").exists());
        assert_eq!(data(dir.path()).writable, Some(Ok(())));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the file and the link");
    }

    #[test]
    fn a_port_that_we_may_not_have_may_be_the_nodes_all_the_same() {
        for state in [PortState::Taken, PortState::Forbidden] {
            assert_eq!(whose(state.clone(), || true), PortState::Ours);
            assert_eq!(whose(state.clone(), || false), state);
        }
        for state in [PortState::Free, PortState::Elsewhere] {
            assert_eq!(whose(state.clone(), || true), state);
        }
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(is_listened_on(at), "at every address, so at that of this machine");
        drop(listener);
        assert!(!is_listened_on(at));
    }
}
