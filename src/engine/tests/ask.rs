//! Commands: each is answered, to whom it may be.

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World, talking, three_phones};
use crate::engine::Input;
use crate::engine::command::{
    AccountChange, Command, CommandError, Ha1Text, MoveMode, NewDevice, NewUser, Reply, Secret, StartMove,
    Subject, TrustName,
};
use crate::engine::store::{Loaded, StoreOp, Unavailable};
use crate::engine::view::{CallPhase, CallView, MoveState, MoveView, Page, PageQuery, RecordQuery};
use crate::moving::Trigger;
use crate::registrar::accounts::Trust;
use crate::sip::digest::Ha1s;

const SECOND: Duration = Duration::from_secs(1);
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn user(name: &str) -> Subject {
    Subject::User(name.into())
}

fn calls(world: &mut World, by: Subject) -> Vec<CallView> {
    match world.ask(by, Command::ListCalls { user: None, page: PageQuery::default() }) {
        Reply::Calls(page) => page.items,
        other => panic!("{other:?}"),
    }
}

fn start(to: Option<&str>, call: Option<&str>) -> Command {
    Command::StartMove(StartMove {
        user: "alice".into(),
        call: call.map(Box::from),
        to_device: to.map(Box::from),
        mode: MoveMode::Ring,
        trigger: Trigger::Http,
    })
}

fn moved(reply: Reply) -> MoveView {
    match reply {
        Reply::Move(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn moves(world: &mut World, by: Subject, page: PageQuery) -> (Vec<MoveView>, Option<String>) {
    match world.ask(by, Command::ListMoves { user: None, page }) {
        Reply::Moves(page) => (page.items, page.next),
        other => panic!("{other:?}"),
    }
}

fn refused(reply: &Reply) -> (&str, u16, Option<u32>) {
    match reply {
        Reply::Error(CommandError::Refused { reason, status, retry_after, .. }) => {
            (reason, *status, *retry_after)
        }
        other => panic!("{other:?}"),
    }
}

fn hashes(auth_user: &str) -> Ha1Text {
    let ha1 = Ha1s::from_password(auth_user, "example.org", "secret");
    let hex = |bytes: &[u8]| Secret(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into());
    Ha1Text {
        md5: ha1.md5.map(|bytes| hex(&bytes)),
        sha256: ha1.sha256.map(|bytes| hex(&bytes)),
        sha512_256: None,
    }
}

fn device(id: &str, auth_user: &str) -> NewDevice {
    let ha1 = hashes(auth_user);
    NewDevice { id: id.into(), auth_user: auth_user.into(), ha1, trust: TrustName::Personal }
}

fn carol() -> NewUser {
    NewUser {
        name: "carol".into(),
        display: Some("Carol".into()),
        extension: Some("1003".into()),
        login: Some(Secret(HASH.into())),
        pin: None,
        devices: vec![device("desk", "carol-desk")],
    }
}

fn change(world: &mut World, change: AccountChange) -> Reply {
    world.ask(Subject::Admin, Command::ChangeAccount(change))
}

#[test]
fn the_status_counts_what_there_is() {
    let (mut world, ..) = talking(300);
    let Reply::Status(status) = world.ask(Subject::Admin, Command::Status) else { panic!() };
    assert_eq!((status.calls_answered, status.calls_ringing, status.moves), (1, 0, 0));
    assert_eq!((status.registrations, status.users, status.workers), (3, 2, 1));
    assert_eq!((status.ports_used, status.store.as_str(), status.draining), (2, "ok", false));
    assert_eq!(status.listeners, ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]);
    assert!(status.uptime_s >= 2 && status.ports_free > 0);
    assert_eq!(world.ask(user("alice"), Command::Status), Reply::Error(CommandError::Forbidden));
}

#[test]
fn a_call_is_shown_to_its_parties_and_to_the_operator() {
    let (mut world, ..) = talking(301);
    let all = calls(&mut world, Subject::Admin);
    let [call] = &all[..] else { panic!("{all:?}") };
    assert_eq!((call.state, call.direction.as_str()), (CallPhase::Answered, "internal"));
    assert_eq!((call.user.as_deref(), call.codec.as_deref()), (Some("alice"), Some("PCMU")));
    assert_eq!(call.legs[0].role, "caller");
    assert_eq!(call.legs[0].device.as_deref(), Some("desk"));
    assert_eq!(call.legs[0].immovable, None, "the mobile is there");
    assert_eq!(call.legs[1].immovable.as_deref(), Some("not_registered"), "bob has one device");
    assert_eq!(call.legs[1].address.as_deref(), Some("198.51.100.12:5060"));
    let theirs = calls(&mut world, user("bob"));
    assert_eq!((theirs[0].legs[0].device.as_deref(), theirs[0].legs[0].address.as_deref()), (None, None));
    assert_eq!(theirs[0].legs[1].device.as_deref(), Some("desk"));
    assert!(calls(&mut world, user("carol")).is_empty());
    let show = Command::ShowCall { id: call.id.as_str().into() };
    assert!(matches!(world.ask(user("bob"), show.clone()), Reply::Call(_)));
    assert_eq!(world.ask(user("carol"), show), Reply::Error(CommandError::NotFound));
    let of_bob = Command::ListCalls { user: Some("bob".into()), page: PageQuery::default() };
    assert_eq!(world.ask(user("alice"), of_bob.clone()), Reply::Error(CommandError::NotFound));
    assert!(matches!(world.ask(Subject::Admin, of_bob), Reply::Calls(page) if page.items.len() == 1));
}

#[test]
fn the_newest_calls_come_first_and_are_one_s_own() {
    let (mut world, _, mobile, _) = talking(303);
    world.run(SECOND);
    world.phones[mobile].dial("*43");
    world.run(SECOND);
    let oldest: Vec<String> = calls(&mut world, Subject::Admin).into_iter().map(|call| call.id).collect();
    let newest =
        |world: &mut World, by: Subject, most: u16| match world.ask(by, Command::ListNewestCalls { most }) {
            Reply::Calls(page) => page.items.into_iter().map(|call| call.id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
    let [first, second] = &oldest[..] else { panic!("{oldest:?}") };
    assert_eq!(newest(&mut world, Subject::Admin, 500), [second.as_str(), first.as_str()]);
    assert_eq!(newest(&mut world, Subject::Admin, 1), [second.as_str()], "it is the oldest that give way");
    assert_eq!(newest(&mut world, user("bob"), 500), [first.as_str()]);
}

#[test]
fn a_call_is_ended_by_its_parties_and_nobody_else() {
    let (mut world, desk, _, bob) = talking(302);
    let id: Box<str> = calls(&mut world, Subject::Admin)[0].id.as_str().into();
    let hang_up = Command::HangUp { id };
    assert_eq!(world.ask(user("carol"), hang_up.clone()), Reply::Error(CommandError::NotFound));
    assert_eq!(world.ask(user("alice"), hang_up.clone()), Reply::Done);
    world.run(SECOND);
    assert!(world.phones[desk].lines[0].is_over && world.phones[bob].lines[0].is_over);
    assert_eq!(world.records[0].hangup_by, Some(crate::call::record::HangupBy::System));
    assert_eq!(world.ask(Subject::Admin, hang_up), Reply::Error(CommandError::NotFound));
    world.run(70 * SECOND);
    world.check_idle();
}

#[test]
fn registrations_are_listed_part_by_part_and_kicked() {
    let (mut world, ..) = talking(303);
    let list = |world: &mut World, by: Subject, cursor: Option<String>| {
        let page = PageQuery { cursor: cursor.map(String::into_boxed_str), limit: 2 };
        match world.ask(by, Command::ListRegistrations { user: None, page }) {
            Reply::Registrations(page) => page,
            other => panic!("{other:?}"),
        }
    };
    let first = list(&mut world, Subject::Admin, None);
    let keys: Vec<_> = first.items.iter().map(|r| format!("{}*{}", r.user, r.device)).collect();
    assert_eq!(keys, ["alice*desk", "alice*mobile"]);
    let second = list(&mut world, Subject::Admin, first.next);
    assert_eq!((second.items.len(), second.items[0].user.as_str(), second.next), (1, "bob", None));
    assert_eq!(list(&mut world, user("bob"), None).items.len(), 1);
    let kick = |user: &str, device: Option<&str>| Command::KickRegistration {
        user: user.into(),
        device: device.map(Box::from),
    };
    let not_found = Reply::Error(CommandError::NotFound);
    assert_eq!(world.ask(user("bob"), kick("alice", None)), not_found);
    assert_eq!(world.ask(user("alice"), kick("alice", Some("mobile"))), Reply::Done);
    assert_eq!(world.ask(user("alice"), kick("alice", Some("mobile"))), not_found);
    assert_eq!(list(&mut world, user("alice"), None).items.len(), 1);
}

#[test]
fn a_move_by_command_rings_the_device_and_is_shown() {
    let (mut world, desk, mobile, bob) = talking(304);
    world.phones[mobile].answer = Answer::Ring;
    let view = moved(world.ask(user("alice"), start(None, None)));
    assert_eq!((view.to_device.as_deref(), view.trigger), (Some("mobile"), Trigger::Http));
    world.run(SECOND);
    let show = Command::ShowMove { id: view.id.as_str().into() };
    assert_eq!(moved(world.ask(user("alice"), show.clone())).state, MoveState::Ringing);
    assert_eq!(calls(&mut world, Subject::Admin)[0].state, CallPhase::Moving);
    assert_eq!(refused(&world.ask(user("alice"), start(Some("mobile"), None))), ("busy", 409, None));
    assert_eq!(world.ask(user("bob"), show.clone()), Reply::Error(CommandError::NotFound));
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    let done = moved(world.ask(user("alice"), show));
    assert_eq!((done.state, done.gap_ms), (MoveState::Done, Some(20.0)));
    assert!(done.timeline.is_some() && done.hold_off_until.is_some());
    let Reply::User(view) = world.ask(user("alice"), Command::ShowUser { name: "alice".into() }) else {
        panic!()
    };
    let held: Vec<_> = view.devices.iter().map(|device| device.hold_off_s.is_some()).collect();
    assert_eq!(held, [true, false, false]);
    let reply = world.ask(user("alice"), start(Some("alice*desk"), None));
    let (reason, status, wait) = refused(&reply);
    assert_eq!((reason, status), ("hold_off", 403), "the old device may not have it back");
    assert!(wait.is_some_and(|seconds| (27..=30).contains(&seconds)));
    world.phones[bob].bye(0);
    world.run(70 * SECOND);
    assert!(world.phones[desk].lines[0].is_over);
    world.check_idle();
}

#[test]
fn what_cannot_move_says_why_and_what_is_not_ones_own_is_not_there() {
    let (mut world, desk, ..) = talking(305);
    let id = calls(&mut world, Subject::Admin)[0].id.clone();
    let not_found = Reply::Error(CommandError::NotFound);
    assert_eq!(world.ask(user("carol"), start(Some("mobile"), Some(&id))), not_found);
    assert_eq!(
        world.ask(user("alice"), start(Some("mobile"), Some("01ARZ3NDEKTSV4RRFFQ69G5FAV"))),
        not_found
    );
    assert_eq!(refused(&world.ask(user("bob"), start(Some("fax"), Some(&id)))).0, "device_unknown");
    assert_eq!(refused(&world.ask(user("bob"), start(None, Some(&id)))).0, "not_registered");
    assert_eq!(refused(&world.ask(user("alice"), start(Some("tablet"), Some(&id)))).0, "not_registered");
    assert_eq!(refused(&world.ask(user("alice"), start(Some("desk"), Some(&id)))).0, "already_there");
    world.phone("alice", "tablet");
    let reply = world.ask(user("alice"), start(None, None));
    assert!(
        matches!(reply, Reply::Error(CommandError::Invalid { ref field, .. }) if **field == *"to_device")
    );
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert_eq!(refused(&world.ask(user("alice"), start(Some("mobile"), None))), ("no_call", 404, None));
    assert_eq!(world.heard_by("bob*desk"), Vec::<String>::new());
    world.run(70 * SECOND);
    world.check_idle();
}

#[test]
fn a_call_that_rings_is_not_moved_by_command() {
    let (mut world, desk, _, bob) = three_phones(306);
    world.phones[bob].answer = Answer::Ring;
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let call = calls(&mut world, Subject::Admin).remove(0);
    assert_eq!((call.state, call.legs[1].role.as_str()), (CallPhase::Ringing, "ringing"));
    assert_eq!(call.legs[0].immovable.as_deref(), Some("no_call"));
    assert_eq!(refused(&world.ask(user("alice"), start(Some("mobile"), Some(&call.id)))).0, "no_call");
    assert_eq!(refused(&world.ask(user("alice"), start(Some("mobile"), None))).0, "no_call");
}

#[test]
fn a_move_is_taken_back_at_once_and_that_is_not() {
    let (mut world, ..) = talking(317);
    let mut id = moved(world.ask(Subject::Admin, start(Some("mobile"), None))).id;
    let mut undo = |world: &mut World| {
        world.run(Duration::from_millis(200));
        let reply = world.ask(user("alice"), Command::UndoMove { id: id.as_str().into() });
        if let Reply::Move(view) = &reply {
            id.clone_from(&view.id);
        }
        reply
    };
    assert_eq!(moved(undo(&mut world)).trigger, Trigger::Undo);
    assert_eq!(refused(&undo(&mut world)), ("too_soon", 429, Some(1)));
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    world.run(SECOND);
    assert_eq!(moved(undo(&mut world)).to_device.as_deref(), Some("mobile"));
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
}

#[test]
fn a_move_is_taken_back_once_it_is_done() {
    let (mut world, desk, _, bob) = talking(307);
    let first = moved(world.ask(Subject::Admin, start(Some("mobile"), None)));
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    let undo = Command::UndoMove { id: first.id.as_str().into() };
    assert_eq!(world.ask(user("bob"), undo.clone()), Reply::Error(CommandError::NotFound));
    let back = moved(world.ask(user("alice"), undo.clone()));
    assert_ne!(back.id, first.id);
    assert_eq!((back.trigger, back.to_device.as_deref()), (Trigger::Undo, Some("desk")));
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    let (list, _) = moves(&mut world, user("alice"), PageQuery::default());
    let ids: Vec<_> = list.iter().map(|view| view.id.as_str()).collect();
    assert_eq!(ids, [back.id.as_str(), first.id.as_str()], "newest first");
    assert!(list.iter().all(|view| view.timeline.is_none()));
    assert!(moves(&mut world, user("bob"), PageQuery::default()).0.is_empty());
    world.store_works = false;
    let (list, next) = moves(&mut world, user("alice"), PageQuery::default());
    assert_eq!(
        (list.len(), next.as_deref()),
        (2, Some(&*first.id)),
        "what memory has, and that it is not all"
    );
    world.store_works = true;
    assert_eq!(refused(&world.ask(user("alice"), undo)).0, "no_call", "the call is not there any more");
    world.phones[bob].bye(0);
    world.run(70 * SECOND);
    assert!(world.phones[desk].lines.iter().all(|line| line.is_over));
    world.check_idle();
}

#[test]
fn a_move_that_memory_has_forgotten_is_in_the_store() {
    let (mut world, ..) = talking(308);
    let first = moved(world.ask(Subject::Admin, start(Some("mobile"), None)));
    world.run(3 * SECOND);
    world.engine.moves.recent.clear();
    let show = Command::ShowMove { id: first.id.as_str().into() };
    assert_eq!(moved(world.ask(user("alice"), show.clone())).state, MoveState::Done);
    assert_eq!(world.ask(user("bob"), show.clone()), Reply::Error(CommandError::NotFound));
    let (list, next) = moves(&mut world, Subject::Admin, PageQuery::default());
    assert_eq!((list.len(), next), (1, None));
    let asked = world.stored.len();
    let nonsense = Command::ShowMove { id: "x' OR 1=1".into() };
    assert_eq!(world.ask(Subject::Admin, nonsense), Reply::Error(CommandError::NotFound));
    assert_eq!(world.stored.len(), asked, "what is no id is not asked for");
    world.store_works = false;
    let nothing = world.ask(Subject::Admin, Command::ListMoves { user: None, page: PageQuery::default() });
    assert!(matches!(nothing, Reply::Error(CommandError::Unavailable { .. })), "{nothing:?}");
    let unavailable = world.ask(Subject::Admin, show.clone());
    assert!(matches!(unavailable, Reply::Error(CommandError::Unavailable { .. })), "{unavailable:?}");
}

#[test]
fn the_state_of_the_store_is_what_it_says_itself() {
    let (mut world, ..) = talking(311);
    let store = |world: &mut World| {
        let Reply::Status(status) = world.ask(Subject::Admin, Command::Status) else { panic!() };
        status.store
    };
    // What is written behind is never answered, and fails for as long as it does.
    world.input(Input::StoreState(Some(Unavailable::DiskFull)));
    let show = Command::ShowMove { id: "01J".into() };
    world.ask(Subject::Admin, show.clone());
    world.run(180 * SECOND);
    assert_eq!(store(&mut world), "no space left for the store");
    // A no that came before the store was well does not outlive it.
    world.store_works = false;
    let unavailable =
        world.ask(Subject::Admin, Command::ListMoves { user: None, page: PageQuery::default() });
    assert!(matches!(unavailable, Reply::Error(CommandError::Unavailable { .. })), "{unavailable:?}");
    world.store_works = true;
    world.input(Input::StoreState(None));
    assert_eq!(store(&mut world), "ok");
}

#[test]
fn a_call_record_is_shown_to_whom_the_call_counts_and_without_the_other_sides_devices() {
    let (mut world, ..) = talking(317);
    world.run(SECOND);
    world.hang_up_all();
    world.run(5 * SECOND);
    let list = |by, of: Option<&str>| {
        let wanted = RecordQuery { user: of.map(Box::from), ..RecordQuery::default() };
        (by, Command::ListRecords { wanted, page: PageQuery::default() })
    };
    let mut records = |(by, command)| match world.ask(by, command) {
        Reply::Records(page) => page.items,
        other => panic!("{other:?}"),
    };
    let whole = records(list(Subject::Admin, None)).remove(0);
    assert!(!whole.sip_call_id.is_empty() && whole.segments.len() > 1, "{whole:?}");
    let owner = whole.user.clone().unwrap();
    let other = if owner == "alice" { "bob" } else { "alice" };
    let own = records(list(user(&owner), None)).remove(0);
    assert!(own.sip_call_id.is_empty() && own.user_agents.is_empty());
    assert!(own.segments.iter().all(|segment| segment.device.starts_with(&format!("{owner}*"))), "{own:?}");
    assert!(records(list(user(other), None)).is_empty());
    assert_eq!(
        world.ask(user(other), list(user(other), Some(&owner)).1),
        Reply::Error(CommandError::NotFound)
    );
    let show = Command::ShowRecord { id: whole.id.as_str().into() };
    assert_eq!(world.ask(user(other), show.clone()), Reply::Error(CommandError::NotFound));
    assert_eq!(world.ask(Subject::Admin, show), Reply::Record(Box::new(whole)));
    let nonsense = Command::ShowRecord { id: "x' OR 1=1".into() };
    assert_eq!(world.ask(Subject::Admin, nonsense), Reply::Error(CommandError::NotFound));
}

#[test]
fn a_ban_is_listed_and_lifted_by_the_operator() {
    let mut world = World::with(318, settings(), accounts(&["alice"]), &Loaded::default());
    let thief = world.phone("alice", "desk");
    let right = std::mem::replace(&mut world.phones[thief].password, "wrong".into());
    for _ in 0..12 {
        world.phones[thief].register(60);
        world.run(SECOND);
    }
    let ip = world.phones[thief].address.ip();
    let list = || Command::ListBans { page: PageQuery::default() };
    let Reply::Bans(bans) = world.ask(Subject::Admin, list()) else { panic!() };
    let [ban] = &bans.items[..] else { panic!("{bans:?}") };
    assert_eq!((&*ban.address, ban.prefix), (&*ip.to_string(), 32));
    assert!((590..=600).contains(&ban.seconds), "{ban:?}");
    assert_eq!(world.ask(user("alice"), list()), Reply::Error(CommandError::Forbidden));
    let lift = |address| Command::LiftBan { address };
    assert_eq!(
        world.ask(Subject::Admin, lift([192, 0, 2, 250].into())),
        Reply::Error(CommandError::NotFound)
    );
    assert_eq!(world.ask(Subject::Admin, lift(ip)), Reply::Done);
    assert_eq!(world.ask(Subject::Admin, list()), Reply::Bans(Page::default()));
    world.phones[thief].password = right;
    world.phones[thief].register(60);
    world.run(SECOND);
    assert_eq!(world.phones[thief].registered, Some(200), "{}", world.tail());
}

#[test]
fn an_account_that_is_added_can_register_at_once() {
    let mut world = World::new(309);
    assert_eq!(change(&mut world, AccountChange::Add(carol())), Reply::Done);
    assert!(matches!(world.stored.last(), Some(StoreOp::PutAccount(account)) if *account.name == *"carol"));
    world.phone("carol", "desk");
    let show = Command::ShowUser { name: "carol".into() };
    let Reply::User(view) = world.ask(user("carol"), show.clone()) else { panic!() };
    assert_eq!((view.origin.as_str(), view.login, view.pin), ("store", true, false));
    assert!(view.devices[0].registered);
    assert_eq!(world.ask(user("alice"), show), Reply::Error(CommandError::NotFound));
    let Reply::Users(users) = world.ask(Subject::Admin, Command::ListUsers { page: PageQuery::default() })
    else {
        panic!()
    };
    let names: Vec<_> = users.items.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    let login = Command::Login { user: "carol".into() };
    assert_eq!(
        world.ask(Subject::Admin, login),
        Reply::Login { hash: Some(Secret(HASH.into())), admin: false }
    );
    for name in ["alice", "nobody"] {
        let login = Command::Login { user: name.into() };
        assert_eq!(world.ask(Subject::Admin, login), Reply::Login { hash: None, admin: false });
    }
}

#[test]
fn a_change_that_does_not_fit_is_not_stored() {
    let mut world = World::new(310);
    assert_eq!(change(&mut world, AccountChange::Add(carol())), Reply::Done);
    let stored = world.stored.len();
    let conflicts = [
        AccountChange::Add(carol()),
        AccountChange::Add(NewUser { name: "dave".into(), ..carol() }),
        AccountChange::Add(NewUser { name: "dave".into(), extension: None, ..carol() }),
        AccountChange::AddDevice { user: "carol".into(), device: device("desk", "other") },
        AccountChange::AddDevice { user: "carol".into(), device: device("mobile", "alice-desk") },
        AccountChange::AddDevice { user: "alice".into(), device: device("fax", "fax") },
        AccountChange::Remove { user: "alice".into() },
    ];
    for wrong in conflicts {
        let reply = change(&mut world, wrong.clone());
        assert!(matches!(reply, Reply::Error(CommandError::Conflict { .. })), "{wrong:?}: {reply:?}");
    }
    let short = Ha1Text { md5: Some(Secret("00".into())), ..hashes("x") };
    let invalid = [
        AccountChange::Add(NewUser { name: "a*b".into(), extension: None, devices: vec![], ..carol() }),
        AccountChange::SetPin { user: "carol".into(), pin: Some(Secret("1234".into())) },
        AccountChange::SetDevicePassword { user: "carol".into(), device: "desk".into(), ha1: short },
        AccountChange::SetDevicePassword {
            user: "carol".into(),
            device: "desk".into(),
            ha1: Ha1Text { sha256: None, ..hashes("x") },
        },
    ];
    for wrong in invalid {
        let reply = change(&mut world, wrong.clone());
        assert!(matches!(reply, Reply::Error(CommandError::Invalid { .. })), "{wrong:?}: {reply:?}");
    }
    for missing in [
        AccountChange::Remove { user: "dave".into() },
        AccountChange::RemoveDevice { user: "carol".into(), device: "fax".into() },
    ] {
        assert_eq!(change(&mut world, missing), Reply::Error(CommandError::NotFound));
    }
    assert_eq!(world.stored.len(), stored);
    let by_user =
        world.ask(user("carol"), Command::ChangeAccount(AccountChange::Remove { user: "carol".into() }));
    assert_eq!(by_user, Reply::Error(CommandError::Forbidden));
}

#[test]
fn what_the_store_does_not_take_does_not_hold() {
    let mut world = World::new(311);
    world.store_works = false;
    let reply = change(&mut world, AccountChange::Add(carol()));
    assert!(matches!(reply, Reply::Error(CommandError::Unavailable { .. })), "{reply:?}");
    assert!(world.engine.core().accounts.by_name("carol").is_none());
    world.store_works = true;
    assert_eq!(change(&mut world, AccountChange::Add(carol())), Reply::Done);
}

#[test]
fn a_store_that_does_not_answer_is_given_five_seconds() {
    let mut world = World::new(312);
    world.store_answers = false;
    let before = world.replies.len();
    world.send_command(Subject::Admin, Command::ChangeAccount(AccountChange::Add(carol())));
    world.run(4 * SECOND);
    assert_eq!(world.replies.len(), before);
    let again = Command::ChangeAccount(AccountChange::Add(NewUser { name: "dave".into(), ..carol() }));
    let reply = world.ask(Subject::Admin, again);
    assert!(
        matches!(reply, Reply::Error(CommandError::Unavailable { .. })),
        "one change at a time: {reply:?}"
    );
    world.run(2 * SECOND);
    let reply = world.replies.last().unwrap();
    assert!(matches!(reply, Reply::Error(CommandError::Unavailable { .. })), "{reply:?}");
    assert_eq!(world.replies.len(), before + 2);
    // It had written it after all: what holds in the store holds in memory.
    assert!(world.engine.core().accounts.by_name("carol").is_none());
    world.answer_store();
    world.run(SECOND);
    assert!(world.engine.core().accounts.by_name("carol").is_some());
    assert_eq!(world.replies.len(), before + 2, "nobody waits for it any more");
}

#[test]
fn what_is_removed_ends_with_its_bindings() {
    let mut world = World::new(313);
    let mut new = carol();
    new.devices.push(device("mobile", "carol-mobile"));
    assert_eq!(change(&mut world, AccountChange::Add(new)), Reply::Done);
    let (desk, mobile) = (world.phone("carol", "desk"), world.phone("carol", "mobile"));
    assert_eq!(world.engine.core().registrar.len(), 2);
    let removed = AccountChange::RemoveDevice { user: "carol".into(), device: "mobile".into() };
    assert_eq!(change(&mut world, removed), Reply::Done);
    assert_eq!(world.engine.core().registrar.len(), 1);
    world.phones[mobile].register(3600);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].registered, Some(401));
    let password = AccountChange::SetDevicePassword {
        user: "carol".into(),
        device: "desk".into(),
        ha1: hashes("somebody-else"),
    };
    assert_eq!(change(&mut world, password), Reply::Done);
    world.phones[desk].register(3600);
    world.run(SECOND);
    assert_eq!(world.phones[desk].registered, Some(401), "the old password does not hold any more");
    assert_eq!(change(&mut world, AccountChange::Remove { user: "carol".into() }), Reply::Done);
    assert!(matches!(world.stored.last(), Some(StoreOp::SaveBindings(_) | StoreOp::RemoveAccount { .. })));
    assert!(world.engine.core().registrar.is_empty());
    assert!(world.engine.core().accounts.by_name("carol").is_none());
}

#[test]
fn a_change_that_another_worker_stored_is_applied() {
    let mut world = World::new(314);
    let stored = world.stored.len();
    let change = Command::AccountChanged(AccountChange::Add(carol()));
    assert_eq!(world.ask(Subject::Admin, change), Reply::Done);
    assert_eq!(world.stored.len(), stored);
    world.phone("carol", "desk");
}

#[test]
fn a_node_that_drains_takes_no_new_calls() {
    let (mut world, desk, mobile, _) = talking(315);
    assert_eq!(world.ask(Subject::Admin, Command::Drain), Reply::Done);
    let line = world.phones[mobile].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(503));
    assert!(world.phones[desk].lines[0].is_up, "what lives goes on");
    let Reply::Status(status) = world.ask(Subject::Admin, Command::Status) else { panic!() };
    assert!(status.draining);
}

#[test]
fn a_shared_device_gets_no_call_without_its_pin() {
    let mut accounts = accounts(&["alice", "bob"]);
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    alice.devices[1].trust = Trust::Shared;
    accounts.put(alice).unwrap();
    let mut world = World::with(316, settings(), accounts, &Loaded::default());
    let (desk, _) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(refused(&world.ask(user("alice"), start(Some("mobile"), None))).0, "locked");
    assert_eq!(refused(&world.ask(user("alice"), start(None, None))).0, "not_registered");
}
