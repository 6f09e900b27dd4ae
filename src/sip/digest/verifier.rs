//! The server's side: asks with [`Verifier::challenge`], judges with [`Verifier::verify`].

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;

use super::credentials::{Answer, BadAnswer, Credentials};
use super::hash::{Algorithm, Ha1s, Hash, response};
use super::nonce::{NonceCounts, Nonces};
use crate::base::{Random, Timestamp};
use crate::sip::Flow;
use crate::wire::sip::{Message, Method, Uri};

/// How many `Authorization` headers of one request are looked at.
const MAX_ANSWERS: usize = 8;

/// What a [`Verifier`] needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The realm of all our users.
    pub realm: String,
    /// How long a nonce is good for.
    pub lifetime: Duration,
    /// How many used nonces are remembered (24 bytes each, and the tree around them). When a flood of new
    /// ones fills the table, lifetime shortens; nothing can be replayed.
    pub max_nonces: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { realm: "segue".to_owned(), lifetime: Duration::from_secs(300), max_nonces: 65_536 }
    }
}

/// Whether a challenge tells the client that only its nonce was too old (RFC 7616 3.3, `stale`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// Ask the user again.
    No,
    /// The same password will do.
    Yes,
}

/// What the credentials of a request are worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They are right, fresh, and meant for this request: of the user that was looked up.
    Accepted,
    /// There are none for our realm: challenge.
    Missing,
    /// The nonce is not ours, not for this address or algorithm, expired, or its count was used before:
    /// challenge with [`Stale::Yes`]. Says nothing about the password.
    Stale,
    /// The user is unknown, may not use that algorithm, or the password is wrong; nobody can tell which.
    Wrong {
        /// Who they claim to be, for the counters of failures. Not to be believed.
        username: String,
    },
    /// Not an answer to anything we ask, or for another Request-URI: 400.
    Malformed,
}

/// Challenges and judges. One for each worker, with a secret of its own: a nonce that reaches another worker
/// is stale there, so it cannot be spent twice.
pub struct Verifier {
    realm: String,
    /// `realm="…"`, quoted once.
    quoted_realm: String,
    nonces: Nonces,
    counts: NonceCounts,
    lookalike: [u8; 32],
}

impl Verifier {
    /// `random` gives the secret of the nonces.
    #[must_use]
    pub fn new(settings: Settings, random: &mut Random) -> Self {
        let quoted_realm = quoted(&settings.realm);
        Self {
            realm: settings.realm,
            quoted_realm,
            nonces: Nonces::new(&random.bytes(), settings.lifetime),
            counts: NonceCounts::new(settings.max_nonces),
            lookalike: random.bytes(),
        }
    }

    /// Values for `WWW-Authenticate` or `Proxy-Authenticate`, one header each, in the order of `algorithms`
    /// (preferred first, RFC 8760 2.3). Remembers nothing.
    pub fn challenge(
        &self,
        now: Timestamp,
        flow: &Flow,
        algorithms: &[Algorithm],
        stale: Stale,
        random: &mut Random,
    ) -> SmallVec<[String; 3]> {
        let one = |algorithm: &Algorithm| {
            let nonce = self.nonces.mint(now, flow.peer.ip(), *algorithm, random);
            let mut value = String::with_capacity(128 + self.quoted_realm.len());
            for part in ["Digest realm=", &self.quoted_realm, ", nonce=\"", &nonce, "\", algorithm="] {
                value.push_str(part);
            }
            value.push_str(algorithm.as_str());
            value.push_str(", qop=\"auth\"");
            if stale == Stale::Yes {
                value.push_str(", stale=true");
            }
            value
        };
        algorithms.iter().map(one).collect()
    }

    /// Judges the credentials of a request for our realm. `lookup` gives what is stored of a user.
    ///
    /// The work is the same for known and unknown users (RFC 7616 5.7); comparisons take constant time.
    pub fn verify(
        &mut self,
        now: Timestamp,
        flow: &Flow,
        message: &Message,
        credentials: Credentials,
        lookup: impl FnOnce(&str) -> Option<Ha1s>,
    ) -> Verdict {
        let values = message.all(credentials.answer_header()).map(|header| header.value);
        self.judge(now, flow, message.method(), message.uri(), values, lookup)
    }

    /// Whom the credentials that [`Verifier::verify`] would judge are said to be of; `None` where there are none that
    /// can be read. Not to be believed.
    #[must_use]
    pub fn claimed<'a>(&self, message: &'a Message, credentials: Credentials) -> Option<Cow<'a, str>> {
        let values = message.all(credentials.answer_header()).map(|header| header.value);
        self.ours(values).ok().flatten().map(|answer| answer.username)
    }

    /// The first answer for our realm.
    fn ours<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Answer<'a>>, BadAnswer> {
        for value in values.take(MAX_ANSWERS) {
            if let Some(answer) = Answer::read(value, &self.realm)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn judge<'a>(
        &mut self,
        now: Timestamp,
        flow: &Flow,
        method: &Method,
        request_uri: &str,
        values: impl Iterator<Item = &'a [u8]>,
        lookup: impl FnOnce(&str) -> Option<Ha1s>,
    ) -> Verdict {
        let answer = match self.ours(values) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Verdict::Missing,
            Err(_) => return Verdict::Malformed,
        };
        if !same_resource(&answer.uri, method, request_uri) {
            return Verdict::Malformed;
        }
        let ip = flow.peer.ip();
        let Some(nonce) = self.nonces.recognise(now, ip, answer.algorithm, &answer.nonce) else {
            return Verdict::Stale;
        };
        let stored = lookup(&answer.username).and_then(|ha1s| ha1s.pick(answer.algorithm));
        let known = stored.is_some();
        let ha1 = stored.unwrap_or_else(|| Hash::random_looking(answer.algorithm, &self.lookalike));
        let expected = response(
            answer.algorithm,
            &ha1,
            &answer.nonce,
            answer.protection(),
            method.as_str(),
            &answer.uri,
        );
        let right = expected.matches_hex(&answer.response);
        if !(right & known) {
            return Verdict::Wrong { username: answer.username.into_owned() };
        }
        // Without qop nothing tells a first answer from its replay, so such a nonce is good for one request.
        let count = answer.count.unwrap_or(u32::MAX);
        if !self.counts.spend(nonce, count, self.nonces.oldest(now)) {
            return Verdict::Stale;
        }
        Verdict::Accepted
    }

    /// How many nonces are remembered.
    #[must_use]
    pub fn nonces_in_use(&self) -> usize {
        self.counts.len()
    }
}

/// RFC 7616 3.4.6: `uri` must name what the Request-URI names, else a captured answer could be turned on
/// something else. Spelled otherwise is the same (RFC 3261 19.1.4). Two others are let pass, which no phone says of a
/// number: REGISTER for the server by another of its names, which is all that a REGISTER can ask of; and the
/// `sip:ADDRESS:PORT` by which SIPp names whom it sends to, whatever it asks for.
fn same_resource(uri: &[u8], method: &Method, request_uri: &str) -> bool {
    if uri == request_uri.as_bytes() {
        return true;
    }
    let Ok(Ok(uri)) = std::str::from_utf8(uri).map(Uri::parse) else { return false };
    let is_server = uri.user().is_none();
    let is_socket = || uri.host().ip().is_some() && uri.port().is_some();
    (is_server && (*method == Method::Register || is_socket()))
        || Uri::parse(request_uri).is_ok_and(|requested| requested.equivalent(&uri))
}

/// A `quoted-string` (RFC 3261 25.1), without control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
