//! What the API, the command line and the page may ask of the engine, and what it answers.
//!
//! Every command comes with the [`Subject`] that asks. A user sees and moves own calls only, and for what is not
//! the user's the answer is the answer for what does not exist: [`CommandError::NotFound`].

use serde::{Deserialize, Serialize};

use super::reconfigure::ReloadView;
use super::report::RunReport;
use super::trace::TraceView;
use super::view::{
    BanView, CallView, MoveView, Page, PageQuery, QualityView, RecordQuery, RegistrationView, RouteQuestion,
    RouteTestView, RouteView, StatusView, Trigger, TrunkView, UserView,
};
use crate::call::record::CallRecord;
use crate::moving::Refusal;

/// Longest user, device or call name that is looked at.
pub const NAME_LEN: usize = 64;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The operator: sees and does everything.
    Admin,
    /// A signed-in user: own calls, moves, registrations and devices only.
    User(Box<str>),
}

impl Subject {
    /// Whether what belongs to `owner` may be shown to it.
    #[must_use]
    pub fn may_see(&self, owner: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::User(name) => **name == *owner,
        }
    }

    /// The user whose things a list shows: the one asked for, or the one who asks. `None` is everybody's; an
    /// error where a user asks for another's, which looks like an empty list.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where a user names another user.
    pub fn scope<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, CommandError> {
        match (self, asked) {
            (Self::Admin, asked) => Ok(asked),
            (Self::User(name), None) => Ok(Some(name)),
            (Self::User(name), Some(asked)) if **name == *asked => Ok(Some(name)),
            (Self::User(_), Some(_)) => Err(CommandError::NotFound),
        }
    }
}

/// A command and who gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub by: Subject,
    /// What.
    pub command: Command,
}

/// What can be asked of a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// How the node is. Answer: [`Reply::Status`].
    Status,
    /// Live calls, oldest first. Answer: [`Reply::Calls`].
    ListCalls {
        /// Only those with a leg of this user.
        user: Option<Box<str>>,
        /// Which part of the list.
        page: PageQuery,
    },
    /// The live calls that came last, the newest first. Answer: [`Reply::Calls`], whole.
    ListNewestCalls {
        /// Most of them, at most [`PAGE_MAX`](super::view::PAGE_MAX).
        most: u16,
    },
    /// One live call. Answer: [`Reply::Call`].
    ShowCall {
        /// The call.
        id: Box<str>,
    },
    /// How a live call sounds so far. Answer: [`Reply::Quality`].
    ShowQuality {
        /// The call.
        call: Box<str>,
    },
    /// The messages of a call, live or not, by its id or a Call-ID. Only for [`Subject::Admin`]. Answer: [`Reply::Trace`].
    ShowTrace {
        /// The call.
        call: Box<str>,
    },
    /// Ends a call: BYE or CANCEL to both sides. Answer: [`Reply::Done`].
    HangUp {
        /// The call.
        id: Box<str>,
    },
    /// Bindings, by user and device. Answer: [`Reply::Registrations`].
    ListRegistrations {
        /// Only those of this user.
        user: Option<Box<str>>,
        /// Which part of the list.
        page: PageQuery,
    },
    /// Trunks by name. Only for [`Subject::Admin`]. Answer: [`Reply::Trunks`].
    ListTrunks {
        /// Which part of the list.
        page: PageQuery,
    },
    /// The rules of the dial plan, in order. Only for [`Subject::Admin`]. Answer: [`Reply::Routes`].
    ListRoutes {
        /// Which part of the list.
        page: PageQuery,
    },
    /// What would become of a call. Only for [`Subject::Admin`]. Answer: [`Reply::RouteTest`].
    TestRoute(RouteQuestion),
    /// Removes bindings. Answer: [`Reply::Done`].
    KickRegistration {
        /// The user.
        user: Box<str>,
        /// One device only.
        device: Option<Box<str>>,
    },
    /// Signs a user out of the shared device at which the user is signed in. Answer: [`Reply::Done`].
    SignOut {
        /// The user.
        user: Box<str>,
    },
    /// Moves a live call. Answer: [`Reply::Move`], with the state it got to at once.
    StartMove(StartMove),
    /// A user has signed in at a device, and wants a live call there. What becomes of it is `move.follow`. Answer:
    /// [`Reply::Move`], or [`Reply::Done`] where there is nothing to move, or nothing is to follow.
    Follow {
        /// The user, who has just proved to be that.
        user: Box<str>,
        /// The device: of the user (`mobile`), or with the user that it stands under (`rooms*lobby`).
        device: Box<str>,
    },
    /// One move with its timeline, of those that live or are remembered. Answer: [`Reply::Move`].
    ShowMove {
        /// The move.
        id: Box<str>,
    },
    /// Moves, newest first, without timelines. Answer: [`Reply::Moves`].
    ListMoves {
        /// Only those of this user.
        user: Option<Box<str>>,
        /// Which part of the list.
        page: PageQuery,
    },
    /// Ends the hold-off of a finished move and takes the call back to the device it came from, where that device
    /// is still registered. Answer: [`Reply::Move`], the move back.
    UndoMove {
        /// The move.
        id: Box<str>,
    },
    /// Call records without their segments, newest first. Answer: [`Reply::Records`].
    ListRecords {
        /// Which.
        wanted: RecordQuery,
        /// Which part of the list.
        page: PageQuery,
    },
    /// One call record with its segments. Answer: [`Reply::Record`].
    ShowRecord {
        /// The call.
        id: Box<str>,
    },
    /// Sources that are not listened to, by address. Answer: [`Reply::Bans`].
    ListBans {
        /// Which part of the list.
        page: PageQuery,
    },
    /// Listens to a source again. Answer: [`Reply::Done`].
    LiftBan {
        /// Its address.
        address: std::net::IpAddr,
    },
    /// Users and their devices, by name. Answer: [`Reply::Users`].
    ListUsers {
        /// Which part of the list.
        page: PageQuery,
    },
    /// One user. Answer: [`Reply::User`].
    ShowUser {
        /// The user.
        name: Box<str>,
    },
    /// Changes an account: checked, stored, applied. Only for [`Subject::Admin`]. Answer: [`Reply::Done`].
    ChangeAccount(AccountChange),
    /// An account was changed by another worker of this node, which checked and stored it: applied only.
    /// Answer: [`Reply::Done`].
    AccountChanged(AccountChange),
    /// What a login is checked against. Never crosses a socket. Answer: [`Reply::Login`], also for unknown users.
    #[serde(skip)]
    Login {
        /// The user.
        user: Box<str>,
    },
    /// Lends a device to a user for as long as a session lasts: it registers and calls as any device of the user, and
    /// no store knows of it. A lent device of that id gives way to it. Only for [`Subject::Admin`], for the user whose
    /// session it is. Answer: [`Reply::Done`].
    LendDevice {
        /// The user.
        user: Box<str>,
        /// The device.
        device: NewDevice,
    },
    /// Takes a lent device back, with its bindings; its live calls go on. Only for [`Subject::Admin`]. Answer:
    /// [`Reply::Done`], also where it is not there.
    ReturnDevice {
        /// The user.
        user: Box<str>,
        /// The device.
        device: Box<str>,
    },
    /// What the calls of a test run came to. Only for [`Subject::Admin`]. Answered by the shell, out of the store.
    /// Answer: [`Reply::Report`].
    ShowReport {
        /// The run.
        run: Box<str>,
    },
    /// What the node counts, as OpenMetrics text. Only for [`Subject::Admin`]. Answered by the shell. Answer:
    /// [`Reply::Metrics`].
    ShowMetrics,
    /// Reads the configuration anew and has what it changes hold. Only for [`Subject::Admin`]. Answered by the shell.
    /// Answer: [`Reply::Reload`].
    Reload {
        /// Only says what it would change.
        dry_run: bool,
    },
    /// No new calls from now on (503 with Retry-After); what lives goes on. Answer: [`Reply::Done`].
    Drain,
}

/// A move that is asked for from outside signalling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartMove {
    /// Whose call; for [`Subject::User`] it is that user, whatever stands here.
    pub user: Box<str>,
    /// Which call; `None`: the user's live call, of several the one that `move.select` picks.
    pub call: Option<Box<str>>,
    /// Where to; `None`: the user's one other registered device, an error where there are several.
    pub to_device: Option<Box<str>>,
    /// How the device is asked.
    pub mode: MoveMode,
    /// Which door it came in by.
    pub trigger: Trigger,
}

/// How the new device of a move is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveMode {
    /// It rings and its user answers.
    #[default]
    Ring,
    /// It is asked to answer by itself, where its settings allow that.
    AutoAnswer,
    /// It is asked to call: REFER with Replaces (RFC 3515, RFC 3891).
    Refer,
}

/// A change to the accounts in the store. Those of the configuration file are changed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum AccountChange {
    /// A new user; an error where the name, extension or a digest identity is taken.
    Add(NewUser),
    /// Removes a user, its devices and bindings. Live calls go on.
    Remove {
        /// The user.
        user: Box<str>,
    },
    /// Sets the login.
    SetLogin {
        /// The user.
        user: Box<str>,
        /// `$argon2id$…`; `None`: no login.
        login: Option<Secret>,
    },
    /// Sets the PIN for shared devices.
    SetPin {
        /// The user.
        user: Box<str>,
        /// `$argon2id$…`; `None`: no PIN.
        pin: Option<Secret>,
    },
    /// Adds a device.
    AddDevice {
        /// The user.
        user: Box<str>,
        /// The device.
        device: NewDevice,
    },
    /// Removes a device and its bindings.
    RemoveDevice {
        /// The user.
        user: Box<str>,
        /// The device.
        device: Box<str>,
    },
    /// Sets the digest credentials of a device.
    SetDevicePassword {
        /// The user.
        user: Box<str>,
        /// The device.
        device: Box<str>,
        /// The new hashes.
        ha1: Ha1Text,
    },
}

impl AccountChange {
    /// The user it is about.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Add(new) => &new.name,
            Self::Remove { user }
            | Self::SetLogin { user, .. }
            | Self::SetPin { user, .. }
            | Self::AddDevice { user, .. }
            | Self::RemoveDevice { user, .. }
            | Self::SetDevicePassword { user, .. } => user,
        }
    }
}

/// A user to be added. Carries hashes, never a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// The user part of the address of record.
    pub name: Box<str>,
    /// Shown to the other side.
    pub display: Option<Box<str>>,
    /// The number that dials this user.
    pub extension: Option<Box<str>>,
    /// `$argon2id$…` of the login password.
    pub login: Option<Secret>,
    /// `$argon2id$…` of the PIN.
    pub pin: Option<Secret>,
    /// The handsets.
    pub devices: Vec<NewDevice>,
}

/// A device to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDevice {
    /// Its name among the devices of the user.
    pub id: Box<str>,
    /// The digest username.
    pub auth_user: Box<str>,
    /// Its digest credentials.
    pub ha1: Ha1Text,
    /// Whether holding it proves who holds it: `personal` or `shared`.
    pub trust: TrustName,
}

/// Whether the digest identity of a device stands for its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustName {
    /// Belongs to one person.
    #[default]
    Personal,
    /// Stands in a room; needs extension and PIN.
    Shared,
}

/// HA1 (RFC 7616 3.4.2) by algorithm, lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1Text {
    /// MD5, 32 digits.
    pub md5: Option<Secret>,
    /// SHA-256, 64 digits.
    pub sha256: Option<Secret>,
    /// SHA-512-256, 64 digits.
    pub sha512_256: Option<Secret>,
}

/// Text that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub Box<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_boxed_str())
    }
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "value", rename_all = "snake_case")]
pub enum Reply {
    /// It is done, and there is nothing to show.
    Done,
    /// To [`Command::Status`].
    Status(Box<StatusView>),
    /// To [`Command::ListCalls`].
    Calls(Page<CallView>),
    /// To [`Command::ShowCall`].
    Call(Box<CallView>),
    /// To [`Command::ShowQuality`].
    Quality(Box<QualityView>),
    /// To [`Command::ShowTrace`].
    Trace(Box<TraceView>),
    /// To [`Command::ListRegistrations`].
    Registrations(Page<RegistrationView>),
    /// To [`Command::ListTrunks`].
    Trunks(Page<TrunkView>),
    /// To [`Command::ListRoutes`].
    Routes(Page<RouteView>),
    /// To [`Command::TestRoute`].
    RouteTest(Box<RouteTestView>),
    /// To [`Command::ListMoves`].
    Moves(Page<MoveView>),
    /// To [`Command::ShowMove`], [`Command::StartMove`], [`Command::UndoMove`].
    Move(Box<MoveView>),
    /// To [`Command::ListRecords`].
    Records(Page<CallRecord>),
    /// To [`Command::ShowRecord`].
    Record(Box<CallRecord>),
    /// To [`Command::ListBans`].
    Bans(Page<BanView>),
    /// To [`Command::ListUsers`].
    Users(Page<UserView>),
    /// To [`Command::ShowUser`].
    User(Box<UserView>),
    /// To [`Command::ShowReport`].
    Report(Box<RunReport>),
    /// To [`Command::ShowMetrics`].
    Metrics(String),
    /// To [`Command::Reload`].
    Reload(Box<ReloadView>),
    /// To [`Command::Login`].
    #[serde(skip)]
    Login {
        /// `$argon2id$…`; `None` for a user without login, and for no user.
        hash: Option<Secret>,
        /// Whether a session of the user may have the scope `admin`.
        admin: bool,
    },
    /// It was not done.
    Error(CommandError),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum CommandError {
    /// There is no such thing, or whoever asks may not know of it.
    #[error("not found")]
    NotFound,
    /// Only an administrator may do that.
    #[error("not allowed")]
    Forbidden,
    /// A value makes no sense.
    #[error("{field}: {why}")]
    Invalid {
        /// Which.
        field: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// It clashes with what there is.
    #[error("{why}")]
    Conflict {
        /// With what.
        why: Box<str>,
    },
    /// The move was refused.
    #[error("{text} ({reason})")]
    Refused {
        /// The word of the [`Refusal`].
        reason: Box<str>,
        /// Its sentence.
        text: Box<str>,
        /// The HTTP status of it.
        status: u16,
        /// Seconds after which it may be tried again.
        retry_after: Option<u32>,
    },
    /// The configuration has faults; nothing has changed.
    #[error("{}", faults.join("\n"))]
    Faulty {
        /// Each with file and line.
        faults: Vec<String>,
    },
    /// Too often.
    #[error("too many requests")]
    TooMany {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// The store, or the node, cannot do it now.
    #[error("not available now: {why}")]
    Unavailable {
        /// What is missing.
        why: Box<str>,
        /// Seconds to wait.
        retry_after: u32,
    },
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            reason: refusal.as_str().into(),
            text: refusal.text().into(),
            status: refusal.http_status(),
            retry_after: refusal.retry_after(),
        }
    }
}

impl Command {
    /// Whether `subject` may ask for it at all. What it then sees is cut by [`Subject::may_see`].
    #[must_use]
    pub fn is_open_to(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Admin => true,
            Subject::User(_) => match self {
                Self::ListCalls { .. }
                | Self::ListNewestCalls { .. }
                | Self::ShowCall { .. }
                | Self::ShowQuality { .. }
                | Self::HangUp { .. }
                | Self::ListRegistrations { .. }
                | Self::KickRegistration { .. }
                | Self::SignOut { .. }
                | Self::StartMove(_)
                | Self::Follow { .. }
                | Self::ShowMove { .. }
                | Self::ListMoves { .. }
                | Self::UndoMove { .. }
                | Self::ListRecords { .. }
                | Self::ShowRecord { .. }
                | Self::ListUsers { .. }
                | Self::ShowUser { .. } => true,
                Self::Status
                | Self::ListTrunks { .. }
                | Self::ListRoutes { .. }
                | Self::TestRoute(_)
                | Self::ListBans { .. }
                | Self::LiftBan { .. }
                | Self::ShowTrace { .. }
                | Self::ChangeAccount(_)
                | Self::AccountChanged(_)
                | Self::Login { .. }
                | Self::LendDevice { .. }
                | Self::ReturnDevice { .. }
                | Self::ShowReport { .. }
                | Self::ShowMetrics
                | Self::Reload { .. }
                | Self::Drain => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_names_no_other_user() {
        let (alice, admin) = (Subject::User("alice".into()), Subject::Admin);
        assert_eq!(alice.scope(None), Ok(Some("alice")));
        assert_eq!(alice.scope(Some("alice")), Ok(Some("alice")));
        assert_eq!(alice.scope(Some("bob")), Err(CommandError::NotFound));
        assert_eq!(admin.scope(None), Ok(None));
        assert_eq!(admin.scope(Some("bob")), Ok(Some("bob")));
        assert!(alice.may_see("alice") && !alice.may_see("bob") && admin.may_see("bob"));
    }

    #[test]
    fn a_login_and_a_hash_never_cross_the_socket_or_a_log() {
        assert!(serde_json::to_string(&Command::Login { user: "alice".into() }).is_err());
        assert!(serde_json::from_str::<Command>(r#"{"command":"login","user":"alice"}"#).is_err());
        let login = Reply::Login { hash: Some(Secret("$argon2id$x".into())), admin: false };
        assert!(!format!("{login:?}").contains("argon2id"));
        assert!(serde_json::to_string(&login).is_err());
    }

    #[test]
    fn commands_round_trip_as_json() {
        let command = Command::ChangeAccount(AccountChange::AddDevice {
            user: "alice".into(),
            device: NewDevice {
                id: "desk".into(),
                auth_user: "alice-desk".into(),
                ha1: Ha1Text { md5: Some(Secret("00".into())), ..Ha1Text::default() },
                trust: TrustName::Shared,
            },
        });
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        assert!(!format!("{command:?}").contains("00"));
    }

    #[test]
    fn what_changes_the_node_is_for_the_operator() {
        let alice = Subject::User("alice".into());
        let remove = AccountChange::Remove { user: "alice".into() };
        let report = Command::ShowReport { run: "x".into() };
        let trace = Command::ShowTrace { call: "1".into() };
        for command in [Command::Status, Command::Drain, report, trace, Command::ChangeAccount(remove)] {
            assert!(!command.is_open_to(&alice));
            assert!(command.is_open_to(&Subject::Admin));
        }
    }
}
