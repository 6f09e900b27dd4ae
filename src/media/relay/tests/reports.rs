//! RTCP crosses in the terms of the leg that it goes to.

use super::*;
use crate::wire::rtcp::{self, Packet, ReportBlock, SenderReport, Writer};

const FAR: &str = "198.51.100.9:7000";
const DESK: &str = "192.0.2.1:4000";
const MOBILE: &str = "192.0.2.2:5000";

struct Scene {
    world: World,
    far: Phone,
    desk: Phone,
    mobile: Phone,
}

impl Scene {
    /// Far and desk in a call of 10 packets each way; mobile at hand.
    fn new() -> Self {
        let mut world = World::new();
        let (mut far, mut desk, mobile) = (world.phone(FAR), world.phone(DESK), world.phone(MOBILE));
        world.call(&far, &desk);
        for _ in 0..10 {
            world.send(&mut far);
            world.send(&mut desk);
            world.pass(ms(20));
        }
        Self { world, far, desk, mobile }
    }

    /// SSRC, last sequence number and last timestamp of what the phone hears.
    fn hears(&self, phone: &Phone) -> Header {
        let mine = |s: &&Sent| s.slot == phone.port.slot && s.component == Component::Rtp;
        self.world.log.sent.iter().rev().find(mine).unwrap().header()
    }

    fn report(&mut self, from: &Phone, compound: &Writer) -> Verdict {
        let src = SocketAddr::new(from.addr.ip(), from.addr.port() + 1);
        self.world.receive(from.port, Component::Rtcp, src, compound.bytes())
    }

    fn last_rtcp(&self) -> Sent {
        self.world.log.sent.iter().rev().find(|s| s.component == Component::Rtcp).unwrap().clone()
    }
}

fn block(ssrc: u32, highest: u32) -> ReportBlock {
    ReportBlock { ssrc, fraction_lost: 26, lost: 3, highest, jitter: 80, last_sr: 0x1234, delay: 99 }
}

pub(super) fn sender_report(phone: &Phone, blocks: &[ReportBlock]) -> Writer {
    let mut writer = Writer::default();
    writer.packet(rtcp::SR, |body| {
        body.sender_report(&SenderReport {
            ssrc: phone.ssrc,
            ntp: 0xaaaa_bbbb_cccc_dddd,
            rtp_timestamp: phone.timestamp,
            packets: 10,
            octets: 1600,
        });
        blocks.iter().for_each(|block| body.report_block(block));
    });
    writer.packet(rtcp::SDES, |body| body.cname(phone.ssrc, b"bob@192.168.1.7"));
    writer
}

fn packets(sent: &Sent) -> Vec<Packet<'_>> {
    rtcp::parse(&sent.bytes).unwrap().into_vec()
}

#[test]
fn a_sender_report_tells_of_our_stream_on_our_clock_and_hides_who_sends() {
    let mut scene = Scene::new();
    let (heard_by_far, heard_by_desk) = (scene.hears(&scene.far), scene.hears(&scene.desk));
    let desk = scene.desk.clone();
    let highest = u32::from(heard_by_desk.sequence);
    let report = sender_report(&desk, &[block(heard_by_desk.ssrc, highest), block(4711, 5)]);
    assert_eq!(scene.report(&desk, &report), Verdict::Forwarded(1));
    let sent = scene.last_rtcp();
    assert_eq!(sent.to, addr("198.51.100.9:7001"));
    let packets = packets(&sent);
    let crossed = SenderReport::parse(packets[0].body).unwrap();
    assert_eq!(crossed.ssrc, heard_by_far.ssrc);
    assert_eq!(crossed.ntp, 0xaaaa_bbbb_cccc_dddd);
    assert_eq!(crossed.rtp_timestamp, heard_by_far.timestamp.wrapping_add(160));
    assert_eq!((crossed.packets, crossed.octets), (10, 1600));
    let blocks: Vec<ReportBlock> = packets[0].report_blocks().collect();
    let expected = block(scene.far.ssrc, u32::from(scene.far.sequence.wrapping_sub(1)));
    assert_eq!(blocks, [expected], "about the far side's own stream alone, in its own numbers");
    assert_eq!(packets[1].kind, rtcp::SDES);
    assert!(!sent.bytes.windows(7).any(|w| w == b"192.168"));
    let stats = scene.world.stats(desk.port);
    assert_eq!(stats.reported, Some(Reported { fraction_lost: 26, lost: 3, jitter_us: 10_000 }));
    assert_eq!((stats.rtcp_received, scene.world.stats(scene.far.port).rtcp_sent), (1, 1));
}

#[test]
fn after_a_move_reports_are_about_the_new_device_and_counts_go_on() {
    let mut scene = Scene::new();
    let (mut far, desk, mut mobile) = (scene.far.clone(), scene.desk.clone(), scene.mobile.clone());
    let ssrc = scene.hears(&far).ssrc;
    scene.world.swap(&far, &desk, &mobile);
    for _ in 0..5 {
        scene.world.pass(ms(20));
        scene.world.send(&mut mobile);
        scene.world.send(&mut far);
    }
    let heard = scene.hears(&far);
    assert_eq!(scene.report(&desk, &sender_report(&desk, &[])), Verdict::Dropped(DropReason::Moved));

    scene.report(&mobile, &sender_report(&mobile, &[]));
    let sent = scene.last_rtcp();
    let crossed = SenderReport::parse(packets(&sent)[0].body).unwrap();
    assert_eq!((crossed.ssrc, crossed.packets), (ssrc, 15));
    assert_eq!(crossed.rtp_timestamp, heard.timestamp.wrapping_add(160));

    // What the far side says of our stream is about mobile's, in mobile's numbers.
    let report = sender_report(&far, &[block(heard.ssrc, u32::from(heard.sequence))]);
    scene.report(&far, &report);
    let sent = scene.last_rtcp();
    assert_eq!(sent.slot, mobile.port.slot);
    let blocks: Vec<ReportBlock> = packets(&sent)[0].report_blocks().collect();
    assert_eq!(blocks, [block(mobile.ssrc, u32::from(mobile.sequence.wrapping_sub(1)))]);
}

#[test]
fn the_name_toward_a_leg_is_constant_and_bye_never_crosses() {
    let mut scene = Scene::new();
    let (far, desk, mut mobile) = (scene.far.clone(), scene.desk.clone(), scene.mobile.clone());
    scene.report(&desk, &sender_report(&desk, &[]));
    let before = scene.last_rtcp();
    scene.world.swap(&far, &desk, &mobile);
    scene.world.send(&mut mobile);
    let mut goodbye = sender_report(&mobile, &[]);
    goodbye.packet(rtcp::BYE, |body| {
        body.count = 1;
        body.word(mobile.ssrc);
    });
    scene.report(&mobile, &goodbye);
    let after = scene.last_rtcp();
    let (before, after) = (packets(&before), packets(&after));
    assert_eq!(before[1], after[1], "SDES");
    assert!(after.iter().all(|packet| packet.kind != rtcp::BYE));

    let mut alone = Writer::default();
    alone.packet(rtcp::BYE, |body| {
        body.count = 1;
        body.word(mobile.ssrc);
    });
    assert_eq!(scene.report(&mobile, &alone), Verdict::Dropped(DropReason::NothingToSay));
}

#[test]
fn extended_reports_and_feedback_are_in_the_terms_of_the_other_leg() {
    let mut scene = Scene::new();
    let (far, desk) = (scene.far.clone(), scene.desk.clone());
    let heard = scene.hears(&far);
    let mut report = Writer::default();
    report.packet(rtcp::RR, |body| body.word(far.ssrc));
    report.packet(rtcp::XR, |body| {
        body.word(far.ssrc);
        body.bytes(&[4, 0, 0, 2]);
        body.bytes(&[9; 8]);
        body.bytes(&[7, 0, 0, 8]);
        body.word(heard.ssrc);
        body.bytes(&[3; 28]);
        body.bytes(&[7, 0, 0, 8]);
        body.word(4711);
        body.bytes(&[3; 28]);
        body.bytes(&[6, 0, 0, 9]);
        body.word(heard.ssrc);
        body.bytes(&heard.sequence.wrapping_sub(9).to_be_bytes());
        body.bytes(&heard.sequence.to_be_bytes());
        body.bytes(&[5; 28]);
    });
    report.packet(rtcp::RTPFB, |body| {
        body.count = 1;
        body.word(far.ssrc);
        body.word(heard.ssrc);
        body.bytes(&heard.sequence.to_be_bytes());
        body.bytes(&[0, 1]);
    });
    report.packet(rtcp::PSFB, |body| {
        body.count = 1;
        body.word(far.ssrc);
        body.word(heard.ssrc);
    });
    assert_eq!(scene.report(&far, &report), Verdict::Forwarded(1));
    let (sent, ours) = (scene.last_rtcp(), scene.hears(&desk).ssrc);
    let packets = packets(&sent);
    let kinds: Vec<u8> = packets.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [rtcp::RR, rtcp::SDES, rtcp::XR, rtcp::RTPFB, rtcp::PSFB]);
    assert!(packets.iter().all(|p| p.sender() == Some(ours)));
    let xr = packets[2].body;
    assert_eq!(xr.len(), 4 + 12 + 36 + 40, "the block about a stranger is left out");
    assert_eq!(rtcp::word(xr, 4 + 12 + 4), Some(desk.ssrc));
    let last = desk.sequence.wrapping_sub(1);
    assert_eq!(xr[4 + 12 + 36 + 8..][..4], [last.wrapping_sub(9).to_be_bytes(), last.to_be_bytes()].concat());
    assert_eq!(packets[3].body[8..10], last.to_be_bytes());
    assert_eq!((rtcp::word(packets[4].body, 4), packets[4].count), (Some(desk.ssrc), 1));
}

#[test]
fn a_receive_only_device_reports_without_a_stream_of_its_own() {
    let mut world = World::new();
    let (mut far, desk) = (world.phone(FAR), world.phone(DESK));
    world.call(&far, &desk);
    world.send(&mut far);
    let heard = world.heard_by(&desk)[0].header();
    let mut report = Writer::default();
    report.packet(rtcp::RR, |body| {
        body.word(42);
        body.report_block(&block(heard.ssrc, u32::from(heard.sequence)));
    });
    let src = addr("192.0.2.1:4001");
    assert_eq!(world.receive(desk.port, Component::Rtcp, src, report.bytes()), Verdict::Forwarded(1));
    let sent = world.log.sent.last().unwrap();
    assert_eq!(packets(sent)[0].report_blocks().next().unwrap().ssrc, far.ssrc);
}

#[test]
fn what_comes_in_by_rtcp_is_told_where_that_is_asked_for_and_once_a_second() {
    let mut scene = Scene::new();
    let desk = scene.desk.clone();
    let told = |scene: &Scene| {
        let events = scene.world.log.events.iter();
        events.filter(|event| matches!(event, MediaEvent::Rtcp { .. })).count()
    };
    let report = sender_report(&desk, &[]);
    scene.report(&desk, &report);
    assert_eq!(told(&scene), 0, "nobody asks");
    let relay = std::mem::replace(&mut scene.world.relay, Relay::new(0, Random::from_number(2)));
    scene.world.relay = relay.tell_rtcp();
    for (pause, count) in [(0, 1), (100, 1), (899, 2), (100, 2), (800, 3)] {
        scene.world.pass(ms(pause));
        scene.report(&desk, &report);
        assert_eq!(told(&scene), count, "after {pause} ms");
    }
    let last = scene.world.log.events.iter().rev().find_map(|event| match event {
        MediaEvent::Rtcp { port, on, peer, packet } => Some((*port, *on, *peer, packet.clone())),
        _ => None,
    });
    let expected = (desk.port, Component::Rtcp, addr("192.0.2.1:4001"), Box::from(report.bytes()));
    assert_eq!(last, Some(expected));
    let stranger = scene.world.receive(desk.port, Component::Rtcp, addr("203.0.113.1:9"), report.bytes());
    assert_eq!((stranger, told(&scene)), (Verdict::Dropped(DropReason::WrongSource), 3));
}
