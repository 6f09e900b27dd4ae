//! The start of a node: what it takes of the machine, in the order in which taking it can fail.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::bounds::Bounds;
use super::census::Census;
use super::conduit::{Conduits, Door};
use super::contact_key::contact_key;
use super::failure::{StartError, supported, system};
use super::hep::Hep;
use super::outward::{Awaited, Outward};
use super::records::Records;
use super::reload::{Reloader, Reread};
use super::sys::Waker;
use super::tls::ServerTls;
use super::trunks::Lookups;
use super::webhook::Webhooks;
use super::worker::{Clock, Mail, Worker};
use super::{Node, Post, Progress, listen, settings};
use crate::base::Random;
use crate::call::settings::WebMedia;
use crate::config::{MediaIo, Resolved, WebPort};
use crate::engine::store::{FailureCounter, Loaded};
use crate::engine::{Engine, Input};
use crate::media::relay::PortStats;
use crate::registrar::accounts::{Account, Accounts};
use crate::shell::control::{ControlSocket, EventHub, NodeHandle, OfShell, Request, WorkerLink, link};
use crate::shell::files::{self, Needs};
use crate::shell::http::{Acceptors, HttpServer, Settings as HttpSettings};
use crate::shell::media::{Driver, MediaSettings, MediaThreads, MediaTotals, WebListen};
use crate::shell::password::{self, Passwords};
use crate::shell::store::{self, Reader, Store};
use crate::shell::telemetry::Metrics;
use crate::wire::sip::Limits;

/// Time for the API to end its open requests, while the worker waits with the last saving.
const API_GRACE: Duration = Duration::from_secs(2);
/// The store's file in the data directory.
pub(super) const STORE: &str = "segue.db";

impl Node {
    /// Starts a node. Not to be called, nor the node to be dropped, where tasks of a runtime run.
    ///
    /// # Errors
    /// What keeps it from starting, in words for an operator. Nothing is left running then.
    pub fn start(resolved: Resolved) -> Result<Self, StartError> {
        Self::start_within(resolved, Bounds::default())
    }

    /// As [`Node::start`]; `reread` reads the configuration once more when that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(resolved: Resolved, reread: Reread) -> Result<Self, StartError> {
        Self::start_so(resolved, Bounds::default(), reread)
    }

    pub(super) fn start_within(resolved: Resolved, bounds: Bounds) -> Result<Self, StartError> {
        Self::start_so(resolved, bounds, Box::new(|| Err("this node runs without a file".to_owned())))
    }

    fn start_so(resolved: Resolved, bounds: Bounds, reread: Reread) -> Result<Self, StartError> {
        supported(&resolved)?;
        let files = listen::provide_files(Needs::of(&resolved))?;
        let bounds = bounds.within(&files);
        let data_dir = resolved.node.data_dir.clone();
        listen::make_data_dir(&data_dir)?;
        let services = services()?;
        // The control socket comes first: it tells whether another node already has this directory.
        let control = (services.block_on(ControlSocket::open(&data_dir))?, files.pages);
        let mut listeners = listen::bind_all(&resolved.listens)?;
        let addresses: Vec<_> = listeners.iter().map(|l| (l.transport, l.address)).collect();
        let bound: Vec<_> = listeners.iter().map(|listener| listener.address).collect();

        let clock = Clock { origin: Instant::now() };
        let (post, inbox, waker) = mailbox()?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (store, loaded) = open_store(&data_dir, clock, &post)?;
        let accounts = accounts(&resolved, &loaded)?;
        let mut random = Random::from_seed(seed()?);
        let (media, web) = start_media(&resolved, clock, &mut random, &post)?;
        let lookups = locate(&resolved, &services, &post, &mut random)?;
        let media_threads = usize::from(media.threads());
        let settings = of_engine(&resolved, &bound, (media_threads, files.pairs), web)?;
        let own = Random::from_seed(random.bytes());
        let engine = Engine::new(settings, accounts, &loaded, 0, own, clock.now());
        let (door, census) = open_door(bounds, &post);
        listen::serve_conduits(&resolved, &mut listeners, &door, &services)?;
        let (worker_link, requests) = waking(&waker);
        let (events, webhooks, hep) = open_hub(&resolved, &engine, &services, &metrics, &mut random)?;
        let passwords = Passwords::start(password::Settings::default()).map_err(system("threads"))?;
        let closing = Arc::new(watch::Sender::new(false));
        let (reader, pulse) = (store.reader(), store.pulse());
        let (served, api_ended) = mpsc::channel::<()>();
        let outward = Outward {
            media: Arc::clone(&media),
            store,
            webhooks,
            hep,
            records: Records::start(&data_dir, &data_dir.join(STORE), &resolved.cdr)?,
            passwords: passwords.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            post: post.clone(),
            awaited: Awaited::default(),
        };
        let worker = Worker {
            tap: outward.hep.as_ref().map(Hep::tap),
            engine,
            clock,
            listeners,
            waker,
            mail: inbox,
            requests,
            outward,
            counters: metrics.worker(),
            bounds,
            census,
            conduits: Conduits::new(door, services.handle().clone(), lookups.proofs()),
            at_end: close_api(Arc::clone(&closing), api_ended),
        };
        let (progressing, progress) = watch::channel(Progress::Running);
        let reloader = Reloader::new(resolved.clone(), reread, bound, media_threads, lookups, post.clone());
        let handle = NodeHandle::new(vec![worker_link], events, of_shell(reader, reloader, metrics.clone()));
        let mut node = Self {
            addresses,
            http: resolved.http.bind,
            page_scheme: if resolved.http.tls.is_some() { "https" } else { "http" },
            post,
            worker: Some(spawn(worker, progressing)?),
            progress,
            closing,
            services: Some(services),
            media,
            handle: handle.clone(),
            store: pulse,
        };
        node.serve_api(&resolved, control, handle, (passwords, metrics), loaded.failures, served)?;
        node.announce();
        Ok(node)
    }

    fn serve_api(
        &mut self,
        resolved: &Resolved,
        (control, connections): (ControlSocket, usize),
        handle: NodeHandle,
        (passwords, metrics): (Passwords, Metrics),
        failures: Vec<FailureCounter>,
        served: mpsc::Sender<()>,
    ) -> Result<(), StartError> {
        let Some(services) = &self.services else { return Ok(()) };
        let post = self.post.clone();
        let settings = HttpSettings {
            bind: resolved.http.bind,
            connections,
            tls: self.page_tls(resolved)?,
            origin: resolved.http.origin.clone(),
            names: [&resolved.node.domain].into_iter().chain(&resolved.node.aliases).cloned().collect(),
            phone: resolved.http.phone.clone(),
            listeners: self.addresses.clone(),
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
        services.spawn(async move {
            let closed = async move {
                // The sender lives as long as the node.
                let _ = closing.wait_for(|closing| *closing).await;
            };
            http.serve(closed).await;
            drop(served);
        });
        services.spawn(control.serve(handle));
        services.spawn(report_media(Arc::clone(&self.media), metrics));
        Ok(())
    }

    /// The page's certificate, kept current like those of listeners.
    fn page_tls(&self, resolved: &Resolved) -> Result<Option<Acceptors>, StartError> {
        let (Some(files), Some(services)) = (&resolved.http.tls, &self.services) else { return Ok(None) };
        let tls = Arc::new(ServerTls::load(files).map_err(|error| StartError::PageTls(error.to_string()))?);
        services.spawn(Arc::clone(&tls).keep_current());
        Ok(Some(Box::new(move || tls.acceptor())))
    }

    fn announce(&self) {
        for (transport, address) in &self.addresses {
            tracing::info!("listening on {}://{address}", transport.uri_token());
        }
        tracing::info!("page, API and metrics on {}://{}", self.page_scheme, self.http);
    }
}

/// The worker's: who puts something in wakes it.
fn mailbox() -> Result<(Post, Receiver<Mail>, Arc<Waker>), StartError> {
    let (mail, inbox) = crossbeam_channel::unbounded();
    let waker = Arc::new(Waker::new().map_err(system("a descriptor"))?);
    Ok((Post { mail, waker: Arc::clone(&waker) }, inbox, waker))
}

/// The way of requests to the worker: each wakes it.
fn waking(waker: &Arc<Waker>) -> (WorkerLink, Receiver<Request>) {
    let wake = Arc::clone(waker);
    link(move || wake.wake())
}

/// What the shell answers by itself.
fn of_shell(reader: Reader, reloader: Reloader, metrics: Metrics) -> OfShell {
    OfShell {
        reports: Box::new(move |run: &str| reader.report(run)),
        reload: Box::new(move |dry_run| reloader.reload(dry_run)),
        metrics: Box::new(move || metrics.encode()),
    }
}

/// Has the trunks looked for, now and for as long as the node runs.
fn locate(
    resolved: &Resolved,
    services: &Runtime,
    post: &Post,
    random: &mut Random,
) -> Result<Lookups, StartError> {
    let mut lookups = Lookups::new(services.handle(), post, Random::from_seed(random.bytes()));
    let prepared: Result<Vec<_>, _> =
        resolved.trunks.iter().map(|trunk| lookups.prepare(trunk, resolved)).collect();
    lookups.begin(prepared?.into_iter().enumerate());
    Ok(lookups)
}

/// Through which the connections of the runtime come in.
fn open_door(bounds: Bounds, post: &Post) -> (Arc<Door>, Arc<Census>) {
    let (census, post) = (Census::new(bounds), post.clone());
    let tell = move |news| post.put(Mail::Conduit(news));
    (Door::new(bounds, Limits::default(), Arc::clone(&census), tell), census)
}

/// Where events go: to metrics, to webhooks, and to who listens; and the export to a capture server, where there is one.
fn open_hub(
    resolved: &Resolved,
    engine: &Engine,
    services: &Runtime,
    metrics: &Metrics,
    random: &mut Random,
) -> Result<(EventHub, Option<Webhooks>, Option<Hep>), StartError> {
    let node = &resolved.node;
    let webhooks = Webhooks::start(&resolved.webhooks, &node.data_dir, services.handle(), metrics, random)?;
    let (counters, metrics, tap) = (metrics, metrics.clone(), webhooks.as_ref().map(Webhooks::tap));
    let events = EventHub::new(&node.id, random.bytes(), move |envelope| {
        metrics.observe(&envelope.event);
        if let Some(tap) = &tap {
            tap.offer(envelope);
        }
    });
    let listeners = &engine.settings.call.listeners;
    let export = |hep| Hep::start(hep, listeners, services.handle(), counters.hep());
    let hep = resolved.hep.as_ref().map(export).transpose()?;
    Ok((events, webhooks, hep))
}

/// The runtime of what is no signalling and no media.
fn services() -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("services").enable_all().build().map_err(system("threads"))
}

/// Ends the API and waits until it has: what it has to tell at its end finds the worker still there.
fn close_api(closing: Arc<watch::Sender<bool>>, ended: mpsc::Receiver<()>) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        closing.send_replace(true);
        // Nothing is ever sent: the other end is dropped when the API has ended.
        let _ = ended.recv_timeout(API_GRACE);
    })
}

fn open_store(data_dir: &Path, clock: Clock, post: &Post) -> Result<(Store, Loaded), StartError> {
    let post = post.clone();
    let answered = move |ticket, reply| post.send(Input::Stored { ticket, reply });
    let unix = clock.now().unix;
    Ok(Store::open(&data_dir.join(STORE), store::Settings::default(), unix, answered)?)
}

/// Those of the file and those of the store. The file wins: what it took since is told, not fatal.
fn accounts(resolved: &Resolved, loaded: &Loaded) -> Result<Accounts, StartError> {
    let mut accounts = Accounts::default();
    for account in &resolved.accounts {
        put_account(&mut accounts, account)?;
    }
    for account in &loaded.accounts {
        if let Err(error) = put_account(&mut accounts, account) {
            tracing::warn!(%error, "an account of the store is not used");
        }
    }
    Ok(accounts)
}

fn put_account(accounts: &mut Accounts, account: &Account) -> Result<(), StartError> {
    let put = accounts.put(account.clone());
    put.map(drop).map_err(|error| StartError::Account { name: account.name.clone(), why: error.to_string() })
}

fn spawn(worker: Worker, progress: watch::Sender<Progress>) -> Result<JoinHandle<()>, StartError> {
    let run = move || {
        let outcome = worker.run();
        if let Err(error) = &outcome {
            tracing::error!(%error, "the signalling worker gives up");
        }
        progress.send_replace(if outcome.is_ok() { Progress::Ended } else { Progress::Failed });
    };
    std::thread::Builder::new().name("signalling-0".into()).spawn(run).map_err(system("threads"))
}

fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::System {
        what: "entropy",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(seed)
}

/// What the engine is told, with what only a start finds out.
fn of_engine(
    resolved: &Resolved,
    bound: &[SocketAddr],
    (media_threads, pairs): (usize, usize),
    web: Option<WebMedia>,
) -> Result<crate::engine::Settings, StartError> {
    let mut settings = settings::engine(resolved, bound, media_threads);
    settings.call.media.meet_browsers(web);
    settings.call.media.pairs = pairs;
    let path = &resolved.node.data_dir;
    settings.contact_key =
        contact_key(path).map_err(|source| StartError::DataDir { path: path.clone(), source })?;
    Ok(settings)
}

/// The media threads, and where browsers meet them.
fn start_media(
    resolved: &Resolved,
    clock: Clock,
    random: &mut Random,
    post: &Post,
) -> Result<(Arc<MediaThreads>, Option<WebMedia>), StartError> {
    let (first, last) = resolved.media.ports;
    let mut settings = MediaSettings::new(first..=last, clock.origin, random.bytes());
    settings.tells_rtcp = resolved.hep.as_ref().is_some_and(|hep| hep.rtcp);
    settings.driver = match resolved.media.io {
        MediaIo::Auto => Driver::Auto,
        MediaIo::Epoll => Driver::Epoll,
        MediaIo::IoUring => Driver::IoUring,
    };
    settings.threads = files::media_threads(resolved);
    let (port, is_given) = match resolved.media.web_port {
        WebPort::Given(port) => (Some(port), true),
        WebPort::Beside(port) => (Some(port), false),
        WebPort::Off => (None, true),
    };
    if let Some(port) = port {
        let bind = SocketAddr::new(resolved.media.address, port);
        settings.web = Some(WebListen { bind });
    }
    let start = |settings: &MediaSettings| {
        let post = post.clone();
        MediaThreads::start(settings, move |event| post.media(event))
    };
    let threads = match start(&settings) {
        Err(error) if !is_given => {
            tracing::warn!("no calls with browsers: {error}");
            settings.web = None;
            start(&settings)
        }
        started => started,
    };
    let threads = threads.map_err(system("media threads"))?;
    let web = settings.web.map(|_| WebMedia { places: threads.web_places().to_vec() });
    Ok((Arc::new(threads), web))
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
