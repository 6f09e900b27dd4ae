//! `[[user]]` and their devices.

use std::collections::BTreeMap;
use std::time::Duration;

use super::resolved::{Auth, Trunk};
use super::sections::{algorithms, name};
use super::tree::{Faults, Section, Taken};
use super::{Secret, Source, trunks, values};
use crate::registrar::Pbx;
use crate::registrar::accounts::{
    Account, Accounts, Device, Origin, PhcString, Pull, Tenure, Trust, check_extension,
};
use crate::sip::digest::{Algorithm, Ha1s};

/// Most devices of a user.
const MAX_DEVICES: usize = 32;

pub(super) fn read(root: &mut Section<'_>, source: &Source<'_>, auth: &Auth) -> Vec<Taken<Account>> {
    let mut all: Vec<Taken<Account>> = Vec::new();
    let mut known = Accounts::default();
    root.each("user", |section| {
        let (place, path) = (section.place.clone(), section.path.clone());
        let Some((account, section)) = user(section, source, auth) else { return };
        // Names, extensions and digest identities are unique in the node: the accounts themselves say so.
        if let Some(twin) = all.iter().find(|other| other.value.name == account.name) {
            let why = format!("name `{}` is already used by {}", account.name, twin.key);
            section.faults.add(&place, path.clone(), why);
        } else if let Err(error) = known.put(account.clone()) {
            section.faults.add(&place, path.clone(), error.to_string());
        }
        section.finish();
        all.push(Taken { value: account, place, key: path });
    });
    all
}

fn user<'f>(mut section: Section<'f>, source: &Source<'_>, auth: &Auth) -> Option<(Account, Section<'f>)> {
    let name = section.read_needed("name", name).map(|taken| taken.value);
    let display = section.read("display", display).map(|taken| taken.value);
    let extension = section
        .read("extension", |text| check_extension(text).map(|()| text.into()))
        .map(|taken| taken.value);
    let algorithms = if section.has("algorithms") { algorithms(&mut section) } else { None };
    let login = section.read_secret("login", PhcString::parse).map(|taken| taken.value);
    let admin = section.flag("admin").unwrap_or(false);
    let pin = section.read_secret("pin", PhcString::parse).map(|taken| taken.value);
    let hold_off = section.number("hold_off_s", 0..=86_400).map(|t| Duration::from_secs(t.value.into()));
    let watchers = section.read_all("watchers", super::sections::name).unwrap_or_default();
    let offered = algorithms.clone().unwrap_or_else(|| auth.algorithms.clone());
    let mut devices = Vec::new();
    section.each("device", |section| devices.extend(device(section, source, auth, &offered)));
    let pbx = section.section("pbx").map(|section| pbx(section, source));
    if devices.len() > MAX_DEVICES {
        section.fault("device", format!("at most {MAX_DEVICES} are possible"));
    }
    let Some(name) = name else {
        section.finish();
        return None;
    };
    let account = Account {
        name,
        display,
        extension,
        algorithms: algorithms.unwrap_or_default(),
        login,
        admin,
        pin,
        hold_off,
        watchers: watchers.into_iter().map(|taken| taken.value).collect(),
        devices,
        pbx: pbx.flatten(),
        origin: Origin::File,
    };
    Some((account, section))
}

fn device(
    mut section: Section<'_>,
    source: &Source<'_>,
    auth: &Auth,
    offered: &[Algorithm],
) -> Option<Device> {
    let id = section.read_needed("id", name).map(|taken| taken.value);
    let auth_user = section.read_needed("auth_user", name).map(|taken| taken.value);
    let trust = section.choice("trust", &[("personal", Trust::Personal), ("shared", Trust::Shared)]);
    let auto_answer = section.flag("auto_answer");
    let pull = section.choice("pull", &[("direct", Pull::Direct), ("redirect", Pull::Redirect)]);
    if pull == Some(Pull::Redirect) && trust == Some(Trust::Shared) {
        section
            .fault("pull", "`redirect` is for personal devices: a shared one is asked for extension and PIN");
    }
    let ha1 = credentials(&mut section, source, auth_user.as_deref().unwrap_or(""), &auth.realm);
    if let Some(ha1) = &ha1 {
        let missing = offered.iter().find(|algorithm| match algorithm {
            Algorithm::Md5 => ha1.md5.is_none(),
            Algorithm::Sha256 => ha1.sha256.is_none(),
            Algorithm::Sha512_256 => ha1.sha512_256.is_none(),
        });
        if let Some(missing) = missing {
            let why = format!("has no hash for {}, which is offered to this user", missing.as_str());
            section.fault("ha1", why);
        }
    }
    section.finish();
    Some(Device {
        id: id?,
        auth_user: auth_user?,
        ha1: ha1?,
        trust: trust.unwrap_or(Trust::Personal),
        auto_answer: auto_answer.unwrap_or(false),
        pull: pull.unwrap_or_default(),
        tenure: Tenure::Kept,
    })
}

/// `[user.pbx]`; whether there is such a trunk is seen when all are read.
fn pbx(mut section: Section<'_>, source: &Source<'_>) -> Option<Pbx> {
    let trunk = section.read_needed("trunk", name).map(|taken| taken.value);
    let user = section.read_needed("user", trunks::printable).map(|taken| taken.value);
    let auth_user = section.read("auth_user", trunks::printable).map(|taken| taken.value);
    let realm = section.read("realm", trunks::printable).map(|taken| taken.value);
    if section.has("password") == section.has("password_file") {
        section.fault("password", "one of password and password_file is needed");
    }
    let password = secret(&mut section, source);
    section.finish();
    let user = user?;
    let auth_user = auth_user.unwrap_or_else(|| user.clone());
    Some(Pbx { trunk: trunk?, user, auth_user, password: Secret::new(password?), realm })
}

/// What users behind a PBX need of the trunks: theirs is there, and one registration there is one user's.
pub(super) fn check_pbx(accounts: &[Taken<Account>], trunks: &[Taken<Trunk>], faults: &mut Faults) {
    let mut known: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for Taken { value: account, place, key } in accounts {
        let Some(pbx) = &account.pbx else { continue };
        if trunks.iter().all(|trunk| trunk.value.name != pbx.trunk) {
            faults.add(place, format!("{key}.pbx.trunk"), "there is no such trunk".to_owned());
        }
        if let Some(other) = known.insert((&pbx.trunk, &pbx.user), &account.name) {
            let why = format!("`{}` at {} is {other} already", pbx.user, pbx.trunk);
            faults.add(place, format!("{key}.pbx.user"), why);
        }
    }
}

/// One of `ha1`, `password` and `password_file`.
fn credentials(section: &mut Section<'_>, source: &Source<'_>, user: &str, realm: &str) -> Option<Ha1s> {
    let ways = ["ha1", "password", "password_file"];
    let given = ways.iter().filter(|way| section.has(way)).count();
    if given != 1 {
        section.fault("ha1", "one of ha1, password and password_file is needed");
    }
    let stored = section.section("ha1").map(ha1);
    let plain = secret(section, source);
    if given != 1 {
        return None;
    }
    if stored == Some(None) {
        section.fault("ha1", "holds no usable hash: md5, sha256 or sha512_256 is needed");
    }
    stored.flatten().or_else(|| plain.map(|password| Ha1s::from_password(user, realm, &password)))
}

/// `password`, or the content of `password_file`.
pub(super) fn secret(section: &mut Section<'_>, source: &Source<'_>) -> Option<String> {
    let plain = section.text("password");
    if let Some(Taken { value, place, key }) = &plain
        && let Err(why) = usable(value)
    {
        section.faults.add(place, key.clone(), why);
        return None;
    }
    let file = section.read("password_file", |path| {
        let line = first_line(source, path)?;
        usable(&line).map(|()| line).map_err(|why| format!("the file's first line {why}"))
    });
    plain.or(file).map(|taken| taken.value)
}

/// The first line of a file that holds a secret.
pub(super) fn first_line(source: &Source<'_>, path: &str) -> Result<String, String> {
    let content = (source.read)(&source.beside(path)).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(content.lines().next().unwrap_or_default().to_owned())
}

/// The message names the key, never the value.
fn usable(password: &str) -> Result<(), &'static str> {
    if password.is_empty() || password.len() > 256 || password.chars().any(char::is_control) {
        return Err("is no password: 1 to 256 characters are needed");
    }
    Ok(())
}

fn ha1(mut section: Section<'_>) -> Option<Ha1s> {
    let ha1 = Ha1s {
        md5: section.read_secret("md5", values::hex).map(|taken| taken.value),
        sha256: section.read_secret("sha256", values::hex).map(|taken| taken.value),
        sha512_256: section.read_secret("sha512_256", values::hex).map(|taken| taken.value),
    };
    section.finish();
    (ha1 != Ha1s::default()).then_some(ha1)
}

fn display(text: &str) -> Result<Box<str>, &'static str> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err("1 to 128 characters without controls are needed");
    }
    Ok(text.into())
}
