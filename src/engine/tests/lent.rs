//! Devices that are lent to a session: phones like others for as long as it lasts.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::command::{
    AccountChange, Command, CommandError, Ha1Text, MoveMode, NewDevice, NewUser, Reply, Secret, StartMove,
    Subject, TrustName,
};
use crate::engine::store::{Loaded, StoreOp};
use crate::moving::Trigger;
use crate::sip::digest::{Algorithm, Ha1s};
use crate::wire::sip::HeaderName;

const SECOND: Duration = Duration::from_secs(1);

/// The device with the password of the tests' phones.
fn device(id: &str) -> NewDevice {
    let auth_user = format!("alice-{id}");
    let ha1 = Ha1s::from_password(&auth_user, "example.org", "secret");
    let hex = |bytes: &[u8]| Some(Secret::from(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()));
    NewDevice {
        id: id.into(),
        auth_user: auth_user.into(),
        ha1: Ha1Text {
            md5: ha1.md5.and_then(|hash| hex(&hash)),
            sha256: ha1.sha256.and_then(|hash| hex(&hash)),
            sha512_256: ha1.sha512_256.and_then(|hash| hex(&hash)),
        },
        trust: TrustName::Personal,
    }
}

fn lend(world: &mut World, user: &str, id: &str) -> Reply {
    world.ask(Subject::Admin, Command::LendDevice { user: user.into(), device: device(id) })
}

fn take_back(world: &mut World, id: &str) -> Reply {
    world.ask(Subject::Admin, Command::ReturnDevice { user: "alice".into(), device: id.into() })
}

fn has(world: &World, id: &str) -> bool {
    world.engine.core().accounts.by_name("alice").unwrap().device(id).is_some()
}

#[test]
fn a_lent_device_registers_gets_a_call_and_is_gone() {
    let mut world = World::new(700);
    let desk = world.phone("alice", "desk");
    world.phone("bob", "desk");
    assert_eq!(lend(&mut world, "alice", "web-1"), Reply::Done);
    let web = world.phone("alice", "web-1");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.captured = Some(std::collections::VecDeque::new());
    let start = Command::StartMove(StartMove {
        user: "alice".into(),
        call: None,
        to_device: Some("web-1".into()),
        mode: MoveMode::AutoAnswer,
        trigger: Trigger::Http,
    });
    let Reply::Move(view) = world.ask(Subject::User("alice".into()), start) else {
        panic!("{}", world.tail())
    };
    world.run(SECOND);
    let rung = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes));
    let rung = rung.filter(|text| text.starts_with("INVITE") && text.contains("answer-after=0"));
    let rung = rung.filter(|text| text.contains(&format!("\r\nSegue-Move: {}\r\n", view.id))).count();
    assert_eq!(rung, 1, "the page may answer by itself: {}", world.tail());
    assert_eq!(world.heard_by("alice*web-1"), ["bob*desk"], "{}", world.tail());
    assert_eq!(take_back(&mut world, "web-1"), Reply::Done);
    assert!(!has(&world, "web-1"));
    assert_eq!(take_back(&mut world, "web-1"), Reply::Done, "it is not there any more");
    world.phones[web].register(3600);
    world.run(SECOND);
    assert_eq!(world.phones[web].registered, Some(401));
}

#[test]
fn the_store_never_hears_of_a_lent_device() {
    let mut world = World::new(701);
    let new = NewUser {
        name: "carol".into(),
        display: None,
        extension: None,
        login: None,
        pin: None,
        devices: vec![],
    };
    let change = |world: &mut World, change| world.ask(Subject::Admin, Command::ChangeAccount(change));
    assert_eq!(change(&mut world, AccountChange::Add(new)), Reply::Done);
    let stored = world.stored.len();
    assert_eq!(lend(&mut world, "carol", "web-1"), Reply::Done);
    assert_eq!(world.stored.len(), stored);
    let desk = NewDevice { auth_user: "carol-desk".into(), ..device("desk") };
    assert_eq!(
        change(&mut world, AccountChange::AddDevice { user: "carol".into(), device: desk }),
        Reply::Done
    );
    let Some(StoreOp::PutAccount(account)) = world.stored.last() else { panic!("{:?}", world.stored.last()) };
    assert_eq!(account.devices.iter().map(|device| &*device.id).collect::<Vec<_>>(), ["desk"]);
    let carol = world.engine.core().accounts.by_name("carol").unwrap();
    assert_eq!(carol.devices.len(), 2, "and it outlives a change of the account");
}

#[test]
fn lent_devices_take_no_name_and_not_more_than_their_number() {
    let mut world = World::new(702);
    assert!(matches!(lend(&mut world, "alice", "desk"), Reply::Error(CommandError::Conflict { .. })));
    assert_eq!(lend(&mut world, "nobody", "web-1"), Reply::Error(CommandError::NotFound));
    let by_user = Command::LendDevice { user: "alice".into(), device: device("web-1") };
    assert_eq!(world.ask(Subject::User("alice".into()), by_user), Reply::Error(CommandError::Forbidden));
    for n in 0..8 {
        assert_eq!(lend(&mut world, "alice", &format!("web-{n}")), Reply::Done);
    }
    // The one that has been idle for the longest gives way; those that are in use do not.
    world.phone("alice", "web-0");
    assert_eq!(lend(&mut world, "alice", "web-8"), Reply::Done);
    assert!(has(&world, "web-0") && !has(&world, "web-1") && has(&world, "web-8"));
    for n in [2, 3, 4, 5, 6, 7, 8] {
        world.phone("alice", &format!("web-{n}"));
    }
    assert!(matches!(lend(&mut world, "alice", "web-9"), Reply::Error(CommandError::Conflict { .. })));
    assert_eq!(lend(&mut world, "alice", "web-5"), Reply::Done, "one that is lent already");
}

#[test]
fn a_browser_is_asked_for_the_one_algorithm_that_it_knows() {
    let mut settings = settings();
    settings.call.algorithms = vec![Algorithm::Sha256, Algorithm::Md5];
    let mut world = World::with(703, settings, accounts(&["alice", "bob"]), &Loaded::default());
    assert_eq!(lend(&mut world, "alice", "web-1"), Reply::Done);
    let mut ask = |from: &str| {
        let request = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bK{from}\r\n\
             From: <sip:{from}@example.org>;tag=1\r\nTo: <sip:{from}@example.org>\r\nCall-ID: {from}\r\n\
             CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let answers = world.exchange("192.0.2.50:5060".parse().unwrap(), request);
        let values = answers.first().unwrap().all(HeaderName::WwwAuthenticate);
        values.map(|header| String::from_utf8_lossy(header.value).into_owned()).collect::<Vec<_>>()
    };
    let web = ask("alice-web-1");
    assert!(web.len() == 1 && web[0].contains("algorithm=MD5"), "{web:?}");
    assert_eq!(ask("alice-desk").len(), 2);
}
