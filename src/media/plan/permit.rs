//! A leg that may not speak everything: a list of codecs holds for what it is told, and for what it says.
//!
//! What its party says beside the list counts as not said, so nothing of it goes across, is agreed, or is brought to it by a
//! move. What it is told is sifted where it is written.

use std::sync::Arc;

use super::formats::{Formats, formats};
use super::{Bridging, LegMedia, PayloadHistory, bridge};
use crate::media::codec::{Codec, Format};
use crate::media::permitted::Permitted;
use crate::wire::sdp::{Kind, Media, Sdp};

impl LegMedia {
    /// With a list of the codecs that this peer may be offered, and may offer; `None`: any.
    #[must_use]
    pub fn permitting(mut self, permitted: Option<Arc<Permitted>>) -> Self {
        self.permitted = permitted;
        self
    }

    /// The list of this peer, if it has one.
    #[must_use]
    pub fn permitted(&self) -> Option<&Permitted> {
        self.permitted.as_deref()
    }

    /// Whether this peer may be told of a codec.
    pub(super) fn permits(&self, codec: &Codec) -> bool {
        let list = self.permitted.as_ref().filter(|_| codec.is_primary());
        list.is_none_or(|list| list.rank(codec).is_some())
    }

    /// Those formats of a line that this peer may have.
    pub(super) fn sift(&self, formats: Formats) -> Formats {
        if let Some(list) = &self.permitted { list.sift(&formats) } else { formats }
    }

    /// What this peer says in a line, as far as it may; numbers that are not explained mean what they meant before.
    pub(super) fn formats_of(&self, line: usize, media: &Media<'_>) -> Formats {
        self.sift(formats(media, self.lines.get(line).map_or(&[], PayloadHistory::used)))
    }

    /// Whether a line of theirs would be taken, and has anything that they may offer.
    pub(super) fn takes(&self, line: usize, media: &Media<'_>) -> bool {
        self.admits(media) && (self.permitted.is_none() || !self.formats_of(line, media).is_empty())
    }

    /// Whether the list leaves an offer of theirs without audio, or without anything.
    pub(super) fn forbids(&self, offer: &Sdp) -> bool {
        if self.permitted.is_none() {
            return false;
        }
        let admitted = || offer.media().enumerate().filter(|(_, media)| self.admits(media));
        let has_audio = admitted().any(|(_, media)| media.kind() == Kind::Audio);
        let counts = |media: &Media<'_>| !has_audio || media.kind() == Kind::Audio;
        admitted().next().is_some()
            && !admitted().any(|(line, media)| counts(&media) && self.takes(line, &media))
    }

    /// Those of `formats`, and of ours beside them, that this peer may be offered; `None` if that carries nothing.
    pub(super) fn fit(&self, formats: &[Format], extra: &[Format]) -> Option<(Formats, Formats)> {
        let Some(list) = &self.permitted else { return Some((formats.to_vec(), extra.to_vec())) };
        let both: Formats = formats.iter().chain(extra).copied().collect();
        let kept = list.sift(&both);
        let of = |all: &[Format]| all.iter().filter(|format| kept.contains(format)).copied().collect();
        (!kept.is_empty()).then(|| (of(formats), of(extra)))
    }

    /// The same, and what we can convert to where nothing is left of what the other side speaks, if that may be.
    pub(super) fn fit_or_convert(
        &self,
        kind: Kind,
        formats: &[Format],
        extra: &[Format],
    ) -> Option<(Formats, Formats)> {
        let convert = || {
            let own = bridge::ours(kind, formats);
            (self.bridging == Bridging::Allowed).then(|| self.fit(formats, &own)).flatten()
        };
        self.fit(formats, extra).or_else(convert)
    }

    /// Formats in the order in which this peer is told of them.
    pub(super) fn in_order(list: Option<&Permitted>, formats: &mut [Format]) {
        if let Some(list) = list {
            formats.sort_by_key(|format| list.rank(&format.codec).unwrap_or(usize::MAX));
        }
    }
}
