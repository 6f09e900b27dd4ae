//! What a client answers a challenge with: `Authorization` and `Proxy-Authorization`, parsed or refused.

use std::borrow::Cow;

use super::hash::{Algorithm, Protection};
use super::params::{Param, Params, digest_params};
use crate::wire::sip::{HeaderName, StatusCode};

/// Which pair of headers: as a server (401) or as a proxy (407).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// `WWW-Authenticate` and `Authorization`: for the registrar and for requests in dialogs with us.
    Www,
    /// `Proxy-Authenticate` and `Proxy-Authorization`: for requests that go on to someone else.
    Proxy,
}

impl Credentials {
    /// The header that carries the answer.
    #[must_use]
    pub const fn answer_header(self) -> HeaderName {
        match self {
            Self::Www => HeaderName::Authorization,
            Self::Proxy => HeaderName::ProxyAuthorization,
        }
    }

    /// The header that carries the challenge.
    #[must_use]
    pub const fn challenge_header(self) -> HeaderName {
        match self {
            Self::Www => HeaderName::WwwAuthenticate,
            Self::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The status of a challenge.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Www => StatusCode::UNAUTHORIZED,
            Self::Proxy => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        }
    }
}

/// A value, copied only where it had escapes.
type Text<'a> = Cow<'a, [u8]>;

/// One answer for our realm.
pub(super) struct Answer<'a> {
    pub(super) username: Cow<'a, str>,
    pub(super) nonce: Text<'a>,
    pub(super) uri: Text<'a>,
    pub(super) response: Text<'a>,
    pub(super) algorithm: Algorithm,
    /// The protected part of `qop=auth`; `None` for an RFC 2069 client.
    nc_and_cnonce: Option<(Text<'a>, Text<'a>)>,
    /// The number in `nc`.
    pub(super) count: Option<u32>,
}

/// The header is for us, and is not an answer to anything we ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadAnswer;

/// The parameters that say something to us. Others (opaque, which we never send; userhash; extensions) do not.
const NAMES: [&[u8]; 9] =
    [b"username", b"realm", b"nonce", b"uri", b"response", b"algorithm", b"qop", b"nc", b"cnonce"];

/// The parameters as found, in the order of [`NAMES`], before they are judged together.
struct Fields<'a>([Option<Text<'a>>; NAMES.len()]);

impl<'a> Fields<'a> {
    fn read(params: Params<'a>) -> Result<Self, BadAnswer> {
        let mut fields = Self([const { None }; NAMES.len()]);
        for param in params {
            let Param { name, value } = param.map_err(|_| BadAnswer)?;
            let place = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
            if let Some(slot) = place.and_then(|place| fields.0.get_mut(place))
                && slot.replace(value).is_some()
            {
                return Err(BadAnswer);
            }
        }
        Ok(fields)
    }
}

impl<'a> Answer<'a> {
    /// Reads a header value. `None` where it is of another scheme or for another realm.
    pub(super) fn read(value: &'a [u8], realm: &str) -> Result<Option<Self>, BadAnswer> {
        let Some(params) = digest_params(value) else { return Ok(None) };
        let Fields([username, claimed, nonce, uri, response, algorithm, qop, nc, cnonce]) =
            Fields::read(params)?;
        if claimed.ok_or(BadAnswer)? != realm.as_bytes() {
            return Ok(None);
        }
        let algorithm = match algorithm {
            Some(token) => Algorithm::from_token(&token).ok_or(BadAnswer)?,
            None => Algorithm::Md5,
        };
        let (nc_and_cnonce, count) = match qop {
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let (nc, cnonce) = (nc.ok_or(BadAnswer)?, cnonce.ok_or(BadAnswer)?);
                let count = parse_count(&nc).ok_or(BadAnswer)?;
                (Some((nc, cnonce)), Some(count))
            }
            Some(_) => return Err(BadAnswer),
            // RFC 8760 2.4: without qop only MD5, for old clients.
            None if algorithm == Algorithm::Md5 => (None, None),
            None => return Err(BadAnswer),
        };
        Ok(Some(Self {
            username: text(username.ok_or(BadAnswer)?)?,
            nonce: nonce.ok_or(BadAnswer)?,
            uri: uri.ok_or(BadAnswer)?,
            response: response.ok_or(BadAnswer)?,
            algorithm,
            nc_and_cnonce,
            count,
        }))
    }

    pub(super) fn protection(&self) -> Option<Protection<'_>> {
        self.nc_and_cnonce.as_ref().map(|(nc, cnonce)| Protection { nc, cnonce })
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, BadAnswer> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| BadAnswer),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BadAnswer),
    }
}

/// `nc-value = 8LHEX` (RFC 7616 3.4); capitals are let pass.
fn parse_count(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
