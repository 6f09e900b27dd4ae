//! What comes over the wire is read whole, answered on its own way, and bounded.

use super::*;

#[test]
fn options_are_answered_over_datagrams_each_to_its_sender() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let (one, two) = (Datagrams::to(&node), Datagrams::to(&node));
    for round in 0..100 {
        one.ask(&format!("one{round}"));
        two.ask(&format!("two{round}"));
    }
    for (name, socket) in [("one", &one), ("two", &two)] {
        let mut ids: Vec<_> = (0..100).map(|round| format!("Call-ID: {name}{round}\r\n")).collect();
        while !ids.is_empty() {
            let answer = socket.answer();
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            let rport = format!(";rport={}", socket.0.local_addr().unwrap().port());
            assert!(answer.contains(&rport), "RFC 3581: {answer}");
            // A datagram that the machine repeats does not happen; one that it loses shows as a time-out.
            ids.retain(|id| !answer.contains(id.as_str()));
        }
    }
}

#[test]
fn ipv6_and_wildcard_listeners_answer_those_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    for (bind, peer) in [("[::1]:0", "[::1]:0"), ("0.0.0.0:0", "127.0.0.1:0"), ("[::]:0", "[::1]:0")] {
        let Ok(socket) = UdpSocket::bind(peer) else { continue };
        let mut resolved = resolve(dir.path(), "");
        for listen in &mut resolved.listens {
            listen.bind = bind.parse().unwrap();
        }
        let node = Node::start(resolved).unwrap();
        let at =
            |transport| SocketAddr::new(socket.local_addr().unwrap().ip(), address(&node, transport).port());
        socket.connect(at(Transport::Udp)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let datagrams = Datagrams(socket.try_clone().unwrap());
        datagrams.ask("a");
        let answer = datagrams.answer();
        assert!(answer.starts_with("SIP/2.0 200 "), "{bind}: {answer}");
        let stream = TcpStream::connect(at(Transport::Tcp)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut stream = Stream(stream, Vec::new());
        let question = stream.options("b");
        stream.write(&question);
        assert!(stream.answer().unwrap().starts_with("SIP/2.0 200 "), "{bind}");
    }
}

#[test]
fn keep_alives_and_noise_on_datagrams_are_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let socket = Datagrams::to(&node);
    // CRLF, double CRLF, a zero byte, a STUN binding request of another cookie, nothing at all, noise.
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for noise in [&b"\r\n"[..], b"\r\n\r\n", b"\0", &stun, b"", &[0xFF; 200], &[b'A'; 5000]] {
        socket.0.send(noise).unwrap();
    }
    socket.ask("after");
    assert!(socket.answer().contains("Call-ID: after"));
}

#[test]
fn a_phone_learns_by_stun_where_its_datagrams_come_from() {
    use crate::wire::stun;
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let socket = Datagrams::to(&node);
    let request = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    socket.0.send(&request).unwrap();
    let mut bytes = [0; 512];
    let length = socket.0.recv(&mut bytes).unwrap();
    let answer = stun::Message::parse(&bytes[..length]).unwrap();
    assert_eq!((answer.class(), answer.transaction()), (stun::Class::Success, &request[8..]));
    assert_eq!(answer.mapped_address(), Some(socket.0.local_addr().unwrap()));
    assert!(length <= 2 * request.len() + 12, "{length} bytes are no amplifier");
    socket.ask("after");
    assert!(socket.answer().contains("Call-ID: after"));
}

#[test]
fn a_stream_is_cut_into_messages_however_it_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let mut stream = Stream::to(&node);
    // Two messages in one segment.
    let both = stream.options("a") + &stream.options("b");
    stream.write(&both);
    for id in ["a", "b"] {
        let answer = stream.answer().unwrap();
        assert!(
            answer.starts_with("SIP/2.0 200 ") && answer.contains(&format!("Call-ID: {id}\r\n")),
            "{answer}"
        );
    }
    // One message in many: a marker on a second connection is served after each part, so each was read by itself.
    let message = stream.options("c");
    let mut marker = Stream::to(&node);
    for (number, part) in message.as_bytes().chunks(60).enumerate() {
        stream.write(std::str::from_utf8(part).unwrap());
        let question = marker.options(&format!("m{number}"));
        marker.write(&question);
        assert!(marker.answer().unwrap().starts_with("SIP/2.0 200 "));
    }
    assert!(stream.answer().unwrap().contains("Call-ID: c\r\n"));
}

#[test]
fn a_ping_on_a_stream_is_answered_with_a_pong() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let mut stream = Stream::to(&node);
    stream.write("\r\n\r\n");
    stream.expect("\r\n");
    let question = stream.options("a");
    stream.write(&format!("\r\n{question}"));
    assert!(stream.answer().unwrap().starts_with("SIP/2.0 200 "), "a pong of the peer is no ping");
    stream.write("\r\n\r\n");
    stream.expect("\r\n");
}

#[test]
fn a_stream_that_cannot_be_followed_gets_one_word_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let mut stream = Stream::to(&node);
    let question = stream.options("a").replace("Content-Length: 0\r\n", "");
    stream.write(&(question + &"more that is not read ".repeat(100)));
    let answer = stream.answer().unwrap();
    assert!(answer.starts_with("SIP/2.0 400 ") && answer.contains("Call-ID: a\r\n"), "{answer}");
    assert_eq!(stream.answer(), None);
    let mut stream = Stream::to(&node);
    stream.write("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03");
    assert_eq!(stream.answer(), None, "a TLS hello");
}

#[test]
fn an_address_has_its_share_of_connections_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_within(dir.path(), Bounds { most_each: 2, ..Bounds::default() });
    let works = |stream: &mut Stream, id: &str| {
        let question = stream.options(id);
        stream.0.write_all(question.as_bytes()).is_ok() && stream.answer().is_some()
    };
    let (mut one, mut two) = (Stream::to(&node), Stream::to(&node));
    assert!(works(&mut one, "a") && works(&mut two, "b"));
    let mut three = Stream::to(&node);
    assert_eq!(three.answer(), None);
    assert!(works(&mut one, "c") && works(&mut two, "d"));
    drop(one);
    // The node hears of that end when it reads it.
    let begun = Instant::now();
    while !works(&mut Stream::to(&node), "e") {
        assert!(begun.elapsed() < SOON, "the place of a connection that ended stays taken");
    }
}

#[test]
fn whoever_begins_a_message_ends_it_in_time_or_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_within(dir.path(), Bounds { patience: Duration::from_millis(200), ..Bounds::default() });
    let (mut silent, mut slow, mut good) = (Stream::to(&node), Stream::to(&node), Stream::to(&node));
    let question = good.options("a");
    good.write(&question);
    assert!(good.answer().is_some());
    slow.write("OPTIONS sip:pbx.test SIP/2.0\r\n");
    assert_eq!((silent.answer(), slow.answer()), (None, None));
    let question = good.options("b");
    good.write(&question);
    assert!(good.answer().is_some(), "a connection that brought its message is not hurried");
}
