//! Accounts as JSON. They hold what stands for passwords, so this form exists here alone and is never logged.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registrar::accounts::{Account, Device, Origin, PhcString, Trust};
use crate::sip::digest::{Algorithm, Ha1s};

#[derive(Serialize, Deserialize)]
struct AccountRow {
    name: String,
    display: Option<String>,
    extension: Option<String>,
    #[serde(default)]
    algorithms: Vec<String>,
    login: Option<String>,
    #[serde(default)]
    admin: bool,
    pin: Option<String>,
    hold_off_ms: Option<u64>,
    #[serde(default)]
    watchers: Vec<String>,
    devices: Vec<DeviceRow>,
}

#[derive(Serialize, Deserialize)]
struct DeviceRow {
    id: String,
    auth_user: String,
    md5: Option<String>,
    sha256: Option<String>,
    sha512_256: Option<String>,
    trust: Trust,
    #[serde(default)]
    auto_answer: bool,
}

pub(super) fn to_json(account: &Account) -> String {
    let text = |value: &str| value.to_owned();
    let row = AccountRow {
        name: text(&account.name),
        display: account.display.as_deref().map(text),
        extension: account.extension.as_deref().map(text),
        algorithms: account.algorithms.iter().map(|algorithm| text(algorithm.as_str())).collect(),
        login: account.login.as_ref().map(|hash| text(hash.as_str())),
        admin: account.admin,
        pin: account.pin.as_ref().map(|hash| text(hash.as_str())),
        hold_off_ms: account.hold_off.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
        watchers: account.watchers.iter().map(|name| text(name)).collect(),
        devices: account
            .devices
            .iter()
            .map(|device| DeviceRow {
                id: text(&device.id),
                auth_user: text(&device.auth_user),
                md5: device.ha1.md5.map(hex),
                sha256: device.ha1.sha256.map(hex),
                sha512_256: device.ha1.sha512_256.map(hex),
                trust: device.trust,
                auto_answer: device.auto_answer,
            })
            .collect(),
    };
    // Strings, numbers and vectors always have a JSON form.
    serde_json::to_string(&row).unwrap_or_default()
}

/// # Errors
/// What cannot be read, without a word of the secrets in it.
pub(super) fn from_json(text: &str) -> Result<Account, String> {
    // The reader's own message could quote what it read.
    let row: AccountRow = serde_json::from_str(text)
        .map_err(|error| format!("line {} column {}", error.line(), error.column()))?;
    let hash = |text: Option<String>| text.map(|text| PhcString::parse(&text)).transpose();
    let bad = |what: &str| format!("account {}: {what}", row.name);
    let algorithms = row.algorithms.iter().map(|name| Algorithm::from_token(name.as_bytes()));
    let algorithms = algorithms.collect::<Option<_>>().ok_or_else(|| bad("an algorithm is unknown"))?;
    let devices =
        row.devices.iter().map(device).collect::<Option<_>>().ok_or_else(|| bad("a hash is broken"))?;
    Ok(Account {
        login: hash(row.login.clone()).map_err(|why| bad(why))?,
        pin: hash(row.pin.clone()).map_err(|why| bad(why))?,
        algorithms,
        devices,
        name: row.name.into(),
        display: row.display.map(Into::into),
        extension: row.extension.map(Into::into),
        admin: row.admin,
        hold_off: row.hold_off_ms.map(Duration::from_millis),
        watchers: row.watchers.into_iter().map(Into::into).collect(),
        origin: Origin::Store,
    })
}

fn device(row: &DeviceRow) -> Option<Device> {
    Some(Device {
        id: row.id.as_str().into(),
        auth_user: row.auth_user.as_str().into(),
        ha1: Ha1s {
            md5: bytes(row.md5.as_deref())?,
            sha256: bytes(row.sha256.as_deref())?,
            sha512_256: bytes(row.sha512_256.as_deref())?,
        },
        trust: row.trust,
        auto_answer: row.auto_answer,
    })
}

fn hex<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().fold(String::with_capacity(2 * N), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `None` for what is no hash; `Some(None)` where there is none.
fn bytes<const N: usize>(text: Option<&str>) -> Option<Option<[u8; N]>> {
    let Some(text) = text else { return Some(None) };
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(Some(bytes))
}
