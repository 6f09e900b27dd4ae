//! `GET /v1/events`: what happens, as server-sent events, resumed by `Last-Event-ID`.
//!
//! Each stream reads the ring of the node at its own pace. It ends with its token, with the server, or when its
//! reader stops reading.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::caller::Caller;
use super::extract::Params;
use super::problem::Problem;
use super::{Api, now};
use crate::engine::event::{Event, Ulid};
use crate::shell::control::Position;

/// Streams at once: half of the connections that there may be.
const STREAMS: usize = 512;
/// Of them those of one user: some pages that are looked at, and an integration or two.
const STREAMS_EACH: usize = 8;
/// A comment keeps proxies from closing a quiet stream, and tells us of a reader that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
const STALLED: Duration = Duration::from_secs(30);
/// How often a quiet stream looks whether its token still holds.
const RECHECK: Duration = Duration::from_secs(15);
/// Kinds that one stream may ask for.
const KINDS: usize = 32;

/// The open streams, counted.
pub(super) struct Streams {
    open: Arc<Mutex<BTreeMap<Box<str>, usize>>>,
    closing: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { open: Arc::default(), closing: watch::Sender::new(false) }
    }
}

impl Streams {
    /// A place for a user; `None` is whoever has the administrator's token.
    fn enter(&self, user: Option<&str>) -> Option<Place> {
        let name: Box<str> = user.unwrap_or_default().into();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= STREAMS || open.get(&name).is_some_and(|own| *own >= STREAMS_EACH)
        {
            return None;
        }
        *open.entry(name.clone()).or_default() += 1;
        Some(Place { open: Arc::clone(&self.open), name })
    }

    /// Ends every stream.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// One open stream.
struct Place {
    open: Arc<Mutex<BTreeMap<Box<str>, usize>>>,
    name: Box<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.name);
            }
        }
    }
}

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Kinds, by comma: `call` is every `call.…`, `move.switched` that one. Without it all.
    types: Option<String>,
}

/// `GET /v1/events`
pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let kinds = kinds(wanted.types.as_deref())?;
    let place = api.streams.enter(caller.user.as_deref()).ok_or_else(|| {
        let detail = "Too many event streams are open.";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail).after(5)
    })?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let reader = Reader { api: api.clone(), caller, kinds, sender };
        let mut closing = api.streams.closing.subscribe();
        tokio::select! {
            () = reader.run(last_event_id(&headers)) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        drop(place);
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(axum::response::Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// Brings events to one reader.
struct Reader {
    api: Api,
    caller: Caller,
    kinds: Vec<Box<str>>,
    sender: mpsc::Sender<Result<Sse, Infallible>>,
}

impl Reader {
    async fn run(self, resume: Resume) {
        let hub = self.api.node.events().clone();
        let (mut position, mut is_missing_some) = match resume {
            Resume::Now => (hub.now(), false),
            Resume::After(id) => match hub.after(id) {
                Some(position) => (position, false),
                None => (hub.oldest(), true),
            },
            Resume::Unknown => (hub.oldest(), true),
        };
        while self.is_welcome() {
            let batch = hub.read(position);
            is_missing_some |= batch.is_missing_some;
            if is_missing_some && !self.tell_of_gap().await {
                return;
            }
            is_missing_some = false;
            for envelope in &batch.events {
                if !self.wants(&envelope.event) {
                    continue;
                }
                let json = envelope.to_json(&self.caller.subject).to_string();
                let event =
                    Sse::default().id(envelope.id.to_string()).event(envelope.event.kind()).data(json);
                if !self.send(event).await {
                    return;
                }
            }
            position = batch.next;
            if batch.events.is_empty() && !self.wait(position).await {
                return;
            }
        }
    }

    /// The token still holds.
    fn is_welcome(&self) -> bool {
        self.api.sessions.holder(&self.caller.token, self.caller.carrier, now()).is_some()
    }

    fn wants(&self, event: &Event) -> bool {
        event.is_seen_by(&self.caller.subject)
            && (self.kinds.is_empty() || is_of_kind(&event.kind(), &self.kinds))
    }

    /// Whether it may go on.
    async fn wait(&self, position: Position) -> bool {
        tokio::select! {
            () = self.api.node.events().wait(position) => true,
            () = tokio::time::sleep(RECHECK) => true,
            () = self.sender.closed() => false,
        }
    }

    /// Events before the next are lost to this reader; it should read afresh what it shows.
    async fn tell_of_gap(&self) -> bool {
        self.send(Sse::default().event("stream.gap").data("{\"type\":\"stream.gap\"}")).await
    }

    async fn send(&self, event: Sse) -> bool {
        self.sender.send_timeout(Ok(event), STALLED).await.is_ok()
    }
}

/// Where a stream begins.
#[derive(Debug, PartialEq, Eq)]
enum Resume {
    Now,
    After(Ulid),
    /// After something that is none of our ids.
    Unknown,
}

fn last_event_id(headers: &HeaderMap) -> Resume {
    match headers.get("last-event-id").map(|value| value.to_str().map(str::parse::<Ulid>)) {
        None => Resume::Now,
        Some(Ok(Ok(id))) => Resume::After(id),
        Some(_) => Resume::Unknown,
    }
}

fn kinds(text: Option<&str>) -> Result<Vec<Box<str>>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let kinds: Vec<Box<str>> =
        text.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(Box::from).collect();
    if kinds.is_empty() || kinds.len() > KINDS {
        return Err(Problem::invalid(format!("types: from 1 to {KINDS} kinds, by comma")));
    }
    Ok(kinds)
}

fn is_of_kind(kind: &str, wanted: &[Box<str>]) -> bool {
    let family = kind.split_once('.').map_or(kind, |(family, _)| family);
    wanted.iter().any(|wanted| **wanted == *kind || **wanted == *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_family_or_one_event() {
        let wanted = kinds(Some("call, move.switched")).unwrap();
        assert!(is_of_kind("call.ringing", &wanted) && is_of_kind("move.switched", &wanted));
        assert!(!is_of_kind("move.refused", &wanted) && !is_of_kind("cdr", &wanted));
        assert!(kinds(Some(" , ")).is_err());
        assert!(kinds(Some(&"x,".repeat(KINDS + 1))).is_err());
    }

    #[test]
    fn streams_are_counted_and_given_back() {
        let streams = Streams::default();
        let alice = Some("alice");
        let mut places: Vec<_> = (0..STREAMS_EACH).map(|_| streams.enter(alice).unwrap()).collect();
        assert!(streams.enter(alice).is_none());
        assert!(streams.enter(Some("root")).is_some() && streams.enter(None).is_some());
        places.pop();
        assert!(streams.enter(alice).is_some());
        drop(places);
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
