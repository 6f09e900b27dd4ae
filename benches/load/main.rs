//! The generator of load behind docs/PERFORMANCE.md: calls, registrations and RTP toward a server that runs already.
//!
//! `cargo bench --bench load -- calls --to 127.0.0.9:5062 --pid PID` and so on; `--help` says the rest, and
//! `fixtures/bench/compare` drives it against segue, Kamailio and rtpengine in turn. Each run ends in one line of
//! `name=value`, so that `awk` can read it.

#![expect(clippy::panic, reason = "a bench that cannot begin stops")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a measuring tool")]

mod calls;
mod figures;
mod net;
mod ng;
mod process;
mod registers;
mod rtp;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser};

/// Load for a SIP server or a relay, paced, from one thread.
#[derive(Parser)]
#[command(name = "load", version)]
enum Load {
    /// INVITE, 180, 200 after 20 ms, ACK, BYE after --talk-ms, 200: both ends are played here.
    Calls(Calls),
    /// REGISTER, 401, REGISTER with digest, 200.
    Registers(Registers),
    /// G.711 every 20 ms through a relay that was set up by `relay serve` or `ng`.
    Rtp(Rtp),
    /// Sets up calls in a relay by the ng protocol, and writes the map that `rtp` reads.
    Ng(Ng),
}

/// What server, and whose CPU is counted.
#[derive(Args, Clone)]
struct Server {
    /// Where requests go.
    #[arg(long)]
    to: SocketAddr,
    /// Its process: the time of it and of all its descendants is counted.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Args)]
struct Calls {
    #[command(flatten)]
    server: Server,
    /// Calls a second.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    calls: u64,
    /// From the ACK to the BYE, ms.
    #[arg(long, default_value_t = 100)]
    talk_ms: u64,
    /// Whom the calls are for: the user part.
    #[arg(long, default_value = "bench")]
    user: String,
    /// The caller's own address.
    #[arg(long, default_value = "127.0.0.1:15070")]
    caller: SocketAddr,
    /// The callee's.
    #[arg(long, default_value = "127.0.0.1:15090")]
    callee: SocketAddr,
    /// Stops with all calls up, and says what the server's memory grew by.
    #[arg(long)]
    held: bool,
}

#[derive(Args)]
struct Registers {
    #[command(flatten)]
    server: Server,
    /// Registrations a second, each of two requests.
    #[arg(long, default_value_t = 4000)]
    rate: u64,
    /// How many.
    #[arg(long, default_value_t = 20_000)]
    count: u64,
    /// `user0` to the one before this number, in turn.
    #[arg(long, default_value_t = 1000)]
    users: u64,
    /// Everybody's.
    #[arg(long, default_value = "secret")]
    password: String,
    /// The phones' own address.
    #[arg(long, default_value = "127.0.0.1:15070")]
    phone: SocketAddr,
}

#[derive(Args)]
struct Rtp {
    /// Lines of: A's own address, where A sends, B's own address, where B sends.
    #[arg(long)]
    map: PathBuf,
    /// How long it is measured, after one second that is not.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The relay's process.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Args)]
struct Ng {
    /// The relay's control port.
    #[arg(long, default_value = "127.0.0.1:2223")]
    to: SocketAddr,
    /// How many calls.
    #[arg(long)]
    calls: u16,
    /// What is written.
    #[arg(long)]
    map: PathBuf,
}

fn main() {
    let arguments = std::env::args().filter(|argument| argument != "--bench");
    match Load::parse_from(arguments) {
        Load::Calls(options) => calls::run(&options),
        Load::Registers(options) => registers::run(&options),
        Load::Rtp(options) => rtp::run(&options),
        Load::Ng(options) => ng::run(&options),
    }
}
