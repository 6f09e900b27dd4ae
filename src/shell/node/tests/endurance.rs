//! Slow, silent and too many: what connections may cost, and that nobody pays for another.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::secured::*;
use super::*;

const WS: &str = "[[listen]]\nuri = \"ws://127.0.0.1:5080\"\n";
const MS: fn(u64) -> Duration = Duration::from_millis;

/// Whether the node closes a connection on which this is done, one byte in each 50 ms.
async fn is_given_up(node: &Node, transport: Transport, slowly: &[u8]) -> bool {
    let mut stream = tokio::net::TcpStream::connect(address(node, transport)).await.unwrap();
    let begun = Instant::now();
    for byte in slowly.iter().cycle() {
        if begun.elapsed() > SOON {
            return false;
        }
        if stream.write_u8(*byte).await.is_err() {
            return true;
        }
        let mut bytes = [0; 512];
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(MS(50), stream.read(&mut bytes)).await {
            return true;
        }
    }
    false
}

#[test]
fn who_is_slow_in_a_handshake_or_a_frame_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let bounds = Bounds { patience: MS(700), ..Bounds::default() };
    let node = start_so(dir.path(), &listens(""), bounds);
    runtime().block_on(async {
        // A TLS record that never ends; a request for a WebSocket that never does.
        assert!(is_given_up(&node, Transport::Tls, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await);
        assert!(is_given_up(&node, Transport::Ws, b"GET / HTTP/1.1\r\nHost: a\r\nX: y").await);
        // Nothing at all.
        let mut silent = tokio::net::TcpStream::connect(address(&node, Transport::Wss)).await.unwrap();
        assert_eq!(within(silent.read(&mut [0; 16])).await.unwrap_or(0), 0);
        // A frame that was announced and trickles, also between pings, which are no part of it.
        let mut socket = ws(&node).await;
        ask(&mut socket, browser_options("WS", "a")).await;
        let begun = Instant::now();
        // The first fragment of a message whose end is not sent.
        socket.get_mut().write_all(&[0x01, 0x84, 0, 0, 0, 0, b'O', b'P', b'T', b'I']).await.unwrap();
        loop {
            assert!(begun.elapsed() < SOON, "it is kept");
            // An empty ping, masked.
            if socket.get_mut().write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.is_err() {
                break;
            }
            let next = tokio::time::timeout(MS(50), socket.next()).await;
            if let Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) = next {
                break;
            }
        }
        // One that says all it has to in time stays, whatever it does then.
        let mut socket = ws(&node).await;
        ask(&mut socket, browser_options("WS", "b")).await;
        for _ in 0..12 {
            tokio::time::sleep(MS(100)).await;
            socket.send(Message::Ping(vec![].into())).await.unwrap();
        }
        ask(&mut socket, browser_options("WS", "c")).await;
    });
}

#[test]
fn a_browser_that_does_not_answer_a_ping_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_so(dir.path(), WS, Bounds { ping: MS(300), ..Bounds::default() });
    runtime().block_on(async {
        let (mut alive, mut deaf) = (ws(&node).await, ws(&node).await);
        ask(&mut alive, browser_options("WS", "a")).await;
        ask(&mut deaf, browser_options("WS", "b")).await;
        let begun = Instant::now();
        // Whoever reads, answers; the other one takes bytes and says nothing.
        let reading = async {
            while begun.elapsed() < MS(1500) {
                let _ = tokio::time::timeout(MS(100), alive.next()).await;
            }
            ask(&mut alive, browser_options("WS", "c")).await
        };
        let silent = async {
            let mut bytes = Vec::new();
            within(deaf.get_mut().read_to_end(&mut bytes)).await.map(|_| bytes)
        };
        let (answer, silent) = tokio::join!(reading, silent);
        assert!(answer.contains("Call-ID: c\r\n"));
        // A ping, then a close with 1008.
        let bytes = silent.unwrap();
        assert!(
            bytes.starts_with(&[0x89, 0]) && bytes.windows(2).any(|code| code == 1008_u16.to_be_bytes()),
            "{bytes:?}"
        );
    });
}

#[test]
fn a_flood_from_one_address_does_not_touch_others() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let node = start(dir.path(), &listens(""));
    let (wss, udp) = (address(&node, Transport::Wss), Datagrams::to(&node));
    runtime().block_on(async {
        let mut other = ws(&node).await;
        ask(&mut other, browser_options("WS", "before")).await;
        let flood = async {
            let mut kept = Vec::new();
            for round in 0..1200_u32 {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                // Another address of this machine.
                socket.bind("127.0.0.66:0".parse().unwrap()).unwrap();
                let Ok(mut stream) = socket.connect(wss).await else { continue };
                let _ = stream.write_all(&[22, 3, 1, 2, 0, round.to_be_bytes()[3]]).await;
                kept.push(stream);
            }
            kept
        };
        let calm = async {
            for round in 0..50 {
                let begun = Instant::now();
                let answer = ask(&mut other, browser_options("WS", &format!("during{round}"))).await;
                assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
                assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            }
        };
        let (kept, ()) = tokio::join!(flood, calm);
        // Who comes from elsewhere is let in, after all those were looked at.
        let stream = tls(&node, Transport::Wss, authority.client(), "pbx.test").await.unwrap();
        let mut fresh = open_with(stream).await;
        assert!(ask(&mut fresh, browser_options("WSS", "fresh")).await.starts_with("SIP/2.0 200 "));
        // Of them only a share is let in; the rest is closed.
        let mut open = 0;
        for mut stream in kept {
            let read = tokio::time::timeout(MS(5), stream.read(&mut [0; 16])).await;
            open += usize::from(read.is_err());
        }
        assert!(open <= Bounds::default().handshakes_each, "{open} handshakes of one address are open");
    });
    udp.ask("after");
    assert!(udp.answer().contains("Call-ID: after"));
}

async fn open_with<S>(stream: S) -> tokio_tungstenite::WebSocketStream<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    open(stream, opening("pbx.test", |_| ())).await.unwrap()
}

#[test]
fn whatever_bytes_come_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let node = start(dir.path(), &listens(""));
    let mut random = crate::base::Random::from_number(7);
    let mut noise =
        |length: u64| -> Vec<u8> { (0..random.below(length)).map(|_| random.below(256) as u8).collect() };
    runtime().block_on(async {
        for round in 0..150 {
            let Ok(socket) = tokio::net::TcpStream::connect(address(&node, Transport::Ws)).await else {
                continue;
            };
            let mut socket = match open(socket, opening("127.0.0.1", |_| ())).await {
                Ok(socket) => socket,
                // More than twenty a second of one address wait for the next second.
                Err(_) => {
                    tokio::time::sleep(MS(200)).await;
                    continue;
                }
            };
            match round % 3 {
                // Frames that are none.
                0 => drop(socket.get_mut().write_all(&noise(400)).await),
                // A message in which some bytes are others.
                1 => {
                    let mut bytes = browser_options("WS", "x").into_bytes();
                    for other in noise(20) {
                        let at = usize::from(other) * 7 % bytes.len();
                        bytes[at] = other;
                    }
                    let _ = socket.send(Message::Binary(bytes.into())).await;
                }
                // A message of anything.
                _ => drop(socket.send(Message::Binary(noise(2000).into())).await),
            }
            let mut stream = tokio::net::TcpStream::connect(address(&node, Transport::Tls)).await.unwrap();
            let _ = stream.write_all(&noise(300)).await;
        }
    });
    let udp = Datagrams::to(&node);
    udp.ask("after");
    assert!(udp.answer().contains("Call-ID: after"));
}
