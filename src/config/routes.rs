//! Where numbers go that are no extension: patterns in order, the first that matches wins.

use regex::Regex;

/// The `[[route]]` entries.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    pattern: Regex,
    to: Vec<RouteTarget>,
}

/// One place where a call may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// `trunk:NAME`
    Trunk(Box<str>),
    /// `user:NAME`: all devices of a user, for numbers that come in from a trunk.
    User(Box<str>),
}

impl Routes {
    /// Where `number` goes, to be tried in this order; `None` is 404.
    #[must_use]
    pub fn find(&self, number: &str) -> Option<&[RouteTarget]> {
        self.0.iter().find(|route| route.pattern.is_match(number)).map(|route| &route.to[..])
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Patterns and their targets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Regex, &[RouteTarget])> {
        self.0.iter().map(|route| (&route.pattern, &route.to[..]))
    }

    pub(super) fn push(&mut self, pattern: Regex, to: Vec<RouteTarget>) {
        self.0.push(Route { pattern, to });
    }
}
