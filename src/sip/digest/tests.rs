//! Digest as a whole: the examples of the RFCs, what attackers try (docs/THREATS.md), and both sides together.

use std::time::Duration;

use bytes::Bytes;

use super::hash::Hash;
use super::*;
use crate::base::{Random, Timestamp};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method};

const REALM: &str = "biloxi.com";
const URI: &str = "sip:bob@biloxi.com";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn flow() -> Flow {
    Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: "192.0.2.9:5070".parse().unwrap() }
}

fn verifier() -> (Verifier, Random) {
    let mut random = Random::from_number(3);
    let settings = Settings { realm: REALM.to_owned(), ..Settings::default() };
    (Verifier::new(settings, &mut random), random)
}

fn stored(user: &str) -> Option<Ha1s> {
    (user == "bob").then(|| Ha1s::from_password("bob", REALM, "zanzibar"))
}

/// A request with these values of Authorization.
fn request(method: &Method, uri: &str, answers: &[&str]) -> Message {
    let mut writer = MessageWriter::request(method, uri);
    writer
        .header(&HeaderName::Via, "SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bKx")
        .header(&HeaderName::From, "<sip:bob@biloxi.com>;tag=1")
        .header(&HeaderName::To, "<sip:bob@biloxi.com>")
        .header(&HeaderName::CallId, "c")
        .cseq(1, method);
    for answer in answers {
        writer.header(&HeaderName::Authorization, answer);
    }
    Message::parse(writer.finish(), &Limits::default()).unwrap()
}

/// A verifier, one challenge of it, and what is tried with it.
struct Scene {
    verifier: Verifier,
    random: Random,
    challenge: Challenge,
}

impl Scene {
    fn new(algorithm: Algorithm) -> Self {
        let (verifier, mut random) = verifier();
        let values = verifier.challenge(at(100), &flow(), &[algorithm], Stale::No, &mut random);
        let challenge = Challenge::parse(values[0].as_bytes()).unwrap();
        Self { verifier, random, challenge }
    }

    fn answer(&self, user: &str, password: &str, nc: u32) -> String {
        let secret = Secret::Password(password);
        self.challenge.answer(user, secret, &Method::Register, URI, "0a4f113b", nc).unwrap()
    }

    fn judge(&mut self, answer: &str) -> Verdict {
        self.judge_at(at(101), &flow(), &request(&Method::Register, URI, &[answer]))
    }

    fn judge_at(&mut self, now: Timestamp, flow: &Flow, message: &Message) -> Verdict {
        self.verifier.verify(now, flow, message, Credentials::Www, stored)
    }
}

fn accepted() -> Verdict {
    Verdict::Accepted
}

fn wrong(user: &str) -> Verdict {
    Verdict::Wrong { username: user.to_owned() }
}

const ALL: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256];

#[test]
fn examples_of_rfc_7616_and_rfc_2617() {
    // RFC 7616 3.9.1, both algorithms.
    let challenge = |algorithm| {
        let text = format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        Challenge::parse(text.as_bytes()).unwrap()
    };
    let answer = |algorithm| {
        let secret = Secret::Password("Circle of Life");
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let method = Method::Other("GET".into());
        challenge(algorithm).answer("Mufasa", secret, &method, "/dir/index.html", cnonce, 1).unwrap()
    };
    let md5 = answer("MD5");
    assert!(md5.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{md5}");
    assert!(md5.contains("qop=auth, nc=00000001, cnonce=\"f2/"), "{md5}");
    assert!(md5.contains("opaque=\"FQhe/"), "{md5}");
    let sha256 = answer("SHA-256");
    assert!(
        sha256.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""),
        "{sha256}"
    );
    // RFC 2617 3.5.
    let challenge = Challenge::parse(
        b"Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
          nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    )
    .unwrap();
    let secret = Secret::Password("Circle Of Life");
    let method = Method::Other("GET".into());
    let answer = challenge.answer("Mufasa", secret, &method, "/dir/index.html", "0a4f113b", 1).unwrap();
    assert!(answer.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{answer}");
}

#[test]
fn sha_512_256_is_the_hash_of_fips_180_4_and_not_a_cut_sha_512() {
    // RFC 8760 names no values for SIP; FIPS 180-4 fixes the hash: SHA-512/256("abc").
    let hash = Hash::of(Algorithm::Sha512_256, &[b"abc"]);
    assert_eq!(hash.hex().as_str(), "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23");
    let ha1s = Ha1s::from_password("J", "r", "p");
    let joined = Hash::of(Algorithm::Sha512_256, &[b"J:r:p"]);
    assert_eq!(
        ha1s.sha512_256.map(|bytes| joined.matches_hex(Hash::Long(bytes).hex().as_bytes())),
        Some(true)
    );
}

#[test]
fn an_rfc_2069_answer_is_calculated_without_qop() {
    // RFC 2069 2.4 with the erratum 749 value.
    let challenge = Challenge::parse(
        b"Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
    )
    .unwrap();
    let method = Method::Other("GET".into());
    let answer = challenge
        .answer("Mufasa", Secret::Password("CircleOfLife"), &method, "/dir/index.html", "x", 1)
        .unwrap();
    assert!(answer.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{answer}");
    assert!(!answer.contains("qop") && !answer.contains("cnonce"));
}

#[test]
fn right_credentials_of_each_algorithm_are_accepted() {
    for algorithm in ALL {
        let mut scene = Scene::new(algorithm);
        assert_eq!(scene.challenge.algorithm, algorithm);
        let answer = scene.answer("bob", "zanzibar", 1);
        assert_eq!(scene.judge(&answer), accepted(), "{algorithm:?}");
        let ha1s = stored("bob").unwrap();
        let answer =
            scene.challenge.answer("bob", Secret::Ha1s(&ha1s), &Method::Register, URI, "c", 2).unwrap();
        assert_eq!(scene.judge(&answer), accepted(), "from the stored hash too");
    }
}

#[test]
fn challenges_cost_no_memory_and_say_what_rfc_8760_asks() {
    let (verifier, mut random) = verifier();
    let order = [Algorithm::Sha256, Algorithm::Md5];
    for stale in [Stale::No, Stale::Yes] {
        let values = verifier.challenge(at(1), &flow(), &order, stale, &mut random);
        let read: Vec<_> = values.iter().map(|value| Challenge::parse(value.as_bytes()).unwrap()).collect();
        assert_eq!(read.iter().map(|c| c.algorithm).collect::<Vec<_>>(), order);
        assert!(read.iter().all(|c| c.realm == REALM && c.stale == stale));
        assert!(values.iter().all(|value| value.contains("qop=\"auth\"") && value.len() < 180), "{values:?}");
    }
    assert_eq!(verifier.nonces_in_use(), 0);
}

#[test]
fn a_realm_with_quotes_survives_and_cannot_break_out() {
    let mut random = Random::from_number(3);
    let realm = "a \"b\\c\"\r\nX: y";
    let settings = Settings { realm: realm.to_owned(), ..Settings::default() };
    let verifier = Verifier::new(settings, &mut random);
    let values = verifier.challenge(at(1), &flow(), &[Algorithm::Md5], Stale::No, &mut random);
    assert!(!values[0].contains(['\r', '\n']));
    assert_eq!(Challenge::parse(values[0].as_bytes()).unwrap().realm, "a \"b\\c\"X: y");
}

#[test]
fn no_credentials_for_us_are_missing() {
    let mut scene = Scene::new(Algorithm::Md5);
    let elsewhere = scene.answer("bob", "zanzibar", 1).replace(REALM, "elsewhere.example.com");
    for values in [&[][..], &["Basic Ym9iOnphbnppYmFy"], &[&elsewhere], &["Bearer x"]] {
        let message = request(&Method::Register, URI, values);
        assert_eq!(scene.judge_at(at(101), &flow(), &message), Verdict::Missing, "{values:?}");
    }
    // Ours is found among others.
    let ours = scene.answer("bob", "zanzibar", 1);
    let message = request(&Method::Register, URI, &["Basic x", &elsewhere, &ours]);
    assert_eq!(scene.judge_at(at(101), &flow(), &message), accepted());
}

#[test]
fn threat_replay_of_a_captured_answer() {
    let mut scene = Scene::new(Algorithm::Md5);
    let captured = scene.answer("bob", "zanzibar", 1);
    assert_eq!(scene.judge(&captured), accepted());
    assert_eq!(scene.judge(&captured), Verdict::Stale, "the same count");
    let third = scene.answer("bob", "zanzibar", 3);
    assert_eq!(scene.judge(&third), accepted(), "counts may leave gaps");
    let second = scene.answer("bob", "zanzibar", 2);
    assert_eq!(scene.judge(&second), Verdict::Stale, "but never go back");
    // Another count cannot be written into a captured answer.
    let forged = captured.replace("nc=00000001", "nc=00000009");
    assert_eq!(scene.judge(&forged), wrong("bob"));
    let zero = scene.answer("bob", "zanzibar", 0);
    assert_eq!(scene.judge(&zero), Verdict::Stale);
    assert_eq!(scene.verifier.nonces_in_use(), 1);
}

#[test]
fn threat_nonce_from_elsewhere_expired_or_forged() {
    let mut scene = Scene::new(Algorithm::Md5);
    let answer = scene.answer("bob", "zanzibar", 1);
    let message = request(&Method::Register, URI, &[&answer]);
    let stranger = Flow { peer: "198.51.100.66:5070".parse().unwrap(), ..flow() };
    assert_eq!(scene.judge_at(at(101), &stranger, &message), Verdict::Stale, "from another address");
    assert_eq!(scene.judge_at(at(100 + 301), &flow(), &message), Verdict::Stale, "expired");
    let mut other = Verifier::new(
        Settings { realm: REALM.to_owned(), ..Settings::default() },
        &mut Random::from_number(4),
    );
    assert_eq!(
        other.verify(at(101), &flow(), &message, Credentials::Www, stored),
        Verdict::Stale,
        "of another worker"
    );
    let own = Challenge::parse(
        format!("Digest realm=\"{REALM}\", nonce=\"{}\", qop=\"auth\"", "0".repeat(56)).as_bytes(),
    )
    .unwrap();
    let forged = own.answer("bob", Secret::Password("zanzibar"), &Method::Register, URI, "c", 1).unwrap();
    assert_eq!(scene.judge(&forged), Verdict::Stale, "made up");
    // None of it was paid for with memory, and the honest client is still served from its new port.
    assert_eq!(scene.verifier.nonces_in_use(), 0);
    let moved = Flow { peer: "192.0.2.9:40000".parse().unwrap(), ..flow() };
    assert_eq!(scene.judge_at(at(101), &moved, &message), accepted());
}

#[test]
fn threat_an_algorithm_that_was_not_offered() {
    let mut scene = Scene::new(Algorithm::Sha256);
    for other in [Algorithm::Md5, Algorithm::Sha512_256] {
        let mut weaker = scene.challenge.clone();
        weaker.algorithm = other;
        let secret = Secret::Password("zanzibar");
        let answer = weaker.answer("bob", secret, &Method::Register, URI, "c", 1).unwrap();
        assert_eq!(scene.judge(&answer), Verdict::Stale, "{other:?}");
    }
    for unknown in ["MD5-sess", "SHA-256-sess", "SHA-1", ""] {
        let answer = scene.answer("bob", "zanzibar", 1);
        let answer = answer.replace("algorithm=SHA-256", &format!("algorithm={unknown}"));
        assert_eq!(scene.judge(&answer), Verdict::Malformed, "{unknown}");
    }
}

#[test]
fn threat_an_answer_turned_on_another_resource_or_method() {
    let mut scene = Scene::new(Algorithm::Md5);
    let answer = scene.answer("bob", "zanzibar", 1);
    let elsewhere = request(&Method::Register, "sip:carol@biloxi.com", &[&answer]);
    assert_eq!(scene.judge_at(at(101), &flow(), &elsewhere), Verdict::Malformed);
    let rewritten = answer.replace(URI, "sip:carol@biloxi.com");
    let elsewhere = request(&Method::Register, "sip:carol@biloxi.com", &[&rewritten]);
    assert_eq!(scene.judge_at(at(101), &flow(), &elsewhere), wrong("bob"));
    let invite = request(&Method::Invite, URI, &[&answer]);
    assert_eq!(scene.judge_at(at(101), &flow(), &invite), wrong("bob"));
    // The same URI in another spelling is the same (19.1.4); it is hashed as it stands.
    let spelled = request(&Method::Register, "sip:bob@BILOXI.com", &[&answer]);
    assert_eq!(scene.judge_at(at(101), &flow(), &spelled), accepted());
}

#[test]
fn threat_an_answer_for_the_server_is_none_for_a_number() {
    let mut scene = Scene::new(Algorithm::Md5);
    let secret = Secret::Password("zanzibar");
    let mut count = 0;
    let mut judge = |method: &Method, uri: &str, request_uri: &str| {
        count += 1;
        let answer = scene.challenge.answer("bob", secret, method, uri, "c", count).unwrap();
        scene.judge_at(at(101), &flow(), &request(method, request_uri, &[&answer]))
    };
    for method in [Method::Invite, Method::Message, Method::Subscribe] {
        for uri in ["sip:biloxi.com", "sip:biloxi.com:5060", "sip:192.0.2.4", "sip:elsewhere.example"] {
            assert_eq!(judge(&method, uri, "sip:*44@biloxi.com"), Verdict::Malformed, "{method:?} {uri}");
        }
        // SIPp names the socket that it sends to, whatever it asks for.
        assert_eq!(judge(&method, "sip:192.0.2.4:5060", "sip:*44@biloxi.com"), accepted());
        assert_eq!(judge(&method, "sip:alice@192.0.2.4:5060", "sip:*44@biloxi.com"), Verdict::Malformed);
    }
    // A REGISTER asks nothing but of the server, by whichever of its names.
    for uri in ["sip:biloxi.com", "sip:192.0.2.4", "sip:192.0.2.4:5060"] {
        assert_eq!(judge(&Method::Register, uri, "sip:edge.biloxi.com"), accepted(), "{uri}");
    }
    assert_eq!(judge(&Method::Register, "sip:bob@biloxi.com", "sip:biloxi.com"), Verdict::Malformed);
}

#[test]
fn threat_users_cannot_be_told_apart_by_the_answer() {
    for algorithm in ALL {
        let mut scene = Scene::new(algorithm);
        let known = scene.answer("bob", "guess", 1);
        let unknown = scene.answer("mallory", "guess", 1);
        assert_eq!(scene.judge(&known), wrong("bob"));
        assert_eq!(scene.judge(&unknown), wrong("mallory"));
        assert_eq!(scene.verifier.nonces_in_use(), 0, "guesses leave nothing behind");
    }
    // Nor by whether a user has a hash for the algorithm.
    let mut scene = Scene::new(Algorithm::Md5);
    let message = request(&Method::Register, URI, &[&scene.answer("bob", "zanzibar", 1)]);
    let sha_only = |user: &str| stored(user).map(|ha1s| Ha1s { md5: None, ..ha1s });
    let verdict = scene.verifier.verify(at(101), &flow(), &message, Credentials::Www, sha_only);
    assert_eq!(verdict, wrong("bob"));
}

#[test]
fn threat_nobody_guesses_the_hash_that_unknown_users_are_judged_by() {
    // An answer made with an HA1 of zeros must not pass for a user without one.
    let mut scene = Scene::new(Algorithm::Md5);
    let zeros = Ha1s { md5: Some([0; 16]), ..Ha1s::default() };
    let answer =
        scene.challenge.answer("mallory", Secret::Ha1s(&zeros), &Method::Register, URI, "c", 1).unwrap();
    assert_eq!(scene.judge(&answer), wrong("mallory"));
}

#[test]
fn threat_broken_authorization_headers_are_refused_without_harm() {
    let mut scene = Scene::new(Algorithm::Md5);
    let good = scene.answer("bob", "zanzibar", 1);
    let without = |name: &str| {
        let kept: Vec<_> = good
            .trim_start_matches("Digest ")
            .split(", ")
            .filter(|p| !p.starts_with(&format!("{name}=")))
            .collect();
        format!("Digest {}", kept.join(", "))
    };
    for name in ["username", "nonce", "uri", "response", "nc", "cnonce", "realm"] {
        assert_eq!(scene.judge(&without(name)), Verdict::Malformed, "without {name}");
    }
    for broken in [
        format!("{good}, realm=\"{REALM}\""),
        format!("{good}, username=\"bob\""),
        good.replace("qop=auth", "qop=auth-int"),
        good.replace("nc=00000001", "nc=1"),
        good.replace("nc=00000001", "nc=+0000001"),
        good.replace("response=\"", "response=\"0"),
        format!("{good}, x=\""),
        "Digest \"".to_owned(),
        format!("Digest realm=\"{REALM}\""),
    ] {
        assert_ne!(scene.judge(&broken), accepted(), "{broken}");
    }
    // Every cut and every changed byte: some verdict, never a panic, accepted only where nothing counts
    // (case of names and of hexadecimal digits, spaces, what is not looked at).
    for place in 0..good.len() {
        let _ = scene.judge(&good[..place]);
        for byte in [0x00, b'"', b'\\', b',', b'=', 0xff] {
            let mut bytes = good.clone().into_bytes();
            bytes[place] = byte;
            let value = [&b"REGISTER sip:bob@biloxi.com SIP/2.0\r\nAuthorization: "[..], &bytes, b"\r\n\r\n"]
                .concat();
            if let Ok(message) = Message::parse(Bytes::from(value), &Limits::default()) {
                let _ = scene.judge_at(at(101), &flow(), &message);
            }
        }
    }
}

#[test]
fn threat_a_flood_of_nonces_is_bounded() {
    let mut random = Random::from_number(5);
    let settings = Settings { realm: REALM.to_owned(), max_nonces: 50, lifetime: Duration::from_secs(300) };
    let mut verifier = Verifier::new(settings, &mut random);
    let mut first = None;
    for second in 100..300 {
        let value =
            verifier.challenge(at(second), &flow(), &[Algorithm::Md5], Stale::No, &mut random).remove(0);
        let challenge = Challenge::parse(value.as_bytes()).unwrap();
        let answer =
            challenge.answer("bob", Secret::Password("zanzibar"), &Method::Register, URI, "c", 1).unwrap();
        let message = request(&Method::Register, URI, &[&answer]);
        assert_eq!(verifier.verify(at(second), &flow(), &message, Credentials::Www, stored), accepted());
        first.get_or_insert(message);
    }
    assert_eq!(verifier.nonces_in_use(), 50);
    let replayed = verifier.verify(at(300), &flow(), &first.unwrap(), Credentials::Www, stored);
    assert_eq!(replayed, Verdict::Stale, "forgotten, not forgiven");
}

#[test]
fn clients_without_qop_are_served_once_for_each_nonce_and_with_md5_only() {
    for (algorithm, expected) in [(Algorithm::Md5, accepted()), (Algorithm::Sha256, Verdict::Malformed)] {
        let mut scene = Scene::new(algorithm);
        let Scene { verifier, random, .. } = &mut scene;
        let value = verifier.challenge(at(100), &flow(), &[algorithm], Stale::No, random).remove(0);
        let old = Challenge::parse(value.replace(", qop=\"auth\"", "").as_bytes()).unwrap();
        let answer = old.answer("bob", Secret::Password("zanzibar"), &Method::Register, URI, "c", 1).unwrap();
        assert_eq!(scene.judge(&answer), expected);
        if algorithm == Algorithm::Md5 {
            assert_eq!(scene.judge(&answer), Verdict::Stale);
        }
    }
}

#[test]
fn proxy_credentials_are_another_pair_of_headers() {
    let mut scene = Scene::new(Algorithm::Md5);
    let message = request(&Method::Register, URI, &[&scene.answer("bob", "zanzibar", 1)]);
    let verdict = scene.verifier.verify(at(101), &flow(), &message, Credentials::Proxy, stored);
    assert_eq!(verdict, Verdict::Missing);
    assert_eq!(Credentials::Proxy.status().as_u16(), 407);
    assert_eq!(Credentials::Proxy.challenge_header(), HeaderName::ProxyAuthenticate);
}

#[test]
fn challenges_that_we_do_not_speak_are_left() {
    let parse = |value: &str| Challenge::parse(value.as_bytes());
    assert_eq!(parse("Basic realm=\"x\""), Err(ChallengeError::Unsupported));
    assert_eq!(
        parse("Digest realm=\"x\", nonce=\"y\", algorithm=MD5-sess"),
        Err(ChallengeError::Unsupported)
    );
    assert_eq!(parse("Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\""), Err(ChallengeError::Unsupported));
    assert_eq!(parse("Digest realm=\"x\""), Err(ChallengeError::Malformed));
    assert_eq!(parse("Digest realm=\"x\", realm=\"x\", nonce=\"y\""), Err(ChallengeError::Malformed));
    let long = format!("Digest realm=\"x\", nonce=\"{}\"", "y".repeat(1025));
    assert_eq!(parse(&long), Err(ChallengeError::Malformed));
    // A user without a hash for what is asked cannot answer.
    let sha = parse("Digest realm=\"x\", nonce=\"y\", algorithm=SHA-256, stale=TRUE").unwrap();
    assert_eq!(sha.stale, Stale::Yes);
    let md5_only = Ha1s { md5: Some([1; 16]), ..Ha1s::default() };
    assert_eq!(sha.answer("u", Secret::Ha1s(&md5_only), &Method::Register, URI, "c", 1), None);
}
