//! dialog-info documents (RFC 4235): the values, [`DialogInfo::write`] and [`DialogInfo::read`].
//!
//! We write full state only: every document lists all dialogs that its watcher may see. An element of our own
//! namespace tells whether a dialog can be moved, and if not, why; RFC 4235 section 4.4 lets readers skip it.

mod read;
mod write;

pub use read::ReadError;

/// The media type of a document.
pub const CONTENT_TYPE: &str = "application/dialog-info+xml";
/// The namespace of RFC 4235.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";
/// The namespace of the `move` element.
const MOVE_NAMESPACE: &str = "urn:segue:params:xml:ns:move";

/// A document.
///
/// ```
/// use segue::wire::dialog_info::{Dialog, DialogInfo, DialogState};
/// let lamp = Dialog::new("lamp", DialogState::Confirmed);
/// let document = DialogInfo::full(42, "sip:*11@pbx.example", vec![lamp]);
/// let xml = document.write();
/// assert!(xml.contains("<state>confirmed</state>"));
/// assert_eq!(DialogInfo::read(xml.as_bytes()).unwrap(), document);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogInfo {
    /// Rises by one with each document of a subscription.
    pub version: u32,
    /// Whether it lists all dialogs.
    pub coverage: Coverage,
    /// Whose dialogs.
    pub entity: String,
    /// The dialogs.
    pub dialogs: Vec<Dialog>,
}

/// The `state` attribute of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All dialogs are listed.
    Full,
    /// Those that changed.
    Partial,
}

/// A dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Its name within the subscription.
    pub id: String,
    /// Call-ID: in what we write an identifier that we minted.
    pub call_id: Option<String>,
    /// The tag of the local side.
    pub local_tag: Option<String>,
    /// The tag of the remote side.
    pub remote_tag: Option<String>,
    /// Who placed the call, seen from the entity.
    pub direction: Option<Direction>,
    /// The state.
    pub state: DialogState,
    /// Seconds since it began.
    pub duration: Option<u64>,
    /// The entity's side.
    pub local: Option<Participant>,
    /// The other side.
    pub remote: Option<Participant>,
    /// Whether the watcher could move it.
    pub movable: Option<Movable>,
}

impl Dialog {
    /// A dialog of which only the state is told.
    #[must_use]
    pub fn new(id: impl Into<String>, state: DialogState) -> Self {
        Self {
            id: id.into(),
            call_id: None,
            local_tag: None,
            remote_tag: None,
            direction: None,
            state,
            duration: None,
            local: None,
            remote: None,
            movable: None,
        }
    }
}

/// One side of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The display name, or empty.
    pub display: String,
    /// The address of record.
    pub identity: String,
    /// Where to send an INVITE that means this dialog, or empty.
    pub target: String,
}

/// Who placed the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The entity.
    Initiator,
    /// The other side.
    Recipient,
}

/// The state of a dialog (RFC 4235 section 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogState {
    /// The INVITE is out.
    Trying,
    /// A provisional response without a tag came.
    Proceeding,
    /// It rings.
    Early,
    /// Answered.
    Confirmed,
    /// Over.
    Terminated,
}

/// The `move` element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movable {
    /// The watcher can take it.
    Yes,
    /// It cannot.
    No {
        /// The word of the reason: `busy`, `hold-off`, `emergency`, …
        reason: String,
        /// Seconds after which it could.
        retry_after: Option<u32>,
    },
}

impl DialogInfo {
    /// A document that lists everything.
    #[must_use]
    pub fn full(version: u32, entity: impl Into<String>, dialogs: Vec<Dialog>) -> Self {
        Self { version, coverage: Coverage::Full, entity: entity.into(), dialogs }
    }
}

impl DialogState {
    const ALL: [Self; 5] = [Self::Trying, Self::Proceeding, Self::Early, Self::Confirmed, Self::Terminated];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Proceeding => "proceeding",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }
}

#[cfg(test)]
mod tests;
