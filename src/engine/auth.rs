//! Who sent a request: a device by digest, a trunk by address, or nobody yet.

mod sources;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::sources::Sources;
use super::event::Event;
use super::settings::Ban;
use super::{Engine, Output};
use crate::base::Timestamp;
use crate::call::Party;
use crate::registrar::accounts::{Account, Tenure};
use crate::sip::digest::{Algorithm, Credentials, Stale, Verdict};
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, StatusCode, Uri};

/// Peers that have proved themselves and are remembered.
const MAX_PROVED: usize = 131_072;
/// How long a proof shields a peer from the ban of its network: the longest registration.
const PROOF: Duration = Duration::from_secs(7200);

/// Sources that failed to prove who they are, and how often.
pub struct Bans {
    sources: Sources,
    /// Phones behind the address of one with a wrong password are not shut out with it.
    proved: BTreeMap<SocketAddr, Timestamp>,
}

impl Bans {
    /// With nobody banned.
    #[must_use]
    pub fn new(settings: Ban) -> Self {
        Self { sources: Sources::new(settings), proved: BTreeMap::new() }
    }

    /// Counts by other bounds from now on. Who is banned stays so, unless it is never banned by now.
    pub(super) fn follow(&mut self, settings: Ban) {
        self.sources.follow(settings);
    }

    /// Whether nothing of `peer` is listened to now.
    #[must_use]
    pub fn is_banned(&self, now: Timestamp, peer: SocketAddr) -> bool {
        self.sources.is_banned(now, peer.ip()) && self.proved.get(&peer).is_none_or(|until| *until <= now)
    }

    /// A peer has shown right credentials.
    pub fn prove(&mut self, now: Timestamp, peer: SocketAddr) {
        if self.proved.len() >= MAX_PROVED && !self.proved.contains_key(&peer) {
            self.proved.retain(|_, until| *until > now);
            if self.proved.len() >= MAX_PROVED {
                return;
            }
        }
        self.proved.insert(peer, now + PROOF);
    }

    /// Counts a failure; true if it was the one that leads to a ban.
    pub fn fail(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        self.sources.fail(now, ip)
    }

    /// Sources that are banned now, with the time left.
    pub fn banned(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, Duration)> {
        self.sources.banned(now)
    }

    /// Listens to a source again, and forgets its failures; false if it was not banned.
    pub fn lift(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        self.sources.lift(now, ip)
    }
}

/// Logs a ban: one frozen line, which fixtures/operations/fail2ban reads. Do not reword it, nor add a field.
pub(crate) fn tell_ban(source: IpAddr) {
    tracing::warn!(target: "segue::security", %source, "banned after repeated authentication failures");
}

impl Engine {
    /// Finds out who sent a request outside dialogs. `None`: it was challenged or refused, and is done with.
    ///
    /// Deny by default: who is neither a device with right credentials nor a trunk by its address is nobody, and
    /// From is never trusted.
    pub(super) fn authenticate(&mut self, tx: ServerTx, flow: Flow, message: &Message) -> Option<Party> {
        if message.header(HeaderName::Authorization).is_none()
            && *message.method() != crate::wire::sip::Method::Register
            && let Some((index, line)) = self.trunk_of(&flow, message)
        {
            let name = self.core.settings.trunks.get(index).map_or("", |trunk| &trunk.name);
            return Some(Party::Trunk { index, name: Arc::from(name), line });
        }
        let (account, device) = self.authenticate_device(tx, flow, message)?;
        Some(Party::User { account, device })
    }

    /// As [`Engine::authenticate`] where only a device will do.
    pub(super) fn authenticate_device(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        message: &Message,
    ) -> Option<(Arc<Account>, usize)> {
        let now = self.core.now.at;
        let accounts = &self.core.accounts;
        let mut found = None;
        let verdict = self.verifier.verify(now, &flow, message, Credentials::Www, |username| {
            let (account, device) = found.insert(accounts.by_auth_user(username)?);
            account.devices.get(*device).map(|device| device.ha1.clone())
        });
        match verdict {
            Verdict::Accepted => {
                self.bans.prove(now, flow.peer);
                found
            }
            Verdict::Missing => {
                self.challenge(tx, flow, message, Stale::No);
                None
            }
            Verdict::Stale => {
                self.challenge(tx, flow, message, Stale::Yes);
                None
            }
            Verdict::Wrong { username } => {
                self.on_auth_failed(flow, &username);
                self.challenge(tx, flow, message, Stale::No);
                None
            }
            Verdict::Malformed => {
                self.core.refuse(tx, &Refusal::Malformed("bad Authorization"), None);
                None
            }
        }
    }

    /// The trunk that sends a request: by the Contact that we registered there and a target's address, or by where it
    /// comes from. With the user, where the Contact is a user's.
    pub(super) fn trunk_of(&self, flow: &Flow, message: &Message) -> Option<(usize, Option<Arc<Account>>)> {
        let by_line = self.trunk_by_line(flow, message);
        let by_source =
            || self.core.settings.trunk_of(flow).filter(|_| !self.is_registered_source(flow, message));
        by_line.or_else(|| Some((by_source()?, None)))
    }

    fn trunk_by_line(&self, flow: &Flow, message: &Message) -> Option<(usize, Option<Arc<Account>>)> {
        if !self.trunks.have_lines() {
            return None;
        }
        let (trunk, user) = self.trunks.of_line(&Uri::parse(message.uri()).ok()?)?;
        let is_target = !flow.transport.is_web() && self.core.targets.has(trunk, flow.peer.ip());
        if !is_target {
            return None;
        }
        match user {
            // Who is no user any more has no Contact, even while the PBX has not heard of that.
            Some(user) => self.core.accounts.by_name(user).map(|account| (trunk, Some(Arc::clone(account)))),
            None => Some((trunk, None)),
        }
    }

    /// Whether the account that a request claims is registered from just this source: then it is that device's
    /// business to prove itself, even where the network as a whole is a trunk's.
    pub(super) fn is_registered_source(&self, flow: &Flow, message: &Message) -> bool {
        let Some((account, _)) = self.claimed_account(message) else { return false };
        let bindings = self.core.registrar.lookup(&account.name, self.core.now.at);
        bindings.iter().any(|binding| binding.flow.peer == flow.peer)
    }

    fn challenge(&mut self, tx: ServerTx, flow: Flow, message: &Message, stale: Stale) {
        let tag = self.core.random.tag();
        let Some(mut writer) = self.core.reply(tx, StatusCode::UNAUTHORIZED, &tag) else { return };
        self.write_challenge(&mut writer, flow, message, stale);
        let bytes = writer.finish();
        // Nothing is kept for who has proved nothing: a stranger's request costs its answer and no more.
        let core = &mut self.core;
        core.transactions.respond_statelessly(tx, bytes, &mut core.effects);
    }

    /// Challenges a request that never gets a transaction.
    pub(super) fn challenge_at_once(&mut self, flow: Flow, message: &Message) {
        let mut writer = self.core.transactions.stateless_reply(&flow, message, StatusCode::UNAUTHORIZED);
        self.write_challenge(&mut writer, flow, message, Stale::No);
        let bytes = writer.finish();
        self.send_stateless(flow, message, bytes);
    }

    fn write_challenge(
        &mut self,
        writer: &mut MessageWriter<'_>,
        flow: Flow,
        message: &Message,
        stale: Stale,
    ) {
        let claimed = self.claimed_account(message);
        let own: &[Algorithm] = match &claimed {
            // The libraries of browsers know no other; the password is as long as the hash and used once.
            Some((_, Some(Tenure::Lent))) => &[Algorithm::Md5],
            Some((account, _)) => &account.algorithms,
            None => self.core.accounts.algorithms_of_anyone(self.draw_for(message)),
        };
        let offered = if own.is_empty() { &self.core.settings.algorithms } else { own };
        let agent = message.header(HeaderName::UserAgent).and_then(|agent| agent.value_str().ok());
        let algorithms = self.core.settings.quirks.algorithms(agent.as_deref().unwrap_or_default(), offered);
        let now = self.core.now.at;
        for value in self.verifier.challenge(now, &flow, &algorithms, stale, &mut self.core.random) {
            writer.header(&HeaderName::WwwAuthenticate, &value);
        }
    }

    /// The account that the request claims to be of, and where it names a device, how long the account has that: for
    /// the choice of algorithms only.
    fn claimed_account(&self, message: &Message) -> Option<(Arc<Account>, Option<Tenure>)> {
        let from = message.from().ok()?;
        let uri = from.parsed_uri().ok()?;
        let user = uri.user_decoded()?;
        if let Some((account, device)) = self.core.accounts.by_auth_user(&user) {
            let tenure = account.devices.get(device).map(|device| device.tenure);
            return Some((account, tenure));
        }
        self.core.accounts.find(&user).map(|account| (Arc::clone(account), None))
    }

    /// A number for the name that a request claims: the same each time, and told by nothing that a stranger knows.
    fn draw_for(&self, message: &Message) -> u64 {
        let from = message.from().ok();
        let uri = from.as_ref().and_then(|from| from.parsed_uri().ok());
        let name = uri.as_ref().and_then(|uri| uri.user_decoded()).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(self.lookalike);
        hash.update(name.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn on_auth_failed(&mut self, flow: Flow, username: &str) {
        self.counters.auth_failures += 1;
        let now = self.core.now.at;
        let banned = self.bans.fail(now, flow.peer.ip());
        let known = self.core.accounts.by_auth_user(username).map(|(account, _)| account.name.clone());
        if banned {
            tell_ban(flow.peer.ip());
        }
        self.outputs.push(Output::Event(Event::Security {
            what: if banned { "banned" } else { "auth_failed" },
            call: None,
            user: known,
            source: Some(flow.peer),
            detail: "digest credentials are wrong",
        }));
    }
}
