//! The way to a capture server: datagrams, or a stream that is made again when it broke.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::{HepServer, HepTransport};

/// What a connection may take until it is there.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a packet may take to go out by a stream: a server that does not read holds up nobody for longer.
const WRITE: Duration = Duration::from_secs(5);

/// What a server has to prove; `None` where it is not asked to.
pub(super) type Proof = Option<(Arc<ClientConfig>, ServerName<'static>)>;

pub(super) struct Line {
    server: HepServer,
    proof: Proof,
    open: Option<Open>,
}

enum Open {
    Datagrams(UdpSocket),
    Stream(Box<dyn AsyncWrite + Send + Sync + Unpin>),
}

impl Line {
    pub(super) fn new(server: HepServer, proof: Proof) -> Self {
        Self { server, proof, open: None }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Finds the server and, but for datagrams, connects.
    ///
    /// # Errors
    /// It has no address, does not answer in time, or does not prove its name.
    pub(super) async fn open(&mut self) -> io::Result<()> {
        let opened = tokio::time::timeout(CONNECT, self.connect()).await;
        self.open = Some(opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Open> {
        let place = (&*self.server.host, self.server.port);
        if self.server.transport == HepTransport::Udp {
            let to = lookup_host(place).await?.next().ok_or(io::ErrorKind::NotFound)?;
            let from: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(from).await?;
            socket.connect(to).await?;
            return Ok(Open::Datagrams(socket));
        }
        let stream = TcpStream::connect(place).await?;
        stream.set_nodelay(true)?;
        let Some((config, name)) = &self.proof else { return Ok(Open::Stream(Box::new(stream))) };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
        Ok(Open::Stream(Box::new(stream)))
    }

    /// Sends a packet. Of a stream that failed nothing is known any more: it is closed.
    ///
    /// # Errors
    /// It did not go out.
    pub(super) async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        let sent = match &mut self.open {
            None => return Err(io::ErrorKind::NotConnected.into()),
            // A packet that nobody took is told with a later one (ICMP): the socket stays good.
            Some(Open::Datagrams(socket)) => return socket.send(packet).await.map(drop),
            Some(Open::Stream(stream)) => {
                let sent = tokio::time::timeout(WRITE, stream.write_all(packet)).await;
                sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        };
        if sent.is_err() {
            self.open = None;
        }
        sent
    }

    /// What was written goes out.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let Some(Open::Stream(stream)) = &mut self.open else { return Ok(()) };
        let done = tokio::time::timeout(WRITE, stream.flush()).await;
        let done = done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if done.is_err() {
            self.open = None;
        }
        done
    }

    /// The next packet looks for the server anew, whose address may have changed.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}
