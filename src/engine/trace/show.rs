//! The messages of one call, out of what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;

use super::{Kept, Key, Trace, TraceMessage, TraceParty, TraceView, Way, masked};
use crate::call::settings::Settings;
use crate::engine::Engine;
use crate::engine::command::{CommandError, Reply};
use crate::engine::view::Time;
use crate::media::codec::Codec;
use crate::sip::Flow;
use crate::wire::sdp::{Direction, Media, Sdp};
use crate::wire::sip::{HeaderName, Limits, Message, peek};

/// Longest name of a call that is looked at: a Call-ID may be longer than our own ids.
const NAME_LEN: usize = 256;
/// Messages of one answer, and their bytes: it is made between two batches of signalling.
const MOST_MESSAGES: usize = 2_000;
const MOST_BYTES: usize = 2 * 1024 * 1024;

impl Engine {
    /// The messages of a call by its id, or by the Call-ID of one of its dialogs.
    pub(in crate::engine) fn show_trace(&self, call: &str) -> Result<Reply, CommandError> {
        if !self.trace.is_on() {
            let why = "the node keeps no messages: trace.memory_mb is 0".into();
            return Err(CommandError::Conflict { why });
        }
        if call.len() > NAME_LEN {
            return Err(CommandError::NotFound);
        }
        let (name, keys) = self.trace.find(call).ok_or(CommandError::NotFound)?;
        let view = self.trace.view(name, &keys, &self.core.settings);
        if view.messages.is_empty() { Err(CommandError::NotFound) } else { Ok(Reply::Trace(Box::new(view))) }
    }
}

impl Trace {
    /// The name of the call that is meant, and its dialogs.
    fn find(&self, call: &str) -> Option<(String, BTreeSet<Key>)> {
        let of = |call: &str| -> BTreeSet<Key> {
            let is_of =
                |(_, strand): &(&Key, &super::Strand)| strand.calls.iter().any(|known| **known == *call);
            self.strands.iter().filter(is_of).map(|(key, _)| *key).collect()
        };
        let keys = of(call);
        if !keys.is_empty() {
            return Some((call.to_owned(), keys));
        }
        let key = self.key(call.as_bytes());
        match self.strands.get(&key)?.calls.last() {
            Some(call) => Some((call.to_string(), of(call))),
            None => Some((call.to_owned(), BTreeSet::from([key]))),
        }
    }

    fn view(&self, call: String, keys: &BTreeSet<Key>, settings: &Settings) -> TraceView {
        let mut kept: Vec<&Kept> = [&self.calls, &self.strangers]
            .into_iter()
            .flat_map(|ring| ring.kept.iter().filter(|kept| keys.contains(&kept.key)))
            .collect();
        kept.sort_by_key(|kept| kept.number);
        let left_out =
            keys.iter().filter_map(|key| self.strands.get(key)).map(|strand| strand.left_out).sum();
        let node = settings.node.to_string();
        let mut view = TraceView { call, node, parties: Vec::new(), messages: Vec::new(), left_out };
        let (mut places, mut bytes) = (BTreeMap::new(), 0);
        let mut said: BTreeSet<(Key, bool, &[u8])> = BTreeSet::new();
        let first = kept.first().map_or(crate::base::Timestamp::ZERO, |kept| kept.at);
        for kept in kept {
            if view.messages.len() >= MOST_MESSAGES || bytes + kept.bytes.len() > MOST_BYTES {
                view.left_out += 1;
                continue;
            }
            bytes += kept.bytes.len();
            let party = *places.entry(kept.key).or_insert_with(|| {
                view.parties.push(self.party(kept));
                view.parties.len() - 1
            });
            let mut message = message(kept, settings);
            message.party = party;
            message.offset_us = u64::try_from(kept.at.since(first).as_micros()).unwrap_or(u64::MAX);
            message.repeated = !said.insert((kept.key, kept.is_sent, &kept.bytes));
            view.messages.push(message);
        }
        view
    }

    fn party(&self, kept: &Kept) -> TraceParty {
        let name = self.strands.get(&kept.key).and_then(|strand| strand.party.as_deref());
        let call_id = masked(peek(&kept.bytes, HeaderName::CallId).unwrap_or_default());
        TraceParty {
            name: name.map_or_else(|| kept.flow.peer.to_string(), str::to_owned),
            call_id: String::from_utf8_lossy(&call_id).into_owned(),
        }
    }
}

/// A message by itself; what others say about it is added by who knows them.
fn message(kept: &Kept, settings: &Settings) -> TraceMessage {
    let text = masked(&kept.bytes);
    let mut shown = TraceMessage {
        time: Time(kept.unix),
        offset_us: 0,
        party: 0,
        way: if kept.is_sent { Way::Out } else { Way::In },
        transport: kept.flow.transport.uri_token().to_owned(),
        local: local(&kept.flow, settings),
        peer: kept.flow.peer.to_string(),
        method: String::new(),
        status: None,
        reason: None,
        cseq: None,
        sdp: None,
        repeated: false,
        text: String::from_utf8_lossy(&text).into_owned(),
    };
    if let Ok(message) = Message::parse(Bytes::from(text), &Limits::default()) {
        shown.method = message.method().as_str().to_owned();
        shown.status = message.status().map(|status| status.as_u16());
        shown.reason = shown.status.map(|_| message.reason_phrase().to_owned());
        shown.cseq = message.cseq().ok().map(|cseq| cseq.number);
        shown.sdp = description(&message);
    }
    shown
}

/// Where the listener of a flow is for its peer.
fn local(flow: &Flow, settings: &Settings) -> String {
    let listener = settings.listeners.get(usize::from(flow.listener));
    let address = listener
        .map(|listener| if flow.peer.ip().is_loopback() { listener.loopback } else { listener.address });
    address.map_or_else(|| "0.0.0.0:0".to_owned(), |address| address.to_string())
}

/// `audio 192.0.2.1:4000 PCMA/opus sendonly srtp, …`; of another body its type.
fn description(message: &Message) -> Option<String> {
    let body = message.body();
    if body.is_empty() {
        return None;
    }
    let kind = message.content_type().unwrap_or("a body without a type");
    if !kind.to_ascii_lowercase().starts_with("application/sdp") {
        return Some(kind.to_owned());
    }
    let Ok(sdp) = Sdp::parse(body, &crate::wire::sdp::Limits::default()) else {
        return Some("a description that cannot be read".to_owned());
    };
    let media: Vec<String> = sdp.media().map(|media| medium(&media)).collect();
    Some(if media.is_empty() { "no media".to_owned() } else { media.join(", ") })
}

fn medium(media: &Media<'_>) -> String {
    let mut text = String::from_utf8_lossy(media.kind_name()).into_owned();
    if media.port() == 0 {
        text.push_str(" refused");
        return text;
    }
    match media.address() {
        Some(address) => {
            let _ = write!(text, " {}", std::net::SocketAddr::new(address, media.port()));
        }
        None => {
            let _ = write!(text, " port {}", media.port());
        }
    }
    let codecs: Vec<String> = codecs(media);
    if !codecs.is_empty() {
        let _ = write!(text, " {}", codecs.join("/"));
    }
    match media.direction() {
        Direction::SendRecv => {}
        Direction::SendOnly => text.push_str(" sendonly"),
        Direction::RecvOnly => text.push_str(" recvonly"),
        Direction::Inactive => text.push_str(" inactive"),
    }
    if media.protocol().is_dtls() {
        text.push_str(" dtls");
    } else if media.protocol().is_secure() {
        text.push_str(" srtp");
    }
    text
}

/// The codecs by name, but for telephone-event, which nearly all have.
fn codecs(media: &Media<'_>) -> Vec<String> {
    let mapped = |number: u8| {
        let map = media.attributes(crate::wire::sdp::Attribute::Rtpmap).find_map(|value| {
            let (of, name) = std::str::from_utf8(value).ok()?.split_once(' ')?;
            (of.parse() == Ok(number)).then(|| Codec::of_rtpmap(name.trim().as_bytes())).flatten()
        });
        map.or_else(|| Codec::of_static(number)).unwrap_or_else(|| Codec::unexplained(number))
    };
    let codecs = media.payload_numbers().take(32).map(mapped).filter(|codec| !codec.is_telephone_event());
    codecs.map(|codec| codec.spelling().to_owned()).collect()
}
