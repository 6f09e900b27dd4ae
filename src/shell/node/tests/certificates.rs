//! Certificates: chosen by name, exchanged while connections stay, asked of clients, proved by trunks.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::super::tls::{Demands, FORMER, Proof, Proofs};
use super::secured::*;
use super::*;
use crate::shell::phone::{Message, Options, Phone};

/// The certificate that the node shows to who asks for `name`.
async fn shown(node: &Node, authority: &Authority, name: &str) -> CertificateDer<'static> {
    let stream = tls(node, Transport::Tls, authority.client(), name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn written(dir: &Path, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap()
}

#[test]
fn a_changed_certificate_is_live_within_five_seconds_and_open_connections_stay() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let node = start(dir.path(), &listens(""));
    runtime().block_on(async {
        let mut old = tls(&node, Transport::Tls, authority.client(), "pbx.test").await.unwrap();
        ask_stream(&mut old, "TLS", "before").await;
        let before = written(dir.path(), "own");
        assert_eq!(shown(&node, &authority, "pbx.test").await, before);
        // What is of no use changes nothing: the former one stays.
        std::fs::write(dir.path().join("own.key"), "nothing").unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(shown(&node, &authority, "pbx.test").await, before);
        authority.write(dir.path(), "own", &["pbx.test"]);
        let (begun, after) = (Instant::now(), written(dir.path(), "own"));
        assert_ne!(before, after);
        while shown(&node, &authority, "pbx.test").await != after {
            assert!(begun.elapsed() < Duration::from_secs(5), "not live in five seconds");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let answer = ask_stream(&mut old, "TLS", "after").await;
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    });
}

#[test]
fn a_client_gets_the_certificate_of_the_name_that_it_asks_for_in_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for (file, names) in [("own", &["pbx.test"][..]), ("other", &["*.example.com", "other.test"])] {
        authority.write(dir.path(), file, names);
    }
    let more = "[[listen.certificate]]\ncert = \"other.pem\"\nkey = \"other.key\"\n";
    let node = start(dir.path(), &listens(more));
    runtime().block_on(async {
        let (own, other) = (written(dir.path(), "own"), written(dir.path(), "other"));
        for (name, expected) in [("pbx.test", &own), ("other.test", &other), ("sip.example.com", &other)] {
            assert_eq!(shown(&node, &authority, name).await, *expected, "{name}");
        }
        // A name of nobody's gets the first, which the client does not take.
        assert!(tls(&node, Transport::Tls, authority.client(), "nobody.test").await.is_err());
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        for version in [&TLS12, &TLS13] {
            let provider = tokio_rustls::rustls::crypto::ring::default_provider();
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let mut stream = tls(&node, Transport::Tls, config, "pbx.test").await.unwrap();
            assert!(ask_stream(&mut stream, "TLS", "v").await.starts_with("SIP/2.0 200 "));
        }
    });
}

#[test]
fn a_client_without_the_certificate_that_is_asked_of_it_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.write(dir.path(), "own", &["pbx.test"]);
    std::fs::write(dir.path().join("clients.pem"), authority.pem()).unwrap();
    let node = start(dir.path(), &listens("client_ca = \"clients.pem\"\n"));
    let with = |signer: &Authority| {
        let (cert, key) = signer.sign(&["desk.test"]);
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        authority.trusting().with_client_auth_cert(chain, key).unwrap()
    };
    runtime().block_on(async {
        let mut stream = tls(&node, Transport::Tls, with(&authority), "pbx.test").await.unwrap();
        assert!(ask_stream(&mut stream, "TLS", "a").await.starts_with("SIP/2.0 200 "));
        for config in [authority.client(), with(&stranger)] {
            // In TLS 1.3 the client is done first: what it learns of the refusal comes with the first read.
            let Ok(mut stream) = tls(&node, Transport::Tls, config, "pbx.test").await else { continue };
            let question = options("TLS", "127.0.0.1:9".parse().unwrap(), "b");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, question.as_bytes()).await;
            let mut bytes = Vec::new();
            let read = within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes)).await;
            assert!(read.is_err() && bytes.is_empty(), "{:?}", String::from_utf8_lossy(&bytes));
        }
    });
}

/// A trunk under TLS that refuses one call with 486, if it is called at all.
async fn trunk(
    listener: &tokio::net::TcpListener,
    authority: &Authority,
    name: &str,
) -> std::io::Result<String> {
    let (cert, key) = authority.sign(&[name]);
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    let (stream, _) = listener.accept().await?;
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    let invite = read_message(&mut stream).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, busy(&invite).as_bytes()).await?;
    read_message(&mut stream).await;
    Ok(invite)
}

#[test]
fn a_trunk_proves_its_name_or_is_not_called() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    std::fs::write(dir.path().join("trunks.pem"), authority.pem()).unwrap();
    for (name, expected) in [("127.0.0.1", 486), ("elsewhere.test", 503)] {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let more = listens("")
                + &format!(
                    "[[trunk]]\nname = \"carrier\"\nuri = \"sip:{};transport=tls\"\nca = \"trunks.pem\"\n\
                     [[route]]\nmatch = '^9'\nto = [\"trunk:carrier\"]\n",
                    listener.local_addr().unwrap()
                );
            let node = std::thread::scope(|scope| scope.spawn(|| start(dir.path(), &more)).join().unwrap());
            let server = address(&node, Transport::Udp);
            let calling = async {
                let options = Options::new("alice", "pbx.test", server).login("alice-desk", PASSWORD);
                let alice = Phone::start(options).await.unwrap();
                alice.register(300).await.unwrap();
                let begun = Instant::now();
                let Err(error) = alice.call("9123").await else { panic!("the call goes through") };
                assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
                error.response().and_then(Message::status)
            };
            let (status, called) = tokio::join!(calling, trunk(&listener, &authority, name));
            assert_eq!(status, Some(expected), "{name}");
            assert_eq!(
                called.is_ok_and(|invite| invite.contains("Via: SIP/2.0/TLS ")),
                expected == 486,
                "{name}"
            );
            std::thread::scope(|scope| drop(scope.spawn(|| drop(node))));
        });
    }
}

/// Whether a server with a certificate for `names` gets a connection of which this is demanded.
async fn is_taken(demands: &Demands, authority: &Authority, names: &[&str]) -> bool {
    let (cert, key) = authority.sign(names);
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(demands.config().unwrap()));
    let (connected, _) = tokio::join!(
        connector.connect(demands.name().unwrap(), near),
        TlsAcceptor::from(Arc::new(server)).accept(far)
    );
    connected.is_ok()
}

#[test]
fn a_connection_is_shared_by_the_trunks_of_an_address_only_if_it_proves_the_names_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    for (file, authority) in [("one.pem", &authority), ("two.pem", &other)] {
        std::fs::write(dir.path().join(file), authority.pem()).unwrap();
    }
    let proof = |name: &str, file: &str| Proof::of(name, Some(&dir.path().join(file))).unwrap();
    let at = |last: u8| SocketAddr::from(([192, 0, 2, last], 5061));
    let proofs = Proofs::default();
    let now = Instant::now();
    proofs.demand(0, vec![at(1), at(2)], proof("a.test", "one.pem"), now);
    proofs.demand(1, vec![at(2)], proof("b.test", "one.pem"), now);
    proofs.demand(2, vec![at(3)], proof("a.test", "two.pem"), now);
    runtime().block_on(async {
        let (one, both) = (proofs.of(at(1), now), proofs.of(at(2), now));
        assert!(is_taken(&one, &authority, &["a.test"]).await);
        assert!(!is_taken(&one, &authority, &["b.test"]).await);
        assert!(is_taken(&both, &authority, &["a.test", "b.test"]).await);
        assert!(!is_taken(&both, &authority, &["a.test"]).await, "the second trunk is not proved");
        assert!(!is_taken(&both, &authority, &["b.test"]).await, "nor the first");
        assert!(!is_taken(&proofs.of(at(3), now), &authority, &["a.test"]).await, "another authority");
        assert!(is_taken(&proofs.of(at(3), now), &other, &["a.test"]).await);
        // What stands may serve who demands no more.
        assert!(both.cover(&one) && !one.cover(&both));
    });
    assert!(proofs.of(at(9), now).name().is_none(), "nobody's address");
}

#[test]
fn a_carrier_whose_addresses_change_is_still_reached_at_those_of_before() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.pem"), Authority::new().pem()).unwrap();
    let proof = Proof::of("a.test", Some(&dir.path().join("one.pem"))).unwrap();
    let (proofs, at) = (Proofs::default(), |last: u8| SocketAddr::from(([192, 0, 2, last], 5061)));
    let now = Instant::now();
    for last in 0..200 {
        proofs.demand(0, vec![at(last)], proof.clone(), now);
    }
    let known = |later: Duration| -> Vec<u8> {
        (0..=255).filter(|last| proofs.of(at(*last), now + later).name().is_some()).collect()
    };
    assert_eq!(known(Duration::ZERO), (136..200).collect::<Vec<u8>>(), "the newest 64");
    assert_eq!(known(FORMER), [199], "where it is now it always has to be proved");
    // What is told again and again makes nobody of before younger.
    proofs.demand(0, vec![at(199)], proof, now + FORMER);
    assert_eq!(known(Duration::ZERO), [199]);
}

#[test]
fn who_is_at_an_address_now_proves_its_own_name_and_not_that_of_who_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(dir.path().join("one.pem"), authority.pem()).unwrap();
    let proof = |name: &str| Proof::of(name, Some(&dir.path().join("one.pem"))).unwrap();
    let (proofs, at) = (Proofs::default(), |last: u8| SocketAddr::from(([192, 0, 2, last], 5061)));
    let now = Instant::now();
    proofs.demand(0, vec![at(1)], proof("a.test"), now);
    proofs.demand(0, vec![at(2)], proof("a.test"), now);
    runtime().block_on(async {
        let left = proofs.of(at(1), now);
        assert!(is_taken(&left, &authority, &["a.test"]).await, "a dialog that was begun there goes on");
        assert!(!is_taken(&left, &authority, &["b.test"]).await);
        proofs.demand(1, vec![at(1)], proof("b.test"), now);
        let taken = proofs.of(at(1), now);
        assert!(is_taken(&taken, &authority, &["b.test"]).await, "who has come proves who it is");
        assert!(!is_taken(&taken, &authority, &["a.test"]).await);
        assert!(!left.cover(&taken), "a connection of before is not shared");
        // The first comes back, and both are there.
        proofs.demand(0, vec![at(1)], proof("a.test"), now);
        assert!(!is_taken(&proofs.of(at(1), now), &authority, &["b.test"]).await);
        assert!(is_taken(&proofs.of(at(1), now), &authority, &["a.test", "b.test"]).await);
    });
}
