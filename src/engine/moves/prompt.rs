//! A shared device asks who stands before it: extension and PIN by keypad (move.md 11), RFC 4733 or INFO.

use crate::call::LegHandle;
use crate::engine::Engine;
use crate::media::relay::PortId;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::Message;

impl Engine {
    /// INFO in the dialog of a leg: a digit for the prompt, or something that goes across.
    pub(crate) fn on_info(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        self.core.on_pass(leg, tx, message)
    }

    /// A digit was pressed.
    pub(crate) fn on_digit(&mut self, _port: PortId, _digit: char) {}

    /// A prompt is through.
    pub(crate) fn on_played(&mut self, _port: PortId) {}
}
