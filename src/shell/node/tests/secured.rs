//! What the tests of TLS and WebSocket have in common: certificates, a node that listens, clients.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

/// An authority and what it has signed, in a directory.
pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (certificate, pem) = (own.der().clone(), own.pem());
        Self { certificate, pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// Signs a certificate for `names`; PEM of it and of its key.
    pub(super) fn sign(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The same into `NAME.pem` and `NAME.key`.
    pub(super) fn write(&self, dir: &Path, name: &str, names: &[&str]) {
        let (cert, key) = self.sign(names);
        std::fs::write(dir.join(format!("{name}.pem")), cert).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key).unwrap();
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Who trusts it.
    pub(super) fn client(&self) -> ClientConfig {
        self.trusting().with_no_client_auth()
    }

    pub(super) fn trusting(
        &self,
    ) -> tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>
    {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
    }
}

/// Sections for all transports on loopback; `more` stands in each of those under TLS.
pub(super) fn listens(more: &str) -> String {
    let mut text = String::new();
    for (uri, port) in [("tls", 5061), ("ws", 5080), ("wss", 5443)] {
        let _ = write!(text, "[[listen]]\nuri = \"{uri}://127.0.0.1:{port}\"\n");
        if uri != "ws" {
            let _ = write!(text, "cert = \"own.pem\"\nkey = \"own.key\"\n{more}");
        }
    }
    text
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("in time")
}

/// A TLS connection to the node, which is asked for under `name`.
pub(super) async fn tls(
    node: &Node,
    transport: Transport,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let stream = tokio::net::TcpStream::connect(address(node, transport)).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// A request for a WebSocket as a SIP client makes it, changed by `change`.
pub(super) fn opening(host: &str, change: impl FnOnce(&mut Request)) -> Request {
    let mut request = format!("ws://{host}/").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
    change(&mut request);
    request
}

/// Opens a WebSocket on a stream.
pub(super) async fn open<S>(stream: S, request: Request) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(tokio_tungstenite::client_async(request, stream)).await.map(|(socket, response)| {
        assert_eq!(response.headers().get("sec-websocket-protocol").unwrap(), "sip");
        socket
    })
}

pub(super) async fn ws(node: &Node) -> WebSocketStream<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address(node, Transport::Ws)).await.unwrap();
    open(stream, opening("127.0.0.1", |_| ())).await.unwrap()
}

/// Sends a message and gives the next one that is SIP.
pub(super) async fn ask<S>(socket: &mut WebSocketStream<S>, text: String) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(socket.send(Message::text(text))).await.unwrap();
    answer(socket).await.expect("an answer")
}

/// The next message; `None` when the node has closed.
pub(super) async fn answer<S>(socket: &mut WebSocketStream<S>) -> Option<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match within(socket.next()).await {
            Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => return Some(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
        }
    }
}

/// One message without a body from a stream.
pub(super) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// OPTIONS on a stream, and its answer.
pub(super) async fn ask_stream(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    transport: &str,
    id: &str,
) -> String {
    let question = options(transport, "127.0.0.1:9".parse().unwrap(), id);
    within(stream.write_all(question.as_bytes())).await.unwrap();
    within(stream.flush()).await.unwrap();
    read_message(stream).await
}

/// OPTIONS of a browser, which does not know its address (RFC 7118 5.2), and without Content-Length.
pub(super) fn browser_options(transport: &str, id: &str) -> String {
    options(transport, "127.0.0.1:9".parse().unwrap(), id)
        .replace("127.0.0.1:9", "df7jal23ls0d.invalid")
        .replace("Content-Length: 0\r\n", "")
}
