//! A running node: listeners, the signalling worker, media threads, the store, the API, and how they are joined.

mod outward;
mod settings;
mod stream;
mod sys;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use self::outward::Outward;
use self::sys::Waker;
use self::worker::{Clock, Listener, Mail, Stop, Worker};
use crate::base::Random;
use crate::config::{Listen, Resolved, StoreKind};
use crate::engine::{Engine, Input};
use crate::media::relay::PortStats;
use crate::registrar::accounts::Accounts;
use crate::shell::control::{ControlError, ControlSocket, EventHub, NodeHandle, link};
use crate::shell::demo;
use crate::shell::http::{HttpError, HttpServer, Settings as HttpSettings};
use crate::shell::media::{MediaSettings, MediaThreads, MediaTotals};
use crate::shell::password::{self, Passwords};
use crate::shell::store::{self, Store};
use crate::shell::telemetry::Metrics;
use crate::sip::Transport;

/// Wait for calls to end by themselves after the first signal.
const DRAIN: Duration = Duration::from_secs(30);
/// Asked of the system for each datagram socket; it gives what it may.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The store's file in the data directory.
const STORE: &str = "segue.db";

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error("cannot listen on {transport}://{address}: {}", explain(source))]
    Listen {
        /// How.
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// What is configured is not there yet.
    #[error("{what} is not supported: {instead}")]
    Unsupported {
        /// It.
        what: String,
        /// What can be done.
        instead: &'static str,
    },
    /// A trunk's name.
    #[error("trunk {name}: cannot resolve {host}: {why}")]
    Trunk {
        /// Which.
        name: Box<str>,
        /// What was looked up.
        host: Box<str>,
        /// Why not.
        why: String,
    },
    /// The data directory.
    #[error("cannot use the data directory {}: {source}", path.display())]
    DataDir {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The API.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An account of the file and one of the store, or two of the file.
    #[error("account {name}: {why}")]
    Account {
        /// Its name.
        name: Box<str>,
        /// Why not.
        why: String,
    },
    /// Threads, entropy, descriptors.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another program".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        io::ErrorKind::PermissionDenied => {
            "no permission (ports below 1024 need the capability CAP_NET_BIND_SERVICE)".into()
        }
        _ => error.to_string(),
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// Puts mail into the worker's box and wakes it.
#[derive(Clone)]
pub(crate) struct Post {
    mail: crossbeam_channel::Sender<Mail>,
    waker: Arc<Waker>,
}

impl Post {
    fn send(&self, input: Input) {
        self.put(Mail::Input(input));
    }

    fn put(&self, mail: Mail) {
        // The box closes with the worker; what comes later concerns nobody.
        if self.mail.send(mail).is_ok() {
            self.waker.wake();
        }
    }
}

/// A node that runs. Dropped, it hangs up and ends.
pub struct Node {
    addresses: Vec<(Transport, SocketAddr)>,
    http: SocketAddr,
    post: Post,
    worker: Option<JoinHandle<()>>,
    ended: watch::Receiver<bool>,
    closing: watch::Sender<bool>,
    services: Option<tokio::runtime::Runtime>,
    media: Arc<MediaThreads>,
}

impl Node {
    /// Starts a node.
    ///
    /// # Errors
    /// What keeps it from starting, in words for an operator. Nothing is left running then.
    pub fn start(resolved: Resolved) -> Result<Self, StartError> {
        supported(&resolved)?;
        let data_dir = resolved.node.data_dir.clone();
        make_data_dir(&data_dir)?;
        let services = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("services")
            .enable_all()
            .build()
            .map_err(system("threads"))?;
        // The control socket comes first: it tells whether another node already has this directory.
        let control = services.block_on(ControlSocket::open(&data_dir))?;
        let listeners = resolved.listens.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = listeners.iter().map(|l| (l.transport, l.address)).collect();
        let bound: Vec<_> = listeners.iter().map(|listener| listener.address).collect();

        let clock = Clock { origin: Instant::now() };
        let (mail, inbox) = crossbeam_channel::unbounded();
        let waker = Arc::new(Waker::new().map_err(system("a descriptor"))?);
        let post = Post { mail, waker: Arc::clone(&waker) };

        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (store, loaded) = open_store(&data_dir, clock, &post)?;
        let mut accounts = Accounts::default();
        for account in resolved.accounts.iter().cloned() {
            put_account(&mut accounts, account)?;
        }
        for account in loaded.accounts.iter().cloned() {
            let name = account.name.clone();
            // The file wins (operators.md): what it took since is told, not fatal.
            if let Err(error) = put_account(&mut accounts, account) {
                tracing::warn!(account = %name, %error, "an account of the store is not used");
            }
        }

        let mut random = Random::from_seed(seed()?);
        let media = start_media(&resolved, clock, &mut random, &post)?;
        let engine_settings = settings::engine(&resolved, &bound, usize::from(media.threads()))?;
        let engine = Engine::new(
            engine_settings,
            accounts,
            &loaded,
            0,
            Random::from_seed(random.bytes()),
            clock.now(),
        );

        let wake = Arc::clone(&waker);
        let (worker_link, requests) = link(move || wake.wake());
        let observed = metrics.clone();
        let events = EventHub::new(&resolved.node.id, random.bytes(), move |event| observed.observe(event));
        let passwords = Passwords::start(password::Settings::default()).map_err(system("threads"))?;
        let counters = metrics.worker();
        let worker = Worker {
            engine,
            clock,
            listeners,
            waker,
            mail: inbox,
            requests,
            outward: Outward {
                media: Arc::clone(&media),
                store,
                passwords: passwords.clone(),
                events: events.clone(),
                post: post.clone(),
            },
            counters,
        };
        let (ending, ended) = watch::channel(false);
        let worker = std::thread::Builder::new()
            .name("signalling-0".into())
            .spawn(move || {
                if let Err(error) = worker.run() {
                    tracing::error!(%error, "the signalling worker ended");
                }
                ending.send_replace(true);
            })
            .map_err(system("threads"))?;
        let mut node = Self {
            addresses,
            http: resolved.http.bind,
            post,
            worker: Some(worker),
            ended,
            closing: watch::Sender::new(false),
            services: Some(services),
            media,
        };
        let handle = NodeHandle::new(vec![worker_link], events);
        node.serve_api(&resolved, control, handle, passwords, &metrics, loaded.failures)?;
        for (transport, address) in &node.addresses {
            tracing::info!("listening on {}://{address}", transport.uri_token());
        }
        tracing::info!("API and metrics on http://{}", node.http);
        Ok(node)
    }

    fn serve_api(
        &mut self,
        resolved: &Resolved,
        control: ControlSocket,
        handle: NodeHandle,
        passwords: Passwords,
        metrics: &Metrics,
        failures: Vec<crate::engine::store::FailureCounter>,
    ) -> Result<(), StartError> {
        let Some(services) = &self.services else { return Ok(()) };
        let post = self.post.clone();
        let settings = HttpSettings {
            bind: resolved.http.bind,
            data_dir: resolved.node.data_dir.clone(),
            node: handle.clone(),
            passwords,
            metrics: metrics.clone(),
            failures,
            remember: Box::new(move |failures| post.send(Input::Remember(failures))),
        };
        let http = services.block_on(HttpServer::bind(settings))?;
        self.http = http.address();
        let mut closing = self.closing.subscribe();
        let closed = async move {
            // The sender lives as long as the node.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        services.spawn(http.serve(closed));
        services.spawn(control.serve(handle));
        services.spawn(report_media(Arc::clone(&self.media), metrics.clone()));
        Ok(())
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.addresses
    }

    /// Where its API is.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Takes no new calls and waits for those that are there; at most this long, then they are hung up.
    pub fn drain(&self, patience: Duration) {
        self.post.put(Mail::Stop(Stop::Drain(patience)));
    }

    /// Hangs up and ends.
    pub fn stop(&self) {
        self.post.put(Mail::Stop(Stop::Now));
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the worker is gone, which is the end, too.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        if self.worker.take().is_some_and(|worker| worker.join().is_err()) {
            tracing::error!("the signalling worker ended in a panic");
        }
        self.closing.send_replace(true);
        if let Some(services) = self.services.take() {
            services.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// Runs a node until it is told to end: the first signal drains it, the second ends it at once.
///
/// # Errors
/// It does not start.
pub fn serve(resolved: Resolved) -> anyhow::Result<ExitCode> {
    let node = Node::start(resolved)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut signals = 0;
        loop {
            tokio::select! {
                () = node.ended() => break,
                _ = terminate.recv() => {}
                result = tokio::signal::ctrl_c() => result?,
            }
            signals += 1;
            if signals == 1 {
                tracing::info!("draining: no new calls; again to end at once");
                node.drain(DRAIN);
            } else {
                node.stop();
            }
        }
        anyhow::Ok(())
    })?;
    drop(node);
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// Runs the demonstration on a node of its own.
///
/// # Errors
/// The node or a phone does not start.
pub fn demonstrate(options: demo::Options) -> anyhow::Result<ExitCode> {
    /// A node has threads and a runtime of its own, which are not to be waited for where tasks run.
    struct Aside(Option<Node>);
    impl Drop for Aside {
        fn drop(&mut self) {
            tokio::task::block_in_place(|| drop(self.0.take()));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(demo::run(options, |resolved| {
        let node = tokio::task::block_in_place(|| Node::start(resolved))?;
        Ok(Aside(Some(node)))
    }))
}

fn supported(resolved: &Resolved) -> Result<(), StartError> {
    for listen in &resolved.listens {
        if !matches!(listen.transport, Transport::Udp | Transport::Tcp) {
            return Err(StartError::Unsupported {
                what: format!("listening on {}", listen.transport.uri_token()),
                instead: "udp and tcp are",
            });
        }
    }
    if resolved.node.store != StoreKind::Sqlite {
        return Err(StartError::Unsupported {
            what: "a store other than sqlite".into(),
            instead: "store = \"sqlite\" is",
        });
    }
    Ok(())
}

fn make_data_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::DataDir { path: path.to_owned(), source })
}

fn bind(listen: &Listen) -> Result<Listener, StartError> {
    let transport = listen.transport;
    let failed =
        |source| StartError::Listen { transport: transport.uri_token(), address: listen.bind, source };
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listen.bind), kind, Some(protocol)).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    if listen.bind.is_ipv6() {
        socket.set_only_v6(true).map_err(failed)?;
    }
    if transport.is_reliable() {
        // A restart does not wait for the connections of its predecessor to be forgotten.
        socket.set_reuse_address(true).map_err(failed)?;
    } else {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
    socket.bind(&listen.bind.into()).map_err(failed)?;
    if transport.is_reliable() {
        socket.listen(BACKLOG).map_err(failed)?;
    }
    let address = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(listen.bind);
    Ok(Listener { transport, socket, address })
}

fn open_store(
    data_dir: &Path,
    clock: Clock,
    post: &Post,
) -> Result<(Store, crate::engine::store::Loaded), StartError> {
    let post = post.clone();
    let answered = move |ticket, reply| post.send(Input::Stored { ticket, reply });
    let unix = clock.now().unix;
    Ok(Store::open(&data_dir.join(STORE), store::Settings::default(), unix, answered)?)
}

fn put_account(
    accounts: &mut Accounts,
    account: crate::registrar::accounts::Account,
) -> Result<(), StartError> {
    let name = account.name.clone();
    accounts.put(account).map_err(|error| StartError::Account { name, why: error.to_string() })
}

fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::System {
        what: "entropy",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(seed)
}

fn start_media(
    resolved: &Resolved,
    clock: Clock,
    random: &mut Random,
    post: &Post,
) -> Result<Arc<MediaThreads>, StartError> {
    let (first, last) = resolved.media.ports;
    let mut settings = MediaSettings::new(first..=last, clock.origin, random.bytes());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    settings.threads = u8::try_from((cores / 2).clamp(1, 16)).unwrap_or(1);
    let post = post.clone();
    let threads = MediaThreads::start(&settings, move |event| post.send(Input::Media(event)));
    Ok(Arc::new(threads.map_err(system("media threads"))?))
}

/// Once a second, what the media threads have counted goes to the metrics.
async fn report_media(media: Arc<MediaThreads>, metrics: Metrics) {
    let as_stats = |totals: &MediaTotals| PortStats {
        received: totals.received,
        sent: totals.sent,
        lost: i64::try_from(totals.lost).unwrap_or(i64::MAX),
        dropped: totals.dropped,
        ..PortStats::default()
    };
    let mut before = as_stats(&media.totals());
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let after = as_stats(&media.totals());
        metrics.media(&before, &after);
        before = after;
    }
}
