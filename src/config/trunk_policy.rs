//! Of `[[trunk]]`: how its calls are treated.

use std::sync::Arc;

use super::tree::Section;
use super::{numbers, trunk_headers};
use crate::call::diversion::Tells;
use crate::call::headers::Trust;
use crate::call::identity::Shows;
use crate::call::policy::{Policy, ReInvite};
use crate::call::session_timer::{By, MAX_SE, MIN_SE, Mode, Refresher, Terms};
use crate::media::permitted::{Named, Permitted};

/// Words of `identity`.
const SHOWS: [(&str, Shows); 4] =
    [("pai", Shows::Asserted), ("rpid", Shows::RemoteParty), ("from", Shows::From), ("none", Shows::Nobody)];
/// Words of `diversion`.
const TELLS: [(&str, Tells); 5] = [
    ("keep", Tells::Keep),
    ("diversion", Tells::Diversion),
    ("history-info", Tells::HistoryInfo),
    ("both", Tells::Both),
    ("none", Tells::Nothing),
];
/// Words of `early_media`: whether callers hear nothing of it.
const EARLY_MEDIA: [(&str, bool); 2] = [("pass", false), ("block", true)];
/// Words of `re_invite`.
const RE_INVITES: [(&str, ReInvite); 3] =
    [("when-needed", ReInvite::WhenNeeded), ("always", ReInvite::Always), ("never", ReInvite::Never)];
/// Words of `session_timer.mode`.
const MODES: [(&str, Mode); 3] = [("ask", Mode::Ask), ("accept", Mode::Accept), ("off", Mode::Off)];
/// Words of `session_timer.refresher`.
const REFRESHERS: [(&str, Option<Refresher>); 3] =
    [("auto", None), ("us", Some(Refresher::Us)), ("them", Some(Refresher::Them))];
/// Codecs of a trunk.
const MAX_CODECS: usize = 32;

pub(super) fn read(section: &mut Section<'_>) -> Policy {
    Policy {
        max_calls: section.number("max_calls", 0..=1_000_000).map(|taken| taken.value),
        max_cps: section.number("max_cps", 1..=100_000).map(|taken| taken.value),
        may_refer: section.flag("refer").unwrap_or(false),
        may_notify: section.flag("mwi").unwrap_or(true),
        trust: section.flag("trusted").map_or(Trust::Trusted, trust_if),
        shows: section.choice("identity", &SHOWS).unwrap_or_default(),
        tells: section.choice("diversion", &TELLS).unwrap_or_default(),
        is_mute_early: section.choice("early_media", &EARLY_MEDIA).unwrap_or(false),
        codecs: codecs(section),
        re_invite: section.choice("re_invite", &RE_INVITES),
        session: session_timer(section),
        headers: trunk_headers::read(section),
        rewrites: numbers::rewrites(section),
        caller_id: numbers::caller_id(section),
    }
}

const fn trust_if(is_trusted: bool) -> Trust {
    if is_trusted { Trust::Trusted } else { Trust::Untrusted }
}

/// `session_timer`.
fn session_timer(section: &mut Section<'_>) -> Terms {
    let default = Terms::default();
    let Some(mut inner) = section.section("session_timer") else { return default };
    let mode = inner.choice("mode", &MODES);
    let given = inner.number("expires_s", MIN_SE..=MAX_SE).map(|taken| taken.value);
    let min = inner.number("min_s", MIN_SE..=MAX_SE).map_or(default.min, |taken| taken.value);
    let refresher = inner.choice("refresher", &REFRESHERS);
    let by = inner.choice("refresh", &[("update", By::Update), ("re-invite", By::Reinvite)]);
    if let Some(expires) = given.filter(|expires| *expires < min) {
        inner.fault("expires_s", format!("{expires} is shorter than min_s, which is {min}"));
    }
    inner.finish();
    Terms {
        mode: mode.unwrap_or(default.mode),
        expires: given.unwrap_or(default.expires).max(min),
        min,
        refresher: refresher.unwrap_or(default.refresher),
        by: by.unwrap_or(default.by),
    }
}

/// `codecs`, best first.
fn codecs(section: &mut Section<'_>) -> Option<Arc<Permitted>> {
    let before = section.faults.0.len();
    let named = section.read_all("codecs", Named::parse)?;
    if named.is_empty() && section.faults.0.len() == before {
        section.fault("codecs", "names none; where any will do it is left out");
    }
    if named.len() > MAX_CODECS {
        section.fault("codecs", format!("at most {MAX_CODECS} are possible"));
    }
    for (at, taken) in named.iter().enumerate() {
        let earlier = named.get(..at).unwrap_or_default();
        if let Some(twin) = earlier.iter().find(|twin| twin.value.covers(&taken.value)) {
            let why = format!("`{}`: is there already, as {}", taken.value, twin.value);
            section.faults.add(&taken.place, taken.key.clone(), why);
        }
    }
    Permitted::new(named.into_iter().map(|taken| taken.value)).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Resolved, Source};
    use super::*;

    fn resolve(lines: &str) -> Result<Resolved, String> {
        let text = format!(
            "[node]\ndomain = \"a.example\"\n[[trunk]]\nname = \"carrier\"\nuri = \"sip:192.0.2.1\"\n{lines}"
        );
        let path = Path::new("segue.toml");
        let source =
            Source { path, text: &text, variables: &[], hostname: "host", read: &|_| Ok(String::new()) };
        source.resolve().map_err(|errors| errors.to_string())
    }

    fn policy(lines: &str) -> Policy {
        resolve(lines).unwrap().trunks[0].policy.clone()
    }

    #[test]
    fn what_is_left_out_is_as_for_everybody() {
        let plain = policy("");
        assert_eq!((plain.codecs, plain.session, plain.re_invite), (None, Terms::default(), None));
        let shown = |lines: &str| policy(lines).codecs.unwrap().to_string();
        assert_eq!(shown("codecs = [\"pcma\", \"OPUS\", \"X-A/16000\"]"), "PCMA, opus, X-A/16000");
        let session = |lines: &str| policy(&format!("session_timer = {{ {lines} }}")).session;
        assert_eq!(session("mode = \"off\"").mode, Mode::Off);
        // Whoever wants no shorter ones asks for none.
        assert_eq!((session("min_s = 3600").expires, session("expires_s = 90").expires), (3600, 90));
        let all = session("mode = \"accept\", refresher = \"them\", refresh = \"re-invite\"");
        assert_eq!((all.mode, all.refresher, all.by), (Mode::Accept, Some(Refresher::Them), By::Reinvite));
        assert_eq!(policy("re_invite = \"never\"").re_invite, Some(ReInvite::Never));
    }

    #[test]
    fn a_fault_is_told_with_its_line_and_what_would_do() {
        for (lines, told) in [
            (
                "codecs = [\"PCAM\"]",
                "segue.toml:6: trunk[0].codecs[0]: `PCAM`: is not a name that is registered",
            ),
            (
                "codecs = [\n\"PCMA\",\n\"G 729\"]",
                "segue.toml:8: trunk[0].codecs[1]: `G 729`: is written NAME",
            ),
            ("codecs = [\"PCMA\", \"pcma/8000\"]", "`PCMA/8000`: is there already, as PCMA"),
            ("codecs = []", "trunk[0].codecs: names none"),
            ("codecs = [\"telephone-event\"]", "goes along with the codecs"),
            (
                "codecs = [\"PCMA\"]\n[media]\nanchor = \"never\"",
                "trunk[0].codecs: needs media.anchor = \"always\"",
            ),
            (
                "re_invite = \"never\"\n[media]\nanchor = \"when-needed\"",
                "trunk[0].re_invite: never needs media.anchor",
            ),
            ("re_invite = \"no\"", "must be when-needed or always or never"),
            (
                "session_timer = { min_s = 60 }",
                "trunk[0].session_timer.min_s: must be a whole number from 90",
            ),
            (
                "session_timer = { expires_s = 200, min_s = 300 }",
                "expires_s: 200 is shorter than min_s, which is 300",
            ),
            ("session_timer = { mode = \"none\" }", "must be ask or accept or off"),
            ("session_timer = \"off\"", "trunk[0].session_timer: must be a section, not a text"),
        ] {
            let faults = resolve(lines).expect_err(lines);
            assert!(faults.contains(told), "{lines}: {faults}");
        }
    }
}
