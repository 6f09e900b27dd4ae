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
    Component, Ingress, MediaCommand, MediaEvent, Outlet, PortId, PortPair, Relay, Sending, Sink, Verdict,
};
use segue::media::srtp::{Keys, MasterKey, Sealer, Security, Suite};
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

/// 500 calls between 1000 ends, each with the protection that it is given.
fn calls(
    relay: &mut Relay,
    out: &mut Nowhere,
    mut security: impl FnMut() -> Security,
) -> Vec<(u32, SocketAddr)> {
    let ports: Vec<PortId> = (0..1000).map(|_| relay.add_port()).collect();
    let end = |n: usize| SocketAddr::from(([127, 0, 0, 2], 10_000 + n as u16));
    for (n, port) in ports.iter().enumerate() {
        let ingress = Ingress { security: security(), ..Ingress::audio(Some(end(n)), Some(end(n).ip())) };
        relay.handle_command(Timestamp::ZERO, MediaCommand::Configure { port: *port, ingress }, out);
        let sinks = [Sink::plain(ports[n ^ 1])].into_iter().collect();
        relay.handle_command(Timestamp::ZERO, MediaCommand::SetSinks { port: *port, sinks }, out);
    }
    ports.iter().enumerate().map(|(n, port)| (port.slot, end(n))).collect()
}

/// The packet of a round from an end.
fn packet(round: u32, ssrc: u32) -> [u8; 172] {
    let mut packet = [0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&(round as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&(round * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

const fn at(round: u32) -> Timestamp {
    Timestamp::from_micros(round as u64 * 20_000)
}

/// One packet from each end in turn, as a loaded thread sees them.
#[divan::bench(sample_size = 1000)]
fn forward_a_packet(bencher: divan::Bencher<'_, '_>) {
    let (mut relay, mut out) = (Relay::new(0, Random::from_number(1)), Nowhere(0));
    let ends = calls(&mut relay, &mut out, || Security::Plain);
    let mut n = 0;
    let next = move || {
        let ((slot, src), round) = (ends[n % 1000], (n / 1000) as u32);
        n += 1;
        (at(round), slot, src, packet(round, slot))
    };
    bencher.with_inputs(next).bench_local_refs(|(now, slot, src, packet)| {
        let verdict = relay.handle_packet(*now, *slot, Component::Rtp, *src, packet, &mut out);
        assert_eq!(verdict, Verdict::Forwarded(1));
    });
}

/// The same where both legs have SDES: each packet is opened, and sealed anew for the other end.
#[divan::bench(sample_size = 1000, args = [Suite::AesCm128HmacSha1Tag80, Suite::AeadAes128Gcm])]
fn forward_a_sealed_packet(bencher: divan::Bencher<'_, '_>, suite: Suite) {
    let (mut relay, mut out) = (Relay::new(0, Random::from_number(1)), Nowhere(0));
    let (mut random, mut sealers) = (Random::from_number(2), Vec::new());
    let ends = calls(&mut relay, &mut out, || {
        let [theirs, ours] = [(); 2].map(|()| MasterKey::generate(suite, &mut random));
        sealers.push(Sealer::new(&theirs));
        Security::Srtp(Box::new(Keys { theirs, ours }))
    });
    let mut n = 0;
    // The ends seal outside of what is timed.
    let next = move || {
        let ((slot, src), round) = (ends[n % 1000], (n / 1000) as u32);
        let mut sealed = [0; 200];
        let length = sealers[n % 1000].seal_rtp(round, &packet(round, slot), &mut sealed).unwrap();
        n += 1;
        (at(round), slot, src, sealed, length)
    };
    bencher.with_inputs(next).bench_local_refs(|(now, slot, src, sealed, length)| {
        let verdict =
            relay.handle_packet(*now, *slot, Component::Rtp, *src, &mut sealed[..*length], &mut out);
        assert_eq!(verdict, Verdict::Forwarded(1));
    });
}
