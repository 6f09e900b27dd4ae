//! What only shows when the sections are put together.

use super::Source;
use super::error::Place;
use super::resolved::Resolved;
use super::tree::Faults;
use crate::sip::Transport;

pub(super) fn whole(resolved: &Resolved, source: &Source<'_>, faults: &mut Faults) {
    let place = Place::Line { file: source.path.display().to_string(), line: 0 };
    codes(resolved, &place, faults);
    ports(resolved, &place, faults);
    extensions(resolved, &place, faults);
}

/// A dialled number must mean one thing: `*11` takes digits and `*` behind it, so nothing may begin with it.
fn codes(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    let moving = &resolved.moving;
    let mut codes = vec![("move.code", &moving.code), ("move.push_code", &moving.push_code)];
    codes.extend(moving.pickup_codes.iter().map(|code| ("move.pickup_codes", code)));
    codes.extend(resolved.test.echo.iter().map(|code| ("test.echo", code)));
    codes.extend(resolved.test.tone.iter().map(|code| ("test.tone", code)));
    for (at, (key, code)) in codes.iter().enumerate() {
        for (other, taken) in codes.iter().take(at) {
            if code.starts_with(&***taken) || taken.starts_with(&***code) {
                faults.add(place, *key, format!("`{code}` cannot be told from `{taken}` of {other}"));
            }
        }
    }
}

/// A listener in the media range would meet a call sooner or later.
fn ports(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    let (first, last) = resolved.media.ports;
    for (at, listen) in resolved.listens.iter().enumerate() {
        if listen.transport == Transport::Udp && (first..=last).contains(&listen.bind.port()) {
            let why = format!("port {} of listen[{at}] lies in this range", listen.bind.port());
            faults.add(place, "media.ports", why);
        }
        if listen.transport != Transport::Udp && listen.bind == resolved.http.bind {
            faults.add(place, "http.bind", format!("{} is taken by listen[{at}]", listen.bind));
        }
    }
}

/// Codes come before users: an extension that begins with one could not be dialled.
fn extensions(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    let moving = &resolved.moving;
    let mut codes: Vec<&str> = vec![&moving.code, &moving.push_code];
    codes.extend(moving.pickup_codes.iter().map(|code| &**code));
    codes.extend(resolved.test.echo.iter().chain(&resolved.test.tone).map(|code| &**code));
    for account in &resolved.accounts {
        for number in account.extension.iter().chain(std::iter::once(&account.name)) {
            if let Some(code) = codes.iter().find(|code| number.starts_with(**code)) {
                let why = format!("`{number}` of {} begins with the code `{code}`", account.name);
                faults.add(place, "user", why);
            }
        }
    }
}
