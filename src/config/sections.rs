//! The sections that occur once, and `[[listen]]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::error::Place;
use super::resolved::{
    Anchor, Auth, Ban, Http, Listen, Media, MediaIo, Node, Resolved, Secret, Srtp, StoreKind, WebPort,
};
use super::tree::{Faults, Section, Taken, Tree};
use super::{Network, Source, cdr, checks, hep, listen_tls, quirks, routes, trunks, users, values, webhooks};
use crate::call::run::{self, Runs};
use crate::engine::trace;
use crate::media::plan::Hold;
use crate::media::relay::Learning;
use crate::moving::hold_off::Scope;
use crate::moving::star_code::Codes;
use crate::moving::{self, Follow, Notice, ReInvite, ReplacesMode, SelectPolicy};
use crate::registrar;
use crate::sip::Transport;
use crate::sip::digest::Algorithm;

/// Most listeners: a flow names its listener in 16 bits, and each is a socket per worker.
const MAX_LISTENS: usize = 64;

const DAY: u32 = 86_400;

pub(super) fn read(tree: Tree, source: &Source<'_>, faults: &mut Faults) -> Option<Resolved> {
    let mut root = Section::root(tree, faults);
    let node = node(&mut root, source);
    let listens = listens(&mut root, source);
    let http = http(root.section_or_empty("http"), source);
    let media = media(root.section_or_empty("media"));
    let registrar = registrar(root.section_or_empty("registrar"));
    let domain = node.as_ref().map_or("", |node| &node.domain);
    let auth = auth(root.section_or_empty("auth"), domain);
    let (tests, runs) = test(root.section_or_empty("test"));
    let (moving, rescue) = moving(root.section_or_empty("move"), tests);
    let accounts = users::read(&mut root, source, &auth);
    let trunks = trunks::read(&mut root, source);
    users::check_pbx(&accounts, &trunks, root.faults);
    let quirks = quirks::read(&mut root);
    let groups = routes::groups(&mut root);
    let names = routes::Names { trunks: &trunks, groups: &groups, codes: &moving.codes };
    let rules = routes::rules(&mut root, &names);
    let trace = trace(root.section_or_empty("trace"));
    let dns = dns(root.section_or_empty("dns"));
    let webhooks = webhooks::read(&mut root, source);
    let hep = hep::read(&mut root, source, node.as_ref().map_or("", |node| &node.id));
    let cdr = cdr::read(root.section_or_empty("cdr"));
    root.finish();
    let mut resolved = Resolved {
        node: node?,
        listens,
        http,
        media,
        registrar,
        auth,
        moving,
        rescue,
        accounts: accounts.into_iter().map(|taken| taken.value).collect(),
        trunks: trunks.into_iter().map(|taken| taken.value).collect(),
        routes: rules,
        groups: groups.into_iter().map(|taken| taken.value).collect(),
        trace,
        dns,
        quirks,
        runs,
        webhooks,
        hep,
        cdr,
    };
    checks::whole(&resolved, source, faults);
    resolved.registrar.own = own(&resolved);
    Some(resolved)
}

fn dns(mut section: Section<'_>) -> Vec<SocketAddr> {
    let server = |text: &str| {
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        alone.or_else(|_| text.parse()).map_err(|_| "must be an address, with a port if it is not 53")
    };
    let servers = section.read_all("servers", server).unwrap_or_default();
    section.finish();
    servers.into_iter().map(|taken| taken.value).collect()
}

fn trace(mut section: Section<'_>) -> trace::Settings {
    let memory = section.number("memory_mb", 0..=4096).map_or(0, |taken| taken.value);
    let kept = section.number("keep_s", 1..=30 * DAY).map_or(3600, |taken| taken.value);
    section.finish();
    trace::Settings { bytes: memory as usize * 1024 * 1024, age: seconds(kept) }
}

fn node(root: &mut Section<'_>, source: &Source<'_>) -> Option<Node> {
    let mut section = root.section_or_empty("node");
    let id = section.read("id", name).map(|taken| taken.value);
    let domain = section.read_needed("domain", values::host).map(|taken| taken.value);
    let aliases = section.read_all("aliases", values::host).unwrap_or_default();
    let data_dir = section.text("data_dir").map_or_else(|| "/var/lib/segue".to_owned(), |taken| taken.value);
    let store = section.read_secret("store", store).map_or(StoreKind::Sqlite, |taken| taken.value);
    section.finish();
    let hostname = || name(source.hostname).unwrap_or_else(|_| "segue".into());
    Some(Node {
        id: id.unwrap_or_else(hostname),
        domain: domain?,
        aliases: aliases.into_iter().map(|taken| taken.value).collect(),
        data_dir: source.beside(&data_dir),
        store,
    })
}

/// A name that may stand in a record, a metric and a file name.
pub(super) fn name(text: &str) -> Result<Box<str>, &'static str> {
    registrar::accounts::check_name(text).map(|()| text.into())
}

fn store(text: &str) -> Result<StoreKind, &'static str> {
    match text {
        "sqlite" => Ok(StoreKind::Sqlite),
        url if url.starts_with("redis://") || url.starts_with("rediss://") => {
            Ok(StoreKind::Redis { url: Secret::new(url) })
        }
        _ => Err("must be sqlite or redis://host:port/db"),
    }
}

fn listens(root: &mut Section<'_>, source: &Source<'_>) -> Vec<Listen> {
    if !root.has("listen") {
        let _ = root.text("listen");
        let bind = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
        let plain = |transport| Listen { transport, bind, advertise: None, tls: None, origins: Vec::new() };
        return vec![plain(Transport::Udp), plain(Transport::Tcp)];
    }
    let mut all: Vec<(Listen, Place)> = Vec::new();
    root.each("listen", |section| {
        let place = section.place.clone();
        if let Some(listen) = listen(section, source, &all) {
            all.push((listen, place));
        }
    });
    if all.len() > MAX_LISTENS {
        root.fault("listen", format!("at most {MAX_LISTENS} are possible"));
    }
    all.into_iter().map(|(listen, _)| listen).collect()
}

fn listen(mut section: Section<'_>, source: &Source<'_>, before: &[(Listen, Place)]) -> Option<Listen> {
    let uri = section.read_needed("uri", values::listen);
    let advertise = section.read("advertise", values::host_port).map(|taken| taken.value);
    let transport = uri.as_ref().map(|uri| uri.value.0);
    let tls = listen_tls::read(&mut section, source, transport);
    let origins = listen_tls::origins(&mut section, transport);
    if let Some(Taken { value: (transport, bind), place, key }) = &uri {
        let twin = before.iter().find(|(other, _)| clashes(other, *transport, *bind));
        if let Some((_, first)) = twin {
            section.faults.add(place, key.clone(), format!("the same address is listened on at {first}"));
        }
    }
    section.finish();
    let Taken { value: (transport, bind), .. } = uri?;
    Some(Listen { transport, bind, advertise, tls, origins })
}

/// Whether two listeners would want the same port: TCP and everything upon it share one.
fn clashes(other: &Listen, transport: Transport, bind: SocketAddr) -> bool {
    (other.transport == Transport::Udp) == (transport == Transport::Udp) && other.bind == bind
}

fn http(mut section: Section<'_>, source: &Source<'_>) -> Http {
    let bind = section.read("bind", values::socket).map(|taken| taken.value);
    let origin =
        section.read("origin", |text| address(&text.to_ascii_lowercase(), &["http://", "https://"], false));
    let tls = listen_tls::of_page(&mut section, source);
    let phone = section.read("phone", |text| address(text, &["ws://", "wss://"], true));
    section.finish();
    Http {
        bind: bind.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
        tls,
        origin: origin.map(|taken| taken.value),
        phone: phone.map(|taken| taken.value),
    }
}

/// An address on the web: one of `schemes`, a host, perhaps a port, and where it may be a path.
fn address(text: &str, schemes: &[&str], may_have_path: bool) -> Result<Box<str>, String> {
    let example = if may_have_path { "wss://pbx.example.com:5063" } else { "https://pbx.example.com" };
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let allowed: &[u8] = if may_have_path { b".-_~:[]/" } else { b".-:[]" };
    match rest {
        Some(rest)
            if rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || allowed.contains(&byte)) =>
        {
            Ok(text.into())
        }
        _ => Err(format!("must be like {example}")),
    }
}

/// The most media threads that a node has; each takes a port for browsers.
const MEDIA_THREADS: u16 = 16;

fn media(mut section: Section<'_>) -> Media {
    let address = section.read("address", values::address).map(|taken| taken.value);
    let advertise = section.read("advertise", values::address);
    if let Some(Taken { value, place, key }) = &advertise
        && (value.is_unspecified() || value.is_multicast())
    {
        section.faults.add(place, key.clone(), "must be an address that peers can send to");
    }
    let ports = section.read("ports", values::port_range).map(|taken| taken.value);
    let web_port = section.number("web_port", 0..=65_535);
    let threads = section.number("threads", 0..=MEDIA_THREADS.into()).map_or(0, |taken| taken.value);
    let anchors = [("always", Anchor::Always), ("when-needed", Anchor::WhenNeeded), ("never", Anchor::Never)];
    let srtps = [("off", Srtp::Off), ("prefer", Srtp::Prefer), ("require", Srtp::Require)];
    let learnings = [("off", Learning::Off), ("guarded", Learning::Guarded), ("always", Learning::Always)];
    let ios = [("auto", MediaIo::Auto), ("epoll", MediaIo::Epoll), ("io_uring", MediaIo::IoUring)];
    let anchor = section.choice("anchor", &anchors);
    let timeout = section.number("timeout_s", 0..=DAY).map_or(60, |taken| taken.value);
    let srtp = section.choice("srtp", &srtps);
    let learning = section.choice("learning", &learnings);
    let io = section.choice("io", &ios);
    let ports = ports.unwrap_or((30_000, 39_999));
    let web_port = match &web_port {
        None => WebPort::Beside(ports.0.saturating_sub(MEDIA_THREADS)),
        Some(Taken { value: 0, .. }) => WebPort::Off,
        Some(Taken { value, place, key }) => {
            // The number was checked to be one of a port.
            let first = u16::try_from(*value).unwrap_or(u16::MAX);
            if first <= ports.1 && first.saturating_add(MEDIA_THREADS - 1) >= ports.0 {
                let why = format!("it and the {} after it must lie outside of ports", MEDIA_THREADS - 1);
                section.faults.add(place, key.clone(), why);
            }
            WebPort::Given(first)
        }
    };
    let transcode = section.number("transcode", 0..=10_000).map_or(TRANSCODED, |taken| taken.value);
    section.finish();
    Media {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        advertise: advertise.map(|taken| taken.value),
        ports,
        web_port,
        threads: u8::try_from(threads).ok().filter(|threads| *threads > 0),
        anchor: anchor.unwrap_or(Anchor::Always),
        timeout: (timeout > 0).then(|| seconds(timeout)),
        srtp: srtp.unwrap_or(Srtp::Prefer),
        learning: learning.unwrap_or(Learning::Guarded),
        io: io.unwrap_or(MediaIo::Auto),
        transcode: transcode as usize,
    }
}

/// Calls whose speech is converted at once, unless it is said otherwise: of Opus and G.722 they take about a quarter of a core.
const TRANSCODED: u32 = 20;

fn registrar(mut section: Section<'_>) -> registrar::Settings {
    let min = section.number("min_expires_s", 1..=DAY);
    let max = section.number("max_expires_s", 1..=30 * DAY);
    let most = section.number("max_bindings", 1..=64).map_or(8, |taken| taken.value);
    let (low, high) = (min.as_ref().map_or(60, |t| t.value), max.as_ref().map_or(3600, |t| t.value));
    if let Some(at) = max.as_ref().or(min.as_ref()).filter(|_| low > high) {
        section.faults.add(
            &at.place,
            at.key.clone(),
            format!("min_expires_s {low} is above max_expires_s {high}"),
        );
    }
    section.finish();
    registrar::Settings {
        min_expires: seconds(low),
        max_expires: seconds(high),
        max_bindings: most as usize,
        own: registrar::Own::default(),
    }
}

fn auth(mut section: Section<'_>, domain: &str) -> Auth {
    let realm = section.read("realm", |text| {
        let plain = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if plain && !text.contains(['"', '\\']) {
            Ok(Box::from(text))
        } else {
            Err("is no realm: quotes and controls are not allowed")
        }
    });
    let algorithms = algorithms(&mut section);
    let ban = section.section_or_empty("ban");
    let ban = self::ban(ban);
    section.finish();
    Auth {
        realm: realm.map_or_else(|| domain.into(), |taken| taken.value),
        algorithms: algorithms.unwrap_or_else(|| vec![Algorithm::Md5]),
        ban,
    }
}

/// `algorithms`, of the node or of a user: at least one, none twice.
pub(super) fn algorithms(section: &mut Section<'_>) -> Option<Vec<Algorithm>> {
    let place = section.place.clone();
    let taken = section.read_all("algorithms", values::algorithm)?;
    let mut all = Vec::new();
    for Taken { value, place, key } in taken {
        if all.contains(&value) {
            section.faults.add(&place, key, format!("{} is there twice", value.as_str()));
        } else {
            all.push(value);
        }
    }
    if all.is_empty() {
        let key = section.key("algorithms");
        section.faults.add(&place, key, "names none: at least one of MD5, SHA-256, SHA-512-256 is needed");
        return None;
    }
    Some(all)
}

fn ban(mut section: Section<'_>) -> Ban {
    let failures = section.number("failures", 1..=10_000).map_or(10, |taken| taken.value);
    let window = section.number("window_s", 1..=DAY).map_or(60, |taken| taken.value);
    let length = section.number("ban_s", 0..=30 * DAY).map_or(600, |taken| taken.value);
    let allow = section.read_all("allow", Network::parse);
    let strangers = section.number("strangers_per_s", 0..=1_000_000).map_or(100, |taken| taken.value);
    section.finish();
    let allow = match allow {
        Some(all) => all.into_iter().map(|taken| taken.value).collect(),
        None => Network::parse("127.0.0.0/8").into_iter().collect(),
    };
    Ban { failures, window: seconds(window), length: seconds(length), allow, strangers }
}

fn moving(mut section: Section<'_>, tests: [Option<Box<str>>; 2]) -> (moving::Settings, Duration) {
    let default = moving::Settings::default();
    let codes = codes(&mut section, tests);
    let modes =
        [("strict", ReplacesMode::Strict), ("lenient", ReplacesMode::Lenient), ("off", ReplacesMode::Off)];
    let replaces = section.choice("replaces", &modes);
    let re_invite = section.choice("re_invite", &RE_INVITE);
    let select =
        section.choice("select", &[("newest", SelectPolicy::Newest), ("oldest", SelectPolicy::Oldest)]);
    let hold_off = section.number("hold_off_s", 0..=DAY).map(|taken| seconds(taken.value));
    let scope = section.choice("hold_off_scope", &[("call", Scope::Call), ("system", Scope::System)]);
    let rollback = section.number("rollback_ms", 0..=60_000);
    let rescue = section.number("rescue_s", 0..=600).map(|taken| seconds(taken.value));
    let follows = [("off", Follow::Off), ("offer", Follow::Offer), ("move", Follow::Move)];
    let follow = section.choice("follow", &follows);
    let hot_desk = section.number("hot_desk_h", 1..=7 * 24).map(|taken| seconds(3600 * taken.value));
    let hold = section.choice("hold", &[("lift", Hold::Lift), ("keep", Hold::Keep)]);
    let notice = section.choice("notice", &[("message", Notice::Message), ("off", Notice::Off)]);
    section.finish();
    let settings = moving::Settings {
        codes,
        replaces: replaces.unwrap_or(default.replaces),
        re_invite: re_invite.unwrap_or(default.re_invite),
        select: select.unwrap_or(default.select),
        hold_off: hold_off.unwrap_or(default.hold_off),
        hold_off_scope: scope.unwrap_or(default.hold_off_scope),
        rollback: rollback.map_or(default.rollback, |taken| Duration::from_millis(taken.value.into())),
        notice: notice.unwrap_or(default.notice),
        follow: follow.unwrap_or(default.follow),
        hot_desk: hot_desk.unwrap_or(default.hot_desk),
        hold: hold.unwrap_or(default.hold),
    };
    (settings, rescue.unwrap_or(Duration::from_secs(20)))
}

fn codes(section: &mut Section<'_>, [echo, tone]: [Option<Box<str>>; 2]) -> Codes {
    let default = Codes::default();
    let pull = section.read("code", values::code).map(|taken| taken.value);
    let push = section.read("push_code", values::code).map(|taken| taken.value);
    let undo = section.read("undo_code", values::code).map(|taken| taken.value);
    let pickup = section.read_all("pickup_codes", values::code);
    let pickup = pickup.map(|all| all.into_iter().map(|taken| taken.value).collect());
    let signs = ["sign_in_code", "sign_out_code"].map(|key| section.read(key, values::code_or_off));
    let mut codes = Codes {
        pull: pull.unwrap_or(default.pull),
        push: push.unwrap_or(default.push),
        undo: undo.unwrap_or(default.undo),
        pickup: pickup.unwrap_or(default.pickup),
        sign_in: None,
        sign_out: None,
        echo,
        tone,
    };
    let [sign_in, sign_out] = signs.map(|taken| taken.map(|taken| taken.value));
    // They came with a later release, and take nothing from who had chosen those numbers for something else.
    codes.sign_in = sign_in.unwrap_or_else(|| default.sign_in.filter(|code| checks::is_free(&codes, code)));
    codes.sign_out =
        sign_out.unwrap_or_else(|| default.sign_out.filter(|code| checks::is_free(&codes, code)));
    codes
}

/// `[test]`: the numbers of echo and tone, and how calls name their run.
fn test(mut section: Section<'_>) -> ([Option<Box<str>>; 2], Option<Runs>) {
    let numbers = ["echo", "tone"].map(|key| section.read(key, values::code).map(|taken| taken.value));
    let is_on = section.flag("runs").unwrap_or(false);
    let prefix = section.read("run_prefix", |text| match text {
        // A hyphen would not tell the prefix from the tag.
        text if run::is_tag(text) && !text.contains('-') => Ok(Box::from(text)),
        _ => Err("must be letters, digits, dots and underscores"),
    });
    if let Some(Taken { place, key, .. }) = prefix.as_ref().filter(|_| !is_on) {
        section.faults.add(place, key.clone(), "means nothing without runs = true");
    }
    section.finish();
    (numbers, is_on.then(|| Runs { prefix: prefix.map(|taken| taken.value) }))
}

/// The words of `re_invite`.
const RE_INVITE: [(&str, ReInvite); 2] =
    [("when-needed", ReInvite::WhenNeeded), ("always", ReInvite::Always)];

fn own(resolved: &Resolved) -> registrar::Own {
    let mut own = registrar::Own::default();
    let names = std::iter::once(&resolved.node.domain).chain(&resolved.node.aliases);
    let advertised = resolved.listens.iter().filter_map(|listen| listen.advertise.as_ref());
    for host in names.chain(advertised.clone().map(|a| &a.host)) {
        match host.parse::<IpAddr>() {
            Ok(ip) => own.addresses.push(ip),
            Err(_) => own.names.push(host.clone()),
        }
    }
    for listen in &resolved.listens {
        own.ports.push(listen.bind.port());
        if !listen.bind.ip().is_unspecified() {
            own.addresses.push(listen.bind.ip());
        }
    }
    own.ports.extend(advertised.filter_map(|a| a.port));
    own.ports.sort_unstable();
    own.ports.dedup();
    own
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
