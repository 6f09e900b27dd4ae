//! How a carrier asks for credentials, and judges them.

use super::Phone;
use crate::base::Random;
use crate::sip::digest::{Algorithm, Credentials, Ha1s, Settings, Stale, Verdict, Verifier};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// What a carrier asks for before it serves anything.
pub(crate) struct Demand {
    verifier: Verifier,
    realm: String,
    is_proxy: bool,
    /// Who has an account, with the password `open sesame`.
    pub(crate) users: Vec<&'static str>,
    /// How many right answers are told to be too old yet.
    pub(crate) stale: u32,
    /// Methods that came with credentials, and whether they were right.
    pub(crate) judged: Vec<(Method, bool)>,
    /// CSeq and credentials of INVITEs and ACKs.
    pub(crate) shown: Vec<(Method, u32, Option<String>)>,
}

impl Demand {
    pub(crate) fn new(realm: &str, is_proxy: bool) -> Self {
        let settings = Settings { realm: realm.into(), ..Settings::default() };
        let verifier = Verifier::new(settings, &mut Random::from_number(77));
        let users = vec!["acct"];
        Self {
            verifier,
            realm: realm.into(),
            is_proxy,
            users,
            stale: 0,
            judged: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// Takes note of the credentials of an INVITE or ACK.
    pub(super) fn note(&mut self, message: &Message) {
        let name = if self.is_proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
        let value = message.header(name).map(|header| header.value_str().unwrap().into_owned());
        self.shown.push((message.method().clone(), message.cseq().unwrap().number, value));
    }
}

impl Phone {
    /// Whether a request is challenged; it is done with then.
    pub(super) fn demands(&mut self, tx: ServerTx, message: &Message) -> bool {
        let flow = self.flow_to(super::ENGINE.parse().unwrap());
        let Some(demand) = &mut self.demand else { return false };
        let which = if demand.is_proxy { Credentials::Proxy } else { Credentials::Www };
        if *message.method() == Method::Invite {
            demand.note(message);
        }
        let realm = demand.realm.clone();
        let users = &demand.users;
        let verdict = demand.verifier.verify(self.now.at, &flow, message, which, |user| {
            users.contains(&user).then(|| Ha1s::from_password(user, &realm, "open sesame"))
        });
        if verdict != Verdict::Missing {
            demand.judged.push((message.method().clone(), verdict == Verdict::Accepted));
        }
        let mut stale = if verdict == Verdict::Stale { Stale::Yes } else { Stale::No };
        if verdict == Verdict::Accepted {
            if demand.stale == 0 {
                return false;
            }
            demand.stale -= 1;
            stale = Stale::Yes;
        }
        let (status, name) = if demand.is_proxy {
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, HeaderName::ProxyAuthenticate)
        } else {
            (StatusCode::UNAUTHORIZED, HeaderName::WwwAuthenticate)
        };
        let asked = demand.verifier.challenge(self.now.at, &flow, &[Algorithm::Md5], stale, &mut self.random);
        let tag = self.random.tag();
        let Some(mut writer) = self.transactions.reply(tx, status, None, Some(&tag)) else { return true };
        for value in asked {
            writer.header(&name, &value);
        }
        let bytes = writer.finish();
        self.transactions.respond(self.now.at, tx, status, bytes, &mut self.effects);
        true
    }
}
