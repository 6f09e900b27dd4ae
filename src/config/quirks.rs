//! `[[quirk]]`.

use super::sections::algorithms;
use super::tree::Section;
use crate::call::quirks::{Dtmf, Hint, QuirkTable, Row, Setting};

/// Most rows of one's own; each is looked at for every call.
const MAX_ROWS: usize = 200;

pub(super) fn read(root: &mut Section<'_>) -> QuirkTable {
    let mut rows = Vec::new();
    root.each("quirk", |section| rows.extend(row(section)));
    if rows.len() > MAX_ROWS {
        root.fault("quirk", format!("at most {MAX_ROWS} are possible"));
        return QuirkTable::default();
    }
    QuirkTable::new(rows).unwrap_or_else(|_| {
        root.fault("quirk", "the patterns are too large together");
        QuirkTable::default()
    })
}

fn row(mut section: Section<'_>) -> Option<Row> {
    let user_agent = section.read_needed("user_agent", |text| match regex::Regex::new(text) {
        Ok(_) if text.is_empty() => Err("would be every user agent".to_owned()),
        Ok(_) => Ok(Box::<str>::from(text)),
        Err(error) => Err(format!("is no pattern: {error}")),
    });
    let hints = [
        ("all", Hint::All),
        ("call-info", Hint::CallInfo),
        ("alert-info", Hint::AlertInfo),
        ("ring-class", Hint::RingClass),
        ("answer-mode", Hint::AnswerMode),
        ("none", Hint::None),
    ];
    let mut settings = Vec::new();
    settings.extend(section.choice("auto_answer", &hints).map(Setting::AutoAnswer));
    let ways = [("auto", Dtmf::Auto), ("info", Dtmf::Info)];
    settings.extend(section.choice("dtmf", &ways).map(Setting::Dtmf));
    settings.extend(section.flag("rpid").map(Setting::RemotePartyId));
    settings.extend(section.flag("message").map(Setting::Message));
    settings.extend(section.flag("mwi").map(Setting::Mwi));
    settings.extend(section.flag("update").map(Setting::Update));
    settings.extend(section.flag("prack").map(Setting::Prack));
    settings.extend(section.flag("replaces_strict").map(Setting::StrictReplaces));
    settings.extend(algorithms(&mut section).map(Setting::Algorithms));
    section.finish();
    Some(Row { user_agent: user_agent?.value, settings })
}
