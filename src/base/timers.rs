//! Timers without callbacks: a fixed table of letters per object, and one heap that knows who is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Timestamp;

/// The deadlines of one object, one per letter; `N` is the number of letters. An unarmed letter is `NEVER`.
#[derive(Clone, Debug)]
pub struct Timers<const N: usize>([Timestamp; N]);

impl<const N: usize> Default for Timers<N> {
    fn default() -> Self {
        Self([Timestamp::NEVER; N])
    }
}

impl<const N: usize> Timers<N> {
    /// Arms (or re-arms) a letter.
    pub fn arm(&mut self, letter: usize, at: Timestamp) {
        if let Some(slot) = self.0.get_mut(letter) {
            *slot = at;
        }
    }

    /// Disarms a letter.
    pub fn stop(&mut self, letter: usize) {
        self.arm(letter, Timestamp::NEVER);
    }

    /// Disarms all.
    pub fn stop_all(&mut self) {
        self.0 = [Timestamp::NEVER; N];
    }

    /// When a letter is due, if armed.
    #[must_use]
    pub fn deadline(&self, letter: usize) -> Option<Timestamp> {
        self.0.get(letter).copied().filter(|at| *at != Timestamp::NEVER)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.0.iter().copied().min().filter(|at| *at != Timestamp::NEVER)
    }

    /// Takes the earliest letter that is due at `now`, disarming it.
    pub fn expire(&mut self, now: Timestamp) -> Option<usize> {
        let (letter, at) = self.0.iter().copied().enumerate().min_by_key(|(_, at)| *at)?;
        if at == Timestamp::NEVER || at > now {
            return None;
        }
        self.stop(letter);
        Some(letter)
    }
}

/// Who is due when. Entries are never cancelled: the owner checks its own table when it is woken, so an entry
/// that is out of date costs one look. Order among equal deadlines is the key's order (deterministic).
pub struct TimerHeap<K: Ord + Copy>(BinaryHeap<Reverse<(Timestamp, K)>>);

impl<K: Ord + Copy> Default for TimerHeap<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K: Ord + Copy> TimerHeap<K> {
    /// Asks for a wake-up.
    pub fn push(&mut self, at: Timestamp, key: K) {
        if at != Timestamp::NEVER {
            self.0.push(Reverse((at, key)));
        }
    }

    /// The next wake-up.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one wake-up that is due at `now`.
    pub fn expire(&mut self, now: Timestamp) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, key))| key)
    }

    /// How many wake-ups are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_expire_in_order_of_time() {
        let t = Timestamp::from_micros;
        let mut timers = Timers::<3>::default();
        timers.arm(0, t(30));
        timers.arm(2, t(10));
        assert_eq!(timers.next(), Some(t(10)));
        assert_eq!(timers.expire(t(9)), None);
        assert_eq!(timers.expire(t(50)), Some(2));
        assert_eq!(timers.expire(t(50)), Some(0));
        assert_eq!(timers.expire(t(50)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_heap_gives_what_is_due_and_no_more() {
        let t = Timestamp::from_micros;
        let mut heap = TimerHeap::default();
        heap.push(t(5), 'b');
        heap.push(t(5), 'a');
        heap.push(t(9), 'c');
        heap.push(Timestamp::NEVER, 'd');
        assert_eq!(heap.expire(t(6)), Some('a'));
        assert_eq!(heap.expire(t(6)), Some('b'));
        assert_eq!(heap.expire(t(6)), None);
        assert_eq!(heap.next(), Some(t(9)));
        assert_eq!(heap.len(), 1);
    }
}
