//! The packet path alone: what a packet costs in the relay, and a relay of N calls for a load generator.
//!
//! `cargo bench --bench relay` measures the pure path. `cargo bench --bench relay -- serve CALLS MAP epoll|uring`
//! runs the media threads with CALLS calls between 127.0.0.2 and 127.0.0.2 until standard input ends, and writes
//! to MAP one line a call: A's own address, where A sends, B's own address, where B sends.

#![expect(clippy::panic, reason = "a bench that cannot begin stops")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a measuring tool")]

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use segue::base::{Random, Timestamp};
use segue::media::relay::{
    Component, Ingress, MediaCommand, MediaEvent, Outlet, PortId, PortPair, Relay, Sending, Sink,
};
use segue::shell::media::{Driver, MediaSettings, MediaThreads};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", calls, map, "epoll"] => serve(calls.parse().unwrap(), map, Driver::Epoll),
        ["serve", calls, map, "uring"] => serve(calls.parse().unwrap(), map, Driver::IoUring),
        _ => divan::main(),
    }
}

fn serve(calls: u16, map: &str, driver: Driver) {
    const END: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (sender, events) = mpsc::channel();
    let mut settings = MediaSettings::new(40_000..=59_999, Instant::now(), [7; 32]);
    settings.driver = driver;
    let media = MediaThreads::start(&settings, move |event| {
        let _ = sender.send(event);
    })
    .unwrap();
    media.send(MediaCommand::OpenPorts { thread: 0, address: RELAY, count: calls * 2 });
    let pairs: Vec<PortPair> = match events.recv_timeout(Duration::from_secs(20)).expect("ports") {
        MediaEvent::PortsOpened { pairs, .. } => pairs,
        other => panic!("{other:?}"),
    };
    let mut lines = String::new();
    for (n, pair) in pairs.chunks_exact(2).enumerate() {
        let ends = [0, 1].map(|k| SocketAddr::new(END, 10_000 + 2 * n as u16 + k));
        for (port, end) in pair.iter().zip(ends) {
            let ingress = Ingress {
                sending: Sending::AtOnce,
                timeout: Some(Duration::from_secs(60)),
                telephone_event: Some(101),
                ..Ingress::audio(Some(end), Some(END))
            };
            media.send(MediaCommand::Configure { port: port.id, ingress });
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let sinks = [Sink::plain(pair[to].id)].into_iter().collect();
            media.send(MediaCommand::SetSinks { port: pair[from].id, sinks });
        }
        let [a, b] = [0, 1].map(|k| SocketAddr::new(RELAY, pair[k].rtp));
        lines += &format!("{} {a} {} {b}\n", ends[0], ends[1]);
    }
    std::fs::write(map, lines).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    eprintln!("{:?}", media.totals());
}

/// Swallows what is sent.
struct Nowhere(u64);

impl Outlet for Nowhere {
    fn send(&mut self, _: u32, _: Component, _: SocketAddr, packet: &[u8]) -> bool {
        self.0 += packet.len() as u64;
        true
    }
    fn event(&mut self, _: MediaEvent) {}
}

/// 500 calls, one packet from each end in turn, as a loaded thread sees them.
#[divan::bench]
fn forward_a_packet(bencher: divan::Bencher<'_, '_>) {
    let mut relay = Relay::new(0, Random::from_number(1));
    let mut out = Nowhere(0);
    let ends: Vec<(PortId, SocketAddr)> =
        (0..1000u16).map(|n| (relay.add_port(), SocketAddr::from(([127, 0, 0, 2], 10_000 + n)))).collect();
    for (n, (port, end)) in ends.iter().enumerate() {
        let ingress = Ingress::audio(Some(*end), Some(end.ip()));
        relay.handle_command(Timestamp::ZERO, MediaCommand::Configure { port: *port, ingress }, &mut out);
        let sinks = [Sink::plain(ends[n ^ 1].0)].into_iter().collect();
        relay.handle_command(Timestamp::ZERO, MediaCommand::SetSinks { port: *port, sinks }, &mut out);
    }
    let mut packet = [0xd5u8; 172];
    let mut n = 0usize;
    bencher.bench_local(|| {
        let (port, src) = ends[n % 1000];
        let round = n / 1000;
        n += 1;
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&(round as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(round as u32 * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&port.slot.to_be_bytes());
        let now = Timestamp::from_micros(round as u64 * 20_000);
        relay.handle_packet(now, port.slot, Component::Rtp, src, &mut packet, &mut out)
    });
}
