//! A call as a ladder: its parties side by side, segue among them, an arrow for each message.
//!
//! Who called us stands on the left, whom we called on the right, so that a call goes from left to right. What does not
//! fit the width gives way in this order: the column of descriptions, then the lanes, for a plain list.

use crate::engine::trace::{TraceMessage, TraceView, Way};

/// What lines are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Box drawing.
    Unicode,
    /// What every terminal has.
    Ascii,
}

/// Columns of the time.
const TIME: usize = 10;
/// The narrowest lane that an arrow with `180 Ringing` fits, and the widest that helps.
const NARROW: usize = 15;
const WIDE: usize = 26;
/// The narrowest column of descriptions that is worth one.
const NOTES: usize = 30;

impl Charset {
    const fn bar(self) -> char {
        if matches!(self, Self::Unicode) { '│' } else { '|' }
    }

    const fn line(self) -> char {
        if matches!(self, Self::Unicode) { '─' } else { '-' }
    }

    const fn head(self, goes_right: bool) -> char {
        match (self, goes_right) {
            (Self::Unicode, true) => '▶',
            (Self::Unicode, false) => '◀',
            (Self::Ascii, true) => '>',
            (Self::Ascii, false) => '<',
        }
    }
}

/// The ladder of a call for a terminal of `width` columns.
#[must_use]
pub fn ladder(view: &TraceView, width: usize, charset: Charset) -> String {
    let mut text = heading(view);
    let lanes = view.parties.len() + 1;
    let room = width.saturating_sub(TIME);
    if lanes * NARROW > room {
        list(view, width, &mut text);
    } else {
        let notes = room.saturating_sub(lanes * NARROW);
        let lane = if notes >= NOTES { (room - NOTES) / lanes } else { room / lanes };
        Ladder::new(view, lane.min(WIDE), width, charset).draw(&mut text);
    }
    if view.left_out > 0 {
        text.push_str(&format!("{} more messages of the call were not kept\n", view.left_out));
    }
    text
}

fn heading(view: &TraceView) -> String {
    let start = view.messages.first().map(|first| first.time.0.to_string()).unwrap_or_default();
    let (dialogs, messages) = (view.parties.len(), view.messages.len());
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (dialogs, messages) = (many(dialogs, "dialog"), many(messages, "message"));
    format!("{}  {start}  {dialogs}, {messages}\n\n", printable(&view.call))
}

/// What lanes, places and widths a ladder has.
struct Ladder<'a> {
    view: &'a TraceView,
    charset: Charset,
    width: usize,
    lane: usize,
    /// The party of each lane, from the left; none for segue.
    order: Vec<Option<usize>>,
}

impl<'a> Ladder<'a> {
    fn new(view: &'a TraceView, lane: usize, width: usize, charset: Charset) -> Self {
        let came = |party: &usize| {
            let first = view.messages.iter().find(|message| message.party == *party);
            first.is_some_and(|message| message.way == Way::In)
        };
        let parties = 0..view.parties.len();
        let left = parties.clone().filter(came).map(Some);
        let right = parties.filter(|party| !came(party)).map(Some);
        let order = left.chain([None]).chain(right).collect();
        Self { view, charset, width, lane, order }
    }

    /// The column of a lane's bar.
    fn place(&self, lane: usize) -> usize {
        TIME + lane * self.lane + self.lane / 2
    }

    fn lane_of(&self, party: Option<usize>) -> usize {
        self.order.iter().position(|lane| *lane == party).unwrap_or(0)
    }

    /// The column where descriptions begin; none where they have lines of their own.
    fn notes(&self) -> Option<usize> {
        let end = TIME + self.order.len() * self.lane;
        (end + NOTES <= self.width).then_some(end)
    }

    fn draw(&self, text: &mut String) {
        let peer = |party: usize| self.view.messages.iter().find(|message| message.party == party);
        let name = |lane: &Option<usize>| match lane {
            None => "segue".to_owned(),
            Some(party) => self.view.parties.get(*party).map_or_else(String::new, |party| party.name.clone()),
        };
        let address = |lane: &Option<usize>| match lane {
            None => self.view.node.clone(),
            Some(party) => peer(*party).map_or_else(String::new, |message| message.peer.clone()),
        };
        let transport = |lane: &Option<usize>| match lane {
            None => String::new(),
            Some(party) => peer(*party).map_or_else(String::new, |message| message.transport.clone()),
        };
        for row in [&name as &dyn Fn(&Option<usize>) -> String, &address, &transport] {
            self.push(self.centred(&self.order.iter().map(row).collect::<Vec<_>>()), text);
        }
        for message in &self.view.messages {
            self.draw_message(message, text);
        }
        text.push('\n');
    }

    fn draw_message(&self, message: &TraceMessage, text: &mut String) {
        let mut line = self.bars();
        let time: Vec<char> = format!("{:>9}", offset(message)).chars().collect();
        line.splice(..time.len(), time);
        let (party, segue) = (self.lane_of(Some(message.party)), self.lane_of(None));
        let (from, to) = match message.way {
            Way::In => (self.place(party), self.place(segue)),
            Way::Out => (self.place(segue), self.place(party)),
        };
        let (first, last) = (from.min(to) + 1, from.max(to));
        for place in line.get_mut(first..last).unwrap_or_default() {
            *place = self.charset.line();
        }
        let head = if to > from { last - 1 } else { first };
        if let Some(place) = line.get_mut(head) {
            *place = self.charset.head(to > from);
        }
        let room = (last - first).saturating_sub(4);
        let label: Vec<char> =
            format!(" {} ", cut(&label(message), room.saturating_sub(2))).chars().collect();
        let at = first + (last - first - label.len().min(last - first)) / 2;
        line.splice(at..at + label.len(), label);
        match (&message.sdp, self.notes()) {
            (Some(sdp), Some(notes)) => {
                line.resize(notes, ' ');
                line.extend(cut(&printable(sdp), self.width - notes).chars());
                self.push(line, text);
            }
            (Some(sdp), None) => {
                self.push(line, text);
                let mut line = vec![' '; TIME];
                line.extend(cut(&printable(sdp), self.width.saturating_sub(TIME)).chars());
                self.push(line, text);
            }
            (None, _) => self.push(line, text),
        }
    }

    fn bars(&self) -> Vec<char> {
        let mut line = vec![' '; TIME + self.order.len() * self.lane];
        for lane in 0..self.order.len() {
            if let Some(place) = line.get_mut(self.place(lane)) {
                *place = self.charset.bar();
            }
        }
        line
    }

    fn centred(&self, words: &[String]) -> Vec<char> {
        let mut line = vec![' '; TIME + self.order.len() * self.lane];
        for (lane, word) in words.iter().enumerate() {
            let word: Vec<char> = cut(&printable(word), self.lane - 1).chars().collect();
            let at = self.place(lane) - word.len() / 2;
            line.splice(at..at + word.len(), word);
        }
        line
    }

    fn push(&self, line: Vec<char>, text: &mut String) {
        let line: String = line.into_iter().collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// One line for each message, where there is no room for lanes.
fn list(view: &TraceView, width: usize, text: &mut String) {
    for message in &view.messages {
        let party = view.parties.get(message.party).map_or("?", |party| &party.name);
        let way = match message.way {
            Way::In => "from",
            Way::Out => "to",
        };
        let mut line = format!("{:>9} {} {way} {party}", offset(message), label(message));
        if let Some(sdp) = &message.sdp {
            line = format!("{line}  {sdp}");
        }
        text.push_str(&cut(&printable(&line), width));
        text.push('\n');
    }
    text.push('\n');
}

/// Seconds after the first message.
fn offset(message: &TraceMessage) -> String {
    format!("{}.{:03}", message.offset_us / 1_000_000, message.offset_us / 1_000 % 1_000)
}

fn label(message: &TraceMessage) -> String {
    let what = match (message.status, message.reason.as_deref()) {
        (Some(status), Some(reason)) if message.method == "INVITE" => format!("{status} {reason}"),
        (Some(status), _) => format!("{status} {}", message.method),
        (None, _) => message.method.clone(),
    };
    printable(&if message.repeated { format!("{what} again") } else { what })
}

/// As much of a text as fits, and a sign where it does not.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// What a peer sent must not move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|shown| if shown.is_control() { '\u{fffd}' } else { shown }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::control::testing::trace;

    #[test]
    fn a_call_goes_from_left_to_right_through_the_middle() {
        let text = ladder(&trace(), 100, Charset::Ascii);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "01  1970-01-01T00:00:00.005Z  2 dialogs, 3 messages");
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["alice*desk", "segue", "bob*desk"]);
        assert_eq!(
            lines[3].split_whitespace().collect::<Vec<_>>(),
            ["192.0.2.1:5060", "edge1", "192.0.2.2:5060"]
        );
        let invite = "    0.000           |----- INVITE ----->|                   |         audio 192.0.2.1:4000 PCMA/PCMU";
        assert_eq!(lines[5], invite);
        assert!(lines[7].starts_with("    1.234 ") && lines[7].contains("|<-- 180 Ringing ---|"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut view = trace();
        view.parties[1].name = "trunk\u{1b}[2J with a very long name indeed".into();
        view.messages[2].reason = Some("Ringing for quite a while, as it seems, \u{7} and on".into());
        view.messages[0].sdp =
            Some("audio [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:40000 opus/G722/PCMA".into());
        view.left_out = 3;
        for charset in [Charset::Unicode, Charset::Ascii] {
            for width in 20..200 {
                let text = ladder(&view, width, charset);
                let (head, body) = text.split_once("\n\n").unwrap();
                assert!(!head.contains('\u{1b}') && !body.contains('\u{1b}') && !body.contains('\u{7}'));
                for line in body.lines().filter(|line| !line.starts_with("3 more")) {
                    assert!(line.chars().count() <= width, "{width}: {line}\n{text}");
                }
                assert!(body.contains("INVITE") && body.contains("180"), "{width}\n{text}");
            }
        }
    }

    #[test]
    fn many_parties_or_none_are_no_trouble() {
        let mut view = trace();
        view.parties.extend(vec![view.parties[1].clone(); 20]);
        let text = ladder(&view, 80, Charset::Unicode);
        assert!(text.contains("    0.000 INVITE from alice*desk  audio 192.0.2.1"), "{text}");
        (view.parties, view.messages) = (Vec::new(), Vec::new());
        assert!(ladder(&view, 80, Charset::Unicode).contains("0 dialogs"));
    }
}
