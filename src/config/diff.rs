//! What another configuration changes: told line by line, with what has to wait for a restart apart. A secret is never
//! told, only that it changed.
//!
//! Every table is taken apart field by field, so that a new key does not compile until somebody says what becomes of it.

use std::fmt::{Debug, Display};
use std::time::Duration;

use super::resolved::{Anchor, Auth, Ban, Http, Listen, Media, Node, Resolved, Trunk, TrunkAuth, Webhook};
use crate::call::headers::Trust;
use crate::call::numbers::CallerId;
use crate::call::policy::{Policy, ReInvite};
use crate::call::rules::Rule;
use crate::call::session_timer::{Refresher, Terms};
use crate::moving;
use crate::registrar::accounts::{Account, Device};
use crate::registrar::{self, Pbx};

/// What differs between the configuration that a node runs by and another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What can change while the node runs.
    pub changes: Vec<String>,
    /// What has to wait for a restart.
    pub restart: Vec<String>,
    /// Users that went, came or changed.
    pub users: Vec<Box<str>>,
}

impl Diff {
    /// From `old`, by which a node runs, to `new`.
    #[must_use]
    pub fn between(old: &Resolved, new: &Resolved) -> Self {
        let mut diff = Self::default();
        // Each of them is told of below.
        #[rustfmt::skip]
        let Resolved {
            node: _, listens: _, http: _, media: _, registrar: _, auth: _, moving: _, rescue: _, accounts: _, trunks: _,
            routes: _, groups: _, trace: _, dns: _, runs: _, quirks: _, webhooks: _, hep: _,
            cdr: _,
        } = old;
        bound(&mut diff.restart, old, new);
        let lines = &mut diff.changes;
        media(lines, &old.media, &new.media);
        registrar(lines, &old.registrar, &new.registrar);
        if old.auth.realm == new.auth.realm {
            auth(lines, &old.auth, &new.auth);
            diff.users = users(lines, &old.accounts, &new.accounts);
        } else if old.accounts != new.accounts {
            diff.restart.push("users: stay as they are, their passwords are of the new realm".to_owned());
        }
        moves(lines, &old.moving, &new.moving);
        say(lines, "move.rescue_s", &old.rescue, &new.rescue, seconds);
        trunks(lines, old, new);
        routes(lines, old, new);
        each(lines, &old.groups, &new.groups, |group| format!("group {}", group.name));
        let (patterns, others) = (format!("{:?}", old.quirks), format!("{:?}", new.quirks));
        if patterns != others {
            lines.push("quirk: changed".to_owned());
        }
        let room = |trace: &crate::engine::trace::Settings| (trace.bytes >> 20).to_string();
        let kept = |trace: &crate::engine::trace::Settings| seconds(&trace.age);
        if old.trace.bytes != new.trace.bytes {
            say(lines, "trace.memory_mb", &old.trace, &new.trace, room);
        }
        if old.trace.age != new.trace.age {
            say(lines, "trace.keep_s", &old.trace, &new.trace, kept);
        }
        say(lines, "dns.servers", &old.dns, &new.dns, list);
        let prefix = |runs: &Option<crate::call::run::Runs>| {
            or_none(runs.as_ref().map(|runs| or_none(runs.prefix.as_deref())))
        };
        say(lines, "test.runs, test.run_prefix", &old.runs, &new.runs, prefix);
        diff
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.restart.is_empty()
    }
}

impl Resolved {
    /// What a node that runs by `self` is to run by when it is given `new`: what needs a restart stays as it is.
    #[must_use]
    pub fn adopt(&self, new: Self) -> Self {
        let is_same_realm = self.auth.realm == new.auth.realm;
        let media = Media {
            timeout: new.media.timeout,
            learning: new.media.learning,
            transcode: new.media.transcode,
            ..self.media.clone()
        };
        let own = self.registrar.own.clone();
        Self {
            node: self.node.clone(),
            listens: self.listens.clone(),
            http: self.http.clone(),
            media,
            registrar: registrar::Settings { own, ..new.registrar },
            auth: if is_same_realm { new.auth } else { self.auth.clone() },
            accounts: if is_same_realm { new.accounts } else { self.accounts.clone() },
            webhooks: self.webhooks.clone(),
            hep: self.hep.clone(),
            cdr: self.cdr.clone(),
            ..new
        }
    }
}

/// What only a start can change.
fn bound(lines: &mut Vec<String>, old: &Resolved, new: &Resolved) {
    let Node { id, domain, aliases, data_dir, store } = &old.node;
    say(lines, "node.id", id, &new.node.id, plain);
    say(lines, "node.domain", domain, &new.node.domain, plain);
    say(lines, "node.aliases", aliases, &new.node.aliases, list);
    say(lines, "node.data_dir", data_dir, &new.node.data_dir, |path| path.display().to_string());
    if *store != new.node.store {
        lines.push("node.store: changed".to_owned());
    }
    let name = |listen: &Listen| format!("listen {}://{}", listen.transport.uri_token(), listen.bind);
    each(lines, &old.listens, &new.listens, name);
    let reached = (old.listens.len() == new.listens.len() && old.listens != new.listens)
        .then(|| old.listens.iter().zip(&new.listens).all(|(old, new)| name(old) == name(new)));
    if reached == Some(false) && lines.iter().all(|line| !line.starts_with("listen ")) {
        lines.push("listen: another order".to_owned());
    }
    let Http { bind, tls, origin, phone } = &old.http;
    say(lines, "http.bind", bind, &new.http.bind, plain);
    if *tls != new.http.tls {
        lines.push("http.cert, http.key: other files".to_owned());
    }
    say(lines, "http.origin", origin, &new.http.origin, option);
    say(lines, "http.phone", phone, &new.http.phone, option);
    bound_media(lines, &old.media, &new.media);
    say(lines, "auth.realm", &old.auth.realm, &new.auth.realm, plain);
    let name = |hook: &Webhook| format!("webhook {}", hook.name);
    each(lines, &old.webhooks, &new.webhooks, name);
    if old.hep != new.hep {
        lines.push("hep: changed".to_owned());
    }
    say(lines, "cdr.formats", &old.cdr, &new.cdr, |formats| format!("{formats:?}"));
    // A trunk over a transport that nobody listens on yet.
    let has = |resolved: &Resolved, transport| resolved.listens.iter().any(|l| l.transport == transport);
    for trunk in &new.trunks {
        let waits = |transport| !has(old, transport) && has(new, transport);
        if let Some(place) = trunk.places().find(|place| waits(place.transport)) {
            let transport = place.transport.uri_token();
            lines.push(format!("trunk {}: waits for the {transport} listener", trunk.name));
        }
        // What passes byte for byte until then is not edited.
        let Policy { codecs, re_invite, .. } = &trunk.policy;
        let waits = [("codecs", codecs.is_some()), ("re_invite", *re_invite == Some(ReInvite::Never))];
        for (key, _) in waits.iter().filter(|(_, edits)| *edits && old.media.anchor != Anchor::Always) {
            lines.push(format!("trunk {}: {key} waits for media.anchor", trunk.name));
        }
    }
}

fn bound_media(lines: &mut Vec<String>, old: &Media, new: &Media) {
    let Media { address, advertise, ports, web_port, anchor, srtp, io, threads, .. } = old;
    say(lines, "media.address", address, &new.address, plain);
    say(lines, "media.advertise", advertise, &new.advertise, option);
    say(lines, "media.ports", ports, &new.ports, |(first, last)| format!("{first}-{last}"));
    // Where it is not configured it follows the range.
    if *ports == new.ports {
        say(lines, "media.web_port", web_port, &new.web_port, |port| format!("{port:?}"));
    }
    say(lines, "media.anchor", anchor, &new.anchor, word);
    say(lines, "media.srtp", srtp, &new.srtp, word);
    say(lines, "media.io", io, &new.io, word);
    say(lines, "media.threads", threads, &new.threads, option);
}

fn media(lines: &mut Vec<String>, old: &Media, new: &Media) {
    // Those that are not used here are bound.
    #[rustfmt::skip]
    let Media {
        address: _, advertise: _, ports: _, web_port: _, anchor: _, timeout, srtp: _, learning, transcode, io: _, threads: _,
    } = old;
    let off = |timeout: &Option<Duration>| timeout.map_or_else(|| "0".to_owned(), |time| seconds(&time));
    say(lines, "media.timeout_s", timeout, &new.timeout, off);
    say(lines, "media.learning", learning, &new.learning, word);
    say(lines, "media.transcode", transcode, &new.transcode, plain);
}

fn registrar(lines: &mut Vec<String>, old: &registrar::Settings, new: &registrar::Settings) {
    let registrar::Settings { min_expires, max_expires, max_bindings, own: _ } = old;
    say(lines, "registrar.min_expires_s", min_expires, &new.min_expires, seconds);
    say(lines, "registrar.max_expires_s", max_expires, &new.max_expires, seconds);
    say(lines, "registrar.max_bindings", max_bindings, &new.max_bindings, plain);
}

fn auth(lines: &mut Vec<String>, old: &Auth, new: &Auth) {
    let Auth { realm: _, algorithms, ban } = old;
    let names = |all: &Vec<crate::sip::digest::Algorithm>| {
        all.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(", ")
    };
    say(lines, "auth.algorithms", algorithms, &new.algorithms, names);
    let Ban { failures, window, length, allow, strangers } = ban;
    say(lines, "auth.ban.failures", failures, &new.ban.failures, plain);
    say(lines, "auth.ban.window_s", window, &new.ban.window, seconds);
    say(lines, "auth.ban.ban_s", length, &new.ban.length, seconds);
    say(lines, "auth.ban.allow", allow, &new.ban.allow, networks);
    say(lines, "auth.ban.strangers_per_s", strangers, &new.ban.strangers, plain);
}

fn moves(lines: &mut Vec<String>, old: &moving::Settings, new: &moving::Settings) {
    #[rustfmt::skip]
    let moving::Settings {
        codes, replaces, re_invite, select, hold_off, hold_off_scope, rollback, notice, follow, hot_desk,
        hold,
    } = old;
    say(lines, "move.code", &codes.pull, &new.codes.pull, plain);
    say(lines, "move.push_code", &codes.push, &new.codes.push, plain);
    say(lines, "move.undo_code", &codes.undo, &new.codes.undo, plain);
    say(lines, "move.sign_in_code", &codes.sign_in, &new.codes.sign_in, option);
    say(lines, "move.sign_out_code", &codes.sign_out, &new.codes.sign_out, option);
    say(lines, "move.pickup_codes", &codes.pickup, &new.codes.pickup, list);
    say(lines, "move.replaces", replaces, &new.replaces, word);
    say(lines, "move.re_invite", re_invite, &new.re_invite, word);
    say(lines, "move.select", select, &new.select, word);
    say(lines, "move.hold_off_s", hold_off, &new.hold_off, seconds);
    say(lines, "move.hold_off_scope", hold_off_scope, &new.hold_off_scope, word);
    say(lines, "move.rollback_ms", rollback, &new.rollback, |time| time.as_millis().to_string());
    say(lines, "move.notice", notice, &new.notice, word);
    say(lines, "move.follow", follow, &new.follow, word);
    say(lines, "move.hot_desk_h", hot_desk, &new.hot_desk, |time| (time.as_secs() / 3600).to_string());
    say(lines, "move.hold", hold, &new.hold, word);
    say(lines, "test.echo", &codes.echo, &new.codes.echo, option);
    say(lines, "test.tone", &codes.tone, &new.codes.tone, option);
}

/// The names of those who are told of.
fn users(lines: &mut Vec<String>, old: &[Account], new: &[Account]) -> Vec<Box<str>> {
    let mut names = Vec::new();
    for before in old {
        let Some(after) = new.iter().find(|account| account.name == before.name) else {
            lines.push(format!("user {} removed", before.name));
            names.push(before.name.clone());
            continue;
        };
        if before != after {
            user(lines, before, after);
            names.push(before.name.clone());
        }
    }
    for added in new.iter().filter(|added| old.iter().all(|known| known.name != added.name)) {
        lines.push(format!("user {} added", added.name));
        names.push(added.name.clone());
    }
    names
}

fn user(lines: &mut Vec<String>, old: &Account, new: &Account) {
    #[rustfmt::skip]
    let Account {
        name, display, extension, algorithms, login, admin, pin, hold_off, watchers, devices, pbx, origin: _,
    } = old;
    let key = |field: &str| format!("user {name}: {field}");
    say(lines, &key("display"), display, &new.display, option);
    say(lines, &key("extension"), extension, &new.extension, option);
    let names = |all: &Vec<crate::sip::digest::Algorithm>| {
        let all: Vec<_> = all.iter().map(|algorithm| algorithm.as_str()).collect();
        if all.is_empty() { "those of auth".to_owned() } else { all.join(", ") }
    };
    say(lines, &key("algorithms"), algorithms, &new.algorithms, names);
    hide(lines, &key("login"), login != &new.login);
    say(lines, &key("admin"), admin, &new.admin, plain);
    hide(lines, &key("pin"), pin != &new.pin);
    let length = |length: &Option<Duration>| or_none(length.map(|length| seconds(&length)));
    say(lines, &key("hold_off_s"), hold_off, &new.hold_off, length);
    say(lines, &key("watchers"), watchers, &new.watchers, list);
    let at = |pbx: &Option<Pbx>| {
        pbx.as_ref().map(|Pbx { trunk, user, auth_user, password: _, realm }| {
            (trunk.clone(), user.clone(), auth_user.clone(), realm.clone())
        })
    };
    let (before, after) = (at(pbx), at(&new.pbx));
    say(lines, &key("pbx"), &before, &after, |at| {
        or_none(at.as_ref().map(|(trunk, user, auth_user, _)| format!("{user} at {trunk} as {auth_user}")))
    });
    hide(lines, &key("pbx.password"), before == after && *pbx != new.pbx);
    for before in devices {
        match new.device(&before.id) {
            None => lines.push(key(&format!("device {} removed", before.id))),
            Some(after) => device(lines, &key(&format!("device {}: ", before.id)), before, after),
        }
    }
    for added in new.devices.iter().filter(|added| old.device(&added.id).is_none()) {
        lines.push(key(&format!("device {} added", added.id)));
    }
}

fn device(lines: &mut Vec<String>, key: &str, old: &Device, new: &Device) {
    let Device { id: _, auth_user, ha1, trust, auto_answer, pull, tenure: _ } = old;
    say(lines, &format!("{key}auth_user"), auth_user, &new.auth_user, plain);
    // With the name its hash changes, too.
    hide(lines, &format!("{key}password"), *auth_user == new.auth_user && *ha1 != new.ha1);
    say(lines, &format!("{key}trust"), trust, &new.trust, word);
    say(lines, &format!("{key}auto_answer"), auto_answer, &new.auto_answer, plain);
    say(lines, &format!("{key}pull"), pull, &new.pull, word);
}

fn trunks(lines: &mut Vec<String>, old: &Resolved, new: &Resolved) {
    for before in &old.trunks {
        match new.trunks.iter().find(|trunk| trunk.name == before.name) {
            None => lines.push(format!("trunk {} removed", before.name)),
            Some(after) if before != after => trunk(lines, before, after),
            Some(_) => {}
        }
    }
    for added in new.trunks.iter().filter(|added| old.trunks.iter().all(|known| known.name != added.name)) {
        lines.push(format!("trunk {} added", added.name));
    }
}

fn trunk(lines: &mut Vec<String>, old: &Trunk, new: &Trunk) {
    #[rustfmt::skip]
    let Trunk {
        name, uri, host: _, transport: _, also, share, ca, from, auth, register, ping, policy: before,
    } = old;
    let key = |field: &str| format!("trunk {name}: {field}");
    let places = |also: &Vec<super::Site>| also.iter().map(|site| &*site.uri).collect::<Vec<_>>().join(", ");
    say(lines, &key("uri"), uri, &new.uri, plain);
    say(lines, &key("also"), also, &new.also, |also| format!("[{}]", places(also)));
    say(lines, &key("share"), share, &new.share, plain);
    say(lines, &key("ca"), ca, &new.ca, |ca| or_none(ca.as_ref().map(|ca| ca.display().to_string())));
    say(lines, &key("from"), from, &new.from, networks);
    let account = |auth: &Option<TrunkAuth>| {
        auth.as_ref().map(|TrunkAuth { user, password: _, realm }| (user.clone(), realm.clone()))
    };
    let (own, other) = (account(auth), account(&new.auth));
    let shown = |account: &Option<(Box<str>, Option<Box<str>>)>| {
        or_none(account.as_ref().map(|(user, realm)| match realm {
            Some(realm) => format!("{user} in {realm}"),
            None => user.to_string(),
        }))
    };
    say(lines, &key("auth"), &own, &other, shown);
    hide(lines, &key("password"), own == other && *auth != new.auth);
    say(lines, &key("register"), register, &new.register, plain);
    let every = |ping: &Option<Duration>| ping.map_or_else(|| "0".to_owned(), |every| seconds(&every));
    say(lines, &key("ping_s"), ping, &new.ping, every);
    policy(lines, name, before, &new.policy);
}

fn policy(lines: &mut Vec<String>, name: &str, old: &Policy, new: &Policy) {
    #[rustfmt::skip]
    let Policy {
        max_calls, max_cps, may_refer, may_notify, trust, shows, tells, is_mute_early, codecs, re_invite, session, headers, rewrites,
        caller_id,
    } = old;
    let key = |field: &str| format!("trunk {name}: {field}");
    say(lines, &key("max_calls"), max_calls, &new.max_calls, option);
    say(lines, &key("max_cps"), max_cps, &new.max_cps, option);
    say(lines, &key("refer"), may_refer, &new.may_refer, plain);
    say(lines, &key("mwi"), may_notify, &new.may_notify, plain);
    let is_trusted = |trust: &Trust| (*trust == Trust::Trusted).to_string();
    say(lines, &key("trusted"), trust, &new.trust, is_trusted);
    say(lines, &key("identity"), shows, &new.shows, |shows| shows.as_str().to_owned());
    let early = |is_mute: &bool| if *is_mute { "block" } else { "pass" }.to_owned();
    say(lines, &key("early_media"), is_mute_early, &new.is_mute_early, early);
    let named = |codecs: &Option<std::sync::Arc<crate::media::permitted::Permitted>>| {
        codecs.as_ref().map_or_else(|| "any".to_owned(), |codecs| codecs.to_string())
    };
    say(lines, &key("codecs"), codecs, &new.codecs, named);
    let how = |how: &Option<ReInvite>| how.map_or("that of move", ReInvite::as_str).to_owned();
    say(lines, &key("re_invite"), re_invite, &new.re_invite, how);
    session_timer(lines, &key("session_timer"), session, &new.session);
    say(lines, &key("diversion"), tells, &new.tells, |tells| tells.as_str().to_owned());
    if *headers != new.headers {
        let place = headers.iter().zip(&new.headers).take_while(|(old, new)| old == new).count();
        lines.push(format!("{} changed from the {}. on", key("header"), place + 1));
    }
    if *rewrites != new.rewrites {
        let place = rewrites.iter().zip(&new.rewrites).take_while(|(old, new)| old == new).count();
        lines.push(format!("{} changed from the {}. on", key("rewrite"), place + 1));
    }
    let fixed = |id: &Option<CallerId>| {
        or_none(id.as_ref().map(|id| match &id.own[..] {
            [] => id.number.to_string(),
            _ => format!("{} but for {}", id.number, list(&id.own)),
        }))
    };
    say(lines, &key("caller_id"), caller_id, &new.caller_id, fixed);
}

fn session_timer(lines: &mut Vec<String>, key: &str, old: &Terms, new: &Terms) {
    let Terms { mode, expires, min, refresher, by } = old;
    let key = |field: &str| format!("{key}.{field}");
    say(lines, &key("mode"), mode, &new.mode, |mode| mode.as_str().to_owned());
    say(lines, &key("expires_s"), expires, &new.expires, plain);
    say(lines, &key("min_s"), min, &new.min, plain);
    say(lines, &key("refresher"), refresher, &new.refresher, |who| Refresher::word(*who).to_owned());
    say(lines, &key("refresh"), by, &new.by, |by| by.as_str().to_owned());
}

fn routes(lines: &mut Vec<String>, old: &Resolved, new: &Resolved) {
    if old.routes == new.routes {
        return;
    }
    let begin = lines.len();
    each(lines, &old.routes, &new.routes, |rule| format!("route {}", name_of(rule)));
    if lines.len() == begin {
        // Or two of one name, of which one changed.
        lines.push("route: another order".to_owned());
    }
}

/// What the operator calls a rule, or what it is for.
fn name_of(rule: &Rule) -> &str {
    let pattern = rule.number.as_ref().map(|pattern| pattern.0.as_str());
    rule.name.as_deref().or(pattern).unwrap_or("for any number")
}

/// Those of a list that went, changed and came, by their names.
fn each<T: PartialEq>(lines: &mut Vec<String>, old: &[T], new: &[T], name: impl Fn(&T) -> String) {
    for before in old {
        match new.iter().find(|after| name(after) == name(before)) {
            None => lines.push(format!("{} removed", name(before))),
            Some(after) if after != before => lines.push(format!("{} changed", name(before))),
            Some(_) => {}
        }
    }
    for added in new.iter().filter(|added| old.iter().all(|known| name(known) != name(added))) {
        lines.push(format!("{} added", name(added)));
    }
}

fn say<T: PartialEq>(lines: &mut Vec<String>, key: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
    if old != new {
        lines.push(format!("{key} {} -> {}", show(old), show(new)));
    }
}

/// What is secret.
fn hide(lines: &mut Vec<String>, key: &str, is_other: bool) {
    if is_other {
        lines.push(format!("{key} changed"));
    }
}

fn plain(value: &impl Display) -> String {
    value.to_string()
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn option(value: &Option<impl Display>) -> String {
    or_none(value.as_ref())
}

#[expect(clippy::ptr_arg, reason = "it is handed to `say`, which has the field's type")]
fn list(values: &Vec<impl Display>) -> String {
    format!("[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

#[expect(clippy::ptr_arg, reason = "as above")]
fn networks(values: &Vec<super::Network>) -> String {
    let shown = |network: &super::Network| match network.port() {
        Some(port) => std::net::SocketAddr::new(network.address(), port).to_string(),
        None => format!("{}/{}", network.address(), network.prefix()),
    };
    format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn seconds(value: &Duration) -> String {
    value.as_secs().to_string()
}

/// A choice as it is written: `WhenNeeded` is `when-needed`.
fn word(value: &impl Debug) -> String {
    let mut word = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Source;
    use super::*;

    const TEXT: &str = r#"
[node]
domain = "example.org"
[media]
timeout_s = 60
[auth]
algorithms = ["MD5"]
[test]
echo = "*43"
[[user]]
name = "alice"
extension = "1001"
  [[user.device]]
  id = "desk"
  auth_user = "alice-desk"
  password = "sesame-1"
[[user]]
name = "bob"
extension = "1002"
  [[user.device]]
  id = "desk"
  auth_user = "bob-desk"
  password = "sesame-2"
  [user.pbx]
  trunk = "carrier"
  user = "2002"
  password = "sesame-4"
[[trunk]]
name = "carrier"
uri = "sip:192.0.2.1"
auth = { user = "acct", password = "sesame-3" }
max_calls = 100
[[route]]
match = '^00'
to = ["trunk:carrier"]
[[route]]
match = '^11$'
to = ["user:alice"]
"#;

    fn resolve(text: &str) -> Resolved {
        let read = |_: &Path| Ok("-----BEGIN X-----".to_owned());
        let path = Path::new("segue.toml");
        let source = Source { path, text, variables: &[], hostname: "host", read: &read };
        source.resolve().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The configuration, and what it is after these replacements.
    fn both(pairs: &[(&str, &str)]) -> (Resolved, Resolved) {
        let text = pairs.iter().fold(TEXT.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        (resolve(TEXT), resolve(&text))
    }

    /// The lines of these replacements.
    fn lines(pairs: &[(&str, &str)]) -> Diff {
        let (old, new) = both(pairs);
        Diff::between(&old, &new)
    }

    #[test]
    fn each_change_is_a_line_and_no_line_holds_a_secret() {
        for (from, to, line) in [
            ("1002", "1009", "user bob: extension 1002 -> 1009"),
            ("name = \"bob\"", "name = \"carol\"", "user bob removed|user carol added"),
            ("sesame-2", "sesame-9", "user bob: device desk: password changed"),
            ("bob-desk", "bob-1", "user bob: device desk: auth_user bob-desk -> bob-1"),
            ("sesame-4", "sesame-9", "user bob: pbx.password changed"),
            ("\"2002\"", "\"2009\"", "user bob: pbx 2002 at carrier as 2002 -> 2009 at carrier as 2009"),
            ("= 100", "= 50", "trunk carrier: max_calls 100 -> 50"),
            ("sesame-3", "sesame-9", "trunk carrier: password changed"),
            ("acct", "other", "trunk carrier: auth acct -> other"),
            ("192.0.2.1", "192.0.2.9", "trunk carrier: uri sip:192.0.2.1 -> sip:192.0.2.9"),
            (
                "\"carrier\"",
                "\"c2\"",
                "user bob: pbx 2002 at carrier as 2002 -> 2002 at c2 as 2002|trunk carrier removed|trunk c2 added|route ^00 changed",
            ),
            ("^11$", "^12$", "route ^11$ removed|route ^12$ added"),
            ("timeout_s = 60", "timeout_s = 0", "media.timeout_s 60 -> 0"),
            ("[\"MD5\"]", "[\"SHA-256\", \"MD5\"]", "auth.algorithms MD5 -> SHA-256, MD5"),
            ("*43", "*44", "test.echo *43 -> *44"),
            ("[media]", "[move]\nre_invite = \"always\"\n[media]", "move.re_invite when-needed -> always"),
            ("[media]", "[trace]\nkeep_s = 60\n[media]", "trace.keep_s 3600 -> 60"),
            ("= 100", "= 100\ndiversion = \"both\"", "trunk carrier: diversion keep -> both"),
            (
                "= 100",
                "= 100\n[[trunk.header]]\ndirection = \"in\"\nname = \"X-A\"\nremove = true",
                "trunk carrier: header changed from the 1. on",
            ),
            ("= 100", "= 100\ncodecs = [\"pcma\", \"G729\"]", "trunk carrier: codecs any -> PCMA, G729"),
            (
                "= 100",
                "= 100\nsession_timer = { mode = \"off\", min_s = 2000 }",
                "trunk carrier: session_timer.mode ask -> off|trunk carrier: session_timer.expires_s 1800 -> 2000|\
                 trunk carrier: session_timer.min_s 90 -> 2000",
            ),
            ("= 100", "= 100\nre_invite = \"never\"", "trunk carrier: re_invite that of move -> never"),
            ("= 100", "= 100\nearly_media = \"block\"", "trunk carrier: early_media pass -> block"),
            ("= 100", "= 100\ntrusted = false", "trunk carrier: trusted true -> false"),
            ("= 100", "= 100\nidentity = \"rpid\"", "trunk carrier: identity pai -> rpid"),
            ("= 100", "= 100\ncaller_id = \"+4930\"", "trunk carrier: caller_id none -> +4930"),
            (
                "= 100",
                "= 100\n[[trunk.rewrite]]\nnumber = \"called\"\ndirection = \"in\"\nmatch = \"^0\"\nwith = \"\"",
                "trunk carrier: rewrite changed from the 1. on",
            ),
            ("[media]", "[[quirk]]\nuser_agent = \"x\"\nmwi = false\n[media]", "quirk: changed"),
        ] {
            let from_route = if from == "\"carrier\"" { "trunk:carrier" } else { from };
            let to_route = if from == "\"carrier\"" { "trunk:c2" } else { to };
            let pairs: &[_] =
                if from == from_route { &[(from, to)] } else { &[(from, to), (from_route, to_route)] };
            let diff = lines(pairs);
            let told = diff.changes.join("|");
            assert_eq!((&*told, diff.restart.len()), (line, 0));
            assert!(!told.contains("sesame"));
        }
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn what_is_bound_is_named_and_stays() {
        let listens = "[[listen]]\nuri = \"udp://127.0.0.1:5070\"\n[[listen]]\nuri = \"tls://127.0.0.1:5071\"\n\
                       cert = \"c\"\nkey = \"k\"\n";
        let more = format!("{listens}[media]\nports = \"40000-40099\"\nsrtp = \"off\"");
        let (old, new) = both(&[
            ("[media]", &more),
            ("sip:192.0.2.1", "sip:192.0.2.1;transport=tls"),
            ("timeout_s = 60", "timeout_s = 30"),
        ]);
        let diff = Diff::between(&old, &new);
        assert_eq!(
            diff.restart,
            [
                "listen udp://0.0.0.0:5060 removed",
                "listen tcp://0.0.0.0:5060 removed",
                "listen udp://127.0.0.1:5070 added",
                "listen tls://127.0.0.1:5071 added",
                "media.ports 30000-39999 -> 40000-40099",
                "media.srtp prefer -> off",
                "trunk carrier: waits for the tls listener",
            ]
        );
        assert_eq!(diff.changes.len(), 2, "{:?}", diff.changes);
        let next = old.adopt(new.clone());
        assert_eq!((next.listens.clone(), next.media.ports), (old.listens.clone(), old.media.ports));
        assert_eq!(next.media.timeout, Some(Duration::from_secs(30)));
        let again = Diff::between(&next, &new);
        assert!(again.changes.is_empty() && again.restart.len() == 7, "it is told until the restart");
    }

    #[test]
    fn what_only_media_through_here_can_do_waits_for_that() {
        let with = |media: &str, trunk: &str| {
            resolve(
                &TEXT
                    .replace("[media]", &format!("[media]\n{media}"))
                    .replace("= 100", &format!("= 100\n{trunk}")),
            )
        };
        let never = with("anchor = \"never\"", "");
        let listed = with("", "codecs = [\"PCMA\"]\nre_invite = \"never\"");
        let told = [
            "media.anchor never -> always",
            "trunk carrier: codecs waits for media.anchor",
            "trunk carrier: re_invite waits for media.anchor",
        ];
        assert_eq!(Diff::between(&never, &listed).restart, told);
        assert_eq!(Diff::between(&with("", ""), &listed).restart, [] as [&str; 0]);
    }

    #[test]
    fn of_another_realm_no_user_is_taken() {
        let (old, new) = both(&[("algorithms", "realm = \"phones\"\nalgorithms"), ("1002", "1009")]);
        let diff = Diff::between(&old, &new);
        assert!(diff.changes.is_empty() && diff.users.is_empty(), "{diff:?}");
        assert_eq!(diff.restart.len(), 2, "{diff:?}");
        assert_eq!(old.adopt(new).accounts, old.accounts);
    }
}
