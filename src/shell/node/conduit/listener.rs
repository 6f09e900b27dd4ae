//! Who comes in at a listener: let in by the census, through the handshakes, within a patience.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::super::census::{Arrival, Seat};
use super::super::stream::{is_out_of_resources, tune};
use super::super::tls::ServerTls;
use super::carry::carry;
use super::origin::Pages;
use super::outbox::Outbox;
use super::upgrade::upgrade;
use super::wire::{SocketWire, StreamWire, Wire};
use super::{Door, News};
use crate::shell::files::Seldom;
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
        let mut seldom = Seldom::default();
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_out_of_resources(&error) => {
                    if seldom.is_due() {
                        tracing::warn!(%error, "no room for one more connection (ulimit -n, LimitNOFILE=)");
                    }
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
            let shaken = Box::pin(in_time(&door, tls.acceptor().accept(socket))).await;
            match shaken {
                Some(Ok(stream)) => speak(Box::new(stream), (flow, at), seat, &speech, &door).await,
                Some(Err(error)) => tracing::debug!(%flow, %error, "no TLS"),
                None => tracing::debug!(%flow, "a TLS handshake takes too long"),
            }
        }
    }
}

/// Waits for a handshake, but not for long where many wait: silence takes no places from those who speak.
async fn in_time<T>(door: &Door, shaking: impl Future<Output = T>) -> Option<T> {
    let (patience, begun) = (door.bounds.patience, Instant::now());
    let mut shaking = pin!(shaking);
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        match timeout(left.min(door.bounds.hurry), &mut shaking).await {
            Ok(shaken) => return Some(shaken),
            Err(_) if begun.elapsed() >= patience || door.census.is_crowded() => return None,
            Err(_) => {}
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
    let upgraded = Box::pin(in_time(door, upgrade(&mut stream, &is_welcome))).await;
    match upgraded {
        Some(Ok(rest)) => {
            seat.settle();
            let wire = SocketWire::new(stream, rest, door.limits).await;
            attend(wire, flow, &seat, door).await;
        }
        Some(Err(refused)) => tracing::debug!(%flow, ?refused, "no WebSocket"),
        None => tracing::debug!(%flow, "the opening of a WebSocket takes too long"),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::bounds::Bounds;
    use super::super::super::census::Census;
    use super::*;
    use crate::shell::files::drained;
    use crate::wire::sip::Limits;

    #[tokio::test(start_paused = true)]
    async fn a_silent_handshake_is_let_go_soon_where_many_wait() {
        let bounds = Bounds { handshakes: 4, handshakes_each: 4, ..Bounds::default() };
        let census = Census::new(bounds);
        let door = Door::new(bounds, Limits::default(), Arc::clone(&census), |_| ());
        let lasts = async || {
            let begun = Instant::now();
            assert_eq!(in_time(&door, std::future::pending::<()>()).await, None);
            begun.elapsed()
        };
        let peer = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let _first = census.admit(peer, Arrival::Handshake).unwrap();
        let long = lasts().await;
        assert!(long >= bounds.patience && long < bounds.patience + bounds.hurry, "{long:?}");
        let _second = census.admit(peer, Arrival::Handshake).unwrap();
        let short = lasts().await;
        assert!(short >= bounds.hurry && short < 2 * bounds.hurry, "{short:?}");
        assert_eq!(in_time(&door, async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn without_a_file_for_one_more_the_others_wait_and_are_served_later() {
        let path = "shell::node::conduit::listener::tests::without_a_file_for_one_more_the_others_wait_and_are_served_later";
        if !drained::is_here(path) {
            return;
        }
        let pause = Duration::from_millis(20);
        let bounds = Bounds { pause, ..Bounds::default() };
        let (told, mut news) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |news| {
            let _ = told.send(matches!(news, News::Opened { .. }));
        };
        let door = Door::new(bounds, Limits::default(), Census::new(bounds), tell);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let all = drained::take_all();
        let speech = Speech { tls: None, pages: None };
        let listening = Listening { number: 0, transport: Transport::Ws, speech };
        let serving = tokio::spawn(listening.serve(listener, door));
        assert!(timeout(pause * 4, news.recv()).await.is_err(), "nobody is let in");
        drop(all);
        let opened = timeout(Duration::from_secs(10), news.recv()).await;
        assert_eq!(opened.unwrap(), Some(true), "who waited is let in later");
        serving.abort();
        drop(peer);
    }
}
