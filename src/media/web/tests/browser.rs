//! The other side: ICE that controls, and the library's DTLS in the role that is left.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::dtls::Progress;
use super::super::{Credentials, Fingerprint, Identity, Role};
use crate::base::Timestamp;
use crate::media::srtp::Keys;
use crate::media::web::dtls::{Dtls, is_dtls};
use crate::wire::stun::{Class, Message, Pair, Writer};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Pick {
    Yes,
    No,
}

pub(in crate::media) struct Browser {
    pub(in crate::media) address: SocketAddr,
    pub(in crate::media) house: Credentials,
    identity: Arc<Identity>,
    expected: Fingerprint,
    dtls: Dtls,
    origin: Instant,
    transaction: u8,
    /// Answers to checks: the address that each told.
    pub(in crate::media) answers: Vec<SocketAddr>,
    pub(in crate::media) keys: Option<Box<Keys>>,
    pub(in crate::media) outgoing: VecDeque<Vec<u8>>,
    /// Every handshake datagram that came, to be played again.
    pub(in crate::media) received: Vec<Vec<u8>>,
}

impl Browser {
    pub(in crate::media) fn new(
        address: SocketAddr,
        house: Credentials,
        house_role: Role,
        expected: Fingerprint,
        origin: Instant,
    ) -> Self {
        let identity = Identity::generate().unwrap();
        Self::with(identity, address, house, house_role, expected, origin)
    }

    pub(in crate::media) fn with(
        identity: Identity,
        address: SocketAddr,
        house: Credentials,
        house_role: Role,
        expected: Fingerprint,
        origin: Instant,
    ) -> Self {
        let identity = Arc::new(identity);
        let role = if house_role == Role::Active { Role::Passive } else { Role::Active };
        Self {
            address,
            house,
            dtls: Dtls::new(&identity, role),
            identity,
            expected,
            origin,
            transaction: 0,
            answers: Vec::new(),
            keys: None,
            outgoing: VecDeque::new(),
            received: Vec::new(),
        }
    }

    pub(in crate::media) fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint().clone()
    }

    pub(in crate::media) fn check_of(&mut self, pick: Pick) -> Vec<u8> {
        self.transaction = self.transaction.wrapping_add(1);
        let pair = if pick == Pick::Yes { Pair::Picked } else { Pair::Tried };
        Writer::new(Class::Request, &[self.transaction; 12])
            .username(&self.house.ufrag, "them")
            .controlling(0x6eff_ffff, 42, pair)
            .signed(self.house.password.as_bytes())
            .bytes()
            .to_vec()
    }

    pub(in crate::media) fn check(&mut self, pick: Pick) {
        let check = self.check_of(pick);
        self.outgoing.push_back(check);
    }

    fn instant(&self, now: Timestamp) -> Instant {
        self.origin + Duration::from_micros(now.as_micros())
    }

    pub(in crate::media) fn start(&mut self, now: Timestamp) {
        let now = self.instant(now);
        self.dtls.start(now, &self.identity, &mut |bytes| self.outgoing.push_back(bytes.to_vec()));
    }

    pub(in crate::media) fn receive(&mut self, now: Timestamp, datagram: &[u8]) {
        if let Ok(message) = Message::parse(datagram) {
            assert!(message.is_from(self.house.password.as_bytes()) && message.has_fingerprint());
            self.answers.extend(message.mapped_address());
            return;
        }
        assert!(is_dtls(datagram));
        self.received.push(datagram.to_vec());
        let now = self.instant(now);
        let mut send = |bytes: &[u8]| self.outgoing.push_back(bytes.to_vec());
        let progress = self.dtls.receive(now, datagram, &self.identity, &self.expected, &mut send);
        if let Progress::Secured(keys) = progress {
            self.keys = Some(keys);
        }
    }

    /// Sends again what was not answered.
    pub(in crate::media) fn again(&mut self, now: Timestamp) {
        let now = self.instant(now);
        self.dtls.handle_timeout(now, &self.identity, &mut |bytes| self.outgoing.push_back(bytes.to_vec()));
    }

    pub(in crate::media) fn close(&mut self, now: Timestamp) {
        let now = self.instant(now);
        self.dtls.close(now, &mut |bytes| self.outgoing.push_back(bytes.to_vec()));
    }
}
