//! Accounts that were added at run time, with their devices.

use std::time::Duration;

use rusqlite::{Connection, Error, Row, named_params};

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, int, json, readable, unreadable, word};
use crate::engine::store::StoreReply;
use crate::registrar::accounts::{Account, Device, Origin, PhcString, Pull, Tenure};
use crate::sip::digest::{Algorithm, Ha1s};

/// Adds an account, or replaces the one of that name. On [`Conflict`](StoreReply::Conflict) nothing has changed.
pub(super) fn put(connection: &Connection, account: &Account) -> Result<StoreReply, Fault> {
    if is_taken(connection, account)? {
        return Ok(StoreReply::Conflict);
    }
    // The operation shares its transaction with others, which its failure must not undo.
    connection.execute_batch("SAVEPOINT account")?;
    let done = write(connection, account);
    if !connection.is_autocommit() {
        let end = if done.is_ok() { "RELEASE account" } else { "ROLLBACK TO account; RELEASE account" };
        connection.execute_batch(end)?;
    }
    match done {
        Ok(()) => Ok(StoreReply::Done),
        // Two devices of the account share a name.
        Err(fault) if fault.is_constraint() => Ok(StoreReply::Conflict),
        Err(fault) => Err(fault),
    }
}

pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), Fault> {
    execute(connection, "DELETE FROM accounts WHERE name = ?1", [name]).map(drop)
}

pub(super) fn load(connection: &Connection) -> Result<Vec<Account>, Fault> {
    let mut accounts = readable(connection, "accounts", "SELECT * FROM accounts ORDER BY name", read)?;
    let devices = readable(connection, "devices", "SELECT * FROM devices ORDER BY account, n", |row| {
        Ok((row.get::<_, Box<str>>("account")?, read_device(row)?))
    })?;
    for (account, device) in devices {
        if let Ok(at) = accounts.binary_search_by(|known| known.name.cmp(&account))
            && let Some(owner) = accounts.get_mut(at)
        {
            owner.devices.push(device);
        }
    }
    Ok(accounts)
}

/// Whether the name, the extension or a digest identity is another account's.
fn is_taken(connection: &Connection, account: &Account) -> Result<bool, Fault> {
    let mut others = connection
        .prepare_cached("SELECT 1 FROM accounts WHERE name <> ?1 AND (extension IN (?1, ?2) OR name = ?2)")?;
    if others.exists((&*account.name, account.extension.as_deref()))? {
        return Ok(true);
    }
    let mut others =
        connection.prepare_cached("SELECT 1 FROM devices WHERE auth_user = ?1 AND account <> ?2")?;
    for device in &account.devices {
        if others.exists((&*device.auth_user, &*account.name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn write(connection: &Connection, account: &Account) -> Result<(), Fault> {
    remove(connection, &account.name)?;
    let algorithms: Vec<&str> = account.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
    let hold_off = account.hold_off.map(|length| int(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)));
    let values = named_params! {
        ":name": &*account.name,
        ":display": account.display.as_deref(),
        ":extension": account.extension.as_deref(),
        ":algorithms": json(&algorithms)?,
        ":login": account.login.as_ref().map(PhcString::as_str),
        ":admin": account.admin,
        ":pin": account.pin.as_ref().map(PhcString::as_str),
        ":hold_off_ms": hold_off,
        ":watchers": json(&account.watchers)?,
    };
    execute(
        connection,
        "INSERT INTO accounts (name, display, extension, algorithms, login, admin, pin, hold_off_ms, watchers)
         VALUES (:name, :display, :extension, :algorithms, :login, :admin, :pin, :hold_off_ms, :watchers)",
        values,
    )?;
    for (n, device) in (0_i64..).zip(&account.devices) {
        write_device(connection, &account.name, n, device)?;
    }
    Ok(())
}

fn write_device(connection: &Connection, account: &str, n: i64, device: &Device) -> Result<(), Fault> {
    let values = named_params! {
        ":account": account,
        ":n": n,
        ":id": &*device.id,
        ":auth_user": &*device.auth_user,
        ":md5": device.ha1.md5.as_ref().map(<[u8; 16]>::as_slice),
        ":sha256": device.ha1.sha256.as_ref().map(<[u8; 32]>::as_slice),
        ":sha512_256": device.ha1.sha512_256.as_ref().map(<[u8; 32]>::as_slice),
        ":trust": word(&device.trust)?,
        ":auto_answer": device.auto_answer,
    };
    execute(
        connection,
        "INSERT INTO devices
         (account, n, id, auth_user, ha1_md5, ha1_sha256, ha1_sha512_256, trust, auto_answer)
         VALUES (:account, :n, :id, :auth_user, :md5, :sha256, :sha512_256, :trust, :auto_answer)",
        values,
    )
    .map(drop)
}

fn read(row: &Row<'_>) -> Result<Account, Error> {
    let phc = |name: &str| -> Result<Option<PhcString>, Error> {
        let text: Option<String> = row.get(name)?;
        text.map(|text| PhcString::parse(&text).map_err(|_| unreadable(name))).transpose()
    };
    let algorithms: Vec<String> = row.json("algorithms")?;
    let algorithms: Option<Vec<Algorithm>> =
        algorithms.iter().map(|token| Algorithm::from_token(token.as_bytes())).collect();
    Ok(Account {
        name: row.get("name")?,
        display: row.get("display")?,
        extension: row.get("extension")?,
        algorithms: algorithms.ok_or_else(|| unreadable("algorithms"))?,
        login: phc("login")?,
        admin: row.get("admin")?,
        pin: phc("pin")?,
        hold_off: row.uint_or_null("hold_off_ms")?.map(Duration::from_millis),
        watchers: row.json("watchers")?,
        devices: Vec::new(),
        // Written in the configuration file only.
        pbx: None,
        origin: Origin::Store,
    })
}

fn read_device(row: &Row<'_>) -> Result<Device, Error> {
    Ok(Device {
        id: row.get("id")?,
        auth_user: row.get("auth_user")?,
        ha1: Ha1s {
            md5: row.get("ha1_md5")?,
            sha256: row.get("ha1_sha256")?,
            sha512_256: row.get("ha1_sha512_256")?,
        },
        trust: row.word("trust")?,
        auto_answer: row.get("auto_answer")?,
        // Set in the configuration file only, and its accounts are not kept here.
        pull: Pull::Direct,
        tenure: Tenure::Kept,
    })
}
