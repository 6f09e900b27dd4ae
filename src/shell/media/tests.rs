//! Media threads over real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::*;
use crate::media::codec::Codec;
use crate::media::relay::{Ingress, PortPair, Sink};
use crate::wire::rtp::Header;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

struct Fixture {
    media: MediaThreads,
    events: Receiver<MediaEvent>,
}

/// What a test runs over; a system without io_uring has one of them.
fn drivers() -> Vec<Driver> {
    let uring = Uring::probe();
    assert!(uring.is_ok() || std::env::var_os("SEGUE_TEST_IO_URING").is_none(), "{uring:?}");
    [Some(Driver::Epoll), uring.is_ok().then_some(Driver::IoUring)].into_iter().flatten().collect()
}

impl Fixture {
    fn new(change: impl FnOnce(&mut MediaSettings)) -> Self {
        let (sender, events) = mpsc::channel();
        let mut settings = MediaSettings::new(20_000..=59_999, Instant::now(), [1; 32]);
        change(&mut settings);
        let media = MediaThreads::start(&settings, move |event| {
            let _ = sender.send(event);
        });
        Self { media: media.unwrap(), events }
    }

    fn open(&self, thread: u8, count: u16) -> Vec<PortPair> {
        self.media.send(MediaCommand::OpenPorts { thread, address: LOOPBACK, count });
        match self.events.recv_timeout(PATIENCE).unwrap() {
            MediaEvent::PortsOpened { pairs, .. } => pairs,
            other => panic!("{other:?}"),
        }
    }

    fn phone(&self, pair: PortPair) -> Phone {
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let ingress = Ingress::audio(Some(socket.local_addr().unwrap()), Some(LOOPBACK));
        self.media.send(MediaCommand::Configure { port: pair.id, ingress });
        Phone { socket, to: SocketAddr::new(LOOPBACK, pair.rtp), pair, sent: 0 }
    }

    fn sinks(&self, from: &Phone, to: &[&Phone]) {
        let sinks = to.iter().map(|phone| Sink::plain(phone.pair.id)).collect();
        self.media.send(MediaCommand::SetSinks { port: from.pair.id, sinks });
    }

    /// Until the engine's commands so far were carried out.
    fn settle(&self, phone: &Phone) -> crate::media::relay::PortStats {
        self.media.send(MediaCommand::Report { port: phone.pair.id });
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                MediaEvent::Stats { port, stats } if port == phone.pair.id => return *stats,
                _ => {}
            }
        }
    }
}

struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    pair: PortPair,
    sent: u32,
}

impl Phone {
    fn send(&mut self) {
        self.step(160, false);
    }

    /// The next packet, so many samples after the last; one that is lost is not sent.
    fn step(&mut self, samples: u32, is_lost: bool) {
        let slot = self.pair.id.slot;
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence: (self.sent as u16).wrapping_add(65_500),
            timestamp: self.sent.wrapping_mul(samples).wrapping_add(99_999 * slot),
            ssrc: 0x0a0a_0000 + slot,
            payload_at: 0,
            payload_end: 0,
        };
        let mut packet = [slot as u8; 172];
        header.write_new(&mut packet);
        if !is_lost {
            self.socket.send_to(&packet, self.to).unwrap();
        }
        self.sent += 1;
    }

    /// The next packet within `wait`: when it came, its header, who spoke.
    fn hear(&self, wait: Duration) -> Option<(Instant, Header, u8)> {
        self.socket.set_read_timeout(Some(wait.max(Duration::from_micros(1)))).unwrap();
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).ok()?;
        Some((Instant::now(), Header::parse(&buffer[..len]).unwrap(), buffer[100]))
    }
}

#[test]
fn a_move_over_real_sockets_is_one_stream_for_the_far_side() {
    for driver in drivers() {
        let fixture = Fixture::new(|settings| settings.driver = driver);
        let pairs = fixture.open(0, 3);
        let [mut far, mut old, mut new] = [0, 1, 2].map(|n| fixture.phone(pairs[n]));
        fixture.sinks(&far, &[&old, &new]);
        fixture.sinks(&old, &[&far]);
        fixture.settle(&far);

        // Both devices send every 20 ms, 10 ms apart; the far side waits for packets in between.
        let start = Instant::now();
        let mut heard = Vec::new();
        for step in 0..100u32 {
            match step % 2 {
                0 => {
                    old.send();
                    far.send();
                }
                _ => new.send(),
            }
            if step == 50 {
                let (to_far, to_new) = (Sink::plain(far.pair.id), Some(Sink::plain(new.pair.id)));
                let ids = [far.pair.id, old.pair.id, new.pair.id];
                let [far, old, new] = ids;
                fixture.media.send(MediaCommand::Swap { far, old, new, to_far, to_new });
            }
            let next = start + Duration::from_millis(10) * (step + 1);
            while let Some(wait) = next.checked_duration_since(Instant::now()).filter(|w| !w.is_zero()) {
                heard.extend(far.hear(wait));
            }
        }
        assert!(heard.len() >= 48, "{}", heard.len());
        let switch = heard.iter().position(|(_, _, who)| u32::from(*who) == new.pair.id.slot).unwrap();
        assert!(heard.iter().skip(switch).all(|(_, _, who)| u32::from(*who) == new.pair.id.slot));
        for pair in heard.windows(2) {
            let ((at_a, a, _), (at_b, b, _)) = (pair[0], pair[1]);
            assert_eq!(b.ssrc, a.ssrc);
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            let step = b.timestamp.wrapping_sub(a.timestamp);
            let passed = (at_b - at_a).as_micros() as u32 * 8 / 1000;
            // The scheduler of a loaded machine delays packets; it does not change what their clock says.
            assert!((1..=320).contains(&step) || step <= passed + 160, "step {step}, passed {passed}");
        }
        let gap = fixture.events.try_iter().find_map(|event| match event {
            MediaEvent::Swapped { gap_us, .. } => Some(gap_us),
            _ => None,
        });
        assert!(gap.is_some_and(|gap| gap <= 40_000), "{gap:?}");
        let stats = fixture.settle(&old);
        assert!(stats.dropped(DropReason::Moved) >= 20);
        let mut to_old = 0;
        while old.hear(Duration::from_millis(1)).is_some() {
            to_old += 1;
        }
        assert!((25..=27).contains(&to_old), "nothing after the swap: {to_old}");
    }
}

#[test]
fn a_port_that_is_used_again_gives_nothing_of_what_came_before() {
    for driver in drivers() {
        let fixture = Fixture::new(|settings| settings.driver = driver);
        let pairs = fixture.open(0, 2);
        let [mut a, b] = [0, 1].map(|n| fixture.phone(pairs[n]));
        fixture.sinks(&a, &[&b]);
        fixture.settle(&a);
        a.send();
        assert!(b.hear(PATIENCE).is_some());
        fixture.media.send(MediaCommand::Release { port: pairs[0].id });
        assert_eq!(fixture.settle(&b).sent, 1);
        a.send();
        fixture.settle(&b);
        let mut again = fixture.phone(pairs[0]);
        fixture.sinks(&again, &[&b]);
        assert_eq!(fixture.settle(&again).received, 0);
        again.send();
        assert!(b.hear(PATIENCE).is_some());
    }
}

#[test]
fn threads_have_ports_of_their_own_and_end_when_told() {
    for driver in drivers() {
        let fixture = Fixture::new(|settings| (settings.driver, settings.threads) = (driver, 3));
        let ports: Vec<u16> = (0..3).flat_map(|n| fixture.open(n, 4)).map(|pair| pair.rtp).collect();
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((distinct.len(), fixture.media.threads()), (12, 3));
        fixture.media.send(MediaCommand::OpenPorts { thread: 9, address: LOOPBACK, count: 1 });
        fixture.media.shutdown();
        assert!(fixture.events.try_iter().next().is_none());
        assert!(UdpSocket::bind((LOOPBACK, ports[0])).is_ok(), "the ports are free again");
    }
}

#[test]
fn ports_that_cannot_be_opened_are_told_in_words() {
    let fixture = Fixture::new(|settings| settings.ports = 40_001..=40_002);
    fixture.media.send(MediaCommand::OpenPorts { thread: 0, address: LOOPBACK, count: 1 });
    match fixture.events.recv_timeout(PATIENCE).unwrap() {
        MediaEvent::PortsFailed { error, .. } => assert!(error.contains("40001-40002"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loaded_thread_loses_nothing_and_counts_everything() {
    for driver in drivers() {
        let fixture = Fixture::new(|settings| settings.driver = driver);
        let pairs = fixture.open(0, 40);
        let mut phones: Vec<Phone> = pairs.iter().map(|pair| fixture.phone(*pair)).collect();
        for pair in phones.chunks(2) {
            fixture.sinks(&pair[0], &[&pair[1]]);
            fixture.sinks(&pair[1], &[&pair[0]]);
        }
        fixture.settle(&phones[0]);
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            phones.iter_mut().for_each(Phone::send);
            // The last phone's packet is through before the next round begins.
            assert!(phones[38].hear(PATIENCE).is_some(), "{driver:?}");
        }
        let all: u64 = (0..phones.len()).map(|n| fixture.settle(&phones[n]).received).sum();
        assert_eq!(all, 40 * ROUNDS as u64);
        for phone in phones.iter().take(38) {
            let mut last = None;
            for _ in 0..ROUNDS {
                let (_, header, _) = phone.hear(PATIENCE).unwrap();
                assert!(last.is_none_or(|last: u16| header.sequence == last.wrapping_add(1)));
                last = Some(header.sequence);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while fixture.media.totals().sent != 40 * ROUNDS as u64 {
            assert!(Instant::now() < deadline, "{:?}", fixture.media.totals());
            std::thread::yield_now();
        }
    }
}

/// A packet every 2 ms on a clock that says so; of each hundred these never leave.
#[test]
fn lossy_streams_over_real_sockets_score_as_published() {
    const PUBLISHED: [(&[u32], f64); 4] =
        [(&[], 4.41), (&[50], 4.33), (&[16, 50, 83], 4.13), (&[10, 30, 50, 70, 90], 3.92)];
    const PACKETS: u32 = 1000;
    for driver in drivers() {
        let fixture = Fixture::new(|settings| settings.driver = driver);
        let pairs = fixture.open(0, 5);
        let far = fixture.phone(pairs[4]);
        let mut phones = [0, 1, 2, 3].map(|n| fixture.phone(pairs[n]));
        fixture.sinks(&phones[0], &[&far]);
        fixture.settle(&far);
        let start = Instant::now();
        for n in 0..PACKETS {
            for (phone, (lost, _)) in phones.iter_mut().zip(PUBLISHED) {
                phone.step(16, lost.contains(&(n % 100)));
            }
            let next = start + Duration::from_millis(2) * (n + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        for (phone, (lost, published)) in phones.iter().zip(PUBLISHED) {
            let stats = fixture.settle(phone);
            let measured = stats.measured();
            assert_eq!(measured.lost, lost.len() as u64 * u64::from(PACKETS / 100), "{driver:?} {stats:?}");
            let mos = measured.mos(&Codec::PCMU).unwrap();
            assert!((mos - published).abs() <= 0.02, "{mos} is not {published}: {stats:?}");
        }
    }
}

/// Every other packet is late; the jitter that is counted is that of the formula, worked out from when they were sent.
#[test]
fn jitter_over_real_sockets_is_that_of_a_reference() {
    for driver in drivers() {
        let fixture = Fixture::new(|settings| settings.driver = driver);
        let pairs = fixture.open(0, 1);
        let mut phone = fixture.phone(pairs[0]);
        fixture.settle(&phone);
        let (start, mut last, mut reference) = (Instant::now(), None, 0.0f64);
        for n in 0..100u32 {
            let late = Duration::from_millis(if n % 2 == 0 { 0 } else { 18 });
            let due = start + Duration::from_millis(20) * n;
            std::thread::sleep((due + late).saturating_duration_since(Instant::now()));
            // RFC 3550 6.4.1: J += (|D| - J) / 16.
            let transit = Instant::now().duration_since(due).as_secs_f64() * 1000.0;
            phone.step(160, false);
            if let Some(last) = last.replace(transit) {
                reference += ((transit - last).abs() - reference) / 16.0;
            }
        }
        let jitter = f64::from(fixture.settle(&phone).jitter_us) / 1000.0;
        assert!((jitter - reference).abs() <= 0.05 * reference, "{driver:?}: {jitter} is not {reference}");
    }
}
