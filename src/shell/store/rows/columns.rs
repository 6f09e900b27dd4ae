//! Between the types of the engine and those of SQLite: numbers, times, words and lists.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::fault::Fault;
use crate::base::{Redacted, UnixMillis};
use crate::engine::view::{Listed, PAGE_MAX, Page, PageQuery, Time};

/// A number as SQLite has it, signed; what does not fit is the greatest.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as milliseconds.
pub(super) fn ms(time: UnixMillis) -> i64 {
    int(time.0)
}

/// The word that `value` is in JSON.
pub(super) fn word(value: &impl Serialize) -> Result<String, Fault> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) => Err(Fault::of_the_value("not a word")),
        Err(error) => Err(Fault::of_the_value(error)),
    }
}

/// `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(Fault::of_the_value)
}

/// Runs a statement that is kept ready.
pub(super) fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<usize, Fault> {
    Ok(connection.prepare_cached(sql)?.execute(values)?)
}

/// Reads columns by name.
pub(super) trait Columns {
    /// A number that is not negative.
    fn uint(&self, name: &str) -> Result<u64, Error>;
    fn uint_or_null(&self, name: &str) -> Result<Option<u64>, Error>;
    fn at(&self, name: &str) -> Result<UnixMillis, Error>;
    fn at_or_null(&self, name: &str) -> Result<Option<UnixMillis>, Error>;
    /// A value that is a word in JSON.
    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error>;
    fn word_or_null<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error>;
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error>;
}

impl Columns for Row<'_> {
    fn uint(&self, name: &str) -> Result<u64, Error> {
        u64::try_from(self.get::<_, i64>(name)?).map_err(|_| unreadable(name))
    }

    fn uint_or_null(&self, name: &str) -> Result<Option<u64>, Error> {
        let number = self.get::<_, Option<i64>>(name)?;
        number.map(|number| u64::try_from(number).map_err(|_| unreadable(name))).transpose()
    }

    fn at(&self, name: &str) -> Result<UnixMillis, Error> {
        self.uint(name).map(UnixMillis)
    }

    fn at_or_null(&self, name: &str) -> Result<Option<UnixMillis>, Error> {
        Ok(self.uint_or_null(name)?.map(UnixMillis))
    }

    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        parse_word(name, self.get(name)?)
    }

    fn word_or_null<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        self.get::<_, Option<String>>(name)?.map(|text| parse_word(name, text)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let text: String = self.get(name)?;
        serde_json::from_str(&text).map_err(|_| unreadable(name))
    }
}

fn parse_word<T: DeserializeOwned>(name: &str, text: String) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|_| unreadable(name))
}

/// A column holds what is none of its type. Says which; never what it holds.
pub(super) fn unreadable(name: &str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, format!("column `{name}` is not readable").into())
}

/// A wall-clock time of a view.
pub(super) fn shown(time: Option<UnixMillis>) -> Option<Time> {
    time.map(Time)
}

/// Reads all rows. One that cannot be read is named by its first column and left out.
pub(super) fn readable<T>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(value) => found.push(value),
            Err(error) if error.sqlite_error_code().is_some() => return Err(error.into()),
            Err(error) => {
                let key: String = row.get(0).unwrap_or_default();
                let key = Redacted(&key);
                tracing::warn!(table, %key, %error, "a row of the store cannot be read and is left out");
            }
        }
    }
    Ok(found)
}

/// A part of a list in the order of descending ids. `select` ends before `WHERE`; its columns include `id`.
pub(super) fn page<T: Listed>(
    connection: &Connection,
    select: &str,
    user: Option<&str>,
    query: &PageQuery,
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Page<T>, Fault> {
    let limit = usize::from(query.limit.clamp(1, PAGE_MAX));
    let of_user = if user.is_some() { "user = ?1" } else { "?1 IS NULL" };
    let after = if query.cursor.is_some() { "id < ?2" } else { "?2 IS NULL" };
    let sql = format!("{select} WHERE {of_user} AND {after} ORDER BY id DESC LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows =
        statement.query_map((user, query.cursor.as_deref(), int(limit as u64 + 1)), |row| read(row))?;
    Ok(cut(rows.collect::<Result<_, Error>>()?, query))
}

/// A part of a list from its items and, where there is one, the next.
pub(super) fn cut<T: Listed>(mut items: Vec<T>, query: &PageQuery) -> Page<T> {
    let limit = usize::from(query.limit.clamp(1, PAGE_MAX));
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(Listed::key);
    Page { items, next }
}
