//! scratch
use bytes::Bytes;
use segue::wire::sip::*;
use std::hint::black_box;
use std::time::Instant;
const INVITE: &str = include_str!("/tmp/invite.txt");
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn time(name: &str, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..30 {
        let t = Instant::now();
        for _ in 0..20000 {
            f();
        }
        best = best.min(t.elapsed().as_nanos() as f64 / 20000.0);
    }
    println!("{name:20} {best:8.1} ns");
}
fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let b = Bytes::from_static(INVITE.as_bytes());
    let l = Limits::default();
    let m = Message::parse(b.clone(), &l).unwrap();
    let src = std::net::SocketAddr::from(([198, 51, 100, 7], 5060));
    let run = |n: &str| which.is_empty() || which == n;
    if run("index") {
        time("index", || {
            let _ = black_box(Message::parse(black_box(b.clone()), &l));
        });
    }
    if run("check") {
        time("check", || {
            let _ = black_box(black_box(&m).check());
        });
    }
    if run("via") {
        time("via", || {
            let _ = black_box(black_box(&m).via());
        });
    }
    if run("from") {
        time("from", || {
            let _ = black_box(black_box(&m).from());
        });
    }
    if run("contacts") {
        time("contacts", || {
            let _ = black_box(black_box(&m).contacts());
        });
    }
    if run("cseq") {
        time("cseq", || {
            let _ = black_box(black_box(&m).cseq());
        });
    }
    if run("uri") {
        time("uri", || {
            let _ = black_box(Uri::parse(black_box("sip:alice@192.0.2.10:5060;transport=udp")));
        });
    }
    if run("reply") {
        time("reply", || {
            let _ = black_box(
                MessageWriter::reply_from(
                    black_box(&m),
                    StatusCode::RINGING,
                    None,
                    src,
                    Some("f00dfacef00dface"),
                )
                .finish(),
            );
        });
    }
    if run("rsip") {
        time("rsip", || {
            let _ = black_box(rsip::SipMessage::try_from(black_box(INVITE.as_bytes())));
        });
    }
}
