//! Tests of the relay as a whole, in virtual time.

mod convert;
mod hostile;
mod matrix;
mod moves;
mod quality;
mod reporter;
mod reports;
mod secure;
mod service;
mod web;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::wire::rtp::Header;

/// What left the relay.
#[derive(Clone, Debug)]
struct Sent {
    at: Timestamp,
    slot: u32,
    component: Component,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Sent {
    fn header(&self) -> Header {
        Header::parse(&self.bytes).unwrap()
    }
}

#[derive(Default)]
struct Log {
    now: Timestamp,
    sent: Vec<Sent>,
    events: Vec<MediaEvent>,
}

impl Outlet for Log {
    fn send(&mut self, slot: u32, component: Component, to: SocketAddr, packet: &[u8]) -> bool {
        self.sent.push(Sent { at: self.now, slot, component, to, bytes: packet.to_vec() });
        true
    }
    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }
}

/// A relay with virtual time.
struct World {
    relay: Relay,
    log: Log,
}

/// A device that sends a packet of G.711 every 20 ms.
#[derive(Clone)]
struct Phone {
    port: PortId,
    addr: SocketAddr,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    fn new() -> Self {
        Self { relay: Relay::new(0, Random::from_number(1)), log: Log::default() }
    }

    fn command(&mut self, command: MediaCommand) {
        self.relay.handle_command(self.log.now, command, &mut self.log);
    }

    /// A new port with a phone behind it, as signalled.
    fn phone(&mut self, address: &str) -> Phone {
        self.phone_with(address, |_| {})
    }

    fn phone_with(&mut self, address: &str, change: impl FnOnce(&mut Ingress)) -> Phone {
        let (port, addr) = (self.relay.add_port(), addr(address));
        let mut ingress = Ingress::audio(Some(addr), Some(addr.ip()));
        change(&mut ingress);
        self.command(MediaCommand::Configure { port, ingress });
        let seed = port.slot + 1;
        Phone {
            port,
            addr,
            ssrc: 0x1111_1111u32.wrapping_mul(seed),
            sequence: 65_500u16.wrapping_add(7000u16.wrapping_mul(port.slot as u16)),
            timestamp: 0xffff_f000u32.wrapping_mul(seed),
        }
    }

    fn sinks(&mut self, from: &Phone, to: &[&Phone]) {
        let sinks = to.iter().map(|phone| Sink::plain(phone.port)).collect();
        self.command(MediaCommand::SetSinks { port: from.port, sinks });
    }

    fn call(&mut self, a: &Phone, b: &Phone) {
        self.sinks(a, &[b]);
        self.sinks(b, &[a]);
    }

    fn swap(&mut self, far: &Phone, old: &Phone, new: &Phone) {
        let (to_far, to_new) = (Sink::plain(far.port), Some(Sink::plain(new.port)));
        self.command(MediaCommand::Swap { far: far.port, old: old.port, new: new.port, to_far, to_new });
    }

    fn pass(&mut self, time: Duration) {
        self.log.now = self.log.now + time;
        self.relay.handle_timeout(self.log.now, &mut self.log);
    }

    fn receive(&mut self, port: PortId, component: Component, src: SocketAddr, bytes: &[u8]) -> Verdict {
        let mut bytes = bytes.to_vec();
        self.relay.handle_packet(self.log.now, port.slot, component, src, &mut bytes, &mut self.log)
    }

    /// The next packet of a phone, of this payload type and payload.
    fn send_as(&mut self, phone: &mut Phone, payload_type: u8, payload: &[u8]) -> Verdict {
        let bytes = phone.packet(payload_type, phone.timestamp, payload);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        self.receive(phone.port, Component::Rtp, phone.addr, &bytes)
    }

    fn send(&mut self, phone: &mut Phone) -> Verdict {
        self.send_as(phone, 0, &[0xd5; 160])
    }

    fn stats(&mut self, port: PortId) -> PortStats {
        self.command(MediaCommand::Report { port });
        match self.log.events.pop() {
            Some(MediaEvent::Stats { port: of, stats }) if of == port => *stats,
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        std::mem::take(&mut self.log.events)
    }

    /// RTP that went out toward a phone, and is forgotten now.
    fn heard_by(&mut self, phone: &Phone) -> Vec<Sent> {
        let mine = |s: &Sent| s.slot == phone.port.slot && s.component == Component::Rtp;
        let heard: Vec<Sent> = self.log.sent.iter().filter(|s| mine(s)).cloned().collect();
        self.log.sent.retain(|s| !mine(s));
        heard
    }
}

impl Phone {
    fn packet(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        let header = Header {
            marker: false,
            payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            payload_at: 0,
            payload_end: 0,
        };
        header.write_new(&mut bytes);
        bytes.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        bytes
    }
}

/// The one SSRC of a stream that has no step in it: sequence by one; timestamps by the time that passed, give or
/// take one packet.
#[track_caller]
fn assert_continuous(heard: &[Sent]) -> u32 {
    let ssrc = heard.first().unwrap().header().ssrc;
    for pair in heard.windows(2) {
        let (a, b) = (pair[0].header(), pair[1].header());
        assert_eq!(b.ssrc, ssrc);
        assert_eq!(b.sequence, a.sequence.wrapping_add(1), "{a:?} {b:?}");
        let step = i64::from(b.timestamp.wrapping_sub(a.timestamp) as i32);
        let passed = pair[1].at.since(pair[0].at).as_micros() as i64 * 8 / 1000;
        assert!(step > 0 && (step - passed).abs() <= 160, "step {step} in {passed}: {a:?} {b:?}");
    }
    ssrc
}
