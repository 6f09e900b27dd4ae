//! A call that rings at one device is answered at another (move.md 26); a device repairs its own leg (move.md 38).

use crate::call::setup::Incoming;
use crate::engine::Engine;
use crate::moving::Refusal as MoveRefusal;
use crate::moving::directory::LiveLeg;
use crate::sip::Refusal;

impl Engine {
    /// A pull of a call that rings.
    pub(super) fn pick_up(&mut self, _incoming: Incoming<'_>, _live: &LiveLeg) -> Result<(), Refusal> {
        Err(MoveRefusal::NoCall.into())
    }

    /// The pickup code with an extension.
    pub(crate) fn pick_up_extension(
        &mut self,
        _incoming: Incoming<'_>,
        _extension: &str,
    ) -> Result<(), Refusal> {
        Err(MoveRefusal::NoCall.into())
    }

    /// A device that lost its network replaces its own dialog.
    pub(super) fn repair(&mut self, _incoming: Incoming<'_>, _live: &LiveLeg) -> Result<(), Refusal> {
        Err(MoveRefusal::DialogUnknown.into())
    }
}
