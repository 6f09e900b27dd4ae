//! Which m-line of one leg carries the same stream as which m-line of the other.

use smallvec::SmallVec;

use super::LegMedia;

/// The m-lines of two joined legs, pair by pair. Starts empty; the first [`super::offer_across`] (or
/// [`super::join`]) binds it to its two legs. It has no orientation to mind: it knows its legs by their session ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    legs: Option<(u64, u64)>,
    pairs: SmallVec<[(u8, u8); 4]>,
}

impl Pairing {
    /// The line of `to` that carries line `line` of `from`.
    #[must_use]
    pub fn partner(&self, from: &LegMedia, line: usize, to: &LegMedia) -> Option<usize> {
        let _ = (from, line, to);
        None
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no line is paired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}
