//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::failure::CODES;
use super::output::Format;
use crate::shell::telemetry::logs;

/// SIP registrar, B2BUA and media relay that moves a live call from one handset to another.
#[derive(Debug, Parser)]
#[command(name = "segue", version, after_help = CODES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) place: Place,
    /// How answers are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) log: Log,
    /// Without one: serve
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

/// Which node.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Place {
    /// Configuration; without it ./segue.toml, then /etc/segue/segue.toml
    #[arg(short, long, global = true, env = "SEGUE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Data directory of the running node, instead of the one that the configuration names
    #[arg(long, global = true, env = "SEGUE_NODE__DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

/// Logs of `serve` and `demo`, on standard error.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// A level, or directives such as `info,segue::engine=debug`
    #[arg(long, global = true, env = "SEGUE_LOG", default_value = "info", value_name = "FILTER")]
    pub(super) log_level: String,
    /// One line for people, or one JSON object
    #[arg(long, global = true, env = "SEGUE_LOG_FORMAT", value_enum, default_value_t = logs::Format::Human)]
    pub(super) log_format: logs::Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a node
    Serve {
        /// Make a configuration with two sample users where there is none, also without a terminal
        #[arg(long)]
        init: bool,
    },
    /// Read the configuration and say what is wrong with it
    CheckConfig,
    /// Hash a password for the configuration: argon2id, and HA1 with --user and --realm
    Hash(Hash),
    /// How the node is
    Status,
    /// Live calls
    Calls {
        /// Only this user's
        #[arg(long)]
        user: Option<Box<str>>,
        #[command(subcommand)]
        action: Option<CallAction>,
    },
    /// The messages of a call, live or not long over, as a ladder
    Trace(Trace),
    /// Move a live call of a user to another device
    Move(Move),
    /// Moves, newest first
    Moves {
        /// Only this user's
        #[arg(long)]
        user: Option<Box<str>>,
        /// Most of them
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(subcommand)]
        action: Option<MoveAction>,
    },
    /// Registered devices
    Registrations {
        /// Only this user's
        #[arg(long)]
        user: Option<Box<str>>,
        #[command(subcommand)]
        action: Option<RegistrationAction>,
    },
    /// How a live call sounds: loss, jitter, round trip and score of each direction
    Quality {
        /// The call
        call: Box<str>,
    },
    /// Trunks: who answers, where the node is registered, what they carry
    Trunks,
    /// The rules of the dial plan, in order
    Route {
        #[command(subcommand)]
        action: Option<RouteAction>,
    },
    /// What the calls of a test run came to
    Report {
        /// The run, as its calls name it
        #[arg(long, value_name = "TAG")]
        run: Box<str>,
        /// Draw it, too
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Users of the store
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Sources of SIP that are not listened to
    Bans {
        #[command(subcommand)]
        action: Option<BanAction>,
    },
    /// Call records
    Cdr {
        #[command(subcommand)]
        action: RecordAction,
    },
    /// Have a running node read its configuration anew, and say what that changes
    Reload {
        /// Only say what it would change
        #[arg(long)]
        dry_run: bool,
    },
    /// What the node does now, on a screen that is redrawn
    Top(Top),
    /// Look at this machine and the configuration for what would keep a node from its work
    Doctor,
    /// Take no new calls; those that live go on
    Drain {
        /// Wait until none lives, for so many seconds at most; without a number for as long as it takes
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "0")]
        wait: Option<u32>,
    },
    /// Start a node and three software phones on this machine, move a call, print what was measured
    Demo,
    /// Completion for a shell, on standard output
    Completion {
        /// Which
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct Hash {
    /// Read one line from standard input instead of asking
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// Digest username: prints HA1 too
    #[arg(long, requires = "realm")]
    pub(super) user: Option<String>,
    /// Digest realm, the node's domain
    #[arg(long, requires = "user")]
    pub(super) realm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CallAction {
    /// One call with its legs
    Show {
        /// Its id
        id: Box<str>,
    },
    /// End a call
    Hangup {
        /// Its id
        id: Box<str>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Trace {
    /// Its id, or the Call-ID of one of its dialogs
    pub(super) call: Box<str>,
    /// Write a capture for Wireshark instead; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) write: Option<PathBuf>,
    /// Columns of the ladder, instead of those of the terminal
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(20..=1000))]
    pub(super) width: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct Top {
    /// One look as plain lines
    #[arg(long)]
    pub(super) once: bool,
    /// Plain lines instead of a screen
    #[arg(short, long)]
    pub(super) batch: bool,
    /// Looks until it ends, as plain lines
    #[arg(short = 'n', long, value_name = "LOOKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Between two looks, from 0.1 to 3600
    #[arg(
        short = 'd', long, value_name = "SECONDS", default_value = "1", value_parser = interval,
        allow_negative_numbers = true,
    )]
    pub(super) interval: Duration,
}

/// Seconds between two looks.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it is seconds from 0.1 to 3600".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct Move {
    /// Whose call
    pub(super) user: Box<str>,
    /// Which; without it the user's one live call, of several the newest
    #[arg(long)]
    pub(super) call: Option<Box<str>>,
    /// Where to; without it the user's one other registered device
    #[arg(long, value_name = "DEVICE")]
    pub(super) to: Option<Box<str>>,
    /// Ask the device to answer by itself
    #[arg(long)]
    pub(super) auto_answer: bool,
    /// Ask the device to call (REFER) instead of ringing it
    #[arg(long, conflicts_with = "auto_answer")]
    pub(super) refer: bool,
    /// Wait at most so long for the outcome; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) wait: u64,
}

#[derive(Debug, Subcommand)]
pub(super) enum MoveAction {
    /// One move with its timeline
    Show {
        /// Its id
        id: Box<str>,
    },
    /// Take a move back and end its hold-off
    Undo {
        /// Its id
        id: Box<str>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RegistrationAction {
    /// The registrations of a user
    Show {
        /// Whose
        user: Box<str>,
    },
    /// Remove the registrations of a user
    Kick {
        /// Whose
        user: Box<str>,
        /// Only this device's
        device: Option<Box<str>>,
    },
    /// Sign a user out of the shared phone at whose keys the user has signed in
    SignOut {
        /// Who
        user: Box<str>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteAction {
    /// What would become of a call: each rule and why it is not followed, then who is called; nothing is sent
    Test(RouteTest),
}

#[derive(Debug, Args)]
pub(super) struct RouteTest {
    /// Who calls: a user, an extension or a device; from a trunk, a number
    pub(super) from: Box<str>,
    /// The number that is dialled
    pub(super) to: Box<str>,
    /// Where the call comes from: trunk:NAME, or the address of a user's device
    #[arg(long, value_name = "trunk:NAME|ADDRESS")]
    pub(super) source: Option<Box<str>>,
    /// When, by the clock of the node: 2026-12-24T18:00, perhaps with Z or an offset; without it now
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<Box<str>>,
}

#[derive(Debug, Subcommand)]
pub(super) enum BanAction {
    /// All of them
    List,
    /// Listen to a source again
    Lift {
        /// Its address, as it is listed
        address: Box<str>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RecordAction {
    /// Records of calls that have ended, newest first
    Query(RecordQuery),
    /// One record with its segments
    Show {
        /// Its id
        id: Box<str>,
    },
}

#[derive(Debug, Args)]
pub(super) struct RecordQuery {
    /// Only of this caller: user, or number from a trunk
    #[arg(long)]
    pub(super) from: Option<Box<str>>,
    /// Only to this number, as it was dialled
    #[arg(long)]
    pub(super) to: Option<Box<str>>,
    /// Only of the user to whom the call counts
    #[arg(long)]
    pub(super) user: Option<Box<str>>,
    /// Only of calls that came in since: `90m`, `12h`, `7d`, or a time in UTC as 2026-11-28T08:00:00
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<Box<str>>,
    /// Only of calls that came in before
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Box<str>>,
    /// Most of them
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserAction {
    /// All users, with those of the configuration
    List,
    /// Add a user with devices; passwords that are not given are made and printed once
    Add(NewUser),
    /// Set the login of a user, or with --device the SIP password of a device
    Passwd {
        /// Whose
        name: Box<str>,
        /// The device whose SIP password is set
        #[arg(long)]
        device: Option<Box<str>>,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Set the PIN that is asked for at shared devices
    Pin {
        /// Whose
        name: Box<str>,
        /// No PIN from now on
        #[arg(long, conflicts_with_all = ["password_stdin", "generate"])]
        remove: bool,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// The devices of a user; add or remove one
    Devices {
        /// Whose
        name: Box<str>,
        #[command(subcommand)]
        action: Option<DeviceAction>,
    },
    /// Remove a user
    Remove {
        /// Whom
        name: Box<str>,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewUser {
    /// The user part of the address
    pub(super) name: Box<str>,
    /// Shown to the other side
    #[arg(long)]
    pub(super) display: Option<Box<str>>,
    /// The number that dials the user
    #[arg(long)]
    pub(super) extension: Option<Box<str>>,
    /// A device, several times for several: `desk`, or `lobby:shared`
    #[arg(long = "device", value_name = "ID[:shared]")]
    pub(super) devices: Vec<String>,
    #[command(flatten)]
    pub(super) secret: NewSecret,
}

/// Where a new secret comes from: a prompt, unless one of these is given.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct NewSecret {
    /// Read one line from standard input
    #[arg(long, conflicts_with = "generate")]
    pub(super) password_stdin: bool,
    /// Make one and print it once
    #[arg(long)]
    pub(super) generate: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum DeviceAction {
    /// Add a device; its SIP password is made and printed once unless given
    Add {
        /// Its name
        id: Box<str>,
        /// Digest username; without it NAME-ID
        #[arg(long)]
        auth_user: Option<Box<str>>,
        /// It stands in a room: extension and PIN are asked for there
        #[arg(long)]
        shared: bool,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Remove a device
    Remove {
        /// Its name
        id: Box<str>,
    },
}
