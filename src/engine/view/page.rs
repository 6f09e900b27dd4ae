//! Lists in parts: their order, and what several workers gave made one.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Items of a list without a `limit`.
pub const PAGE_DEFAULT: u16 = 100;
/// Most items of one answer.
pub const PAGE_MAX: u16 = 1000;

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuery {
    /// Only items after the one with this key.
    pub cursor: Option<Box<str>>,
    /// Most items; [`PAGE_DEFAULT`] unless given, at most [`PAGE_MAX`].
    pub limit: u16,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { cursor: None, limit: PAGE_DEFAULT }
    }
}

/// Which end of a list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least key.
    Ascending,
    /// The greatest key: of ULIDs the newest.
    Descending,
}

impl Order {
    /// How two keys stand in the list.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Ascending => a.cmp(b),
            Self::Descending => b.cmp(a),
        }
    }
}

/// What can stand in a list: it has a key that orders it.
pub trait Listed {
    /// The order of such lists.
    const ORDER: Order;

    /// The key; unique in the list.
    fn key(&self) -> String;
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next part; `None` at the end.
    pub next: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

impl<T: Listed> Page<T> {
    /// The part that `query` asks for of `items`, which need not be in order.
    #[must_use]
    pub fn cut(items: impl IntoIterator<Item = T>, query: &PageQuery) -> Self {
        let is_after = |key: &str| query.cursor.as_deref().is_none_or(|at| T::ORDER.compare(key, at).is_gt());
        let mut keyed: Vec<(String, T)> =
            items.into_iter().map(|item| (item.key(), item)).filter(|(key, _)| is_after(key)).collect();
        keyed.sort_by(|(a, _), (b, _)| T::ORDER.compare(a, b));
        // Workers that share a store give the same item each: the first one stands.
        keyed.dedup_by(|(a, _), (b, _)| a == b);
        let limit = usize::from(query.limit.clamp(1, PAGE_MAX));
        let more = keyed.len() > limit;
        keyed.truncate(limit);
        let next = keyed.last().filter(|_| more).map(|(key, _)| key.clone());
        Self { items: keyed.into_iter().map(|(_, item)| item).collect(), next }
    }

    /// One part of the parts that several workers gave to the same query.
    #[must_use]
    pub fn merge(pages: Vec<Self>, query: &PageQuery) -> Self {
        // A worker that had more than fits ends the list where its own part ends.
        let end = pages.iter().filter_map(|page| page.next.clone()).min_by(|a, b| T::ORDER.compare(a, b));
        let mut merged = Self::cut(pages.into_iter().flat_map(|page| page.items), query);
        if let Some(end) = end
            && merged.next.as_deref().is_none_or(|next| T::ORDER.compare(next, &end).is_gt())
        {
            merged.items.retain(|item| T::ORDER.compare(&item.key(), &end).is_le());
            merged.next = Some(end);
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Up(&'static str);
    impl Listed for Up {
        const ORDER: Order = Order::Ascending;
        fn key(&self) -> String {
            self.0.into()
        }
    }
    struct Down(&'static str);
    impl Listed for Down {
        const ORDER: Order = Order::Descending;
        fn key(&self) -> String {
            self.0.into()
        }
    }

    fn query(cursor: Option<&str>, limit: u16) -> PageQuery {
        PageQuery { cursor: cursor.map(Box::from), limit }
    }

    /// Every key that following `next` from part to part gives.
    fn walk<T: Listed>(part: impl Fn(&PageQuery) -> Page<T>, limit: u16) -> Vec<String> {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..20 {
            let page = part(&query(cursor.as_deref(), limit));
            assert!(page.items.len() <= usize::from(limit));
            seen.extend(page.items.iter().map(Listed::key));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
        panic!("the list does not end: {seen:?}");
    }

    #[test]
    fn parts_follow_each_other_without_hole_or_overlap() {
        const ALL: [&str; 5] = ["d", "a", "c", "b", "e"];
        for limit in 1..=6 {
            assert_eq!(walk(|query| Page::cut(ALL.map(Up), query), limit), ["a", "b", "c", "d", "e"]);
            assert_eq!(walk(|query| Page::cut(ALL.map(Down), query), limit), ["e", "d", "c", "b", "a"]);
        }
        assert_eq!(Page::cut(ALL.map(Up), &query(None, 0)).items.len(), 1);
    }

    #[test]
    fn parts_of_several_workers_merge_as_if_there_were_one() {
        const ONE: [&str; 4] = ["a", "c", "e", "g"];
        const TWO: [&str; 3] = ["b", "d", "f"];
        for limit in 1..=8 {
            let up = |query: &PageQuery| {
                Page::merge(vec![Page::cut(ONE.map(Up), query), Page::cut(TWO.map(Up), query)], query)
            };
            assert_eq!(walk(up, limit), ["a", "b", "c", "d", "e", "f", "g"]);
            let down = |query: &PageQuery| {
                Page::merge(vec![Page::cut(ONE.map(Down), query), Page::cut(TWO.map(Down), query)], query)
            };
            assert_eq!(walk(down, limit), ["g", "f", "e", "d", "c", "b", "a"]);
        }
    }

    #[test]
    fn what_two_workers_found_in_one_store_is_listed_once() {
        for limit in 1..=4 {
            let both = |query: &PageQuery| {
                let found = || Page::cut(["a", "b", "c"].map(Down), query);
                Page::merge(vec![found(), found()], query)
            };
            assert_eq!(walk(both, limit), ["c", "b", "a"]);
        }
    }
}
