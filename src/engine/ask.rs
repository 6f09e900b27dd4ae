//! Commands: what the API and the command line ask, and what they are answered.

use super::command::{Asked, CommandError, Reply};
use super::store::{StoreReply, StoreTicket};
use super::{CommandId, Engine, Output, VerifyTicket};

impl Engine {
    pub(super) fn on_command(&mut self, id: CommandId, asked: Asked) {
        let _ = asked;
        self.outputs.push(Output::Reply { id, reply: Reply::Error(CommandError::NotFound) });
    }

    pub(super) fn on_stored(&mut self, ticket: StoreTicket, reply: StoreReply) {
        let _ = self.on_move_stored(ticket, &reply);
    }

    pub(super) fn on_verified(&mut self, _ticket: VerifyTicket, _right: bool) {}
}
