//! How a move ends: who is told, what is kept.

use super::{AskedBy, MoveKey, Moving, leg_key};
use crate::call::record::HangupBy;
use crate::call::{CallHandle, CallState, LegHandle, LegState, Owner};
use crate::engine::command::MoveMode;
use crate::engine::event::MoveEvent;
use crate::engine::store::{StoreOp, StoreTicket};
use crate::engine::view::Time;
use crate::engine::{Engine, Output};
use crate::moving::machine::{Rollback, State};
use crate::moving::timeline::{Side, What, When};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Method, StatusCode};

impl Engine {
    /// A move that is over lets go of its call.
    pub(super) fn finish_if_over(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key).filter(|moving| moving.machine.is_over()) else { return };
        if moving.restore_due {
            return;
        }
        // Who asked has heard of a success before the old device was released, unless that had hung up by itself.
        let status = match moving.machine.state() {
            State::Done => StatusCode::OK,
            _ => moving
                .machine
                .refusal()
                .and_then(|refusal| StatusCode::new(refusal.status()))
                .unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE),
        };
        self.tell_who_asked(key, status);
        let Some(mut moving) = self.moves.live.remove(&key) else { return };
        self.moves.by_call.remove(&moving.call);
        self.moves.stores.retain(|_, waiting| *waiting != key);
        if let Some(found) = self.core.calls.get_mut(moving.call) {
            found.moving = false;
        }
        let ticket = StoreTicket(self.ticket());
        let remove = StoreOp::RemoveSnapshot { move_id: moving.id.clone() };
        self.outputs.push(Output::Store { ticket, op: remove });
        self.drop_prompted(moving.new, moving.joins);
        self.end_if_alone(moving.call);
        self.core.settle_forks(moving.call);
        moving.ended = Some(self.core.now.unix);
        self.keep(&mut moving);
        if moving.mode == MoveMode::Refer {
            // What the device was asked to call with ends with the move, also where it never called.
            self.moves.identifiers.revoke_leg(leg_key(moving.old));
        }
        self.track(moving.call);
    }

    /// While a move held the call, a hang-up was not the end of it; now it is, unless both sides stand.
    pub(in crate::engine) fn end_if_alone(&mut self, call: CallHandle) {
        let Some(found) = self.core.calls.get(call).filter(|call| call.state == CallState::Talking) else {
            return;
        };
        let stands = |leg: LegHandle| {
            found.has_lost(leg) || self.core.legs.get(leg).is_some_and(|leg| leg.state != LegState::Ended)
        };
        let by = match (stands(found.caller), found.callee.is_some_and(stands)) {
            (true, true) => return,
            (false, true) => HangupBy::Caller,
            (true, false) => HangupBy::Callee,
            (false, false) => HangupBy::System,
        };
        self.core.end_call(call, by, "SIP;cause=200");
    }

    /// Tells how it ended, and remembers it.
    fn keep(&mut self, moving: &mut Moving) {
        let what = match (moving.machine.state(), moving.machine.rollback()) {
            (State::Done, _) => {
                self.moves.completed += 1;
                self.note_codecs(moving.call);
                if let Some(new) = moving.new {
                    let legs = [(new, Side::New), (moving.far, Side::Far)];
                    self.describe_sides(&mut moving.timeline, When::After, legs);
                }
                None
            }
            (State::RolledBack, Some(Rollback::Undo)) => Some(MoveEvent::Undone),
            (State::RolledBack, _) => Some(MoveEvent::RolledBack),
            _ => Some(MoveEvent::Refused),
        };
        if let Some(refusal) = moving.machine.refusal() {
            let (reason, status) = (refusal.as_str().to_owned(), refusal.status());
            moving.timeline.push(self.core.now.at, What::Refused { reason, status });
        }
        if let Some(what) = what {
            self.outputs.push(Output::Event(moving.event(what)));
        }
        let until = self.moves.hold_offs.ends_of(&moving.id, self.core.now).map(Time);
        let view = moving.view(until);
        self.moves.remember(view.clone());
        if let (State::Done, Some(new)) = (moving.machine.state(), moving.new) {
            let legs = [(moving.old, When::Before), (new, When::After)];
            self.judge_later(moving.call, &moving.id, legs);
        }
        let ticket = StoreTicket(self.ticket());
        self.outputs.push(Output::Store { ticket, op: StoreOp::SaveMove(Box::new(view)) });
    }

    /// The final word to the REFER or the push code that asked for the move; once.
    pub(super) fn tell_who_asked(&mut self, key: MoveKey, status: StatusCode) {
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let to = moving.to.device().to_owned();
        match std::mem::take(&mut moving.asked_by) {
            AskedBy::Nobody => {}
            AskedBy::Refer(leg) => self.notify_refer(leg, status),
            AskedBy::PushCode(tx) => self.tell_push_code(tx, &to, status),
        }
    }

    /// The answer to an INVITE that only asked for a move.
    pub(super) fn tell_push_code(&mut self, tx: ServerTx, to: &str, status: StatusCode) {
        let tag = self.core.random.tag();
        let done = status.is_success();
        // The INVITE has served its purpose: a phone shows the reason phrase of what is no 2xx.
        let text = if done { format!("Call moved to {to}") } else { status.reason().to_owned() };
        let status = if done { StatusCode::TEMPORARILY_UNAVAILABLE } else { status };
        let writer = self.core.transactions.reply(tx, status, Some(&text), Some(&tag));
        let Some(mut writer) = writer else { return };
        if done {
            writer.header_parts(&HeaderName::Reason, &["SIP;cause=200;text=\"", &text, "\""]);
        }
        let bytes = writer.finish();
        self.core.respond(tx, status, bytes);
    }

    /// A NOTIFY of the implicit subscription that a REFER makes (RFC 3515 2.4.4, 2.4.5).
    pub(in crate::engine) fn notify_refer(&mut self, leg: LegHandle, status: StatusCode) {
        let branch = self.core.mint_branch();
        let Some(found) = self.core.legs.get_mut(leg).filter(|leg| leg.state != LegState::Ended) else {
            return;
        };
        let flow = found.dialog.flow;
        let body = format!("SIP/2.0 {} {}\r\n", status.as_u16(), status.reason());
        let mut writer = found.dialog.request(&Method::Notify, &branch);
        writer.header(&HeaderName::Event, "refer");
        let state = if status.is_final() { "terminated;reason=noresource" } else { "active;expires=60" };
        writer.header(&HeaderName::SubscriptionState, state);
        writer.body("message/sipfrag;version=2.0", body.as_bytes());
        let bytes = writer.finish();
        self.core.send_request(flow, &Method::Notify, &branch, bytes, Owner::ReferNotify(leg));
    }
}
