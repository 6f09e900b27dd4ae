//! The configuration after every check: what the node runs by. Immutable; a reload makes another.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::network::Network;
pub use crate::base::Secret;
use crate::call::policy::Policy;
use crate::call::rules::{Group, Rule};
use crate::call::run::Runs;
use crate::media::relay::Learning;
use crate::moving;
use crate::registrar;
use crate::registrar::accounts::Account;
use crate::sip::Transport;
use crate::sip::digest::Algorithm;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// `[node]`
    pub node: Node,
    /// `[[listen]]`, in the order of the file: a flow's listener is a place in here.
    pub listens: Vec<Listen>,
    /// `[http]`
    pub http: Http,
    /// `[media]`
    pub media: Media,
    /// `[registrar]`. `own` holds what the file says; the shell adds the addresses behind a wildcard.
    pub registrar: registrar::Settings,
    /// `[auth]`
    pub auth: Auth,
    /// `[move]`, and the codes of `[test]`.
    pub moving: moving::Settings,
    /// `move.rescue_s`: how long the far side of a device that died is kept.
    pub rescue: Duration,
    /// `[[user]]`: each passes [`crate::registrar::accounts::Accounts::put`] beside the others.
    pub accounts: Vec<Account>,
    /// `[[trunk]]`
    pub trunks: Vec<Trunk>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Rule>,
    /// `[[group]]`
    pub groups: Vec<Group>,
    /// `[trace]`
    pub trace: crate::engine::trace::Settings,
    /// `[dns]`: name servers; empty: those of the system.
    pub dns: Vec<SocketAddr>,
    /// `[test]`: how calls name the run that they belong to; `None`: none does.
    pub runs: Option<Runs>,
    /// What user agents do in their own way.
    pub quirks: crate::call::quirks::QuirkTable,
    /// `[[webhook]]`
    pub webhooks: Vec<Webhook>,
    /// `[hep]`: the capture server; none: there is none.
    pub hep: Option<Hep>,
    /// `cdr.formats`: the files of call records; each once.
    pub cdr: Vec<CdrFormat>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in records and metrics.
    pub id: Box<str>,
    /// The SIP domain.
    pub domain: Box<str>,
    /// Other names and addresses that mean the domain.
    pub aliases: Vec<Box<str>>,
    /// Where the store and the control socket are.
    pub data_dir: PathBuf,
    /// Which store.
    pub store: StoreKind,
}

/// `node.store`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A file in the data directory.
    Sqlite,
    /// A Redis or Valkey server, shared by the nodes of a cluster.
    Redis {
        /// `redis://…`; may hold a password.
        url: Secret,
    },
}

/// `[[listen]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The address to bind.
    pub bind: SocketAddr,
    /// How it is reached from outside, if otherwise.
    pub advertise: Option<HostPort>,
    /// For tls and wss.
    pub tls: Option<Tls>,
    /// Web pages that may connect, for ws and wss; empty: those of the host that is asked.
    pub origins: Vec<Box<str>>,
}

/// A host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: Option<u16>,
}

/// How a listener proves who it is, and what it asks of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one. Who asks for no name, or for an unknown one, gets the first.
    pub identities: Vec<TlsFiles>,
    /// PEM file of the authorities of which a client must show a certificate; none: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// PEM files of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The address to bind.
    pub bind: SocketAddr,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// How browsers reach the page, where a proxy stands before it.
    pub origin: Option<Box<str>>,
    /// The WebSocket of browser phones, where it is none of the listeners as the page is asked for.
    pub phone: Option<Box<str>>,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// The address that media sockets bind.
    pub address: IpAddr,
    /// The address in descriptions, if another.
    pub advertise: Option<IpAddr>,
    /// First and last port; the first is even, the last is odd.
    pub ports: (u16, u16),
    /// Where browsers send theirs.
    pub web_port: WebPort,
    /// Media threads; none: half of the cores.
    pub threads: Option<u8>,
    /// When media flows through us.
    pub anchor: Anchor,
    /// A leg without media for so long is dead; none: never.
    pub timeout: Option<Duration>,
    /// SRTP toward users.
    pub srtp: Srtp,
    /// Whether a source other than the signalled one is learned.
    pub learning: Learning,
    /// Calls whose speech may be converted at once.
    pub transcode: usize,
    /// How packets pass between sockets and media threads.
    pub io: MediaIo,
}

/// `media.io`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaIo {
    /// io_uring where the system lets us, else epoll.
    Auto,
    /// Everywhere to be had.
    Epoll,
    /// Or no start.
    IoUring,
}

/// `media.web_port`: the socket of the first media thread; those of the others have the ports after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebPort {
    /// As configured; a node that cannot have it does not start.
    Given(u16),
    /// Not configured: just below the range. A node that cannot have it takes no browsers.
    Beside(u16),
    /// 0: no browsers.
    Off,
}

/// `media.anchor`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// For each call.
    Always,
    /// Where the two sides could not reach each other, or a move would show.
    WhenNeeded,
    /// Never.
    Never,
}

/// `media.srtp`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// Plain RTP only.
    Off,
    /// Where the other side offers it.
    Prefer,
    /// Nothing else.
    Require,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The realm of challenges, and of every HA1. Default: the domain.
    pub realm: Box<str>,
    /// In the order offered.
    pub algorithms: Vec<Algorithm>,
    /// When a source is refused.
    pub ban: Ban,
}

/// `auth.ban`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// So many failures …
    pub failures: u32,
    /// … within this time …
    pub window: Duration,
    /// … are refused for this time.
    pub length: Duration,
    /// Never refused.
    pub allow: Vec<Network>,
    /// Messages a second of a source that has not shown who it is; 0: no bound.
    pub strangers: u32,
}

/// `[[trunk]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name.
    pub name: Box<str>,
    /// Where calls to it go, as written; a SIP URI without user.
    pub uri: Box<str>,
    /// The host of `uri`.
    pub host: HostPort,
    /// The transport of `uri`.
    pub transport: Transport,
    /// Where it is, too.
    pub also: Vec<Site>,
    /// Whether calls are shared among all these places; else they go to the first that works.
    pub share: bool,
    /// PEM file of the authorities that its certificate must be from; none: those of the system.
    pub ca: Option<PathBuf>,
    /// Who may send us its calls without credentials.
    pub from: Vec<Network>,
    /// Credentials for its challenges.
    pub auth: Option<TrunkAuth>,
    /// Whether we register there.
    pub register: bool,
    /// OPTIONS this often; none: never.
    pub ping: Option<Duration>,
    /// How its calls are treated.
    pub policy: Policy,
}

/// A place where a trunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// As written; a SIP URI without user.
    pub uri: Box<str>,
    /// Its host.
    pub host: HostPort,
    /// Its transport.
    pub transport: Transport,
}

impl Trunk {
    /// All places, that of `uri` first.
    pub fn places(&self) -> impl Iterator<Item = Site> {
        let first = Site { uri: self.uri.clone(), host: self.host.clone(), transport: self.transport };
        std::iter::once(first).chain(self.also.iter().cloned())
    }
}

/// `trunk.auth`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkAuth {
    /// The digest username.
    pub user: Box<str>,
    /// Its password.
    pub password: Secret,
    /// The only realm that is answered; none: that of the first challenge.
    pub realm: Option<Box<str>>,
}

/// `[[webhook]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in logs and metrics, and that of its outbox; its host and port unless it is said.
    pub name: Box<str>,
    /// Where events go.
    pub url: WebhookUrl,
    /// What signs them, as written: `whsec_` and base64, or a text.
    pub key: Secret,
    /// Which: types, families such as `call.*`, or `*`.
    pub events: Vec<Box<str>>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an event that cannot be delivered is kept.
    pub keep: Duration,
    /// What may wait, bytes.
    pub outbox: u64,
    /// PEM file of the authorities that its certificate must be from; none: those of the system.
    pub ca: Option<PathBuf>,
}

/// `webhook.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    /// https.
    pub is_tls: bool,
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// Host and port as written.
    pub authority: Box<str>,
    /// Path and query: they may hold a token.
    pub target: Secret,
}

/// `[hep]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hep {
    /// Where it goes.
    pub server: HepServer,
    /// The number of this node there.
    pub capture_id: u32,
    /// Its name there.
    pub name: Box<str>,
    /// What it proves itself with.
    pub password: Option<Secret>,
    /// PEM file of the authorities that the server's certificate must be from; none: those of the system.
    pub ca: Option<PathBuf>,
    /// Whether SIP messages are sent.
    pub sip: bool,
    /// Methods of which neither requests nor answers are.
    pub except: Vec<Box<str>>,
    /// Whether RTCP is.
    pub rtcp: bool,
    /// Whether how each leg sounded is.
    pub quality: bool,
}

/// `hep.server`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HepServer {
    /// How.
    pub transport: HepTransport,
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// How packets reach a capture server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HepTransport {
    /// One datagram each.
    Udp,
    /// A stream.
    Tcp,
    /// The same, and the server proves its name.
    Tls,
}

/// `cdr.formats`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CdrFormat {
    /// `cdr.jsonl`: a line of JSON each, with its segments.
    JsonLines,
    /// `cdr.csv`: a row each, for spreadsheets.
    Csv,
    /// `Master.csv`, as Asterisk's cdr_csv writes it.
    Asterisk,
}

impl Resolved {
    /// Whether `host` of a URI means this node's domain.
    #[must_use]
    pub fn is_domain(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.node.domain)
            || self.node.aliases.iter().any(|alias| host.eq_ignore_ascii_case(alias))
    }

    /// The trunk that a call from `peer` comes from, if any.
    #[must_use]
    pub fn trunk_of(&self, peer: SocketAddr) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.from.iter().any(|network| network.contains(peer)))
    }
}
