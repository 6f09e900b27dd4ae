//! Who sent a request: a device by digest, a trunk by address, or nobody yet.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::event::Event;
use super::settings::Ban;
use super::{Engine, Output};
use crate::base::Timestamp;
use crate::call::Party;
use crate::registrar::accounts::Account;
use crate::sip::digest::{Algorithm, Credentials, Stale, Verdict};
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, StatusCode};

/// Sources whose failures are remembered; the oldest give way.
const MAX_SOURCES: usize = 16_384;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Timestamp,
    banned_until: Timestamp,
}

/// Sources that failed to prove who they are, and how often.
pub struct Bans {
    settings: Ban,
    sources: BTreeMap<IpAddr, Failures>,
}

impl Bans {
    /// With nobody banned.
    #[must_use]
    pub fn new(settings: Ban) -> Self {
        Self { settings, sources: BTreeMap::new() }
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        let source = |(network, prefix): &(IpAddr, u8)| crate::call::settings::Source {
            network: *network,
            prefix: *prefix,
            port: None,
        };
        self.settings.allow.iter().map(source).any(|source| source.contains(SocketAddr::new(ip, 0)))
    }

    /// Whether nothing of `ip` is listened to now.
    #[must_use]
    pub fn is_banned(&self, now: Timestamp, ip: IpAddr) -> bool {
        !self.sources.is_empty() && self.sources.get(&ip).is_some_and(|found| found.banned_until > now)
    }

    /// Counts a failure; true if it was the one that leads to a ban.
    pub fn fail(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        if self.is_allowed(ip) {
            return false;
        }
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&ip) {
            let window = self.settings.window;
            self.sources.retain(|_, found| found.banned_until > now || found.since + window > now);
            if self.sources.len() >= MAX_SOURCES {
                self.sources.pop_first();
            }
        }
        let fresh = Failures { count: 0, since: now, banned_until: Timestamp::ZERO };
        let found = self.sources.entry(ip).or_insert(fresh);
        if found.since + self.settings.window <= now {
            *found = fresh;
        }
        found.count += 1;
        if found.count < self.settings.failures {
            return false;
        }
        *found = Failures { count: 0, since: now, banned_until: now + self.settings.ban };
        true
    }

    /// Sources that are banned now, with the seconds left.
    pub fn banned(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, u64)> {
        self.sources
            .iter()
            .filter(move |(_, found)| found.banned_until > now)
            .map(move |(ip, found)| (*ip, found.banned_until.since(now).as_secs()))
    }
}

impl Engine {
    /// Finds out who sent a request outside dialogs. `None`: it was challenged or refused, and is done with.
    ///
    /// Deny by default: who is neither a device with right credentials nor a trunk by its address is nobody, and
    /// From is never trusted.
    pub(super) fn authenticate(&mut self, tx: ServerTx, flow: Flow, message: &Message) -> Option<Party> {
        if message.header(HeaderName::Authorization).is_none()
            && *message.method() != crate::wire::sip::Method::Register
            && !self.is_registered_source(&flow, message)
            && let Some(index) = self.core.settings.trunk_from(flow.peer)
        {
            let name = self.core.settings.trunks.get(index).map_or("", |trunk| &trunk.name);
            return Some(Party::Trunk { index, name: Arc::from(name) });
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
        let verdict = self.verifier.verify(now, &flow, message, Credentials::Www, |username| {
            let (account, device) = accounts.by_auth_user(username)?;
            account.devices.get(device).map(|device| device.ha1.clone())
        });
        match verdict {
            Verdict::Accepted { username } => {
                let found = self.core.accounts.by_auth_user(&username);
                if found.is_none() {
                    self.core.refuse(tx, &Refusal::NotAuthorised, None);
                }
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

    /// Whether the account that a request claims is registered from just this source: then it is that device's
    /// business to prove itself, even where the network as a whole is a trunk's.
    fn is_registered_source(&self, flow: &Flow, message: &Message) -> bool {
        let Some(account) = self.claimed_account(message) else { return false };
        let bindings = self.core.registrar.lookup(&account.name, self.core.now.at);
        bindings.iter().any(|binding| binding.flow.peer == flow.peer)
    }

    fn challenge(&mut self, tx: ServerTx, flow: Flow, message: &Message, stale: Stale) {
        let claimed = self.claimed_account(message);
        let algorithms: &[Algorithm] = match &claimed {
            Some(account) if !account.algorithms.is_empty() => &account.algorithms,
            _ => &self.core.settings.algorithms,
        };
        let now = self.core.now.at;
        let values = self.verifier.challenge(now, &flow, algorithms, stale, &mut self.core.random);
        let tag = self.core.random.tag();
        let Some(mut writer) = self.core.reply(tx, StatusCode::UNAUTHORIZED, &tag) else { return };
        for value in &values {
            writer.header(&HeaderName::WwwAuthenticate, value);
        }
        let bytes = writer.finish();
        // Nothing is kept for who has proved nothing: a stranger's request costs its answer and no more.
        let core = &mut self.core;
        core.transactions.respond_statelessly(tx, bytes, &mut core.effects);
    }

    /// The account that the request claims to be of, for the choice of algorithms only.
    fn claimed_account(&self, message: &Message) -> Option<Arc<Account>> {
        let from = message.from().ok()?;
        let uri = from.parsed_uri().ok()?;
        let user = uri.user_decoded()?;
        let by_auth = self.core.accounts.by_auth_user(&user).map(|(account, _)| account);
        by_auth.or_else(|| self.core.accounts.find(&user).cloned())
    }

    fn on_auth_failed(&mut self, flow: Flow, username: &str) {
        self.counters.auth_failures += 1;
        let now = self.core.now.at;
        let banned = self.bans.fail(now, flow.peer.ip());
        let known = self.core.accounts.by_auth_user(username).map(|(account, _)| account.name.clone());
        if banned {
            // One frozen line for fail2ban: do not reword.
            tracing::warn!(target: "segue::security", source = %flow.peer.ip(), "banned after repeated authentication failures");
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
