//! TLS and WebSocket: a browser as the server sees one, and thousands of connections that lie idle.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use segue::shell::phone::Message as Answer;
use segue::sip::digest::{Challenge, Secret};
use segue::wire::sip::Method;

use crate::house::{DESK_HZ, House, MOBILE_HZ, SOON, device, phone, seamless};
use crate::node::{DOMAIN, Node, PASSWORD, Settings, free_port};

/// A certificate of the domain, and where the node listens with it.
pub(crate) struct Papers {
    dir: TempDir,
    certificate: CertificateDer<'static>,
    pub(crate) tls: SocketAddr,
    pub(crate) wss: SocketAddr,
}

impl Papers {
    pub(crate) fn new() -> Self {
        Self::until(2096)
    }

    /// Good until the end of January of a year.
    fn until(year: i32) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let names = [DOMAIN.to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { dir, certificate: certificate.der().clone(), tls: free_port(), wss: free_port() }
    }

    /// The sections of the configuration.
    pub(crate) fn settings(&self) -> Settings {
        let mut more = String::new();
        let (cert, key) = (self.dir.path().join("cert.pem"), self.dir.path().join("key.pem"));
        for (scheme, at) in [("tls", self.tls), ("wss", self.wss)] {
            let _ = write!(more, "[[listen]]\nuri = \"{scheme}://{at}\"\ncert = {cert:?}\nkey = {key:?}\n");
        }
        Settings { more, ..Settings::default() }
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from(DOMAIN).unwrap()
}

/// A SIP client in a browser, by hand.
struct Browser {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    cseq: u32,
}

impl Browser {
    async fn connect(papers: &Papers) -> Self {
        let stream = TcpStream::connect(papers.wss).await.unwrap();
        let stream = papers.connector().connect(name(), stream).await.unwrap();
        let mut request = format!("wss://{DOMAIN}/").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        request.headers_mut().insert("Origin", format!("https://{DOMAIN}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket, cseq: 0 }
    }

    async fn next(&mut self) -> String {
        loop {
            match tokio::time::timeout(SOON, self.socket.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                Some(Ok(_)) => {}
                other => panic!("the node closed: {other:?}"),
            }
        }
    }

    async fn register(&mut self, authorization: &str) -> String {
        self.cseq += 1;
        let request = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK{0}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@{DOMAIN}>;tag=a\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: browser\r\n\
             CSeq: {0} REGISTER\r\nSupported: path, outbound\r\nContact: <sip:bob-mobile@df7jal23ls0d.invalid;transport=ws>\
             ;reg-id=1;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";expires=600\r\n{authorization}\r\n",
            self.cseq
        );
        self.socket.send(Message::text(request)).await.unwrap();
        self.next().await
    }
}

fn line<'m>(message: &'m str, name: &str) -> &'m str {
    message.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{message}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_registers_over_its_flow_is_called_on_it_and_ends_with_it() {
    let papers = Papers::new();
    let node = Node::start(&papers.settings()).await;
    let mut browser = Browser::connect(&papers).await;
    let challenged = browser.register("").await;
    let challenge = line(&challenged, "WWW-Authenticate: ").trim_start_matches("WWW-Authenticate: ");
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    let uri = format!("sip:{DOMAIN}");
    let answer = challenge
        .answer("bob-mobile", Secret::Password(PASSWORD), &Method::Register, &uri, "0a4f113b", 1)
        .unwrap();
    let accepted = browser.register(&format!("Authorization: {answer}\r\n")).await;
    assert!(accepted.starts_with("SIP/2.0 200 "), "{accepted}");
    assert!(line(&accepted, "Require: ").contains("outbound"), "{accepted}");
    line(&accepted, "Flow-Timer: ");
    // RFC 7118: what it is sent comes over its connection, whatever its Contact says.
    let desk = phone(device(&node, "alice", "desk", 400)).await;
    let (called, invite) = tokio::join!(desk.call("bob"), async {
        let invite = browser.next().await;
        let mut reply = String::from("SIP/2.0 486 Busy Here\r\n");
        for name in ["Via: ", "From: ", "Call-ID: ", "CSeq: "] {
            let _ = write!(reply, "{}\r\n", line(&invite, name));
        }
        let _ = write!(reply, "{};tag=b\r\n\r\n", line(&invite, "To: "));
        browser.socket.send(Message::text(reply)).await.unwrap();
        invite
    });
    assert!(
        invite.starts_with("INVITE sip:bob-mobile@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n"),
        "{invite}"
    );
    let status = called.err().and_then(|error| error.response().and_then(Answer::status));
    assert_eq!(status, Some(486));
    assert!(node.command(&["registrations", "-o", "json"]).contains("wss"));
    drop(browser);
    let is_gone = async {
        while node.command(&["registrations", "-o", "json"]).contains("wss") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, is_gone).await.expect("the binding ends with its connection");
}

/// A masked text frame (RFC 6455 5.2) with the mask 0.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0xfe][..], &length, &[0; 4], text.as_bytes()].concat()
}

fn options(id: usize) -> String {
    format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@{DOMAIN}>;tag=a\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// One connection that has said something, from an address of this machine.
async fn idle(
    connector: TlsConnector,
    at: SocketAddr,
    from: SocketAddr,
    id: usize,
    web: Web,
) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    let stream = socket.connect(at).await.unwrap();
    let mut stream = connector.connect(name(), stream).await.unwrap();
    let mut bytes = [0; 4096];
    if web == Web::Yes {
        let opening = format!(
            "GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
        );
        stream.write_all(opening.as_bytes()).await.unwrap();
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(bytes[..length].starts_with(b"HTTP/1.1 101 "));
        stream.write_all(&frame(&options(id))).await.unwrap();
    } else {
        stream.write_all(options(id).as_bytes()).await.unwrap();
    }
    let length = stream.read(&mut bytes).await.unwrap();
    assert!(length > 0, "an answer");
    stream
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Web {
    Yes,
    No,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_lapsed_is_named_in_the_log_with_its_date() {
    let papers = Papers::until(2020);
    let node = Node::start(&papers.settings()).await;
    let told = format!("the certificate of {DOMAIN}, 127.0.0.1 lapsed on 2020-01-31");
    let line = async {
        while !node.log().contains(&told) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, line).await.unwrap_or_else(|_| panic!("no {told:?} in\n{}", node.log()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_from_one_address_leaves_a_call_of_others_whole() {
    let papers = Papers::new();
    let house = House::with(&papers.settings()).await;
    let talk = house.talk().await;
    let mark = talk.bob.media().mark();
    let mut kept = Vec::new();
    for round in 0..1500_u32 {
        let socket = TcpSocket::new_v4().unwrap();
        // Another address of this machine.
        socket.bind("127.0.0.66:0".parse().unwrap()).unwrap();
        let at = if round % 2 == 0 { papers.wss } else { papers.tls };
        let Ok(mut stream) = socket.connect(at).await else { continue };
        // The beginning of a handshake that never goes on.
        let _ = stream.write_all(&[22, 3, 1, 2, 0, 1]).await;
        kept.push(stream);
    }
    talk.bob.heard(mark, DESK_HZ, 50, SOON).await.unwrap();
    seamless(&talk.bob.media().report(mark));
    // It can be moved, too, while all of them are there.
    let mobile = house.pull(&talk).await;
    talk.bob.heard(mark, MOBILE_HZ, 25, SOON).await.unwrap();
    seamless(&talk.bob.media().report(mark));
    drop(kept);
    mobile.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten thousand handshakes take a minute or more"]
async fn five_thousand_idle_connections_cost_at_most_40_kb_each() {
    const EACH: usize = 250;
    const SOURCES: u8 = 20;
    for web in [Web::No, Web::Yes] {
        let papers = Papers::new();
        let node = Node::start(&papers.settings()).await;
        let at = if web == Web::Yes { papers.wss } else { papers.tls };
        let connector = papers.connector();
        // What the first few need once is not theirs.
        let mut kept = vec![idle(connector.clone(), at, "127.0.0.1:0".parse().unwrap(), 0, web).await];
        let before = node.memory();
        for source in 2..2 + SOURCES {
            let from = SocketAddr::from(([127, 0, 0, source], 0));
            for batch in 0..EACH / 25 {
                let open = (0..25).map(|one| {
                    let id = (usize::from(source) * EACH + batch * 25 + one) * 2;
                    tokio::spawn(idle(connector.clone(), at, from, id, web))
                });
                for opened in open.collect::<Vec<_>>() {
                    kept.push(opened.await.unwrap());
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let each = (node.memory() - before) / (kept.len() - 1);
        println!("{} idle connections, {web:?}: {each} bytes each", kept.len() - 1);
        assert!(each <= 40_000, "{each} bytes each");
        // They are all there.
        for stream in kept.iter_mut().step_by(500) {
            stream
                .write_all(if web == Web::Yes { &[0x89, 0x80, 0, 0, 0, 0] } else { b"\r\n\r\n" })
                .await
                .unwrap();
            let mut bytes = [0; 16];
            let read = tokio::time::timeout(SOON, stream.read(&mut bytes)).await.expect("in time").unwrap();
            assert!(read > 0, "closed");
        }
    }
}
