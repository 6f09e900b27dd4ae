//! A node for tests: tasks that answer commands as an engine with a little world would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{EventHub, NodeHandle, OfShell, Reports, Request, link};
use crate::base::{Now, Timestamp, UnixMillis};
use crate::engine::ReloadView;
use crate::engine::command::*;
use crate::engine::report::RunReport;
use crate::engine::store::Unavailable as StoreUnavailable;
use crate::engine::trace::{TraceMessage, TraceParty, TraceView, Way};
use crate::engine::view::*;
use crate::moving::Refusal;
use crate::moving::timeline::{Timeline, What};
use crate::shell::report::tests::a_run;

/// A handle on workers that answer from a world, and what they were asked.
pub(crate) struct Node {
    pub(crate) handle: NodeHandle,
    pub(crate) asked: Arc<Mutex<Vec<(usize, Asked)>>>,
}

/// The status that a single test worker gives.
pub(crate) fn admin_status() -> Reply {
    Reply::Status(Box::new(StatusView {
        node: "edge1".into(),
        domain: "pbx.test".into(),
        realm: "phones".into(),
        version: "0".into(),
        workers: 1,
        browsers: true,
        follow: "move".into(),
        calls_answered: 1,
        store: "ok".into(),
        ..StatusView::default()
    }))
}

impl Node {
    /// One worker with the call `01` between alice and bob.
    pub(crate) fn start() -> Self {
        Self::with_workers(1, |_, asked| answer(asked))
    }

    /// As many workers, each answering by `answer`.
    pub(crate) fn with_workers(
        count: usize,
        answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (answer, asked) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
        let links = (0..count)
            .map(|worker| {
                let woken = Arc::new(tokio::sync::Notify::new());
                let (link, requests) = link({
                    let woken = Arc::clone(&woken);
                    move || woken.notify_one()
                });
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                tokio::spawn(async move {
                    loop {
                        woken.notified().await;
                        while let Ok(Request { asked: request, answer: to }) = requests.try_recv() {
                            asked.lock().unwrap().push((worker, request.clone()));
                            to.send(answer(worker, &request));
                        }
                    }
                });
                link
            })
            .collect();
        Self { handle: NodeHandle::new(links, EventHub::new("edge1", [1; 32], |_| {}), of_shell()), asked }
    }
}

/// Of the little world: one run, and a file in which a user is no more, or with a fault where the call is dry.
pub(crate) fn of_shell() -> OfShell {
    let reload = |dry_run: bool| {
        let faults = vec!["segue.toml:7: user[0].name: is needed".to_owned()];
        if dry_run {
            return (Reply::Error(CommandError::Faulty { faults }), Vec::new());
        }
        let changes = vec!["user bob removed".to_owned()];
        let restart = vec!["http.bind 127.0.0.1:8080 -> 127.0.0.1:9090".to_owned()];
        let view = ReloadView { applied: true, changes, restart, notes: Vec::new() };
        (Reply::Reload(Box::new(view)), vec!["bob".into()])
    };
    let metrics = crate::shell::telemetry::Metrics::new("1");
    OfShell { reports: reports(), reload: Box::new(reload), metrics: Box::new(move || metrics.encode()) }
}

fn reports() -> Reports {
    let one = |run: &str| if run == "night-1" { a_run() } else { RunReport::default() };
    Box::new(move |run| if run == "broken" { Err(StoreUnavailable::Corrupt) } else { Ok(one(run)) })
}

/// The call of the little world.
pub(crate) fn call(id: &str, answered: u64) -> CallView {
    let leg = |role: &str, user: &str| LegView {
        role: role.into(),
        state: "confirmed".into(),
        user: Some(user.into()),
        device: Some("desk".into()),
        trunk: None,
        transport: Some("udp".into()),
        address: Some("192.0.2.1:5060".into()),
        user_agent: Some("phone".into()),
        held: false,
        immovable: None,
        signed_in: None,
    };
    CallView {
        id: id.into(),
        state: CallPhase::Answered,
        direction: "internal".into(),
        from: "alice".into(),
        to: "bob".into(),
        user: Some("alice".into()),
        trunk: None,
        started: Time(UnixMillis(answered)),
        answered: Some(Time(UnixMillis(answered))),
        codec: Some("PCMU".into()),
        anchored: true,
        moves: 0,
        legs: vec![leg("caller", "alice"), leg("callee", "bob")],
    }
}

/// What is heard in it.
fn stream() -> StreamView {
    StreamView {
        role: "caller".into(),
        user: Some("alice".into()),
        device: Some("desk".into()),
        expected: 500,
        loss: Some(0.01),
        duplicates: 0,
        reordered: 1,
        bursts: 0,
        burst_loss: None,
        gap_loss: Some(0.01),
        jitter_ms: Some(0.4),
        round_trip_ms: Some(31.5),
        mos: Some(4.33),
        hears: Some(HearsView { loss: Some(0.0), jitter_ms: Some(1.25), mos: None }),
    }
}

/// What was said in the call of the little world: its INVITE, in and out, and an answer.
pub(crate) fn trace() -> TraceView {
    let message = |party, way, offset_us, status: Option<u16>| TraceMessage {
        time: Time(UnixMillis(5)),
        offset_us,
        party,
        way,
        transport: "udp".into(),
        local: "192.0.2.10:5060".into(),
        peer: format!("192.0.2.{}:5060", party + 1),
        method: "INVITE".into(),
        status,
        reason: status.map(|_| "Ringing".into()),
        cseq: Some(1),
        sdp: status.is_none().then(|| format!("audio 192.0.2.{}:4000 PCMA/PCMU", party + 1)),
        repeated: false,
        text: "INVITE sip:bob@pbx.test SIP/2.0\r\nCall-ID: 1\r\n\r\n".into(),
    };
    let party = |name: &str, call_id: &str| TraceParty { name: name.into(), call_id: call_id.into() };
    TraceView {
        call: "01".into(),
        node: "edge1".into(),
        parties: vec![party("alice*desk", "1"), party("bob*desk", "2")],
        messages: vec![
            message(0, Way::In, 0, None),
            message(1, Way::Out, 900, None),
            message(1, Way::In, 1_234_567, Some(180)),
        ],
        left_out: 0,
    }
}

/// The move of the little world.
pub(crate) fn moved(id: &str) -> MoveView {
    let now = Now { at: Timestamp::from_micros(5), unix: UnixMillis(1000) };
    let mut timeline = Timeline::new(now);
    timeline.push(now.at, What::Requested { trigger: Trigger::Http, by: "alice".into() });
    timeline.push(now.at + Duration::from_millis(42), What::Swapped);
    MoveView {
        id: id.into(),
        call: "01".into(),
        user: "alice".into(),
        from_device: Some("desk".into()),
        to_device: Some("mobile".into()),
        trigger: Trigger::Http,
        state: MoveState::Done,
        reason: None,
        requested: Time(UnixMillis(1000)),
        ended: Some(Time(UnixMillis(1042))),
        gap_ms: Some(19.5),
        lost: Some(0),
        hold_off_until: Some(Time(UnixMillis(31_042))),
        timeline: Some(timeline),
    }
}

/// The registration of the little world.
pub(crate) fn registration(user: &str, device: &str) -> RegistrationView {
    RegistrationView {
        user: user.into(),
        device: device.into(),
        contact: format!("sip:{user}@192.0.2.1:5060"),
        transport: "udp".into(),
        address: "192.0.2.1:5060".into(),
        user_agent: Some("phone/1".into()),
        instance: Some("urn:uuid:1".into()),
        expires: Time(UnixMillis(60_000)),
        expires_s: 60,
        pbx: None,
        signed_in: None,
    }
}

/// A trunk of the little world.
pub(crate) fn trunk(name: &str) -> TrunkView {
    TrunkView {
        name: name.into(),
        state: "up".into(),
        targets: vec![TargetView {
            address: "udp:192.0.2.9:5060".into(),
            state: "up".into(),
            since: Some(Time(UnixMillis(1_000))),
            rtt_ms: Some(12.5),
            reason: None,
        }],
        registration: (name == "carrier").then(|| TrunkRegistrationView {
            state: "registered".into(),
            reason: None,
            target: Some("udp:192.0.2.9:5060".into()),
            expires_s: Some(120),
        }),
        calls: 3,
        max_calls: Some(10),
        ping_s: Some(30),
        users: if name == "carrier" { 5 } else { 0 },
        users_registered: if name == "carrier" { 4 } else { 0 },
        trusted: true,
        identity: "pai".into(),
        diversion: "keep".into(),
        re_invite: "when-needed".into(),
        mwi: true,
        early_media: "pass".into(),
        codecs: vec!["PCMA".into(), "G722/8000".into()],
        session_timer: TrunkSessionTimerView {
            mode: "ask".into(),
            expires_s: 1800,
            min_s: 90,
            refresher: "auto".into(),
            refresh: "update".into(),
        },
        ..TrunkView::default()
    }
}

/// A rule: the first is for premium numbers, the second for all others.
pub(crate) fn route(place: u32) -> RouteView {
    let (number, to) = if place == 1 { ("^0900", "reject:403 Barred") } else { ("^0", "trunk:carrier") };
    RouteView {
        place,
        name: (place == 1).then(|| "premium".into()),
        number: Some(number.into()),
        when: vec!["mon-fri 08:00-18:00".into()],
        zone: Some("local".into()),
        to: vec![to.into()],
        ..RouteView::default()
    }
}

/// What becomes of a call there.
fn route_test(question: &RouteQuestion) -> RouteTestView {
    let is_barred = question.to.starts_with("0900");
    let verdict = |place: u32, followed: bool, why: Option<&str>| RuleVerdictView {
        place,
        name: route(place).name,
        holds: followed,
        followed,
        why: why.map(str::to_owned),
        to: route(place).to,
    };
    let target = RouteTargetView {
        turn: 1,
        target: "trunk:carrier".into(),
        reached: true,
        state: "up".into(),
        calls: Some(3),
        max_calls: Some(10),
        called: Some("+4930123".into()),
        calling: Some("1001".into()),
        ..RouteTargetView::default()
    };
    RouteTestView {
        from: question.from.to_string(),
        to: question.to.to_string(),
        source: "user:alice".into(),
        at: "2026-12-24T18:00:00+01:00".into(),
        by: "rule".into(),
        rule: Some(if is_barred { 1 } else { 2 }),
        rules: vec![
            verdict(1, is_barred, (!is_barred).then_some("match does not fit the number")),
            verdict(2, !is_barred, is_barred.then_some("an earlier rule is followed")),
        ],
        targets: if is_barred { Vec::new() } else { vec![target] },
        goes: !is_barred,
        status: is_barred.then_some(403),
        reason: is_barred.then(|| "Barred".into()),
        trunk_from: None,
        trunk_to: None,
    }
}

/// The user of the little world.
pub(crate) fn user(name: &str) -> UserView {
    UserView {
        name: name.into(),
        display: Some("Alice".into()),
        extension: Some("1001".into()),
        origin: "store".into(),
        login: true,
        pin: false,
        devices: vec![DeviceView {
            user: name.into(),
            id: "desk".into(),
            address: format!("{name}*desk"),
            auth_user: format!("{name}-desk"),
            trust: TrustName::Personal,
            registered: true,
            hold_off_s: Some(3),
            lent: false,
            signed_in: None,
        }],
        pbx: None,
        hot_desk: Some(HotDeskView {
            device: "rooms*lobby".into(),
            since: Time(UnixMillis(1_000)),
            until: Time(UnixMillis(43_201_000)),
        }),
    }
}

/// The call record of the little world.
pub(crate) fn record(id: &str) -> crate::call::record::CallRecord {
    use crate::call::record::{CallRecord, Disposition, Segment};
    CallRecord {
        id: id.into(),
        sip_call_id: vec!["abc".into(), "def".into()],
        from: "alice".into(),
        to: "1002".into(),
        user: Some("alice".into()),
        start: UnixMillis(1_000),
        answer: Some(UnixMillis(3_000)),
        end: Some(UnixMillis(63_500)),
        disposition: Disposition::Answered,
        sip_code: 200,
        codecs: vec!["PCMU".into()],
        segments: vec![Segment {
            device: "alice*desk".into(),
            start: UnixMillis(3_000),
            ..Segment::default()
        }],
        node: "edge1".into(),
        ..CallRecord::default()
    }
}

/// Answers as the engine of the little world: alice and bob have the call `01`, alice the move `02`.
pub(crate) fn answer(asked: &Asked) -> Reply {
    let not_found = || Reply::Error(CommandError::NotFound);
    let by = &asked.by;
    match &asked.command {
        Command::Status => admin_status(),
        Command::ListCalls { user, page } => match by.scope(user.as_deref()) {
            Ok(scope) => {
                let calls = [call("01", 5)].into_iter().filter(|call| {
                    call.is_seen_by(by) && scope.is_none_or(|user| call.from == user || call.to == user)
                });
                Reply::Calls(Page::cut(calls.map(|call| call.cut_for(by)), page))
            }
            Err(error) => Reply::Error(error),
        },
        Command::ListNewestCalls { .. } => {
            Reply::Calls(Page { items: vec![call("01", 5).cut_for(by)], next: None })
        }
        Command::ShowCall { id } if **id == *"01" && call("01", 5).is_seen_by(by) => {
            Reply::Call(Box::new(call("01", 5).cut_for(by)))
        }
        Command::ShowQuality { call: id } if **id == *"01" && call("01", 5).is_seen_by(by) => {
            Reply::Quality(Box::new(QualityView { call: "01".into(), streams: vec![stream()], silent: None }))
        }
        Command::ShowTrace { call: id } if **id == *"01" => Reply::Trace(Box::new(trace())),
        Command::HangUp { id } if **id == *"01" && call("01", 5).is_seen_by(by) => Reply::Done,
        Command::ListRegistrations { user, page } => match by.scope(user.as_deref()) {
            Ok(scope) => {
                let all = [registration("alice", "desk"), registration("bob", "desk")];
                let seen = all.into_iter().filter(|r| scope.is_none_or(|user| r.user == user));
                Reply::Registrations(Page::cut(seen, page))
            }
            Err(error) => Reply::Error(error),
        },
        Command::KickRegistration { user, .. } if by.may_see(user) => Reply::Done,
        Command::SignOut { user } if **user == *"alice" && by.may_see(user) => Reply::Done,
        Command::StartMove(start) => match (&*start.user, start.to_device.as_deref()) {
            ("alice", Some("held")) => Reply::Error(Refusal::HoldOff { seconds: 17 }.into()),
            ("alice", _) => Reply::Move(Box::new(moved("02"))),
            _ => not_found(),
        },
        Command::ShowMove { id } | Command::UndoMove { id } if **id == *"02" && by.may_see("alice") => {
            Reply::Move(Box::new(moved("02")))
        }
        Command::ListMoves { user, page } => match by.scope(user.as_deref()) {
            Ok(scope) => {
                let all = ["02", "03"].map(|id| MoveView { timeline: None, ..moved(id) });
                Reply::Moves(Page::cut(all.into_iter().filter(|_| scope.is_none_or(|u| u == "alice")), page))
            }
            Err(error) => Reply::Error(error),
        },
        Command::ListUsers { page } => {
            let seen = [user("alice"), user("bob")].into_iter().filter(|user| by.may_see(&user.name));
            Reply::Users(Page::cut(seen, page))
        }
        Command::ShowUser { name } if **name == *"alice" && by.may_see(name) => {
            Reply::User(Box::new(user("alice")))
        }
        Command::ChangeAccount(AccountChange::Add(new)) if *new.name == *"alice" => {
            Reply::Error(CommandError::Conflict { why: "name `alice` is already used by alice".into() })
        }
        Command::LendDevice { user, .. } if **user != *"alice" => not_found(),
        Command::ChangeAccount(_)
        | Command::AccountChanged(_)
        | Command::LendDevice { .. }
        | Command::ReturnDevice { .. }
        | Command::Drain => Reply::Done,
        _ => answer_of_kept(asked),
    }
}

/// What was kept of calls, who is kept off, and trunks.
fn answer_of_kept(asked: &Asked) -> Reply {
    let by = &asked.by;
    match &asked.command {
        Command::ListRecords { wanted, page } => match by.scope(wanted.user.as_deref()) {
            Ok(scope) => {
                let all = [record("0A"), record("0B")].into_iter();
                let is_wanted = |r: &crate::call::record::CallRecord| {
                    scope.is_none_or(|user| r.user.as_deref() == Some(user))
                        && wanted.to.as_ref().is_none_or(|to| **to == *r.to)
                };
                Reply::Records(Page::cut(all.filter(is_wanted), page))
            }
            Err(error) => Reply::Error(error),
        },
        Command::ShowRecord { id } if **id == *"0A" && by.may_see("alice") => {
            Reply::Record(Box::new(record("0A")))
        }
        Command::ListBans { page } => {
            let ban = BanView {
                address: "198.51.100.7".into(),
                prefix: 32,
                until: Time(UnixMillis(600_000)),
                seconds: 600,
            };
            Reply::Bans(Page::cut([ban], page))
        }
        Command::LiftBan { address } if address.to_string() == "198.51.100.7" => Reply::Done,
        Command::ListTrunks { page } => Reply::Trunks(Page::cut([trunk("carrier"), trunk("backup")], page)),
        Command::ListRoutes { page } => Reply::Routes(Page::cut([1, 2].map(route), page)),
        Command::TestRoute(question) => Reply::RouteTest(Box::new(route_test(question))),
        _ => Reply::Error(CommandError::NotFound),
    }
}
