//! Browsers: the cookie that carries a session, and the proof that it was our own page which made the request.
//!
//! A browser sends the cookie with whatever asks for this host: other ports of it are the same site to
//! `SameSite=Strict`. So a request that comes with the cookie must also come from our origin: by `Sec-Fetch-Site` where
//! the browser says it, and by `Origin` for everything that changes anything.

use std::net::Ipv4Addr;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::problem::Problem;
use super::session::LIFETIME;

/// Longest `Host` or `Origin` that is looked at.
const NAME_LEN: usize = 300;
/// Longest `Cookie` that is looked at: other programs of this host have theirs.
const COOKIES_LEN: usize = 8192;

/// The page's own origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    /// `https://pbx.example.com`, as configured; without it whatever `Host` the browser asked for.
    origin: Option<Box<str>>,
    /// Whether we speak TLS ourselves.
    is_tls: bool,
    /// Names of this node: its domain and what else it is called.
    names: Vec<Box<str>>,
}

impl Home {
    pub(super) fn new(origin: Option<Box<str>>) -> Self {
        Self { origin, ..Self::default() }
    }

    /// The same, known by these names.
    pub(super) fn named(self, names: Vec<Box<str>>) -> Self {
        Self { names, ..self }
    }

    /// The same, under TLS of our own.
    pub(super) fn under_tls(self) -> Self {
        Self { is_tls: true, ..self }
    }

    /// Whether a proxy is in front of us, for all we know: only then is there somebody to name another source.
    pub(super) fn is_behind_proxy(&self) -> bool {
        self.origin.is_some()
    }

    /// Refuses requests for names that are not ours: a stranger's page can have its name lead to our address (DNS
    /// rebinding), and is then of one origin with us. Addresses and names without a dot are nobody's in the public DNS.
    /// Under TLS the certificate says the same, and with a configured origin nothing else counts.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(name) = host_name(headers).filter(|_| self.origin.is_none() && !self.is_tls) else {
            return Ok(());
        };
        let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
        if is_address || !name.contains('.') || self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let detail = "This node does not know the name that it was asked by: ask by its address or its domain, add the \
            name to node.aliases, or say with http.origin how browsers reach the page.";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
    }

    /// Whether browsers come by TLS, for all we know.
    pub(super) fn is_secure(&self) -> bool {
        self.origin.as_ref().map_or(self.is_tls, |origin| origin.starts_with("https://"))
    }

    /// `__Host-` keeps other hosts of the domain from setting it; browsers take that name by TLS only.
    const fn cookie(is_secure: bool) -> &'static str {
        if is_secure { "__Host-segue" } else { "segue" }
    }

    /// Gives the browser the token of a session.
    pub(super) fn keep(&self, token: &str) -> Option<HeaderValue> {
        self.set_cookie(token, LIFETIME.as_secs())
    }

    /// Takes the token away.
    pub(super) fn forget(&self) -> Option<HeaderValue> {
        self.set_cookie("", 0)
    }

    fn set_cookie(&self, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let name = Self::cookie(self.is_secure());
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// The token in the cookie. Two cookies of our name are none: one of them was put there by somebody else.
    pub(super) fn token<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let name = Self::cookie(self.is_secure());
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut found = texts
            .filter(|text| text.len() <= COOKIES_LEN)
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value);
        let token = found.next().filter(|token| token.len() == 64)?;
        found.next().is_none().then_some(token)
    }

    /// Refuses what our page did not ask for.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let is_reading = *method == Method::GET || *method == Method::HEAD;
        // `none`: the person typed the address.
        let is_own_site = match text("sec-fetch-site") {
            None | Some("same-origin") => true,
            Some("none") => is_reading,
            Some(_) => false,
        };
        let is_own_origin = match text("origin") {
            None => is_reading,
            Some(origin) => self.is_own(origin, headers),
        };
        if is_own_site && is_own_origin {
            return Ok(());
        }
        let detail = "This request does not come from the page of this node. Behind a proxy that changes Host, \
            http.origin says how browsers reach the page.";
        Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail))
    }

    fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        if let Some(own) = &self.origin {
            return own.eq_ignore_ascii_case(origin);
        }
        // Without a certificate of ours a proxy may have one.
        let plain = origin.strip_prefix("http://").filter(|_| !self.is_tls);
        let rest = plain.or_else(|| origin.strip_prefix("https://"));
        let host = host(headers);
        rest.is_some()
            && host.is_some()
            && rest.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
    }
}

/// The one `Host` of the request.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::HOST).iter();
    let host = values.next()?.to_str().ok()?;
    (values.next().is_none() && !host.is_empty() && host.len() <= NAME_LEN).then_some(host)
}

/// The name or address that the browser asked for, without the port; only what can be one.
pub(super) fn host_name(headers: &HeaderMap) -> Option<&str> {
    let host = host(headers)?;
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.split(']').next()?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            host.get(..address.len() + 2)?
        }
        None => host.split(':').next()?,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    (!name.is_empty() && (name.starts_with('[') || name.bytes().all(is_name))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn what_our_page_asks_for_is_let_in() {
        let home = Home::default();
        for (method, given) in [
            (Method::POST, vec![("host", "pbx:8080"), ("origin", "http://pbx:8080")]),
            (
                Method::POST,
                vec![("host", "PBX:8080"), ("origin", "http://pbx:8080"), ("sec-fetch-site", "same-origin")],
            ),
            (Method::DELETE, vec![("host", "pbx"), ("origin", "https://pbx")]),
            (Method::GET, vec![("host", "pbx")]),
            (Method::GET, vec![("host", "pbx"), ("sec-fetch-site", "none")]),
            (Method::GET, vec![("host", "pbx"), ("sec-fetch-site", "same-origin"), ("origin", "http://pbx")]),
        ] {
            assert!(home.check(&method, &headers(&given)).is_ok(), "{method} {given:?}");
        }
    }

    #[test]
    fn what_another_page_makes_the_browser_ask_for_is_not() {
        let home = Home::default();
        for (method, given) in [
            (Method::POST, vec![("host", "pbx:8080")]),
            (Method::POST, vec![("host", "pbx:8080"), ("origin", "http://pbx:9090")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "null")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "http://evil.example")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "http://pbx.evil.example")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "pbx")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "http://pbx"), ("sec-fetch-site", "same-site")]),
            (Method::POST, vec![("host", "pbx"), ("origin", "http://pbx"), ("sec-fetch-site", "none")]),
            (Method::POST, vec![("host", "pbx"), ("host", "evil"), ("origin", "http://pbx")]),
            (Method::POST, vec![("origin", "http://pbx")]),
            (Method::GET, vec![("host", "pbx"), ("sec-fetch-site", "same-site")]),
            (Method::GET, vec![("host", "pbx"), ("sec-fetch-site", "cross-site")]),
            (Method::GET, vec![("host", "pbx"), ("origin", "http://evil")]),
        ] {
            assert!(home.check(&method, &headers(&given)).is_err(), "{method} {given:?}");
        }
    }

    #[test]
    fn a_configured_origin_is_the_only_one() {
        let home = Home::new(Some("https://pbx.example.com".into()));
        let check =
            |origin: &str| home.check(&Method::POST, &headers(&[("host", "10.0.0.1"), ("origin", origin)]));
        assert!(check("https://pbx.example.com").is_ok());
        for other in ["http://pbx.example.com", "https://10.0.0.1", "https://pbx.example.com:444"] {
            assert!(check(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_name_that_is_not_ours_is_a_strangers() {
        let home = Home::default().named(vec!["pbx.example.com".into(), "sip.example.com".into()]);
        let check = |home: &Home, host: &str| home.check_host(&headers(&[("host", host)])).is_ok();
        for ours in
            ["127.0.0.1:8080", "[::1]:8080", "192.0.2.7", "localhost:8080", "segue", "PBX.example.com"]
        {
            assert!(check(&home, ours), "{ours}");
        }
        for other in
            ["evil.example", "evil.example:8080", "pbx.example.com.evil.example", "localhost.evil.example"]
        {
            assert!(!check(&home, other), "{other}");
            assert!(
                check(&Home::new(Some("https://pbx".into())), other)
                    && check(&home.clone().under_tls(), other)
            );
        }
    }

    #[test]
    fn one_cookie_of_our_name_and_form() {
        let (token, home) = ("a".repeat(64), Home::default());
        let cookie = |text: &str| home.token(&headers(&[("cookie", text)])).map(str::to_owned);
        assert_eq!(cookie(&format!("segue={token}")), Some(token.clone()));
        assert_eq!(cookie(&format!("x=1; segue={token}; segue2=b")), Some(token.clone()));
        for bad in [
            format!("segue={token}; segue={token}"),
            "segue=short".into(),
            format!("Segue={token}"),
            "segue".into(),
        ] {
            assert_eq!(cookie(&bad), None, "{bad}");
        }
        let secure = Home::new(Some("https://pbx".into()));
        assert_eq!(secure.token(&headers(&[("cookie", &format!("segue={token}"))])), None);
        assert!(secure.token(&headers(&[("cookie", &format!("__Host-segue={token}"))])).is_some());
        assert_eq!(
            secure.keep("t").unwrap(),
            "__Host-segue=t; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"
        );
        assert_eq!(home.forget().unwrap(), "segue=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    }

    #[test]
    fn only_what_can_be_a_host_is_taken_from_host() {
        let name = |host: &str| host_name(&headers(&[("host", host)])).map(str::to_owned);
        assert_eq!(name("pbx.example:8080").as_deref(), Some("pbx.example"));
        assert_eq!(name("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(name("[::1]:8080").as_deref(), Some("[::1]"));
        for bad in ["", "a b", "x;script-src", "[::1", "[evil]", "*", ":80"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }
}
