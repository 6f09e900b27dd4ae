//! What timelines are told: the requests and answers of a move, and what still concerns it when it is over.

use super::push::named;
use super::{MoveKey, Moving};
use crate::engine::store::{StoreOp, StoreTicket};
use crate::engine::view::MoveView;
use crate::engine::{Engine, Output};
use crate::moving::DeviceKey;
use crate::moving::timeline::{Heading, Side, What};
use crate::wire::sip::{Method, StatusCode};

impl Engine {
    /// Of a move that is under way.
    pub(super) fn note(&mut self, key: MoveKey, what: What) {
        let now = self.core.now.at;
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.timeline.push(now, what);
        }
    }

    /// A request goes out or has come in.
    pub(super) fn note_request(&mut self, key: MoveKey, (side, way): (Side, Heading), method: &Method) {
        self.note(key, What::Request { side, way, method: method.as_str().to_owned() });
    }

    /// An answer to an INVITE goes out or has come in.
    pub(super) fn note_answer(&mut self, key: MoveKey, (side, way): (Side, Heading), status: StatusCode) {
        let (method, status) = (Method::Invite.as_str().to_owned(), status.as_u16());
        self.note(key, What::Response { side, way, method, status });
    }

    /// Of a move that is over: what its timeline has room for, and the store has it then.
    pub(in crate::engine) fn note_later(&mut self, is_it: impl Fn(&MoveView) -> bool, what: What) {
        let now = self.core.now.at;
        let Some(view) = self.moves.recent.iter_mut().rfind(|view| is_it(view)) else { return };
        let Some(timeline) = view.timeline.as_mut().filter(|timeline| timeline.has_room_for(&what)) else {
            return;
        };
        timeline.push(now, what);
        let op = StoreOp::SaveMove(Box::new(view.clone()));
        let ticket = StoreTicket(self.ticket());
        self.outputs.push(Output::Store { ticket, op });
    }

    /// A device that is held off was refused: the move that it lost its call in tells of it.
    pub(in crate::engine) fn note_refused_device(&mut self, by: &DeviceKey, method: &str, retry_after: u32) {
        let what = What::Rejected { method: method.to_owned(), retry_after };
        let is_from = |(_, moving): &(&MoveKey, &Moving)| moving.from == *by;
        if let Some(key) = self.moves.live.iter().rfind(is_from).map(|(key, _)| *key) {
            return self.note(key, what);
        }
        let now = self.core.now.unix;
        let is_held = |view: &MoveView| view.hold_off_until.is_some_and(|until| until.0 > now);
        let is_of =
            |view: &MoveView| view.from_device.as_deref().is_some_and(|from| named(view, from) == *by);
        self.note_later(|view| is_held(view) && is_of(view), what);
    }
}
