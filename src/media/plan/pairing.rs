//! Which m-line of one leg carries the same stream as which m-line of the other.

use smallvec::SmallVec;

use super::{LegMedia, Refusal};

/// The m-lines of two joined legs, pair by pair. Starts empty; the first [`super::offer_across`] (or
/// [`super::join`]) binds it to its two legs. It has no orientation to mind: it knows its legs by their session ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    legs: Option<(u64, u64)>,
    pairs: SmallVec<[(u8, u8); 4]>,
}

impl Pairing {
    /// An empty one for these two legs.
    pub(super) fn of(a: &LegMedia, b: &LegMedia) -> Self {
        Self { legs: Some((a.ours.session_id(), b.ours.session_id())), pairs: SmallVec::new() }
    }

    /// The line of `to` that carries line `line` of `from`.
    #[must_use]
    pub fn partner(&self, from: &LegMedia, line: usize, to: &LegMedia) -> Option<usize> {
        let way = self.way(from, to).ok()?;
        self.pairs
            .iter()
            .map(|pair| way.orient(*pair))
            .find(|(a, _)| usize::from(*a) == line)
            .map(|(_, b)| b.into())
    }

    /// All pairs, the line of `from` first.
    pub fn pairs(&self, from: &LegMedia, to: &LegMedia) -> impl Iterator<Item = (usize, usize)> {
        let way = self.way(from, to).ok();
        let orient = move |pair: &(u8, u8)| way.map(|way| way.orient(*pair));
        self.pairs.iter().filter_map(orient).map(|(a, b)| (a.into(), b.into()))
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

    /// Adds a pair; binds the pairing to the legs if nothing did before.
    pub(super) fn add(
        &mut self,
        from: &LegMedia,
        line: usize,
        to: &LegMedia,
        partner: usize,
    ) -> Result<(), Refusal> {
        let way = match self.legs {
            Some(_) => self.way(from, to)?,
            None => {
                *self = Self::of(from, to);
                Way::AsMade
            }
        };
        let (Ok(line), Ok(partner)) = (u8::try_from(line), u8::try_from(partner)) else {
            return Err(Refusal::TooManyLines);
        };
        self.pairs.push(way.orient((line, partner)));
        Ok(())
    }

    /// Fails if it is the pairing of other legs.
    pub(super) fn check(&self, from: &LegMedia, to: &LegMedia) -> Result<(), Refusal> {
        if self.legs.is_none() { Ok(()) } else { self.way(from, to).map(|_| ()) }
    }

    fn way(&self, from: &LegMedia, to: &LegMedia) -> Result<Way, Refusal> {
        let legs = (from.ours.session_id(), to.ours.session_id());
        match self.legs {
            Some(made) if made == legs => Ok(Way::AsMade),
            Some((a, b)) if (b, a) == legs => Ok(Way::Reversed),
            _ => Err(Refusal::OutOfTurn),
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    AsMade,
    Reversed,
}

impl Way {
    fn orient(self, (a, b): (u8, u8)) -> (u8, u8) {
        match self {
            Self::AsMade => (a, b),
            Self::Reversed => (b, a),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_its_legs_and_no_others() {
        let leg = |id| LegMedia::new(id, "192.0.2.1".parse().unwrap());
        let (a, b, c) = (leg(1), leg(2), leg(3));
        let mut pairing = Pairing::default();
        pairing.add(&a, 0, &b, 1).unwrap();
        pairing.add(&b, 2, &a, 3).unwrap();
        assert_eq!(pairing.pairs(&a, &b).collect::<Vec<_>>(), [(0, 1), (3, 2)]);
        assert_eq!((pairing.partner(&b, 1, &a), pairing.partner(&a, 3, &b)), (Some(0), Some(2)));
        assert_eq!((pairing.partner(&a, 0, &c), pairing.partner(&a, 9, &b)), (None, None));
        assert_eq!(pairing.add(&a, 0, &c, 0), Err(Refusal::OutOfTurn));
        assert_eq!(pairing.add(&a, 300, &b, 0), Err(Refusal::TooManyLines));
        assert_eq!(pairing.pairs(&c, &a).count(), 0);
    }
}
