//! REGISTERs as phones send them, against the sets that RFC 3261 10.3 and RFC 5626 6 ask for.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::{Now, Timestamp, UnixMillis};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{Limits, Message, StatusCode};

const DESK: &str = "desk";
const MOBILE: &str = "mobile";

pub(super) fn settings() -> Settings {
    Settings {
        min_expires: Duration::from_secs(60),
        max_expires: Duration::from_secs(3600),
        max_bindings: 3,
        own: Own {
            names: vec!["pbx.example".into()],
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ports: vec![5060, 5070],
        },
    }
}

pub(super) fn at(seconds: u64) -> Now {
    Now { at: Timestamp::from_micros(seconds * 1_000_000), unix: UnixMillis(1_000_000 + seconds * 1000) }
}

pub(super) fn flow(port: u16) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: 0,
        connection: 0,
        peer: format!("198.51.100.9:{port}").parse().unwrap(),
    }
}

pub(super) fn message(call_id: &str, cseq: u32, headers: &str) -> Message {
    let text = format!(
        "REGISTER sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{cseq}\r\n\
         From: <sip:alice@pbx.example>;tag=1\r\nTo: <sip:alice@pbx.example>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

/// A set under test: REGISTERs of alice's devices, one after the other.
struct Aor {
    bindings: Vec<Binding>,
    now: Now,
    from: Flow,
}

impl Aor {
    fn new() -> Self {
        Self { bindings: Vec::new(), now: at(0), from: flow(5060) }
    }

    fn try_register(
        &mut self,
        device: &str,
        call_id: &str,
        cseq: u32,
        headers: &str,
    ) -> Result<Applied, Refusal> {
        let message = message(call_id, cseq, headers);
        let request = Register::read(&message, self.from, device)?;
        let applied = apply(&self.bindings, &request, &settings(), self.now.at)?;
        self.bindings.clone_from(&applied.bindings);
        Ok(applied)
    }

    fn register(&mut self, device: &str, call_id: &str, cseq: u32, headers: &str) -> Applied {
        self.try_register(device, call_id, cseq, headers).unwrap()
    }

    fn refused(&mut self, device: &str, call_id: &str, cseq: u32, headers: &str) -> Refusal {
        let before = self.bindings.clone();
        let refusal = self.try_register(device, call_id, cseq, headers).unwrap_err();
        assert_eq!(self.bindings, before, "a refusal changes nothing");
        refusal
    }

    fn shown(&self) -> Vec<String> {
        let show = |binding: &Binding| {
            let mut text = String::new();
            write_contact(binding, self.now.at, &mut text);
            text
        };
        self.bindings.iter().map(show).collect()
    }
}

#[test]
fn a_binding_is_made_shown_refreshed_and_removed() {
    let mut aor = Aor::new();
    assert!(aor.register(DESK, "a", 1, "").changes.is_empty(), "a query changes nothing");
    let applied = aor.register(DESK, "a", 2, "Contact: <sip:alice@10.0.0.1:5060>\r\nExpires: 600\r\n");
    assert!(matches!(&applied.changes[..], [Change::Added(binding)] if &*binding.device == DESK));
    assert_eq!(aor.shown(), ["<sip:alice@10.0.0.1:5060>;expires=600"]);
    aor.now = at(100);
    assert_eq!(aor.shown(), ["<sip:alice@10.0.0.1:5060>;expires=500"]);
    let applied = aor.register(DESK, "a", 3, "Contact: <sip:alice@10.0.0.1:5060>\r\nExpires: 600\r\n");
    assert_eq!(applied.changes[..], [Change::Refreshed(Refreshed::InPlace)]);
    assert_eq!(aor.shown(), ["<sip:alice@10.0.0.1:5060>;expires=600"]);
    let applied = aor.register(DESK, "a", 4, "Contact: <sip:alice@10.0.0.1:5060>;expires=0\r\n");
    assert!(matches!(&applied.changes[..], [Change::Removed(_, Ended::Unregistered)]));
    assert!(aor.bindings.is_empty());
    assert!(
        aor.register(DESK, "a", 5, "Contact: <sip:alice@10.0.0.1:5060>;expires=0\r\n").changes.is_empty()
    );
}

#[test]
fn expires_of_the_contact_goes_before_the_header_and_that_before_the_default() {
    let mut aor = Aor::new();
    let headers = "Contact: <sip:a@h1>;expires=300, <sip:a@h2>\r\nExpires: 120\r\n";
    aor.register(DESK, "a", 1, headers);
    assert_eq!(aor.shown(), ["<sip:a@h1>;expires=300", "<sip:a@h2>;expires=120"]);
    aor.register(DESK, "a", 2, "Contact: <sip:a@h3>\r\n");
    assert_eq!(aor.shown()[2], "<sip:a@h3>;expires=3600", "the default");
    aor.register(DESK, "a", 3, "Contact: <sip:a@h3>;expires=99999\r\n");
    assert_eq!(aor.shown()[2], "<sip:a@h3>;expires=3600", "cut to the most that is granted");
    aor.register(DESK, "a", 4, "Contact: <sip:a@h3>;expires=4294967296\r\n");
    assert_eq!(aor.shown()[2], "<sip:a@h3>;expires=3600", "malformed counts as an hour (20.10)");
}

#[test]
fn a_brief_interval_is_423_and_nothing_of_the_request_happens() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, "Contact: <sip:a@h1>\r\n");
    let refusal = aor.refused(DESK, "a", 2, "Contact: <sip:a@h1>;expires=0, <sip:a@h2>;expires=59\r\n");
    assert_eq!(refusal, Refusal::TooBrief { min_expires: 60 });
    assert_eq!(refusal.status(), StatusCode::INTERVAL_TOO_BRIEF);
    aor.register(DESK, "a", 2, "Contact: <sip:a@h2>;expires=60\r\n");
}

#[test]
fn an_hour_is_never_too_brief_whatever_the_minimum() {
    let message = message("a", 1, "Contact: <sip:a@h1>;expires=3600\r\n");
    let request = Register::read(&message, flow(1), DESK).unwrap();
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let long = Settings { min_expires: hours(2), max_expires: hours(4), ..settings() };
    let applied = apply(&[], &request, &long, Timestamp::ZERO).unwrap();
    assert_eq!(applied.bindings[0].seconds_left(Timestamp::ZERO), 3600);
}

#[test]
fn star_ends_all_of_all_devices_and_needs_expires_zero_alone() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, "Contact: <sip:a@h1>\r\n");
    aor.register(MOBILE, "b", 9, "Contact: <sip:a@h2>\r\n");
    for wrong in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 1\r\n",
        "Contact: *\r\nExpires: x\r\n",
        "Contact: *, <sip:a@h1>\r\nExpires: 0\r\n",
        "Contact: <sip:a@h1>\r\nContact: *\r\nExpires: 0\r\n",
        "Contact: *;expires=0\r\nExpires: 0\r\n",
    ] {
        assert_eq!(aor.refused(DESK, "a", 2, wrong).status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(aor.refused(MOBILE, "b", 9, "Contact: *\r\nExpires: 0\r\n"), Refusal::OutOfOrder);
    let applied = aor.register(DESK, "c", 1, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(applied.changes.len(), 2);
    assert!(aor.bindings.is_empty());
}

#[test]
fn within_a_call_id_cseq_must_rise() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 7, "Contact: <sip:a@h1>\r\n");
    for old in [6, 7] {
        assert_eq!(aor.refused(DESK, "a", old, "Contact: <sip:a@h1>\r\n"), Refusal::OutOfOrder);
        assert_eq!(aor.refused(DESK, "a", old, "Contact: <sip:a@h1>;expires=0\r\n"), Refusal::OutOfOrder);
    }
    // After a restart the phone counts anew under another Call-ID.
    aor.register(DESK, "b", 1, "Contact: <sip:a@h1>\r\n");
    assert_eq!((aor.bindings.len(), aor.bindings[0].cseq, &*aor.bindings[0].call_id), (1, 1, "b"));
    // A late request of the former life changes the present one: the RFC lets a Call-ID that differs pass.
    aor.register(DESK, "a", 8, "Contact: <sip:a@h1>\r\n");
    assert_eq!(aor.bindings.len(), 1);
}

#[test]
fn contacts_are_compared_as_uris_and_only_within_a_device() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, "Contact: <sip:alice@HOST.example;transport=tcp>\r\n");
    aor.register(DESK, "a", 2, "Contact: <sip:%61lice@host.example;transport=TCP>\r\n");
    assert_eq!(aor.bindings.len(), 1);
    aor.register(DESK, "a", 3, "Contact: <sip:alice@host.example;transport=udp>\r\n");
    assert_eq!(aor.bindings.len(), 2);
    // Two homes with the same private address.
    aor.register(MOBILE, "b", 1, "Contact: <sip:alice@host.example;transport=tcp>\r\n");
    assert_eq!(aor.bindings.len(), 3);
    aor.register(MOBILE, "b", 2, "Contact: <sip:alice@host.example;transport=tcp>;expires=0\r\n");
    assert_eq!(aor.bindings.iter().filter(|b| &*b.device == DESK).count(), 2);
    assert_eq!(aor.bindings.len(), 2);
}

#[test]
fn several_contacts_of_one_request_stand_together() {
    let mut aor = Aor::new();
    let headers = "Contact: <sip:a@h1>;q=0.2, <sip:a@h2>;q=0.9\r\nContact: <sip:a@h1>;q=0.3\r\n";
    aor.register(DESK, "a", 1, headers);
    assert_eq!(aor.shown(), ["<sip:a@h1>;q=0.300;expires=3600", "<sip:a@h2>;q=0.900;expires=3600"]);
    // The last word on a contact that is named twice counts, also if it is an end.
    aor.register(DESK, "a", 2, "Contact: <sip:a@h3>, <sip:a@h3>;expires=0\r\n");
    assert_eq!(aor.bindings.len(), 2);
    for wrong in ["q=1.1", "q=x", "q=0.1234", "q=-1"] {
        let headers = format!("Contact: <sip:a@h1>;{wrong}\r\n");
        assert_eq!(aor.refused(DESK, "a", 3, &headers), Refusal::Malformed("bad q"), "{wrong}");
    }
}

#[test]
fn an_instance_is_the_same_phone_wherever_it_is() {
    const PHONE: &str = ";+sip.instance=\"<urn:uuid:1>\"";
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, &format!("Contact: <sip:a@h1>{PHONE}\r\n"));
    aor.from = flow(6000);
    let applied = aor.register(DESK, "b", 1, &format!("Contact: <sip:a@h2>{PHONE}\r\n"));
    assert_eq!(applied.changes[..], [Change::Refreshed(Refreshed::Moved)]);
    assert_eq!(aor.shown(), ["<sip:a@h2>;+sip.instance=\"<urn:uuid:1>\";expires=3600"]);
    assert_eq!(aor.bindings[0].flow, flow(6000));
    // Another phone with the same credentials, another device with the same instance: neither replaces it.
    aor.register(DESK, "c", 1, "Contact: <sip:a@h2>;+sip.instance=\"<urn:uuid:2>\"\r\n");
    aor.register(MOBILE, "d", 1, &format!("Contact: <sip:a@h2>{PHONE}\r\n"));
    assert_eq!(aor.bindings.len(), 3);
}

#[test]
fn reg_ids_are_flows_of_their_own_if_outbound_is_supported() {
    let contact =
        |host: &str, id| format!("Contact: <sip:a@{host}>;+sip.instance=\"<urn:uuid:1>\";reg-id={id}\r\n");
    let outbound = "Supported: path, outbound\r\n";
    let mut aor = Aor::new();
    let first = aor.register(DESK, "a", 1, &(contact("h", 1) + outbound));
    assert!(first.outbound);
    aor.register(DESK, "b", 1, &(contact("h", 2) + outbound));
    assert_eq!(aor.bindings.len(), 2, "equal contacts, two flows");
    aor.from = flow(7000);
    aor.register(DESK, "c", 1, &(contact("other", 2) + outbound));
    assert_eq!(aor.bindings.len(), 2, "the flow came back elsewhere");
    assert_eq!(aor.bindings[1].flow, flow(7000));
    assert!(aor.shown()[1].contains(";reg-id=2;"));
    // RFC 5626 6: without the option tag, or without an instance, reg-id says nothing.
    let mut plain = Aor::new();
    assert!(!plain.register(DESK, "a", 1, &contact("h", 1)).outbound);
    let applied = plain.register(DESK, "b", 1, &("Contact: <sip:a@h9>;reg-id=1\r\n".to_owned() + outbound));
    assert!(!applied.outbound && plain.bindings.iter().all(|b| b.reg_id.is_none()));
    // Behind a proxy that does not keep flows there are none.
    let behind = "Via: SIP/2.0/UDP far.invalid;branch=z9hG4bKfar\r\n".to_owned();
    let through = |path: &str| behind.clone() + path + &contact("h", 1) + outbound;
    for path in
        ["", "Path: <sip:edge.example;lr>\r\n", "Path: <sip:edge.example;ob;lr>, <sip:near.example;lr>\r\n"]
    {
        assert_eq!(plain.refused(DESK, "c", 1, &through(path)), Refusal::FirstHopLacksOutbound, "{path}");
    }
    assert!(
        plain
            .register(DESK, "c", 1, &through("Path: <sip:edge.example;lr>, <sip:near.example;ob;lr>\r\n"))
            .outbound
    );
    let two =
        contact("h1", 1).trim_end().to_owned() + ", " + contact("h2", 2).trim_start_matches("Contact: ");
    assert_eq!(
        plain.refused(DESK, "d", 1, &(two + outbound)),
        Refusal::Malformed("several Contacts with reg-id")
    );
    for wrong in ["0", "x", "4294967295", "-1"] {
        let headers = contact("h", 1).replace("reg-id=1", &format!("reg-id={wrong}")) + outbound;
        assert_eq!(plain.refused(DESK, "e", 1, &headers), Refusal::Malformed("bad reg-id"), "{wrong}");
    }
}

#[test]
fn a_phone_that_starts_anew_on_its_flow_replaces_itself() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, "Contact: <sip:x1@h>\r\n");
    let applied = aor.register(DESK, "b", 1, "Contact: <sip:x2@h>\r\n");
    assert!(matches!(&applied.changes[..], [Change::Removed(old, Ended::Replaced), Change::Added(_)]
        if &*old.contact == "sip:x1@h"));
    // A second contact under one Call-ID is meant to be a second one.
    aor.register(DESK, "b", 2, "Contact: <sip:x3@h>\r\n");
    assert_eq!(aor.bindings.len(), 2);
    // From another port it could be a second phone.
    aor.from = flow(6000);
    aor.register(DESK, "c", 1, "Contact: <sip:x4@h>\r\n");
    assert_eq!(aor.bindings.len(), 3);
}

#[test]
fn the_cap_holds_and_no_device_keeps_another_out() {
    let mut aor = Aor::new();
    for (n, device) in [(1, DESK), (2, DESK), (3, MOBILE)] {
        (aor.now, aor.from) = (at(n), flow(6000 + n as u16));
        aor.register(device, &format!("c{n}"), 1, &format!("Contact: <sip:a@h{n}>\r\n"));
    }
    (aor.now, aor.from) = (at(4), flow(6004));
    let applied = aor.register(DESK, "c4", 1, "Contact: <sip:a@h4>\r\n");
    assert!(matches!(&applied.changes[..], [Change::Removed(old, Ended::Replaced), Change::Added(_)]
        if &*old.contact == "sip:a@h1"));
    // A device that has none yet is not kept out by one that has several; one that has its only one keeps it.
    let applied = aor.register("third", "t", 1, "Contact: <sip:t@h>\r\n");
    assert!(matches!(&applied.changes[..], [Change::Removed(old, Ended::Replaced), Change::Added(_)]
        if &*old.contact == "sip:a@h2"));
    assert_eq!(aor.refused("fourth", "f", 1, "Contact: <sip:f@h>\r\n"), Refusal::TooMany);
    assert_eq!(Refusal::TooMany.status(), StatusCode::FORBIDDEN);
    let four = "Contact: <sip:b@h1>, <sip:b@h2>, <sip:b@h3>, <sip:b@h4>\r\n";
    assert_eq!(Aor::new().refused(DESK, "a", 1, four), Refusal::TooMany);
    // An end makes room for what follows it in the same request.
    aor.register(MOBILE, "c3", 2, "Contact: <sip:a@h3>;expires=0, <sip:a@h5>\r\n");
    assert_eq!(aor.bindings.len(), 3);
}

#[test]
fn this_server_is_no_contact() {
    let mut aor = Aor::new();
    for own in [
        "sip:a@pbx.example",
        "sip:a@PBX.example:5060",
        "sip:a@192.0.2.1",
        "sip:a@192.0.2.1:5070;transport=tcp",
        "sip:a@[2001:db8::1]",
        "sips:a@pbx.example:5060",
    ] {
        assert_eq!(aor.refused(DESK, "a", 1, &format!("Contact: <{own}>\r\n")), Refusal::OwnAddress, "{own}");
    }
    for (n, other) in
        ["sip:a@192.0.2.1:5071", "sip:a@pbx.example:6000", "sips:a@192.0.2.1"].iter().enumerate()
    {
        aor.register(DESK, "a", 1 + n as u32, &format!("Contact: <{other}>\r\n"));
    }
}

#[test]
fn what_is_no_contact_is_400() {
    let long = "x".repeat(600);
    for wrong in [
        "Contact: <sip:a@h\r\n",
        "Contact: <tel:+15551234>\r\n",
        "Contact: <mailto:a@h>\r\n",
        "Contact: <sip:a@>\r\n",
        "Contact: \"x <sip:a@h>\r\n",
        &format!("Contact: <sip:{long}@h>\r\n"),
        &format!("Contact: <sip:a@h>;+sip.instance=\"<{long}>\"\r\n"),
        &format!("Contact: <sip:a@h>;feature=\"{long}\"\r\n"),
        &format!("Contact: <sip:a@h>\r\nPath: <sip:{long}@p;lr>\r\n"),
        &format!("Contact: <sip:a@h>\r\n{}", "Path: <sip:p;lr>\r\n".repeat(9)),
        &format!("Contact: <sip:a@h>{}\r\n", ", <sip:b@h>".repeat(40)),
    ] {
        let refusal = Aor::new().refused(DESK, "a", 1, wrong);
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{wrong}: {refusal}");
    }
}

#[test]
fn path_and_features_are_kept_and_expired_bindings_end() {
    let mut aor = Aor::new();
    let headers = "Contact: \"Alice\" <sip:a@h?Route=%3Csip:p%3E>;methods=\"INVITE;ACK\";audio;expires=60;Q=0.5\r\n\
                   Path: <sip:p1;lr>, <sip:p2;lr>\r\nPath: <sip:p3;lr>\r\nUser-Agent: Phone 1.0\r\n";
    aor.register(DESK, "a", 1, headers);
    let binding = &aor.bindings[0];
    assert_eq!(
        binding.path.iter().map(|p| &**p).collect::<Vec<_>>(),
        ["<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>"]
    );
    assert_eq!(&*binding.user_agent, "Phone 1.0");
    let shown = "<sip:a@h?Route=%3Csip:p%3E>;q=0.500;methods=\"INVITE;ACK\";audio;expires=60";
    assert_eq!(aor.shown(), [shown]);
    aor.now = at(60);
    let applied = aor.register(MOBILE, "b", 1, "Contact: <sip:m@h>\r\n");
    assert!(matches!(&applied.changes[..], [Change::Removed(_, Ended::Expired), Change::Added(_)]));
    assert_eq!(aor.bindings.len(), 1);
}

#[test]
fn a_refresh_shares_the_texts_of_the_old_binding() {
    let mut aor = Aor::new();
    let headers =
        "Contact: <sip:a@h>;+sip.instance=\"<urn:1>\";audio\r\nPath: <sip:p;lr>\r\nUser-Agent: P\r\n";
    aor.register(DESK, "a", 1, headers);
    let old = aor.bindings[0].clone();
    aor.register(DESK, "a", 2, headers);
    let new = &aor.bindings[0];
    for (old, new) in [
        (&old.contact, &new.contact),
        (&old.features, &new.features),
        (&old.call_id, &new.call_id),
        (&old.user_agent, &new.user_agent),
        (&old.device, &new.device),
        (&old.path[0], &new.path[0]),
    ] {
        assert!(std::sync::Arc::ptr_eq(old, new), "{old}");
    }
}

#[test]
fn a_phone_that_moved_ends_its_former_contact_and_keeps_the_present() {
    const PHONE: &str = "+sip.instance=\"<urn:uuid:1>\"";
    let (old, new) = (format!("<sip:a@old>;{PHONE}"), format!("<sip:a@new>;{PHONE}"));
    // In one request, in either order, and in two.
    for requests in [
        vec![format!("{old};expires=0, {new}")],
        vec![format!("{new}, {old};expires=0")],
        vec![new.clone(), format!("{old};expires=0")],
        vec![format!("{old};expires=0"), new.clone()],
    ] {
        let mut aor = Aor::new();
        aor.register(DESK, "a", 1, &format!("Contact: {old}\r\n"));
        for (n, contacts) in requests.iter().enumerate() {
            aor.register(DESK, "a", 2 + n as u32, &format!("Contact: {contacts}\r\n"));
        }
        let contacts: Vec<_> = aor.bindings.iter().map(|b| &*b.contact).collect();
        assert_eq!(contacts, ["sip:a@new"], "{requests:?}");
    }
}

#[test]
fn a_phone_that_takes_the_contact_of_another_binding_of_its_device_leaves_one() {
    let mut aor = Aor::new();
    aor.register(DESK, "a", 1, "Contact: <sip:a@h1>;+sip.instance=\"<urn:1>\"\r\n");
    aor.from = flow(7000);
    aor.register(DESK, "b", 1, "Contact: <sip:a@h2>\r\n");
    let applied = aor.register(DESK, "c", 1, "Contact: <sip:a@h2>;+sip.instance=\"<urn:1>\"\r\n");
    assert!(matches!(
        &applied.changes[..],
        [Change::Refreshed(Refreshed::Moved), Change::Removed(_, Ended::Replaced)]
    ));
    assert_eq!(aor.bindings.len(), 1);
}

/// Whatever phones send: the cap holds, no place is bound twice, and every change is told.
#[test]
fn random_registers_keep_the_invariants() {
    let mut random = crate::base::Random::from_number(11);
    let mut aor = Aor::new();
    let mut gone = 0;
    for round in 0..20_000_u32 {
        aor.now = at(u64::from(round) / 4);
        let mut pick = |all: &[&'static str]| all[random.below(all.len() as u64) as usize];
        let device = pick(&[DESK, MOBILE]);
        let call_id = pick(&["a", "b", "c"]);
        let mut contacts = Vec::new();
        for _ in 0..pick(&["", "x", "xx"]).len() {
            contacts.push(format!(
                "<sip:a@{}>{}{}{}",
                pick(&["h1", "h2", "H1", "h3"]),
                pick(&["", "", ";+sip.instance=\"<u1>\"", ";+sip.instance=\"<u2>\""]),
                pick(&["", "", ";reg-id=1", ";reg-id=2"]),
                pick(&["", ";expires=0", ";expires=60", ";expires=30", ";q=0.5"]),
            ));
        }
        let mut headers = pick(&["", "", "Supported: outbound\r\n"]).to_owned();
        match pick(&["some", "some", "some", "some", "some", "some", "some", "some", "star"]) {
            "star" => headers += "Contact: *\r\nExpires: 0\r\n",
            _ if contacts.is_empty() => {}
            _ => headers += &format!("Contact: {}\r\n", contacts.join(", ")),
        }
        aor.from = flow(6000 + random.below(3) as u16);
        let before = aor.bindings.clone();
        let Ok(applied) = aor.try_register(device, call_id, round + 1, &headers) else {
            assert_eq!(aor.bindings, before);
            continue;
        };
        let count = |f: fn(&Change) -> bool| applied.changes.iter().filter(|change| f(change)).count();
        let (added, removed) =
            (count(|c| matches!(c, Change::Added(_))), count(|c| matches!(c, Change::Removed(..))));
        gone += removed;
        assert_eq!(before.len() + added - removed, aor.bindings.len(), "{headers}");
        assert!(aor.bindings.len() <= settings().max_bindings);
        for (n, a) in aor.bindings.iter().enumerate() {
            assert!(a.is_live(aor.now.at) && a.seconds_left(aor.now.at) <= 3600);
            for b in &aor.bindings[n + 1..] {
                let same_place = a.device == b.device && a.contact == b.contact;
                let two = a.reg_id.is_some() && b.reg_id.is_some()
                    || a.instance.is_some() && b.instance.is_some() && a.instance != b.instance;
                assert!(!same_place || two, "{a:?} {b:?}");
            }
        }
    }
    assert!(gone > 1000, "the test must reach the ends of bindings: {gone}");
}
