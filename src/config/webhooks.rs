//! `[[webhook]]`.

use std::time::Duration;

use base64ct::{Base64, Encoding as _};

use super::resolved::{Secret, Webhook, WebhookUrl};
use super::tree::{Section, Taken};
use super::{Source, listen_tls, sections, users, values};

/// Most webhooks: each holds a connection, and its own copy of what waits for it.
const MAX_WEBHOOKS: usize = 16;
/// What comes before the base64 of a key (Standard Webhooks, "Signature scheme").
const KEY: &str = "whsec_";
/// What the types of events begin with, but for `cdr`, which stands alone.
const FAMILIES: [&str; 7] = ["call", "move", "hold_off", "registration", "trunk", "quality", "security"];

pub(super) fn read(root: &mut Section<'_>, source: &Source<'_>) -> Vec<Webhook> {
    let mut all: Vec<Webhook> = Vec::new();
    root.each("webhook", |section| {
        if let Some(webhook) = webhook(section, source, &all) {
            all.push(webhook);
        }
    });
    if all.len() > MAX_WEBHOOKS {
        root.fault("webhook", format!("at most {MAX_WEBHOOKS} are possible"));
    }
    all
}

fn webhook(mut section: Section<'_>, source: &Source<'_>, before: &[Webhook]) -> Option<Webhook> {
    let name = section.read("name", sections::name).map(|taken| taken.value);
    let url = section.read_needed_secret("url", url).map(|taken| taken.value);
    let key = key(&mut section, source);
    let events = section.read_all("events", pattern);
    if events.as_ref().is_some_and(Vec::is_empty) {
        section.fault("events", "names none: leave it out for all");
    }
    let timeout = section.number("timeout_s", 1..=120).map_or(10, |taken| taken.value);
    let keep = section.number("keep_h", 1..=720).map_or(72, |taken| taken.value);
    let most = section.number("outbox_mb", 1..=1024).map_or(64, |taken| taken.value);
    let ca = section.read("ca", |path| listen_tls::pem(source, path)).map(|taken| taken.value);
    if ca.is_some() && url.as_ref().is_some_and(|url| !url.is_tls) {
        section.fault("ca", "is for https only");
    }
    let name = name.or_else(|| url.as_ref().map(|url| url.authority.clone()));
    if let Some(twin) = before.iter().find(|other| Some(&other.name) == name.as_ref()) {
        let why = format!("is needed, and another for each: there is a webhook {} already", twin.name);
        section.fault("name", why);
    }
    section.finish();
    Some(Webhook {
        name: name?,
        url: url?,
        key: key?,
        events: events
            .map_or_else(|| vec!["*".into()], |all| all.into_iter().map(|taken| taken.value).collect()),
        timeout: Duration::from_secs(timeout.into()),
        keep: Duration::from_secs(u64::from(keep) * 3600),
        outbox: u64::from(most) << 20,
        ca,
    })
}

/// `http://host[:port][/path][?query]`; the host is where it goes, the rest may be a secret of its own.
fn url(text: &str) -> Result<WebhookUrl, &'static str> {
    const FORM: &str = "must be like https://example.com/path, without user, password and fragment";
    let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(FORM),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    let address = values::host_port(authority).map_err(|_| FORM)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\');
    if text.len() > 2048 || !target.bytes().all(is_plain) {
        return Err(FORM);
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(WebhookUrl {
        is_tls,
        port: address.port.unwrap_or(if is_tls { 443 } else { 80 }),
        host: address.host,
        authority: authority.to_ascii_lowercase().into(),
        target: Secret::new(target),
    })
}

/// `secret`, or the first line of `secret_file`; the key that is in it.
fn key(section: &mut Section<'_>, source: &Source<'_>) -> Option<Secret> {
    if section.has("secret") == section.has("secret_file") {
        section.fault("secret", "one of secret and secret_file is needed");
    }
    let given = section.read_secret("secret", usable);
    let file = section.read("secret_file", |path| {
        let line = users::first_line(source, path)?;
        usable(&line).map_err(|why| format!("the file's first line {why}"))
    });
    given.or(file).map(|Taken { value, .. }| value)
}

/// The message names the key of the file, never the value.
fn usable(text: &str) -> Result<Secret, &'static str> {
    const SHORT: &str = "is no key: whsec_ and the base64 of 24 to 64 bytes is needed (`openssl rand -base64 32`), \
         or a text of 16 to 256 characters";
    match text.strip_prefix(KEY) {
        Some(encoded) => match Base64::decode_vec(encoded) {
            Ok(key) if (24..=64).contains(&key.len()) => Ok(Secret::new(text)),
            _ => Err(SHORT),
        },
        None if (16..=256).contains(&text.len()) && !text.chars().any(char::is_control) => {
            Ok(Secret::new(text))
        }
        None => Err(SHORT),
    }
}

/// `*`, a type such as `call.ended`, or a family of them such as `call.*`.
fn pattern(text: &str) -> Result<Box<str>, &'static str> {
    let is_type = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let is_known = match text.split_once('.') {
        None => matches!(text, "*" | "cdr"),
        Some((family, rest)) => FAMILIES.contains(&family) && (rest == "*" || is_type(rest)),
    };
    if is_known { Ok(text.into()) } else { Err("is no event: `call.*`, `move.switched`, `cdr` and such are") }
}

impl Webhook {
    /// Whether events of this type go there.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.events.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(family) => kind.starts_with(family),
            None => **pattern == *kind,
        })
    }

    /// The bytes that sign.
    #[must_use]
    pub fn key_bytes(&self) -> Vec<u8> {
        let text = self.key.expose();
        let decoded = text.strip_prefix(KEY).and_then(|encoded| Base64::decode_vec(encoded).ok());
        decoded.unwrap_or_else(|| text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_its_path_is_a_secret() {
        let there = url("https://Hooks.example.com/T0/s3cret?x=1").unwrap();
        assert_eq!((there.is_tls, &*there.host, there.port), (true, "hooks.example.com", 443));
        assert_eq!((&*there.authority, there.target.expose()), ("hooks.example.com", "/T0/s3cret?x=1"));
        let there = url("http://[::1]:8081").unwrap();
        assert_eq!((there.is_tls, &*there.host, there.port), (false, "::1", 8081));
        assert_eq!((&*there.authority, there.target.expose()), ("[::1]:8081", "/"));
        assert_eq!(url("http://a?b").unwrap().target.expose(), "/?b");
        for bad in ["ftp://a/", "a", "http://", "http://u:p@a/", "http://a/#b", "http://a/ b", "http://a:0/"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_takes_a_type_a_family_or_all() {
        for good in ["*", "cdr", "call.*", "move.switched", "security.*", "trunk.down"] {
            assert!(pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "call", "call.", "cal.*", "call.en*", "CDR", "cdr.*"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_long_enough_or_refused() {
        assert!(usable("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
        for bad in ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "0123456789\n0123456789"] {
            assert!(usable(bad).is_err(), "{bad}");
        }
    }
}
