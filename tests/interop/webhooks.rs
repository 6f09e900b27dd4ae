//! Webhooks of the built binary: nothing is lost and nothing changes places, whether the receiver dies or the node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::house::{BOB_HZ, DESK_HZ, SOON, device, phone};
use crate::node::{Node, Settings, free_port};

/// Its base64 is the key of the tests.
const KEY: [u8; 32] = *b"thirty-two bytes that sign hooks";

/// What a receiver was told.
#[derive(Clone, Debug)]
struct Told {
    id: String,
    event: Value,
}

/// All that receivers at one address were told, however often they were started.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Vec<Told>>>);

impl Ledger {
    /// Each event once, in the order in which it first came.
    fn once(&self) -> Vec<Told> {
        let mut seen = std::collections::BTreeSet::new();
        self.0.lock().unwrap().iter().filter(|told| seen.insert(told.id.clone())).cloned().collect()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[Told]) -> bool) {
        let waiting = async {
            while !is_so(&self.once()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        reached.unwrap_or_else(|_| panic!("{what}: {:#?}", self.once().iter().map(kind).collect::<Vec<_>>()));
    }
}

fn kind(told: &Told) -> String {
    told.event["type"].as_str().unwrap().to_owned()
}

/// A receiver that answers 200. Dropped, it is gone with all its connections.
struct Receiver(#[expect(dead_code, reason = "holds the tasks")] JoinSet<()>);

impl Receiver {
    async fn start(at: SocketAddr, ledger: &Ledger, tls: Option<TlsAcceptor>) -> Self {
        let (listener, ledger) = (TcpListener::bind(at).await.expect("the port is free"), ledger.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (ledger, tls) = (ledger.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &ledger).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &ledger).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self(tasks)
    }
}

/// Takes requests until the connection ends; what is wrong with one fails the test by its absence.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, ledger: &Ledger) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = BTreeMap::new();
        let mut line = String::new();
        while stream.read_line(&mut line).await.ok()? > 2 {
            if let Some((name, value)) = line.trim_end().split_once(": ") {
                head.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            line.clear();
        }
        let mut body = vec![0; head.get("content-length")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let (id, at) = (head.get("webhook-id")?, head.get("webhook-timestamp")?);
        let mut block = [0; 64];
        block[..32].copy_from_slice(&KEY);
        let mut mac = Hmac::<sha2::Sha256>::new(&block.into());
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(&body);
        let signature = format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes()));
        assert_eq!(head.get("webhook-signature"), Some(&signature));
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["id"].as_str(), Some(id.as_str()));
        ledger.0.lock().unwrap().push(Told { id: id.clone(), event });
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok()?;
    }
}

fn settings(url: &str, more: &str) -> Settings {
    let key = Base64::encode_string(&KEY);
    let more = format!(
        "[[webhook]]\nname = \"test\"\nurl = \"{url}\"\nsecret = \"whsec_{key}\"\n\
         events = [\"call.*\", \"move.*\", \"cdr\"]\n{more}"
    );
    Settings { more, ..Settings::default() }
}

/// One call after the other from alice to bob.
async fn calls(node: &Node, count: usize) {
    let desk = phone(device(node, "alice", "desk", DESK_HZ)).await;
    let bob = phone(device(node, "bob", "desk", BOB_HZ)).await;
    for _ in 0..count {
        let call = desk.call("bob").await.expect("an answer");
        let there = bob.answered(SOON).await.expect("a call");
        call.hang_up().await.expect("an answer to BYE");
        there.ended(SOON).await.expect("a BYE");
    }
}

/// Whether so many calls are told of, wholly.
fn are_whole(told: &[Told], count: usize) -> bool {
    told.iter().filter(|told| kind(told) == "cdr").count() >= count
}

/// Each call has all its events in their order, and all events stand in the order in which they happened.
fn assert_complete(told: &[Told], count: usize) {
    assert!(told.windows(2).all(|pair| pair[0].id < pair[1].id), "ids rise: none changed places");
    let mut by_call = BTreeMap::<String, Vec<String>>::new();
    for told in told {
        by_call.entry(told.event["call"].as_str().unwrap().to_owned()).or_default().push(kind(told));
    }
    assert_eq!(by_call.len(), count, "calls");
    for (call, kinds) in by_call {
        assert_eq!(kinds, ["call.ringing", "call.answered", "call.ended", "cdr"], "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_for_seconds_misses_nothing() {
    let (at, ledger) = (free_port(), Ledger::default());
    let receiver = Receiver::start(at, &ledger, None).await;
    let node = Node::start(&settings(&format!("http://{at}/hook?token=s3cret"), "")).await;
    let count = 12;
    let calling = calls(&node, count);
    let dying = async {
        ledger.until("some calls", |told| are_whole(told, 2)).await;
        drop(receiver);
        node.measures("segue_webhook_failed_total{webhook=\"test\"}", |failed| failed >= 1.0).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Receiver::start(at, &ledger, None).await
    };
    let ((), _receiver) = tokio::join!(calling, dying);
    ledger.until("every call", |told| are_whole(told, count)).await;
    assert_complete(&ledger.once(), count);
    node.measures("segue_webhook_pending{webhook=\"test\"}", |pending| pending == 0.0).await;
    let delivered = node.metric("segue_webhook_delivered_total{webhook=\"test\"}").await;
    assert_eq!(delivered, Some(4.0 * count as f64));
    let log = node.log();
    assert!(log.contains("events are delivered again"), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("whsec_"), "no secret is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_before_the_node_was_killed_is_delivered_after() {
    let (at, ledger) = (free_port(), Ledger::default());
    let mut node = Node::start(&settings(&format!("http://{at}/"), "")).await;
    calls(&node, 3).await;
    // All of it is on disk, and nobody has taken it.
    node.measures("segue_webhook_pending{webhook=\"test\"}", |pending| pending == 12.0).await;
    node.kill();
    let _receiver = Receiver::start(at, &ledger, None).await;
    node.restart(None).await;
    ledger.until("every call", |told| are_whole(told, 3)).await;
    calls(&node, 1).await;
    ledger.until("the call after", |told| are_whole(told, 4)).await;
    assert_complete(&ledger.once(), 4);
    node.measures("segue_webhook_pending{webhook=\"test\"}", |pending| pending == 0.0).await;
}

/// A certificate of 127.0.0.1, as PEM beside the test, and who serves with it.
fn papers(dir: &Path, name: &str) -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (path.to_str().unwrap().to_owned(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_somebody_else_gets_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let ((right, acceptor), (wrong, _)) = (papers(dir.path(), "right.pem"), papers(dir.path(), "wrong.pem"));
    let (at, ledger) = (free_port(), Ledger::default());
    let _receiver = Receiver::start(at, &ledger, Some(acceptor)).await;
    let with = |ca: &str| settings(&format!("https://{at}/"), &format!("ca = {ca:?}\n"));
    let mut node = Node::start(&with(&wrong)).await;
    calls(&node, 1).await;
    node.measures("segue_webhook_failed_total{webhook=\"test\"}", |failed| failed >= 2.0).await;
    assert!(ledger.once().is_empty());
    assert!(node.log().contains("invalid peer certificate"), "the log says why");
    node.kill();
    node.restart(Some(&with(&right))).await;
    ledger.until("the call", |told| are_whole(told, 1)).await;
    assert_complete(&ledger.once(), 1);
}
