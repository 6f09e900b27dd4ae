//! One target after the other: who is rung next when nobody takes the call, and when users who do not answer have had their
//! turn.

use std::time::Duration;

use super::answer::rank;
use super::core::{Core, Happened};
use super::dial_plan::{Destination, Plan, Stop};
use super::diversion::{Entry, Why};
use super::model::{Best, Call, CallHandle, LegHandle, Party, timer};
use super::record::Direction;
use super::ring::Outgoing;
use super::setup::user_value;
use crate::sip::Refusal;
use crate::wire::sip::{Message, StatusCode};

/// Reason of a CANCEL to who did not answer in its turn.
const NO_ANSWER: &str = "SIP;cause=480;text=\"No answer\"";
/// A call that is being picked up just now is looked at again after this: its caller is not rung elsewhere meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

impl Call {
    /// Keeps a refusal for the caller if it is the best so far.
    pub(super) fn note_refusal(&mut self, status: StatusCode, reason: &str, answer: Option<&Message>) {
        if self.best.as_ref().is_none_or(|best| rank(status) < rank(best.status)) {
            self.best = Some(Best { status, reason: reason.into(), answer: answer.cloned() });
        }
    }
}

impl Core {
    /// Rings the first target of a plan that can be rung; the others follow when it fails.
    ///
    /// # Errors
    /// None can be rung: what the plan says then, or the best of the reasons.
    pub(super) fn ring_plan(&mut self, outgoing: Outgoing<'_>, plan: Plan) -> Result<(), Refusal> {
        let call = outgoing.call;
        let found = self.calls.get_mut(call).ok_or(Refusal::Internal)?;
        found.rest = plan;
        let rung = self.ring_next_stop(outgoing);
        let last_word =
            self.calls.get_mut(call).filter(|_| rung.is_err()).and_then(|call| call.rest.last_word.take());
        match last_word {
            Some(last) => Err(Refusal::Ruled { status: last.status, reason: last.reason }),
            None => rung,
        }
    }

    /// Rings the next target that can be rung.
    fn ring_next_stop(&mut self, mut outgoing: Outgoing<'_>) -> Result<(), Refusal> {
        let call = outgoing.call;
        let mut refused: Option<Refusal> = None;
        loop {
            let Some(found) = self.calls.get_mut(call) else { return Err(Refusal::Internal) };
            let Some(stop) = found.rest.stops.pop_front() else {
                return Err(refused.unwrap_or(Refusal::Unreachable));
            };
            found.rings_group = stop.is_of_group;
            match self.ring_stop(&mut outgoing, &stop) {
                Ok(()) => {
                    self.begin_turn(call, stop.limit);
                    return Ok(());
                }
                Err(refusal) => {
                    let is_better = |known: &Refusal| rank(refusal.status()) < rank(known.status());
                    if refused.as_ref().is_none_or(is_better) {
                        refused = Some(refusal);
                    }
                }
            }
        }
    }

    fn ring_stop(&mut self, outgoing: &mut Outgoing<'_>, stop: &Stop) -> Result<(), Refusal> {
        match &stop.to {
            Destination::User { account, device } => {
                let rung = self.ring_user(outgoing, (account.clone(), *device));
                self.note_diversion(outgoing.call, Some(account.number()), rung.is_ok());
                rung
            }
            Destination::Group(members) => {
                let rung = self.ring_group(outgoing, members);
                self.note_diversion(outgoing.call, None, rung.is_ok());
                rung
            }
            Destination::Trunks(trunks) => self.ring_trunks(outgoing, trunks),
            // A service answers at once, and so is no target among others.
            Destination::Service(_) => Err(Refusal::DestinationUnknown),
        }
    }

    /// Takes note of who is called before a trunk is, if one comes after: then it is that user's, or the group's, diversion.
    fn note_diversion(&mut self, call: CallHandle, number: Option<&str>, is_rung: bool) {
        let Some(found) = self.calls.get_mut(call).filter(|call| call.rest.leads_out()) else { return };
        let number = number.unwrap_or(&found.number).into();
        let why = if is_rung { Why::NoAnswer } else { Why::Unavailable };
        found.diverted = Some(Box::new(Entry { number, why, is_private: false }));
    }

    fn begin_turn(&mut self, call: CallHandle, limit: Option<Duration>) {
        let Some(caller) = self.calls.get(call).map(|call| call.caller) else { return };
        match limit {
            Some(limit) => self.arm(caller, timer::TURN, limit),
            None => {
                if let Some(leg) = self.legs.get_mut(caller) {
                    leg.timers.stop(timer::TURN);
                }
            }
        }
    }

    /// After a target failed: the next one, from the caller's INVITE that still waits. False when there is none.
    pub(super) fn try_next(&mut self, call: CallHandle) -> bool {
        if self.try_next_trunk(call) {
            return true;
        }
        if self.calls.get(call).is_none_or(|call| call.rest.stops.is_empty()) {
            return false;
        }
        match self.with_waiting(call, Self::ring_next_stop) {
            Some(Ok(())) => {
                self.happened.push_back(Happened::RungOn(call));
                true
            }
            Some(Err(refusal)) => {
                if let Some(found) = self.calls.get_mut(call) {
                    let status = refusal.status();
                    found.note_refusal(status, status.reason(), None);
                }
                false
            }
            None => false,
        }
    }

    /// Who is rung has had its turn: it is given up, and the next one is rung.
    pub(super) fn on_turn_over(&mut self, caller: LegHandle) {
        let Some(call) = self.call_of(caller) else { return };
        let Some(found) = self.calls.get_mut(call).filter(|call| call.is_open() && call.caller == caller)
        else {
            return;
        };
        if found.moving {
            return self.arm(caller, timer::TURN, AGAIN);
        }
        let status = StatusCode::TEMPORARILY_UNAVAILABLE;
        found.note_refusal(status, status.reason(), None);
        found.next_ways.clear();
        let forks = std::mem::take(&mut found.forks);
        self.part_with_early_media(call, None);
        for fork in forks {
            self.release_leg(fork, NO_ANSWER);
        }
        self.settle_forks(call);
    }

    /// Who answered has the call: the record says so, whoever was tried before.
    pub(super) fn note_winner(&mut self, call: CallHandle, leg: LegHandle) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let stays = found.transfer.as_ref().and_then(|part| part.rung_for.as_ref()).map(|of| of.stays);
        let caller = self.legs.get(stays.unwrap_or(found.caller)).map(|leg| &leg.party);
        let Some(account) = self.legs.get(leg).and_then(|leg| leg.user()) else { return };
        if found.counts_to_callee || found.record.user.is_none() {
            found.record.user = Some(account.name.to_string());
            found.counts_to_callee = true;
        }
        match caller {
            Some(Party::Trunk { name, .. }) => {
                (found.record.direction, found.record.trunk) = (Direction::Inbound, Some(name.to_string()));
            }
            Some(Party::User { .. }) => {
                (found.record.direction, found.record.trunk) = (Direction::Internal, None);
            }
            Some(Party::Service(_)) | None => {}
        }
    }

    /// To, as a user is called.
    pub(super) fn to_user(&self, account: &crate::registrar::accounts::Account) -> Box<str> {
        user_value(account.shown(), account.number(), &self.settings.domain)
    }
}
