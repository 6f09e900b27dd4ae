//! What the transaction layer and digest cost, with 32 s of a thousand calls a second lingering in the tables.
//!
//! `cargo bench --bench transactions`. One call is what a B2BUA sees of it: an INVITE and a BYE served, an INVITE
//! and a BYE sent, 14 messages on the wire, parsed before and not counted here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot set itself up has nothing to say"
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use segue::base::{Random, Timestamp};
use segue::sip::digest::{
    Algorithm, Challenge, Credentials, Ha1s, Secret, Settings as Realm, Stale, Verifier,
};
use segue::sip::transaction::{Effect, Settings, Transactions};
use segue::sip::{Flow, Transport};
use segue::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method, StatusCode};

fn main() {
    divan::main();
}

fn flow() -> Flow {
    Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: "192.0.2.9:5070".parse().unwrap() }
}

fn parsed(bytes: Bytes) -> Message {
    Message::parse(bytes, &Limits::default()).unwrap()
}

fn request(method: &Method, branch: &str, call_id: &str, to: &str, cseq: u32) -> Bytes {
    let mut writer = MessageWriter::request(method, "sip:bob@192.0.2.4:5060;transport=udp");
    writer
        .header_parts(&HeaderName::Via, &["SIP/2.0/UDP 192.0.2.9:5070;rport;branch=", branch])
        .header(&HeaderName::MaxForwards, "70")
        .header(&HeaderName::From, "\"Alice\" <sip:alice@example.com>;tag=9fxced76sl")
        .header(&HeaderName::To, to)
        .header(&HeaderName::CallId, call_id)
        .cseq(cseq, method)
        .header(&HeaderName::Contact, "<sip:alice@192.0.2.9:5070>")
        .header(&HeaderName::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER")
        .header(&HeaderName::UserAgent, "bench");
    writer.finish()
}

const TO: &str = "<sip:bob@example.com>";
const TO_TAGGED: &str = "<sip:bob@example.com>;tag=314159";

/// The messages of one call.
struct Call {
    branch: String,
    bye_branch: String,
    invite_in: Message,
    ack_in: Message,
    bye_in: Message,
    invite_out: Bytes,
    ack_out: Bytes,
    bye_out: Bytes,
    answers: Vec<Message>,
    bye_answer: Message,
}

fn call(random: &mut Random) -> Call {
    let mut branch = || format!("z9hG4bK{}", random.tag());
    let (a, b, c, d, e, f) = (branch(), branch(), branch(), branch(), branch(), branch());
    let (id_in, id_out) = (random.token(), random.token());
    let invite_out = request(&Method::Invite, &d, &id_out, TO, 1);
    let bye_out = request(&Method::Bye, &f, &id_out, TO_TAGGED, 2);
    let answer = |to: &Bytes, status: StatusCode| {
        parsed(
            MessageWriter::reply_from(&parsed(to.clone()), status, None, flow().peer, Some("314159"))
                .finish(),
        )
    };
    let answers = [StatusCode::TRYING, StatusCode::RINGING, StatusCode::OK];
    Call {
        invite_in: parsed(request(&Method::Invite, &a, &id_in, TO, 1)),
        ack_in: parsed(request(&Method::Ack, &b, &id_in, TO_TAGGED, 1)),
        bye_in: parsed(request(&Method::Bye, &c, &id_in, TO_TAGGED, 2)),
        answers: answers.map(|status| answer(&invite_out, status)).into(),
        bye_answer: answer(&bye_out, StatusCode::OK),
        ack_out: request(&Method::Ack, &e, &id_out, TO_TAGGED, 1),
        branch: d,
        bye_branch: f,
        invite_out,
        bye_out,
    }
}

struct World {
    layer: Transactions<u64>,
    now: Timestamp,
    out: Vec<Effect<u64>>,
}

impl World {
    fn serve(&mut self, message: Message, statuses: &[StatusCode]) {
        let Self { layer, now, out } = self;
        layer.receive(*now, flow(), message, out);
        let Some(Effect::Request { tx, .. }) = out.last() else { panic!("not delivered") };
        let tx = *tx;
        for status in statuses {
            let bytes = layer.reply(tx, *status, None, Some("314159")).unwrap().finish();
            layer.respond(*now, tx, *status, bytes, out);
        }
        layer.acknowledge(tx);
    }

    /// One call from start to end, a millisecond after the one before.
    fn play(&mut self, call: Call) {
        self.now = self.now + Duration::from_millis(1);
        self.layer.handle_timeout(self.now, &mut self.out);
        self.serve(call.invite_in, &[StatusCode::RINGING, StatusCode::OK]);
        let Self { layer, now, out } = self;
        let tx = layer.request(*now, flow(), &Method::Invite, &call.branch, call.invite_out, 1, out);
        for answer in call.answers {
            layer.receive(*now, flow(), answer, out);
        }
        layer.acked(*now, tx, Some("314159"), flow(), call.ack_out, out);
        layer.receive(*now, flow(), call.ack_in, out);
        self.serve(call.bye_in, &[StatusCode::OK]);
        let Self { layer, now, out } = self;
        layer.request(*now, flow(), &Method::Bye, &call.bye_branch, call.bye_out, 1, out);
        layer.receive(*now, flow(), call.bye_answer, out);
        black_box(&out);
        out.clear();
    }
}

/// 14 messages.
#[divan::bench(sample_count = 200, sample_size = 50)]
fn call_with_32_s_of_a_thousand_a_second_lingering(bencher: Bencher<'_, '_>) {
    let random = RefCell::new(Random::from_number(1));
    let layer = Transactions::new(Settings::default(), &mut random.borrow_mut());
    let mut world = World { layer, now: Timestamp::ZERO, out: Vec::new() };
    for _ in 0..33_000 {
        let call = call(&mut random.borrow_mut());
        world.play(call);
    }
    assert!(world.layer.len() > 60_000);
    bencher.with_inputs(|| call(&mut random.borrow_mut())).bench_local_values(|call| world.play(call));
}

#[divan::bench(args = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256])]
fn digest_verify(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let mut random = Random::from_number(2);
    let mut verifier = Verifier::new(Realm { realm: "example.com".into(), ..Realm::default() }, &mut random);
    let ha1s = Ha1s::from_password("bob", "example.com", "zanzibar");
    let value = verifier.challenge(Timestamp::ZERO, &flow(), &[algorithm], Stale::No, &mut random).remove(0);
    let challenge = Challenge::parse(value.as_bytes()).unwrap();
    let uri = "sip:bob@192.0.2.4:5060;transport=udp";
    let mut nc = 0;
    bencher
        .with_inputs(|| {
            nc += 1;
            let secret = Secret::Ha1s(&ha1s);
            let answer =
                challenge.answer("bob", secret, &Method::Register, uri, "0a4f113b0a4f113b", nc).unwrap();
            let mut writer = MessageWriter::request(&Method::Register, uri);
            writer.header(&HeaderName::Authorization, &answer);
            parsed(writer.finish())
        })
        .bench_local_refs(|message| {
            let lookup = |_: &str| Some(ha1s.clone());
            verifier.verify(Timestamp::ZERO, &flow(), message, Credentials::Www, lookup)
        });
}

#[divan::bench]
fn digest_challenge(bencher: Bencher<'_, '_>) {
    let mut random = Random::from_number(2);
    let verifier = Verifier::new(Realm::default(), &mut random);
    bencher.bench_local(|| {
        verifier.challenge(Timestamp::ZERO, &flow(), &[Algorithm::Md5], Stale::No, &mut random)
    });
}
