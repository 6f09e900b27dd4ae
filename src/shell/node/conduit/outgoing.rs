//! Connections of our own making: to peers whose names are proved.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::census::{Arrival, Census, Seat};
use super::super::stream::tune;
use super::Door;
use super::carry::carry;
use super::listener::Presence;
use super::outbox::Outbox;
use super::wire::StreamWire;
use crate::sip::Flow;

/// A seat for a connection to `peer`.
pub(super) fn seat(census: &Arc<Census>, peer: SocketAddr) -> Option<Seat> {
    census.admit(peer.ip(), Arrival::Ours)
}

/// Connects, from `from` where that is one address, and carries what waits in `outbox` and all that follows.
pub(super) async fn call(
    flow: Flow,
    from: IpAddr,
    (name, config): (ServerName<'static>, Arc<ClientConfig>),
    outbox: Arc<Outbox>,
    seat: Seat,
    door: Arc<Door>,
) {
    let presence = Presence { flow, door: &door };
    let connecting = connect(flow.peer, from, name.clone(), config);
    match Box::pin(timeout(door.bounds.connect, connecting)).await {
        Ok(Ok(stream)) => {
            let wire = StreamWire::new(Box::new(stream), door.limits, flow);
            carry(wire, flow, &seat, &outbox, &door).await;
        }
        Ok(Err(error)) => tracing::warn!(%flow, ?name, %error, "no TLS connection"),
        Err(_) => tracing::warn!(%flow, ?name, "a TLS connection takes too long"),
    }
    drop(presence);
}

async fn connect(
    peer: SocketAddr,
    from: IpAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if !from.is_unspecified() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(peer).await?;
    tune(&socket2::SockRef::from(&stream));
    TlsConnector::from(config).connect(name, stream).await
}
