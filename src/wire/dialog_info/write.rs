//! Writing: one line of XML, everything escaped, characters that XML cannot carry left out.

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::{Coverage, Dialog, DialogInfo, Direction, MOVE_NAMESPACE, Movable, NAMESPACE, Participant};

impl DialogInfo {
    /// The document as text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut writer = Writer::new(Vec::with_capacity(256 + 768 * self.dialogs.len()));
        // Writing into memory has no way to fail.
        let _ = self.write_into(&mut writer);
        String::from_utf8(writer.into_inner()).unwrap_or_default()
    }

    fn write_into(&self, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
        out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let mut root = BytesStart::new("dialog-info");
        root.push_attribute(("xmlns", NAMESPACE));
        root.push_attribute(("version", self.version.to_string().as_str()));
        root.push_attribute(("state", if self.coverage == Coverage::Full { "full" } else { "partial" }));
        root.push_attribute(("entity", &*printable(&self.entity)));
        out.write_event(Event::Start(root))?;
        for dialog in &self.dialogs {
            write_dialog(dialog, out)?;
        }
        out.write_event(Event::End(BytesEnd::new("dialog-info")))
    }
}

fn write_dialog(dialog: &Dialog, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
    let mut start = BytesStart::new("dialog");
    start.push_attribute(("id", &*printable(&dialog.id)));
    let direction = dialog.direction.map(|direction| match direction {
        Direction::Initiator => "initiator",
        Direction::Recipient => "recipient",
    });
    for (name, value) in [
        ("call-id", dialog.call_id.as_deref()),
        ("local-tag", dialog.local_tag.as_deref()),
        ("remote-tag", dialog.remote_tag.as_deref()),
        ("direction", direction),
    ] {
        if let Some(value) = value {
            start.push_attribute((name, &*printable(value)));
        }
    }
    out.write_event(Event::Start(start))?;
    write_text("state", dialog.state.as_str(), out)?;
    if let Some(duration) = dialog.duration {
        write_text("duration", &duration.to_string(), out)?;
    }
    for (name, side) in [("local", &dialog.local), ("remote", &dialog.remote)] {
        if let Some(side) = side {
            write_participant(name, side, out)?;
        }
    }
    if let Some(movable) = &dialog.movable {
        out.write_event(Event::Empty(move_element(movable)))?;
    }
    out.write_event(Event::End(BytesEnd::new("dialog")))
}

fn write_participant(name: &str, side: &Participant, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
    out.write_event(Event::Start(BytesStart::new(name)))?;
    let mut identity = BytesStart::new("identity");
    if !side.display.is_empty() {
        identity.push_attribute(("display", &*printable(&side.display)));
    }
    out.write_event(Event::Start(identity))?;
    out.write_event(Event::Text(BytesText::new(&printable(&side.identity))))?;
    out.write_event(Event::End(BytesEnd::new("identity")))?;
    if !side.target.is_empty() {
        let mut target = BytesStart::new("target");
        target.push_attribute(("uri", &*printable(&side.target)));
        out.write_event(Event::Empty(target))?;
    }
    out.write_event(Event::End(BytesEnd::new(name)))
}

fn move_element(movable: &Movable) -> BytesStart<'static> {
    let mut element = BytesStart::new("m:move");
    element.push_attribute(("xmlns:m", MOVE_NAMESPACE));
    match movable {
        Movable::Yes => element.push_attribute(("allowed", "yes")),
        Movable::No { reason, retry_after } => {
            element.push_attribute(("allowed", "no"));
            element.push_attribute(("reason", &*printable(reason)));
            if let Some(seconds) = retry_after {
                element.push_attribute(("retry-after", seconds.to_string().as_str()));
            }
        }
    }
    element
}

fn write_text(name: &str, text: &str, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
    out.write_event(Event::Start(BytesStart::new(name)))?;
    out.write_event(Event::Text(BytesText::new(text)))?;
    out.write_event(Event::End(BytesEnd::new(name)))
}

/// XML 1.0 section 2.2: most control characters have no form at all. Line ends and tabs go too, because a reader
/// would turn them into spaces in attributes.
fn printable(text: &str) -> Cow<'_, str> {
    let fits = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.chars().all(fits) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| fits(*c)).collect())
    }
}
