//! What became of a call before it came here: Diversion (RFC 5806) and History-Info (RFC 7044), told on as those of our
//! domain.

use super::headers::Trust;
use super::identity::number;
use super::model::Call;
use super::ring::Outgoing;
use super::settings::Trunk;
use crate::base::names_place;
use crate::wire::sip::{HeaderName, Message, MessageWriter, NameAddr, Scheme, Uri, escaped_user};

/// Entries that are told on; a call that was diverted more often goes round in a circle.
const MAX_ENTRIES: usize = 10;

/// Writes on what a trusted side says of it. The hosts in it are where the other side is, so ours stands for them.
/// `hides`: to somebody who is not to learn of those who do not want it.
fn tell_on(message: &Message, (domain, hides): (&str, bool), onto: &mut MessageWriter<'_>) {
    for name in [HeaderName::Diversion, HeaderName::HistoryInfo] {
        if !message.has(name) {
            continue;
        }
        for address in message.addresses(name).filter_map(Result::ok).take(MAX_ENTRIES) {
            if let Some(value) = at_home(&address, domain, hides && is_private(&address)) {
                onto.header(&name, &value);
            }
        }
    }
}

/// Whether who is in an entry wants not to be named: by the parameter of Diversion (RFC 5806 4.1), by the header in a URI
/// of History-Info (RFC 7044 10.1).
fn is_private(address: &NameAddr<'_>) -> bool {
    let is_off = |value: &str, off: &str| value.trim_matches('"').eq_ignore_ascii_case(off);
    let in_uri = address.parsed_uri().ok().and_then(|uri| uri.header("Privacy"));
    address.params.value("privacy").is_some_and(|value| !is_off(value, "off"))
        || in_uri.is_some_and(|value| !is_off(&value, "none"))
}

/// Who stands for somebody who is not to be named (RFC 7044 10.1.2).
const NOBODY: &str = "<sip:anonymous@anonymous.invalid";
/// What entries say beside whom they name (RFC 5806 4.1, RFC 7044 5).
const PARAMETERS: [&str; 9] = ["reason", "counter", "limit", "privacy", "screen", "index", "rc", "mp", "np"];

/// An entry with our domain as its host.
fn at_home(address: &NameAddr<'_>, domain: &str, is_hidden: bool) -> Option<String> {
    let uri = address.parsed_uri().ok()?;
    let mut value = String::with_capacity(address.uri.len() + domain.len() + 16);
    if let Some(display) = address.display().filter(|_| !is_hidden) {
        value.push('"');
        for c in display.chars().filter(|c| !c.is_control()).take(64) {
            if matches!(c, '"' | '\\') {
                value.push('\\');
            }
            value.push(c);
        }
        value.push_str("\" ");
    }
    match uri.scheme() {
        Scheme::Other => return None,
        _ if is_hidden => value.push_str(NOBODY),
        // RFC 3966 5.1.5: the context may be a host.
        Scheme::Tel if names_place(address.uri.as_bytes()) => {
            value.extend(["<", address.uri.split(';').next().unwrap_or_default()]);
        }
        Scheme::Tel => value.extend(["<", address.uri]),
        Scheme::Sip | Scheme::Sips => push_uri(&uri, domain, &mut value),
    }
    value.push('>');
    let is_known = |name: &str| PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let may_stand =
        |said: &str| said.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    for (name, said) in address.params.iter() {
        let Some(said) = said.filter(|said| is_known(name) && may_stand(said)) else { continue };
        if !names_place(said.as_bytes()) {
            value.extend([";", name, "=", said]);
        }
    }
    Some(value)
}

/// User, the two parameters that say something of the number and the diversion (RFC 3261 19.1.1, RFC 4458), and the
/// headers that RFC 7044 5 puts there.
fn push_uri(uri: &Uri<'_>, domain: &str, value: &mut String) {
    value.push_str("<sip:");
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

/// What a trunk is told of a call that was diverted before it came to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tells {
    /// What a trusted trunk says, in its own form, and nothing of what was diverted here.
    #[default]
    Keep,
    /// All of it in Diversion (RFC 5806).
    Diversion,
    /// All of it in History-Info (RFC 7044).
    HistoryInfo,
    /// In both.
    Both,
    /// Nothing.
    Nothing,
}

impl Tells {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Diversion => "diversion",
            Self::HistoryInfo => "history-info",
            Self::Both => "both",
            Self::Nothing => "none",
        }
    }

    /// Whether what was diverted here is told.
    #[must_use]
    pub const fn of_ours(self) -> bool {
        matches!(self, Self::Diversion | Self::HistoryInfo | Self::Both)
    }
}

/// Why a call went on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is not said.
    Unknown,
    /// Always.
    Unconditional,
    /// Busy, or declined.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// Nobody was there.
    Unavailable,
    /// The user chose so while it rang.
    Deflection,
}

/// RFC 7544 7.1: the reasons of Diversion beside the causes of History-Info (RFC 4458).
const REASONS: [(Why, &str, &str); 6] = [
    (Why::Unknown, "unknown", "404"),
    (Why::Unconditional, "unconditional", "302"),
    (Why::Busy, "user-busy", "486"),
    (Why::NoAnswer, "no-answer", "408"),
    (Why::Unavailable, "unavailable", "503"),
    (Why::Deflection, "deflection", "480"),
];

impl Why {
    fn of_reason(text: &str) -> Self {
        let text = text.trim_matches('"');
        REASONS.iter().find(|row| row.1.eq_ignore_ascii_case(text)).map_or(Self::Unknown, |row| row.0)
    }

    fn of_cause(text: &str) -> Self {
        // 487 is a deflection while it rings, 480 one at once.
        let text = if text == "487" { "480" } else { text };
        REASONS.iter().find(|row| row.2 == text).map_or(Self::Unknown, |row| row.0)
    }

    fn row(self) -> (&'static str, &'static str) {
        REASONS.iter().find(|row| row.0 == self).map_or(("unknown", "404"), |row| (row.1, row.2))
    }
}

/// One diversion: who sent a call on, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The number of who did.
    pub number: Box<str>,
    /// Why.
    pub why: Why,
    /// Whether that one is not to be named.
    pub is_private: bool,
}

/// The diversions that a message tells of, the first of all first.
fn told_by(message: &Message) -> Vec<Entry> {
    let mut entries = of_history(message);
    if entries.is_empty() {
        // The newest stands first (RFC 5806 4.1).
        entries = of_diversions(message);
        entries.reverse();
    }
    entries
}

fn of_diversions(message: &Message) -> Vec<Entry> {
    let addresses = message.addresses(HeaderName::Diversion).filter_map(Result::ok).take(MAX_ENTRIES);
    let entry = |address: NameAddr<'_>| {
        let why = address.params.value("reason").map_or(Why::Unknown, Why::of_reason);
        Entry { number: number(Some(address)).into(), why, is_private: is_private(&address) }
    };
    addresses.map(entry).filter(|entry| !entry.number.is_empty()).collect()
}

/// Each entry is where the call was then; the next one says by its cause that it was diverted there.
fn of_history(message: &Message) -> Vec<Entry> {
    let addresses = message.addresses(HeaderName::HistoryInfo).filter_map(Result::ok).take(2 * MAX_ENTRIES);
    let mut entries = Vec::new();
    let mut before: Option<NameAddr<'_>> = None;
    for address in addresses {
        let uri = address.parsed_uri().ok();
        if let (Some(by), Some(cause)) = (before, uri.and_then(|uri| uri.params().value("cause"))) {
            let (why, is_private) = (Why::of_cause(cause), is_private(&by));
            let entry = Entry { number: number(Some(by)).into(), why, is_private };
            if !entry.number.is_empty() && entries.len() < MAX_ENTRIES {
                entries.push(entry);
            }
        }
        before = Some(address);
    }
    entries
}

/// What a trunk is told: `message` of a trusted side, and the diversion that was made here.
pub(super) struct History<'a> {
    pub(super) message: Option<&'a Message>,
    pub(super) ours: Option<&'a Entry>,
    /// The number that the trunk is called by.
    pub(super) target: &'a str,
    pub(super) domain: &'a str,
    /// Whether the trunk is not to learn of those who do not want it.
    pub(super) hides: bool,
}

impl History<'_> {
    /// Writes it in the forms that the trunk reads.
    pub(super) fn write(&self, tells: Tells, onto: &mut MessageWriter<'_>) {
        let mut entries = self.message.map(told_by).unwrap_or_default();
        entries.extend(self.ours.cloned());
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        if surplus > 0 {
            // The first one is who the caller had called, and stays.
            entries.drain(1..=surplus);
        }
        if entries.is_empty() {
            return;
        }
        if matches!(tells, Tells::Diversion | Tells::Both) {
            self.write_diversions(&entries, onto);
        }
        if matches!(tells, Tells::HistoryInfo | Tells::Both) {
            self.write_history(&entries, onto);
        }
    }

    /// The beginning of an entry.
    fn named(&self, number: &str, is_private: bool) -> String {
        if is_private && self.hides {
            return NOBODY.to_owned();
        }
        format!("<sip:{}@{}", escaped_user(number), self.domain)
    }

    /// RFC 5806 4.1: the newest first.
    fn write_diversions(&self, entries: &[Entry], onto: &mut MessageWriter<'_>) {
        for entry in entries.iter().rev() {
            let (who, reason) = (self.named(&entry.number, entry.is_private), entry.why.row().0);
            let privacy = if entry.is_private { "full" } else { "off" };
            let parts = [&*who, ">;reason=", reason, ";counter=1;privacy=", privacy];
            onto.header_parts(&HeaderName::Diversion, &parts);
        }
    }

    /// RFC 7044 9.1 and RFC 7544 6: an entry for each who was called, the target last, each with the cause of who sent
    /// the call there.
    fn write_history(&self, entries: &[Entry], onto: &mut MessageWriter<'_>) {
        let mut index = String::from("1");
        let mut cause: Option<&str> = None;
        let numbers = entries.iter().map(|entry| (&*entry.number, entry.is_private, Some(entry.why)));
        for (number, is_private, why) in numbers.chain([(self.target, false, None)]) {
            let before = index.rsplit_once('.').map_or("1", |(before, _)| before).to_owned();
            let by_cause = cause.map(|cause| format!(";cause={cause}")).unwrap_or_default();
            let hides = if is_private { "?Privacy=history" } else { "" };
            let by = if cause.is_some() { format!(";mp={before}") } else { String::new() };
            let who = self.named(number, is_private);
            let parts = [&*who, &by_cause, hides, ">;index=", &index, &by];
            onto.header_parts(&HeaderName::HistoryInfo, &parts);
            (cause, index) = (why.map(|why| why.row().1), index + ".1");
        }
    }
}

impl Outgoing<'_> {
    /// Tells a target what became of the call before, as far as it may know.
    pub(super) fn write_history(
        &self,
        message: Option<&Message>,
        trunk: Option<&Trunk>,
        (call, domain): (&Call, &str),
        target: &str,
        onto: &mut MessageWriter<'_>,
    ) {
        // RFC 7044 10.1.2: who wants that is not in it; RFC 5806 has no word for it, and is as telling.
        if self.privacy_from(trunk).hides_history() {
            return;
        }
        // RFC 3325 5: those who are trusted are told, and keep it to themselves.
        let hides = trunk.is_none_or(|trunk| trunk.policy.trust == Trust::Untrusted);
        let Some(trunk) = trunk.filter(|trunk| trunk.policy.tells != Tells::Keep) else {
            return message.into_iter().for_each(|message| tell_on(message, (domain, hides), onto));
        };
        let forwarded = || Entry { number: call.number.clone(), why: Why::Unconditional, is_private: false };
        let ours = call.diverted.as_deref().cloned().or_else(|| self.source.map(|_| forwarded()));
        let ours = ours.map(|entry| match trunk.shown_caller(&entry.number) {
            Some(number) => Entry { number, ..entry },
            None => entry,
        });
        let target = number(NameAddr::parse(target.as_bytes()).ok());
        History { message, ours: ours.as_ref(), target: &target, domain, hides }
            .write(trunk.policy.tells, onto);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::sip::{Limits, Method};

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
            assert_eq!(at_home(&address, "pbx.example", false).as_deref(), Some(told));
        }
        let strange = NameAddr::parse(b"<http://10.0.0.5/>;index=1").unwrap();
        assert_eq!(at_home(&strange, "pbx.example", false), None);
    }

    #[test]
    fn who_does_not_want_to_be_named_is_named_to_who_is_trusted_alone() {
        for (entry, told) in [
            (
                "\"Bob\" <sip:200@b.example>;reason=user-busy;privacy=full",
                "<sip:anonymous@anonymous.invalid>;reason=user-busy;privacy=full",
            ),
            (
                "<sip:200@b.example;cause=408?Privacy=history>;index=1.1;mp=1",
                "<sip:anonymous@anonymous.invalid>;index=1.1;mp=1",
            ),
            ("<tel:+4930>;privacy=name", "<sip:anonymous@anonymous.invalid>;privacy=name"),
            (
                "<sip:200@b.example>;reason=user-busy;privacy=off",
                "<sip:200@pbx.example>;reason=user-busy;privacy=off",
            ),
            ("<sip:200@b.example?Privacy=none>;index=1", "<sip:200@pbx.example?Privacy=none>;index=1"),
        ] {
            let message = invite(&format!(
                "{}: {entry}\r\n",
                if entry.contains("index") { "History-Info" } else { "Diversion" }
            ));
            let lines = |hides: bool| {
                let mut writer = MessageWriter::request(&Method::Invite, "sip:c");
                tell_on(&message, ("pbx.example", hides), &mut writer);
                String::from_utf8(writer.finish().to_vec()).unwrap()
            };
            assert!(lines(true).contains(&format!(": {told}\r\n")), "{entry}: {}", lines(true));
            let is_named = entry.contains("+4930") == lines(false).contains("+4930")
                && lines(false).contains("200") == entry.contains("200");
            assert!(is_named, "{}", lines(false));
        }
        let private = Entry { number: "200".into(), why: Why::Busy, is_private: true };
        for tells in [Tells::Diversion, Tells::HistoryInfo] {
            let mut writer = MessageWriter::request(&Method::Invite, "sip:c");
            let history = History {
                message: None,
                ours: Some(&private),
                target: "300",
                domain: "pbx.example",
                hides: true,
            };
            history.write(tells, &mut writer);
            let text = String::from_utf8(writer.finish().to_vec()).unwrap();
            assert!(text.contains("<sip:anonymous@anonymous.invalid") && !text.contains("200@"), "{text}");
        }
    }

    #[test]
    fn what_an_entry_says_beside_whom_it_names_says_nothing_of_a_place() {
        for (entry, told) in [
            ("<sip:200@b.example>;reason=10.0.0.5;x=10.0.0.5;counter=2", "<sip:200@pbx.example>;counter=2"),
            ("<tel:+4930;phone-context=10.0.0.5>;reason=unknown", "<tel:+4930>;reason=unknown"),
            ("<tel:30;phone-context=+49>;reason=unknown", "<tel:30;phone-context=+49>;reason=unknown"),
        ] {
            let address = NameAddr::parse(entry.as_bytes()).unwrap();
            assert_eq!(at_home(&address, "pbx.example", false).as_deref(), Some(told));
        }
    }

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:1@a.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:100@a.example>;tag=1\r\nTo: <sip:1@a.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             {headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    fn written(message: Option<&Message>, ours: Option<&Entry>, tells: Tells) -> Vec<String> {
        let mut writer = MessageWriter::request(&Method::Invite, "sip:c");
        let history = History { message, ours, target: "300", domain: "pbx.example", hides: false };
        history.write(tells, &mut writer);
        let text = String::from_utf8(writer.finish().to_vec()).unwrap();
        text.lines()
            .filter(|line| line.starts_with("Diversion") || line.starts_with("History"))
            .map(str::to_owned)
            .collect()
    }

    const DIVERTED: &str = "Diversion: <sip:200@b.example>;reason=user-busy;privacy=full\r\n\
                            Diversion: <tel:+49-30-1>;reason=\"no-answer\"\r\n";
    const HISTORY: &str = "History-Info: <sip:+49301@b.example>;index=1, \
                           <sip:200@b.example;cause=408?Privacy=history>;index=1.1;mp=1, \
                           <sip:1@a.example;cause=486>;index=1.1.1;mp=1.1\r\n";

    #[test]
    fn one_form_becomes_the_other() {
        let diversions = [
            "Diversion: <sip:200@pbx.example>;reason=user-busy;counter=1;privacy=full",
            "Diversion: <sip:+49301@pbx.example>;reason=no-answer;counter=1;privacy=off",
        ];
        let history = [
            "History-Info: <sip:+49301@pbx.example>;index=1",
            "History-Info: <sip:200@pbx.example;cause=408?Privacy=history>;index=1.1;mp=1",
            "History-Info: <sip:300@pbx.example;cause=486>;index=1.1.1;mp=1.1",
        ];
        for headers in [DIVERTED, HISTORY, &format!("{DIVERTED}{HISTORY}")] {
            let message = invite(headers);
            assert_eq!(written(Some(&message), None, Tells::Diversion), diversions, "{headers}");
            assert_eq!(written(Some(&message), None, Tells::HistoryInfo), history, "{headers}");
            assert_eq!(written(Some(&message), None, Tells::Both), [&diversions[..], &history].concat());
            assert!(written(Some(&message), None, Tells::Nothing).is_empty());
        }
        assert!(written(Some(&invite("")), None, Tells::Both).is_empty());
    }

    #[test]
    fn what_was_diverted_here_comes_last_and_is_told_first() {
        let ours = Entry { number: "1001".into(), why: Why::NoAnswer, is_private: false };
        let told = written(Some(&invite(DIVERTED)), Some(&ours), Tells::Diversion);
        assert_eq!(told[0], "Diversion: <sip:1001@pbx.example>;reason=no-answer;counter=1;privacy=off");
        assert_eq!(told.len(), 3);
        let alone = written(None, Some(&ours), Tells::HistoryInfo);
        assert_eq!(
            alone,
            [
                "History-Info: <sip:1001@pbx.example>;index=1",
                "History-Info: <sip:300@pbx.example;cause=408>;index=1.1;mp=1"
            ]
        );
    }

    #[test]
    fn ten_are_told_and_the_first_is_among_them() {
        let many: String =
            (0..40).map(|n| format!("Diversion: <sip:{}@b>;reason=deflection\r\n", 40 - n)).collect();
        let ours = Entry { number: "1001".into(), why: Why::Busy, is_private: false };
        let told = written(Some(&invite(&many)), Some(&ours), Tells::Diversion);
        assert_eq!(told.len(), MAX_ENTRIES);
        assert!(told[0].contains("<sip:1001@"), "{told:?}");
    }

    #[test]
    fn each_reason_has_its_cause_and_back() {
        for (why, reason, cause) in REASONS {
            assert_eq!(
                (Why::of_reason(reason), Why::of_cause(cause), why.row()),
                (why, why, (reason, cause))
            );
        }
        assert_eq!((Why::of_cause("487"), Why::of_cause("999")), (Why::Deflection, Why::Unknown));
        assert_eq!(Why::of_reason("time-of-day"), Why::Unknown);
    }
}
