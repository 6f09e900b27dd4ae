//! Requests that belong to no dialog: calls in, their CANCEL, REFER, MESSAGE and OPTIONS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

use super::call::Call;
use super::dialing::{Dial, Dialing, unescape};
use super::dialog::Dialog;
use super::error::{PhoneError, Result};
use super::line::Line;
use super::message::{Message, uri_of};
use super::options::Answering;
use super::sdp::Direction;
use super::session::{ALLOW, stand};

/// Patience with a call that the phone places itself because of a REFER.
const REFERRED_PATIENCE: Duration = Duration::from_secs(32);

/// How far an INVITE has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Ringing,
    Answered,
    Cancelled(Option<String>),
}

/// An INVITE that waits for the phone's answer.
struct Invitation {
    request: Message,
    tag: String,
    stage: watch::Sender<Stage>,
}

/// A call that rings; dropped, it rings on.
pub struct Ringing {
    line: Arc<Line>,
    invitation: Arc<Invitation>,
}

impl Ringing {
    /// The INVITE.
    #[must_use]
    pub fn invite(&self) -> &Message {
        &self.invitation.request
    }

    /// Answers with a description of the phone's own.
    ///
    /// # Errors
    /// When the call was cancelled, or its description cannot be read.
    pub async fn answer(&self) -> Result<Call> {
        let (line, request) = (Arc::clone(&self.line), &self.invitation.request);
        if !self.invitation.advance(Stage::Answered) {
            return Err(PhoneError::Ended { phone: line.endpoint.phone.clone(), what: "the ringing call" });
        }
        let remote = if request.body.is_empty() { None } else { Some(line.remote(&request.body_text())?) };
        if remote.as_ref().is_some_and(|remote| !line.accepts(remote)) {
            let refusal = self.invitation.reply(488);
            line.endpoint.respond(request, refusal.clone()).await?;
            let phone = line.endpoint.phone.clone();
            return Err(PhoneError::Refused {
                phone,
                request: "a call in".to_owned(),
                response: Box::new(refusal),
            });
        }
        let media = line.open_media().await?;
        let session = line.endpoint.draw(crate::base::Random::bits) >> 2;
        let contact = line.contact();
        let dialog = Dialog::of_server(request, &self.invitation.tag, &contact);
        let unacknowledged = Some(request.clone());
        let call = stand(Arc::clone(&line), dialog, media, session, request.clone(), unacknowledged);
        let direction = remote.as_ref().map_or(Direction::SendRecv, |remote| remote.direction);
        let direction = direction.answer(Direction::SendRecv);
        let response = self.invitation.reply(200).with("Contact", contact).with("Allow", ALLOW);
        if let Some(remote) = remote {
            call.0.agree(remote, direction);
        }
        let response = response.with_body("application/sdp", call.0.describe(direction));
        line.endpoint.respond(request, response).await?;
        Ok(call)
    }

    /// Answers with a failure.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn refuse(&self, status: u16) -> Result<()> {
        if self.invitation.advance(Stage::Answered) {
            self.line.endpoint.respond(&self.invitation.request, self.invitation.reply(status)).await?;
        }
        Ok(())
    }

    /// Waits for the caller's CANCEL; gives its Reason.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn cancelled(&self, patience: Duration) -> Result<Option<String>> {
        let mut stage = self.invitation.stage.subscribe();
        let over = |stage: &Stage| matches!(stage, Stage::Cancelled(_));
        let waited = tokio::time::timeout(patience, stage.wait_for(over)).await;
        match waited.ok().and_then(|stage| stage.ok().map(|stage| stage.clone())) {
            Some(Stage::Cancelled(reason)) => Ok(reason),
            _ => Err(self.line.endpoint.timeout("a CANCEL", patience)),
        }
    }
}

impl Invitation {
    fn reply(&self, status: u16) -> Message {
        let mut reply = Message::reply(&self.request, status);
        let to = self.request.header("To").unwrap_or_default();
        reply.set("To", format!("{to};tag={}", self.tag));
        reply
    }

    /// Leaves the ringing stage; false when it was left before.
    fn advance(&self, next: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Ringing;
            if first {
                *stage = next;
            }
            first
        })
    }
}

/// The part of the phone that looks at requests without a dialog.
pub(super) struct Reception {
    line: Arc<Line>,
    invitations: Mutex<BTreeMap<(String, String), Arc<Invitation>>>,
    ringing: UnboundedSender<Ringing>,
    calls: UnboundedSender<Result<Call>>,
}

impl Reception {
    pub(super) fn new(
        line: Arc<Line>,
        ringing: UnboundedSender<Ringing>,
        calls: UnboundedSender<Result<Call>>,
    ) -> Self {
        Self { line, invitations: Mutex::default(), ringing, calls }
    }

    pub(super) async fn run(self, mut strangers: UnboundedReceiver<Message>) {
        while let Some(request) = strangers.recv().await {
            match request.method() {
                "INVITE" => self.invite(request).await,
                "CANCEL" => self.cancel(&request).await,
                "REFER" => self.refer(&request).await,
                "OPTIONS" | "MESSAGE" | "INFO" => self.reply(&request, 200).await,
                "NOTIFY" | "BYE" | "UPDATE" | "PRACK" => self.reply(&request, 481).await,
                _ => self.reply(&request, 405).await,
            }
        }
    }

    async fn reply(&self, request: &Message, status: u16) {
        let mut reply = Message::reply(request, status).with("Allow", ALLOW);
        let to = request.header("To").unwrap_or_default();
        reply.set("To", format!("{to};tag={}", self.line.endpoint.mint()));
        let _ = self.line.endpoint.respond(request, reply).await;
    }

    async fn invite(&self, request: Message) {
        // RFC 3891 3: a Replaces that matches nothing here.
        if request.header("Replaces").is_some() {
            return self.reply(&request, 481).await;
        }
        let key = (request.call_id().to_owned(), request.branch().unwrap_or_default().to_owned());
        let tag = self.line.endpoint.mint();
        let invitation = Arc::new(Invitation { request, tag, stage: watch::Sender::new(Stage::Ringing) });
        self.invitations.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&invitation));
        let ringing = Ringing { line: Arc::clone(&self.line), invitation: Arc::clone(&invitation) };
        if let Answering::Refuse(status) = self.line.options.answering {
            let _ = ringing.refuse(status).await;
            return;
        }
        let alert = invitation.reply(180).with("Contact", self.line.contact());
        let _ = self.line.endpoint.respond(&invitation.request, alert).await;
        match self.line.options.answering {
            Answering::After(delay) => {
                let calls = self.calls.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = calls.send(ringing.answer().await);
                });
            }
            Answering::ByHand | Answering::Refuse(_) => {
                let _ = self.ringing.send(ringing);
            }
        }
    }

    async fn cancel(&self, cancel: &Message) {
        let key = (cancel.call_id().to_owned(), cancel.branch().unwrap_or_default().to_owned());
        let known = self.invitations.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let Some(invitation) = known else { return self.reply(cancel, 481).await };
        self.reply(cancel, 200).await;
        if invitation.advance(Stage::Cancelled(cancel.header("Reason").map(str::to_owned))) {
            let _ = self.line.endpoint.respond(&invitation.request, invitation.reply(487)).await;
        }
    }

    /// A phone that is told to dial does so when it follows (RFC 3515); the call comes out as one answered here.
    async fn refer(&self, request: &Message) {
        let target = request.header("Refer-To").filter(|_| self.line.options.follows).map(uri_of);
        let Some(target) = target else { return self.reply(request, 603).await };
        self.reply(request, 202).await;
        let (uri, embedded) = target.split_once('?').unwrap_or((target, ""));
        let headers = embedded.split('&').filter_map(|pair| pair.split_once('='));
        let dial = headers.fold(Dial::new(uri), |dial, (name, value)| dial.header(name, unescape(value)));
        let (line, calls) = (Arc::clone(&self.line), self.calls.clone());
        tokio::spawn(async move {
            let call = match Dialing::start(&line, dial).await {
                Ok(dialing) => dialing.answered(REFERRED_PATIENCE).await,
                Err(error) => Err(error),
            };
            let _ = calls.send(call);
        });
    }
}
