//! Calls, both ends of them played here.

mod callee;
mod caller;

use std::time::{Duration, Instant};

use bytes::Bytes;
use segue::wire::sip::{HeaderName, Limits, Message};

use self::callee::Callee;
use self::caller::Caller;
use crate::figures::{per, verdict};
use crate::net::{self, Pace};
use crate::{Calls, process};

/// How long the callee rings.
const RINGS: Duration = Duration::from_millis(20);
/// After which a message is repeated, and how often.
const PATIENCE: Duration = Duration::from_millis(500);
const REPETITIONS: u32 = 8;
/// After the last call came up, until memory is read.
const SETTLES: Duration = Duration::from_secs(3);

pub(crate) fn run(options: &Calls) {
    net::wake_in_time();
    let (mut caller, mut callee) = (Caller::new(options), Callee::new(options));
    let (cpu, memory) = (options.server.pid.map(process::cpu), options.server.pid.map(process::memory));
    let mut pace = Pace::new(options.rate, options.calls);
    let mut last = Instant::now();
    let mut settled = None;
    while caller.ended() < options.calls {
        let now = Instant::now();
        while pace.due(now).is_some() {
            last = now;
            caller.call(now);
        }
        caller.turn(now);
        callee.turn(now);
        let soon = now + Duration::from_millis(5);
        let next = [pace.next(), caller.next(), callee.next()].into_iter().flatten().fold(soon, Instant::min);
        net::wait(&[&caller.socket, &callee.socket], next.saturating_duration_since(Instant::now()));
        if options.held && settled.is_none() && caller.up + caller.failed == options.calls {
            settled = Some(Instant::now() + SETTLES);
        }
        if settled.is_some_and(|at| Instant::now() >= at) {
            break;
        }
    }
    let cpu = cpu.zip(options.server.pid).map(|(before, pid)| process::cpu(pid) - before);
    let memory =
        memory.zip(options.server.pid).map(|(before, pid)| process::memory(pid).saturating_sub(before));
    let repeated = caller.repeated + callee.repeated;
    println!(
        "calls={} rate={:.0} failed={} repeated={repeated} clean={} per_1000={} setup_p50_ms={:.2} setup_p99_ms={:.2} \
         kib_a_call={}",
        options.calls,
        pace.reached(last),
        caller.failed,
        verdict(options.calls, caller.failed, repeated, (pace.reached(last), options.rate)),
        per(cpu, options.calls, 1000.0),
        caller.setup.at(500),
        caller.setup.at(990),
        per(memory.filter(|_| options.held).map(|kib| kib as f64), options.calls, 1.0),
    );
}

/// Everything that waits on `socket`, read.
fn each(socket: &std::net::UdpSocket, mut what: impl FnMut(&Message)) {
    let mut room = [0; 8192];
    while let Some((bytes, _)) = net::receive(socket, &mut room) {
        match Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()) {
            Ok(message) => what(&message),
            Err(error) => panic!("the server sent {error}: {}", String::from_utf8_lossy(bytes)),
        }
    }
}

/// The lines of `name`, as they came.
fn lines(message: &Message, name: HeaderName) -> Vec<String> {
    message.all(name).map(|header| String::from_utf8_lossy(header.value).into_owned()).collect()
}

/// What both ends say: the packets of it go nowhere.
fn description(ip: std::net::IpAddr, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}
