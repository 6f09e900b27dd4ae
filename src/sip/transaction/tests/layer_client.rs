//! The client half of the layer.

use super::*;

struct Sent {
    layer: Transactions<u32>,
    out: Vec<Effect<u32>>,
    tx: ClientTx,
    invite: Bytes,
}

/// A layer that has just sent an INVITE for owner 9.
fn calling(flow: Flow) -> Sent {
    let (mut layer, mut out, invite) = (layer(Settings::default()), Vec::new(), ASK.bytes());
    let tx = layer.request(T0, flow, &Method::Invite, ASK.branch, invite.clone(), 9, &mut out);
    assert_eq!(sent(&out), ["INVITE"]);
    out.clear();
    Sent { layer, out, tx, invite }
}

impl Sent {
    fn hears(&mut self, at: u64, status: u16, to_tag: Option<&str>) -> &[Effect<u32>] {
        self.out.clear();
        self.layer.receive(T0 + ms(at), udp(), answer(&self.invite, status, to_tag), &mut self.out);
        &self.out
    }
}

fn statuses(out: &[Effect<u32>]) -> Vec<u16> {
    out.iter()
        .filter_map(|effect| match effect {
            Effect::Response { owner: 9, message, .. } => Some(message.status().unwrap().as_u16()),
            _ => None,
        })
        .collect()
}

#[test]
fn provisional_answers_pass_and_100_passes_once() {
    let mut call = calling(udp());
    assert_eq!(statuses(call.hears(10, 100, None)), [100]);
    assert_eq!(statuses(call.hears(11, 100, None)), [0; 0]);
    assert_eq!(statuses(call.hears(20, 180, Some("b1"))), [180]);
    assert_eq!(statuses(call.hears(21, 180, Some("b1"))), [180], "a fork's or a repetition: the user sees");
    assert_eq!(statuses(call.hears(22, 100, None)), [0; 0]);
}

#[test]
fn a_refusal_is_acknowledged_here_and_again_when_repeated() {
    let mut call = calling(udp());
    let out = call.hears(10, 486, Some("b1"));
    assert_eq!((sent(out), statuses(out)), (vec!["ACK".to_owned()], vec![486]));
    let ack = last_sent(out).1;
    assert_eq!(ack.uri(), "sip:bob@example.com");
    assert_eq!(ack.via().unwrap().branch(), Some(ASK.branch));
    assert_eq!((ack.to_tag(), ack.from_tag(), ack.cseq().unwrap().number), (Some("b1"), Some("a1"), 1));
    assert!(ack.check().is_ok());
    let first = ack.bytes().clone();
    let out = call.hears(500, 486, Some("b1"));
    assert_eq!((sent(out), statuses(out).len()), (vec!["ACK".to_owned()], 0));
    assert_eq!(last_sent(out).1.bytes(), &first);
    assert_eq!(run_down(&mut call.layer).len(), 0);
    assert!(call.layer.is_empty());
}

#[test]
fn ack_and_cancel_take_the_route_of_the_invite() {
    let text = "INVITE sip:bob@192.0.2.4;lr SIP/2.0\r\nVia: SIP/2.0/UDP us.example.com;branch=z9hG4bKroute\r\n\
        Route: <sip:a.example.com;lr>, <sip:b.example.com;lr>\r\nRoute: <sip:c.example.com;lr>\r\n\
        Max-Forwards: 69\r\nf: Bob <sip:a@example.com>;tag=1\r\nt: <sip:b@example.com>\r\ni: x@y\r\n\
        CSeq: 7 INVITE\r\nl: 0\r\n\r\n";
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    let invite = Bytes::from_static(text.as_bytes());
    let tx = layer.request(T0, udp(), &Method::Invite, "z9hG4bKroute", invite.clone(), 9, &mut out);
    layer.receive(T0, udp(), answer(&invite, 180, Some("b1")), &mut out);
    out.clear();
    layer.cancel(T0, tx, Some("SIP;cause=200;text=\"Call completed elsewhere\""), &mut out);
    let cancel = parsed(last_sent(&out).1.bytes().clone());
    layer.receive(T0, udp(), answer(&invite, 487, Some("b1")), &mut out);
    let ack = parsed(last_sent(&out).1.bytes().clone());
    for (request, tag) in [(&cancel, None), (&ack, Some("b1"))] {
        assert_eq!(request.uri(), "sip:bob@192.0.2.4;lr");
        assert_eq!(request.via().unwrap().branch(), Some("z9hG4bKroute"));
        assert_eq!(request.routes().count(), 3);
        assert_eq!((request.cseq().unwrap().number, request.to_tag()), (7, tag));
        assert_eq!(request.call_id().unwrap(), "x@y");
    }
    assert!(cancel.header(HeaderName::Reason).unwrap().value.starts_with(b"SIP;cause=200"));
    assert_eq!(ack.method(), &Method::Ack);
    assert_eq!(cancel.method(), &Method::Cancel);
}

#[test]
fn the_ack_of_a_2xx_is_repeated_when_the_2xx_is() {
    let mut call = calling(udp());
    assert_eq!(statuses(call.hears(10, 200, Some("b1"))), [200]);
    assert_eq!(call.hears(510, 200, Some("b1")).len(), 0, "not acknowledged yet: the user will");
    let ack = Ask { method: Method_::Ack, branch: "z9hG4bKack", to_tag: "b1", ..ASK }.bytes();
    let way = Flow { peer: "192.0.2.77:5060".parse().unwrap(), ..udp() };
    call.layer.acked(T0 + ms(600), call.tx, Some("b1"), way, ack.clone(), &mut call.out);
    assert_eq!((last_sent(&call.out).0, sent(&call.out)), (way, vec!["ACK".to_owned()]));
    let out = call.hears(1510, 200, Some("b1"));
    assert_eq!((last_sent(out).0, last_sent(out).1.bytes(), out.len()), (way, &ack, 1));
    // Another fork answers too.
    assert_eq!(statuses(call.hears(2000, 200, Some("b2"))), [200]);
    assert_eq!(call.hears(2500, 200, Some("b2")).len(), 0);
    assert_eq!(call.hears(2600, 486, Some("b3")).len(), 0);
    assert_eq!(run_down(&mut call.layer).len(), 0);
    assert!(call.layer.is_empty());
    // Timer M has run: what still comes belongs to nothing, and an ACK goes out all the same.
    assert!(matches!(call.hears(40_000, 200, Some("b1")), [Effect::Stray { .. }]));
    call.out.clear();
    call.layer.acked(T0 + ms(40_000), call.tx, Some("b1"), way, ack, &mut call.out);
    assert_eq!(sent(&call.out), ["ACK"]);
}

#[test]
fn cancel_waits_for_the_first_provisional_answer() {
    let mut call = calling(udp());
    call.layer.cancel(T0 + ms(5), call.tx, None, &mut call.out);
    assert!(call.out.is_empty(), "9.1");
    let out = call.hears(10, 100, None);
    assert_eq!(sent(out), ["CANCEL"]);
    let cancel = last_sent(out).1.bytes().clone();
    call.out.clear();
    call.layer.receive(T0 + ms(20), udp(), answer(&cancel, 200, Some("b1")), &mut call.out);
    assert!(call.out.is_empty(), "the answer to a CANCEL says nothing");
    let out = call.hears(30, 487, Some("b1"));
    assert_eq!((sent(out), statuses(out)), (vec!["ACK".to_owned()], vec![487]));
    assert_eq!(run_down(&mut call.layer).len(), 0);
    assert!(call.layer.is_empty());
}

#[test]
fn cancel_that_crosses_a_final_answer_is_not_sent() {
    let mut call = calling(udp());
    call.layer.cancel(T0 + ms(5), call.tx, None, &mut call.out);
    let out = call.hears(10, 200, Some("b1"));
    assert_eq!((sent(out).len(), statuses(out)), (0, vec![200]), "to be acknowledged and ended with BYE");
}

#[test]
fn a_challenge_brings_the_request_back_unless_that_was_given_up() {
    for is_given_up in [false, true] {
        let mut call = calling(udp());
        if is_given_up {
            call.layer.cancel(T0 + ms(5), call.tx, None, &mut call.out);
        }
        let out = call.hears(10, 407, Some("b1"));
        let brought = out.iter().find_map(|effect| match effect {
            Effect::Response { sent, .. } => Some(sent.is_some()),
            _ => None,
        });
        assert_eq!(brought, Some(!is_given_up));
    }
}

#[test]
fn a_cancelled_invite_that_is_never_ended_times_out() {
    let mut call = calling(tcp(3));
    call.hears(10, 180, Some("b1"));
    call.layer.cancel(T0 + ms(100), call.tx, None, &mut call.out);
    let all = run_down(&mut call.layer);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(matches!(all[0], (32_100, Effect::Timeout { owner: 9, .. })));
    assert!(call.layer.is_empty());
}

#[test]
fn a_forgotten_invite_does_its_duty_in_silence() {
    let mut call = calling(udp());
    call.layer.forget(call.tx);
    let out = call.hears(10, 180, Some("b1"));
    assert!(out.is_empty());
    let out = call.hears(20, 486, Some("b1"));
    assert_eq!((sent(out), out.len()), (vec!["ACK".to_owned()], 1));
    let mut call = calling(udp());
    call.layer.forget(call.tx);
    assert!(matches!(call.hears(10, 200, Some("b1")), [Effect::Stray { .. }]), "somebody must hang up");
    let mut call = calling(udp());
    call.layer.forget(call.tx);
    assert_eq!(
        run_down(&mut call.layer).into_iter().filter(|(_, e)| !matches!(e, Effect::Send { .. })).count(),
        0
    );
}

#[test]
fn a_closed_stream_fails_what_waits_on_it_and_nothing_else() {
    let mut call = calling(tcp(3));
    let bye = Ask { method: Method_::Bye, branch: "z9hG4bKbye", ..ASK };
    let bye_tx = call.layer.request(T0, tcp(4), &Method::Bye, bye.branch, bye.bytes(), 8, &mut call.out);
    call.out.clear();
    call.layer.flow_closed(T0, tcp(3), &mut call.out);
    assert!(matches!(call.out.as_slice(), [Effect::Failed { owner: 9, tx }] if *tx == call.tx));
    call.layer.flow_closed(T0, tcp(3), &mut call.out);
    assert_eq!((call.out.len(), call.layer.len()), (1, 1));
    call.out.clear();
    call.layer.receive(T0, tcp(4), answer(&bye.bytes(), 200, None), &mut call.out);
    assert!(matches!(call.out.as_slice(), [Effect::Response { owner: 8, tx, .. }] if *tx == bye_tx));
    assert!(call.layer.is_empty());
    call.layer.flow_closed(T0, tcp(4), &mut call.out);
    assert_eq!(call.out.len(), 1);
}

#[test]
fn without_room_a_request_fails_at_once() {
    let mut layer = layer(Settings { max_clients: 1, ..Settings::default() });
    let mut out = Vec::new();
    layer.request(T0, udp(), &Method::Options, "z9hG4bKa", ASK.bytes(), 1, &mut out);
    out.clear();
    let tx = layer.request(T0, udp(), &Method::Options, "z9hG4bKb", ASK.bytes(), 2, &mut out);
    assert!(matches!(out.as_slice(), [Effect::Failed { owner: 2, .. }]));
    out.clear();
    layer.cancel(T0, tx, None, &mut out);
    layer.forget(tx);
    assert!(out.is_empty());
    assert_eq!((layer.len(), layer.counters().overloaded), (1, 1));
}

#[test]
fn responses_that_are_not_ours_touch_nothing() {
    let mut call = calling(udp());
    let others = Ask { branch: "z9hG4bKelse", ..ASK }.bytes();
    call.layer.receive(T0, udp(), answer(&others, 200, Some("b1")), &mut call.out);
    assert!(matches!(call.out.as_slice(), [Effect::Stray { .. }]));
    // Right branch, other method: the answer of a CANCEL that we never sent.
    call.out.clear();
    let cancel = Ask { method: Method_::Cancel, ..ASK }.bytes();
    call.layer.receive(T0, udp(), answer(&cancel, 200, Some("b1")), &mut call.out);
    assert!(matches!(call.out.as_slice(), [Effect::Stray { .. }]));
    // Two Vias: meant for somebody else (8.1.3.3).
    call.out.clear();
    let response = answer(&call.invite, 200, Some("b1"));
    let text = String::from_utf8(response.bytes().to_vec()).unwrap();
    let doubled = text.replacen("Max-Forwards", "X", 1).replacen(
        "Via:",
        "Via: SIP/2.0/UDP x;branch=z9hG4bKfirst\r\nVia:",
        1,
    );
    call.layer.receive(T0, udp(), parsed(Bytes::from(doubled)), &mut call.out);
    assert!(call.out.is_empty());
    let counters = call.layer.counters();
    assert_eq!((counters.strays, counters.unroutable), (2, 1));
    assert_eq!(statuses(call.hears(10, 200, Some("b1"))), [200]);
}
