//! What happened in a move, in order, with the time since it was asked for. One command prints it.
//!
//! Entries are typed and bounded. They name devices and statuses, never Call-IDs, tags, tokens, PINs or keys;
//! descriptions are kept with their addresses and keys taken out ([`redact_description`]).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Trigger;
use super::machine::State;
use crate::base::{Now, Timestamp, UnixMillis};

/// A move has about 25 entries; the rest of the room is for retries and refused requests of the old device.
const MAX_ENTRIES: usize = 96;
/// Of those, requests of a device that is held off.
const MAX_REFUSED: usize = 24;
/// Of a description this much is kept.
const MAX_DESCRIPTION: usize = 4096;
/// Of a free text this much is kept.
const MAX_TEXT: usize = 200;

/// The timeline of one move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// When it began.
    pub started: UnixMillis,
    /// What happened.
    pub entries: Vec<Entry>,
    /// How many entries more there were than fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
    #[serde(skip)]
    origin: Timestamp,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// µs since the move was asked for.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// Who a thing came from or went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The device that had the call.
    Old,
    /// The device that gets it.
    New,
    /// The side that stays.
    Far,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// Somebody asked for the move.
    Requested {
        /// The way in.
        trigger: Trigger,
        /// The device that asks, or the user.
        by: String,
    },
    /// The machine is in this state.
    State {
        /// The state.
        state: State,
    },
    /// The grant was made.
    Granted {
        /// The device that has the call.
        from: String,
        /// The device that gets it.
        to: String,
    },
    /// The move was refused.
    Refused {
        /// The word of the reason.
        reason: String,
        /// The SIP status.
        status: u16,
    },
    /// The session information was stored.
    Stored,
    /// A request went out or came in.
    Request {
        /// Which leg.
        side: Side,
        /// Out or in.
        way: Heading,
        /// The method.
        method: String,
    },
    /// A response went out or came in.
    Response {
        /// Which leg.
        side: Side,
        /// Out or in.
        way: Heading,
        /// To which method.
        method: String,
        /// The status.
        status: u16,
    },
    /// A description, redacted.
    Description {
        /// Of which leg.
        side: Side,
        /// Before or after the move.
        when: When,
        /// The text.
        text: String,
    },
    /// The route was exchanged.
    Swapped,
    /// The far side heard the new device for the first time.
    Heard {
        /// Between the last packet of the old and the first of the new device.
        gap_us: u64,
        /// Packets missing in the far side's sequence.
        lost: u32,
    },
    /// The counters of a leg.
    Media {
        /// Which leg.
        side: Side,
        /// Packets received.
        received: u64,
        /// Packets sent.
        sent: u64,
        /// Packets lost before us (RFC 3550 A.3).
        lost: u64,
        /// Jitter in µs.
        jitter_us: u64,
    },
    /// How the device that had the call, or the one that got it, sounded to the far side over its whole time in it.
    Quality {
        /// Had it, or got it.
        when: When,
        /// Mean opinion score.
        mos: f64,
    },
    /// The old device was released.
    Released,
    /// The hold-off began.
    HoldOff {
        /// Its length.
        seconds: u64,
    },
    /// A request of the old device was refused in the hold-off.
    Rejected {
        /// The method.
        method: String,
        /// The seconds left that it was told.
        retry_after: u32,
    },
    /// The hold-off ended.
    HoldOffEnded,
    /// It went back.
    RolledBack {
        /// The word of the reason.
        reason: String,
    },
    /// It was undone.
    Undone,
    /// Anything else worth a line.
    Note {
        /// The line.
        text: String,
    },
}

/// Out or in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heading {
    /// From us.
    Out,
    /// To us.
    In,
}

/// Before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the move.
    Before,
    /// After it.
    After,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { started: now.unix, entries: Vec::new(), dropped: 0, origin: now.at }
    }

    /// Whether this entry is kept. Refused requests are as many as a device likes: they leave room for what comes after.
    #[must_use]
    pub fn has_room_for(&self, what: &What) -> bool {
        let is_refused = |what: &What| matches!(what, What::Rejected { .. });
        let refused = || self.entries.iter().filter(|entry| is_refused(&entry.what)).count();
        self.entries.len() < MAX_ENTRIES && (!is_refused(what) || refused() < MAX_REFUSED)
    }

    /// Adds an entry; beyond the bound it is only counted.
    pub fn push(&mut self, now: Timestamp, what: What) {
        if !self.has_room_for(&what) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let at_us = u64::try_from(now.since(self.origin).as_micros()).unwrap_or(u64::MAX);
        self.entries.push(Entry { at_us, what: what.bounded() });
    }

    /// The gap that the far side heard, if the new device was heard.
    #[must_use]
    pub fn gap_us(&self) -> Option<u64> {
        self.entries.iter().rev().find_map(|entry| match entry.what {
            What::Heard { gap_us, .. } => Some(gap_us),
            _ => None,
        })
    }

    /// As the store keeps it and the API shows it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and vectors always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Where the text is not one of ours.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As a person reads it: one line per entry, descriptions indented below theirs.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}\n", self.started);
        for entry in &self.entries {
            let _ = write!(text, "{:>9}.{:03} ms  ", entry.at_us / 1000, entry.at_us % 1000);
            entry.what.render(&mut text);
            text.push('\n');
        }
        if self.dropped > 0 {
            let _ = writeln!(text, "               and {} more", self.dropped);
        }
        text
    }
}

impl What {
    fn bounded(mut self) -> Self {
        match &mut self {
            Self::Description { text, .. } => *text = cut(&redact_description(text), MAX_DESCRIPTION),
            Self::Requested { by: text, .. }
            | Self::Refused { reason: text, .. }
            | Self::RolledBack { reason: text }
            | Self::Request { method: text, .. }
            | Self::Response { method: text, .. }
            | Self::Rejected { method: text, .. }
            | Self::Note { text } => *text = clean(text),
            Self::Granted { from, to } => (*from, *to) = (clean(from), clean(to)),
            Self::State { .. }
            | Self::Stored
            | Self::Swapped
            | Self::Heard { .. }
            | Self::Media { .. }
            | Self::Quality { .. }
            | Self::Released
            | Self::HoldOff { .. }
            | Self::HoldOffEnded
            | Self::Undone => {}
        }
        self
    }

    fn render(&self, text: &mut String) {
        let _ = match self {
            Self::Requested { trigger, by } => write!(text, "requested by {by} ({})", trigger.as_str()),
            Self::State { state } => write!(text, "[{}]", state.as_str()),
            Self::Granted { from, to } => write!(text, "granted: {from} -> {to}"),
            Self::Refused { reason, status } => write!(text, "refused: {reason} ({status})"),
            Self::Stored => write!(text, "session information stored"),
            Self::Request { side, way, method } => write!(text, "{} {method}", arrow(*side, *way)),
            Self::Response { side, way, method, status } => {
                write!(text, "{} {status} {method}", arrow(*side, *way))
            }
            Self::Description { side, when, text: description } => {
                let when = if *when == When::Before { "before" } else { "after" };
                let _ = write!(text, "description of {} {when}", name(*side));
                for line in description.lines() {
                    let _ = write!(text, "\n{:>20}{line}", "");
                }
                Ok(())
            }
            Self::Swapped => write!(text, "route swapped"),
            Self::Heard { gap_us, lost } => {
                write!(text, "new device heard: gap {}.{:03} ms, {lost} lost", gap_us / 1000, gap_us % 1000)
            }
            Self::Media { side, received, sent, lost, jitter_us } => write!(
                text,
                "media of {}: {received} received, {sent} sent, {lost} lost, jitter {}.{:03} ms",
                name(*side),
                jitter_us / 1000,
                jitter_us % 1000
            ),
            Self::Quality { when: When::Before, mos } => {
                write!(text, "quality before: MOS {mos:.2} (old device)")
            }
            Self::Quality { when: When::After, mos } => {
                write!(text, "quality after: MOS {mos:.2} (new device)")
            }
            Self::Released => write!(text, "old device released"),
            Self::HoldOff { seconds } => write!(text, "hold-off of the old device: {seconds} s"),
            Self::Rejected { method, retry_after } => {
                write!(text, "old device refused: {method}, retry after {retry_after} s")
            }
            Self::HoldOffEnded => write!(text, "hold-off ended"),
            Self::RolledBack { reason } => write!(text, "rolled back: {reason}"),
            Self::Undone => write!(text, "undone"),
            Self::Note { text: note } => write!(text, "{note}"),
        };
    }
}

/// A description without what must not be kept: keys, ICE passwords and fingerprints go, addresses lose their last
/// part, `o=` its user name.
#[must_use]
pub fn redact_description(text: &str) -> String {
    const SECRET: [&str; 6] =
        ["a=crypto:", "k=", "a=ice-pwd:", "a=ice-ufrag:", "a=fingerprint:", "a=key-mgmt:"];
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(name) = SECRET.iter().find(|name| line.starts_with(**name)) {
            kept.push_str(name);
            kept.push('…');
        } else if let Some(rest) = line.strip_prefix("o=") {
            kept.push_str("o=- ");
            mask_words(rest.split_once(' ').map_or("", |(_, rest)| rest), &mut kept);
        } else if ["c=", "a=candidate:", "a=rtcp:"].iter().any(|name| line.starts_with(name)) {
            mask_words(line, &mut kept);
        } else {
            kept.extend(line.chars().filter(|c| !c.is_control()));
        }
        kept.push('\n');
    }
    kept
}

fn mask_words(line: &str, kept: &mut String) {
    for (count, word) in line.split(' ').enumerate() {
        if count > 0 {
            kept.push(' ');
        }
        match word.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(ip)) if !ip.is_unspecified() => {
                let [a, b, c, _] = ip.octets();
                let _ = write!(kept, "{a}.{b}.{c}.x");
            }
            Ok(std::net::IpAddr::V6(ip)) if !ip.is_unspecified() => {
                let [a, b, c, ..] = ip.segments();
                let _ = write!(kept, "{a:x}:{b:x}:{c:x}::x");
            }
            _ => kept.extend(word.chars().filter(|c| !c.is_control())),
        }
    }
}

fn clean(text: &str) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    printable
}

fn cut(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
        Side::Far => "far",
    }
}

fn arrow(side: Side, way: Heading) -> String {
    let way = if way == Heading::Out { "<-" } else { "->" };
    format!("{} {way}", name(side))
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Timeline {
        Timeline::new(Now { at: Timestamp::from_micros(1_000_000), unix: UnixMillis(951_782_400_000) })
    }

    fn at(us: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000 + us)
    }

    #[test]
    fn it_reads_as_a_person_would_tell_it() {
        let mut line = started();
        line.push(at(0), What::Requested { trigger: Trigger::StarCode, by: "alice*mobile".into() });
        line.push(at(120), What::Granted { from: "alice*desk".into(), to: "alice*mobile".into() });
        line.push(
            at(900),
            What::Response { side: Side::New, way: Heading::Out, method: "INVITE".into(), status: 200 },
        );
        line.push(at(41_900), What::Request { side: Side::New, way: Heading::In, method: "ACK".into() });
        line.push(at(41_950), What::Swapped);
        line.push(at(60_000), What::Heard { gap_us: 21_004, lost: 0 });
        line.push(at(60_100), What::Rejected { method: "INVITE\r\n".into(), retry_after: 29 });
        line.push(at(60_200), What::Quality { when: When::Before, mos: 4.406 });
        line.push(at(90_000_000), What::Quality { when: When::After, mos: 3.9 });
        let expected = "2000-02-29T00:00:00.000Z
        0.000 ms  requested by alice*mobile (star_code)
        0.120 ms  granted: alice*desk -> alice*mobile
        0.900 ms  new <- 200 INVITE
       41.900 ms  new -> ACK
       41.950 ms  route swapped
       60.000 ms  new device heard: gap 21.004 ms, 0 lost
       60.100 ms  old device refused: INVITE, retry after 29 s
       60.200 ms  quality before: MOS 4.41 (old device)
    90000.000 ms  quality after: MOS 3.90 (new device)
";
        assert_eq!(line.render(), expected);
        assert_eq!(line.gap_us(), Some(21_004));
    }

    #[test]
    fn it_is_bounded_and_survives_the_store() {
        let mut line = started();
        for n in 0..200 {
            line.push(at(n), What::Note { text: "é".repeat(1000) });
        }
        assert_eq!((line.entries.len(), line.dropped), (MAX_ENTRIES, 104));
        assert!(line.render().ends_with("and 104 more\n"));
        let back = Timeline::from_json(&line.to_json()).unwrap();
        assert_eq!((back.started, back.entries), (line.started, line.entries));
        assert!(Timeline::from_json("[]").is_err());
    }

    #[test]
    fn a_device_that_is_refused_again_and_again_leaves_room_for_what_comes_after() {
        let mut line = started();
        let refused = || What::Rejected { method: "INVITE".into(), retry_after: 30 };
        (0..1000).for_each(|n| line.push(at(n), refused()));
        assert_eq!((line.entries.len(), line.dropped), (MAX_REFUSED, 1000 - MAX_REFUSED as u32));
        assert!(!line.has_room_for(&refused()) && line.has_room_for(&What::HoldOffEnded));
        line.push(at(1000), What::HoldOffEnded);
        assert_eq!(line.entries.last().map(|entry| &entry.what), Some(&What::HoldOffEnded));
    }

    #[test]
    fn descriptions_lose_keys_and_addresses() {
        let text = "v=0\r\no=alice 1 1 IN IP4 203.0.113.77\r\nc=IN IP6 2001:db8:1:2::77\r\nm=audio 4000 RTP/SAVP 0\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\na=ice-pwd:hush\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n";
        let redacted = redact_description(text);
        for secret in ["alice", "203.0.113.77", "::77", "c2VjcmV0", "hush"] {
            assert!(!redacted.contains(secret), "{secret} in {redacted}");
        }
        assert!(
            redacted.contains("o=- 1 1 IN IP4 203.0.113.x\n")
                && redacted.contains("m=audio 4000 RTP/SAVP 0\n")
        );
        assert!(redacted.contains("c=IN IP4 0.0.0.0\na=sendrecv\n"));
        let mut line = started();
        line.push(at(0), What::Description { side: Side::Far, when: When::Before, text: text.repeat(100) });
        assert!(!line.to_json().contains("c2VjcmV0") && line.to_json().len() < 2 * MAX_DESCRIPTION);
    }
}
