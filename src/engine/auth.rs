//! Who sent a request: a device by digest, a trunk by address, or nobody yet.

mod bans;
mod budget;
mod sources;
mod strangers;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use self::bans::Bans;
use self::bans::Failed;
use super::event::Event;
use super::{Engine, Output};
use crate::call::Party;
use crate::registrar::accounts::{Account, Tenure};
use crate::sip::digest::{Algorithm, Credentials, Stale, Verdict};
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal, Transport};
use crate::wire::sip::{HeaderName, Message, MessageWriter, StatusCode, Uri};

/// Logs a ban: one frozen line, which fixtures/operations/fail2ban reads. Do not reword it, nor add a field.
pub(crate) fn tell_ban(source: IpAddr) {
    tracing::warn!(target: "segue::security", %source, "banned after repeated authentication failures");
}

impl Engine {
    /// Whether a message is one too many of a source that has not shown who it is. Streams that are secured or of the
    /// web are counted where they are read; here it is before the message is looked at.
    pub(super) fn is_too_much(&mut self, flow: &Flow) -> bool {
        let now = self.core.now.at;
        if !matches!(flow.transport, Transport::Udp | Transport::Tcp) || self.bans.has_rate(now, flow.peer) {
            return false;
        }
        let (core, ip) = (&self.core, flow.peer.ip());
        let is_trunk = core.settings.trunk_of(flow).is_some()
            || (0..core.settings.trunks.len()).any(|trunk| core.targets.has(trunk, ip));
        if is_trunk || self.bans.is_known(now, flow.peer) {
            return false;
        }
        self.counters.strangers_dropped += 1;
        if self.bans.is_news(now) {
            tracing::warn!(source = %ip, "messages are dropped: too many of a source that has not shown who it is");
        }
        true
    }

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
        if let Some(wait) = self.guessing_wait(flow, message) {
            self.ask_to_wait(tx, wait);
            return None;
        }
        let accounts = &self.core.accounts;
        let mut found = None;
        let verdict = self.verifier.verify(now, &flow, message, Credentials::Www, |username| {
            let (account, device) = found.insert(accounts.by_auth_user(username)?);
            account.devices.get(*device).map(|device| device.ha1.clone())
        });
        match verdict {
            Verdict::Accepted => {
                let (account, device) = found?;
                self.bans.prove(now, flow.peer, &account.devices.get(device)?.auth_user);
                Some((account, device))
            }
            Verdict::Missing => {
                self.challenge(tx, flow, message, Stale::No);
                None
            }
            Verdict::Stale => {
                self.counters.auth_stale += 1;
                self.challenge(tx, flow, message, Stale::Yes);
                None
            }
            Verdict::Wrong { username } => {
                self.on_auth_failed(flow, &username);
                self.challenge(tx, flow, message, Stale::No);
                None
            }
            Verdict::Malformed => {
                self.counters.auth_malformed += 1;
                self.core.refuse_at_once(tx, &Refusal::Malformed("bad Authorization"));
                None
            }
        }
    }

    /// Whether a banned source is listened to this once: a message of a peer that has proved to be whom it claims to be.
    /// What has no credentials guesses at nothing; a response is to something that we have sent.
    pub(super) fn is_shielded(&self, flow: Flow, message: &Message) -> bool {
        let claimed = message.is_request().then(|| self.verifier.claimed(message, Credentials::Www));
        let claimed = claimed.flatten();
        claimed.is_none_or(|claimed| self.bans.has_proved(self.core.now.at, flow.peer, &claimed))
    }

    /// How long nobody looks at the credentials of a request, because too many wrong ones came for that identity.
    fn guessing_wait(&self, flow: Flow, message: &Message) -> Option<Duration> {
        let now = self.core.now.at;
        if self.bans.is_quiet(now) {
            return None;
        }
        let claimed = self.verifier.claimed(message, Credentials::Www)?;
        self.bans.wait(now, flow.peer, &claimed)
    }

    /// RFC 3261 21.5.4: the same to whoever it is, whether there is such an identity, and whether the password is right,
    /// which nobody has looked at. Not a challenge, after which a phone whose password is right takes it for wrong.
    fn ask_to_wait(&mut self, tx: ServerTx, wait: Duration) {
        self.counters.auth_throttled += 1;
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        self.core.refuse_at_once(tx, &Refusal::Overloaded { what: "guesses", retry_after: seconds.max(1) });
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
        let tag = self.core.transactions.stateless_tag(tx);
        let Some(mut writer) = self.core.reply(tx, StatusCode::UNAUTHORIZED, &tag) else { return };
        self.write_challenge(&mut writer, flow, message, stale);
        let bytes = writer.finish();
        self.core.respond_at_once(tx, bytes);
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
        let now = self.core.now;
        let Failed { is_banned, is_last, is_brake } = self.bans.fail(now.at, flow.peer, username);
        self.save_bans();
        let known = self.core.accounts.by_auth_user(username).map(|(account, _)| account.name.clone());
        if is_banned {
            tell_ban(flow.peer.ip());
        }
        if is_brake {
            tracing::warn!(
                target: "segue::security",
                "wrong passwords from everywhere: whoever has not proved an account before is slowed down"
            );
        }
        let mut tell = |what, detail| {
            self.outputs.push(Output::Event(Event::Security {
                what,
                call: None,
                user: known.clone(),
                source: Some(flow.peer),
                detail,
            }));
        };
        tell(if is_banned { "banned" } else { "auth_failed" }, "digest credentials are wrong");
        if is_last {
            tell(
                "auth_slowed",
                "too many wrong passwords for one account: more are not looked at for a while",
            );
            let user = known.as_deref().unwrap_or("unknown");
            tracing::warn!(target: "segue::security", user, "too many wrong passwords for one account");
        }
    }

    /// Hands what has changed of failures and bans to the store; write-behind, so nobody waits for it.
    pub(super) fn save_bans(&mut self) {
        let rows = self.bans.take_rows(self.core.now);
        if !rows.is_empty() {
            self.save_failures(rows);
        }
    }

    /// What is registered is proved: a restart shuts nobody out for what a neighbour has done.
    pub(super) fn prove_registered(&mut self) {
        let Self { core, bans, .. } = self;
        for (user, bindings) in core.registrar.iter() {
            let Some(account) = core.accounts.by_name(user) else { continue };
            for binding in bindings {
                if let Some(device) = account.device(&binding.device) {
                    bans.prove(core.now.at, binding.flow.peer, &device.auth_user);
                }
            }
        }
    }
}
