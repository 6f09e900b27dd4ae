//! The handshake of one leg, until both sides have keys for SRTP (RFC 5764).
//!
//! What comes to us is let in only from a pair that ICE picked, and one who forges that address does not end what stands
//! with an alert, a record number of its own, or a hello (unless that comes while our first answer is under way): two
//! handshakes are pursued side by side until one of them is answered with our hello; after that a bad record is passed over; once there are keys only the other side's last flight,
//! repeated, and its `close_notify` mean anything. An alert in clear is anybody's, so that none is listened to and none is
//! sent. (Who sees the handshake and forges pieces of its messages can hinder it; keys it cannot get.)

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::identity::{Fingerprint, Identity};
use crate::media::srtp::{Keys, MasterKey, Suite};

/// RFC 5764 4.2.
const LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Handshakes that one description is good for: each costs us two signatures' worth of work.
const ATTEMPTS: u8 = 8;
/// The association is one for the life of the leg, whatever address it has: to the library it is always this one.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// Longer records are none of a handshake's (a certificate of a browser has some 400 bytes).
const MAX_DATAGRAM: usize = 1500;
/// What a handshake may bring in all; the library itself would hold two megabytes.
const MAX_BYTES: usize = 64 * 1024;
/// In how many pieces, repeated ones included: the library puts messages together in a time that grows with the cube of
/// their number. A browser's handshake has some ten.
const MAX_PIECES: usize = 128;

/// Which end of the handshake we are (RFC 5763 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// We wait for the hello: `a=setup:passive`.
    Passive,
    /// We say it: `a=setup:active`.
    Active,
}

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing that matters to others.
    None,
    /// Both sides have keys, and the other one is who the description says.
    Secured(Box<Keys>),
    /// The other side has said goodbye.
    Closed,
    /// The certificate is not the one of the description, or the two have no protection in common.
    Refused(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No hello of ours went out.
    Open,
    /// Ours did; this one is brought to its end.
    Committed,
    /// There are keys.
    Secured,
    /// It failed; another hello may begin anew.
    Failed,
    /// Closed by the other side.
    Closed,
}

/// The beginning of a hello: its version and its random, which all hellos of one handshake share.
type Hello = [u8; 34];

/// One association.
pub(super) struct Dtls {
    endpoint: Endpoint,
    /// The hello that it was given.
    hello: Option<Hello>,
    /// Who said another hello: one of the two is perhaps a forger.
    rival: Option<(Hello, Box<Endpoint>)>,
    /// Records in clear that were handed on.
    handed: u64,
    state: State,
    role: Role,
    attempts: u8,
    bytes: usize,
    pieces: usize,
}

/// DTLS by its first byte (RFC 7983 7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| (20..=63).contains(byte))
}

/// The client's hello that (the first part of) a record in clear is, a browser's being larger than a datagram: whose, and
/// whether it is the first, without our cookie.
fn hello_in(datagram: &[u8]) -> Option<(Hello, bool)> {
    let is_plain = datagram.first() == Some(&HANDSHAKE) && datagram.get(3..5) == Some(&[0, 0]);
    let is_begin = datagram.get(13) == Some(&CLIENT_HELLO) && datagram.get(19..22) == Some(&[0; 3]);
    let said = datagram.get(RECORD_HEADER + MESSAGE_HEADER..).filter(|_| is_plain && is_begin)?;
    let mut hello = [0; size_of::<Hello>()];
    hello.iter_mut().zip(said).for_each(|(place, byte)| *place = *byte);
    Some((hello, datagram.get(17..19) == Some(&[0; 2])))
}

/// Whether a datagram of ours begins with a message of `kind`.
fn says(datagram: &[u8], kind: u8) -> bool {
    datagram.first() == Some(&22) && datagram.get(13) == Some(&kind)
}

/// Types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Octets before what a record holds (RFC 6347 4.1), and before what a piece of a message holds (RFC 6347 4.2.2).
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
/// Messages of a handshake.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// The whole records of a datagram.
fn records(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = u16::from_be_bytes(*rest.get(11..)?.first_chunk()?);
        let (record, behind) = rest.split_at_checked(RECORD_HEADER + usize::from(len))?;
        rest = behind;
        Some(record)
    })
}

/// Whether a record may be what it says: sealed, or of a kind that is sent in clear by who shakes hands.
fn is_credible(record: &[u8]) -> bool {
    let is_sealed = record.get(3..5) != Some(&[0, 0]);
    is_sealed
        || match record.split_at_checked(RECORD_HEADER) {
            Some(([CHANGE_CIPHER_SPEC, ..], body)) => body == [1],
            Some(([kind, ..], _)) => *kind == HANDSHAKE,
            _ => false,
        }
}

/// How many pieces of messages a record holds; of a sealed one how many it could.
fn pieces(record: &[u8]) -> usize {
    let Some(mut rest) = record.get(RECORD_HEADER..).filter(|_| record.first() == Some(&HANDSHAKE)) else {
        return 1;
    };
    if record.get(3..5) != Some(&[0, 0]) {
        return rest.len().div_ceil(MESSAGE_HEADER);
    }
    let mut count = 0;
    while let Some([_, high, middle, low]) = rest.first_chunk() {
        let len = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        rest = rest.get(MESSAGE_HEADER + len..).unwrap_or_default();
        count += 1;
    }
    count
}

impl Dtls {
    pub(super) fn new(identity: &Identity, role: Role) -> Self {
        let endpoint = endpoint(identity, role);
        Self {
            endpoint,
            hello: None,
            rival: None,
            handed: 0,
            state: State::Open,
            role,
            attempts: 0,
            bytes: 0,
            pieces: 0,
        }
    }

    /// Begins once more after a failure, if that did not happen too often.
    fn begin_anew(&mut self, identity: &Identity) -> bool {
        if self.attempts >= ATTEMPTS {
            return false;
        }
        let attempts = self.attempts + 1;
        *self = Self { attempts, handed: self.handed, ..Self::new(identity, self.role) };
        true
    }

    /// Says hello, where that is our part and was not done.
    pub(super) fn start(&mut self, now: Instant, identity: &Identity, send: &mut impl FnMut(&[u8])) {
        if self.role == Role::Active && self.state == State::Open {
            self.state = State::Committed;
            // An error here is one of the system's randomness; the timeout of the call is what then ends it.
            if self.endpoint.connect(now, PEER, Arc::clone(&identity.client), None).is_err() {
                self.state = State::Failed;
            }
            self.flush(send);
        }
    }

    /// Takes a datagram from the picked pair.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
        expected: &Fingerprint,
        send: &mut impl FnMut(&[u8]),
    ) -> Progress {
        let (mut credible, mut parts) = (BytesMut::new(), 0);
        // Before our hello nothing but messages of a handshake means anything.
        let is_early = self.state == State::Open;
        let may_be =
            |record: &&[u8]| is_credible(record) && (!is_early || record.first() == Some(&HANDSHAKE));
        for record in records(datagram).filter(may_be) {
            parts += pieces(record);
            self.hand_on(record, &mut credible);
        }
        if datagram.len() > MAX_DATAGRAM || credible.is_empty() || self.state == State::Closed {
            return Progress::None;
        }
        let hello = hello_in(datagram).filter(|_| self.role == Role::Passive);
        let first = hello.filter(|(_, is_first)| *is_first).map(|(hello, _)| hello);
        if first.is_some() && self.state == State::Failed && !self.begin_anew(identity) {
            return Progress::None;
        }
        if self.state == State::Failed || !self.may_take(credible.len(), parts) {
            return Progress::None;
        }
        if self.state == State::Open
            && let Some(first) = first
            && *self.hello.get_or_insert(first) != first
            && !self.is_rival(&first)
        {
            self.rival = Some((first, Box::new(endpoint(identity, self.role))));
        }
        // A hello is heard by whose it is; what has no name, the rest of one, by both.
        if self.state == State::Open && hello.is_some_and(|(hello, _)| self.is_rival(&hello)) {
            self.follow_rival(now, credible, send);
            return Progress::None;
        }
        let events = self.endpoint.read(now, PEER, None, credible.clone());
        self.flush(send);
        if self.state == State::Open && hello.is_none() {
            self.follow_rival(now, credible, send);
            return Progress::None;
        }
        // An error is one of this datagram, unless the library gives up later; what stands goes on.
        let mut progress = Progress::None;
        for event in events.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => progress = self.completed(expected),
                EndpointEvent::PeerClosed if self.state == State::Secured => {
                    self.state = State::Closed;
                    progress = Progress::Closed;
                }
                // Data channels are not offered; what comes anyway goes nowhere.
                _ => {}
            }
        }
        progress
    }

    /// Copies a record for the library. The numbers of records in clear are anybody's to choose, and one far ahead would
    /// have all that are honest taken for repetitions: they get ours. (Messages have numbers of their own.)
    fn hand_on(&mut self, record: &[u8], to: &mut BytesMut) {
        let at = to.len();
        to.extend_from_slice(record);
        if record.get(3..5) == Some(&[0, 0])
            && let Some(number) = to.get_mut(at + 5..at + 11)
            && let Some((_, ours)) = self.handed.to_be_bytes().split_at_checked(2)
        {
            number.copy_from_slice(ours);
            self.handed += 1;
        }
    }

    fn is_rival(&self, hello: &Hello) -> bool {
        self.rival.as_ref().is_some_and(|(rival, _)| rival == hello)
    }

    /// What is, or may be, meant for the rival's handshake. A repeated hello is answered as before, with the same cookie: the
    /// one that was sent may be on its way back already. The first of the two that gets as far as our hello is the one.
    fn follow_rival(&mut self, now: Instant, datagram: BytesMut, send: &mut impl FnMut(&[u8])) {
        let Some((hello, mut rival)) = self.rival.take() else { return };
        // An error is one of this datagram.
        let _ = rival.read(now, PEER, None, datagram);
        std::mem::swap(&mut self.endpoint, &mut rival);
        self.flush(send);
        if self.state == State::Open {
            std::mem::swap(&mut self.endpoint, &mut rival);
            self.rival = Some((hello, rival));
        } else {
            self.hello = Some(hello);
        }
    }

    /// Counts what comes; false where it is more than a handshake has.
    fn may_take(&mut self, bytes: usize, pieces: usize) -> bool {
        let (bytes, pieces) = (self.bytes.saturating_add(bytes), self.pieces.saturating_add(pieces));
        let may = bytes <= MAX_BYTES && pieces <= MAX_PIECES;
        if may {
            (self.bytes, self.pieces) = (bytes, pieces);
        }
        may
    }

    fn completed(&mut self, expected: &Fingerprint) -> Progress {
        self.state = State::Failed;
        let Some(state) = self.endpoint.get_connection_state(PEER) else { return Progress::None };
        if !state.peer_certificates.first().is_some_and(|certificate| expected.fits(certificate)) {
            return Progress::Refused("the certificate is not that of the fingerprint");
        }
        let suite = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Suite::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Suite::AesCm128HmacSha1Tag80,
            _ => return Progress::Refused("no protection in common"),
        };
        let (key, salt) = (suite.key_len(), suite.salt_len());
        let material = state.export_keying_material(LABEL, &[], 2 * (key + salt));
        let Some([client, server]) = material.ok().and_then(|material| split(suite, material.as_ref()))
        else {
            return Progress::Refused("no keys");
        };
        let (ours, theirs) = if self.role == Role::Active { (client, server) } else { (server, client) };
        self.state = State::Secured;
        Progress::Secured(Box::new(Keys { theirs, ours }))
    }

    /// When something must be sent again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint
            .poll_timeout(&PEER)
            .filter(|_| self.state == State::Committed || self.state == State::Open)
    }

    /// Sends again what was not answered. Where nobody answered for long, who waits for a hello goes on to wait, and who
    /// says it begins again.
    pub(super) fn handle_timeout(&mut self, now: Instant, identity: &Identity, send: &mut impl FnMut(&[u8])) {
        if self.endpoint.handle_timeout(PEER, now).is_err() {
            self.state = State::Failed;
            if self.role == Role::Active && self.begin_anew(identity) {
                self.start(now, identity, send);
            }
        }
        self.flush(send);
    }

    /// Says goodbye, where there is somebody to say it to.
    pub(super) fn close(&mut self, now: Instant, send: &mut impl FnMut(&[u8])) {
        if self.state == State::Secured {
            self.endpoint.stop(now, PEER);
            self.flush(send);
        }
    }

    fn flush(&mut self, send: &mut impl FnMut(&[u8])) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if self.state == State::Open && says(&transmit.message, SERVER_HELLO) {
                (self.state, self.rival) = (State::Committed, None);
            }
            // Before there are keys an alert is in clear, and a complaint about a record that may be somebody else's: it
            // would end the right handshake.
            if self.state == State::Secured || transmit.message.first() != Some(&ALERT) {
                send(&transmit.message);
            }
        }
    }
}

/// The client's key and the server's: both keys come first, then both salts (RFC 5764 4.2).
fn split(suite: Suite, material: &[u8]) -> Option<[MasterKey; 2]> {
    let (key, salt) = (suite.key_len(), suite.salt_len());
    let (keys, salts) = material.split_at_checked(2 * key)?;
    let master = |n: usize| {
        let (key, salt) = (keys.get(n * key..(n + 1) * key)?, salts.get(n * salt..(n + 1) * salt)?);
        MasterKey::new(suite, &zeroize::Zeroizing::new([key, salt].concat()))
    };
    Some([master(0)?, master(1)?])
}

fn endpoint(identity: &Identity, role: Role) -> Endpoint {
    let server = (role == Role::Passive).then(|| Arc::clone(&identity.server));
    Endpoint::new(PEER, Default::default(), server)
}
