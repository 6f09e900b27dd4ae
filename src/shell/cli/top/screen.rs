//! What is shown: which list, how it is sorted and filtered, where in it; and what a key changes about that.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::ask::{time, word};
use super::super::output::{or_dash, printable};
use super::sample::Sample;
use crate::base::UnixMillis;
use crate::engine::view::{CallView, Time};

/// Longest filter.
const MAX_FILTER: usize = 64;

/// One of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Calls,
    Moves,
    Trunks,
    Registrations,
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Calls, Self::Moves, Self::Trunks, Self::Registrations];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Moves => "moves",
            Self::Trunks => "trunks",
            Self::Registrations => "registrations",
        }
    }

    pub(super) const fn headings(self) -> &'static [&'static str] {
        match self {
            Self::Calls => {
                &["FROM", "TO", "STATE", "FOR S", "CODEC", "TRUNK", "MOVES", "LOSS %", "MOS", "ID"]
            }
            Self::Moves => &["REQUESTED", "USER", "FROM", "TO", "TRIGGER", "STATE", "REASON", "GAP MS"],
            Self::Trunks => &["NAME", "STATE", "CALLS", "MOST", "REGISTRATION", "TARGETS UP"],
            Self::Registrations => &["USER", "DEVICE", "TRANSPORT", "ADDRESS", "EXPIRES S", "USER AGENT"],
        }
    }
}

/// What to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Quit,
    /// Ask the node at once.
    Look,
    Draw,
}

/// The node is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    since: UnixMillis,
    why: String,
}

impl Missed {
    /// As a line.
    pub(super) fn line(&self) -> String {
        // The hour is enough, and that of records and logs.
        let since = self.since.to_string();
        let hour = since.get(11..19).unwrap_or_default();
        printable(&format!("cannot reach the node since {hour} UTC: {}", self.why))
    }
}

/// The screen.
#[derive(Default)]
pub(super) struct Screen {
    /// What was seen last.
    pub(super) sample: Option<Sample>,
    /// Why it is old.
    pub(super) missed: Option<Missed>,
    pub(super) tab: Tab,
    pub(super) is_paused: bool,
    /// Column that the list is sorted by; none: as the node gives it.
    pub(super) sort: Option<usize>,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// The first row that is shown.
    pub(super) top: usize,
}

impl Screen {
    /// The list that the next look needs.
    pub(super) const fn wants(&self) -> Tab {
        self.tab
    }

    /// Whether there is a look to take. A pause shows what is there.
    pub(super) const fn is_due(&self) -> bool {
        !self.is_paused || self.sample.is_none() || self.missed.is_some()
    }

    /// Shows what was seen.
    pub(super) fn see(&mut self, sample: Sample) {
        (self.sample, self.missed) = (Some(sample), None);
    }

    /// The node was not reached; what was seen before stays.
    pub(super) fn miss(&mut self, now: UnixMillis, why: &str) {
        let since = self.missed.take().map_or(now, |before| before.since);
        self.missed = Some(Missed { since, why: why.to_owned() });
    }

    /// What stands over a list.
    pub(super) fn title(&self, tab: Tab) -> String {
        let title = tab.title();
        let part = self.sample.as_ref().filter(|_| tab == self.tab).and_then(|sample| sample.part(tab));
        part.map_or_else(|| title.to_owned(), |part| format!("{title}: {part}"))
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Then {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Then::Quit;
        }
        if self.is_typing {
            return self.type_in(key.code);
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Then::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => {
                let last = self.tab.headings().len() - 1;
                self.sort = match self.sort {
                    None => Some(0),
                    Some(at) if at < last => Some(at + 1),
                    Some(_) => None,
                };
            }
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Down | KeyCode::Char('j') => self.top = self.top.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::PageDown => self.top = self.top.saturating_add(10),
            KeyCode::PageUp => self.top = self.top.saturating_sub(10),
            KeyCode::Home => self.top = 0,
            KeyCode::Tab => return self.turn_to(1),
            KeyCode::BackTab => return self.turn_to(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                let at = digit as usize - '1' as usize;
                let by = at + Tab::ALL.len() - self.place();
                return self.turn_to(by);
            }
            _ => {}
        }
        Then::Draw
    }

    fn type_in(&mut self, key: KeyCode) -> Then {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.filter.len() < MAX_FILTER => self.filter.push(letter),
            _ => {}
        }
        self.top = 0;
        Then::Draw
    }

    fn place(&self) -> usize {
        Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0)
    }

    fn turn_to(&mut self, by: usize) -> Then {
        let at = (self.place() + by) % Tab::ALL.len();
        self.tab = Tab::ALL.get(at).copied().unwrap_or_default();
        (self.sort, self.is_reversed, self.top) = (None, false, 0);
        // A pause shows what is there; another list has to be asked for once.
        self.sample = None;
        Then::Look
    }

    /// The rows of the list, as they are sorted and filtered.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let mut rows = rows(sample, self.tab);
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| wanted.is_empty() || row.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
        if let Some(column) = self.sort {
            rows.sort_by(|a, b| compare(cell(a, column), cell(b, column)));
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }
}

fn cell(row: &[String], column: usize) -> &str {
    row.get(column).map_or("", String::as_str)
}

/// Numbers by their value and before words.
fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        (Ok(_), Err(_)) => std::cmp::Ordering::Less,
        (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// The rows of a list.
pub(super) fn rows(sample: &Sample, tab: Tab) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = match tab {
        Tab::Calls => sample.calls.iter().map(|call| call_row(sample, call)).collect(),
        Tab::Moves => sample
            .moves
            .iter()
            .map(|one| {
                vec![
                    time(Some(one.requested)),
                    one.user.clone(),
                    or_dash(one.from_device.as_deref()),
                    or_dash(one.to_device.as_deref()),
                    one.trigger.as_str().to_owned(),
                    one.state.as_str().to_owned(),
                    or_dash(one.reason.as_deref()),
                    one.gap_ms.map_or_else(|| "-".to_owned(), |gap| format!("{gap:.1}")),
                ]
            })
            .collect(),
        Tab::Trunks => sample
            .trunks
            .iter()
            .map(|trunk| {
                let up = trunk.targets.iter().filter(|target| target.state == "up").count();
                let registration = trunk.registration.as_ref().map(|known| known.state.as_str());
                vec![
                    trunk.name.clone(),
                    trunk.state.clone(),
                    trunk.calls.to_string(),
                    trunk.max_calls.map_or_else(|| "-".to_owned(), |most| most.to_string()),
                    or_dash(registration),
                    format!("{up}/{}", trunk.targets.len()),
                ]
            })
            .collect(),
        Tab::Registrations => sample
            .registrations
            .iter()
            .map(|known| {
                vec![
                    known.user.clone(),
                    known.device.clone(),
                    known.transport.clone(),
                    known.address.clone(),
                    known.expires_s.to_string(),
                    or_dash(known.user_agent.as_deref()),
                ]
            })
            .collect(),
    };
    // What peers call themselves moves no cursor.
    rows.iter_mut().flatten().for_each(|cell| *cell = printable(cell));
    rows
}

fn call_row(sample: &Sample, call: &CallView) -> Vec<String> {
    let Time(since) = call.answered.unwrap_or(call.started);
    let now = sample.status.started.0.0.saturating_add(sample.status.uptime_s.saturating_mul(1000));
    let heard = sample.quality.get(&call.id).copied().unwrap_or_default();
    let number = |value: Option<f64>, digits| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let loss =
        if heard.is_silent { "SILENT".to_owned() } else { number(heard.loss.map(|loss| loss * 100.0), 2) };
    vec![
        call.from.clone(),
        call.to.clone(),
        word(&call.state),
        (now.saturating_sub(since.0) / 1000).to_string(),
        or_dash(call.codec.as_deref()),
        or_dash(call.trunk.as_deref()),
        call.moves.to_string(),
        loss,
        number(heard.mos, 2),
        call.id.clone(),
    ]
}
