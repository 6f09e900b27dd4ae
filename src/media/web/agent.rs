//! One leg's side of ICE, the lite one (RFC 8445 2.5): it answers checks, and goes where the other side points.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::dtls::Dtls;
use super::{Credentials, WebEnd};
use crate::base::Timestamp;
use crate::wire::stun::{Class, Message, Writer};

/// Addresses from which one side may have been checked at the same time. A browser has two to four; more would let one
/// of our own users fill the table of all.
pub(super) const MAX_SOURCES: usize = 8;
/// After so long without a check the other side is gone: what RFC 7675 5.1 gives a full agent, too.
pub(super) const CONSENT: Duration = Duration::from_secs(30);

/// An address that answered for itself with a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub address: SocketAddr,
    pub checked: Timestamp,
    /// Whether a check from it ever picked its pair. A browser that picks several (RFC 5245 8.1.1.2) may shake hands over
    /// another than the last one.
    pub picked: bool,
}

/// Everything of one leg.
pub(super) struct Agent {
    /// Tells its timers from those of who had the slot before.
    pub life: u32,
    pub end: WebEnd,
    /// The credentials before an ICE restart: until the new ones are used, the old pair is kept alive by them.
    pub before: Option<Credentials>,
    pub sources: SmallVec<[Source; 2]>,
    /// Where media goes.
    pub nominated: Option<SocketAddr>,
    /// When the other side counts as gone.
    pub due: Timestamp,
    pub is_gone: bool,
    pub dtls: Dtls,
    /// The wake-up that was asked for last.
    pub armed: Timestamp,
}

/// What a check leads to.
pub(super) struct Checked {
    pub answer: Writer,
    /// An address that is no longer one of this side's.
    pub evicted: Option<SocketAddr>,
    /// Media goes somewhere else from now on.
    pub moved: Option<SocketAddr>,
}

impl Agent {
    pub(super) fn new(now: Timestamp, life: u32, end: WebEnd, dtls: Dtls) -> Self {
        Self {
            life,
            end,
            before: None,
            sources: SmallVec::new(),
            nominated: None,
            due: now + CONSENT,
            is_gone: false,
            dtls,
            armed: Timestamp::NEVER,
        }
    }

    /// Judges a request whose username named us.
    ///
    /// The last pair that is picked counts (RFC 8445 8.1.1 prefers the highest priority, which would hold a browser that
    /// changes its network on the dead one).
    pub(super) fn check(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        request: &Message<'_>,
    ) -> Option<Checked> {
        if request.class() != Class::Request || !request.has_fingerprint() {
            return None;
        }
        let (ours, theirs) = request.username()?;
        let is_current = ours == self.end.local.ufrag.as_bytes();
        let credentials = if is_current { &self.end.local } else { self.before.as_ref()? };
        if is_current && theirs != self.end.remote.as_bytes()
            || !request.is_from(credentials.password.as_bytes())
        {
            return None;
        }
        let answer = Writer::success(request, src, credentials.password.as_bytes());
        (self.due, self.is_gone) = (now + CONSENT, false);
        let picks = request.uses_candidate() && (is_current || self.nominated.is_none());
        let evicted = self.note(now, src, picks);
        let moved = (picks && self.nominated != Some(src)).then_some(src);
        if picks {
            self.nominated = Some(src);
            if is_current {
                self.before = None;
            }
        }
        Some(Checked { answer, evicted, moved })
    }

    fn note(&mut self, now: Timestamp, src: SocketAddr, picks: bool) -> Option<SocketAddr> {
        if let Some(source) = self.sources.iter_mut().find(|source| source.address == src) {
            (source.checked, source.picked) = (now, source.picked || picks);
            return None;
        }
        let mut evicted = None;
        if self.sources.len() >= MAX_SOURCES {
            let oldest = (0..self.sources.len())
                .filter(|n| self.sources.get(*n).map(|source| source.address) != self.nominated)
                .min_by_key(|n| self.sources.get(*n).map(|source| source.checked));
            evicted = oldest.map(|n| self.sources.remove(n).address);
        }
        self.sources.push(Source { address: src, checked: now, picked: picks });
        evicted
    }

    /// Whether this side has picked the pair of `address`, be it that it picked another one since.
    pub(super) fn has_picked(&self, address: SocketAddr) -> bool {
        self.sources.iter().any(|source| source.address == address && source.picked)
    }

    /// When `address` was last checked by this side.
    pub(super) fn checked(&self, address: SocketAddr) -> Option<Timestamp> {
        self.sources.iter().find(|source| source.address == address).map(|source| source.checked)
    }
}
