//! The client's side: reads a challenge and answers it. Answering is for configured trunks only; a challenge
//! from a user's leg is never answered (a caller could be tricked into proving a password to a stranger).

use std::borrow::Cow;

use super::hash::{Algorithm, Ha1s, Hash, Protection, response};
use super::params::{Param, digest_params};
use super::verifier::{Stale, quoted};
use crate::wire::sip::Method;

/// Longest realm, nonce and opaque that are taken from a peer.
const MAX_VALUE: usize = 1024;

/// A challenge that we could answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// Whose password is asked for. Compare with the configured realm before answering.
    pub realm: String,
    /// What hash to use.
    pub algorithm: Algorithm,
    /// Whether only the nonce of the answer before was too old.
    pub stale: Stale,
    nonce: String,
    opaque: Option<String>,
    qop: Qop,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Qop {
    /// Offered.
    Auth,
    /// The server knows only RFC 2069.
    None,
}

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Another scheme, an unknown algorithm, or only `auth-int`: look at the next header.
    #[error("challenge asks for what we do not speak")]
    Unsupported,
    /// Not the grammar of RFC 7616 3.3, or a parameter missing, doubled, or too long.
    #[error("challenge is malformed")]
    Malformed,
}

/// What we know of the password.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// Itself.
    Password(&'a str),
    /// Its hashes for the challenge's realm.
    Ha1s(&'a Ha1s),
}

impl Challenge {
    /// Reads one value of `WWW-Authenticate` or `Proxy-Authenticate`.
    pub fn parse(value: &[u8]) -> Result<Self, ChallengeError> {
        let params = digest_params(value).ok_or(ChallengeError::Unsupported)?;
        let (mut realm, mut nonce, mut opaque) = (None, None, None);
        let (mut algorithm, mut qop, mut stale) = (Algorithm::Md5, Qop::None, Stale::No);
        for param in params {
            let Param { name, value } = param.map_err(|_| ChallengeError::Malformed)?;
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("realm") {
                put(&mut realm, value)?;
            } else if is("nonce") {
                put(&mut nonce, value)?;
            } else if is("opaque") {
                put(&mut opaque, value)?;
            } else if is("algorithm") {
                algorithm = Algorithm::from_token(&value).ok_or(ChallengeError::Unsupported)?;
            } else if is("qop") {
                let auth = value.split(|c| *c == b',').any(|q| q.trim_ascii().eq_ignore_ascii_case(b"auth"));
                qop = if auth { Qop::Auth } else { return Err(ChallengeError::Unsupported) };
            } else if is("stale") && value.eq_ignore_ascii_case(b"true") {
                stale = Stale::Yes;
            }
        }
        let (Some(realm), Some(nonce)) = (realm, nonce) else { return Err(ChallengeError::Malformed) };
        Ok(Self { realm, algorithm, stale, nonce, opaque, qop })
    }

    /// The value for `Authorization` or `Proxy-Authorization`. `nc` counts the answers with this nonce from 1;
    /// `cnonce` is fresh randomness (hexadecimal). `None` where `secret` has no hash for the algorithm.
    #[must_use]
    pub fn answer(
        &self,
        username: &str,
        secret: Secret<'_>,
        method: &Method,
        uri: &str,
        cnonce: &str,
        nc: u32,
    ) -> Option<String> {
        let ha1 = match secret {
            Secret::Password(password) => {
                let parts = [username.as_bytes(), self.realm.as_bytes(), password.as_bytes()];
                Hash::of(self.algorithm, &parts)
            }
            Secret::Ha1s(ha1s) => ha1s.pick(self.algorithm)?,
        };
        let nc = format!("{nc:08x}");
        let protection = match self.qop {
            Qop::Auth => Some(Protection { nc: nc.as_bytes(), cnonce: cnonce.as_bytes() }),
            Qop::None => None,
        };
        let (nonce, method) = (self.nonce.as_bytes(), method.as_str());
        let proof = response(self.algorithm, &ha1, nonce, protection, method, uri.as_bytes()).hex();
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}",
            quoted(username),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(uri),
            proof.as_str(),
            self.algorithm.as_str(),
        );
        if protection.is_some() {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce={}", quoted(cnonce)));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        Some(value)
    }
}

fn put(slot: &mut Option<String>, value: Cow<'_, [u8]>) -> Result<(), ChallengeError> {
    if value.len() > MAX_VALUE {
        return Err(ChallengeError::Malformed);
    }
    let text = String::from_utf8(value.into_owned()).map_err(|_| ChallengeError::Malformed)?;
    if slot.replace(text).is_some() { Err(ChallengeError::Malformed) } else { Ok(()) }
}
