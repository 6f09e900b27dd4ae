//! Calls in a relay of the ng protocol (rtpengine): bencoded dictionaries over UDP after a cookie.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::Ng;

/// Where the ends of all calls are.
const END: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const FIRST_PORT: u16 = 10_000;

pub(crate) fn run(options: &Ng) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(options.to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut map = String::new();
    for n in 0..options.calls {
        let ends = [0, 1].map(|end| SocketAddr::new(END, FIRST_PORT + 2 * n + end));
        let toward_b = ask(&socket, "offer", n, ends[0]);
        let toward_a = ask(&socket, "answer", n, ends[1]);
        let _ = writeln!(map, "{} {toward_a} {} {toward_b}", ends[0], ends[1]);
    }
    std::fs::write(&options.map, map).unwrap();
    println!("calls={}", options.calls);
}

/// One command; gives the address that the relay wrote into the description.
fn ask(socket: &UdpSocket, command: &str, n: u16, end: SocketAddr) -> SocketAddr {
    let (ip, port) = (end.ip(), end.port());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    let call = format!("bench-{n}");
    // Keys in order, as bencoding wants them.
    let mut text = String::from("d3:ICE6:remove");
    for (key, value) in [("call-id", call.as_str()), ("command", command)] {
        let _ = write!(text, "{}:{key}{}:{value}", key.len(), value.len());
    }
    text += "5:flagsl13:trust-addresse8:from-tag1:a7:replacel6:origin18:session-connectione";
    let _ = write!(text, "3:sdp{}:{sdp}", sdp.len());
    text += if command == "answer" { "6:to-tag1:be" } else { "e" };
    let cookie = format!("{n}-{command} ");
    socket.send(format!("{cookie}{text}").as_bytes()).unwrap();
    let mut room = [0; 8192];
    loop {
        let length = socket.recv(&mut room).expect("an answer of the relay");
        let answer = String::from_utf8_lossy(&room[..length]).into_owned();
        if let Some(answer) = answer.strip_prefix(&cookie) {
            return address(answer).unwrap_or_else(|| panic!("{command}: {answer}"));
        }
    }
}

fn address(answer: &str) -> Option<SocketAddr> {
    let ip = answer.rsplit_once("c=IN IP4 ")?.1.split_whitespace().next()?;
    let port = answer.split_once("m=audio ")?.1.split_whitespace().next()?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}
