//! How long a move takes, from the new device's INVITE with credentials to its 200, with other calls held.
//!
//! `cargo bench --bench moves -- [HELD] [MOVES] [when-needed|always]` starts the built node on loopback, holds HELD
//! calls between two trunks with media through it, and then MOVES times lets one phone call another and a third pull
//! the call by the star code. The time at which the far phone had our re-INVITE before it answered is subtracted.
//! What the phones take to write, read and be woken is in the figure.

#![expect(clippy::panic, reason = "a bench that cannot begin stops")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a measuring tool")]

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use segue::shell::phone::{Entry, Event, Message, Options, Phone};

const PATIENCE: Duration = Duration::from_secs(10);
const DOMAIN: &str = "bench.segue";
const PASSWORD: &str = "secret";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number =
        |n: usize, default: usize| arguments.get(n).map_or(default, |a| a.parse().expect("a number"));
    let (held, moves) = (number(0, 200), number(1, 300));
    let policy = arguments.get(2).map_or("when-needed", String::as_str);
    let directory = tempfile::tempdir().unwrap();
    let [sip, http, caller, callee] = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let server = sip.local_addr().unwrap();
    let text = configuration(directory.path(), [&sip, &http, &caller, &callee], policy);
    drop((sip, http));
    let path = directory.path().join("segue.toml");
    std::fs::write(&path, text).unwrap();
    let _node = Node(
        Command::new(env!("CARGO_BIN_EXE_segue"))
            .args(["serve", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap(),
    );
    std::thread::sleep(Duration::from_secs(2));
    for n in 0..held {
        hold(n, server, &caller, &callee);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut times = runtime.block_on(measure(server, moves));
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)].as_micros();
    println!(
        "held {held} moves {} re_invite {policy}: p50 {} p90 {} p99 {} max {} us",
        times.len(),
        at(500),
        at(900),
        at(990),
        at(1000)
    );
}

/// Ends the node with the bench.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn configuration(
    directory: &std::path::Path,
    [sip, http, caller, callee]: [&UdpSocket; 4],
    policy: &str,
) -> String {
    let [sip, http, caller, callee] = [sip, http, caller, callee].map(|socket| socket.local_addr().unwrap());
    let mut text = format!(
        "[node]\nid = \"bench\"\ndomain = \"{DOMAIN}\"\naliases = [\"127.0.0.1\"]\ndata_dir = '{}'\n\
         [[listen]]\nuri = \"udp://{sip}\"\n[http]\nbind = \"{http}\"\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"20000-31999\"\n\
         [auth]\nalgorithms = [\"MD5\"]\n[move]\nre_invite = \"{policy}\"\n\
         [[route]]\nmatch = \"^9$\"\nsource = \"trunk:in\"\nto = [\"trunk:out\"]\n",
        directory.display()
    );
    for (name, peer) in [("in", caller), ("out", callee)] {
        text += &format!("[[trunk]]\nname = \"{name}\"\nuri = \"sip:{peer}\"\nfrom = [\"{peer}\"]\n");
    }
    for (user, devices) in [("alice", &["desk", "mobile"][..]), ("bob", &["phone"])] {
        text += &format!("[[user]]\nname = \"{user}\"\n");
        for device in devices {
            text += &format!(
                "[[user.device]]\nid = \"{device}\"\nauth_user = \"{user}-{device}\"\npassword = \"{PASSWORD}\"\n"
            );
        }
    }
    text
}

/// Sets up one call between the trunks, which lasts until the node ends.
fn hold(n: usize, server: SocketAddr, caller: &UdpSocket, callee: &UdpSocket) {
    let own = caller.local_addr().unwrap();
    let head = |method: &str, uri: &str, tag: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method}{n}\r\n\
             From: <sip:1@{own}>;tag=c{n}\r\nTo: <sip:9@{DOMAIN}>{tag}\r\nCall-ID: held{n}@bench\r\n\
             CSeq: 1 {method}\r\nContact: <sip:1@{own}>\r\nMax-Forwards: 70\r\n"
        )
    };
    let invite = head("INVITE", &format!("sip:9@{DOMAIN}"), "") + &with_body(n);
    caller.send_to(invite.as_bytes(), server).unwrap();
    let invite = receive(callee, "INVITE");
    callee.send_to(accepted(&invite, callee.local_addr().unwrap(), n).as_bytes(), server).unwrap();
    receive(callee, "ACK");
    let answer = receive(caller, "SIP/2.0 200");
    let line = |name: &str| answer.lines().find(|line| line.starts_with(name)).unwrap();
    let target = line("Contact:").split(['<', '>']).nth(1).unwrap();
    let tag = line("To:").split_once(";tag=").unwrap().1;
    let ack = head("ACK", target, &format!(";tag={tag}")) + "Content-Length: 0\r\n\r\n";
    caller.send_to(ack.as_bytes(), server).unwrap();
}

fn with_body(n: usize) -> String {
    let port = 10_000 + 2 * n;
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    );
    format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn accepted(request: &str, own: SocketAddr, n: usize) -> String {
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines().take_while(|line| !line.is_empty()) {
        if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
            answer += line;
            answer += if line.starts_with("To:") { ";tag=callee\r\n" } else { "\r\n" };
        }
    }
    answer + &format!("Contact: <sip:9@{own}>\r\n") + &with_body(n + 10_000)
}

/// The next message that starts with `start`.
fn receive(socket: &UdpSocket, start: &str) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..20 {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("waiting for {start}: {error}"));
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        if text.starts_with(start) {
            return text.to_owned();
        }
    }
    panic!("no {start}")
}

async fn phone(user: &str, device: &str, server: SocketAddr) -> Phone {
    let name = format!("{user}-{device}");
    let phone =
        Phone::start(Options::new(user, DOMAIN, server).named(&name).login(&name, PASSWORD)).await.unwrap();
    phone.register(600).await.unwrap();
    phone
}

async fn measure(server: SocketAddr, moves: usize) -> Vec<Duration> {
    let desk = phone("alice", "desk", server).await;
    let mobile = phone("alice", "mobile", server).await;
    let bob = phone("bob", "phone", server).await;
    let mut times = Vec::with_capacity(moves);
    for _ in 0..moves {
        let old = desk.call("bob").await.unwrap();
        let far = bob.answered(PATIENCE).await.unwrap();
        let marks = (mobile.log().mark(), bob.log().mark());
        let new = mobile.call("*11").await.unwrap();
        times.push(taken(&mobile.log().since(marks.0), &bob.log().since(marks.1)));
        old.ended(PATIENCE).await.unwrap();
        new.hang_up().await.unwrap();
        far.ended(PATIENCE).await.unwrap();
    }
    times
}

/// From the last INVITE of the new device to its 200, without the time that the far phone had a re-INVITE.
fn taken(new: &[Entry], far: &[Entry]) -> Duration {
    let sent = |message: &Message| message.method() == "INVITE" && message.status().is_none();
    let asked = find(new, |event| matches!(event, Event::Sent(message) if sent(message))).expect("an INVITE");
    let ok = |message: &Message| message.method() == "INVITE" && message.status() == Some(200);
    let answered =
        find(new, |event| matches!(event, Event::Received(message) if ok(message))).expect("a 200");
    let reached = find(far, |event| matches!(event, Event::Received(message) if sent(message)));
    let agreed = find(far, |event| matches!(event, Event::Sent(message) if ok(message)));
    let far_time =
        reached.zip(agreed).map_or(Duration::ZERO, |(from, to)| to.saturating_duration_since(from));
    (answered - asked).saturating_sub(far_time)
}

fn find(log: &[Entry], wanted: impl Fn(&Event) -> bool) -> Option<Instant> {
    log.iter().rev().find(|entry| wanted(&entry.event)).map(|entry| entry.at)
}
