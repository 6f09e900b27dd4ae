//! Challenges of trunks are answered (RFC 3261 22.2, 22.3): the same request again, with credentials. Those of users'
//! devices never are: a phone could have a password proved to a stranger.

use bytes::Bytes;

use super::core::{Core, Owner};
use super::model::{LegHandle, LegState, Party, timer};
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
        let Some((leg, method, branch, bytes)) = again else { return false };
        let Some(flow) = self.legs.get(leg).map(|leg| leg.dialog.flow) else { return false };
        let new = self.send_request(flow, &method, &branch, bytes.clone(), owner);
        self.transactions.set_answers(new, sent.answers + 1);
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

    /// The request that `response` refuses, with the credentials that it asks for.
    fn request_again(
        &mut self,
        tx: ClientTx,
        owner: Owner,
        response: &Message,
        sent: &Sent,
    ) -> Option<(LegHandle, Method, String, Bytes)> {
        let (asks, proves) = match response.status()? {
            StatusCode::UNAUTHORIZED => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            _ => (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
        };
        let leg = leg_of(owner)?;
        let settings = self.settings.clone();
        let found = self.legs.get(leg)?;
        let Party::Trunk { index, .. } = found.party else { return None };
        let trunk = settings.trunks.get(index)?;
        let auth = trunk.auth.as_ref()?;
        let is_wanted = match owner {
            Owner::Invite(_) | Owner::Reinvite(..) => found.client_invite == Some(tx),
            _ => true,
        };
        if !is_wanted || (found.state == LegState::Ended && !matches!(owner, Owner::Bye(_))) {
            return None;
        }
        let realm = auth.realm.as_deref().or_else(|| self.realms.get(&index).map(|realm| &**realm));
        let mut asked = response.all(asks).filter_map(|header| Challenge::parse(header.value).ok());
        let Some(challenge) = asked.find(|asked| realm.is_none_or(|realm| *realm == *asked.realm)) else {
            tracing::warn!(trunk = &*trunk.name, "a trunk asks for credentials of another realm");
            return None;
        };
        // Credentials that were refused for anything but their age are wrong.
        if sent.answers >= MAX_ANSWERS || (sent.answers > 0 && challenge.stale != Stale::Yes) {
            tracing::warn!(trunk = &*trunk.name, "a trunk refuses the credentials");
            return None;
        }
        let request = Message::parse(sent.bytes.clone(), &Limits::default()).ok()?;
        let (branch, cnonce) = (self.mint_branch(), self.random.token());
        let (method, secret) = (request.method().clone(), Secret::Password(auth.password.expose()));
        let value = challenge.answer(&auth.user, secret, &method, request.uri(), &cnonce, 1)?;
        self.realms.entry(index).or_insert_with(|| challenge.realm.into());
        let found = self.legs.get_mut(leg)?;
        let cseq = found.dialog.local_cseq.checked_add(1)?;
        let bytes = write_again(&request, &branch, cseq, proves, &value)?;
        found.dialog.local_cseq = cseq;
        if method == Method::Invite {
            found.proof = Some(Box::new(Proof { cseq, name: proves, value: value.into() }));
        }
        Some((leg, method, branch, bytes))
    }
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
        Owner::Spread(_) | Owner::Notify(_) | Owner::Refer(_) | Owner::Served(_) | Owner::Nobody => None,
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
