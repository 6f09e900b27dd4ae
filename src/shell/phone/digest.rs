//! The client side of digest authentication (RFC 2617 and RFC 7616, qop auth), apart from segue's own digest.

use std::fmt::Write as _;

use md5::Digest as _;
use rsip::headers::{ToTypedHeader, UntypedHeader};

use super::message::Message;

/// A hash that the phone may answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What every phone knows.
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&md5::Md5::digest(text.as_bytes())),
            Self::Sha256 => hex(&sha2::Sha256::digest(text.as_bytes())),
        }
    }
}

/// A challenge that was understood.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    qop: bool,
    answer_in: &'static str,
}

impl Challenge {
    /// The first challenge of a 401 or 407 whose algorithm is among `known`, read by rsip.
    pub(super) fn read(response: &Message, known: &[Algorithm]) -> Option<Self> {
        let (name, answer_in) = match response.status()? {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        response.all(name).find_map(|value| {
            let read = rsip::headers::WwwAuthenticate::new(value).typed().ok()?;
            let algorithm = match read.algorithm {
                None | Some(rsip::headers::auth::Algorithm::Md5) => Algorithm::Md5,
                Some(rsip::headers::auth::Algorithm::Sha256) => Algorithm::Sha256,
                Some(_) => return None,
            };
            known.contains(&algorithm).then_some(Self {
                realm: read.realm,
                nonce: read.nonce,
                opaque: read.opaque,
                algorithm,
                qop: read.qop.is_some(),
                answer_in,
            })
        })
    }

    /// The header that answers this challenge for `method` and `uri`; `count` is the nonce count.
    pub(super) fn answer(
        &self,
        login: (&str, &str),
        method: &str,
        uri: &str,
        count: u32,
        cnonce: &str,
    ) -> (String, String) {
        let (user, password) = login;
        let ha1 = self.algorithm.hash(&format!("{user}:{}:{password}", self.realm));
        let ha2 = self.algorithm.hash(&format!("{method}:{uri}"));
        let nonce = &self.nonce;
        let response = if self.qop {
            self.algorithm.hash(&format!("{ha1}:{nonce}:{count:08x}:{cnonce}:auth:{ha2}"))
        } else {
            self.algorithm.hash(&format!("{ha1}:{nonce}:{ha2}"))
        };
        let (realm, algorithm) = (&self.realm, self.algorithm.as_str());
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={algorithm}"
        );
        if self.qop {
            let _ = write!(value, ", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(value, ", opaque=\"{opaque}\"");
        }
        (self.answer_in.to_owned(), value)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut message = Message::reply(&Message::request("REGISTER", "sip:pbx.example"), 401);
        message.headers =
            values.iter().map(|value| ("WWW-Authenticate".to_owned(), (*value).to_owned())).collect();
        Challenge::read(&message, &[Algorithm::Md5])
    }

    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let challenge = challenge(&[
            "Digest realm=\"testrealm@host.com\", qop=\"auth\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        ])
        .unwrap();
        let (name, value) =
            challenge.answer(("Mufasa", "Circle Of Life"), "GET", "/dir/index.html", 1, "0a4f113b");
        assert_eq!(name, "Authorization");
        assert!(value.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{value}");
    }

    #[test]
    fn the_algorithm_that_is_known_is_taken() {
        let sha = "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
        let md5 = "Digest realm=\"r\", nonce=\"m\", algorithm=MD5, qop=\"auth\"";
        assert_eq!(challenge(&[sha, md5]).unwrap().nonce, "m");
        assert!(challenge(&[sha]).is_none());
    }
}
