//! What the configuration means on this machine: addresses found out, names resolved, threads counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use super::StartError;
use crate::call::settings as call;
use crate::config::{self, HostPort, Listen, Resolved, RouteTarget};
use crate::engine;
use crate::media::plan::Screen;
use crate::moving::ReInvite;
use crate::sip::Transport;

/// The engine's settings for listeners that are bound to `bound`, in the order of the configuration.
///
/// # Errors
/// A trunk whose name cannot be resolved.
pub(super) fn engine(
    resolved: &Resolved,
    bound: &[SocketAddr],
    media_threads: usize,
) -> Result<engine::Settings, StartError> {
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
        trunks: resolved.trunks.iter().map(|one| trunk(one, resolved)).collect::<Result<_, _>>()?,
        routes: resolved.routes.iter().map(|(pattern, to)| route(pattern, to, resolved)).collect(),
        echo: resolved.moving.codes.echo.clone(),
        tone: resolved.moving.codes.tone.clone(),
        limits: call::Limits::default(),
    };
    let ban = &resolved.auth.ban;
    Ok(engine::Settings {
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
        },
        realm: resolved.auth.realm.clone(),
    })
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
fn outward(is_v4: bool) -> IpAddr {
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
        learning: media.learning,
        threads,
        screen: Screen {
            own_addresses,
            own_ports: media.ports.0..=media.ports.1,
            limits: crate::wire::sdp::Limits::default(),
        },
    }
}

fn trunk(trunk: &config::Trunk, resolved: &Resolved) -> Result<call::Trunk, StartError> {
    let port = trunk.host.port.unwrap_or(if trunk.transport == Transport::Tls { 5061 } else { 5060 });
    let unresolved =
        |why: String| StartError::Trunk { name: trunk.name.clone(), host: trunk.host.host.clone(), why };
    let wants_v4 =
        resolved.listens.iter().any(|listen| listen.transport == trunk.transport && listen.bind.is_ipv4());
    let addresses =
        (&*trunk.host.host, port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_by_key(|address| address.is_ipv4() != wants_v4);
    let peer = addresses.first().copied().ok_or_else(|| unresolved("the name has no address".into()))?;
    let re_invite = trunk.re_invite.unwrap_or(resolved.moving.re_invite);
    let transport = if trunk.transport == Transport::Udp { "" } else { trunk.transport.uri_token() };
    let mut host = trunk.host.host.to_string();
    if let Some(port) = trunk.host.port {
        host += &format!(":{port}");
    }
    if !transport.is_empty() {
        host += &format!(";transport={transport}");
    }
    Ok(call::Trunk {
        name: trunk.name.clone(),
        host: host.into(),
        peer,
        transport: trunk.transport,
        from: trunk
            .from
            .iter()
            .map(|network| call::Source {
                network: network.address(),
                prefix: network.prefix(),
                port: network.port(),
            })
            .collect(),
        max_calls: trunk.max_calls,
        re_invite_always: re_invite == ReInvite::Always,
    })
}

fn route(pattern: &regex::Regex, to: &[RouteTarget], resolved: &Resolved) -> call::Route {
    let trunks = to.iter().filter_map(|target| match target {
        RouteTarget::Trunk(name) => resolved.trunks.iter().position(|trunk| trunk.name == *name),
        RouteTarget::User(_) => None,
    });
    let user = to.iter().find_map(|target| match target {
        RouteTarget::User(name) => Some(name.clone()),
        RouteTarget::Trunk(_) => None,
    });
    call::Route { pattern: pattern.clone(), user, trunks: trunks.collect() }
}
