//! Reports of our own, and what reports tell of the way.

use super::reports::sender_report;
use super::*;
use crate::wire::rtcp::{self, Packet, ReportBlock, SenderReport, VoipMetrics, Writer};

const DESK: &str = "192.0.2.1:4000";
const FAR: &str = "198.51.100.9:7000";

struct Scene {
    world: World,
    desk: Phone,
    far: Phone,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        let (desk, far) = (world.phone(DESK), world.phone(FAR));
        world.call(&desk, &far);
        Self { world, desk, far }
    }

    /// Both talk, each on its clock; what is lost does not reach us.
    fn talk(&mut self, packets: u32, is_lost: impl Fn(u32) -> bool) {
        for n in 0..packets {
            self.world.pass(ms(20));
            if is_lost(n) {
                self.desk.packet(0, self.desk.timestamp, &[]);
                self.desk.timestamp = self.desk.timestamp.wrapping_add(160);
            } else {
                self.world.send(&mut self.desk);
            }
            self.world.send(&mut self.far);
        }
    }

    /// The compounds that went to `phone` since the last look.
    fn reports_to(&mut self, phone: &Phone) -> Vec<Sent> {
        let mine = |s: &Sent| s.slot == phone.port.slot && s.component == Component::Rtcp;
        let reports = self.world.log.sent.iter().filter(|s| mine(s)).cloned().collect();
        self.world.log.sent.retain(|s| !mine(s));
        reports
    }

    fn report(&mut self, from: &Phone, compound: &Writer) {
        let src = SocketAddr::new(from.addr.ip(), from.addr.port() + 1);
        self.world.receive(from.port, Component::Rtcp, src, compound.bytes());
    }
}

fn first(sent: &Sent) -> Packet<'_> {
    let packets = rtcp::parse(&sent.bytes).unwrap();
    assert_eq!(packets[1].kind, rtcp::SDES, "RFC 3550 6.1: every compound has a CNAME");
    packets[0]
}

#[test]
fn who_has_no_reports_from_the_other_side_gets_ours_and_we_learn_the_way() {
    let mut scene = Scene::new();
    scene.talk(1500, |n| n % 20 == 19);
    let (desk, far) = (scene.desk.clone(), scene.far.clone());
    let (to_desk, to_far) = (scene.reports_to(&desk), scene.reports_to(&far).len());
    assert!((2..=8).contains(&to_far), "{to_far}");
    assert!((2..=8).contains(&to_desk.len()), "30 s, one in 5 s but at first: {}", to_desk.len());
    let last = to_desk.last().unwrap();
    assert_eq!(last.to, addr("192.0.2.1:4001"));
    let heard = scene.world.heard_by(&desk).last().unwrap().header();
    let report = SenderReport::parse(first(last).body).unwrap();
    assert_eq!(report.ssrc, heard.ssrc);
    assert_eq!(report.octets, 160 * report.packets);
    let age = (scene.world.log.now.since(last.at).as_millis() * 8) as u32;
    assert!(
        heard.timestamp.wrapping_sub(report.rtp_timestamp).abs_diff(age) <= 160,
        "the clock of our stream"
    );
    let block = first(last).report_blocks().next().unwrap();
    assert_eq!((block.ssrc, block.last_sr), (desk.ssrc, 0));
    assert!((11..=14).contains(&block.fraction_lost), "5 %: {block:?}");
    assert_eq!(scene.world.stats(desk.port).round_trip, None);

    // The desk answers our report, and of the time that passed the way took 60 ms.
    scene.world.pass(ms(100));
    let kept = scene.world.log.now.since(last.at) - ms(60);
    let (last_sr, delay) = ((report.ntp >> 16) as u32, (kept.as_micros() * 65_536 / 1_000_000) as u32);
    let answer = ReportBlock { ssrc: report.ssrc, last_sr, delay, ..block };
    scene.report(&desk, &sender_report(&desk, &[answer]));
    let stats = scene.world.stats(desk.port);
    assert!(stats.round_trip.unwrap().abs_diff(ms(60)) < ms(1), "{:?}", stats.round_trip);
    assert_eq!(stats.measured().delay, ms(20) + stats.round_trip.unwrap() / 2);
    assert_eq!(scene.reports_to(&far).len(), 1, "the answer crossed");
}

#[test]
fn where_both_report_nothing_is_added() {
    let mut scene = Scene::new();
    let (desk, far) = (scene.desk.clone(), scene.far.clone());
    for _ in 0..10 {
        scene.talk(100, |_| false);
        let (a, b) = (sender_report(&desk, &[]), sender_report(&far, &[]));
        scene.report(&desk, &a);
        scene.report(&far, &b);
    }
    assert_eq!((scene.reports_to(&desk).len(), scene.reports_to(&far).len()), (10, 10));
}

#[test]
fn ours_stand_in_only_when_theirs_have_ended_and_nobody_measures_by_them() {
    let mut scene = Scene::new();
    let (desk, far) = (scene.desk.clone(), scene.far.clone());
    scene.talk(100, |_| false);
    scene.report(&far, &sender_report(&far, &[]));
    scene.talk(1200, |_| false);
    assert_eq!(scene.reports_to(&desk).len(), 1, "24 s are a pause");
    scene.talk(800, |_| false);
    let ours = scene.reports_to(&desk);
    assert!((1..=6).contains(&ours.len()), "{}", ours.len());
    // What the desk says of our report is no word of one that the far side has sent.
    let report = SenderReport::parse(first(ours.last().unwrap()).body).unwrap();
    let last_sr = (report.ntp >> 16) as u32;
    for (said, crosses) in [(last_sr, (0, 0)), (7, (7, 99))] {
        let about = ReportBlock {
            ssrc: report.ssrc,
            fraction_lost: 0,
            lost: 0,
            highest: 0,
            jitter: 0,
            last_sr: said,
            delay: 99,
        };
        scene.report(&desk, &sender_report(&desk, &[about]));
        let to_far = scene.reports_to(&far);
        let block = first(to_far.last().unwrap()).report_blocks().next().unwrap();
        assert_eq!((block.last_sr, block.delay), crosses);
    }
}

#[test]
fn who_has_lost_its_call_gets_no_report() {
    let mut scene = Scene::new();
    let mut mobile = scene.world.phone("192.0.2.2:4000");
    scene.world.send(&mut mobile);
    let (desk, far) = (scene.desk.clone(), scene.far.clone());
    scene.talk(1000, |_| false);
    assert!(!scene.reports_to(&desk).is_empty());
    scene.world.swap(&far, &desk, &mobile);
    scene.reports_to(&desk);
    for _ in 0..1500 {
        scene.talk(1, |_| false);
        scene.world.send(&mut mobile);
    }
    assert!(scene.reports_to(&desk).is_empty());
    assert!(!scene.reports_to(&mobile).is_empty());
}

#[test]
fn a_stream_that_begins_to_sound_bad_is_told_once_and_once_when_it_is_well() {
    let mut scene = Scene::new();
    let told = |scene: &mut Scene| {
        let sounds = |event| match event {
            MediaEvent::Sounds { port, is_poor, measured } => Some((port, is_poor, measured.loss())),
            _ => None,
        };
        scene.world.events().into_iter().filter_map(sounds).collect::<Vec<_>>()
    };
    scene.talk(1000, |n| n % 20 == 19);
    assert_eq!(told(&mut scene), [], "5 % are not nice, and yet no alarm");
    scene.talk(1500, |n| n % 5 == 4);
    let bad = told(&mut scene);
    let &[(port, true, loss)] = &bad[..] else { panic!("{bad:?}") };
    assert_eq!(port, scene.desk.port);
    assert!(loss > 0.08, "{loss}");
    scene.talk(1500, |_| false);
    let well = told(&mut scene);
    assert!(matches!(&well[..], [(port, false, _)] if *port == scene.desk.port), "{well:?}");
}

#[test]
fn who_is_silent_and_hears_nothing_gets_none() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        scene.world.pass(ms(500));
    }
    assert!(scene.world.log.sent.is_empty());
}

#[test]
fn an_answer_to_a_report_that_never_went_tells_nothing() {
    let mut scene = Scene::new();
    scene.talk(500, |_| false);
    let desk = scene.desk.clone();
    let ssrc = scene.world.heard_by(&desk)[0].header().ssrc;
    for last_sr in [0, 1, u32::MAX] {
        let block = ReportBlock { ssrc, fraction_lost: 0, lost: 0, highest: 0, jitter: 0, last_sr, delay: 0 };
        scene.report(&desk, &sender_report(&desk, &[block]));
    }
    assert_eq!(scene.world.stats(desk.port).round_trip, None);
}

#[test]
fn packets_that_come_twice_or_late_are_told_apart_and_hide_no_loss() {
    let mut scene = Scene::new();
    scene.talk(100, |_| false);
    let mut desk = scene.desk.clone();
    let mut next = || {
        let packet = desk.packet(0, desk.timestamp, &[0xd5; 160]);
        desk.timestamp = desk.timestamp.wrapping_add(160);
        packet
    };
    let [a, b, c, _lost, e] = [(); 5].map(|()| next());
    for packet in [&a, &c, &b, &b, &a, &e, &e] {
        scene.world.receive(scene.desk.port, Component::Rtp, scene.desk.addr, packet);
    }
    let stats = scene.world.stats(scene.desk.port);
    assert_eq!((stats.reordered, stats.duplicates), (1, 3));
    assert_eq!(
        (stats.lost, stats.missing()),
        (-2, 1),
        "RFC 3550 A.3 lets one that came twice stand for another"
    );
    assert_eq!(stats.measured().lost, 1);
}

#[test]
fn what_a_receiver_says_of_its_hearing_is_kept() {
    let mut scene = Scene::new();
    scene.talk(10, |_| false);
    let desk = scene.desk.clone();
    let ssrc = scene.world.heard_by(&desk)[0].header().ssrc;
    let mut compound = sender_report(&desk, &[]);
    compound.packet(rtcp::XR, |body| {
        body.word(desk.ssrc);
        body.bytes(&[7, 0, 0, 8]);
        body.word(ssrc);
        body.bytes(&[5, 2, 40, 1, 0, 100, 1, 0, 0, 80, 0, 60, 127, 127, 127, 16, 88, 127, 42, 127]);
        body.bytes(&[0, 0, 0, 60, 0, 120, 0, 200]);
    });
    scene.report(&desk, &compound);
    let expected = VoipMetrics {
        loss_rate: 5,
        discard_rate: 2,
        burst_density: 40,
        gap_density: 1,
        round_trip_ms: 80,
        end_system_ms: 60,
        r_factor: Some(88),
        mos_lq: Some(42),
        mos_cq: None,
    };
    assert_eq!(scene.world.stats(desk.port).voip, Some(expected));
}
