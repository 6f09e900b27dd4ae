//! A list that grows in pieces: what is in it never moves, and growing never copies.

/// Values in a piece.
const PIECE: usize = 64;

/// A list that only grows. A `Vec` that doubles copies all that it holds while calls and packets wait, and leaves as much
/// again behind in the allocator; this one asks for a piece more.
pub struct Chunks<T> {
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// How many values are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Puts `value` behind the others.
    pub fn push(&mut self, value: T) {
        match self.pieces.last_mut().filter(|last| last.len() < PIECE) {
            Some(last) => last.push(value),
            None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(value);
                self.pieces.push(piece);
            }
        }
    }

    /// The value at `index`.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index / PIECE)?.get(index % PIECE)
    }

    /// The value at `index`.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_stays_where_it_is() {
        let mut list = Chunks::default();
        assert!(list.is_empty());
        assert_eq!((list.len(), list.get(0)), (0, None));
        list.push(0);
        let first: *const usize = list.get(0).unwrap();
        for value in 1..=PIECE * 3 {
            assert_eq!(list.get(value), None);
            list.push(value);
            assert_eq!(list.len(), value + 1);
        }
        assert!(std::ptr::eq(first, list.get(0).unwrap()));
        assert!(list.iter().copied().eq(0..=PIECE * 3));
        *list.get_mut(PIECE).unwrap() = 7;
        assert_eq!(
            (list.get(PIECE), list.get(PIECE - 1), list.get(PIECE * 4)),
            (Some(&7), Some(&(PIECE - 1)), None)
        );
    }
}
