//! What reading and writing a SIP message costs, beside rsip 0.4: `cargo bench --bench parse`.

use std::hint::black_box;

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use segue::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method, StatusCode, StreamFramer, Uri};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// An INVITE as a desk phone sends it: 16 headers, SDP with six codecs, 1.2 KB.
const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---8d1f0c5ee1a2b33c;rport\r\n\
Max-Forwards: 70\r\n\
Contact: <sip:alice@192.0.2.10:5060;transport=udp>;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"\r\n\
To: \"Bob\" <sip:bob@example.com>\r\n\
From: \"Alice\" <sip:alice@example.com>;tag=9fxced76sl\r\n\
Call-ID: 3848276298220188511@192.0.2.10\r\n\
CSeq: 314159 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE, UPDATE, PRACK\r\n\
Supported: replaces, norefersub, 100rel, timer, outbound, path\r\n\
Session-Expires: 1800\r\n\
Min-SE: 90\r\n\
User-Agent: Deskphone/5.12.0 (build 4711)\r\n\
Accept: application/sdp, application/dtmf-relay\r\n\
Allow-Events: dialog, message-summary, refer\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 332\r\n\
\r\n\
v=0\r\n\
o=alice 2890844526 2890844526 IN IP4 192.0.2.10\r\n\
s=-\r\n\
c=IN IP4 192.0.2.10\r\n\
t=0 0\r\n\
m=audio 49170 RTP/AVP 9 8 0 18 3 101\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:18 G729/8000\r\n\
a=fmtp:18 annexb=no\r\n\
a=rtpmap:3 GSM/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n\
";

/// What load generators and simple softphones send: 10 headers and a short SDP, 0.6 KB.
const SHORT: &str = "INVITE sip:bob@192.0.2.1:5060 SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK-4711-1-0\r\n\
From: sipp <sip:sipp@192.0.2.20:5060>;tag=4711SIPpTag001\r\n\
To: bob <sip:bob@192.0.2.1:5060>\r\n\
Call-ID: 1-4711@192.0.2.20\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:sipp@192.0.2.20:5060>\r\n\
Max-Forwards: 70\r\n\
Subject: Performance Test\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 131\r\n\
\r\n\
v=0\r\n\
o=user1 53655765 2353687637 IN IP4 192.0.2.20\r\n\
s=-\r\n\
c=IN IP4 192.0.2.20\r\n\
t=0 0\r\n\
m=audio 6000 RTP/AVP 0\r\n\
a=rtpmap:0 PCMU/8000\r\n\
";

/// A response of the same phone.
const OK: &str = "SIP/2.0 200 OK\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK8d1f0c5ee1a2b33c;received=192.0.2.1;rport=5060\r\n\
From: <sip:alice@example.com>;tag=9fxced76sl\r\n\
To: <sip:bob@example.com>;tag=8321234356\r\n\
Call-ID: 9f3c1c55d2e0b1a7\r\n\
CSeq: 2 BYE\r\n\
User-Agent: Deskphone/5.12.0 (build 4711)\r\n\
Content-Length: 0\r\n\
\r\n";

fn message(text: &'static str) -> Message {
    match Message::parse(Bytes::from_static(text.as_bytes()), &Limits::default()) {
        Ok(message) => message,
        Err(error) => unreachable!("{error}"),
    }
}

mod read {
    use super::*;

    #[divan::bench(args = [("invite", INVITE), ("short", SHORT), ("ok", OK)].map(Named))]
    fn index(bencher: Bencher, text: Named) {
        let (bytes, limits) = (Bytes::from_static(text.0.1.as_bytes()), Limits::default());
        bencher.bench_local(|| Message::parse(black_box(bytes.clone()), &limits));
    }

    #[divan::bench(args = [("invite", INVITE), ("short", SHORT), ("ok", OK)].map(Named))]
    fn index_and_check(bencher: Bencher, text: Named) {
        let (bytes, limits) = (Bytes::from_static(text.0.1.as_bytes()), Limits::default());
        bencher.bench_local(|| {
            let message = Message::parse(black_box(bytes.clone()), &limits);
            message.is_ok_and(|message| message.check().is_ok())
        });
    }

    #[divan::bench(args = [("invite", INVITE), ("short", SHORT), ("ok", OK)].map(Named))]
    fn rsip(bencher: Bencher, text: Named) {
        let bytes = text.0.1.as_bytes().to_vec();
        bencher.bench_local(|| rsip::SipMessage::try_from(black_box(bytes.as_slice())));
    }

    /// What a transaction and a dialog ask for.
    #[divan::bench]
    fn typed_headers(bencher: Bencher) {
        let message = message(INVITE);
        bencher.bench_local(|| {
            let message = black_box(&message);
            (
                message.via().map(|via| via.branch().map(str::len)),
                message.from_tag().map(str::len),
                message.to_tag().map(str::len),
                message.call_id().map(str::len),
                message.cseq().map(|cseq| cseq.number),
                message.contact().map(|contact| contact.uri.len()),
            )
        });
    }

    #[divan::bench]
    fn rsip_typed_headers(bencher: Bencher) {
        use rsip::prelude::{HeadersExt, ToTypedHeader};
        let Ok(message) = rsip::SipMessage::try_from(INVITE.as_bytes()) else { unreachable!() };
        bencher.bench_local(|| {
            let message = black_box(&message);
            (
                message.via_header().ok().and_then(|via| via.typed().ok()).is_some(),
                message.from_header().ok().and_then(|from| from.typed().ok()).is_some(),
                message.to_header().ok().and_then(|to| to.typed().ok()).is_some(),
                message.call_id_header().is_ok(),
                message.cseq_header().ok().and_then(|cseq| cseq.typed().ok()).is_some(),
                message.contact_header().ok().and_then(|contact| contact.typed().ok()).is_some(),
            )
        });
    }

    #[divan::bench]
    fn uri() -> bool {
        Uri::parse(black_box("sip:alice@192.0.2.10:5060;transport=udp")).is_ok()
    }

    #[divan::bench]
    fn framed_from_a_stream(bencher: Bencher) {
        let mut framer = StreamFramer::new(Limits::default());
        bencher.bench_local(|| {
            framer.push(black_box(INVITE.as_bytes()));
            framer.next_frame()
        });
    }
}

mod write {
    use super::*;

    #[divan::bench]
    fn reply(bencher: Bencher) {
        let message = message(INVITE);
        let source = std::net::SocketAddr::from(([198, 51, 100, 7], 5060));
        bencher.bench_local(|| {
            MessageWriter::reply_from(
                black_box(&message),
                StatusCode::RINGING,
                None,
                source,
                Some("f00dfacef00dface"),
            )
            .header(&HeaderName::Contact, "<sip:192.0.2.1:5060>")
            .finish()
        });
    }

    /// The INVITE of the other leg: own identifiers, what crosses is copied.
    #[divan::bench]
    fn forward(bencher: Bencher) {
        let message = message(INVITE);
        let body = message.body();
        bencher.bench_local(|| {
            let message = black_box(&message);
            let mut writer = MessageWriter::request(&Method::Invite, "sip:bob@203.0.113.9:5060");
            writer
                .header_parts(
                    &HeaderName::Via,
                    &["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK", "8d1f0c5ee1a2b33c", ";rport"],
                )
                .header_number(&HeaderName::MaxForwards, 69)
                .header_parts(&HeaderName::From, &["<sip:alice@example.com>;tag=", "9fxced76sl"])
                .header(&HeaderName::To, "<sip:bob@example.com>")
                .header(&HeaderName::CallId, "9f3c1c55d2e0b1a7")
                .cseq(1, &Method::Invite)
                .header(&HeaderName::Contact, "<sip:192.0.2.1:5060>");
            for name in
                [HeaderName::Allow, HeaderName::Supported, HeaderName::SessionExpires, HeaderName::MinSe]
            {
                if let Some(header) = message.header(name) {
                    writer.copy(&header);
                }
            }
            writer.body("application/sdp", &body).finish()
        });
    }
}

/// Prints the name only.
#[derive(Clone, Copy)]
struct Named((&'static str, &'static str));

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.0)
    }
}
