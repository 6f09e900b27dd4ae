//! Tests: the four machines alone, then the layer, then two layers over a bad network.

mod layer_client;
mod layer_server;
mod machines;
mod network;
mod timings;

use bytes::Bytes;

use super::*;
use crate::base::{Random, Timestamp};
use crate::sip::Transport;
use crate::wire::sip::{HeaderName, Limits, MessageWriter, Method, StatusCode};

const T0: Timestamp = Timestamp::from_micros(1_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn udp() -> Flow {
    Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: "192.0.2.9:5070".parse().unwrap() }
}

fn tcp(connection: u32) -> Flow {
    Flow { transport: Transport::Tcp, listener: 1, connection, ..udp() }
}

fn layer(settings: Settings) -> Transactions<u32> {
    Transactions::new(settings, &mut Random::from_number(1))
}

fn parsed(bytes: Bytes) -> Message {
    let message = Message::parse(bytes, &Limits::default()).unwrap();
    message.check().unwrap();
    message
}

/// What a request of the tests varies.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: Method_,
    branch: &'a str,
    call_id: &'a str,
    to_tag: &'a str,
    cseq: u32,
    rport: bool,
}

/// The methods in use here, copyable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method_ {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
}

impl Method_ {
    fn of(self) -> Method {
        match self {
            Self::Invite => Method::Invite,
            Self::Ack => Method::Ack,
            Self::Bye => Method::Bye,
            Self::Cancel => Method::Cancel,
            Self::Options => Method::Options,
        }
    }
}

const ASK: Ask<'static> = Ask {
    method: Method_::Invite,
    branch: "z9hG4bKfirst",
    call_id: "call-1",
    to_tag: "",
    cseq: 1,
    rport: true,
};

impl Ask<'_> {
    fn bytes(&self) -> Bytes {
        let method = self.method.of();
        let tag = if self.to_tag.is_empty() { String::new() } else { format!(";tag={}", self.to_tag) };
        let rport = if self.rport { ";rport" } else { "" };
        let mut writer = MessageWriter::request(&method, "sip:bob@example.com");
        writer
            .header(
                &HeaderName::Via,
                &format!("SIP/2.0/UDP client.example.com:5080{rport};branch={}", self.branch),
            )
            .header(&HeaderName::MaxForwards, "70")
            .header(&HeaderName::From, "<sip:alice@example.com>;tag=a1")
            .header(&HeaderName::To, &format!("<sip:bob@example.com>{tag}"))
            .header(&HeaderName::CallId, self.call_id)
            .cseq(self.cseq, &method)
            .header(&HeaderName::Contact, "<sip:alice@192.0.2.9:5070>");
        writer.finish()
    }

    fn message(&self) -> Message {
        parsed(self.bytes())
    }
}

fn answer(request: &Bytes, status: u16, to_tag: Option<&str>) -> Message {
    let request = Message::parse(request.clone(), &Limits::default()).unwrap();
    let status = StatusCode::new(status).unwrap();
    parsed(MessageWriter::reply_from(&request, status, None, udp().peer, to_tag).finish())
}

/// What was sent, as "METHOD" or "STATUS".
fn sent(out: &[Effect<u32>]) -> Vec<String> {
    out.iter()
        .filter_map(|effect| match effect {
            Effect::Send { bytes, .. } => {
                let message = Message::parse(bytes.clone(), &Limits::default()).unwrap();
                Some(match message.status() {
                    Some(status) => status.as_u16().to_string(),
                    None => message.method().as_str().to_owned(),
                })
            }
            _ => None,
        })
        .collect()
}

/// The bytes of the last thing sent.
fn last_sent(out: &[Effect<u32>]) -> (Flow, Message) {
    out.iter()
        .rev()
        .find_map(|effect| match effect {
            Effect::Send { flow, bytes } => {
                Some((*flow, Message::parse(bytes.clone(), &Limits::default()).unwrap()))
            }
            _ => None,
        })
        .unwrap()
}

fn opened(out: &[Effect<u32>]) -> ServerTx {
    out.iter()
        .find_map(|effect| match effect {
            Effect::Request { tx, .. } => Some(*tx),
            _ => None,
        })
        .unwrap()
}

/// Answers a request of the layer as its user would.
fn respond(
    layer: &mut Transactions<u32>,
    now: Timestamp,
    tx: ServerTx,
    status: u16,
    out: &mut Vec<Effect<u32>>,
) {
    let status = StatusCode::new(status).unwrap();
    let bytes = layer.reply(tx, status, None, Some("b1")).unwrap().finish();
    layer.respond(now, tx, status, bytes, out);
}

/// Runs all timers until nothing is due any more; the effects with their times from T0 in ms.
fn run_down(layer: &mut Transactions<u32>) -> Vec<(u64, Effect<u32>)> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        let Some(at) = layer.poll_timeout() else { return all };
        let mut out = Vec::new();
        layer.handle_timeout(at, &mut out);
        all.extend(out.into_iter().map(|effect| (at.since(T0).as_millis() as u64, effect)));
    }
    panic!("timers never end");
}
