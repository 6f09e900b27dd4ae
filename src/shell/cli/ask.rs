//! Questions to a running node and how their answers look.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::Failure;
use super::options::{CallAction, Move, MoveAction, RegistrationAction};
use super::output::{Format, Table, or_dash, printable};
use crate::base::UnixMillis;
use crate::engine::command::{Command, MoveMode, Reply, StartMove};
use crate::engine::view::{
    CallView, MoveState, MoveView, PAGE_MAX, Page, PageQuery, RegistrationView, StatusView, Time,
};
use crate::moving::Trigger;
use crate::shell::control::Client;

/// Items of one list that are printed at most.
pub(super) const MAX_ITEMS: usize = 100_000;
/// How often the outcome of a move is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How often a drain that is waited for is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(500);

/// A connection to the node and a place to print.
pub(super) struct Asking<'a> {
    pub(super) client: Client,
    pub(super) format: Format,
    pub(super) out: &'a mut dyn Write,
    data_dir: PathBuf,
}

impl<'a> Asking<'a> {
    pub(super) async fn connect(
        data_dir: &Path,
        format: Format,
        out: &'a mut dyn Write,
    ) -> Result<Self, Failure> {
        Ok(Self { client: Client::connect(data_dir).await?, format, out, data_dir: data_dir.to_owned() })
    }

    /// A new connection: after a failure, or a question whose answer nobody waited for.
    pub(super) async fn connect_anew(&mut self) -> Result<(), Failure> {
        self.client = Client::connect(&self.data_dir).await?;
        Ok(())
    }

    /// One question; an error is a failure.
    pub(super) async fn ask(&mut self, command: Command) -> Result<Reply, Failure> {
        match self.client.ask(command).await? {
            Reply::Error(error) => Err(error.into()),
            reply => Ok(reply),
        }
    }

    /// A whole list, part by part.
    pub(super) async fn list<T>(
        &mut self,
        limit: usize,
        command: impl Fn(PageQuery) -> Command,
        take: impl Fn(Reply) -> Option<Page<T>>,
    ) -> Result<Vec<T>, Failure> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let reply = self.ask(command(PageQuery { cursor, limit: PAGE_MAX })).await?;
            let page = take(reply).ok_or_else(Failure::misfit)?;
            items.extend(page.items);
            cursor = page.next.map(String::into_boxed_str);
            if cursor.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }

    /// Says that something is done; JSON and CSV say it by the exit code alone.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.format == Format::Table {
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    pub(super) fn print(&mut self, table: &Table, values: &impl Serialize) -> Result<(), Failure> {
        Ok(table.print(self.format, values, self.out)?)
    }

    pub(super) async fn node_status(&mut self) -> Result<StatusView, Failure> {
        match self.ask(Command::Status).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(Failure::misfit()),
        }
    }

    pub(super) async fn status(&mut self) -> Result<(), Failure> {
        let status = self.node_status().await?;
        let number = |number: u64| number.to_string();
        let state = if status.draining { "draining" } else { "running" };
        let rows = [
            ("node", status.node.clone()),
            ("domain", status.domain.clone()),
            ("version", status.version.clone()),
            ("state", state.to_owned()),
            ("overload_percent", status.overload_percent.to_string()),
            ("store", status.store.clone()),
            ("started", status.started.0.to_string()),
            ("uptime_s", number(status.uptime_s)),
            ("listeners", status.listeners.join(" ")),
            ("workers", status.workers.to_string()),
            ("calls_ringing", number(status.calls_ringing)),
            ("calls_answered", number(status.calls_answered)),
            ("calls_transcoded", number(status.calls_transcoded)),
            ("hot_desks", number(status.hot_desks)),
            ("moves", number(status.moves)),
            ("registrations", number(status.registrations)),
            ("users", number(status.users)),
            ("ports_free", number(status.ports_free)),
            ("ports_used", number(status.ports_used)),
            ("ports_quarantined", number(status.ports_quarantined)),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]).into();
        self.print(&Table { headings: &["WHAT", "VALUE"], rows }, &status)
    }

    pub(super) async fn calls(
        &mut self,
        user: Option<Box<str>>,
        action: Option<CallAction>,
    ) -> Result<(), Failure> {
        match action {
            None => {
                let list = |page| Command::ListCalls { user: user.clone(), page };
                let take = |reply| if let Reply::Calls(page) = reply { Some(page) } else { None };
                let calls = self.list(MAX_ITEMS, list, take).await?;
                let rows = calls.iter().map(call_row).collect();
                self.print(&Table { headings: CALL, rows }, &calls)
            }
            Some(CallAction::Show { id }) => match self.ask(Command::ShowCall { id }).await? {
                Reply::Call(call) => {
                    if self.format == Format::Table {
                        Table { headings: CALL, rows: vec![call_row(&call)] }.print(
                            self.format,
                            &call,
                            self.out,
                        )?;
                        writeln!(self.out)?;
                    }
                    let rows = call.legs.iter().map(leg_row).collect();
                    self.print(&Table { headings: LEG, rows }, &call)
                }
                _ => Err(Failure::misfit()),
            },
            Some(CallAction::Hangup { id }) => {
                self.ask(Command::HangUp { id }).await?;
                self.say("The call is being ended.")
            }
        }
    }

    pub(super) async fn start_move(&mut self, wanted: Move) -> Result<(), Failure> {
        let start = StartMove {
            user: wanted.user,
            call: wanted.call,
            to_device: wanted.to,
            mode: match (wanted.refer, wanted.auto_answer) {
                (true, _) => MoveMode::Refer,
                (false, true) => MoveMode::AutoAnswer,
                (false, false) => MoveMode::Ring,
            },
            trigger: Trigger::Cli,
        };
        let view = self.move_of(Command::StartMove(start)).await?;
        let view = self.outcome(view, Duration::from_secs(wanted.wait)).await?;
        self.print_moves(std::slice::from_ref(&view), &view)?;
        match view.state {
            MoveState::Refused | MoveState::RolledBack => {
                let reason = view.reason.unwrap_or_else(|| "no reason given".into());
                Err(Failure::refused(format!("the call was not moved: {reason}")))
            }
            _ => Ok(()),
        }
    }

    /// The move as it stands when it is final, or when the time is up.
    async fn outcome(&mut self, mut view: MoveView, wait: Duration) -> Result<MoveView, Failure> {
        let until = tokio::time::Instant::now() + wait;
        while !is_final(view.state) && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            view = self.move_of(Command::ShowMove { id: view.id.as_str().into() }).await?;
        }
        Ok(view)
    }

    async fn move_of(&mut self, command: Command) -> Result<MoveView, Failure> {
        match self.ask(command).await? {
            Reply::Move(view) => Ok(*view),
            _ => Err(Failure::misfit()),
        }
    }

    pub(super) async fn moves(
        &mut self,
        user: Option<Box<str>>,
        limit: usize,
        action: Option<MoveAction>,
    ) -> Result<(), Failure> {
        match action {
            None => {
                let list = |page| Command::ListMoves { user: user.clone(), page };
                let take = |reply| if let Reply::Moves(page) = reply { Some(page) } else { None };
                let moves = self.list(limit.min(MAX_ITEMS), list, take).await?;
                self.print_moves(&moves, &moves)
            }
            Some(MoveAction::Show { id }) => {
                let view = self.move_of(Command::ShowMove { id }).await?;
                self.print_moves(std::slice::from_ref(&view), &view)?;
                if let (Format::Table, Some(timeline)) = (self.format, &view.timeline) {
                    writeln!(self.out)?;
                    for line in timeline.render().lines() {
                        writeln!(self.out, "{}", printable(line))?;
                    }
                }
                Ok(())
            }
            Some(MoveAction::Undo { id }) => {
                let view = self.move_of(Command::UndoMove { id }).await?;
                self.print_moves(std::slice::from_ref(&view), &view)
            }
        }
    }

    fn print_moves(&mut self, moves: &[MoveView], values: &impl Serialize) -> Result<(), Failure> {
        let rows = moves.iter().map(move_row).collect();
        self.print(&Table { headings: MOVE, rows }, values)
    }

    pub(super) async fn registrations(
        &mut self,
        user: Option<Box<str>>,
        action: Option<RegistrationAction>,
    ) -> Result<(), Failure> {
        let user = match action {
            Some(RegistrationAction::Kick { user, device }) => {
                self.ask(Command::KickRegistration { user, device }).await?;
                return self.say("Removed. The device may register again.");
            }
            Some(RegistrationAction::SignOut { user }) => {
                self.ask(Command::SignOut { user }).await?;
                return self.say("Signed out. Calls that live go on.");
            }
            Some(RegistrationAction::Show { user }) => Some(user),
            None => user,
        };
        let list = |page| Command::ListRegistrations { user: user.clone(), page };
        let take = |reply| if let Reply::Registrations(page) = reply { Some(page) } else { None };
        let registrations = self.list(MAX_ITEMS, list, take).await?;
        let rows = registrations.iter().map(registration_row).collect();
        self.print(&Table { headings: REGISTRATION, rows }, &registrations)
    }

    /// `wait`: until no call lives, for at most so many seconds; 0 for as long as it takes.
    pub(super) async fn drain(&mut self, wait: Option<u32>) -> Result<(), Failure> {
        self.ask(Command::Drain).await?;
        let Some(seconds) = wait else {
            return self.say("The node takes no new calls; those that live go on.");
        };
        let deadline = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds.into()));
        let mut told = None;
        loop {
            let status = self.node_status().await?;
            let calls = status.calls_ringing + status.calls_answered;
            if calls == 0 {
                return self.say("The node takes no new calls, and none lives any more.");
            }
            if told.replace(calls) != Some(calls) {
                self.say(&lives(calls))?;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Failure::general(format!("{}; the node goes on draining", lives(calls))));
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

fn lives(calls: u64) -> String {
    if calls == 1 { "1 call lives".to_owned() } else { format!("{calls} calls live") }
}

const CALL: &[&str] = &["ID", "STATE", "FROM", "TO", "DIRECTION", "STARTED", "ANSWERED", "CODEC", "MOVES"];
const LEG: &[&str] =
    &["ROLE", "STATE", "USER", "DEVICE", "TRUNK", "TRANSPORT", "ADDRESS", "USER AGENT", "HELD"];
const MOVE: &[&str] =
    &["ID", "CALL", "USER", "FROM", "TO", "TRIGGER", "STATE", "REASON", "GAP MS", "LOST", "REQUESTED"];
const REGISTRATION: &[&str] =
    &["USER", "DEVICE", "TRANSPORT", "ADDRESS", "EXPIRES S", "USER AGENT", "CONTACT", "PBX", "SIGNED IN"];

fn call_row(call: &CallView) -> Vec<String> {
    vec![
        call.id.clone(),
        word(&call.state),
        call.from.clone(),
        call.to.clone(),
        call.direction.clone(),
        time(Some(call.started)),
        time(call.answered),
        or_dash(call.codec.as_deref()),
        call.moves.to_string(),
    ]
}

fn leg_row(leg: &crate::engine::view::LegView) -> Vec<String> {
    let optional = [&leg.user, &leg.device, &leg.trunk, &leg.transport, &leg.address, &leg.user_agent]
        .map(Option::as_deref);
    let mut row = vec![leg.role.clone(), leg.state.clone()];
    row.extend(optional.map(or_dash));
    row.push(if leg.held { "yes" } else { "no" }.into());
    row
}

fn move_row(view: &MoveView) -> Vec<String> {
    vec![
        view.id.clone(),
        view.call.clone(),
        view.user.clone(),
        or_dash(view.from_device.as_deref()),
        or_dash(view.to_device.as_deref()),
        view.trigger.as_str().into(),
        view.state.as_str().into(),
        or_dash(view.reason.as_deref()),
        view.gap_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1}")),
        view.lost.map_or_else(|| "-".into(), |lost| lost.to_string()),
        time(Some(view.requested)),
    ]
}

fn registration_row(view: &RegistrationView) -> Vec<String> {
    vec![
        view.user.clone(),
        view.device.clone(),
        view.transport.clone(),
        view.address.clone(),
        view.expires_s.to_string(),
        or_dash(view.user_agent.as_deref()),
        view.contact.clone(),
        or_dash(view.pbx.as_deref()),
        or_dash(view.signed_in.as_deref()),
    ]
}

fn is_final(state: MoveState) -> bool {
    matches!(state, MoveState::Done | MoveState::RolledBack | MoveState::Refused)
}

pub(super) fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "-".into(), |Time(at): Time| UnixMillis::to_string(&at))
}

/// The word that a value is in JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
