//! Challenges of trunks are answered (RFC 3261 22.2, 22.3): the same request again, with credentials. Those of users'
//! devices never are: a phone could have a password proved to a stranger.

use bytes::Bytes;

use super::core::{Core, Owner};
use super::model::{LegHandle, LegState, Party, timer};
use super::settings::TrunkAuth;
use crate::registrar::Pbx;
use crate::sip::Flow;
use crate::sip::digest::{Challenge, Secret, Stale};
use crate::sip::transaction::{ClientTx, Sent};
use crate::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method, StatusCode};

/// Answers to challenges of one request: the second is for a nonce that was too old.
const MAX_ANSWERS: u8 = 2;

/// The credentials of an INVITE, which the ACK of its 2xx repeats (RFC 3261 22.1).
#[derive(Clone)]
pub struct Proof {
    /// The INVITE's CSeq.
    pub cseq: u32,
    /// Authorization or Proxy-Authorization.
    pub name: HeaderName,
    /// Its value.
    pub value: Box<str>,
}

impl Core {
    /// Answers a 401 or 407 of a trunk. False where it is not to be answered, and so is the request's outcome.
    pub fn answer_challenge(&mut self, tx: ClientTx, owner: Owner, response: &Message, sent: &Sent) -> bool {
        let again = self.request_again(tx, owner, response, sent);
        let Some((leg, again)) = again else { return false };
        let Some(flow) = self.legs.get(leg).map(|leg| leg.dialog.flow) else { return false };
        let bytes = again.bytes.clone();
        let new = self.send_again(flow, again, owner);
        if let Some(found) = self.legs.get_mut(leg) {
            found.timers.stop(timer::SILENCE);
            match owner {
                Owner::Invite(_) => (found.client_invite, found.sent_invite) = (Some(new), Some(bytes)),
                Owner::Reinvite(..) => found.client_invite = Some(new),
                _ => {}
            }
        }
        true
    }

    /// Sends a request once more, in a transaction of its own.
    pub fn send_again(&mut self, flow: Flow, again: Again, owner: Owner) -> ClientTx {
        let new = self.send_request(flow, &again.method, &again.branch, again.bytes, owner);
        self.transactions.set_answers(new, again.answers);
        new
    }

    /// The request of a leg that `response` refuses, with the credentials that it asks for.
    fn request_again(
        &mut self,
        tx: ClientTx,
        owner: Owner,
        response: &Message,
        sent: &Sent,
    ) -> Option<(LegHandle, Again)> {
        let leg = leg_of(owner)?;
        let found = self.legs.get(leg)?;
        let Party::Trunk { index, name, .. } = &found.party else { return None };
        let (index, name) = (*index, name.clone());
        let pbx = self.pbx_of(&found.party);
        let is_wanted = match owner {
            Owner::Invite(_) | Owner::Reinvite(..) => found.client_invite == Some(tx),
            _ => true,
        };
        if !is_wanted || (found.state == LegState::Ended && !matches!(owner, Owner::Bye(_))) {
            return None;
        }
        let cseq = found.dialog.local_cseq.checked_add(1)?;
        let again = match self.with_credentials((index, pbx.as_ref()), response, sent, cseq) {
            Ok(again) => again,
            Err(why) => {
                tracing::warn!(trunk = &*name, "a challenge of a trunk is not answered: {why}");
                return None;
            }
        };
        let found = self.legs.get_mut(leg)?;
        found.dialog.local_cseq = cseq;
        if again.method == Method::Invite {
            found.proof = Some(Box::new(again.proof.clone()));
        }
        Some((leg, again))
    }

    /// The request that `response` of a trunk refuses, with `cseq` and the credentials that it asks for: those of our account
    /// there, or of the user in whose name we speak.
    ///
    /// # Errors
    /// Why it is not to be answered.
    pub fn with_credentials(
        &mut self,
        (trunk, line): (usize, Option<&Pbx>),
        response: &Message,
        sent: &Sent,
        cseq: u32,
    ) -> Result<Again, Unproved> {
        let (asks, proves) = match response.status() {
            Some(StatusCode::UNAUTHORIZED) => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            _ => (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
        };
        let settings = self.settings.clone();
        let of_trunk = || settings.trunks.get(trunk).and_then(|trunk| trunk.auth.as_ref());
        let (user, password, realm) = match line {
            Some(Pbx { auth_user, password, realm, .. }) => (auth_user, password, realm),
            None => of_trunk()
                .map(|TrunkAuth { user, password, realm }| (user, password, realm))
                .ok_or(Unproved::NoAccount)?,
        };
        let realm = realm.as_deref().or_else(|| self.realms.get(&trunk).map(|realm| &**realm));
        let mut asked =
            response.all(asks).filter_map(|header| Challenge::parse(header.value).ok()).peekable();
        asked.peek().ok_or(Unproved::Unreadable)?;
        let challenge =
            asked.find(|asked| realm.is_none_or(|realm| *realm == *asked.realm)).ok_or(Unproved::Realm)?;
        // Credentials that were refused for anything but their age are wrong.
        if sent.answers >= MAX_ANSWERS || (sent.answers > 0 && challenge.stale != Stale::Yes) {
            return Err(Unproved::Refused);
        }
        let request =
            Message::parse(sent.bytes.clone(), &Limits::default()).map_err(|_| Unproved::Unreadable)?;
        let (branch, cnonce) = (self.mint_branch(), self.random.token());
        let (method, secret) = (request.method().clone(), Secret::Password(password.expose()));
        let value = challenge.answer(user, secret, &method, request.uri(), &cnonce, 1);
        let value = value.ok_or(Unproved::Unreadable)?;
        let bytes = write_again(&request, &branch, cseq, proves, &value).ok_or(Unproved::Unreadable)?;
        self.realms.entry(trunk).or_insert_with(|| challenge.realm.into());
        let proof = Proof { cseq, name: proves, value: value.into() };
        Ok(Again { method, branch, bytes, answers: sent.answers + 1, proof })
    }
}

/// A request that is sent once more.
pub struct Again {
    /// Its method.
    pub method: Method,
    /// The branch of its Via.
    pub branch: String,
    /// It.
    pub bytes: Bytes,
    /// How many challenges it answers, with those before it.
    pub answers: u8,
    /// The credentials that are new in it.
    pub proof: Proof,
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unproved {
    /// The configuration has no `auth` for the trunk.
    #[error("no credentials are configured")]
    NoAccount,
    /// No challenge that we understand.
    #[error("it cannot be read, or asks for what is not spoken here")]
    Unreadable,
    /// Another realm than that of the configuration, or than the first one.
    #[error("credentials of another realm are asked for")]
    Realm,
    /// They were shown, and are wrong.
    #[error("the credentials are refused")]
    Refused,
}

/// The leg whose request it is, where it is in the leg's dialog.
fn leg_of(owner: Owner) -> Option<LegHandle> {
    match owner {
        Owner::Invite(leg)
        | Owner::Reinvite(leg, _)
        | Owner::Update(leg, _)
        | Owner::Bye(leg)
        | Owner::Relay { to: leg, .. }
        | Owner::ReferNotify(leg)
        | Owner::Aside(leg)
        | Owner::Notice(leg) => Some(leg),
        Owner::Spread(_)
        | Owner::Notify(_)
        | Owner::Refer(_)
        | Owner::Served(_)
        | Owner::Ping(_)
        | Owner::Register(_)
        | Owner::Nobody => None,
    }
}

/// RFC 3261 22.2: the same request with a new CSeq and a new branch, and these credentials in place of any others.
fn write_again(request: &Message, branch: &str, cseq: u32, name: HeaderName, value: &str) -> Option<Bytes> {
    let method = request.method();
    let former = request.via().ok()?.branch()?.to_owned();
    let body = request.body();
    let mut writer = MessageWriter::request(method, request.uri());
    for header in request.headers() {
        match header.name {
            HeaderName::Via => {
                writer.header(&HeaderName::Via, &header.value_str().ok()?.replacen(&former, branch, 1));
            }
            HeaderName::CSeq => {
                writer.cseq(cseq, method);
            }
            HeaderName::Authorization | HeaderName::ProxyAuthorization | HeaderName::ContentLength => {}
            _ => {
                writer.copy(&header);
            }
        }
    }
    Some(writer.header(&name, value).raw_body(&body).finish())
}
