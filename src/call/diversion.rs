//! What became of a call before it came here: Diversion (RFC 5806) and History-Info (RFC 7044), told on as those of our
//! domain.

use super::identity::Privacy;
use crate::wire::sip::{HeaderName, Message, MessageWriter, NameAddr, Scheme, Uri};

/// Entries that are told on; a call that was diverted more often goes round in a circle.
const MAX_ENTRIES: usize = 10;

/// Writes on what a trusted side says of it. The hosts in it are where the other side is, so ours stands for them.
pub(super) fn tell_on(message: &Message, privacy: Privacy, domain: &str, onto: &mut MessageWriter<'_>) {
    // RFC 7044 10.1.2: who wants that is not in it; RFC 5806 has no word for it, and is as telling.
    if privacy.hides_history() {
        return;
    }
    for name in [HeaderName::Diversion, HeaderName::HistoryInfo] {
        if !message.has(name) {
            continue;
        }
        for address in message.addresses(name).filter_map(Result::ok).take(MAX_ENTRIES) {
            if let Some(value) = at_home(&address, domain) {
                onto.header(&name, &value);
            }
        }
    }
}

/// An entry with our domain as its host.
fn at_home(address: &NameAddr<'_>, domain: &str) -> Option<String> {
    let uri = address.parsed_uri().ok()?;
    let mut value = String::with_capacity(address.uri.len() + domain.len() + 16);
    if let Some(display) = address.display() {
        value.push('"');
        for c in display.chars().filter(|c| !c.is_control()).take(64) {
            if matches!(c, '"' | '\\') {
                value.push('\\');
            }
            value.push(c);
        }
        value.push_str("\" ");
    }
    value.push('<');
    match uri.scheme() {
        Scheme::Tel => value.push_str(address.uri),
        Scheme::Sip | Scheme::Sips => push_uri(&uri, domain, &mut value),
        Scheme::Other => return None,
    }
    value.push('>');
    if !address.params.is_empty() {
        value.push(';');
        value.push_str(address.params.as_str());
    }
    Some(value)
}

/// User, the two parameters that say something of the number and the diversion (RFC 3261 19.1.1, RFC 4458), and the
/// headers that RFC 7044 5 puts there.
fn push_uri(uri: &Uri<'_>, domain: &str, value: &mut String) {
    value.push_str("sip:");
    if let Some(user) = uri.user() {
        value.push_str(user);
        value.push('@');
    }
    value.push_str(domain);
    for name in ["user", "cause"] {
        if let Some(said) = uri.params().value(name) {
            value.extend([";", name, "=", said]);
        }
    }
    let kept =
        |name: &&(&str, &str)| ["Reason", "Privacy"].iter().any(|known| name.0.eq_ignore_ascii_case(known));
    for (at, (name, said)) in uri.headers().collect::<Vec<_>>().iter().filter(kept).enumerate() {
        value.extend([if at == 0 { "?" } else { "&" }, name, "=", said]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_told_without_the_place_where_it_was_made() {
        for (entry, told) in [
            (
                "\"Bob\" <sip:+4930@10.0.0.5:5070;user=phone;transport=tcp>;reason=no-answer;counter=1",
                "\"Bob\" <sip:+4930@pbx.example;user=phone>;reason=no-answer;counter=1",
            ),
            ("<tel:+4930>;reason=unknown", "<tel:+4930>;reason=unknown"),
            (
                "<sip:bob@10.0.0.5;cause=302?Privacy=history&Reason=SIP%3Bcause%3D302&Route=x>;index=1.1;mp=1",
                "<sip:bob@pbx.example;cause=302?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1.1;mp=1",
            ),
            ("<sips:host.example>;index=1", "<sip:pbx.example>;index=1"),
        ] {
            let address = NameAddr::parse(entry.as_bytes()).unwrap();
            assert_eq!(at_home(&address, "pbx.example").as_deref(), Some(told));
        }
        let strange = NameAddr::parse(b"<http://10.0.0.5/>;index=1").unwrap();
        assert_eq!(at_home(&strange, "pbx.example"), None);
    }
}
