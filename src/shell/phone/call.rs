//! One standing call of a phone: what its keys do, and what is known of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::dialog::Dialog;
use super::endpoint::Endpoint;
use super::error::{PhoneError, Result};
use super::events::Event;
use super::line::Line;
use super::media::{Media, Sends};
use super::message::Message;
use super::sdp::{Direction, Remote};

/// The identifiers of a dialog, as a Replaces header (RFC 3891) wants them: seen by the party that gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// The Call-ID.
    pub call_id: String,
    /// The tag of the party that gets the INVITE.
    pub to_tag: String,
    /// The other tag.
    pub from_tag: String,
    /// Only if not answered yet.
    pub early_only: bool,
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call_id, to_tag, from_tag, early_only } = self;
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        if *early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// By which side.
    pub by: Side,
    /// The Reason header of the BYE, if one came.
    pub reason: Option<String>,
}

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This phone.
    Local,
    /// The other.
    Remote,
}

/// What the phone answers to a re-INVITE or UPDATE of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOffer {
    /// Takes it.
    Accept,
    /// Answers with this status.
    Refuse(u16),
    /// Never answers.
    Ignore,
}

/// A standing call; clones are the same call. When the last is dropped the phone forgets it without a BYE.
#[derive(Clone)]
pub struct Call(pub(super) Arc<CallState>);

pub(super) struct CallState {
    pub(super) line: Arc<Line>,
    pub(super) dialog: Mutex<Dialog>,
    pub(super) media: Media,
    pub(super) terms: Mutex<Terms>,
    pub(super) answer: Message,
    pub(super) ended: watch::Sender<Option<Ending>>,
    pub(super) task: Mutex<Option<AbortHandle>>,
}

/// What the two sides have agreed, and how this phone behaves.
pub(super) struct Terms {
    pub(super) session: u64,
    pub(super) version: u64,
    pub(super) own: Direction,
    pub(super) remote: Option<Remote>,
    pub(super) on_offer: OnOffer,
    pub(super) pending: Pending,
}

/// Whether an offer of this phone is open: an offer of the other side then gets 491 (RFC 3261 14.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pending {
    Nothing,
    OwnOffer,
}

impl Call {
    /// The Call-ID.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.dialog().call_id.clone()
    }

    /// This call as a Replaces header for the party at the other end of it.
    #[must_use]
    pub fn replaces(&self) -> Replaces {
        let dialog = self.0.dialog();
        Replaces {
            call_id: dialog.call_id.clone(),
            to_tag: dialog.remote_tag().to_owned(),
            from_tag: dialog.local_tag().to_owned(),
            early_only: false,
        }
    }

    /// The Contact of the other side.
    #[must_use]
    pub fn remote_target(&self) -> String {
        self.0.dialog().target.clone()
    }

    /// The CSeq of the last request that this phone sent in the call.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.0.dialog().cseq
    }

    /// The message that made the call: the 2xx of a call out, the INVITE of a call in.
    #[must_use]
    pub fn answer(&self) -> &Message {
        &self.0.answer
    }

    /// Whom the display shows: P-Asserted-Identity, else Remote-Party-ID, else the other side's address.
    #[must_use]
    pub fn shows(&self) -> String {
        let asserted =
            self.0.answer.header("P-Asserted-Identity").or_else(|| self.0.answer.header("Remote-Party-ID"));
        asserted.map_or_else(|| self.0.dialog().remote.clone(), str::to_owned)
    }

    /// The audio.
    #[must_use]
    pub fn media(&self) -> &Media {
        &self.0.media
    }

    /// The last description of the other side.
    #[must_use]
    pub fn remote_description(&self) -> Option<Remote> {
        self.0.terms().remote.clone()
    }

    /// The session number and version that this phone said last.
    #[must_use]
    pub fn own_origin(&self) -> (u64, u64) {
        let terms = self.0.terms();
        (terms.session, terms.version)
    }

    /// Decides what a re-INVITE or UPDATE of the other side gets.
    pub fn on_offer(&self, answer: OnOffer) {
        self.0.terms().on_offer = answer;
    }

    /// Puts the other side on hold.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] and what else can befall a request.
    pub async fn hold(&self) -> Result<Message> {
        self.reinvite(Direction::SendOnly).await
    }

    /// Takes the other side off hold.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub async fn resume(&self) -> Result<Message> {
        self.reinvite(Direction::SendRecv).await
    }

    /// Sends a re-INVITE that wants `direction`; on failure everything is as before (RFC 3261 14.1).
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub async fn reinvite(&self, direction: Direction) -> Result<Message> {
        self.0.reinvite(direction).await
    }

    /// Sends a request with a method of its own in the dialog and gives the final answer, whatever it is.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] without an answer.
    pub async fn request(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, &str)>,
    ) -> Result<Message> {
        self.0.request(method, headers, body).await
    }

    /// Presses keys by RFC 4733 in the audio.
    ///
    /// # Errors
    /// When there is no such key or the other side takes no events.
    pub fn press(&self, keys: &str) -> Result<()> {
        self.0.media.press(&self.0.endpoint().phone, keys)
    }

    /// Presses keys by SIP INFO, one request a key.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] when one is not taken.
    pub async fn press_by_info(&self, keys: &str) -> Result<()> {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=100\r\n");
            let answer = self.request("INFO", &[], Some(("application/dtmf-relay", &body))).await?;
            self.0.line.accepted(answer, &format!("INFO {key}"))?;
        }
        Ok(())
    }

    /// Sends a REFER (RFC 3515): `target` is the value of Refer-To. The answer must be 2xx.
    /// The NOTIFYs are in the phone's log; [`Self::referral`] waits for their end.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn refer(&self, target: &str) -> Result<Message> {
        let answer = self.request("REFER", &[("Refer-To", target)], None).await?;
        self.0.line.accepted(answer, &format!("REFER to {target}"))
    }

    /// Waits for the final status line that the NOTIFYs of a REFER tell, from `mark` of the log on.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn referral(&self, mark: usize, patience: Duration) -> Result<u16> {
        let id = self.id();
        let log = &self.0.endpoint().log;
        log.wait(mark, "the last NOTIFY of a REFER", patience, |entry| {
            let Event::Received(message) = &entry.event else { return None };
            let own = message.method() == "NOTIFY" && message.status().is_none() && message.call_id() == id;
            let status = own.then(|| sipfrag_status(&message.body_text())).flatten()?;
            (status >= 200).then_some(status)
        })
        .await
    }

    /// Ends the call with a BYE; a call that has ended already is no error.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] when the BYE is not answered.
    pub async fn hang_up(&self) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        self.0.media.stop();
        let answer = self.request("BYE", &[], None).await;
        self.0.end(Ending { by: Side::Local, reason: None });
        answer.map(drop)
    }

    /// Whether the call is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.borrow().is_some()
    }

    /// Waits for the end of the call.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn ended(&self, patience: Duration) -> Result<Ending> {
        let mut ended = self.0.ended.subscribe();
        let waited = tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await;
        let ending = waited.ok().and_then(|ending| ending.ok().and_then(|ending| ending.clone()));
        ending.ok_or_else(|| self.0.endpoint().timeout("the end of the call", patience))
    }

    /// Waits until packets with the tone `hz` arrive from now on.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn hears(&self, hz: u32, patience: Duration) -> Result<()> {
        let mark = self.0.media.mark();
        self.0.media.hear(&self.0.endpoint().phone, mark, hz, 3, patience).await.map(drop)
    }

    /// Waits until `count` packets with the tone `hz` have arrived since `mark`.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn heard(&self, mark: usize, hz: u32, count: usize, patience: Duration) -> Result<()> {
        self.0.media.hear(&self.0.endpoint().phone, mark, hz, count, patience).await.map(drop)
    }
}

impl CallState {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.line.endpoint
    }

    pub(super) fn dialog(&self) -> MutexGuard<'_, Dialog> {
        self.dialog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The description for the next offer or answer; the version rises (RFC 3264 8).
    pub(super) fn describe(&self, direction: Direction) -> String {
        let mut terms = self.terms();
        terms.version += 1;
        self.line.describe(&self.media, (terms.session, terms.version), direction).to_text()
    }

    /// Takes the other side's description into force.
    pub(super) fn agree(&self, remote: Remote, direction: Direction) {
        let options = &self.line.options;
        let sends = if direction.sends() { Sends::Yes } else { Sends::No };
        self.media.connect(&remote, &options.codecs, options.telephone_event, sends);
        self.terms().remote = Some(remote);
    }

    pub(super) fn end(&self, ending: Ending) {
        let why = format!("by {:?}, reason {:?}", ending.by, ending.reason);
        self.media.stop();
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(ending);
            first
        });
        let key = self.dialog().key();
        if first {
            self.endpoint().log.push(Event::Ended(key.0.clone(), why));
        }
        self.endpoint().release(&key);
    }

    async fn request(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, &str)>,
    ) -> Result<Message> {
        let mut request = self.dialog().request(method);
        for (name, value) in headers {
            request = request.with(name, *value);
        }
        if let Some((content_type, body)) = body {
            request = request.with_body(content_type, body);
        }
        let to = self.dialog().next_hop(self.endpoint());
        let next = || {
            let mut dialog = self.dialog();
            dialog.cseq += 1;
            dialog.cseq
        };
        self.line.transact(request, to, next).await
    }

    async fn reinvite(&self, direction: Direction) -> Result<Message> {
        if self.ended.borrow().is_some() {
            return Err(PhoneError::Ended { phone: self.endpoint().phone.clone(), what: "the call" });
        }
        self.terms().pending = Pending::OwnOffer;
        let offer = self.describe(direction);
        let answer = self.request("INVITE", &[], Some(("application/sdp", &offer))).await;
        self.terms().pending = Pending::Nothing;
        let answer = answer?;
        if answer.is_success() {
            let (ack, to) = {
                let mut dialog = self.dialog();
                dialog.refresh(&answer);
                (dialog.ack(answer.cseq().unwrap_or_default()), dialog.next_hop(self.endpoint()))
            };
            self.endpoint().acknowledge(ack, to).await?;
            let remote = self.line.remote(&answer.body_text())?;
            let agreed = remote.direction.answer(direction);
            self.terms().own = direction;
            self.agree(remote, agreed);
        }
        self.line.accepted(answer, "re-INVITE")
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        let key = self.dialog().key();
        self.endpoint().release(&key);
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// The status of a `message/sipfrag` body.
pub(super) fn sipfrag_status(body: &str) -> Option<u16> {
    body.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_is_written_as_the_rfc_wants_it() {
        let replaces =
            Replaces { call_id: "c@h".into(), to_tag: "t".into(), from_tag: "f".into(), early_only: true };
        assert_eq!(replaces.to_string(), "c@h;to-tag=t;from-tag=f;early-only");
    }

    #[test]
    fn a_sipfrag_says_its_status() {
        assert_eq!(sipfrag_status("SIP/2.0 603 Decline\r\n"), Some(603));
        assert_eq!(sipfrag_status("SIP/2.0 6"), None);
    }
}
