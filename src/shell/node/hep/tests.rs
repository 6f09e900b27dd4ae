//! The export to servers on loopback. Every wait has a deadline.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};

use super::packet::tests::read;
use super::*;
use crate::config::{HepServer, HepTransport, Secret};
use crate::sip::Transport;

const SOON: Duration = Duration::from_secs(10);

fn settings(transport: HepTransport, port: u16) -> config::Hep {
    config::Hep {
        server: HepServer { transport, host: "127.0.0.1".into(), port },
        capture_id: 2001,
        name: "edge1".into(),
        password: Some(Secret::new("s3cret")),
        ca: None,
        sip: true,
        except: vec!["OPTIONS".into()],
        rtcp: true,
        quality: true,
    }
}

struct Export {
    hep: Hep,
    counters: Arc<HepCounters>,
    /// Ends after the export.
    _services: tokio::runtime::Runtime,
}

fn start(settings: &config::Hep) -> Export {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let services = builder.worker_threads(1).enable_all().build().unwrap();
    let address = "192.0.2.1:5060".parse().unwrap();
    let loopback = "127.0.0.1:5060".parse().unwrap();
    let listeners = [Listener::new(Transport::Udp, address, loopback)];
    let counters = Arc::new(HepCounters::default());
    let hep = Hep::start(settings, &listeners, services.handle(), Arc::clone(&counters)).unwrap();
    Export { hep, counters, _services: services }
}

impl Export {
    /// Waits until so many are counted.
    fn counted(&self, what: HepCount, count: u64) {
        let deadline = Instant::now() + SOON;
        while self.counters.read(what) != count {
            assert!(Instant::now() < deadline, "{what:?}: {}", self.counters.read(what));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn flow(peer: &str) -> Flow {
    Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: peer.parse().unwrap() }
}

fn message(method: &str, call_id: &str, more: &str) -> Bytes {
    let text = format!(
        "{method} sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n{more}\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    Bytes::from(text)
}

struct Server(UdpSocket);

impl Server {
    fn new() -> (Self, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let port = socket.local_addr().unwrap().port();
        (Self(socket), port)
    }

    fn next(&self) -> std::collections::BTreeMap<u16, Vec<u8>> {
        let mut room = [0; 65_536];
        let length = self.0.recv(&mut room).unwrap();
        read(&room[..length])
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn messages_go_out_masked_with_their_ends_and_the_dialog_of_their_caller() {
    let (server, port) = Server::new();
    let export = start(&settings(HepTransport::Udp, port));
    let tap = export.hep.tap();
    let proof = "Authorization: Digest username=\"alice\", response=\"0123456789abcdef0123456789abcdef\"\r\n";
    tap.message(flow("198.51.100.7:5080"), false, &message("OPTIONS", "zero", ""));
    tap.message(flow("198.51.100.7:5080"), false, &message("INVITE", "one", proof));
    export.hep.capture(Capture::Dialog { call_id: "two".into(), caller: "one".into() });
    tap.message(flow("127.0.0.1:5080"), true, &message("INVITE", "two", ""));

    let first = server.next();
    assert_eq!((&first[&3][..], &first[&4][..]), (&[198, 51, 100, 7][..], &[192, 0, 2, 1][..]));
    assert_eq!((&first[&7][..], &first[&8][..]), (&5080_u16.to_be_bytes()[..], &5060_u16.to_be_bytes()[..]));
    assert!(text(&first[&15]).starts_with("INVITE sip:bob"), "what is left out is not there");
    assert!(text(&first[&15]).contains("Authorization: ") && !text(&first[&15]).contains("0123456789abcdef"));
    assert_eq!((text(&first[&14]), text(&first[&19])), ("s3cret", "edge1"));
    assert_eq!(first.get(&17), None, "the caller's own dialog");
    let second = server.next();
    assert_eq!((&second[&3][..], &second[&4][..]), (&[127, 0, 0, 1][..], &[127, 0, 0, 1][..]), "sent");
    assert_eq!((&second[&7][..], text(&second[&17])), (&5060_u16.to_be_bytes()[..], "one"));
    // A packet is counted once it is gone, a moment after it is here.
    export.counted(HepCount::Sip, 2);
}

#[test]
fn a_stream_that_broke_is_made_again_and_what_it_missed_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let export = start(&settings(HepTransport::Tcp, address.port()));
    let tap = export.hep.tap();
    let take = |listener: &TcpListener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut head = [0; 6];
        stream.read_exact(&mut head).unwrap();
        let mut packet = head.to_vec();
        packet.resize(usize::from(u16::from_be_bytes([head[4], head[5]])), 0);
        stream.read_exact(&mut packet[6..]).unwrap();
        text(&read(&packet)[&15]).to_owned()
    };
    tap.message(flow("198.51.100.7:5080"), false, &message("INVITE", "one", ""));
    assert!(take(&listener).contains("Call-ID: one"));
    drop(listener);
    let deadline = Instant::now() + SOON;
    while export.counters.read(HepCount::Unsent) == 0 {
        assert!(Instant::now() < deadline, "the break is not seen");
        tap.message(flow("198.51.100.7:5080"), false, &message("INVITE", "lost", ""));
        std::thread::sleep(Duration::from_millis(5));
    }
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < deadline, "it is not made again");
        tap.message(flow("198.51.100.7:5080"), false, &message("INVITE", "again", ""));
        if let Ok((stream, _)) = listener.accept() {
            drop(stream);
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_breaks_each_connection_is_asked_after_pauses_that_double() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let export = start(&settings(HepTransport::Tcp, listener.local_addr().unwrap().port()));
    let tap = export.hep.tap();
    let (begun, mut taken) = (Instant::now(), 0);
    while taken < 3 {
        assert!(begun.elapsed() < SOON, "{taken} connections");
        tap.message(flow("198.51.100.7:5080"), false, &message("INVITE", "one", ""));
        taken += usize::from(listener.accept().is_ok());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() > Duration::from_millis(2900), "after 1 s and 2 s: {:?}", begun.elapsed());
}

#[test]
fn what_has_no_room_is_counted_and_takes_none() {
    let (queue, mut mail) = mpsc::channel(2);
    let counters = Arc::new(HepCounters::default());
    let tap = Tap {
        queue,
        bytes: Arc::new(AtomicUsize::new(WAITING_BYTES - 400)),
        counters: Arc::clone(&counters),
        is_sip: true,
    };
    let big = message("INVITE", &"x".repeat(400), "");
    tap.message(flow("198.51.100.7:5080"), false, &big);
    assert_eq!(counters.read(HepCount::Full), 1, "too many bytes");
    let small = message("BYE", "x", "");
    for _ in 0..3 {
        tap.message(flow("198.51.100.7:5080"), false, &small);
    }
    assert_eq!(counters.read(HepCount::Full), 2, "too many packets");
    mail.close();
    let mut waiting = 0;
    while mail.try_recv().is_ok() {
        waiting += 1;
    }
    assert_eq!(tap.bytes.load(Ordering::Relaxed), WAITING_BYTES - 400 + waiting * small.len());
}

#[test]
fn the_dialogs_that_are_remembered_are_bounded_and_the_oldest_go_first() {
    let mut dialogs = Dialogs::default();
    for n in 0..=DIALOGS {
        dialogs.put(format!("b{n}").into(), format!("a{n}").into());
    }
    dialogs.put("b7".into(), "other".into());
    assert_eq!((dialogs.caller("b0"), dialogs.caller("b1")), (None, Some("a1")));
    assert_eq!((dialogs.caller("b7"), dialogs.callers.len()), (Some("other"), DIALOGS));
    assert_eq!(dialogs.order.len(), DIALOGS);
}
