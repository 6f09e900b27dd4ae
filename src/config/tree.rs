//! The file as a tree of values that know where they stand, with the environment laid over it.
//!
//! Readers *take* keys out of a [`Section`]; what is left at its end is unknown. Faults are collected, never
//! returned, so that one run shows them all; a reader that meets one goes on with the default.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};

/// Deepest nesting of an environment variable, and most items of a list: a typing error must not fill memory.
const MAX_DEPTH: usize = 6;
const MAX_ITEMS: usize = 10_000;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Tree>),
    Table(BTreeMap<String, Tree>),
    /// From the environment: whoever reads it says what it is.
    Raw(String),
    /// A float or a date: nothing here takes one.
    Odd(&'static str),
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<ConfigError>);

impl Faults {
    pub(super) fn add(&mut self, place: &Place, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(ConfigError { place: place.clone(), key: key.into(), message: message.into() });
    }
}

impl Tree {
    /// Parses `text`, the content of `file`; its syntax errors are faults too.
    pub(super) fn parse(text: &str, file: &str, faults: &mut Faults) -> Self {
        let lines = Lines::of(text, file);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            faults.add(&lines.place(at), "", error.message());
        }
        let mut table = BTreeMap::new();
        lines.fill(&mut table, root.get_ref());
        Self { place: Place::Line { file: file.to_owned(), line: 0 }, kind: Kind::Table(table) }
    }

    /// Lays `SEGUE_SECTION__KEY` variables over the tree. `[[listen]]` items are `SEGUE_LISTEN__0__URI`.
    /// A variable without `__` is not a key and is left alone.
    pub(super) fn overlay(&mut self, variables: &[(String, String)], faults: &mut Faults) {
        let mut ours: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| Some((name, name.strip_prefix("SEGUE_")?, value)))
            .filter(|(_, path, _)| path.contains("__"))
            .collect();
        ours.sort();
        for (name, path, value) in ours {
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            let place = Place::Variable(name.clone());
            if path.len() > MAX_DEPTH || path.iter().any(String::is_empty) {
                faults.add(&place, "", "no such key");
            } else if !self.set(&path, value, &place) {
                faults.add(&place, dotted(&path), "does not fit what stands above it");
            }
        }
    }

    fn set(&mut self, path: &[String], value: &str, place: &Place) -> bool {
        let Some((key, rest)) = path.split_first() else {
            *self = Self { place: place.clone(), kind: Kind::Raw(value.to_owned()) };
            return true;
        };
        let empty = || Self { place: place.clone(), kind: Kind::Table(BTreeMap::new()) };
        match (&mut self.kind, key.parse::<usize>()) {
            (Kind::List(items), Ok(at)) if at <= items.len() && at < MAX_ITEMS => {
                if at == items.len() {
                    items.push(empty());
                }
                items.get_mut(at).is_some_and(|item| item.set(rest, value, place))
            }
            // The first item of a list that the file does not have.
            (Kind::Table(table), Ok(0)) if table.is_empty() => {
                let mut item = empty();
                let fits = item.set(rest, value, place);
                self.kind = Kind::List(vec![item]);
                fits
            }
            (Kind::Table(table), _) => table.entry(key.clone()).or_insert_with(empty).set(rest, value, place),
            _ => false,
        }
    }

    fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Text(_) => "a text",
            Kind::Number(_) => "a number",
            Kind::Flag(_) => "true or false",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a section",
            Kind::Raw(_) => "an environment variable",
            Kind::Odd(what) => what,
        }
    }
}

/// One table of the file, whose keys are taken out one by one.
pub(super) struct Section<'f> {
    /// Dotted path, empty for the root.
    pub(super) path: String,
    pub(super) place: Place,
    table: BTreeMap<String, Tree>,
    known: Vec<&'static str>,
    pub(super) faults: &'f mut Faults,
}

/// A value that was taken, with what an error about it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) key: String,
}

impl<'f> Section<'f> {
    pub(super) fn root(tree: Tree, faults: &'f mut Faults) -> Self {
        Self::of(tree, String::new(), faults)
    }

    fn of(tree: Tree, path: String, faults: &'f mut Faults) -> Self {
        let place = tree.place.clone();
        let table = match tree.kind {
            Kind::Table(table) => table,
            _ => {
                faults.add(&place, path.clone(), format!("must be a section, not {}", tree.describe()));
                BTreeMap::new()
            }
        };
        Self { path, place, table, known: Vec::new(), faults }
    }

    /// The dotted name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Tree> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// A fault of this section's `key`, at the section's place.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        let key = self.key(key);
        self.faults.add(&self.place, key, message);
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Taken<String>> {
        let tree = self.take(key)?;
        self.text_of(tree, self.key(key))
    }

    fn text_of(&mut self, tree: Tree, key: String) -> Option<Taken<String>> {
        match tree.kind {
            Kind::Text(value) | Kind::Raw(value) => Some(Taken { value, place: tree.place, key }),
            _ => {
                self.faults.add(
                    &tree.place,
                    key,
                    format!("must be a text in quotes, not {}", tree.describe()),
                );
                None
            }
        }
    }

    /// A text that `read` turns into a value.
    pub(super) fn read<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Taken<T>> {
        self.read_as(key, |text| read(text).map_err(|why| format!("`{text}`: {}", why.to_string())))
    }

    /// As [`Section::read`], for what must not be repeated in an error: hashes and what holds a password.
    pub(super) fn read_secret<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Taken<T>> {
        self.read_as(key, |text| read(text).map_err(|why| why.to_string()))
    }

    /// As [`Section::read`], for what must be there.
    pub(super) fn read_needed<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Taken<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.fault(key, "is needed");
        }
        self.read(key, read)
    }

    /// As [`Section::read_secret`], for what must be there.
    pub(super) fn read_needed_secret<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Taken<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.fault(key, "is needed");
        }
        self.read_secret(key, read)
    }

    fn read_as<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Taken<T>> {
        let Taken { value, place, key } = self.text(key)?;
        match read(&value) {
            Ok(value) => Some(Taken { value, place, key }),
            Err(why) => {
                self.faults.add(&place, key, why);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let of = |text: &str| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("must be {}", words.join(" or "))
            })
        };
        Some(self.read(key, of)?.value)
    }

    /// A whole number in `range`.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<Taken<u32>> {
        let tree = self.take(key)?;
        let name = self.key(key);
        let value = match &tree.kind {
            Kind::Number(value) => Some(*value),
            Kind::Raw(text) => text.trim().parse::<i64>().ok(),
            _ => None,
        };
        let fits = value.and_then(|value| u32::try_from(value).ok()).filter(|value| range.contains(value));
        if let Some(value) = fits {
            return Some(Taken { value, place: tree.place, key: name });
        }
        let found = value.map_or_else(|| tree.describe().to_owned(), |value| value.to_string());
        let wanted = format!("must be a whole number from {} to {}, not {found}", range.start(), range.end());
        self.faults.add(&tree.place, name, wanted);
        None
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let tree = self.take(key)?;
        match &tree.kind {
            Kind::Flag(value) => return Some(*value),
            Kind::Raw(text) if text == "true" => return Some(true),
            Kind::Raw(text) if text == "false" => return Some(false),
            _ => {}
        }
        let name = self.key(key);
        self.faults.add(&tree.place, name, format!("must be true or false, not {}", tree.describe()));
        None
    }

    /// A list of texts; from the environment separated by commas.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Taken<String>>> {
        let tree = self.take(key)?;
        let name = self.key(key);
        match tree.kind {
            Kind::List(items) => {
                let named = items.into_iter().enumerate().map(|(at, item)| (item, format!("{name}[{at}]")));
                let named: Vec<_> = named.collect();
                Some(named.into_iter().filter_map(|(item, name)| self.text_of(item, name)).collect())
            }
            Kind::Raw(text) => {
                let place = tree.place;
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let taken =
                    |item: &str| Taken { value: item.to_owned(), place: place.clone(), key: name.clone() };
                Some(items.map(taken).collect())
            }
            _ => {
                self.faults.add(&tree.place, name, format!("must be a list in [ ], not {}", tree.describe()));
                None
            }
        }
    }

    /// A list of texts, each turned into a value by `read`; the bad ones are faults and left out.
    pub(super) fn read_all<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Taken<T>>> {
        let mut all = Vec::new();
        for Taken { value, place, key } in self.texts(key)? {
            match read(&value) {
                Ok(value) => all.push(Taken { value, place, key }),
                Err(why) => self.faults.add(&place, key, format!("`{value}`: {}", why.to_string())),
            }
        }
        Some(all)
    }

    /// As [`Section::read_all`], of a list or of one text that stands for a list of one.
    pub(super) fn read_some<T, E: ToString>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Taken<T>>> {
        match self.table.get(key).map(|tree| &tree.kind) {
            Some(Kind::Text(_)) => Some(self.read(key, read).into_iter().collect()),
            _ => self.read_all(key, read),
        }
    }

    /// A table inside this one, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'_>> {
        let tree = self.take(key)?;
        let path = self.key(key);
        Some(Section::of(tree, path, self.faults))
    }

    /// A table inside this one; an empty one where it is missing.
    pub(super) fn section_or_empty(&mut self, key: &'static str) -> Section<'_> {
        let empty = Tree { place: self.place.clone(), kind: Kind::Table(BTreeMap::new()) };
        let tree = self.take(key).unwrap_or(empty);
        let path = self.key(key);
        Section::of(tree, path, self.faults)
    }

    /// Each table of a list of tables.
    pub(super) fn each(&mut self, key: &'static str, mut visit: impl FnMut(Section<'_>)) {
        let Some(tree) = self.take(key) else { return };
        let name = self.key(key);
        match tree.kind {
            Kind::List(items) => {
                for (at, item) in items.into_iter().enumerate() {
                    visit(Section::of(item, format!("{name}[{at}]"), self.faults));
                }
            }
            _ => self.faults.add(
                &tree.place,
                name.clone(),
                format!("must be written [[{name}]], each on its own"),
            ),
        }
    }

    /// What the tables of a list of tables hold, of which `most` are possible; those with faults are left out.
    pub(super) fn each_of<T>(
        &mut self,
        key: &'static str,
        most: usize,
        read: impl Fn(Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let (mut all, mut count) = (Vec::new(), 0);
        self.each(key, |section| {
            count += 1;
            all.extend(read(section));
        });
        if count > most {
            self.fault(key, format!("at most {most} are possible"));
        }
        all
    }

    /// The word of a key that must be there.
    pub(super) fn choice_needed<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "is needed");
        }
        self.choice(key, words)
    }

    /// Whether a key is there; does not take it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports the keys that nobody took.
    pub(super) fn finish(mut self) {
        for (key, tree) in std::mem::take(&mut self.table) {
            let near = self.known.iter().find(|known| is_near(known, &key));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let name = self.key(&key);
            self.faults.add(&tree.place, name, format!("unknown key{hint}"));
        }
    }
}

fn dotted(path: &[String]) -> String {
    path.join(".")
}

/// Whether two keys differ by one slip of the finger: one letter more, less, other, or two swapped.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 1 || a.len().min(b.len()) < 3 {
        return false;
    }
    let ahead = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (longer, wrong) = (a.len().max(b.len()), a.len().max(b.len()).saturating_sub(ahead + behind));
    wrong <= 1
        || (wrong == 2
            && a.len() == b.len()
            && ahead + 1 < longer
            && a.get(ahead) == b.get(ahead + 1)
            && a.get(ahead + 1) == b.get(ahead))
}

/// Turns byte offsets into lines.
struct Lines<'t> {
    file: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &str, file: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        Place::Line { file: self.file.to_owned(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }

    fn fill(&self, table: &mut BTreeMap<String, Tree>, from: &DeTable<'_>) {
        for (key, value) in from {
            table.insert(key.get_ref().to_string(), self.tree(value, key.span().start));
        }
    }

    /// `at` is the place of the key: where a reader looks for the fault.
    fn tree(&self, value: &Spanned<DeValue<'_>>, at: usize) -> Tree {
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                i64::from_str_radix(&digits, number.radix())
                    .map_or(Kind::Odd("a number too large"), Kind::Number)
            }
            DeValue::Boolean(flag) => Kind::Flag(*flag),
            DeValue::Float(_) => Kind::Odd("a number with decimals"),
            DeValue::Datetime(_) => Kind::Odd("a date"),
            DeValue::Array(items) => {
                Kind::List(items.iter().map(|item| self.tree(item, item.span().start)).collect())
            }
            DeValue::Table(inner) => {
                let mut table = BTreeMap::new();
                self.fill(&mut table, inner);
                Kind::Table(table)
            }
        };
        Tree { place: self.place(at), kind }
    }
}
