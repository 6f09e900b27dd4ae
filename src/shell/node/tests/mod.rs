//! A node with real sockets on loopback. Every wait has a deadline; nothing sleeps and hopes.

mod certificates;
mod conduit;
mod endurance;
mod life;
mod secured;
mod trunk;
mod wire;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::{Node, StartError};
use crate::config::{Resolved, Source};
use crate::sip::Transport;

/// Anything on loopback that takes longer has failed.
const SOON: Duration = Duration::from_secs(10);
const PASSWORD: &str = "9041-blue-lamp";

/// A configuration for `dir` on ports that the system chooses; `more` stands at its end.
fn resolve(dir: &Path, more: &str) -> Resolved {
    let mut text = format!(
        "[node]\nid = \"edge1\"\ndomain = \"pbx.test\"\naliases = [\"127.0.0.1\"]\ndata_dir = {}\n\
         [[listen]]\nuri = \"udp://127.0.0.1:5060\"\n[[listen]]\nuri = \"tcp://127.0.0.1:5060\"\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"20000-29999\"\n",
        toml::Value::String(dir.join("data").display().to_string()),
    );
    for (name, extension) in [("alice", "1001"), ("bob", "1002")] {
        text += &format!(
            "[[user]]\nname = \"{name}\"\nextension = \"{extension}\"\n\
             [[user.device]]\nid = \"desk\"\nauth_user = \"{name}-desk\"\npassword = \"{PASSWORD}\"\n"
        );
    }
    text += more;
    let source = Source {
        path: &dir.join("segue.toml"),
        text: &text,
        variables: &[],
        hostname: "host",
        read: &|path| std::fs::read_to_string(path),
    };
    let mut resolved = source.resolve().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    for listen in &mut resolved.listens {
        listen.bind.set_port(0);
    }
    resolved.http.bind = "127.0.0.1:0".parse().unwrap();
    resolved
}

fn start(dir: &Path, more: &str) -> Node {
    Node::start(resolve(dir, more)).unwrap()
}

fn start_within(dir: &Path, bounds: Bounds) -> Node {
    start_so(dir, "", bounds)
}

fn start_so(dir: &Path, more: &str, bounds: Bounds) -> Node {
    Node::start_within(resolve(dir, more), bounds).unwrap()
}

/// What keeps a node of this configuration from starting.
fn start_error(resolved: Resolved) -> String {
    match Node::start(resolved) {
        Ok(_) => panic!("it starts"),
        Err(error @ StartError::System { .. }) => panic!("{error}"),
        Err(error) => error.to_string(),
    }
}

fn address(node: &Node, transport: Transport) -> SocketAddr {
    let of_it = node.addresses().iter().find(|(known, _)| *known == transport);
    of_it.map(|(_, address)| *address).unwrap()
}

/// An OPTIONS request whose answer names `id`.
fn options(transport: &str, from: SocketAddr, id: &str) -> String {
    format!(
        "OPTIONS sip:pbx.test SIP/2.0\r\nVia: SIP/2.0/{transport} {from};rport;branch=z9hG4bK{id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:probe@pbx.test>;tag={id}\r\nTo: <sip:pbx.test>\r\nCall-ID: {id}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A datagram socket toward the node.
struct Datagrams(UdpSocket);

impl Datagrams {
    fn to(node: &Node) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address(node, Transport::Udp)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self(socket)
    }

    fn ask(&self, id: &str) {
        let request = options("UDP", self.0.local_addr().unwrap(), id);
        self.0.send(request.as_bytes()).unwrap();
    }

    fn answer(&self) -> String {
        let mut bytes = [0; 65_536];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

/// A connection to the node.
struct Stream(TcpStream, Vec<u8>);

impl Stream {
    fn to(node: &Node) -> Self {
        let stream = TcpStream::connect(address(node, Transport::Tcp)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream, Vec::new())
    }

    fn options(&self, id: &str) -> String {
        options("TCP", self.0.local_addr().unwrap(), id)
    }

    fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// The next message of those without a body; `None` when the node has closed the connection.
    fn answer(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.1.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.1.split_off(at + 4);
                let message = std::mem::replace(&mut self.1, rest);
                return Some(String::from_utf8(message).unwrap());
            }
            if self.more() == 0 {
                assert!(self.1.is_empty(), "half a message: {:?}", String::from_utf8_lossy(&self.1));
                return None;
            }
        }
    }

    /// Exactly these bytes come next.
    fn expect(&mut self, bytes: &str) {
        while self.1.len() < bytes.len() {
            assert!(self.more() > 0, "closed");
        }
        let rest = self.1.split_off(bytes.len());
        assert_eq!(String::from_utf8(std::mem::replace(&mut self.1, rest)).unwrap(), bytes);
    }

    /// Reads once; 0 when the connection is closed.
    fn more(&mut self) -> usize {
        let mut bytes = [0; 4096];
        match self.0.read(&mut bytes) {
            Ok(length) => {
                self.1.extend_from_slice(&bytes[..length]);
                length
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits for the end of a node's worker and drops it; how long that took.
fn ends(node: Node) -> Duration {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, node.ended()).await.unwrap().unwrap() });
    drop(node);
    begun.elapsed()
}

/// What a carrier that takes no call says to an INVITE.
fn busy(invite: &str) -> String {
    let mut reply = String::from("SIP/2.0 486 Busy Here\r\n");
    for line in invite.lines() {
        let name = line.split(':').next().unwrap();
        if ["Via", "From", "Call-ID", "CSeq"].contains(&name) {
            reply += &format!("{line}\r\n");
        } else if name == "To" {
            reply += &format!("{line};tag=carrier\r\n");
        }
    }
    reply + "Content-Length: 0\r\n\r\n"
}
