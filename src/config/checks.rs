//! What only shows when the sections are put together.

use super::Source;
use super::error::Place;
use super::resolved::{Anchor, Resolved};
use super::tree::Faults;
use crate::call::dial_plan::EMERGENCY;
use crate::call::policy::ReInvite;
use crate::moving::star_code::Codes;
use crate::sip::Transport;

pub(super) fn whole(resolved: &Resolved, source: &Source<'_>, faults: &mut Faults) {
    let place = Place::Line { file: source.path.display().to_string(), line: 0 };
    codes(resolved, &place, faults);
    ports(resolved, &place, faults);
    extensions(resolved, &place, faults);
    anchored(resolved, &place, faults);
}

/// A dialled number must mean one thing: `*11` takes digits and `*` behind it, so nothing may begin with it.
fn codes(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    let codes = all_codes(&resolved.moving.codes);
    for (at, (key, code)) in codes.iter().enumerate() {
        if let Some(number) = EMERGENCY.iter().find(|number| number.starts_with(code)) {
            faults.add(place, *key, format!("`{code}` would take calls to the emergency number {number}"));
        }
        for (other, taken) in codes.iter().take(at) {
            if code.starts_with(taken) || taken.starts_with(code) {
                faults.add(place, *key, format!("`{code}` cannot be told from `{taken}` of {other}"));
            }
        }
    }
}

/// Whether a code can be told from all others.
pub(super) fn is_free(codes: &Codes, code: &str) -> bool {
    all_codes(codes).iter().all(|(_, taken)| !code.starts_with(taken) && !taken.starts_with(code))
}

fn all_codes(codes: &Codes) -> Vec<(&'static str, &str)> {
    let mut all: Vec<(_, &str)> =
        vec![("move.code", &codes.pull), ("move.push_code", &codes.push), ("move.undo_code", &codes.undo)];
    all.extend(codes.sign_in.iter().map(|code| ("move.sign_in_code", &**code)));
    all.extend(codes.sign_out.iter().map(|code| ("move.sign_out_code", &**code)));
    all.extend(codes.pickup.iter().map(|code| ("move.pickup_codes", &**code)));
    all.extend(codes.echo.iter().map(|code| ("test.echo", &**code)));
    all.extend(codes.tone.iter().map(|code| ("test.tone", &**code)));
    all
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

/// What passes byte for byte is not edited.
fn anchored(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    if resolved.media.anchor == Anchor::Always {
        return;
    }
    for (at, trunk) in resolved.trunks.iter().enumerate() {
        let why = "needs media.anchor = \"always\": what is said of media that does not run through us is not edited";
        if trunk.policy.codecs.is_some() {
            faults.add(place, format!("trunk[{at}].codecs"), why);
        }
        if trunk.policy.re_invite == Some(ReInvite::Never) {
            let why =
                "never needs media.anchor = \"always\": only media that runs through us can be changed here";
            faults.add(place, format!("trunk[{at}].re_invite"), why);
        }
    }
}

/// Codes come before users: an extension that begins with one could not be dialled.
fn extensions(resolved: &Resolved, place: &Place, faults: &mut Faults) {
    let codes = all_codes(&resolved.moving.codes);
    for account in &resolved.accounts {
        for number in account.extension.iter().chain(std::iter::once(&account.name)) {
            if let Some((_, code)) = codes.iter().find(|(_, code)| number.starts_with(code)) {
                let why = format!("`{number}` of {} begins with the code `{code}`", account.name);
                faults.add(place, "user", why);
            }
        }
    }
}
