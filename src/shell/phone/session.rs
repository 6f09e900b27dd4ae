//! The far side's requests in a standing call, answered as a phone does.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::call::{Call, CallState, Ending, OnOffer, Pending, Side, Terms};
use super::dialog::Dialog;
use super::events::Event;
use super::line::Line;
use super::media::Media;
use super::message::Message;
use super::sdp::Direction;

/// What the phone says it takes.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, NOTIFY, REFER, MESSAGE";

/// T1 of RFC 3261: the first repetition of a 2xx.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// A call that has just been answered: puts it up and begins to serve its requests.
/// `invite` is the INVITE of a call in, whose ACK is awaited.
pub(super) fn stand(
    line: Arc<Line>,
    dialog: Dialog,
    media: Media,
    session: u64,
    answer: Message,
    invite: Option<Message>,
) -> Call {
    let key = dialog.key();
    let requests = line.endpoint.claim(key);
    let terms = Terms {
        session,
        version: 1,
        own: Direction::SendRecv,
        remote: None,
        on_offer: OnOffer::Accept,
        pending: Pending::Nothing,
    };
    let log = line.endpoint.log.clone();
    let call = Arc::new(CallState {
        line,
        dialog: dialog.into(),
        media,
        terms: terms.into(),
        answer,
        ended: watch::Sender::new(None),
        task: None.into(),
    });
    let task = tokio::spawn(serve(Arc::downgrade(&call), requests, invite)).abort_handle();
    *call.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    log.push(Event::Answered(call.dialog().call_id.clone()));
    Call(call)
}

/// Serves until the call is dropped. An INVITE waits here for its ACK as (request, repeat interval).
async fn serve(call: Weak<CallState>, mut requests: UnboundedReceiver<Message>, invite: Option<Message>) {
    let mut unacknowledged = invite.map(|invite| (invite, REPEAT_AFTER));
    loop {
        let wait = unacknowledged.as_ref().map_or(Duration::from_secs(3600), |(_, interval)| *interval);
        let received = tokio::time::timeout(wait, requests.recv()).await;
        let Some(call) = call.upgrade() else { return };
        match received {
            Ok(None) => return,
            Ok(Some(request)) if request.method() == "ACK" => {
                if let Some((invite, _)) = unacknowledged.take() {
                    acknowledged(&call, &invite, &request);
                }
            }
            Ok(Some(request)) => {
                if answer(&call, &request).await && request.method() == "INVITE" {
                    unacknowledged = Some((request, REPEAT_AFTER));
                }
            }
            // RFC 3261 13.3.1.4: the 2xx is repeated until its ACK.
            Err(_) => {
                if let Some((invite, interval)) = unacknowledged.as_mut() {
                    call.endpoint().repeat(invite).await;
                    *interval = (*interval * 2).min(Duration::from_secs(4));
                }
            }
        }
    }
}

/// The answer to an offerless INVITE of ours comes in the ACK.
fn acknowledged(call: &CallState, invite: &Message, ack: &Message) {
    if invite.body.is_empty()
        && let Ok(remote) = call.line.remote(&ack.body_text())
    {
        let own = call.terms().own;
        let direction = remote.direction.answer(own);
        call.agree(remote, direction);
    }
}

/// Answers one request; says whether it was with a 2xx.
async fn answer(call: &CallState, request: &Message) -> bool {
    let log = &call.endpoint().log;
    let response = match request.method() {
        "INVITE" | "UPDATE" => match offered(call, request) {
            Some(response) => response,
            None => return false,
        },
        "BYE" => {
            let reason = request.header("Reason").map(str::to_owned);
            let _ = call.endpoint().respond(request, Message::reply(request, 200)).await;
            call.end(Ending { by: Side::Remote, reason });
            return true;
        }
        "INFO" => {
            let body = request.body_text();
            let digit = body.lines().find_map(|line| line.trim().strip_prefix("Signal="));
            digit
                .and_then(|digit| digit.trim().chars().next())
                .into_iter()
                .for_each(|d| log.push(Event::Digit(d)));
            Message::reply(request, 200)
        }
        "NOTIFY" | "OPTIONS" | "MESSAGE" => Message::reply(request, 200),
        "REFER" => Message::reply(request, 603),
        _ => Message::reply(request, 405).with("Allow", ALLOW),
    };
    let success = response.is_success();
    let _ = call.endpoint().respond(request, response).await;
    success
}

/// A re-INVITE or UPDATE (RFC 3261 14.2, RFC 3311 5.2).
fn offered(call: &CallState, request: &Message) -> Option<Message> {
    let (conduct, pending, own) = {
        let terms = call.terms();
        (terms.on_offer, terms.pending, terms.own)
    };
    if pending == Pending::OwnOffer {
        return Some(Message::reply(request, 491));
    }
    match conduct {
        OnOffer::Ignore => return None,
        OnOffer::Refuse(status) => return Some(Message::reply(request, status)),
        OnOffer::Accept => {}
    }
    call.dialog().refresh(request);
    let contact = call.dialog().contact.clone();
    let response = Message::reply(request, 200).with("Contact", contact).with("Allow", ALLOW);
    if request.body.is_empty() {
        if request.method() == "UPDATE" {
            return Some(response);
        }
        return Some(response.with_body("application/sdp", call.describe(own)));
    }
    let Ok(remote) = call.line.remote(&request.body_text()) else {
        return Some(Message::reply(request, 488));
    };
    if !call.line.accepts(&remote) {
        return Some(Message::reply(request, 488));
    }
    let direction = remote.direction.answer(own);
    let text = request.body_text();
    call.agree(remote, direction);
    call.endpoint().log.push(Event::Reoffered(request.call_id().to_owned(), text));
    Some(response.with_body("application/sdp", call.describe(direction)))
}
