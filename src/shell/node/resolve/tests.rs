//! Names looked up at a name server of our own, on loopback.

use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{Name, Record};

use super::*;

/// A name server that knows these records, and what it was asked.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_down: Arc<AtomicBool>,
    /// It knows no NAPTR.
    is_old: Arc<AtomicBool>,
}

fn name(text: &str) -> Name {
    Name::from_utf8(absolute(text)).unwrap()
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, name(target)))
}

fn naptr(order: u16, services: &str, replacement: &str) -> RData {
    let bytes = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
    RData::NAPTR(NAPTR::new(order, 0, bytes("s"), bytes(services), bytes(""), name(replacement)))
}

impl NameServer {
    fn new(records: Vec<(&str, RData)>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let records: Vec<Record> =
            records.into_iter().map(|(owner, data)| Record::from_rdata(name(owner), 300, data)).collect();
        let (asked, is_down, is_old) =
            (Arc::new(Mutex::new(Vec::new())), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let address = socket.local_addr().unwrap();
        let server = Self { address, asked: asked.clone(), is_down: is_down.clone(), is_old: is_old.clone() };
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let Ok(query) = Message::from_vec(&bytes[..length]) else { continue };
                let question = query.queries[0].clone();
                asked.lock().unwrap().push(format!("{} {}", question.query_type(), question.name()));
                let asks_naptr = question.query_type() == RecordType::NAPTR;
                let asked_name = question.name().to_utf8();
                let is_silent = asked_name.starts_with("silent.")
                    || asked_name.contains("._tcp.mute.")
                    || asks_naptr && asked_name.starts_with("half.");
                if is_down.load(Ordering::Relaxed) || is_silent {
                    continue;
                }
                let of_name: Vec<&Record> =
                    records.iter().filter(|record| record.name == *question.name()).collect();
                let answers = of_name.iter().filter(|record| record.record_type() == question.query_type());
                let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
                reply.add_query(question.clone());
                reply.add_answers(answers.map(|record| (*record).clone()));
                if of_name.is_empty() {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                let is_unknown = question.query_type() == RecordType::NAPTR && is_old.load(Ordering::Relaxed);
                if is_unknown || question.name().to_utf8().starts_with("refused.") {
                    reply.metadata.response_code =
                        if is_unknown { ResponseCode::NotImp } else { ResponseCode::ServFail };
                }
                let _ = socket.send_to(&reply.to_vec().unwrap(), from);
            }
        });
        server
    }

    async fn located(&self, wanted: &Wanted) -> Vec<String> {
        self.located_by(&resolver(&[self.address]).unwrap(), wanted).await
    }

    async fn located_by(&self, resolver: &TokioResolver, wanted: &Wanted) -> Vec<String> {
        let targets = locate(resolver, wanted, &mut Random::from_number(1)).await.unwrap().targets;
        let shown = |Target { transport, peer }: Target| format!("{}:{peer}", transport.uri_token());
        targets.iter().map(|ranked| shown(ranked.target)).collect()
    }
}

/// Waits 100 ms for an answer.
fn impatient(server: &NameServer) -> TokioResolver {
    let mut builder = TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(vec![name_server(&server.address)]),
        TokioRuntimeProvider::default(),
    );
    builder.options_mut().timeout = Duration::from_millis(100);
    builder.options_mut().attempts = 1;
    builder.build().unwrap()
}

/// Both families for TLS, one for the others.
fn wanted(host: &str) -> Wanted {
    let (v4, v6) = ("192.0.2.9:5060".parse().unwrap(), "[2001:db8::9]:5061".parse().unwrap());
    let listeners =
        vec![(Transport::Udp, v4), (Transport::Tcp, v4), (Transport::Tls, v4), (Transport::Tls, v6)];
    Wanted { host: host.into(), port: None, transport: None, listeners }
}

fn house() -> NameServer {
    let v4 = |last| RData::A(A::new(192, 0, 2, last));
    NameServer::new(vec![
        ("carrier.test", naptr(20, "SIP+D2U", "_sip._udp.carrier.test")),
        ("carrier.test", naptr(10, "SIPS+D2T", "_sips._tcp.carrier.test")),
        ("carrier.test", naptr(5, "E2U+sip", "_other.carrier.test")),
        ("_sips._tcp.carrier.test", srv(1, 0, 5071, "a.carrier.test")),
        ("_sip._udp.carrier.test", srv(2, 0, 5080, "b.carrier.test")),
        ("_sip._udp.carrier.test", srv(1, 0, 5070, "a.carrier.test")),
        ("a.carrier.test", v4(1)),
        ("a.carrier.test", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
        ("b.carrier.test", v4(2)),
        ("plain.test", v4(3)),
        ("_sip._tcp.gone.test", srv(0, 0, 0, ".")),
        ("gone.test", v4(4)),
        ("mute.test", v4(5)),
        ("part.test", naptr(10, "SIPS+D2T", "_sips._tcp.mute.test")),
        ("part.test", naptr(20, "SIP+D2U", "_sip._udp.partly.test")),
        ("home.test", v4(9)),
        ("home.test", v4(10)),
        ("home.test", RData::A(A::new(224, 0, 0, 1))),
        ("home.test", RData::A(A::new(0, 0, 0, 0))),
        ("_sip._udp.partly.test", srv(1, 0, 5070, "refused.test")),
        ("_sip._udp.partly.test", srv(2, 0, 5080, "b.carrier.test")),
        ("_sip._udp.half.test", srv(1, 0, 5070, "a.carrier.test")),
        ("_sip._udp.half.test", srv(2, 0, 5070, "silent.test")),
        ("_sip._udp.half.test", srv(3, 0, 5080, "b.carrier.test")),
    ])
}

#[tokio::test]
async fn names_lead_to_targets_as_rfc_3263_says() {
    let server = house();
    // NAPTR chooses the transport, SRV the hosts; a host may have several addresses.
    let mut all = server.located(&wanted("carrier.test")).await;
    let first: Vec<String> = all.drain(..2).collect();
    assert!(
        first.contains(&"tls:192.0.2.1:5071".into()) && first.contains(&"tls:[2001:db8::1]:5071".into()),
        "{first:?}"
    );
    assert_eq!(all, ["udp:192.0.2.1:5070", "udp:192.0.2.2:5080"]);
    // Without a listener for TLS that is none of the ways.
    let listeners = vec![wanted("").listeners[0]];
    let udp = server.located(&Wanted { listeners, ..wanted("carrier.test") }).await;
    assert_eq!(udp, ["udp:192.0.2.1:5070", "udp:192.0.2.2:5080"], "and none that no listener leads to");
    // A transport in the URI asks no NAPTR; a port asks no SRV.
    server.asked.lock().unwrap().clear();
    let udp = server.located(&Wanted { transport: Some(Transport::Udp), ..wanted("carrier.test") }).await;
    assert_eq!(udp.last().unwrap(), "udp:192.0.2.2:5080");
    let port = server.located(&Wanted { port: Some(5099), ..wanted("plain.test") }).await;
    assert_eq!(port, ["udp:192.0.2.3:5099"]);
    let asked = server.asked.lock().unwrap().join("\n");
    assert!(!asked.contains("NAPTR") && !asked.contains("SRV _sip._udp.plain"), "{asked}");
    // Neither NAPTR nor SRV: the address and the port that is usual.
    assert_eq!(server.located(&wanted("plain.test")).await, ["udp:192.0.2.3:5060"]);
    assert_eq!(
        server.located(&Wanted { transport: Some(Transport::Tls), ..wanted("plain.test") }).await,
        ["tls:192.0.2.3:5061"]
    );
    assert!(server.located(&wanted("nowhere.test")).await.is_empty());
}

#[tokio::test]
async fn what_is_refused_does_not_hide_what_is_said() {
    let server = house();
    // One of two hosts cannot be looked up.
    assert_eq!(server.located(&wanted("partly.test")).await, ["udp:192.0.2.2:5080"]);
    // A name server that knows no NAPTR: the service records are guessed.
    server.is_old.store(true, Ordering::Relaxed);
    let found = server.located(&wanted("carrier.test")).await;
    assert_eq!(found[..2], ["udp:192.0.2.1:5070", "udp:192.0.2.2:5080"]);
    // Nothing but refusals is an error: what was found before stays.
    let resolver = resolver(&[server.address]).unwrap();
    let refused = Wanted { port: Some(5060), ..wanted("refused.test") };
    assert!(locate(&resolver, &refused, &mut Random::from_number(1)).await.is_err());
}

#[tokio::test]
async fn what_is_not_answered_does_not_hide_what_was() {
    let server = house();
    let resolver = impatient(&server);
    let udp = Wanted { transport: Some(Transport::Udp), ..wanted("half.test") };
    let found = server.located_by(&resolver, &udp).await;
    assert_eq!(found, ["udp:192.0.2.1:5070", "udp:192.0.2.2:5080"], "one host has no answer");
    let located = locate(&resolver, &udp, &mut Random::from_number(1)).await.unwrap();
    let at = |last, rank| {
        let peer = SocketAddr::from(([192, 0, 2, last], 5080));
        Ranked { target: Target { transport: Transport::Udp, peer }, rank, weight: 7 }
    };
    assert!(!located.is_whole);
    let whole = Located { is_whole: true, targets: located.targets.clone(), until: located.until };
    let last = located.targets.last().unwrap().rank;
    let now = Instant::now();
    let known = |seen| vec![(at(2, 0), seen), (at(77, 1), seen)];
    let joined = located.joined(known(now), now);
    assert_eq!(joined.len(), 3, "what was known is still there, and nothing twice: {joined:?}");
    assert_eq!(joined[2].0.target, at(77, 0).target);
    assert!(joined[2].0.rank > last);
    let part = Located { is_whole: false, targets: whole.targets.clone(), until: whole.until };
    assert_eq!(part.joined(known(now), now + FRESH.1).len(), 2, "and not for ever");
    assert_eq!(whole.joined(known(now), now).len(), 2, "a whole answer is all there is");
    // Without an answer for NAPTR nobody knows the transport.
    assert!(locate(&resolver, &wanted("half.test"), &mut Random::from_number(1)).await.is_err());
    // One of its ways without an answer is not left for the next, which may be in the clear.
    assert!(locate(&resolver, &wanted("part.test"), &mut Random::from_number(1)).await.is_err());
    // Nor is a service that has no answer looked for at the name.
    let tcp = Wanted { transport: Some(Transport::Tcp), ..wanted("mute.test") };
    assert!(locate(&resolver, &tcp, &mut Random::from_number(1)).await.is_err());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_looked_for_at_the_name() {
    let server = house();
    let tcp = Wanted { transport: Some(Transport::Tcp), ..wanted("gone.test") };
    assert!(server.located(&tcp).await.is_empty(), "the target is a dot");
    assert_eq!(server.located(&wanted("gone.test")).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_host_or_ourselves_is_no_target_and_many_are_cut() {
    let server = house();
    assert_eq!(server.located(&wanted("home.test")).await, ["udp:192.0.2.10:5060"]);
    let port = Wanted { port: Some(5070), ..wanted("home.test") };
    assert_eq!(server.located(&port).await.len(), 2, "another program may be there");
    let at = |text: &str| Target { transport: Transport::Udp, peer: text.parse().unwrap() };
    let any = Wanted { listeners: vec![(Transport::Udp, "0.0.0.0:5060".parse().unwrap())], ..wanted("x") };
    assert!(!any.leads_to(&at("127.0.0.1:5060")) && any.leads_to(&at("127.0.0.1:5061")));
    assert!(any.leads_to(&at("192.0.2.1:5060")) && !any.leads_to(&at("255.255.255.255:5060")));
    let many = (0..40).map(|last| ("many.test", RData::A(A::new(198, 51, 100, last))));
    let found = NameServer::new(many.collect()).located(&wanted("many.test")).await;
    assert_eq!(found.len(), MAX_TARGETS);
}

#[tokio::test]
async fn equals_are_known_by_their_rank_and_share_by_weight() {
    let v4 = |last| RData::A(A::new(198, 51, 100, last));
    let v6 = |last| RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let server = NameServer::new(vec![
        ("_sips._tcp.shared.test", srv(1, 30, 5061, "a.shared.test")),
        ("_sips._tcp.shared.test", srv(1, 10, 5061, "b.shared.test")),
        ("_sips._tcp.shared.test", srv(2, 0, 5061, "c.shared.test")),
        ("a.shared.test", v4(1)),
        ("a.shared.test", v4(2)),
        ("b.shared.test", v4(3)),
        ("b.shared.test", v6(3)),
        ("c.shared.test", v4(4)),
        ("plain.shared.test", v4(5)),
        ("plain.shared.test", v4(6)),
    ]);
    let resolver = resolver(&[server.address]).unwrap();
    let ranked = async |wanted: Wanted| {
        let targets = locate(&resolver, &wanted, &mut Random::from_number(5)).await.unwrap().targets;
        let shown = |known: &Ranked| (known.target.peer.ip().to_string(), known.rank, known.weight);
        let mut shown: Vec<_> = targets.iter().map(shown).collect();
        shown.sort();
        shown
    };
    let tls = Wanted { transport: Some(Transport::Tls), ..wanted("shared.test") };
    let mut found = ranked(tls).await;
    // Whichever family is first at this priority, the other is tried after it.
    let v6 = found.pop().unwrap();
    assert_eq!((&*v6.0, v6.2), ("2001:db8::3", 160));
    let v4_rank = found[0].1;
    assert_eq!(v6.1.abs_diff(v4_rank), 1);
    let all = found.iter().map(|(ip, rank, weight)| format!("{ip} {rank} {weight}")).collect::<Vec<_>>();
    let of = |last: u8, rank: u32, weight: u32| format!("198.51.100.{last} {rank} {weight}");
    assert_eq!(all, [of(1, v4_rank, 240), of(2, v4_rank, 240), of(3, v4_rank, 160), of(4, 2, 0)]);
    // Addresses of a name alone share equally.
    let plain = ranked(wanted("plain.shared.test")).await;
    let is_whole = |(_, rank, weight): &(String, u32, u32)| (*rank, *weight) == (plain[0].1, 8);
    assert!(plain.len() == 2 && plain.iter().all(is_whole), "{plain:?}");
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_an_error_and_no_answer() {
    let server = NameServer::new(Vec::new());
    server.is_down.store(true, Ordering::Relaxed);
    let resolver = impatient(&server);
    assert!(locate(&resolver, &wanted("carrier.test"), &mut Random::from_number(1)).await.is_err());
}

#[test]
fn priority_comes_before_weight_and_weight_is_a_lot() {
    let record = |priority, weight, port| SRV::new(priority, weight, port, name("a.test"));
    let all = vec![record(2, 0, 5), record(1, 0, 1), record(1, 90, 2), record(1, 10, 3)];
    let mut random = Random::from_number(3);
    let mut first = [0; 6];
    for _ in 0..2000 {
        let ordered = in_order(all.clone(), &mut random);
        assert_eq!(ordered.len(), 4);
        assert_eq!(ordered[3].port, 5, "the lower priority is last");
        first[usize::from(ordered[0].port)] += 1;
    }
    assert!(first[2] > 1600 && first[3] > 100 && (1..100).contains(&first[1]), "{first:?}");
}
