//! What a phone is told before it is switched on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::digest::Algorithm;
use super::sdp::Codec;

/// What the phone does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// Rings with 180 and answers after so long.
    After(Duration),
    /// Rings and leaves the rest to [`Phone::ringing`](super::Phone::ringing).
    ByHand,
    /// Answers with this status.
    Refuse(u16),
}

/// Whose phone it is and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name in logs and errors.
    pub name: String,
    /// The user part of the address of record.
    pub user: String,
    /// The domain of the address of record.
    pub domain: String,
    /// The digest user name.
    pub auth_user: String,
    /// The digest password.
    pub password: String,
    /// The digest algorithms that it answers.
    pub algorithms: Vec<Algorithm>,
    /// Where it sends everything first.
    pub server: SocketAddr,
    /// The address of its sockets.
    pub ip: IpAddr,
    /// `+sip.instance`, a URN.
    pub instance: Option<String>,
    /// The tone that it says, a multiple of 50 Hz.
    pub tone: u32,
    /// Codecs, best first.
    pub codecs: Vec<Codec>,
    /// Payload type of telephone-event; none for a phone without.
    pub telephone_event: Option<u8>,
    /// What it does when called.
    pub answering: Answering,
    /// Whether it follows 3xx and REFER.
    pub follows: bool,
    /// The User-Agent header.
    pub user_agent: String,
    /// Whether its audio is SRTP, with keys in the description; then it takes nothing less.
    pub srtp: bool,
    /// The RTP sequence number before its first; drawn without.
    pub first_sequence: Option<u16>,
}

impl Options {
    /// A phone of `user` at `server` on loopback: answers at once, says 400 Hz, knows both laws.
    #[must_use]
    pub fn new(user: &str, domain: &str, server: SocketAddr) -> Self {
        Self {
            name: user.to_owned(),
            user: user.to_owned(),
            domain: domain.to_owned(),
            auth_user: user.to_owned(),
            password: String::new(),
            algorithms: vec![Algorithm::Md5],
            server,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            instance: None,
            tone: 400,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            telephone_event: Some(101),
            answering: Answering::After(Duration::ZERO),
            follows: true,
            user_agent: "segue-phone".to_owned(),
            srtp: false,
            first_sequence: None,
        }
    }

    /// Sets the name in logs.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets the digest identity.
    #[must_use]
    pub fn login(mut self, auth_user: &str, password: &str) -> Self {
        auth_user.clone_into(&mut self.auth_user);
        password.clone_into(&mut self.password);
        self
    }

    /// Sets the tone.
    #[must_use]
    pub fn tone(mut self, hz: u32) -> Self {
        self.tone = hz;
        self
    }

    /// Sets what it does when called.
    #[must_use]
    pub fn answering(mut self, answering: Answering) -> Self {
        self.answering = answering;
        self
    }

    /// Sets the codecs.
    #[must_use]
    pub fn codecs(mut self, codecs: &[Codec]) -> Self {
        self.codecs = codecs.to_vec();
        self
    }

    /// Makes it a phone with SRTP.
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.srtp = true;
        self
    }

    /// Sets the RTP sequence number before its first, to be near a rollover.
    #[must_use]
    pub fn first_sequence(mut self, sequence: u16) -> Self {
        self.first_sequence = Some(sequence);
        self
    }

    /// Sets the payload type of telephone-event.
    #[must_use]
    pub fn telephone_event(mut self, payload_type: Option<u8>) -> Self {
        self.telephone_event = payload_type;
        self
    }

    /// The address of record.
    #[must_use]
    pub fn address_of_record(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}
