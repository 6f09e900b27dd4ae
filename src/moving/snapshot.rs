//! Session information: what a move captures of a call before it touches anything, and stores.
//!
//! It holds identifiers and descriptions that must not reach a log, so `Debug` shows none of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::UnixMillis;

/// The largest description that is kept whole; a longer one is not captured, and the move not made.
pub const MAX_DESCRIPTION: usize = 16 * 1024;
/// The longest route set that is kept.
pub const MAX_ROUTES: usize = 16;

/// A call at the moment of the grant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The move.
    pub move_id: String,
    /// The call's record id.
    pub call_id: String,
    /// When it was taken.
    pub taken: UnixMillis,
    /// Whose call.
    pub user: String,
    /// The device that has it.
    pub old_device: String,
    /// The device that gets it.
    pub new_device: String,
    /// The leg of the old device.
    pub old: DialogState,
    /// The leg that stays.
    pub far: DialogState,
    /// The media lines, in their order.
    pub media: Vec<MediaState>,
}

/// One dialog (RFC 3261 12) and what was agreed in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct DialogState {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Their tag.
    pub remote_tag: String,
    /// Our URI.
    pub local_uri: String,
    /// Their URI.
    pub remote_uri: String,
    /// Their Contact.
    pub remote_target: String,
    /// The route set, first hop first.
    pub route_set: Vec<String>,
    /// Our last CSeq number.
    pub local_cseq: u32,
    /// Their last CSeq number.
    pub remote_cseq: Option<u32>,
    /// The description we last sent.
    pub local_description: String,
    /// The description they last sent.
    pub remote_description: String,
    /// Seconds of the session timer (RFC 4028), where one runs.
    pub session_expires: Option<u32>,
}

/// One media line.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MediaState {
    /// Our port towards the far side.
    pub far_port: u16,
    /// Our port towards the old device.
    pub old_port: u16,
    /// The SSRC that the far side hears.
    pub ssrc: u32,
    /// The payload type that it hears.
    pub payload_type: u8,
    /// Which side holds.
    pub hold: Hold,
}

/// Which side holds.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Neither.
    None,
    /// The user.
    ByUser,
    /// The far side.
    ByFar,
    /// Both.
    ByBoth,
}

/// A snapshot that would not fit the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// A description is longer than [`MAX_DESCRIPTION`].
    #[error("a session description of {0} bytes")]
    Description(usize),
    /// A route set is longer than [`MAX_ROUTES`].
    #[error("a route set of {0} hops")]
    Routes(usize),
}

impl Snapshot {
    /// As the store keeps it.
    ///
    /// # Errors
    /// [`TooLarge`]: refuse the move with [`Refusal::OfferUnusable`](super::Refusal::OfferUnusable).
    pub fn to_json(&self) -> Result<String, TooLarge> {
        for dialog in [&self.old, &self.far] {
            for description in [&dialog.local_description, &dialog.remote_description] {
                if description.len() > MAX_DESCRIPTION {
                    return Err(TooLarge::Description(description.len()));
                }
            }
            if dialog.route_set.len() > MAX_ROUTES {
                return Err(TooLarge::Routes(dialog.route_set.len()));
            }
        }
        // Strings, numbers and vectors always have a JSON form.
        Ok(serde_json::to_string(self).unwrap_or_default())
    }

    /// From the store.
    ///
    /// # Errors
    /// Where the row is not one of ours.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("move_id", &self.move_id)
            .field("call_id", &self.call_id)
            .field("old", &self.old)
            .field("far", &self.far)
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DialogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DialogState {{ local_cseq: {}, remote_cseq: {:?}, .. }}",
            self.local_cseq, self.remote_cseq
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let dialog = DialogState {
            call_id: "secret-call-id".into(),
            local_tag: "lt".into(),
            remote_tag: "rt".into(),
            route_set: vec!["<sip:p1;lr>".into()],
            local_cseq: 7,
            local_description: "v=0\r\n".into(),
            ..DialogState::default()
        };
        Snapshot {
            move_id: "m1".into(),
            call_id: "c1".into(),
            taken: UnixMillis(1),
            user: "alice".into(),
            old_device: "desk".into(),
            new_device: "mobile".into(),
            old: dialog.clone(),
            far: dialog,
            media: vec![MediaState { far_port: 2, old_port: 4, ssrc: 9, payload_type: 8, hold: Hold::ByFar }],
        }
    }

    #[test]
    fn it_comes_back_as_it_went_and_shows_no_identifier() {
        let taken = snapshot();
        assert_eq!(Snapshot::from_json(&taken.to_json().unwrap()).unwrap(), taken);
        let shown = format!("{taken:?}");
        assert!(
            !shown.contains("secret-call-id") && !shown.contains("v=0") && !shown.contains("alice"),
            "{shown}"
        );
        assert!(Snapshot::from_json("{}").is_err());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut large = snapshot();
        large.far.remote_description = "x".repeat(MAX_DESCRIPTION + 1);
        assert_eq!(large.to_json(), Err(TooLarge::Description(MAX_DESCRIPTION + 1)));
        let mut long = snapshot();
        long.old.route_set = vec![String::new(); MAX_ROUTES + 1];
        assert_eq!(long.to_json(), Err(TooLarge::Routes(MAX_ROUTES + 1)));
    }
}
