//! What the configuration means on this machine: addresses found out, names resolved, threads counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use super::trunks;
use crate::call::settings as call;
use crate::config::{self, HostPort, Listen, Resolved};
use crate::engine;
use crate::media::plan::{Rule, Screen};
use crate::sip::Transport;

/// The engine's settings for listeners that are bound to `bound`, in the order of the configuration.
pub(super) fn engine(resolved: &Resolved, bound: &[SocketAddr], media_threads: usize) -> engine::Settings {
    let listeners: Vec<_> =
        resolved.listens.iter().zip(bound).map(|(listen, bound)| listener(listen, *bound)).collect();
    let media = media(&resolved.media, &listeners, media_threads);
    let mut registrar = resolved.registrar.clone();
    registrar.own.addresses.extend(listeners.iter().flat_map(|l| [l.address.ip(), l.loopback.ip()]));
    registrar.own.ports.extend(listeners.iter().map(|l| l.address.port()));
    let call = call::Settings {
        node: resolved.node.id.clone(),
        domain: resolved.node.domain.clone(),
        aliases: resolved.node.aliases.clone(),
        software: concat!("segue/", env!("CARGO_PKG_VERSION")).into(),
        listeners,
        media,
        algorithms: resolved.auth.algorithms.clone(),
        trunks: resolved.trunks.iter().map(trunk).collect(),
        routes: resolved.routes.clone(),
        groups: resolved.groups.clone(),
        zone: super::zone::local(),
        quirks: resolved.quirks.clone(),
        echo: resolved.moving.codes.echo.clone(),
        tone: resolved.moving.codes.tone.clone(),
        runs: resolved.runs.clone(),
        tells_quality: resolved.hep.as_ref().is_some_and(|hep| hep.quality),
        limits: call::Limits { rescue: resolved.rescue, ..call::Limits::default() },
    };
    let ban = &resolved.auth.ban;
    engine::Settings {
        limits: crate::wire::sip::Limits::default(),
        transactions: crate::sip::transaction::Settings::default(),
        registrar,
        call,
        moving: resolved.moving.clone(),
        ban: engine::settings::Ban {
            failures: ban.failures,
            window: ban.window,
            ban: ban.length,
            allow: ban.allow.iter().map(|network| (network.address(), network.prefix())).collect(),
            strangers: ban.strangers,
        },
        trace: resolved.trace,
        capture: engine::capture::Settings {
            dialogs: resolved.hep.as_ref().is_some_and(|hep| hep.sip),
            quality: resolved.hep.as_ref().is_some_and(|hep| hep.quality),
        },
        realm: resolved.auth.realm.clone(),
        contact_key: [0; 32],
    }
}

/// How a listener is reached. One that is bound to every address is reached at the one that leads outside, and
/// from this machine at loopback.
fn listener(listen: &Listen, bound: SocketAddr) -> call::Listener {
    let own = if bound.ip().is_unspecified() {
        SocketAddr::new(outward(bound.is_ipv4()), bound.port())
    } else {
        bound
    };
    let loopback = if bound.ip().is_unspecified() {
        SocketAddr::new(loopback(bound.is_ipv4()), bound.port())
    } else {
        bound
    };
    let Some(HostPort { host, port }) = &listen.advertise else {
        return call::Listener::new(listen.transport, own, loopback);
    };
    let port = port.unwrap_or(bound.port());
    let address = host.parse().map_or(own, |ip| SocketAddr::new(ip, port));
    let mut listener = call::Listener::new(listen.transport, address, loopback);
    if host.parse::<IpAddr>().is_err() {
        listener.sent_by = format!("{host}:{port}").into();
    }
    listener
}

const fn loopback(is_v4: bool) -> IpAddr {
    if is_v4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) }
}

/// The address from which this machine reaches the network; loopback where it reaches none. Nothing is sent.
pub(super) fn outward(is_v4: bool) -> IpAddr {
    // RFC 5737 and RFC 3849: routed as any other address, answered by none.
    let (any, beyond): (SocketAddr, SocketAddr) = if is_v4 {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into())
    } else {
        let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (documentation, 9).into())
    };
    let found = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(beyond)?;
        socket.local_addr()
    });
    found.map(|address| address.ip()).ok().filter(|ip| !ip.is_unspecified()).unwrap_or(loopback(is_v4))
}

fn media(media: &config::Media, listeners: &[call::Listener], threads: usize) -> call::MediaSettings {
    let is_any = media.address.is_unspecified();
    let own = if is_any { outward(media.address.is_ipv4()) } else { media.address };
    let address = media.advertise.unwrap_or(own);
    let loopback = if is_any { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { media.address };
    let mut own_addresses = vec![address, own, loopback];
    own_addresses
        .extend(listeners.iter().flat_map(|listener| [listener.address.ip(), listener.loopback.ip()]));
    own_addresses.sort();
    own_addresses.dedup();
    call::MediaSettings {
        anchor: match media.anchor {
            config::Anchor::Always => call::Anchor::Always,
            config::Anchor::WhenNeeded => call::Anchor::WhenNeeded,
            config::Anchor::Never => call::Anchor::Never,
        },
        bind: media.address,
        address,
        loopback,
        address_v6: address.is_ipv6().then_some(address),
        timeout: media.timeout,
        transcode: media.transcode,
        learning: media.learning,
        srtp: match media.srtp {
            config::Srtp::Off => Rule::PlainOnly,
            config::Srtp::Prefer => Rule::Either,
            config::Srtp::Require => Rule::SecureOnly,
        },
        threads,
        pairs: usize::from(media.ports.1.saturating_sub(media.ports.0)).div_ceil(2),
        screen: Screen {
            own_addresses,
            own_ports: Arc::default(),
            limits: crate::wire::sdp::Limits::default(),
        },
        web: None,
    }
}

fn trunk(trunk: &config::Trunk) -> call::Trunk {
    let transport = if trunk.transport == Transport::Udp { "" } else { trunk.transport.uri_token() };
    let mut host = match trunk.host.host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => trunk.host.host.to_string(),
    };
    if let Some(port) = trunk.host.port {
        host += &format!(":{port}");
    }
    if !transport.is_empty() {
        host += &format!(";transport={transport}");
    }
    call::Trunk {
        name: trunk.name.clone(),
        host: host.into(),
        targets: trunks::stated(trunk),
        from: trunk
            .from
            .iter()
            .map(|network| call::Source {
                network: network.address(),
                prefix: network.prefix(),
                port: network.port(),
            })
            .collect(),
        auth: trunk.auth.as_ref().map(|auth| call::TrunkAuth {
            user: auth.user.clone(),
            password: auth.password.clone(),
            realm: auth.realm.clone(),
        }),
        register: trunk.register,
        ping: trunk.ping,
        policy: trunk.policy.clone(),
        is_gone: false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::call::policy::ReInvite;
    use crate::call::targets::Target;
    use crate::config::Source;
    use crate::media::relay::Learning;
    use crate::sip::Flow;

    fn resolve(text: &str) -> Resolved {
        let source = Source {
            path: Path::new("segue.toml"),
            text,
            variables: &[],
            hostname: "host",
            read: &|_| Ok("secret".into()),
        };
        source.resolve().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn settings(text: &str) -> engine::Settings {
        let resolved = resolve(text);
        let bound: Vec<_> = resolved.listens.iter().map(|listen| listen.bind).collect();
        engine(&resolved, &bound, 2)
    }

    const WHOLE: &str = r#"
[node]
id = "edge1"
domain = "pbx.example.com"
aliases = ["127.0.0.1"]
data_dir = "data"
[[listen]]
uri = "udp://0.0.0.0:5060"
advertise = "203.0.113.10:5070"
[[listen]]
uri = "tcp://192.0.2.1:5062"
[[listen]]
uri = "udp://[::]:5060"
advertise = "pbx.example.com"
[media]
address = "0.0.0.0"
advertise = "203.0.113.10"
ports = "30000-30099"
anchor = "when-needed"
timeout_s = 30
learning = "off"
[registrar]
min_expires_s = 30
max_expires_s = 600
max_bindings = 3
[auth]
algorithms = ["SHA-256", "MD5"]
realm = "phones"
ban = { failures = 4, window_s = 5, ban_s = 6, allow = ["10.0.0.0/8"], strangers_per_s = 7 }
[move]
re_invite = "when-needed"
[[user]]
name = "alice"
  [[user.device]]
  id = "desk"
  auth_user = "alice-desk"
  password = "secret"
[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:5080;transport=tcp"
from = ["198.51.100.0/24", "203.0.113.7:5062"]
max_calls = 100
re_invite = "always"
[[trunk]]
name = "backup"
uri = "sip:127.0.0.2"
[[route]]
match = '^\+'
to = ["trunk:backup", "trunk:carrier"]
[[route]]
match = '^100$'
to = ["user:alice"]
[test]
echo = "*43"
tone = "*44"
"#;

    #[test]
    fn every_section_arrives_at_its_layer() {
        let settings = settings(WHOLE);
        let call = &settings.call;
        assert_eq!((&*call.node, &*call.domain, &*settings.realm), ("edge1", "pbx.example.com", "phones"));
        let is_ours = |uri: &str| call.is_ours(crate::wire::sip::Uri::parse(uri).unwrap().host());
        assert!(is_ours("sip:127.0.0.1") && is_ours("sip:PBX.example.com") && !is_ours("sip:example.com"));
        assert_eq!(call.algorithms, resolve(WHOLE).auth.algorithms);
        assert_eq!((call.echo.as_deref(), call.tone.as_deref()), (Some("*43"), Some("*44")));
        let media = &call.media;
        assert_eq!((media.anchor, media.learning), (call::Anchor::WhenNeeded, Learning::Off));
        assert_eq!((media.timeout, media.threads), (Some(Duration::from_secs(30)), 2));
        assert_eq!(media.address.to_string(), "203.0.113.10");
        assert_eq!(call.media_address("127.0.0.1".parse().unwrap()).to_string(), "127.0.0.1");
        let registrar = &settings.registrar;
        let times = (registrar.min_expires.as_secs(), registrar.max_expires.as_secs());
        assert_eq!((times, registrar.max_bindings), ((30, 600), 3));
        let ban = &settings.ban;
        assert_eq!((ban.failures, ban.window.as_secs(), ban.ban.as_secs()), (4, 5, 6));
        assert_eq!(ban.strangers, 7);
        assert_eq!(ban.allow, [("10.0.0.0".parse().unwrap(), 8)]);
    }

    #[test]
    fn a_listener_is_told_as_it_is_reached() {
        let call = settings(WHOLE).call;
        let [advertised, plain, named] = &call.listeners[..] else { panic!("three listeners") };
        assert_eq!(&*advertised.sent_by, "203.0.113.10:5070");
        assert_eq!(&*advertised.loopback_sent_by, "127.0.0.1:5060");
        assert_eq!((&*plain.sent_by, &*plain.loopback_sent_by), ("192.0.2.1:5062", "192.0.2.1:5062"));
        assert_eq!((&*named.sent_by, &*named.loopback_sent_by), ("pbx.example.com:5060", "[::1]:5060"));
        let own = settings(WHOLE).registrar.own;
        for address in ["203.0.113.10", "127.0.0.1", "192.0.2.1"] {
            assert!(own.addresses.contains(&address.parse().unwrap()), "{address} is refused as Contact");
        }
        assert!([5060, 5062, 5070].iter().all(|port| own.ports.contains(port)));
    }

    #[test]
    fn a_wildcard_is_never_written_into_a_message() {
        let text = WHOLE.replace("advertise = \"203.0.113.10:5070\"\n", "");
        let call = settings(&text.replace("advertise = \"203.0.113.10\"\n", "")).call;
        for listener in &call.listeners {
            assert!(!listener.address.ip().is_unspecified() && !listener.loopback.ip().is_unspecified());
        }
        assert!(!call.media.address.is_unspecified() && call.media.bind.is_unspecified());
        let screen = &call.media.screen;
        assert!(screen.own_addresses.contains(&call.media.address));
        assert!(screen.own_addresses.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn trunks_and_routes_find_each_other() {
        let call = settings(WHOLE).call;
        let [carrier, backup] = &call.trunks[..] else { panic!("two trunks") };
        assert_eq!(&*carrier.host, "127.0.0.1:5080;transport=tcp");
        assert_eq!(
            carrier.targets,
            [Target { transport: Transport::Tcp, peer: "127.0.0.1:5080".parse().unwrap() }]
        );
        assert_eq!((carrier.policy.max_calls, carrier.policy.re_invite), (Some(100), Some(ReInvite::Always)));
        assert_eq!(
            (backup.targets[0].peer.to_string(), backup.policy.re_invite),
            ("127.0.0.2:5060".into(), None)
        );
        let trunk_of = |transport, peer: &str| {
            let peer = peer.parse().unwrap();
            call.trunk_of(&Flow { transport, listener: 0, connection: 0, peer })
        };
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            assert_eq!(trunk_of(transport, "198.51.100.9:1234"), Some(0));
            assert_eq!(trunk_of(transport, "203.0.113.7:5062"), Some(0));
            assert_eq!(trunk_of(transport, "203.0.113.7:5060"), None);
        }
        for transport in [Transport::Ws, Transport::Wss] {
            assert_eq!(trunk_of(transport, "198.51.100.9:1234"), None, "a browser there, or a proxy");
        }
        let to = |place: usize| call.routes[place].to.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (to(0), to(1)),
            (vec!["trunk:backup".into(), "trunk:carrier".into()], vec!["user:alice".into()])
        );
    }

    #[test]
    fn a_trunk_at_an_ipv6_address_is_called_in_brackets() {
        for (uri, host, peer) in [
            ("sip:[2001:db8::1]:5080", "[2001:db8::1]:5080", "[2001:db8::1]:5080"),
            ("sip:[2001:DB8:0::1];transport=tcp", "[2001:db8::1];transport=tcp", "[2001:db8::1]:5060"),
        ] {
            let call = settings(&WHOLE.replace("sip:127.0.0.1:5080;transport=tcp", uri)).call;
            assert_eq!(&*call.trunks[0].host, host);
            assert_eq!(call.trunks[0].targets[0].peer.to_string(), peer);
            let uri = format!("sip:9123@{host}");
            assert!(crate::wire::sip::Uri::parse(&uri).is_ok(), "{uri}");
        }
    }
}
