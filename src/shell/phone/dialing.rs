//! A call out: INVITE, challenge, progress, redirect, CANCEL, and the ACK that makes the call stand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::call::{Call, Ending, Replaces, Side};
use super::dialog::Dialog;
use super::endpoint::ClientTransaction;
use super::error::{PhoneError, Result};
use super::line::Line;
use super::media::{Media, Sends};
use super::message::{Message, uri_of};
use super::sdp::Direction;
use super::session::{ALLOW, stand};

/// Redirections followed before a call is given up.
const MAX_REDIRECTIONS: usize = 5;

/// What to dial and how.
#[derive(Clone, Debug)]
pub struct Dial {
    target: String,
    headers: Vec<(String, String)>,
    direction: Direction,
    offer: Offer,
}

/// Where the first description of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// In the INVITE.
    InInvite,
    /// In the 2xx of the other side; this phone answers in the ACK.
    InAnswer,
}

impl Dial {
    /// A number (`1002`, `*11`), a user, or a URI.
    #[must_use]
    pub fn new(target: &str) -> Self {
        let (headers, direction, offer) = (Vec::new(), Direction::SendRecv, Offer::InInvite);
        Self { target: target.to_owned(), headers, direction, offer }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds Replaces (RFC 3891).
    #[must_use]
    pub fn replacing(self, replaces: &Replaces) -> Self {
        self.header("Replaces", replaces.to_string())
    }

    /// Sets the direction that is offered.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Sets where the first description is.
    #[must_use]
    pub fn offer(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }
}

/// A call that has been placed and has no final answer yet. Dropped, the phone falls silent.
pub struct Dialing {
    line: Arc<Line>,
    target: String,
    progress: watch::Receiver<u16>,
    cancel: watch::Sender<bool>,
    outcome: oneshot::Receiver<Result<Call>>,
    task: AbortHandle,
}

impl Dialing {
    pub(super) async fn start(line: &Arc<Line>, dial: Dial) -> Result<Self> {
        let media = line.open_media().await?;
        let (progress, seen) = watch::channel(0);
        let (cancel, cancelled) = watch::channel(false);
        let (report, outcome) = oneshot::channel();
        let target = dial.target.clone();
        let attempt = Attempt { line: Arc::clone(line), media, dial, progress, cancelled };
        let task = tokio::spawn(async move {
            let _ = report.send(attempt.run().await);
        });
        Ok(Self {
            line: Arc::clone(line),
            target,
            progress: seen,
            cancel,
            outcome,
            task: task.abort_handle(),
        })
    }

    /// Waits for a provisional response of at least `status` (180 for ringing).
    ///
    /// # Errors
    /// [`PhoneError::Timeout`], also when a final answer came instead.
    pub async fn progress(&mut self, status: u16, patience: Duration) -> Result<u16> {
        let waited = tokio::time::timeout(patience, self.progress.wait_for(|seen| *seen >= status)).await;
        let seen = waited.ok().and_then(|seen| seen.ok().map(|seen| *seen));
        seen.ok_or_else(|| {
            self.line.endpoint.timeout(&format!("progress {status} of {}", self.target), patience)
        })
    }

    /// Waits for the call to stand.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] with the final answer, or a timeout.
    pub async fn answered(mut self, patience: Duration) -> Result<Call> {
        self.outcome(patience).await
    }

    /// Cancels (RFC 3261 9); the INVITE must then be answered 487. A 2xx that was faster is hung up.
    ///
    /// # Errors
    /// What the INVITE got instead of 487.
    pub async fn cancel(mut self, patience: Duration) -> Result<()> {
        self.cancel.send_replace(true);
        match self.outcome(patience).await {
            Err(error) if error.status() == Some(487) => Ok(()),
            Err(PhoneError::Ended { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(call) => call.hang_up().await,
        }
    }

    async fn outcome(&mut self, patience: Duration) -> Result<Call> {
        let late =
            || self.line.endpoint.timeout(&format!("a final answer to a call to {}", self.target), patience);
        match tokio::time::timeout(patience, &mut self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Attempt {
    line: Arc<Line>,
    media: Media,
    dial: Dial,
    progress: watch::Sender<u16>,
    cancelled: watch::Receiver<bool>,
}

impl Attempt {
    async fn run(mut self) -> Result<Call> {
        let session = self.line.endpoint.draw(crate::base::Random::bits) >> 2;
        let mut request = self.invite(session);
        let mut to = self.line.endpoint.next_hop(request.uri());
        // A number of ours is the server's to resolve, whatever its domain looks like.
        if !self.dial.target.contains('@') {
            to = self.line.endpoint.server();
        }
        let (mut redirections, mut met) = (0, 0);
        loop {
            let mut transaction = self.line.endpoint.begin(request.clone(), to).await?;
            let response = self.final_answer(&mut transaction).await?;
            let mut cseq = request.cseq().unwrap_or_default();
            let mut next = || {
                cseq += 1;
                cseq
            };
            if response.is_success() {
                return self.stand(&transaction.request, response, session).await;
            }
            if self.line.meet(&mut request, &response, &mut met, &mut next) {
                continue;
            }
            let redirect = response.contact_uri().filter(|_| matches!(response.status(), Some(300..=399)));
            match redirect {
                Some(contact) if self.line.options.follows && redirections < MAX_REDIRECTIONS => {
                    (redirections, met) = (redirections + 1, 0);
                    let number = next();
                    request = redirected(&request, contact, number);
                }
                _ => return Err(self.line.refused(response, &format!("a call to {}", self.dial.target))),
            }
        }
    }

    fn invite(&self, session: u64) -> Message {
        let uri = self.line.uri(&self.dial.target);
        let mut request = self.line.request("INVITE", &uri, uri_of(&uri)).with("Allow", ALLOW);
        let supported =
            if self.dial.headers.iter().any(|(name, _)| name == "Replaces") { "replaces" } else { "timer" };
        request = request.with("Supported", supported);
        for (name, value) in &self.dial.headers {
            request = request.with(name, value.as_str());
        }
        match self.dial.offer {
            Offer::InAnswer => request,
            Offer::InInvite => {
                let offer = self.line.describe(&self.media, (session, 1), self.dial.direction);
                request.with_body("application/sdp", offer.to_text())
            }
        }
    }

    /// Waits for the final response; tells progress, connects early media, sends CANCEL when asked to.
    async fn final_answer(&mut self, transaction: &mut ClientTransaction) -> Result<Message> {
        let (mut provisional, mut cancel_sent) = (false, false);
        loop {
            let cancelled = *self.cancelled.borrow_and_update();
            // RFC 3261 9.1: not before a provisional response.
            if cancelled && provisional && !cancel_sent {
                cancel_sent = true;
                let (endpoint, invite) = (Arc::clone(&self.line.endpoint), transaction.request.clone());
                let to = transaction.to;
                tokio::spawn(async move { endpoint.cancel(&invite, to).await });
            }
            let response = tokio::select! {
                response = transaction.next() => response?,
                changed = self.cancelled.changed(), if !cancelled => {
                    // The owner of the sender is gone only when this task is being aborted.
                    let _ = changed;
                    continue;
                }
            };
            match response.status() {
                Some(status @ 100..=199) => {
                    provisional = true;
                    self.progress.send_if_modified(|seen| {
                        let more = status > *seen;
                        *seen = (*seen).max(status);
                        more
                    });
                    if let Ok(remote) = self.line.remote(&response.body_text()) {
                        let options = &self.line.options;
                        self.media.connect(&remote, &options.codecs, options.telephone_event, Sends::No);
                    }
                }
                _ => return Ok(response),
            }
        }
    }

    async fn stand(self, request: &Message, response: Message, session: u64) -> Result<Call> {
        let mut dialog = Dialog::of_client(request, &response);
        dialog.refresh(&response);
        let to = dialog.next_hop(&self.line.endpoint);
        let mut ack = dialog.ack(dialog.cseq);
        let remote = self.line.remote(&response.body_text());
        let cancelled = *self.cancelled.borrow();
        let endpoint = Arc::clone(&self.line.endpoint);
        let call = stand(self.line, dialog, self.media, session, response, None);
        call.0.terms().own = self.dial.direction;
        if self.dial.offer == Offer::InAnswer
            && let Ok(offer) = &remote
        {
            ack = ack
                .with_body("application/sdp", call.0.describe(offer.direction.answer(self.dial.direction)));
        }
        endpoint.acknowledge(ack, to).await?;
        if cancelled {
            let _ = call.request("BYE", &[], None).await;
            call.0.end(Ending { by: Side::Local, reason: None });
            return Err(PhoneError::Ended { phone: endpoint.phone.clone(), what: "the cancelled call" });
        }
        let remote = remote?;
        let direction = remote.direction.answer(self.dial.direction);
        call.0.agree(remote, direction);
        Ok(call)
    }
}

/// RFC 3261 8.1.3.4: the same From, To and Call-ID to another URI; headers in the URI become headers.
fn redirected(request: &Message, contact: &str, cseq: u32) -> Message {
    let (uri, embedded) = contact.split_once('?').unwrap_or((contact, ""));
    let mut next = request.clone();
    next.start = super::message::StartLine::Request { method: "INVITE".to_owned(), uri: uri.to_owned() };
    next.headers.retain(|(name, _)| name != "Authorization" && name != "Proxy-Authorization");
    next.set("CSeq", format!("{cseq} INVITE"));
    for (name, value) in embedded.split('&').filter_map(|pair| pair.split_once('=')) {
        next.set(name, unescape(value));
    }
    next
}

/// Takes `%XX` apart.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_carries_the_headers_of_its_uri() {
        let request =
            Message::request("INVITE", "sip:*11@a").with("CSeq", "1 INVITE").with("Authorization", "x");
        let next = redirected(&request, "sip:t@b;x=1?Replaces=c%40d%3Bto-tag%3D1", 2);
        assert_eq!(next.uri(), "sip:t@b;x=1");
        assert_eq!(next.header("Replaces"), Some("c@d;to-tag=1"));
        assert_eq!((next.header("Authorization"), next.header("CSeq")), (None, Some("2 INVITE")));
        assert_eq!(unescape("%zz%2"), "%zz%2");
    }
}
