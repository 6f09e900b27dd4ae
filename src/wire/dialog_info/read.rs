//! Reading, with caps: no DTD, no entities but the five of XML and character references, bounded size, depth and
//! number of dialogs. Elements that we do not know are skipped.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{Coverage, Dialog, DialogInfo, DialogState, Direction, Movable, Participant};

/// The largest document that is read.
const MAX_BYTES: usize = 64 * 1024;
/// The deepest nesting: the schema has five levels.
const MAX_DEPTH: usize = 12;
/// The most dialogs of a document.
const MAX_DIALOGS: usize = 256;

/// Why a document is not read. Such a body is answered 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Longer than 64 KiB.
    #[error("document of {0} bytes")]
    TooLong(usize),
    /// Deeper than 12 elements.
    #[error("nested too deep at byte {0}")]
    TooDeep(u64),
    /// More than 256 dialogs.
    #[error("too many dialogs")]
    TooMany,
    /// A document type declaration.
    #[error("document type declaration at byte {0}")]
    Dtd(u64),
    /// Not XML, or not UTF-8.
    #[error("not well formed at byte {0}")]
    NotWellFormed(u64),
    /// XML, but no dialog-info: what is missing or wrong.
    #[error("no dialog-info: {0}")]
    NotDialogInfo(&'static str),
}

impl DialogInfo {
    /// Reads a document.
    ///
    /// # Errors
    /// [`ReadError`] says what is wrong and where.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.len() > MAX_BYTES {
            return Err(ReadError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ReadError::NotWellFormed(error.valid_up_to() as u64))?;
        let mut reader = Reader::from_str(text);
        let mut builder = Builder::default();
        loop {
            let at = reader.buffer_position();
            match reader.read_event().map_err(|_| ReadError::NotWellFormed(at))? {
                Event::Start(element) => builder.open(&element, at)?,
                Event::Empty(element) => {
                    builder.open(&element, at)?;
                    builder.close();
                }
                Event::End(_) => builder.close(),
                Event::Text(text) => builder.text.push_str(&text.xml10_content()),
                Event::CData(text) => builder.text.push_str(&text.xml10_content()),
                Event::GeneralRef(entity) => builder.text.push(resolve(&entity, at)?),
                Event::DocType(_) => return Err(ReadError::Dtd(at)),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => return builder.finish(at),
            }
        }
    }
}

fn resolve(entity: &BytesRef<'_>, at: u64) -> Result<char, ReadError> {
    match entity.resolve_char_ref() {
        Ok(Some(character)) => Ok(character),
        Ok(None) => match entity.xml10_content().as_ref() {
            "amp" => Ok('&'),
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "quot" => Ok('"'),
            "apos" => Ok('\''),
            _ => Err(ReadError::NotWellFormed(at)),
        },
        Err(_) => Err(ReadError::NotWellFormed(at)),
    }
}

/// The place in a document: what the open elements mean to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Dialog,
    State,
    Duration,
    Local,
    Remote,
    Identity,
    Other,
}

#[derive(Default)]
struct Builder {
    path: Vec<Place>,
    text: String,
    root: Option<DialogInfo>,
    dialog: Option<PartialDialog>,
}

struct PartialDialog {
    dialog: Dialog,
    state: Option<DialogState>,
}

impl Builder {
    fn open(&mut self, element: &BytesStart<'_>, at: u64) -> Result<(), ReadError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(ReadError::TooDeep(at));
        }
        self.text.clear();
        let local = element.local_name();
        let place = match (self.path.last(), local.as_ref()) {
            (None, "dialog-info") if self.root.is_none() => {
                self.root = Some(read_root(element, at)?);
                Place::Root
            }
            (None, _) => return Err(ReadError::NotDialogInfo("another root element")),
            (Some(Place::Root), "dialog") => {
                if self.root.as_ref().is_some_and(|root| root.dialogs.len() >= MAX_DIALOGS) {
                    return Err(ReadError::TooMany);
                }
                self.dialog = Some(PartialDialog { dialog: read_dialog(element, at)?, state: None });
                Place::Dialog
            }
            (Some(Place::Dialog), "state") => Place::State,
            (Some(Place::Dialog), "duration") => Place::Duration,
            (Some(Place::Dialog), "local") => Place::Local,
            (Some(Place::Dialog), "remote") => Place::Remote,
            (Some(Place::Dialog), "move") => {
                let movable = read_move(element, at)?;
                if let Some(partial) = &mut self.dialog {
                    partial.dialog.movable = Some(movable);
                }
                Place::Other
            }
            (Some(Place::Local | Place::Remote), "identity") => {
                let display = attribute(element, "display", at)?.unwrap_or_default();
                if let Some(side) = self.side() {
                    side.display = display;
                }
                Place::Identity
            }
            (Some(Place::Local | Place::Remote), "target") => {
                let target = attribute(element, "uri", at)?.unwrap_or_default();
                if let Some(side) = self.side() {
                    side.target = target;
                }
                Place::Other
            }
            (Some(_), _) => Place::Other,
        };
        self.path.push(place);
        Ok(())
    }

    fn close(&mut self) {
        let closed = self.path.pop();
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        match closed {
            Some(Place::Identity) => {
                if let Some(side) = self.side() {
                    side.identity = text.into();
                }
            }
            Some(Place::State) => {
                if let Some(partial) = &mut self.dialog {
                    partial.state = DialogState::ALL.into_iter().find(|state| state.as_str() == text);
                }
            }
            Some(Place::Duration) => {
                if let Some(partial) = &mut self.dialog {
                    partial.dialog.duration = text.parse().ok();
                }
            }
            Some(Place::Dialog) => {
                // A dialog without a state that we know says nothing.
                if let (Some(PartialDialog { dialog, state: Some(state) }), Some(root)) =
                    (self.dialog.take(), &mut self.root)
                {
                    root.dialogs.push(Dialog { state, ..dialog });
                }
            }
            Some(Place::Root | Place::Local | Place::Remote | Place::Other) | None => {}
        }
    }

    /// The side whose element is open.
    fn side(&mut self) -> Option<&mut Participant> {
        let dialog = &mut self.dialog.as_mut()?.dialog;
        let side = match self.path.last()? {
            Place::Local => &mut dialog.local,
            Place::Remote => &mut dialog.remote,
            Place::Root | Place::Dialog | Place::State | Place::Duration | Place::Identity | Place::Other => {
                return None;
            }
        };
        Some(side.get_or_insert_with(|| Participant {
            display: String::new(),
            identity: String::new(),
            target: String::new(),
        }))
    }

    fn finish(self, at: u64) -> Result<DialogInfo, ReadError> {
        if !self.path.is_empty() {
            return Err(ReadError::NotWellFormed(at));
        }
        self.root.ok_or(ReadError::NotDialogInfo("empty"))
    }
}

fn read_root(element: &BytesStart<'_>, at: u64) -> Result<DialogInfo, ReadError> {
    let version = attribute(element, "version", at)?.and_then(|text| text.trim().parse().ok());
    let coverage = match attribute(element, "state", at)?.as_deref() {
        Some("full") => Coverage::Full,
        Some("partial") => Coverage::Partial,
        _ => return Err(ReadError::NotDialogInfo("state is neither full nor partial")),
    };
    Ok(DialogInfo {
        version: version.ok_or(ReadError::NotDialogInfo("version is no number"))?,
        coverage,
        entity: attribute(element, "entity", at)?.ok_or(ReadError::NotDialogInfo("no entity"))?,
        dialogs: Vec::new(),
    })
}

fn read_dialog(element: &BytesStart<'_>, at: u64) -> Result<Dialog, ReadError> {
    let id = attribute(element, "id", at)?.ok_or(ReadError::NotDialogInfo("a dialog without id"))?;
    let direction = match attribute(element, "direction", at)?.as_deref() {
        Some("initiator") => Some(Direction::Initiator),
        Some("recipient") => Some(Direction::Recipient),
        _ => None,
    };
    Ok(Dialog {
        call_id: attribute(element, "call-id", at)?,
        local_tag: attribute(element, "local-tag", at)?,
        remote_tag: attribute(element, "remote-tag", at)?,
        direction,
        ..Dialog::new(id, DialogState::Trying)
    })
}

fn read_move(element: &BytesStart<'_>, at: u64) -> Result<Movable, ReadError> {
    if attribute(element, "allowed", at)?.as_deref() == Some("yes") {
        return Ok(Movable::Yes);
    }
    let retry_after = attribute(element, "retry-after", at)?.and_then(|text| text.parse().ok());
    Ok(Movable::No { reason: attribute(element, "reason", at)?.unwrap_or_default(), retry_after })
}

/// The value of an attribute; the reader checks all of them for being well formed and there once.
fn attribute(element: &BytesStart<'_>, name: &str, at: u64) -> Result<Option<String>, ReadError> {
    let mut found = None;
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|_| ReadError::NotWellFormed(at))?;
        if attribute.key.as_ref() == name {
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| ReadError::NotWellFormed(at))?;
            found = Some(value.into_owned());
        }
    }
    Ok(found)
}
