//! Connections: how many, how long, how large; and the frame around every request.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::caller::Peer;
use super::health::{self, Health};
use super::problem::Problem;
use super::session::{ADMIN_FILE, Sessions};
use super::throttle::Throttle;
use super::{Acceptors, Api, Settings, Shared, browser, events, now, openapi, page, phone, routes, unix_now};
use crate::engine::store::FailureCounter;
use crate::shell::files::Seldom;

/// Of all connections those of one address: an office of thirty pages behind one NAT, most of which have nothing but
/// their stream at any moment. A proxy on this machine stands for many.
const CONNECTIONS_EACH: usize = 128;
/// Time for the head of a request, and for the pause before the next on the same connection.
const HEAD: Duration = Duration::from_secs(10);
/// Time for a request with its body, and for the beginning of its answer.
const REQUEST: Duration = Duration::from_secs(15);
/// Time after which a peer that acknowledges nothing is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Time for open requests at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes of a body: the largest is a login.
const BODY_BYTES: usize = 16 * 1024;
/// How often failed logins go to the store.
const REMEMBER: Duration = Duration::from_secs(10);

/// Why there is no HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on http.bind = {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The administrator's token.
    #[error("cannot read or make {path}: {source}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A bound server.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    api: Api,
    head: Duration,
    connections: usize,
    tls: Option<Arc<Acceptors>>,
    remember: Box<dyn Fn(Vec<FailureCounter>) + Send + Sync>,
}

impl HttpServer {
    /// Binds the address and reads or makes the administrator's token.
    ///
    /// # Errors
    /// [`HttpError`] where one of them cannot be had.
    pub async fn bind(settings: Settings) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Bind { address: settings.bind, source };
        let listener = TcpListener::bind(settings.bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let sessions = Sessions::open(&settings.data_dir)
            .map_err(|source| HttpError::Token { path: settings.data_dir.join(ADMIN_FILE), source })?;
        let api = Api(Arc::new(Shared {
            node: settings.node,
            passwords: settings.passwords,
            metrics: settings.metrics,
            sessions,
            lending: tokio::sync::Mutex::default(),
            throttle: Throttle::new(now(), unix_now(), &settings.failures),
            home: match (settings.tls.is_some(), browser::Home::new(settings.origin).named(settings.names)) {
                (true, home) => home.under_tls(),
                (false, home) => home,
            },
            reach: phone::Reach::new(settings.phone, &settings.listeners),
            streams: events::Streams::default(),
            health: Health::default(),
            openapi: openapi::encode(env!("CARGO_PKG_VERSION")),
        }));
        let tls = settings.tls.map(Arc::new);
        let connections = settings.connections;
        Ok(Self { listener, address, api, head: HEAD, connections, tls, remember: settings.remember })
    }

    /// Where it listens, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Less time for heads, for tests that wait for its end.
    #[cfg(test)]
    pub(super) fn with_head_timeout(mut self, head: Duration) -> Self {
        self.head = head;
        self
    }

    /// Serves until `shutdown` is there, then lets open requests end for a few seconds.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, api, head, connections, tls, remember, .. } = self;
        let places = Arc::new(Semaphore::new(connections));
        let closing = watch::Sender::new(false);
        let each = Each::of(connections);
        let front = Front { app: app(api.clone()), head, tls, each, closing: closing.subscribe() };
        tokio::select! {
            () = shutdown => {}
            () = accept(&listener, &front, &places) => {}
            () = end_sessions(&api) => {}
            () = remember_failures(&api, &remember) => {}
            () = phone::take_back_all(&api) => {}
        }
        drop(listener);
        closing.send_replace(true);
        api.streams.close();
        remember(api.throttle.counters(now(), unix_now()));
        let all = u32::try_from(connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
    }
}

/// The routes in their frame.
fn app(api: Api) -> Router {
    routes::router()
        .merge(page::router())
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            let detail = "This path does not take that method.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
        })
        .layer(middleware::from_fn_with_state(api.clone(), by_our_name))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(frame))
        .with_state(api)
}

/// Only requests for a name of ours. Whether we are there is told by any name.
async fn by_our_name(State(api): State<Api>, request: Request, next: Next) -> Response {
    match api.home.check_host(request.headers()) {
        Err(problem) if !health::is_probe(request.uri().path()) => problem.into_response(),
        _ => next.run(request).await,
    }
}

/// A limit of time on the way in, headers of caution on the way out.
async fn frame(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "The request took too long.";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
        }
    };
    let headers = response.headers_mut();
    // What may be kept says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What every connection is served with.
#[derive(Clone)]
struct Front {
    app: Router,
    head: Duration,
    tls: Option<Arc<Acceptors>>,
    each: Each,
    closing: watch::Receiver<bool>,
}

async fn accept(listener: &TcpListener, front: &Front, places: &Arc<Semaphore>) {
    let mut seldom = Seldom::default();
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Over its share an address is hung up on: an answer would cost what the share protects.
                let Some(share) = front.each.enter(peer.ip()) else { continue };
                tokio::spawn(connection(stream, peer, front.clone(), (place, share)));
            }
            Err(error) => {
                // Out of descriptors, most likely: let others close theirs.
                if seldom.is_due() {
                    tracing::warn!(%error, "http accept");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, front: Front, held: (OwnedSemaphorePermit, Share)) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    match front.tls.as_ref().map(|acceptors| acceptors()) {
        None => exchange(stream, peer, front).await,
        Some(acceptor) => match tokio::time::timeout(front.head, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, peer, front).await,
            Ok(Err(error)) => tracing::debug!(%error, "http handshake"),
            Err(_) => tracing::debug!("http handshake took too long"),
        },
    }
    drop(held);
}

/// Requests and answers of one connection, until it ends.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    front: Front,
) {
    let Front { app, head, mut closing, .. } = front;
    let app = app.layer(axum::Extension(Peer(peer)));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = async { drop(closing.wait_for(|closing| *closing).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "http connection");
    }
}

/// A user whose account was changed signs in anew.
async fn end_sessions(api: &Api) {
    let mut changes = api.node.account_changes();
    loop {
        match changes.recv().await {
            Ok(user) => api.sessions.end_all_of(&user),
            Err(broadcast::error::RecvError::Lagged(_)) => api.sessions.end_all(),
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

async fn remember_failures(api: &Api, remember: &(dyn Fn(Vec<FailureCounter>) + Send + Sync)) {
    let mut ticks = tokio::time::interval(REMEMBER);
    loop {
        ticks.tick().await;
        let counters = api.throttle.counters(now(), unix_now());
        if !counters.is_empty() {
            remember(counters);
        }
    }
}

/// Connections by address.
#[derive(Clone)]
struct Each {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    connections: usize,
}

impl Each {
    /// Of so many connections of all addresses; none but a proxy here has more than half.
    fn of(connections: usize) -> Self {
        Self { open: Arc::default(), connections }
    }

    fn enter(&self, address: IpAddr) -> Option<Share> {
        let is_here = address.to_canonical().is_loopback();
        let limit =
            if is_here { self.connections } else { CONNECTIONS_EACH.min(self.connections.div_ceil(2)) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Share { of: self.clone(), address })
    }
}

/// One connection of an address.
struct Share {
    of: Each,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let each = Each::of(1024);
        let (stranger, proxy) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let mut shares: Vec<_> = (0..CONNECTIONS_EACH).map(|_| each.enter(stranger).unwrap()).collect();
        assert!(each.enter(stranger).is_none());
        let _many: Vec<_> = (0..CONNECTIONS_EACH + 1).map(|_| each.enter(proxy).unwrap()).collect();
        shares.pop();
        assert!(each.enter(stranger).is_some());
        drop(shares);
        assert!(!each.open.lock().unwrap().contains_key(&stranger));
    }
}
