//! INVITE outside dialogs: whose number it dials, and so what it is: a call, or a door to a move.

use smallvec::SmallVec;

use super::Engine;
use crate::call::Party;
use crate::call::dial_plan::{dialled, is_emergency};
use crate::call::media::accepts_description;
use crate::call::rules::{Asks, Caller, CallerKind, Dialling};
use crate::call::setup::Incoming;
use crate::moving::hold_off::Access;
use crate::moving::identifier::Token;
use crate::moving::replaces::{self, Replaces};
use crate::moving::star_code::StarCode;
use crate::moving::{ReplacesMode, Trigger};
use crate::registrar::accounts::Account;
use crate::sip::transaction::ServerTx;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, Method, Uri};

/// Whether an INVITE dials an emergency number: it goes through while all else that is new waits for another node.
fn calls_for_help(message: &Message) -> bool {
    let uri = Uri::parse(message.uri());
    uri.is_ok_and(|uri| dialled(&uri).is_ok_and(|number| is_emergency(&number)))
}

impl Engine {
    pub(super) fn on_invite(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        if self.is_draining && !calls_for_help(message) {
            self.core.refuse_at_once(tx, &Refusal::Draining);
            return;
        }
        let Some(party) = self.authenticate(tx, flow, message) else { return };
        if let Err(refusal) = self.serve_invite(tx, flow, message, party) {
            self.core.refuse(tx, &refusal, None);
        }
    }

    /// Everything that an authenticated INVITE can be. The order matters: a door to a move is looked for before
    /// the dial plan, or a phone's `*11` would be a number.
    fn serve_invite(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        message: &Message,
        party: Party,
    ) -> Result<(), Refusal> {
        accepts_description(message)?;
        let uri = Uri::parse(message.uri()).map_err(|_| Refusal::DestinationUnknown)?;
        let (number, dialled) = match &party {
            Party::Trunk { index, line: Some(account), .. } => self.called_by_pbx(*index, account),
            Party::Trunk { index, .. } => {
                let over_line = self.called_over((*index, &party), flow, message, &uri);
                match over_line {
                    Some(numbers) => numbers,
                    None => self.called_here(*index, dialled(&uri)?),
                }
            }
            Party::User { .. } | Party::Service(_) => (dialled(&uri)?, None),
        };
        let mut incoming = Incoming { tx, flow, message, party, acts_for: None, number, dialled };
        if let Party::User { account, device } = &incoming.party {
            let by = Self::device_key(account, *device).ok_or(Refusal::NotAuthorised)?;
            if let Some(wanted) = self.replaces_in(message)? {
                return self.pull_by_replaces(incoming, &wanted);
            }
            if let Some(token) = Token::read(&incoming.number) {
                return self.pull_by_token(incoming, &token, Trigger::Token);
            }
            let user = uri.user().unwrap_or_default();
            match StarCode::read(user, &self.settings.moving.codes) {
                Some(StarCode::Pull(select)) => return self.pull_by_code(incoming, &select),
                Some(StarCode::Push { device }) => {
                    return self.push_by_code(&incoming, &by, device.as_deref());
                }
                Some(StarCode::Undo) => return self.undo_by_code(&incoming, &by),
                // At a device of one person they are numbers like any other.
                Some(StarCode::SignIn) if self.is_shared(&by) => return self.sign_in_by_code(incoming),
                Some(StarCode::SignOut) if self.is_shared(&by) => return self.sign_out_by_code(incoming),
                Some(StarCode::Pickup { extension }) => return self.pick_up_extension(incoming, &extension),
                // Services are in the dial plan, since trunks may reach them too.
                Some(StarCode::Echo | StarCode::Tone | StarCode::SignIn | StarCode::SignOut) | None => {}
            }
            let access = if is_emergency(&incoming.number) { Access::Emergency } else { Access::Other };
            self.held(&by, access, "INVITE")?;
            incoming.acts_for = self.signed_in_at(&by).filter(|_| access != Access::Emergency);
        } else if message.has(HeaderName::Replaces) {
            // A trunk has no handsets: it cannot be told from the far side of the call it names.
            return Err(Refusal::DialogUnknown);
        }
        if !is_emergency(&incoming.number) {
            self.spare(&Method::Invite)?;
        }
        let said = self.core.caller_number(&incoming.party, message);
        let mut by = self.caller(&incoming.party, &said, flow)?;
        if let Some(user) = &incoming.acts_for {
            by.kind = CallerKind::User(user);
        }
        let dialling = self.dialling(&incoming.number, by);
        let plan = match &incoming.party {
            // The Contact is ours, whatever its host.
            Party::Trunk { line: Some(_), .. } => self.core.route_here(&dialling)?,
            _ => self.core.route(&uri, &dialling)?,
        };
        let call = self.core.place_call(incoming, plan)?;
        self.counters.calls += 1;
        self.track(call);
        Ok(())
    }

    /// The number that is called where the Request-URI is the Contact that we registered at a trunk: that names our
    /// account, and To whom it is for. A number of To that is no user's counts for nothing, or one trunk could call out
    /// over another.
    fn called_over(
        &self,
        (trunk, party): (usize, &Party),
        flow: Flow,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Option<(Box<str>, Option<Box<str>>)> {
        if self.trunks.of_line(uri) != Some((trunk, None)) {
            return None;
        }
        let (number, said) = self.called_here(trunk, dialled(&message.to().ok()?.parsed_uri().ok()?).ok()?);
        let caller = self.core.caller_number(party, message);
        let by = self.caller(party, &caller, flow).ok()?;
        let plan = self.core.route(uri, &self.dialling(&number, by)).ok()?;
        (!plan.leads_out() && plan.as_service().is_none()).then_some((number, said))
    }

    /// A PBX calls for the Contact of a user whom we registered there: the user's number here, and there.
    fn called_by_pbx(&self, trunk: usize, account: &Account) -> (Box<str>, Option<Box<str>>) {
        let there =
            self.core.settings.trunks.get(trunk).and(account.pbx.as_ref()).map(|pbx| pbx.user.clone());
        let number: Box<str> = account.number().into();
        (number.clone(), there.filter(|there| *there != number))
    }

    /// A number that a trunk dials as it is here, and as the trunk said it where rules of the trunk make it another.
    pub(super) fn called_here(&self, trunk: usize, said: Box<str>) -> (Box<str>, Option<Box<str>>) {
        match self.core.called_here(trunk, &said) {
            Some(number) => (number, Some(said)),
            None => (said, None),
        }
    }

    /// Who calls, as the rules of the dial plan know callers; `said` is the number that a trunk says.
    ///
    /// # Errors
    /// `NotAuthorised` for nobody: ourselves.
    pub(super) fn caller<'a>(
        &self,
        party: &'a Party,
        said: &'a str,
        flow: Flow,
    ) -> Result<Caller<'a>, Refusal> {
        let kind = match party {
            Party::User { account, .. } => CallerKind::User(account),
            Party::Trunk { name, .. } => CallerKind::Trunk { name, number: said, is_transferor: false },
            Party::Service(_) => return Err(Refusal::NotAuthorised),
        };
        Ok(Caller { kind, address: Some(flow.peer.ip()) })
    }

    /// A call that asks where to go, now.
    pub(super) fn dialling<'a>(&self, number: &'a str, by: Caller<'a>) -> Dialling<'a> {
        Dialling { number, by, at: self.core.now.unix, asks: Asks::Call }
    }

    /// The Replaces of an INVITE, where it is read at all (RFC 3891 3: several, or one with Join, are 400).
    fn replaces_in(&self, message: &Message) -> Result<Option<Replaces>, Refusal> {
        if !message.has(HeaderName::Replaces) && !message.has(HeaderName::Join) {
            return Ok(None);
        }
        if self.settings.moving.replaces == ReplacesMode::Off {
            return Ok(None);
        }
        let lines: SmallVec<[std::borrow::Cow<'_, str>; 2]> =
            message.all(HeaderName::Replaces).filter_map(|header| header.value_str().ok()).collect();
        let joins = message.all(HeaderName::Join).count();
        Ok(replaces::read(message.method().as_str(), lines.iter().map(|line| &**line), joins)?)
    }
}
