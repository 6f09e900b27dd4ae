//! Who asks: the token of a request, in its header or its cookie, and the address that it comes from.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::problem::Problem;
use super::session::{Carrier, Holder, TokenHash};
use super::{Api, now};
use crate::engine::command::Subject;

/// Longest token that is looked at.
const TOKEN_LEN: usize = 256;

/// Whoever holds the token of this request.
pub(super) struct Caller {
    pub(super) subject: Subject,
    /// Whose session it is; none for the administrator's token.
    pub(super) user: Option<Box<str>>,
    pub(super) token: TokenHash,
    pub(super) carrier: Carrier,
    /// When the token ends.
    pub(super) ends: Option<Instant>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        // Who sends a header has said how to be taken; a cookie beside it is not looked at.
        let (token, carrier) = if parts.headers.contains_key(header::AUTHORIZATION) {
            (bearer(&parts.headers), Carrier::Header)
        } else {
            (api.home.token(&parts.headers), Carrier::Cookie)
        };
        let token = TokenHash::of(token.ok_or_else(Problem::unauthorized)?);
        let holder = api.sessions.holder(&token, carrier, now()).ok_or_else(Problem::unauthorized)?;
        if carrier == Carrier::Cookie {
            api.home.check(&parts.method, &parts.headers)?;
        }
        let Holder { subject, user, ends } = holder;
        Ok(Self { subject, user, token, carrier, ends })
    }
}

/// Where the request comes from.
#[derive(Clone, Copy)]
pub(super) struct Source(pub(super) IpAddr);

/// Put into each request by the connection that it came on.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl FromRequestParts<Api> for Source {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Peer(peer) = parts.extensions.get().ok_or_else(Problem::misfit)?;
        Ok(Self(match api.home.is_behind_proxy() {
            true => source(peer.ip(), &parts.headers),
            false => peer.ip(),
        }))
    }
}

/// The peer; where that is a proxy on this machine, the last hop that the proxy names. Nobody else is believed.
fn source(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !peer.to_canonical().is_loopback() {
        return peer;
    }
    headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok())
        .unwrap_or(peer)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let is_one = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    (is_one && !token.is_empty() && token.len() <= TOKEN_LEN).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect::<Vec<_>>().into_iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            let name: axum::http::HeaderName = name;
            map.append(name, value);
            map
        })
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let forwarded = headers(&[("x-forwarded-for", "203.0.113.1, 198.51.100.2")]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(source(ip("127.0.0.1"), &forwarded), ip("198.51.100.2"));
        assert_eq!(source(ip("192.0.2.9"), &forwarded), ip("192.0.2.9"));
        assert_eq!(source(ip("::1"), &headers(&[])), ip("::1"));
        assert_eq!(source(ip("127.0.0.1"), &headers(&[("x-forwarded-for", "nonsense")])), ip("127.0.0.1"));
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer  abc ")])), Some("abc"));
        let long = format!("Bearer {}", "x".repeat(TOKEN_LEN + 1));
        for bad in ["Basic abc", "Bearer ", "Bearer", "", long.as_str()] {
            assert_eq!(bearer(&headers(&[("authorization", bad)])), None, "{bad}");
        }
        assert_eq!(bearer(&headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")])), None);
    }
}
