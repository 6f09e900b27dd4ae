//! Commands: what the API and the command line ask, and what they are answered.
//!
//! A command is answered at once, or, where the store has to be asked, when the store has answered or its time is
//! up. `show` makes views, `moves` starts and finds moves, `accounts` changes accounts, `parked` keeps what
//! waits for the store.

mod accounts;
mod bans;
mod lent;
mod moves;
mod parked;
mod quality;
mod records;
mod show;

pub(super) use show::codec_of;

pub use parked::Parked;

use parked::Waiting;

use super::command::{Asked, Command, CommandError, NAME_LEN, Reply, Secret, Subject};
use super::store::{StoreOp, StoreReply, StoreTicket};
use super::view::Listed;
use super::{CommandId, Engine, Output};

/// What a command led to: its reply, or the question to the store that it waits for.
enum Answer {
    Now(Reply),
    Later(StoreOp, Waiting),
    /// The media threads were asked; the reply comes from them.
    FromMedia,
}

impl From<Result<Reply, CommandError>> for Answer {
    fn from(result: Result<Reply, CommandError>) -> Self {
        Self::Now(result.unwrap_or_else(Reply::Error))
    }
}

/// What comes of a command that may have to ask the store.
type Asking = Result<Answer, CommandError>;

impl Engine {
    pub(super) fn on_command(&mut self, id: CommandId, asked: Asked) {
        let Asked { by, command } = asked;
        let answer = if command.is_open_to(&by) {
            self.carry_out_command(id, &by, command).unwrap_or_else(|error| Answer::Now(Reply::Error(error)))
        } else {
            Answer::Now(Reply::Error(CommandError::Forbidden))
        };
        match answer {
            Answer::Now(reply) => self.reply(id, reply),
            Answer::FromMedia => {}
            Answer::Later(op, waiting) => {
                let ticket = StoreTicket(self.ticket());
                if self.asks.park(self.core.now.at, ticket, id, by, waiting) {
                    self.outputs.push(Output::Store { ticket, op });
                } else {
                    self.reply(id, Reply::Error(busy("too many questions to the store are open")));
                }
            }
        }
    }

    fn carry_out_command(&mut self, id: CommandId, by: &Subject, command: Command) -> Asking {
        Ok(match command {
            Command::Status => Answer::Now(Reply::Status(Box::new(self.status_view()))),
            Command::ListCalls { user, page } => self.list_calls(by, user.as_deref(), &page).into(),
            Command::ListNewestCalls { most } => self.list_newest_calls(by, most).into(),
            Command::ShowCall { id } => self.show_call(by, &id).into(),
            Command::ShowQuality { call } => {
                self.show_quality(id, by, &call)?.map_or(Answer::FromMedia, Answer::Now)
            }
            Command::ShowTrace { call } => self.show_trace(&call).into(),
            Command::HangUp { id } => self.hang_up(by, &id).into(),
            Command::ListRegistrations { user, page } => {
                self.list_registrations(by, user.as_deref(), &page).into()
            }
            Command::ListTrunks { page } => Answer::Now(self.list_trunks(&page)),
            Command::ListRoutes { page } => Answer::Now(self.list_routes(&page)),
            Command::TestRoute(question) => self.test_route(&question).into(),
            Command::KickRegistration { user, device } => self.kick(by, &user, device.as_deref()).into(),
            Command::SignOut { user } => self.sign_out(by, &user).into(),
            Command::StartMove(start) => self.start_move(by, &start).into(),
            Command::Follow { user, device } => self.follow_to(by, &user, &device).into(),
            Command::ShowMove { id } => self.show_move(by, id)?,
            Command::ListMoves { user, page } => self.list_moves(by, user.as_deref(), page)?,
            Command::UndoMove { id } => self.undo_move(by, id)?,
            Command::ListRecords { wanted, page } => Self::list_records(by, wanted, page)?,
            Command::ShowRecord { id } => Self::show_record(id)?,
            Command::ListBans { page } => Answer::Now(Reply::Bans(self.list_bans(&page))),
            Command::LiftBan { address } => self.lift_ban(address).into(),
            Command::ListUsers { page } => Answer::Now(Reply::Users(self.list_users(by, &page))),
            Command::ShowUser { name } => self.show_user(by, &name).into(),
            Command::ChangeAccount(change) => self.change_account(&change)?,
            Command::AccountChanged(change) => self.account_changed(&change).into(),
            Command::Login { user } => Answer::Now(self.login_of(&user)),
            Command::LendDevice { user, device } => self.lend_device(&user, &device).into(),
            Command::ReturnDevice { user, device } => Answer::Now(self.return_device(&user, &device)),
            // What has ended is the store's, and reading it takes longer than signalling can wait.
            // And the file is the shell's.
            Command::ShowReport { .. } | Command::ShowMetrics | Command::Reload { .. } => {
                Answer::Now(Reply::Error(CommandError::NotFound))
            }
            Command::Drain => {
                self.stop_taking_calls();
                Answer::Now(Reply::Done)
            }
        })
    }

    fn reply(&mut self, id: CommandId, reply: Reply) {
        self.outputs.push(Output::Reply { id, reply });
    }

    pub(super) fn on_stored(&mut self, ticket: StoreTicket, reply: StoreReply) {
        if self.on_move_stored(ticket, &reply) {
            return;
        }
        // A late reply to what has been given up finds nothing parked, and that is fine.
        let Some(parked) = self.asks.take(ticket) else { return };
        let answer = match (parked.waiting, reply) {
            (waiting, StoreReply::Unavailable(why)) => Self::without_store(Some(waiting), &why.to_string()),
            (Waiting::Show, StoreReply::Move(found)) => Self::stored_move(&parked.by, found),
            (Waiting::Undo, StoreReply::Move(found)) => match Self::stored_move(&parked.by, found) {
                Ok(Reply::Move(view)) => self.undo_known(&parked.by, &view),
                other => other,
            },
            (Waiting::List { page, query }, StoreReply::Moves(stored)) => {
                Ok(Reply::Moves(Self::with_stored(page, stored, &query)))
            }
            (Waiting::Records, StoreReply::Records(page)) => Ok(Self::stored_records(&parked.by, page)),
            (Waiting::Record, StoreReply::Record(found)) => Self::stored_record(&parked.by, found),
            (Waiting::Account(changed), StoreReply::Done) => {
                self.apply_account(changed).map(|()| Reply::Done)
            }
            (Waiting::Account(_), StoreReply::Conflict) => {
                Err(conflict("the name, an extension or a digest identity is taken"))
            }
            (waiting, _) => Self::without_store(Some(waiting), "the store gave an answer that does not fit"),
        };
        if let Some(id) = parked.id {
            self.reply(id, answer.unwrap_or_else(Reply::Error));
        }
    }

    /// What has waited for the store too long is answered without it.
    pub(super) fn on_asks_timeout(&mut self) {
        self.on_inquiries_timeout();
        while let Some((id, waiting)) = self.asks.expire(self.core.now.at) {
            let answer = Self::without_store(waiting, "the store does not answer");
            self.reply(id, answer.unwrap_or_else(Reply::Error));
        }
    }

    /// What can be said without the store: the moves that memory has, so that the last ones can be seen and taken
    /// back on a full disk. The list does not end there; to go on is an error.
    fn without_store(waiting: Option<Waiting>, why: &str) -> Result<Reply, CommandError> {
        match waiting {
            Some(Waiting::List { mut page, .. }) if !page.items.is_empty() => {
                page.next = page.items.last().map(Listed::key);
                Ok(Reply::Moves(page))
            }
            Some(_) | None => Err(busy(why)),
        }
    }

    /// What a login is checked against; for a user who is not there the same as for one without login.
    fn login_of(&self, user: &str) -> Reply {
        let account = self.core.accounts.by_name(user);
        let login = account.and_then(|account| account.login.as_ref());
        let admin = account.is_some_and(|account| account.admin);
        Reply::Login { hash: login.map(|hash| Secret(hash.as_str().into())), admin }
    }
}

/// Seconds after which a store that failed may be asked again.
const TRY_AGAIN: u32 = 2;

fn busy(why: &str) -> CommandError {
    CommandError::Unavailable { why: why.into(), retry_after: TRY_AGAIN }
}

fn conflict(why: impl Into<Box<str>>) -> CommandError {
    CommandError::Conflict { why: why.into() }
}

fn invalid(field: &str, why: impl Into<Box<str>>) -> CommandError {
    CommandError::Invalid { field: field.into(), why: why.into() }
}

/// A name that is too long names nothing.
fn check_length(name: &str) -> Result<(), CommandError> {
    if name.len() <= NAME_LEN { Ok(()) } else { Err(CommandError::NotFound) }
}
