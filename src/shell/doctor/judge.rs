//! From what was found to what it means and what to do about it. Nothing here looks at anything.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{Finding, State};
use crate::shell::files::Needs;

/// What a node asks of the system for each datagram socket, bytes.
const SOCKET_BUFFER: u64 = 4 << 20;
/// Certificates with less left are about to lapse: renewal is usually 30 days ahead.
const SOON_S: i64 = 14 * 86_400;
/// Free space below which the store is in danger, and below which it is about to fail.
const LITTLE_DISK: u64 = 1 << 30;
const NO_DISK: u64 = 100 << 20;

/// Ports from one to another, both among them.
pub type Range = (u16, u16);

/// All that was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The configuration, if there is one.
    pub file: Option<PathBuf>,
    /// Others than the owner may read it.
    pub is_file_open: bool,
    /// Whether a node answers in the data directory; why not, if not for want of one.
    pub node: Result<bool, String>,
    /// Everything that is, or is to be, listened on.
    pub ports: Vec<Port>,
    /// Listeners and media that are reached at an address of a private network, by their key.
    pub private: Vec<(String, IpAddr)>,
    /// The clock: whether it is kept right; `None` where the system does not say.
    pub is_synchronised: Option<bool>,
    /// Certificates of listeners and page.
    pub certificates: Vec<Certificate>,
    /// The limit of open files: of the running node, else of this shell as far as it can be raised.
    pub files: Option<u64>,
    /// Files of listeners, media threads and webhooks.
    pub parts: u64,
    /// `media.ports`.
    pub media: (u16, u16),
    /// Whether `media.ports` has a port that somebody else holds.
    pub media_taken: Vec<u16>,
    /// Largest receive and send buffers, bytes.
    pub buffers: Option<(u64, u64)>,
    /// The ports that the system gives away by itself, and those that it leaves out.
    pub ephemeral: Option<(Range, Vec<Range>)>,
    /// The data directory.
    pub data: Data,
    /// The integrity of the store, if there is one.
    pub store: Option<Result<(), String>>,
    /// The zone of the machine.
    pub zone: String,
    /// Names of trunks, and what they lead to.
    pub names: Vec<(String, Result<usize, String>)>,
    /// Whether io_uring can be had, and what `media.io` says.
    pub uring: Result<(), String>,
    /// `media.io`.
    pub io: &'static str,
}

/// A port.
#[derive(Clone, Debug)]
pub struct Port {
    /// `udp://0.0.0.0:5060`
    pub name: String,
    /// `listen[0].uri`
    pub key: String,
    /// Its number.
    pub number: u16,
    /// Whose it is.
    pub state: PortState,
}

/// Whose a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nobody's.
    Free,
    /// The running node's.
    Ours,
    /// Another program's.
    Taken,
    /// We may not have it.
    Forbidden,
    /// The machine has no such address.
    Elsewhere,
    /// The system says something else.
    Odd(String),
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// `listen[2]` or `http`
    pub key: String,
    /// The file of the key.
    pub path: PathBuf,
    /// Others than the owner and the group may read the key.
    pub is_key_open: bool,
    /// What it is for and seconds until it lapses; or which file is of no use, and why.
    pub read: Result<(Vec<String>, i64), String>,
    /// A name that clients will look for in it, and whether it is there.
    pub name: (String, bool),
}

/// The data directory.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// It.
    pub path: PathBuf,
    /// Whether it is there and can be written; why not.
    pub writable: Option<Result<(), String>>,
    /// Others than the owner may look into it.
    pub is_open: bool,
    /// Free bytes.
    pub free: Option<u64>,
}

/// What all of it means, in the order in which one would mend it.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    configuration(&mut all, facts);
    ports(&mut all, facts);
    addresses(&mut all, facts);
    certificates(&mut all, facts);
    media_ports(&mut all, facts);
    files(&mut all, facts);
    buffers(&mut all, facts);
    data(&mut all, facts);
    names(&mut all, facts);
    rest(&mut all, facts);
    all
}

fn ok(what: impl Into<String>, told: impl Into<String>) -> Finding {
    Finding { state: State::Ok, what: what.into(), told: told.into(), mend: None }
}

fn warning(what: impl Into<String>, told: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { state: State::Warning, what: what.into(), told: told.into(), mend: Some(mend.into()) }
}

fn fault(what: impl Into<String>, told: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { state: State::Fault, what: what.into(), told: told.into(), mend: Some(mend.into()) }
}

fn configuration(all: &mut Vec<Finding>, facts: &Facts) {
    all.push(match &facts.file {
        None => {
            warning("configuration", "there is none: what follows is of the defaults", "segue serve --init")
        }
        Some(path) if facts.is_file_open => warning(
            "configuration",
            format!("{} has no faults, but others may read it, and it may hold passwords", path.display()),
            format!("chmod o-rwx {}", path.display()),
        ),
        Some(path) => ok("configuration", format!("{} has no faults", path.display())),
    });
    all.push(match &facts.node {
        Ok(true) => ok("node", "one runs and answers"),
        Ok(false) => ok("node", "none runs with this data directory"),
        Err(why) => fault("node", why.clone(), "run this as the user of the node, or as root"),
    });
}

fn ports(all: &mut Vec<Finding>, facts: &Facts) {
    for port in &facts.ports {
        let what = port.name.clone();
        all.push(match &port.state {
            PortState::Free => ok(what, "free"),
            PortState::Ours => ok(what, "held by the running node"),
            PortState::Taken => fault(
                what,
                format!("another program has it: a node cannot start ({})", port.key),
                format!("ss -lnp 'sport = :{}'", port.number),
            ),
            PortState::Forbidden => fault(
                what,
                format!("ports below 1024 are for the privileged: a node cannot start ({})", port.key),
                "systemctl edit segue: [Service] with AmbientCapabilities=CAP_NET_BIND_SERVICE and \
                 CapabilityBoundingSet=CAP_NET_BIND_SERVICE, a line each; or another port",
            ),
            PortState::Elsewhere => fault(
                what,
                format!("this machine does not have that address ({})", port.key),
                "ip -brief address",
            ),
            PortState::Odd(why) => {
                fault(what, format!("cannot be bound: {why} ({})", port.key), "ip -brief address")
            }
        });
    }
}

fn addresses(all: &mut Vec<Finding>, facts: &Facts) {
    for (key, ip) in &facts.private {
        let told =
            format!("reached at {ip}, an address of a private network: phones and carriers beyond cannot");
        let mend = format!("{key}.advertise = \"the public address\", where there are some");
        all.push(warning(format!("{key}.advertise"), told, mend));
    }
}

fn certificates(all: &mut Vec<Finding>, facts: &Facts) {
    for one in &facts.certificates {
        let what = format!("{} certificate", one.key);
        let (name, is_named) = &one.name;
        all.push(match &one.read {
            Err(why) => fault(
                what,
                format!("{why}: a node cannot start"),
                format!("{}.cert, {}.key", one.key, one.key),
            ),
            Ok((_, left)) if *left <= 0 => fault(
                what,
                format!("has lapsed {} ago: nobody connects", days(-left)),
                "renew it; no restart is needed",
            ),
            Ok((_, left)) if *left < SOON_S => {
                warning(what, format!("lapses in {}", days(*left)), "renew it; no restart is needed")
            }
            Ok((names, _)) if !is_named => warning(
                what,
                format!("is for {}, and not for {name}, which clients look for", names.join(", ")),
                format!("one that is for {name}, too"),
            ),
            Ok((_, left)) => ok(what, format!("is for {name}, for another {}", days(*left))),
        });
        if one.is_key_open {
            let told = format!("others may read {}", one.path.display());
            all.push(warning(
                format!("{} key", one.key),
                told,
                format!("chmod o-rwx {}", one.path.display()),
            ));
        }
    }
}

fn media_ports(all: &mut Vec<Finding>, facts: &Facts) {
    let ((first, last), what) = (facts.media, "media.ports");
    if let Some(taken) = facts.media_taken.first() {
        let told =
            format!("{} of {first}-{last} are held by others, {taken} the first", facts.media_taken.len());
        all.push(warning(what, told, format!("ss -unp 'sport = :{taken}'")));
    }
    let Some((range, reserved)) = &facts.ephemeral else { return };
    let is_in = |port: u16, (from, to): (u16, u16)| (from..=to).contains(&port);
    let open = (first..=last)
        .filter(|port| is_in(*port, *range) && !reserved.iter().any(|reserved| is_in(*port, *reserved)))
        .count();
    all.push(if open > 0 {
        let told = format!(
            "{open} of {first}-{last} are among the ports {}-{} that the system gives to anybody: a call may find its port taken",
            range.0, range.1
        );
        // What is written there takes the place of what was there.
        let kept = reserved.iter().map(|(from, to)| if from == to { format!("{from},") } else { format!("{from}-{to},") });
        let all = kept.chain([format!("{first}-{last}")]).collect::<String>();
        warning(what, told, format!("sysctl -w net.ipv4.ip_local_reserved_ports={all}"))
    } else {
        let calls = (u32::from(last.saturating_sub(first)) + 1) / 4;
        ok(what, format!("{first}-{last}, for {calls} calls at once, apart from those of the system"))
    });
}

fn files(all: &mut Vec<Finding>, facts: &Facts) {
    let Some(limit) = facts.files else { return };
    let needs = Needs { ports: facts.media, parts: facts.parts };
    let (whole, what) = (needs.whole(), "open files");
    let mend = format!("LimitNOFILE={whole} in the unit, or ulimit -n {whole}");
    all.push(match needs.share(limit) {
        None => fault(what, format!("{limit}: too few for a node, which needs {} at least", needs.least()), mend),
        Some(shares) if (shares.calls() as u64) < needs.calls() => {
            let told = format!(
                "{limit}: enough for {} calls at once, where media.ports are enough for {}; for {} SIP connections and {} of HTTP",
                shares.calls(),
                needs.calls(),
                shares.connections,
                shares.pages,
            );
            warning(what, told, mend)
        }
        Some(shares) if limit < whole => {
            ok(what, format!("{limit}: enough for all calls, and for {} SIP connections", shares.connections))
        }
        Some(_) => ok(what, format!("{limit}: enough for all calls and connections")),
    });
}

fn buffers(all: &mut Vec<Finding>, facts: &Facts) {
    let Some((receive, send)) = facts.buffers else { return };
    for (name, limit) in [("rmem_max", receive), ("wmem_max", send)] {
        let what = format!("net.core.{name}");
        all.push(if limit < SOCKET_BUFFER {
            let told = format!("{limit}: a burst of some thousand messages loses datagrams");
            warning(what.clone(), told, format!("sysctl -w {what}={SOCKET_BUFFER}"))
        } else {
            ok(what, limit.to_string())
        });
    }
}

fn data(all: &mut Vec<Finding>, facts: &Facts) {
    let (data, what) = (&facts.data, "node.data_dir");
    let path = data.path.display();
    all.push(match &data.writable {
        Some(Err(why)) => {
            fault(what, format!("{path}: {why}"), format!("chown segue {path}; chmod 700 {path}"))
        }
        _ if data.is_open => warning(
            what,
            format!("{path}: others may look into it; it holds what passwords are worth"),
            format!("chmod 700 {path}"),
        ),
        Some(Ok(())) => ok(what, format!("{path} can be written")),
        None => ok(what, format!("{path} is not there yet; it is made at the start")),
    });
    if let Some(free) = data.free {
        let told = format!("{} MB free", free >> 20);
        all.push(if free < NO_DISK {
            fault(
                "disk",
                format!("{told}: the store is about to refuse accounts and moves"),
                format!("df {path}"),
            )
        } else if free < LITTLE_DISK {
            warning("disk", told, format!("df {path}"))
        } else {
            ok("disk", told)
        });
    }
    match &facts.store {
        None => {}
        Some(Ok(())) => all.push(ok("store", "is sound (quick_check)")),
        Some(Err(why)) => {
            let mend = format!("stop the node; sqlite3 {path}/segue.db '.recover' | sqlite3 new.db");
            all.push(fault("store", why.clone(), mend));
        }
    }
}

fn names(all: &mut Vec<Finding>, facts: &Facts) {
    for (name, found) in &facts.names {
        all.push(match found {
            Ok(0) => fault(
                name.clone(),
                "the name leads nowhere that a listener reaches",
                "dig; trunk.uri, [[listen]]",
            ),
            Ok(1) => ok(name.clone(), "the name leads to one target"),
            Ok(count) => ok(name.clone(), format!("the name leads to {count} targets")),
            Err(why) => fault(
                name.clone(),
                format!("the name cannot be looked up: {why}"),
                "resolvectl status; [dns] servers",
            ),
        });
    }
}

fn rest(all: &mut Vec<Finding>, facts: &Facts) {
    all.push(match facts.is_synchronised {
        Some(true) => ok("clock", "is kept right"),
        Some(false) => warning(
            "clock",
            "nobody keeps it right: call records, certificates and tokens live by it",
            "timedatectl set-ntp true",
        ),
        None => ok("clock", "the system does not say whether it is kept right"),
    });
    all.push(ok("time zone", format!("{}; logs and call records are in UTC", facts.zone)));
    all.push(match (&facts.uring, facts.io) {
        (Ok(()), _) => ok("io_uring", "can be had"),
        (Err(_), "epoll") => ok("io_uring", "cannot be had, and media.io does not want it"),
        (Err(why), "io_uring") => {
            fault("io_uring", format!("{why}, and media.io wants it"), "media.io = \"auto\"")
        }
        (Err(why), _) => ok("io_uring", format!("{why}: media goes by epoll, at two system calls a packet")),
    });
}

fn days(seconds: i64) -> String {
    match seconds / 86_400 {
        0 => format!("{} hours", seconds / 3600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
