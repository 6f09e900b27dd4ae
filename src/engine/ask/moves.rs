//! Moves by command: start, show, list, take back.

use super::parked::Waiting;
use super::{Answer, Asking, check_length, conflict, invalid};
use crate::call::CallHandle;
use crate::engine::Engine;
use crate::engine::command::{CommandError, MoveMode, Reply, StartMove, Subject};
use crate::engine::event::Ulid;
use crate::engine::moves::{AskedBy, MoveKey, call_key, call_of};
use crate::engine::store::StoreOp;
use crate::engine::view::{Listed as _, MoveState, MoveView, Page, PageQuery, Time};
use crate::moving::directory::{Directory, LiveLeg, Lock, Movable};
use crate::moving::grant::{self, Mover};
use crate::moving::{DeviceKey, Follow, Refusal, SelectPolicy};
use crate::registrar::accounts::{Account, DEVICE_SEPARATOR, Trust};

impl Engine {
    pub(super) fn start_move(&mut self, by: &Subject, start: &StartMove) -> Result<Reply, CommandError> {
        let user: &str = match by {
            Subject::Admin => &start.user,
            Subject::User(name) => name,
        };
        check_length(user)?;
        let account = self.core.accounts.by_name(user).cloned().ok_or(CommandError::NotFound)?;
        let device =
            |name| own_device(&account, name).or_else(|none| self.desk_named(&account, name).ok_or(none));
        let to = start.to_device.as_deref().map(device).transpose()?;
        let live = match start.call.as_deref() {
            Some(id) => self.leg_in_call(user, id, to.as_ref())?,
            None => self.leg_to_move(user, to.as_ref())?,
        };
        if !grant::is_answered(&live) {
            return Err(Refusal::NoCall.into());
        }
        let to = match to {
            Some(to) => to,
            None => self.only_other_device(&account, &live.device)?,
        };
        let mover = mover_of(by);
        let key = self.push(mover, &live, &to, start.trigger, start.mode, AskedBy::Nobody)?;
        self.move_view(key, call_of(live.call))
    }

    /// A user signed in at a device; the live call goes there as the settings say (contract 16).
    pub(in crate::engine) fn follow_to(
        &mut self,
        by: &Subject,
        user: &str,
        device: &str,
    ) -> Result<Reply, CommandError> {
        let mode = match self.settings.moving.follow {
            Follow::Off => return Ok(Reply::Done),
            Follow::Offer => MoveMode::Ring,
            Follow::Move => MoveMode::AutoAnswer,
        };
        check_length(user)?;
        if !by.may_see(user) {
            return Err(CommandError::NotFound);
        }
        let account = self.core.accounts.by_name(user).cloned().ok_or(CommandError::NotFound)?;
        let to = own_device(&account, device).or_else(|refusal| self.shared_device(device).ok_or(refusal))?;
        let live = match self.leg_to_move(user, Some(&to)) {
            Ok(live) if live.device != to => live,
            // It is there, or there is none: whoever signs in has not asked in vain.
            Ok(_) => return Ok(Reply::Done),
            Err(_) => return Ok(Reply::Done),
        };
        let key = self.push_to_signed_in(mover_of(by), &live, &to, mode)?;
        self.move_view(key, call_of(live.call))
    }

    /// The shared device at which a user is signed in, by its whole address.
    fn desk_named(&self, account: &Account, address: &str) -> Option<DeviceKey> {
        let is_there = self.core.hot_desks.desk_of(&account.name) == Some(address);
        self.shared_device(address).filter(|_| is_there)
    }

    /// A device that stands in a room, by its whole address.
    fn shared_device(&self, address: &str) -> Option<DeviceKey> {
        let (account, index) = self.core.accounts.by_address(address)?;
        let device = account.devices.get(index?)?;
        (device.trust == Trust::Shared).then(|| DeviceKey::new(&*account.name, &*device.id))
    }

    /// The leg of `user` in a named call. With both sides the user's own, the one that is not there already.
    fn leg_in_call(&self, user: &str, id: &str, to: Option<&DeviceKey>) -> Result<LiveLeg, CommandError> {
        let call = self.core.calls.iter().find(|(_, call)| *call.id == *id).map(|(handle, _)| handle);
        let call = call_key(call.ok_or(CommandError::NotFound)?);
        let legs = self.moves.directory.of_user(user);
        let mut legs = legs.into_iter().filter(|leg| leg.call == call).peekable();
        let first = legs.peek().copied().ok_or(CommandError::NotFound)?;
        Ok(legs.find(|leg| Some(&leg.device) != to).unwrap_or(first).clone())
    }

    /// The answered call that a bare request means: of several the one that `move.select` picks, but one that can be
    /// moved before one that cannot.
    fn leg_to_move(&self, user: &str, to: Option<&DeviceKey>) -> Result<LiveLeg, CommandError> {
        let now = self.core.now.at;
        let mut legs = self.moves.directory.of_user(user);
        legs.retain(|leg| grant::is_answered(leg));
        if self.settings.moving.select == SelectPolicy::Oldest {
            legs.reverse();
        }
        let is_movable = |leg: &LiveLeg| match to {
            Some(to) => Directory::movable(leg, to, Lock::Open, &self.moves.hold_offs, now) == Movable::Yes,
            None => leg.bar.is_none(),
        };
        let chosen = legs.iter().find(|leg| is_movable(leg)).or_else(|| legs.first());
        chosen.map(|leg| (*leg).clone()).ok_or_else(|| Refusal::NoCall.into())
    }

    /// The one device of the account, besides `from`, that is registered. A device that asks for a PIN is none that
    /// a move could mean without being told.
    fn only_other_device(&self, account: &Account, from: &DeviceKey) -> Result<DeviceKey, CommandError> {
        let now = self.core.now.at;
        let mut others = account.devices.iter().filter(|device| {
            device.trust == Trust::Personal
                && *device.id != *from.device()
                && self.core.registrar.is_registered(&account.name, &device.id, now)
        });
        match (others.next(), others.next()) {
            (None, _) => Err(Refusal::NotRegistered.into()),
            (Some(only), None) => Ok(DeviceKey::new(&*account.name, &*only.id)),
            (Some(_), Some(_)) => {
                Err(invalid("to_device", "several devices are registered: say which one gets the call"))
            }
        }
    }

    /// A move that has just begun. It may be over already: then it is the last one of its call that is remembered.
    fn move_view(&self, key: MoveKey, call: CallHandle) -> Result<Reply, CommandError> {
        if let Some(moving) = self.moves.live.get(&key) {
            return Ok(Reply::Move(Box::new(moving.view(self.hold_off_end(&moving.id)))));
        }
        let id = self.core.calls.get(call).map(|call| &*call.id);
        let last = self.moves.recent.iter().rfind(|view| id.is_none_or(|id| view.call == *id));
        last.cloned().map(|view| Reply::Move(Box::new(view))).ok_or(CommandError::NotFound)
    }

    pub(super) fn show_move(&self, by: &Subject, id: Box<str>) -> Asking {
        check_move_id(&id)?;
        match self.known_move(&id) {
            Some(view) if by.may_see(&view.user) => Ok(Answer::Now(Reply::Move(Box::new(view)))),
            Some(_) => Err(CommandError::NotFound),
            None => Ok(Answer::Later(StoreOp::FindMove { id }, Waiting::Show)),
        }
    }

    /// A move that memory knows.
    fn known_move(&self, id: &str) -> Option<MoveView> {
        let mut view = self.moves.find(id).ok()?;
        view.hold_off_until = self.hold_off_end(id).or(view.hold_off_until);
        Some(view)
    }

    fn hold_off_end(&self, move_id: &str) -> Option<Time> {
        self.moves.hold_offs.ends_of(move_id, self.core.now).map(Time)
    }

    /// What the store found is shown to whom it belongs.
    pub(super) fn stored_move(by: &Subject, found: Option<Box<MoveView>>) -> Result<Reply, CommandError> {
        found.filter(|view| by.may_see(&view.user)).map(Reply::Move).ok_or(CommandError::NotFound)
    }

    pub(super) fn list_moves(&self, by: &Subject, user: Option<&str>, query: PageQuery) -> Asking {
        let scope = by.scope(user)?;
        scope.map_or(Ok(()), check_length)?;
        let live = self.moves.live.values().filter(|moving| scope.is_none_or(|user| *moving.owner == *user));
        let live = live.map(|moving| moving.view(self.hold_off_end(&moving.id)));
        let recent = self.moves.recent.iter().filter(|view| scope.is_none_or(|user| view.user == user));
        let page = Page::cut(live.chain(recent.cloned()).map(without_timeline), &query);
        let op = StoreOp::ListMoves { user: scope.map(Box::from), page: query.clone() };
        Ok(Answer::Later(op, Waiting::List { page, query }))
    }

    /// One list of what memory has and what the store has; a move that is in both is as memory has it.
    pub(super) fn with_stored(
        ours: Page<MoveView>,
        mut stored: Page<MoveView>,
        query: &PageQuery,
    ) -> Page<MoveView> {
        stored.items.retain(|view| ours.items.iter().all(|known| known.key() != view.key()));
        let items = stored.items.into_iter().map(without_timeline).collect();
        Page::merge(vec![ours, Page { items, next: stored.next }], query)
    }

    pub(super) fn undo_move(&mut self, by: &Subject, id: Box<str>) -> Asking {
        check_move_id(&id)?;
        match self.known_move(&id) {
            Some(view) => self.undo_known(by, &view).map(Answer::Now),
            None => Ok(Answer::Later(StoreOp::FindMove { id }, Waiting::Undo)),
        }
    }

    /// Takes back a move that was found.
    pub(super) fn undo_known(&mut self, by: &Subject, view: &MoveView) -> Result<Reply, CommandError> {
        if !by.may_see(&view.user) {
            return Err(CommandError::NotFound);
        }
        let is_under_way = self.moves.live.values().any(|moving| *moving.id == *view.id);
        if !is_under_way && view.state != MoveState::Done {
            return Err(conflict("only a move that was carried out can be taken back"));
        }
        let before = self.moves.live.keys().next_back().copied();
        self.undo(mover_of(by), view, AskedBy::Nobody)?;
        if is_under_way {
            let view = self.known_move(&view.id).ok_or(CommandError::NotFound)?;
            return Ok(Reply::Move(Box::new(view)));
        }
        let call = self.call_named(&view.call).ok_or(CommandError::NotFound)?;
        let begun = self.moves.live.keys().next_back().copied().filter(|key| Some(*key) > before);
        self.move_view(begun.unwrap_or_default(), call)
    }
}

fn mover_of(by: &Subject) -> Mover<'_> {
    match by {
        Subject::Admin => Mover::Operator,
        Subject::User(user) => Mover::Login { user },
    }
}

/// A device of the account: `mobile`, or `alice*mobile`.
fn own_device(account: &Account, name: &str) -> Result<DeviceKey, CommandError> {
    let own = name.strip_prefix(&*account.name).and_then(|rest| rest.strip_prefix(DEVICE_SEPARATOR));
    let device = account.device(own.unwrap_or(name)).ok_or(Refusal::DeviceUnknown)?;
    Ok(DeviceKey::new(&*account.name, &*device.id))
}

/// What is no id of a move is asked of nobody.
fn check_move_id(id: &str) -> Result<(), CommandError> {
    id.parse::<Ulid>().map(|_| ()).map_err(|()| CommandError::NotFound)
}

fn without_timeline(view: MoveView) -> MoveView {
    MoveView { timeline: None, ..view }
}
