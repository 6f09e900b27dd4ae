//! Bindings: the rows of an address of record are replaced together.

use std::sync::Arc;

use rusqlite::{Connection, Error, Row, named_params};

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, json, ms, readable};
use crate::base::UnixMillis;
use crate::registrar::{SavedAor, SavedBinding};

pub(super) fn save(connection: &Connection, aor: &SavedAor) -> Result<(), Fault> {
    execute(connection, "DELETE FROM bindings WHERE user = ?1", [&*aor.user])?;
    for (n, binding) in (0_i64..).zip(&aor.bindings) {
        let path: Vec<&str> = binding.path.iter().map(|hop| &**hop).collect();
        let values = named_params! {
            ":user": &*aor.user,
            ":n": n,
            ":contact": &*binding.contact,
            ":instance": binding.instance.as_deref(),
            ":reg_id": binding.reg_id,
            ":q": binding.q,
            ":features": &*binding.features,
            ":expires": ms(binding.expires),
            ":registered": ms(binding.registered),
            ":call_id": &*binding.call_id,
            ":cseq": binding.cseq,
            ":transport": &*binding.transport,
            ":listener": binding.listener,
            ":peer": &*binding.peer,
            ":path": json(&path)?,
            ":user_agent": &*binding.user_agent,
            ":device": &*binding.device,
        };
        execute(
            connection,
            "INSERT INTO bindings (user, n, contact, instance, reg_id, q, features, expires, registered, call_id,
             cseq, transport, listener, peer, path, user_agent, device)
             VALUES (:user, :n, :contact, :instance, :reg_id, :q, :features, :expires, :registered, :call_id,
             :cseq, :transport, :listener, :peer, :path, :user_agent, :device)",
            values,
        )?;
    }
    Ok(())
}

pub(super) fn forget_expired(connection: &Connection, now: UnixMillis) -> Result<(), Fault> {
    execute(connection, "DELETE FROM bindings WHERE expires <= ?1", [ms(now)]).map(drop)
}

pub(super) fn load(connection: &Connection) -> Result<Vec<SavedAor>, Fault> {
    let rows = readable(connection, "bindings", "SELECT * FROM bindings ORDER BY user, n", |row| {
        Ok((row.get::<_, Arc<str>>("user")?, read(row)?))
    })?;
    let mut aors = Vec::<SavedAor>::new();
    for (user, binding) in rows {
        match aors.last_mut().filter(|aor| aor.user == user) {
            Some(aor) => aor.bindings.push(binding),
            None => aors.push(SavedAor { user, bindings: vec![binding] }),
        }
    }
    Ok(aors)
}

fn read(row: &Row<'_>) -> Result<SavedBinding, Error> {
    Ok(SavedBinding {
        contact: row.get("contact")?,
        instance: row.get("instance")?,
        reg_id: row.get("reg_id")?,
        q: row.get("q")?,
        features: row.get("features")?,
        expires: row.at("expires")?,
        registered: row.at("registered")?,
        call_id: row.get("call_id")?,
        cseq: row.get("cseq")?,
        transport: row.get("transport")?,
        listener: row.get("listener")?,
        peer: row.get("peer")?,
        path: row.json::<Vec<String>>("path")?.into_iter().map(Arc::from).collect(),
        user_agent: row.get("user_agent")?,
        device: row.get("device")?,
    })
}
