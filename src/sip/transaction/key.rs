//! What makes a message belong to a transaction (RFC 3261 17.1.3, 17.2.3) or a merged request (8.2.2.2).
//!
//! A key is 128 bits of a keyed hash over the parts that identify, so that tables hold numbers instead of
//! strings. The seed is secret: nobody can aim at a collision, and by chance there is none.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use crate::base::Random;
use crate::wire::sip::{HeaderName, Message, Method, Via};

/// An identity of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Key(u64, u64);

impl Key {
    /// Sixty-four of its bits.
    pub(super) const fn short(self) -> u64 {
        self.0
    }
}

/// Makes keys.
pub(super) struct Keys(DefaultHasher);

/// Kinds of key, hashed first, so that no text can make one kind look like another.
#[derive(Clone, Copy)]
enum Kind {
    Request,
    OldRequest,
    Response,
    Merged,
    Fork,
}

impl Keys {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&random.bytes::<32>());
        Self(hasher)
    }

    fn of(&self, kind: Kind) -> Hashing {
        let mut hashing = Hashing(self.0.clone());
        hashing.0.write_u8(kind as u8);
        hashing
    }

    /// Of the server transaction that a request belongs to, taking its method as `method`: an ACK and a CANCEL
    /// look for the INVITE. Branch, sent-by and method as 17.2.3 says, and, beyond it, the address that the
    /// message came from: a stranger who learns a branch can neither cancel nor swallow what is another's.
    pub(super) fn request(&self, message: &Message, via: &Via<'_>, source: IpAddr, method: &Method) -> Key {
        match via.rfc3261_branch() {
            Some(branch) => self
                .of(Kind::Request)
                .ip(source)
                .part(method.as_str().as_bytes())
                .part(branch.as_bytes())
                .part(via.sent_by.as_bytes())
                .key(),
            None => self.old_request(message, source, method, message.to_tag()),
        }
    }

    /// As [`Keys::request`] without a branch to go by: RFC 2543's rules (17.2.3, second list). `to_tag` is
    /// that of the INVITE, which for an ACK may be none although the ACK has one.
    pub(super) fn old_request(
        &self,
        message: &Message,
        source: IpAddr,
        method: &Method,
        to_tag: Option<&str>,
    ) -> Key {
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        self.of(Kind::OldRequest)
            .ip(source)
            .part(method.as_str().as_bytes())
            .part(message.uri().as_bytes())
            .option(to_tag)
            .option(message.from_tag())
            .part(message.call_id().unwrap_or_default().as_bytes())
            .number(cseq)
            .part(message.values(HeaderName::Via).next().unwrap_or_default())
            .key()
    }

    /// Of the client transaction that a response belongs to: branch and method of CSeq (17.1.3).
    pub(super) fn response(&self, branch: &str, method: &Method) -> Key {
        self.of(Kind::Response).part(method.as_str().as_bytes()).part(branch.as_bytes()).key()
    }

    /// Of all copies of a request that came by different ways (8.2.2.2); `None` inside of a dialog, and for REGISTER,
    /// where the order of CSeq tells copies apart (10.3 step 7).
    pub(super) fn merged(&self, message: &Message) -> Option<Key> {
        if *message.method() == Method::Register {
            return None;
        }
        let (from, to) = (message.from().ok()?, message.to().ok()?);
        if to.tag().is_some() {
            return None;
        }
        let cseq = message.cseq().ok()?;
        let key = self
            .of(Kind::Merged)
            .option(from.tag())
            .part(message.call_id().ok()?.as_bytes())
            .number(cseq.number)
            .part(message.method().as_str().as_bytes())
            .key();
        Some(key)
    }

    /// Of one fork of an INVITE: its To tag.
    pub(super) fn fork(&self, to_tag: Option<&str>) -> u64 {
        self.of(Kind::Fork).option(to_tag).key().short()
    }
}

struct Hashing(DefaultHasher);

impl Hashing {
    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
        self
    }

    fn option(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).part(text.as_bytes()),
            None => self.number(0),
        }
    }

    fn number(mut self, number: u32) -> Self {
        self.0.write_u32(number);
        self
    }

    fn ip(self, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.part(&ip.octets()),
            IpAddr::V6(ip) => self.part(&ip.octets()),
        }
    }

    fn key(mut self) -> Key {
        let first = self.0.finish();
        self.0.write_u8(0xff);
        Key(first, self.0.finish())
    }
}
