//! Who comes in at a listener: let in by the census, through the handshakes, within a patience.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::census::{Arrival, Seat};
use super::super::stream::{is_out_of_resources, tune};
use super::super::tls::ServerTls;
use super::carry::carry;
use super::origin::Pages;
use super::outbox::Outbox;
use super::upgrade::upgrade;
use super::wire::{SocketWire, StreamWire, Wire};
use super::{Door, News};
use crate::sip::{Flow, Transport};

/// What is spoken at a listener.
#[derive(Clone)]
pub(in crate::shell::node) struct Speech {
    /// Under TLS, or in the clear.
    pub(in crate::shell::node) tls: Option<Arc<ServerTls>>,
    /// In WebSocket messages from these pages, or on the stream itself.
    pub(in crate::shell::node) pages: Option<Pages>,
}

/// One listener.
pub(in crate::shell::node) struct Listening {
    /// Its place in the configuration.
    pub(in crate::shell::node) number: u16,
    /// Its transport.
    pub(in crate::shell::node) transport: Transport,
    /// What is spoken.
    pub(in crate::shell::node) speech: Speech,
}

impl Listening {
    /// Lets in whoever comes, for ever.
    pub(in crate::shell::node) async fn serve(self, listener: TcpListener, door: Arc<Door>) {
        let speech = Arc::new(self.speech.clone());
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_out_of_resources(&error) => {
                    tracing::warn!(%error, "no room for one more connection (ulimit -n, LimitNOFILE=)");
                    tokio::time::sleep(door.bounds.pause).await;
                    continue;
                }
                // That one is gone already; the next may not be (accept(2), "Error handling").
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            // Dropped, so closed: an answer would be work for who has too many already.
            let Some(seat) = door.census.admit(peer.ip(), Arrival::Handshake) else { continue };
            let flow = self.flow(peer, &door);
            tokio::spawn(receive(socket, flow, seat, Arc::clone(&speech), Arc::clone(&door)));
        }
    }

    fn flow(&self, peer: SocketAddr, door: &Door) -> Flow {
        Flow { transport: self.transport, listener: self.number, connection: door.number(), peer }
    }
}

/// One connection, from its first byte to its last.
async fn receive(socket: TcpStream, flow: Flow, seat: Seat, speech: Arc<Speech>, door: Arc<Door>) {
    tune(&socket2::SockRef::from(&socket));
    let Ok(at) = socket.local_addr().map(|at| at.ip()) else { return };
    match &speech.tls {
        None => speak(socket, (flow, at), seat, &speech, &door).await,
        Some(tls) => {
            // On the heap for as long as it lasts: a connection that stands does not carry its handshake along.
            let shaken = Box::pin(timeout(door.bounds.patience, tls.acceptor().accept(socket))).await;
            match shaken {
                Ok(Ok(stream)) => speak(Box::new(stream), (flow, at), seat, &speech, &door).await,
                Ok(Err(error)) => tracing::debug!(%flow, %error, "no TLS"),
                Err(_) => tracing::debug!(%flow, "a TLS handshake takes too long"),
            }
        }
    }
}

/// What is spoken above TLS, or without it, with who has come to the address `at`.
async fn speak<S>(
    mut stream: S,
    (flow, at): (Flow, IpAddr),
    mut seat: Seat,
    speech: &Speech,
    door: &Arc<Door>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(pages) = &speech.pages else {
        seat.settle();
        return attend(StreamWire::new(stream, door.limits, flow), flow, &seat, door).await;
    };
    let is_welcome = |origin: &str| pages.welcome(origin, at);
    let upgraded = Box::pin(timeout(door.bounds.patience, upgrade(&mut stream, &is_welcome))).await;
    match upgraded {
        Ok(Ok(rest)) => {
            seat.settle();
            let wire = SocketWire::new(stream, rest, door.limits).await;
            attend(wire, flow, &seat, door).await;
        }
        Ok(Err(refused)) => tracing::debug!(%flow, ?refused, "no WebSocket"),
        Err(_) => tracing::debug!(%flow, "the opening of a WebSocket takes too long"),
    }
}

/// Makes the connection known, carries its messages, and makes its end known.
async fn attend(wire: impl Wire, flow: Flow, seat: &Seat, door: &Arc<Door>) {
    let outbox = Outbox::new(seat.backlog());
    let presence = Presence { flow, door };
    door.tell(News::Opened { flow, outbox: Arc::clone(&outbox) });
    carry(wire, flow, seat, &outbox, door).await;
    drop(presence);
}

/// Tells the end of a connection, however it comes: a task that is dropped, or that has a fault, tells it as well.
pub(super) struct Presence<'d> {
    pub(super) flow: Flow,
    pub(super) door: &'d Door,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.door.tell(News::Closed(self.flow));
    }
}
