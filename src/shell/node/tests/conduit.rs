//! TLS and WebSocket as clients meet them: handshakes, frames, refusals.

use futures_util::SinkExt as _;
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::secured::*;
use super::*;

#[test]
fn every_transport_answers_on_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let node = start(dir.path(), &listens(""));
    runtime().block_on(async {
        let mut stream = tls(&node, Transport::Tls, authority.client(), "pbx.test").await.unwrap();
        for id in ["a", "b"] {
            let answer = ask_stream(&mut stream, "TLS", id).await;
            assert!(
                answer.starts_with("SIP/2.0 200 ") && answer.contains(&format!("Call-ID: {id}\r\n")),
                "{answer}"
            );
        }
        let mut plain = ws(&node).await;
        let answer = ask(&mut plain, browser_options("WS", "c")).await;
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains("df7jal23ls0d.invalid"), "{answer}");
        let stream = tls(&node, Transport::Wss, authority.client(), "pbx.test").await.unwrap();
        let mut secure = open(stream, opening("pbx.test", |_| ())).await.unwrap();
        let answer = ask(&mut secure, browser_options("WSS", "d")).await;
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains(";received=127.0.0.1"), "{answer}");
    });
}

#[test]
fn every_transport_is_there_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path(), "own", &["pbx.test"]);
    let mut resolved = resolve(dir.path(), &listens(""));
    for listen in &mut resolved.listens {
        listen.bind = "[::1]:0".parse().unwrap();
    }
    let node = Node::start(resolved).unwrap();
    runtime().block_on(async {
        let mut stream = tls(&node, Transport::Tls, authority.client(), "pbx.test").await.unwrap();
        assert!(ask_stream(&mut stream, "TLS", "a").await.contains(";received=::1"));
        let answer = ask(&mut ws(&node).await, browser_options("WS", "b")).await;
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains(";received=::1"), "{answer}");
        let stream = tls(&node, Transport::Wss, authority.client(), "pbx.test").await.unwrap();
        let mut secure = open(stream, opening("pbx.test", |_| ())).await.unwrap();
        assert!(ask(&mut secure, browser_options("WSS", "c")).await.starts_with("SIP/2.0 200 "));
    });
}

#[test]
fn a_websocket_is_opened_for_sip_and_for_pages_of_the_house_only() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "[[listen]]\nuri = \"ws://127.0.0.1:5080\"\n");
    let refused = async |change: &dyn Fn(&mut tokio_tungstenite::tungstenite::handshake::client::Request)| {
        let stream = tokio::net::TcpStream::connect(address(&node, Transport::Ws)).await.unwrap();
        match open(stream, opening("127.0.0.1", change)).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            Ok(_) => 101,
            Err(error) => panic!("{error}"),
        }
    };
    runtime().block_on(async {
        let origin = |text: &'static str| {
            refused_with(move |request| drop(request.headers_mut().insert("Origin", text.parse().unwrap())))
        };
        assert_eq!(refused(&origin("https://evil.example")).await, 403);
        assert_eq!(refused(&origin("null")).await, 403);
        // A name of somebody else that leads here (DNS rebinding): Host and Origin agree.
        let rebound = refused_with(|request| {
            for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        });
        assert_eq!(refused(&rebound).await, 403);
        assert_eq!(refused(&origin("https://pbx.test:8443")).await, 101, "the domain, on another port");
        assert_eq!(refused(&origin("http://127.0.0.1:8080")).await, 101);
        let without = refused_with(|request| drop(request.headers_mut().remove("Sec-WebSocket-Protocol")));
        // A client that offers none and is given none would be content: what it is told is 400.
        assert_eq!(refused(&without).await, 400);
        let other = refused_with(|request| {
            drop(request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap()))
        });
        assert_eq!(refused(&other).await, 400);
        // No WebSocket at all.
        let mut stream = tokio::net::TcpStream::connect(address(&node, Transport::Ws)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

fn refused_with<F>(change: F) -> F
where
    F: Fn(&mut tokio_tungstenite::tungstenite::handshake::client::Request),
{
    change
}

#[test]
fn a_frame_is_a_message_however_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "[[listen]]\nuri = \"ws://127.0.0.1:5080\"\n");
    runtime().block_on(async {
        let mut socket = ws(&node).await;
        socket.send(Message::Binary(browser_options("WS", "a").into_bytes().into())).await.unwrap();
        assert!(answer(&mut socket).await.unwrap().contains("Call-ID: a\r\n"));
        // Two messages in one frame are not two (RFC 7118 5): what follows the first is not looked at.
        let both = options("WS", "127.0.0.1:9".parse().unwrap(), "b") + &browser_options("WS", "c");
        assert!(ask(&mut socket, both).await.contains("Call-ID: b\r\n"));
        // RFC 5626 3.5.1; a message of nothing is nothing.
        for (sent, is_answered) in [("\r\n\r\n", true), ("\r\n", false), ("", false), ("\r\n\r\n", true)] {
            socket.send(Message::text(sent)).await.unwrap();
            if is_answered {
                assert_eq!(answer(&mut socket).await.as_deref(), Some("\r\n"));
            }
        }
        socket.send(Message::Ping(vec![1, 2, 3].into())).await.unwrap();
        let pong = within(futures_util::StreamExt::next(&mut socket)).await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(vec![1, 2, 3].into()));
        // What is no SIP at all costs an answer where there can be one, not the connection.
        socket.send(Message::text("hello")).await.unwrap();
        assert!(ask(&mut socket, browser_options("WS", "d")).await.contains("Call-ID: d\r\n"));
    });
}

#[test]
fn a_frame_that_is_too_long_or_no_text_closes_with_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "[[listen]]\nuri = \"ws://127.0.0.1:5080\"\n");
    runtime().block_on(async {
        let mut socket = ws(&node).await;
        let _ = socket.send(Message::text("x".repeat(70_000))).await;
        assert_eq!(closed(&mut socket).await, CloseCode::Size);
        let mut socket = ws(&node).await;
        // A text frame, masked with zeros, of a byte that is no UTF-8.
        let bytes = [0x81, 0x81, 0, 0, 0, 0, 0xff];
        tokio::io::AsyncWriteExt::write_all(socket.get_mut(), &bytes).await.unwrap();
        assert_eq!(closed(&mut socket).await, CloseCode::Invalid);
        let mut socket = ws(&node).await;
        // A frame that is not masked (RFC 6455 5.1).
        tokio::io::AsyncWriteExt::write_all(socket.get_mut(), &[0x81, 0x01, b'x']).await.unwrap();
        assert_eq!(closed(&mut socket).await, CloseCode::Protocol);
    });
}

async fn closed(socket: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>) -> CloseCode {
    loop {
        match within(futures_util::StreamExt::next(socket)).await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}
