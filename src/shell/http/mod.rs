//! The page, the API under `/v1`, health and metrics.
//!
//! Who asks is found by the bearer token and handed to the engine as a [`Subject`](crate::engine::command::Subject);
//! what that subject may see, the engine decides. No CORS, and a cookie counts only for requests of our own page: a page
//! of another origin can do nothing here.
//!
//! A token comes from `POST /v1/login` or `POST /v1/session` (a user's, for own things) or from the file `admin.token` in the data
//! directory (the operator's, for everything).

mod browser;
mod caller;
mod dial_plan;
mod events;
mod extract;
mod health;
mod login;
mod moves;
mod openapi;
mod operation;
mod page;
mod phone;
mod problem;
mod reports;
mod resources;
mod routes;
mod schema;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod throttle;
mod trace;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio_rustls::TlsAcceptor;

use crate::base::UnixMillis;
use crate::engine::store::FailureCounter;
use crate::shell::control::NodeHandle;
use crate::shell::password::Passwords;
use crate::shell::telemetry::Metrics;
use crate::sip::Transport;

pub use serve::{HttpError, HttpServer};

/// What the server needs.
pub struct Settings {
    /// The address to bind.
    pub bind: SocketAddr,
    /// Connections at once, at most.
    pub connections: usize,
    /// Gives what takes the next connection under TLS; without it connections are plain.
    pub tls: Option<Acceptors>,
    /// How browsers reach the page, where it is not as they ask for it: `https://pbx.example.com`.
    pub origin: Option<Box<str>>,
    /// Names of this node: its domain and what else it is called.
    pub names: Vec<Box<str>>,
    /// The WebSocket of browser phones, where it is none of the listeners: `wss://pbx.example.com/sip`.
    pub phone: Option<Box<str>>,
    /// Where the node listens for SIP.
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// Holds the administrator's token.
    pub data_dir: PathBuf,
    /// The node.
    pub node: NodeHandle,
    /// Checks passwords.
    pub passwords: Passwords,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Failed logins that the store remembers.
    pub failures: Vec<FailureCounter>,
    /// Told failed logins to remember: every ten seconds while there are new ones, and at the end.
    pub remember: Box<dyn Fn(Vec<FailureCounter>) + Send + Sync>,
}

/// Makes an acceptor for one connection, with the certificate of the moment.
pub type Acceptors = Box<dyn Fn() -> TlsAcceptor + Send + Sync>;

/// What every handler knows.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    node: NodeHandle,
    passwords: Passwords,
    metrics: Metrics,
    sessions: session::Sessions,
    /// Held by whoever lends phones or takes them back: one at a time.
    lending: tokio::sync::Mutex<()>,
    throttle: throttle::Throttle,
    home: browser::Home,
    reach: phone::Reach,
    streams: events::Streams,
    health: health::Health,
    openapi: bytes::Bytes,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The wall clock.
fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock.
fn now() -> Instant {
    Instant::now()
}
