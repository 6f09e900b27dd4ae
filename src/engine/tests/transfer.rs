//! Transfers: blind and attended, between any parties, and every way in which they can fail.

use std::collections::VecDeque;
use std::time::Duration;

use super::three::Three;
use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World};
use crate::call::record::Disposition;
use crate::engine::store::Loaded;
use crate::media::relay::{MediaCommand, Sound};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

#[test]
fn a_blind_transfer_rings_the_target_and_who_stays_keeps_its_dialog() {
    for by_caller in [true, false] {
        let mut three = Three::talking(1000);
        let (by, stays) = if by_caller { (three.alice, three.bob) } else { (three.bob, three.alice) };
        three.world.phones[three.carol].answer = Answer::Ring;
        three.world.captured = Some(VecDeque::new());
        three.world.phones[by].reinvite(0, "sendonly");
        three.world.run(SECOND);
        let before = three.world.phones[stays].lines[0].dialog.clone();
        three.refer(by, "<sip:1003@example.org>");
        assert_eq!(
            (three.refer_status(by), three.told(by)),
            (Some(202), vec!["100", "180"]),
            "{}",
            three.world.tail()
        );
        let sent =
            three.world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let invite = sent.into_iter().find(|text| text.starts_with("INVITE sip:carol-desk@")).unwrap();
        let (from, referrer) = if by_caller { ("Bob", "Alice") } else { ("Alice", "Bob") };
        assert!(invite.contains(&format!("From: \"{from}\" <sip:")), "{invite}");
        assert!(invite.contains(&format!("Referred-By: \"{referrer}\" <sip:")), "{invite}");
        three.world.phones[three.carol].pick_up(0);
        three.world.run(SECOND);
        assert_eq!(three.told(by), ["100", "180", "200"], "{}", three.world.tail());
        assert!(three.world.phones[by].lines[0].reason.contains("Call transferred"));
        let (other, name) = if by_caller { ("bob*desk", "Bob") } else { ("alice*desk", "Alice") };
        assert_eq!(three.world.heard_by(other), ["carol*desk"], "{}", three.world.tail());
        assert_eq!(three.world.heard_by("carol*desk"), [other]);
        let line = &three.world.phones[stays].lines[0];
        assert_eq!((&line.dialog.call_id, &line.dialog.remote_tag), (&before.call_id, &before.remote_tag));
        assert!(
            line.last_heard().contains("a=sendrecv") || !line.last_heard().contains("a=send"),
            "{}",
            line.last_heard()
        );
        assert!(line.identity.as_deref().is_some_and(|shown| shown.contains("Carol")), "{:?}", line.identity);
        let shown = three.world.phones[three.carol].lines[0].identity.clone().unwrap();
        assert!(shown.contains(name), "{shown}");
        three.end();
    }
}

#[test]
fn records_tell_of_both_calls_of_a_transfer() {
    let mut three = Three::talking(1001);
    three.refer(three.alice, "<sip:carol@example.org>");
    three.joined();
    three.world.run(10 * SECOND);
    let records = &three.world.records;
    assert_eq!(records.len(), 1);
    assert_eq!((&*records[0].from, &*records[0].to), ("alice", "bob"));
    three.world.phones[three.carol].bye(0);
    three.world.run(10 * SECOND);
    let last = three.world.records.last().unwrap().clone();
    assert_eq!(
        (&*last.from, &*last.to, last.disposition),
        ("bob", "carol", Disposition::Answered),
        "{last:?}"
    );
    assert!(three.world.phones[three.bob].lines[0].is_over);
    three.end();
}

#[test]
fn a_transferor_that_hangs_up_at_once_does_not_end_the_call() {
    let mut three = Three::talking(1002);
    three.world.phones[three.carol].answer = Answer::Ring;
    three.refer(three.alice, "<sip:carol@example.org>");
    three.world.phones[three.alice].bye(0);
    three.world.run(3 * SECOND);
    assert!(!three.world.phones[three.bob].lines[0].is_over, "{}", three.world.tail());
    let port = three.world.port_of("bob*desk").unwrap();
    let is_waiting = |command: &MediaCommand| matches!(command, MediaCommand::Play { port: of, sound: Sound::Waiting, .. } if *of == port);
    assert!(three.world.media.iter().any(is_waiting), "it hears that the line stands");
    // It may hold meanwhile: not now, but not as if there were no call.
    three.world.phones[three.bob].reinvite(0, "sendonly");
    three.world.run(SECOND);
    assert_eq!(three.world.phones[three.bob].lines[0].status, Some(491));
    three.world.phones[three.carol].pick_up(0);
    three.world.run(SECOND);
    three.joined();
    let last = three.world.media.iter().rfind(|command| {
        matches!(command, MediaCommand::Play { port: of, .. } | MediaCommand::Stop { port: of } if *of == port)
    });
    assert_eq!(last, Some(&MediaCommand::Stop { port }));
    three.end();
}

#[test]
fn a_target_that_refuses_leaves_the_call_and_its_status_is_told() {
    for (status, told) in [(486, "486"), (603, "603"), (488, "488"), (401, "403")] {
        let mut three = Three::talking(1003);
        three.world.phones[three.carol].answer = Answer::Ring;
        three.refer(three.alice, "<sip:carol@example.org>");
        three.world.phones[three.carol].refuse(0, status);
        three.world.run(SECOND);
        assert_eq!(three.told(three.alice), ["100", "180", told], "{}", three.world.tail());
        three.untouched();
        // And again, to the same, who takes it now.
        three.world.phones[three.carol].answer = Answer::Now;
        three.refer(three.alice, "<sip:carol@example.org>");
        three.joined();
        three.end();
    }
}

#[test]
fn a_target_that_is_not_there_is_told_as_such() {
    let mut three = Three::talking(1004);
    three.world.phones[three.carol].register(0);
    three.world.run(SECOND);
    three.refer(three.alice, "<sip:carol@example.org>");
    assert_eq!((three.refer_status(three.alice), three.told(three.alice)), (Some(202), vec!["100", "480"]));
    three.untouched();
    three.refer(three.alice, "<sip:nobody@example.org>");
    assert_eq!(three.refer_status(three.alice), Some(404), "{}", three.world.tail());
    three.untouched();
    three.end();
}

#[test]
fn a_target_that_never_answers_is_given_up() {
    let mut three = Three::talking(1005);
    three.world.phones[three.carol].answer = Answer::Ring;
    three.refer(three.alice, "<sip:carol@example.org>");
    three.world.run(200 * SECOND);
    assert_eq!(three.told(three.alice), ["100", "180", "480"], "{}", three.world.tail());
    assert!(three.world.phones[three.carol].lines[0].is_over);
    three.untouched();
    three.end();
}

#[test]
fn who_stays_may_hang_up_while_the_target_rings() {
    for transferor_is_gone in [false, true] {
        let mut three = Three::talking(1006);
        three.world.phones[three.carol].answer = Answer::Ring;
        three.refer(three.alice, "<sip:carol@example.org>");
        if transferor_is_gone {
            three.world.phones[three.alice].bye(0);
            three.world.run(SECOND);
        }
        three.world.phones[three.bob].bye(0);
        three.world.run(SECOND);
        assert!(three.world.phones[three.carol].lines[0].is_over, "{}", three.world.tail());
        assert!(three.world.phones[three.alice].lines[0].is_over);
        three.end();
    }
}

#[test]
fn an_attended_transfer_joins_the_two_that_the_transferor_talks_with() {
    let mut three = Three::talking(1007);
    let to = three.consult();
    three.refer(three.alice, &to);
    assert_eq!(
        (three.refer_status(three.alice), three.told(three.alice)),
        (Some(202), vec!["100", "200"]),
        "{}",
        three.world.tail()
    );
    three.joined();
    for line in 0..2 {
        let line = &three.world.phones[three.alice].lines[line];
        assert!(line.is_over && line.reason.contains("Call transferred"), "{}", three.world.tail());
    }
    let shown = |phone: usize| three.world.phones[phone].lines[0].identity.clone().unwrap_or_default();
    assert!(shown(three.bob).contains("Carol") && shown(three.carol).contains("Bob"));
    assert!(
        !three.world.phones[three.bob].lines[0].last_heard().contains("a=sendonly"),
        "the hold is lifted"
    );
    three.end();
}

#[test]
fn tags_as_phones_send_them_find_the_consulted_call() {
    for seed in 0..4 {
        let mut three = Three::talking(1020 + seed);
        three.consult();
        let dialog = three.world.phones[three.alice].lines[1].dialog.clone();
        let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
        let to = match seed {
            0 => format!("<sip:carol@example.org?Replaces={id}>"),
            1 => format!("<sip:carol@example.org?Replaces={id}%3Bto-tag%3D{ours}%3Bfrom-tag%3D{theirs}>"),
            2 => {
                format!("<sip:carol@example.org?Require=replaces&Replaces={id}%3Bto-tag%3D0%3Bfrom-tag%3D0>")
            }
            // No Replaces at all: our Contact names the call.
            _ => format!("<{}>", dialog.target),
        };
        three.refer(three.alice, &to);
        three.joined();
        three.end();
    }
}

#[test]
fn an_attended_transfer_to_a_phone_that_refuses_leaves_both_calls() {
    for who in 0..2 {
        let mut three = Three::talking(1008);
        let to = three.consult();
        let refuser = if who == 0 { three.carol } else { three.bob };
        three.world.phones[refuser].reinvite = 488;
        three.refer(three.alice, &to);
        three.world.run(SECOND);
        assert_eq!(three.told(three.alice), ["100", "488"], "{who}\n{}", three.world.tail());
        three.world.phones[refuser].reinvite = 200;
        assert!(three.world.engine.transfers.is_empty(), "{who}\n{}", three.world.tail());
        assert_eq!(three.world.heard_by("carol*desk"), ["alice*desk"], "{}", three.world.tail());
        assert!(!three.world.phones[three.alice].lines[1].is_over);
        three.untouched();
        // It was asked at a bad moment; now is a better one.
        three.refer(three.alice, &to);
        three.joined();
        three.end();
    }
}

#[test]
fn a_call_that_still_rings_is_handed_on() {
    let mut three = Three::talking(1009);
    three.world.phones[three.carol].answer = Answer::Ring;
    let to = three.consult();
    // What the 180 told: a caller has no tag of the other side otherwise.
    let to = to.replace("%3Bto-tag%3D%3B", "%3Bto-tag%3D0%3B");
    three.refer(three.alice, &to);
    assert_eq!(three.refer_status(three.alice), Some(202), "{}", three.world.tail());
    assert_eq!(three.world.phones[three.alice].lines[1].status, Some(487), "{}", three.world.tail());
    three.world.phones[three.carol].pick_up(0);
    three.world.run(SECOND);
    assert_eq!(three.told(three.alice).last(), Some(&"200"), "{}", three.world.tail());
    three.joined();
    three.end();
}

#[test]
fn who_wants_no_word_of_it_gets_none() {
    let mut three = Three::talking(1010);
    let headers =
        [("Refer-To", "<sip:carol@example.org>"), ("Refer-Sub", "false"), ("Require", "norefersub")];
    three.world.phones[three.alice].request(0, &Method::Refer, &headers, b"");
    three.world.run(SECOND);
    assert_eq!(three.refer_status(three.alice), Some(202), "{}", three.world.tail());
    assert!(three.told(three.alice).is_empty());
    three.joined();
    three.end();
}

#[test]
fn strangers_and_other_methods_are_refused() {
    let mut three = Three::talking(1011);
    for to in [
        "<sip:+900@toll.example>",
        "<sip:carol@example.org;method=BYE>",
        "<sip:*43@example.org>",
        "<sip:carol@example.org?Replaces=guess%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    ] {
        three.refer(three.alice, to);
        let status = three.refer_status(three.alice).unwrap();
        assert!([403, 404, 481].contains(&status), "{to}: {status}");
    }
    assert!(three.world.phones[three.carol].requests.is_empty());
    three.untouched();
    three.end();
}

#[test]
fn a_trunk_may_transfer_only_where_that_is_configured() {
    for may_refer in [false, true] {
        let mut settings = settings();
        let peer = "203.0.113.9:5060".parse().unwrap();
        trunk_to(&mut settings, peer).policy.may_refer = may_refer;
        let accounts = accounts(&["alice", "bob", "carol"]);
        let mut world = World::with(1012, settings, accounts, &Loaded::default());
        let (alice, carol) = (world.phone("alice", "desk"), world.phone("carol", "desk"));
        let outside = world.outsider("bob", peer);
        world.phones[outside].dial("alice");
        world.run(SECOND);
        world.phones[outside].request(0, &Method::Refer, &[("Refer-To", "<sip:carol@example.org>")], b"");
        world.run(SECOND);
        let status = world.phones[outside].finals.last().map(|found| found.1);
        assert_eq!(status, Some(if may_refer { 202 } else { 403 }), "{}", world.tail());
        assert_eq!(world.phones[carol].lines.len(), usize::from(may_refer));
        let heard = world.heard_by("alice*desk");
        assert_eq!(heard == ["carol*desk"], may_refer, "{heard:?} {}", world.tail());
        world.phones[alice].bye(0);
        world.run(TWO_MINUTES);
        world.check_idle();
    }
}

#[test]
fn a_transfer_to_a_trunk_tries_the_next_where_one_refuses() {
    let mut settings = settings();
    let peer = "203.0.113.9:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    let mut second = settings.call.trunks[0].clone();
    (second.name, second.targets[0].peer) = ("backup".into(), "203.0.113.10:5060".parse().unwrap());
    settings.call.trunks.push(second);
    settings.call.routes = vec![leads("^00", &["trunk:outside", "trunk:backup"])];
    let mut world = World::with(1013, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let first = world.outsider("alice", peer);
    let second = world.outsider("alice", "203.0.113.10:5060".parse().unwrap());
    world.phones[first].answer = Answer::Busy;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    world.phones[alice].request(0, &Method::Refer, &[("Refer-To", "<sip:00123@example.org>")], b"");
    world.run(SECOND);
    assert!(world.phones[second].lines[0].is_up, "{}", world.tail());
    assert!(world.phones[alice].lines[0].is_over);
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
    assert!(world.engine.core().capacity.calls().eq([0, 0]));
}

#[test]
fn over_a_bad_network_a_transfer_is_whole_or_has_not_happened() {
    for seed in 1040..1060 {
        let mut three = Three::talking(seed);
        let to = if seed % 2 == 0 { three.consult() } else { "<sip:carol@example.org>".to_owned() };
        (three.world.network.loss, three.world.network.twice) = (150, 150);
        three.world.network.jitter = Duration::from_millis(30);
        three.refer(three.alice, &to);
        three.world.run(90 * SECOND);
        three.world.check();
        assert!(three.world.engine.transfers.is_empty(), "{seed}\n{}", three.world.tail());
        let heard = three.world.heard_by("bob*desk");
        assert!(heard == ["carol*desk"] || heard == ["alice*desk"] || heard.is_empty(), "{seed} {heard:?}");
        (three.world.network.loss, three.world.network.twice) = (0, 0);
        three.world.run(TWO_MINUTES);
        three.end();
    }
}
