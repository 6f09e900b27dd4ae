//! A software phone for `segue demo` and for tests: SIP over UDP with digest, real RTP with a tone of its own, and
//! a receiver that judges what it hears.
//!
//! It reads SIP through `rsip` and has an SDP, RTP, G.711 and dialog-info of its own, so that a fault of segue's
//! wire layer is not mirrored by the peer that should find it. Everything that happens is in [`EventLog`], and every
//! wait has a deadline and names what it waited for.

mod call;
mod dialing;
mod dialog;
mod dialog_info;
mod digest;
mod endpoint;
mod error;
mod events;
mod incoming;
mod line;
mod media;
mod message;
mod options;
mod sdp;
mod session;
mod subscription;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;

pub use self::call::{Call, Ending, OnOffer, Replaces, Side};
pub use self::dialing::{Dial, Dialing, Offer};
pub use self::dialog_info::{DialogEntry, DialogInfo, Element, Party};
pub use self::digest::Algorithm;
use self::endpoint::Endpoint;
pub use self::error::{PhoneError, Result};
pub use self::events::{Entry, Event, EventLog};
use self::incoming::Reception;
pub use self::incoming::Ringing;
use self::line::Line;
pub use self::media::{
    Crypto, Heard, Media, MediaReport, PACKET_TIME, STEP_TOLERANCE, Stretch, TimestampStep, tone,
};
pub use self::message::{Message, StartLine, parameter, uri_of};
pub use self::options::{Answering, Options};
pub use self::sdp::{Codec, Direction, Remote};
pub use self::subscription::{Notification, Subscription};
use crate::base::Random;

/// Patience with a final answer where the caller gives none.
const PATIENCE: Duration = Duration::from_secs(10);

/// A software phone. Dropped, it falls silent without a word.
pub struct Phone {
    line: Arc<Line>,
    registration: Mutex<Registration>,
    ringing: Mutex<UnboundedReceiver<Ringing>>,
    calls: Mutex<UnboundedReceiver<Result<Call>>>,
    tasks: Vec<AbortHandle>,
}

/// The header values that stay the same from one REGISTER to the next (RFC 3261 10.2).
struct Registration {
    call_id: String,
    from: String,
    cseq: u32,
}

impl Phone {
    /// Switches a phone on: binds its port and begins to listen. It does not register yet.
    ///
    /// # Errors
    /// [`PhoneError::Io`].
    pub async fn start(options: Options) -> Result<Self> {
        let log = EventLog::new(&options.name);
        let random = Random::from_seed(entropy(&options.name)?);
        let (endpoint, strangers) =
            Endpoint::open(&options.name, options.ip, options.server, random, log).await?;
        let listening = tokio::spawn(Arc::clone(&endpoint).run()).abort_handle();
        let line = Arc::new(Line::new(options, endpoint));
        let (ringing, rings) = unbounded_channel();
        let (answered, calls) = unbounded_channel();
        let reception = Reception::new(Arc::clone(&line), ringing, answered);
        let receiving = tokio::spawn(reception.run(strangers)).abort_handle();
        let registration = Registration { call_id: line.endpoint.mint(), from: line.from(), cseq: 0 };
        Ok(Self {
            line,
            registration: registration.into(),
            ringing: rings.into(),
            calls: calls.into(),
            tasks: vec![listening, receiving],
        })
    }

    /// The phone's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.line.endpoint.phone
    }

    /// What it was told.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.line.options
    }

    /// The address of its SIP socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.line.endpoint.local
    }

    /// Everything that happened.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.line.endpoint.log
    }

    /// Registers for `expires` seconds and gives the 200.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn register(&self, expires: u32) -> Result<Message> {
        self.register_contact(&self.line.contact(), expires).await
    }

    /// Takes the registration back.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn unregister(&self) -> Result<Message> {
        self.register(0).await
    }

    /// Registers with a Contact of the caller's making; `*` removes all.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn register_contact(&self, contact: &str, expires: u32) -> Result<Message> {
        let mut registration = self.registration.lock().await;
        registration.cseq += 1;
        let mut request = Message::request("REGISTER", &format!("sip:{}", self.line.options.domain))
            .with("Max-Forwards", "70")
            .with("From", registration.from.as_str())
            .with("To", format!("<{}>", self.line.options.address_of_record()))
            .with("Call-ID", registration.call_id.as_str())
            .with("CSeq", format!("{} REGISTER", registration.cseq))
            .with("Contact", contact)
            .with("Expires", expires.to_string())
            .with("User-Agent", self.line.options.user_agent.as_str());
        self.line.authorise(&mut request);
        let cseq = &mut registration.cseq;
        let next = || {
            *cseq += 1;
            *cseq
        };
        let response = self.line.transact(request, self.line.endpoint.server(), next).await?;
        self.line.accepted(response, "REGISTER")
    }

    /// Places a call and waits until it stands.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] with the final answer, or a timeout.
    pub async fn call(&self, target: &str) -> Result<Call> {
        self.dial(Dial::new(target)).await?.answered(PATIENCE).await
    }

    /// Places a call and leaves the waiting to the caller.
    ///
    /// # Errors
    /// [`PhoneError::Io`].
    pub async fn dial(&self, dial: Dial) -> Result<Dialing> {
        Dialing::start(&self.line, dial).await
    }

    /// The next call that this phone answered by itself (or placed because of a REFER).
    ///
    /// # Errors
    /// [`PhoneError::Timeout`], or why it could not be answered.
    pub async fn answered(&self, patience: Duration) -> Result<Call> {
        let next = tokio::time::timeout(patience, async { self.calls.lock().await.recv().await }).await;
        match next {
            Ok(Some(call)) => call,
            Ok(None) | Err(_) => Err(self.line.endpoint.timeout("a call in", patience)),
        }
    }

    /// The next call that rings, of a phone that answers [`Answering::ByHand`].
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn ringing(&self, patience: Duration) -> Result<Ringing> {
        let next = tokio::time::timeout(patience, async { self.ringing.lock().await.recv().await }).await;
        next.ok().flatten().ok_or_else(|| self.line.endpoint.timeout("a ringing call", patience))
    }

    /// Subscribes to an event of `target`.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn subscribe(&self, target: &str, event: &str, expires: u32) -> Result<Subscription> {
        Subscription::start(&self.line, target, event, expires).await
    }

    /// Sends a request outside any dialog, through a challenge if need be, and gives its final answer.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] without an answer.
    pub async fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Message> {
        let uri = self.line.uri(target);
        let mut request = self.line.request(method, &uri, &uri);
        for (name, value) in headers {
            request = request.with(name, *value);
        }
        let mut cseq = 1;
        let next = || {
            cseq += 1;
            cseq
        };
        self.line.transact(request, self.line.endpoint.server(), next).await
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn entropy(phone: &str) -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    match getrandom::fill(&mut seed) {
        Ok(()) => Ok(seed),
        Err(error) => Err(PhoneError::Io {
            phone: phone.to_owned(),
            what: "no entropy",
            source: std::io::Error::other(error.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests;
