//! `[[trunk]]`.

use std::time::Duration;

use super::resolved::{HostPort, Site, Trunk, TrunkAuth};
use super::sections::name;
use super::tree::{Section, Taken};
use super::{Network, Secret, Source, listen_tls, trunk_policy, users, values};
use crate::sip::Transport;
use crate::wire::sip::{Scheme, Uri};

/// Places of a trunk beside its first.
const MAX_ALSO: usize = 15;

pub(super) fn read(root: &mut Section<'_>, source: &Source<'_>) -> Vec<Taken<Trunk>> {
    let mut all: Vec<Taken<Trunk>> = Vec::new();
    root.each("trunk", |section| {
        let (place, key) = (section.place.clone(), section.path.clone());
        if let Some(value) = trunk(section, source, &all) {
            all.push(Taken { value, place, key });
        }
    });
    all
}

fn trunk(mut section: Section<'_>, source: &Source<'_>, before: &[Taken<Trunk>]) -> Option<Trunk> {
    let name = section.read_needed("name", |text| {
        let twin = before.iter().find(|other| *other.value.name == *text);
        twin.map_or_else(
            || name(text).map_err(str::to_owned),
            |twin| Err(format!("is the trunk at {} already", twin.place)),
        )
    });
    let uri = section.read_needed("uri", place).map(|taken| taken.value);
    let also = section.read_all("also", place).unwrap_or_default();
    if also.len() > MAX_ALSO {
        section.fault("also", "names more than 15 places");
    }
    let also: Vec<Site> = also.into_iter().map(|taken| taken.value).collect();
    let share = section.flag("share").unwrap_or(false);
    let ca = section.read("ca", |path| listen_tls::pem(source, path)).map(|taken| taken.value);
    if ca.is_some() && uri.as_ref().is_some_and(is_never_tls) && also.iter().all(is_never_tls) {
        section.fault("ca", "is for trunks that may be called over TLS only");
    }
    let from = section.read_all("from", Network::parse).unwrap_or_default();
    let auth = section.section("auth").map(|section| auth(section, source));
    let register = section.flag("register").unwrap_or(false);
    if register && auth.is_none() {
        section.fault("register", "needs auth: a registration without credentials is of no use");
    }
    let ping = section.number("ping_s", 0..=86_400).map_or(0, |taken| taken.value);
    let policy = trunk_policy::read(&mut section);
    section.finish();
    let Site { uri, host, transport } = uri?;
    Some(Trunk {
        name: name?.value,
        uri,
        host,
        transport,
        also,
        share,
        ca,
        from: from.into_iter().map(|taken| taken.value).collect(),
        auth: auth.flatten(),
        register,
        ping: (ping > 0).then(|| Duration::from_secs(ping.into())),
        policy,
    })
}

/// Whether neither the URI nor DNS (RFC 3263 4.1) can choose TLS.
fn is_never_tls(Site { uri, host, transport }: &Site) -> bool {
    let is_stated = Uri::parse(uri).is_ok_and(|uri| uri.param("transport").is_some());
    let is_address = host.host.parse::<std::net::IpAddr>().is_ok();
    *transport != Transport::Tls && (is_stated || is_address || host.port.is_some())
}

/// `sip:host[:port][;transport=…]`, without user, headers or other parameters.
fn place(text: &str) -> Result<Site, String> {
    let uri = Uri::parse(text).map_err(|error| error.to_string())?;
    let secure = match uri.scheme() {
        Scheme::Sip => false,
        Scheme::Sips => true,
        Scheme::Tel | Scheme::Other => return Err("must be a sip: or sips: URI".to_owned()),
    };
    if uri.user().is_some() || uri.has_headers() {
        return Err("must name a host only, without user or headers".to_owned());
    }
    let host = values::host(&uri.host().to_string())?;
    let mut transport = if secure { Transport::Tls } else { Transport::Udp };
    for (key, value) in uri.params() {
        let value = value.unwrap_or_default().to_ascii_lowercase();
        transport = match (key.to_ascii_lowercase().as_str(), value.as_str()) {
            ("transport", "udp") if !secure => Transport::Udp,
            ("transport", "tcp") if !secure => Transport::Tcp,
            ("transport", "tcp" | "tls") => Transport::Tls,
            ("transport", _) => return Err("transport must be udp, tcp or tls (tls for sips:)".to_owned()),
            (other, _) => return Err(format!("parameter {other} is not known here")),
        };
    }
    Ok(Site { uri: text.into(), host: HostPort { host, port: uri.port() }, transport })
}

/// A name that stands in quotes in a header.
pub(super) fn printable(text: &str) -> Result<Box<str>, &'static str> {
    let fits = (1..=128).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '"');
    if fits { Ok(text.into()) } else { Err("1 to 128 characters without quotes are needed") }
}

fn auth(mut section: Section<'_>, source: &Source<'_>) -> Option<TrunkAuth> {
    let user = section.read_needed("user", printable).map(|taken| taken.value);
    let realm = section.read("realm", printable).map(|taken| taken.value);
    if section.has("password") == section.has("password_file") {
        section.fault("password", "one of password and password_file is needed");
    }
    let password = users::secret(&mut section, source);
    section.finish();
    Some(TrunkAuth { user: user?, password: Secret::new(password?), realm })
}
