//! What every call, registration and subscription of a phone shares: its options, its socket, and how a request
//! gets through a challenge.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Challenge;
use super::endpoint::Endpoint;
use super::error::{PhoneError, Result};
use super::media::Media;
use super::message::Message;
use super::options::Options;
use super::sdp::{Direction, Local, Remote};

/// Challenges answered for one request before its refusal is believed.
const MAX_TRIES: u32 = 3;

pub(super) struct Line {
    pub(super) options: Options,
    pub(super) endpoint: Arc<Endpoint>,
    /// The last challenge and how often its nonce was used (RFC 7616 3.4, nc).
    credentials: Mutex<Option<(Challenge, u32)>>,
}

impl Line {
    pub(super) fn new(options: Options, endpoint: Arc<Endpoint>) -> Self {
        Self { options, endpoint, credentials: Mutex::default() }
    }

    /// A number, a user, or a whole URI, as a URI.
    pub(super) fn uri(&self, target: &str) -> String {
        let target = target.trim_matches(['<', '>']);
        if target.starts_with("sip:") || target.starts_with("tel:") {
            target.to_owned()
        } else if target.contains('@') {
            format!("sip:{target}")
        } else {
            format!("sip:{target}@{}", self.options.domain)
        }
    }

    /// The Contact of this phone.
    pub(super) fn contact(&self) -> String {
        let contact = format!("<sip:{}@{}>", self.options.user, self.endpoint.local);
        match &self.options.instance {
            Some(instance) => format!("{contact};+sip.instance=\"<{instance}>\""),
            None => contact,
        }
    }

    /// From with a fresh tag.
    pub(super) fn from(&self) -> String {
        format!("<{}>;tag={}", self.options.address_of_record(), self.endpoint.mint())
    }

    /// A request outside a dialog.
    pub(super) fn request(&self, method: &str, uri: &str, to: &str) -> Message {
        Message::request(method, uri)
            .with("Max-Forwards", "70")
            .with("From", self.from())
            .with("To", format!("<{to}>"))
            .with("Call-ID", format!("{}@{}", self.endpoint.mint(), self.endpoint.local.ip()))
            .with("CSeq", format!("1 {method}"))
            .with("Contact", self.contact())
            .with("User-Agent", self.options.user_agent.as_str())
    }

    /// Sends a request, answers its challenges, and gives the final response. `next` numbers a repeated request.
    pub(super) async fn transact(
        &self,
        mut request: Message,
        to: SocketAddr,
        mut next: impl FnMut() -> u32,
    ) -> Result<Message> {
        let mut met = 0;
        loop {
            let response = self.endpoint.begin(request.clone(), to).await?.outcome().await?;
            if !self.meet(&mut request, &response, &mut met, &mut next) {
                return Ok(response);
            }
        }
    }

    /// Puts the answer to a challenge into `request`; says whether it is worth sending again.
    /// `met` counts the challenges that were answered for this request.
    pub(super) fn meet(
        &self,
        request: &mut Message,
        response: &Message,
        met: &mut u32,
        next: &mut impl FnMut() -> u32,
    ) -> bool {
        let Some(challenge) = Challenge::read(response, &self.options.algorithms) else { return false };
        let mut challenges = response.all("WWW-Authenticate").chain(response.all("Proxy-Authenticate"));
        let stale =
            challenges.any(|value| value.to_ascii_lowercase().replace('"', "").contains("stale=true"));
        // A second challenge that does not say stale means that the password is wrong.
        if *met >= MAX_TRIES || (*met > 0 && !stale) {
            return false;
        }
        *met += 1;
        self.keep(challenge, 0);
        let method = request.method().to_owned();
        request.set("CSeq", format!("{} {method}", next()));
        self.authorise(request);
        true
    }

    /// Signs `request` with the challenge known, if any; its nonce is counted up.
    pub(super) fn authorise(&self, request: &mut Message) {
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((challenge, count)) = credentials.as_mut() {
            *count += 1;
            let login = (self.options.auth_user.as_str(), self.options.password.as_str());
            let cnonce = self.endpoint.mint();
            let (name, value) = challenge.answer(login, request.method(), request.uri(), *count, &cnonce);
            request.set(&name, value);
        }
    }

    fn keep(&self, challenge: Challenge, count: u32) {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = Some((challenge, count));
    }

    /// A 2xx, or the error that it is not.
    pub(super) fn accepted(&self, response: Message, request: &str) -> Result<Message> {
        if response.is_success() {
            return Ok(response);
        }
        Err(self.refused(response, request))
    }

    /// The error that a final response other than 2xx is.
    pub(super) fn refused(&self, response: Message, request: &str) -> PhoneError {
        let phone = self.endpoint.phone.clone();
        PhoneError::Refused { phone, request: request.to_owned(), response: Box::new(response) }
    }

    /// Opens the audio of a new call.
    pub(super) async fn open_media(&self) -> Result<Media> {
        let mut random = self.endpoint.draw(|random| crate::base::Random::from_seed(random.bytes()));
        Media::open(&self.endpoint.phone, &self.options, &mut random, self.endpoint.log.clone()).await
    }

    /// This phone's description with the given number and version.
    pub(super) fn describe(&self, media: &Media, origin: (u64, u64), direction: Direction) -> Local {
        Local {
            session: origin.0,
            version: origin.1,
            address: media.local(),
            codecs: self.options.codecs.clone(),
            telephone_event: self.options.telephone_event,
            direction,
            crypto: media.crypto(),
        }
    }

    /// Whether an offer has a codec that this phone knows, and is secured as its own would be.
    pub(super) fn accepts(&self, offer: &Remote) -> bool {
        let has_codec = offer.codecs.iter().any(|codec| self.options.codecs.contains(codec));
        has_codec && offer.is_secure == self.options.srtp && offer.crypto.is_some() == self.options.srtp
    }

    /// Reads the other side's description.
    pub(super) fn remote(&self, body: &str) -> Result<Remote> {
        Remote::parse(body).map_err(|what| PhoneError::Malformed {
            phone: self.endpoint.phone.clone(),
            what: format!("{what} in a session description"),
        })
    }
}
