//! The server half of the layer.

use super::*;

#[test]
fn an_invite_is_answered_100_and_delivered_once() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    assert_eq!(sent(&out).len(), 0, "not at once: a refusal without state may follow");
    layer.handle_timeout(T0 + ms(100), &mut out);
    assert_eq!(sent(&out), ["100"]);
    let tx = opened(&out);
    let (flow, trying) = last_sent(&out);
    assert_eq!(flow, udp());
    let via = trying.via().unwrap();
    assert_eq!((via.received(), via.rport()), ("192.0.2.9".parse().ok(), Some(Some(5070))));
    out.clear();
    layer.receive(T0 + ms(500), udp(), ASK.message(), &mut out);
    assert_eq!((sent(&out), out.len()), (vec!["100".to_owned()], 1), "no second request");
    out.clear();
    respond(&mut layer, T0 + ms(600), tx, 180, &mut out);
    layer.receive(T0 + ms(1500), udp(), ASK.message(), &mut out);
    assert_eq!(sent(&out), ["180", "180"]);
    assert!(layer.server(tx).unwrap().request.is_some());
    out.clear();
    respond(&mut layer, T0 + ms(1600), tx, 486, &mut out);
    layer.receive(T0 + ms(3500), udp(), ASK.message(), &mut out);
    assert_eq!(sent(&out), ["486", "486"]);
    assert!(layer.server(tx).unwrap().request.is_none(), "kept no longer than needed");
    out.clear();
    layer.receive(
        T0 + ms(3600),
        udp(),
        Ask { method: Method_::Ack, to_tag: "b1", ..ASK }.message(),
        &mut out,
    );
    assert!(out.is_empty(), "the ACK of a refusal stays here");
    assert_eq!(run_down(&mut layer).len(), 0);
    assert!(layer.is_empty());
    assert_eq!(layer.counters().repeated, 3);
    let again = layer.counters().retransmitted;
    let kind = Method::Invite.kind();
    assert_eq!((again[kind], again.iter().sum::<u64>()), (3, 3), "{again:?}");
}

#[test]
fn a_late_100_comes_only_if_nothing_else_did() {
    let settings = Settings { trying: ms(200), ..Settings::default() };
    let (mut layer, mut out) = (layer(settings), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    assert_eq!(sent(&out).len(), 0);
    let all = run_down(&mut layer);
    let (at, effect) = all.into_iter().next().unwrap();
    assert_eq!((at, sent(&[effect])), (200, vec!["100".to_owned()]));
    let other = Ask { branch: "z9hG4bKother", call_id: "call-2", ..ASK };
    out.clear();
    layer.receive(T0, udp(), other.message(), &mut out);
    let tx = opened(&out);
    respond(&mut layer, T0 + ms(50), tx, 180, &mut out);
    assert_eq!(run_down(&mut layer).len(), 0);
    assert_eq!(sent(&out), ["180"]);
}

#[test]
fn a_2xx_is_repeated_until_acknowledged_and_its_ack_is_the_dialogs() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, tcp(1), ASK.message(), &mut out);
    let tx = opened(&out);
    layer.set_owner(tx, 42);
    respond(&mut layer, T0, tx, 200, &mut out);
    out.clear();
    layer.handle_timeout(T0 + ms(500), &mut out);
    assert_eq!(sent(&out), ["200"]);
    let ack = Ask { method: Method_::Ack, branch: "z9hG4bKack", to_tag: "b1", ..ASK };
    out.clear();
    layer.receive(T0 + ms(600), tcp(1), ack.message(), &mut out);
    assert!(matches!(out.as_slice(), [Effect::Ack { .. }]));
    layer.acknowledge(tx);
    // An ACK with the INVITE's branch is of a broken client, and the dialog's all the same.
    out.clear();
    layer.receive(T0 + ms(700), tcp(1), Ask { branch: ASK.branch, ..ack }.message(), &mut out);
    assert!(matches!(out.as_slice(), [Effect::Ack { .. }]));
    assert_eq!(run_down(&mut layer).len(), 0);
    assert!(layer.is_empty());
}

#[test]
fn a_2xx_that_nobody_acknowledges_is_reported_to_its_owner() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let tx = opened(&out);
    layer.set_owner(tx, 42);
    respond(&mut layer, T0, tx, 200, &mut out);
    let all = run_down(&mut layer);
    assert_eq!(all.len(), 11);
    assert_eq!(layer.counters().retransmitted[Method::Invite.kind()], 10);
    assert!(matches!(
        all.last(),
        Some((32_000, Effect::AckTimeout { owner: Some(42), answered: Answered::Accepted, .. }))
    ));
    assert!(layer.is_empty());
}

#[test]
fn cancel_is_answered_and_the_invite_is_its_users_to_end() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let tx = opened(&out);
    layer.set_owner(tx, 7);
    respond(&mut layer, T0, tx, 180, &mut out);
    let cancel = Ask { method: Method_::Cancel, ..ASK };
    out.clear();
    layer.receive(T0 + ms(10), udp(), cancel.message(), &mut out);
    assert_eq!(sent(&out), ["200"]);
    assert_eq!(last_sent(&out).1.to_tag(), Some("b1"), "the tag of the 180 (9.2)");
    assert!(matches!(out.as_slice(), [_, Effect::Cancelled { owner: Some(7), tx: of, .. }] if *of == tx));
    out.clear();
    layer.receive(T0 + ms(20), udp(), cancel.message(), &mut out);
    assert_eq!((sent(&out), out.len()), (vec!["200".to_owned()], 1), "repeated: answered, not told again");
    respond(&mut layer, T0 + ms(30), tx, 487, &mut out);
    out.clear();
    layer.receive(T0 + ms(40), udp(), Ask { method: Method_::Ack, to_tag: "b1", ..ASK }.message(), &mut out);
    assert!(out.is_empty());
    assert_eq!(run_down(&mut layer).len(), 0);
    assert!(layer.is_empty());
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let tx = opened(&out);
    respond(&mut layer, T0, tx, 200, &mut out);
    out.clear();
    layer.receive(T0 + ms(10), udp(), Ask { method: Method_::Cancel, ..ASK }.message(), &mut out);
    assert_eq!((sent(&out), out.len()), (vec!["200".to_owned()], 1));
}

#[test]
fn cancel_of_nothing_and_from_a_stranger_is_481() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    let cancel = Ask { method: Method_::Cancel, ..ASK };
    layer.receive(T0, udp(), cancel.message(), &mut out);
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let stranger = Flow { peer: "198.51.100.66:5070".parse().unwrap(), ..udp() };
    layer.receive(T0, stranger, cancel.message(), &mut out);
    assert_eq!(sent(&out), ["481", "481"]);
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Cancelled { .. })));
    assert_eq!(layer.counters().cancels_unmatched, 2);
    // Nor can a stranger stop the repetition of a refusal.
    let tx = opened(&out);
    respond(&mut layer, T0, tx, 486, &mut out);
    out.clear();
    layer.receive(T0, stranger, Ask { method: Method_::Ack, to_tag: "b1", ..ASK }.message(), &mut out);
    layer.handle_timeout(T0 + ms(500), &mut out);
    assert_eq!(sent(&out), ["486"]);
}

#[test]
fn copies_of_a_request_by_another_way_are_482() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let copy = Ask { branch: "z9hG4bKdetour", ..ASK };
    out.clear();
    layer.receive(T0, udp(), copy.message(), &mut out);
    layer.receive(T0, udp(), copy.message(), &mut out);
    assert_eq!((sent(&out), out.len()), (vec!["482".to_owned(), "482".to_owned()], 2));
    let tags: Vec<_> =
        out.iter().map(|e| last_sent(std::slice::from_ref(e)).1.to_tag().map(str::to_owned)).collect();
    assert!(tags[0].is_some() && tags[0] == tags[1], "RFC 3261 8.2.7: the same tag for the same request");
    // Not merged: another CSeq, another method, inside of a dialog.
    out.clear();
    let others = [
        Ask { cseq: 2, branch: "z9hG4bKa", ..ASK },
        Ask { method: Method_::Options, branch: "z9hG4bKb", ..ASK },
        Ask { to_tag: "b1", branch: "z9hG4bKc", ..ASK },
    ];
    for other in others {
        layer.receive(T0, udp(), other.message(), &mut out);
    }
    assert_eq!(out.iter().filter(|effect| matches!(effect, Effect::Request { .. })).count(), 3);
    assert_eq!(layer.counters().merged, 2);
}

#[test]
fn a_client_that_answers_a_challenge_without_counting_cseq_up_is_served() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    let options = Ask { method: Method_::Options, ..ASK };
    layer.receive(T0, udp(), options.message(), &mut out);
    let tx = opened(&out);
    respond(&mut layer, T0, tx, 401, &mut out);
    out.clear();
    layer.receive(T0, udp(), Ask { branch: "z9hG4bKsecond", ..options }.message(), &mut out);
    assert!(matches!(out.as_slice(), [Effect::Request { .. }]));
}

#[test]
fn answers_go_where_via_and_source_say() {
    let flow_of = |flow, ask: Ask<'_>| {
        let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
        layer.receive(T0, flow, ask.message(), &mut out);
        layer.handle_timeout(T0 + ms(100), &mut out);
        last_sent(&out).0.peer.to_string()
    };
    assert_eq!(flow_of(udp(), ASK), "192.0.2.9:5070", "RFC 3581: back where it came from");
    assert_eq!(flow_of(udp(), Ask { rport: false, ..ASK }), "192.0.2.9:5080", "18.2.2: sent-by's port");
    assert_eq!(flow_of(tcp(1), Ask { rport: false, ..ASK }), "192.0.2.9:5070", "the same connection");
    let via = |text| crate::wire::sip::Via::parse(text).unwrap();
    let plain = via(b"SIP/2.0/UDP client.example.com;branch=z9hG4bKx");
    assert_eq!(Transactions::<u32>::reply_flow(&udp(), &plain).peer.to_string(), "192.0.2.9:5060");
    let aimed = via(b"SIP/2.0/UDP 192.0.2.9:5070;maddr=203.0.113.1;branch=z9hG4bKx");
    assert_eq!(Transactions::<u32>::reply_flow(&udp(), &aimed).peer.to_string(), "192.0.2.9:5070");
}

#[test]
fn branches_without_the_cookie_are_matched_as_rfc_2543_did() {
    for branch in ["1", "z9hG4bK"] {
        let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
        let ask = Ask { branch, ..ASK };
        let requests =
            |out: &[Effect<u32>]| out.iter().filter(|e| matches!(e, Effect::Request { .. })).count();
        layer.receive(T0, udp(), ask.message(), &mut out);
        layer.receive(T0, udp(), ask.message(), &mut out);
        assert_eq!(requests(&out), 1, "the same");
        let tx = opened(&out);
        layer.receive(T0, udp(), Ask { call_id: "call-2", ..ask }.message(), &mut out);
        assert_eq!(requests(&out), 2, "another");
        out.clear();
        layer.receive(T0, udp(), Ask { method: Method_::Cancel, ..ask }.message(), &mut out);
        assert!(matches!(out.last(), Some(Effect::Cancelled { tx: of, .. }) if *of == tx));
        respond(&mut layer, T0, tx, 487, &mut out);
        out.clear();
        layer.receive(T0, udp(), Ask { method: Method_::Ack, to_tag: "b1", ..ask }.message(), &mut out);
        assert!(out.is_empty(), "its ACK, although the INVITE had no To tag");
        layer.handle_timeout(T0 + ms(500), &mut out);
        assert_eq!(sent(&out), ["100"], "of the other one; the refusal is not repeated");
    }
}

#[test]
fn a_full_table_refuses_what_is_new_and_serves_what_is_known() {
    let settings = Settings { max_servers: 1, ..Settings::default() };
    let (mut layer, mut out) = (layer(settings), Vec::new());
    layer.receive(T0, udp(), ASK.message(), &mut out);
    let other = Ask { branch: "z9hG4bKother", call_id: "call-2", ..ASK };
    out.clear();
    layer.receive(T0, udp(), other.message(), &mut out);
    let [Effect::Overloaded { flow, message }] = out.as_slice() else { panic!("{out:?}") };
    let refusal = layer.stateless_reply(flow, message, StatusCode::SERVICE_UNAVAILABLE).finish();
    assert_eq!(parsed(refusal).status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    out.clear();
    layer.receive(T0, udp(), ASK.message(), &mut out);
    layer.receive(T0, udp(), Ask { method: Method_::Cancel, ..ASK }.message(), &mut out);
    assert_eq!(sent(&out), ["200"]);
    assert!(matches!(out.last(), Some(Effect::Cancelled { .. })));
    assert_eq!((layer.len(), layer.counters().overloaded), (1, 2));
}

#[test]
fn a_stateless_answer_leaves_nothing_behind() {
    let (mut layer, mut out) = (layer(Settings::default()), Vec::new());
    for _ in 0..2 {
        out.clear();
        layer.receive(T0, udp(), ASK.message(), &mut out);
        let tx = opened(&out);
        let bytes = layer.reply(tx, StatusCode::UNAUTHORIZED, None, Some("b1")).unwrap().finish();
        layer.respond_statelessly(tx, bytes, &mut out);
        assert_eq!(sent(&out), ["401"]);
        assert!(layer.is_empty());
    }
    out.clear();
    layer.receive(T0, udp(), Ask { method: Method_::Ack, to_tag: "b1", ..ASK }.message(), &mut out);
    assert!(matches!(out.as_slice(), [Effect::Ack { .. }]));
}

#[test]
fn what_lingers_is_small() {
    let sizes = [size_of::<server::Entry<u64>>(), size_of::<client::Entry<u64>>()];
    assert!(sizes[0] <= 256 && sizes[1] <= 320, "{sizes:?}");
}
