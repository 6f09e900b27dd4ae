//! The command line against a control socket and the little world of `control::testing`.

use clap::Parser as _;

use super::options::{Cli, Verb};
use super::*;
use crate::engine::command::{AccountChange, Asked, Command, Reply};
use crate::shell::control::ControlSocket;
use crate::shell::control::testing::{Node, answer};

struct World {
    dir: tempfile::TempDir,
    node: Node,
    _serving: tokio::task::JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        Self::with_node(Node::start()).await
    }

    async fn with_node(node: Node) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::open(dir.path()).await.unwrap();
        let serving = tokio::spawn(socket.serve(node.handle.clone()));
        Self { dir, node, _serving: serving }
    }

    /// Output, or exit code and message.
    async fn run(&self, arguments: &str) -> Result<String, (u8, String)> {
        let cli = Cli::try_parse_from(std::iter::once("segue").chain(arguments.split(' '))).unwrap();
        let mut out = Vec::new();
        let data_dir = self.dir.path().to_owned();
        match ask(&data_dir, cli.output, cli.verb.unwrap(), &mut out).await {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(failure) => Err((failure.code(), failure.to_string())),
        }
    }

    fn last_change(&self) -> AccountChange {
        match self.node.asked.lock().unwrap().last().map(|(_, Asked { command, .. })| command.clone()) {
            Some(Command::ChangeAccount(change)) => change,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_arguments_are_consistent() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
    assert!(Cli::try_parse_from(["segue"]).unwrap().verb.is_none());
    assert!(matches!(
        Cli::try_parse_from(["segue", "serve"]).unwrap().verb,
        Some(Verb::Serve { init: false })
    ));
    for bad in [
        "calls show",
        "hash --user x",
        "move",
        "frobnicate",
        "-o xml status",
        "user pin a --remove --generate",
        "top -d nan",
        "top -d inf",
        "top -d -1",
        "top -d 0",
        "top -d 0.01",
        "top -d 1e9",
        "top -d soon",
        "top -n 0",
    ] {
        let arguments = std::iter::once("segue").chain(bad.split(' '));
        assert_eq!(Cli::try_parse_from(arguments).unwrap_err().exit_code(), 2, "{bad}");
    }
    let Some(Verb::Top(top)) = Cli::try_parse_from(["segue", "top", "-d", "0.25"]).unwrap().verb else {
        panic!()
    };
    assert_eq!(top.interval, std::time::Duration::from_millis(250));
    let told = Cli::try_parse_from(["segue", "top", "-d", "nan"]).unwrap_err().to_string();
    assert!(told.contains("'nan'") && told.contains("seconds from 0.1 to 3600"), "{told}");
}

#[tokio::test]
async fn lists_print_as_table_json_and_csv() {
    let world = World::start().await;
    let table = world.run("calls").await.unwrap();
    let line = table.lines().nth(1).unwrap();
    assert!(line.starts_with("01  answered  alice  bob  internal   1970-01-01T00:00:00.005Z"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&world.run("-o json calls").await.unwrap()).unwrap();
    assert_eq!(json[0]["legs"][1]["device"], "desk");
    let csv = world.run("registrations -o csv").await.unwrap();
    assert!(
        csv.starts_with(
            "user,device,transport,address,expires_s,user_agent,contact,pbx,signed_in\r\nalice,desk,udp,"
        ),
        "{csv}"
    );
    assert!(world.run("status").await.unwrap().contains("pbx.test"));
    assert!(world.run("user list").await.unwrap().contains("1001"));
    assert!(world.run("user devices alice").await.unwrap().contains("alice*desk"));
}

#[tokio::test]
async fn a_reload_says_what_changes_and_its_exit_code_what_waits() {
    let world = World::start().await;
    let mut changes = world.node.handle.account_changes();
    let waits = (7, "1 change waits for a restart of the node".to_owned());
    assert_eq!(world.run("reload").await, Err(waits));
    assert_eq!(changes.recv().await.as_deref(), Ok("bob"), "his sessions end");
    let fault = (2, "segue.toml:7: user[0].name: is needed".to_owned());
    assert_eq!(world.run("reload --dry-run").await, Err(fault));
}

#[tokio::test]
async fn bans_are_listed_and_lifted() {
    let world = World::start().await;
    assert!(world.run("bans").await.unwrap().contains("198.51.100.7  600"));
    assert_eq!(world.run("bans lift 198.51.100.7").await.unwrap(), "It is listened to again.\n");
    assert_eq!(world.run("bans lift 198.51.100.8").await.unwrap_err().0, 4);
    assert_eq!(world.run("bans lift nobody").await.unwrap_err().0, 2);
}

#[tokio::test]
async fn call_records_print_as_table_json_and_csv() {
    let world = World::start().await;
    let table = world.run("cdr query --from alice --to 1002 --since 12h --limit 1").await.unwrap();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("0B  1970-01-01T00:00:01.000Z  alice  1002  answered     200   60.5"), "{table}");
    assert_eq!(world.run("cdr query --to 1003").await.unwrap().lines().count(), 1);
    let csv = world.run("cdr query -o csv").await.unwrap();
    assert!(csv.starts_with("id,start,ring,answer,end,direction,from,to,"), "{csv}");
    assert!(csv.contains("\r\n0A,1970-01-01T00:00:01.000Z,,1970-01-01T00:00:03.000Z,"), "{csv}");
    let json: serde_json::Value =
        serde_json::from_str(&world.run("-o json cdr show 0A").await.unwrap()).unwrap();
    assert_eq!(json["segments"][0]["device"], "alice*desk");
    assert!(world.run("cdr show 0A").await.unwrap().contains("sip_code     200"));
    assert_eq!(world.run("cdr show 0C").await.unwrap_err().0, 4);
    let (code, text) = world.run("cdr query --since yesterday").await.unwrap_err();
    assert_eq!(code, 2, "{text}");
}

#[tokio::test]
async fn one_command_prints_the_timeline_of_a_move() {
    let world = World::start().await;
    let text = world.run("moves show 02").await.unwrap();
    assert!(
        text.contains("requested by alice (http)") && text.contains("42.000 ms  route swapped"),
        "{text}"
    );
    let list = world.run("moves --limit 1").await.unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("03"), "the newest comes first: {list}");
}

#[tokio::test]
async fn quality_has_a_line_for_each_party_and_says_what_it_hears() {
    let world = World::start().await;
    let csv = world.run("quality 01 -o csv").await.unwrap();
    let mut lines = csv.split("\r\n");
    assert!(lines.next().unwrap().starts_with("from,party,packets,loss_%,bursts,twice,late,jitter_ms"));
    assert_eq!(lines.next(), Some("caller,alice*desk,500,1.00,0,0,1,0.4,31.5,4.33,0.00,1.2,-"));
    assert!(world.run("quality 01").await.unwrap().contains("alice*desk"));
    assert_eq!(world.run("quality 99").await.unwrap_err().0, 4);
}

#[tokio::test]
async fn trunks_have_a_line_for_each_target() {
    let world = World::start().await;
    let csv = world.run("trunks -o csv").await.unwrap();
    let mut lines = csv.split("\r\n");
    assert!(
        lines.next().unwrap().starts_with("name,state,target,target_state,rtt_ms,registration,expires_s")
    );
    assert_eq!(lines.next(), Some("backup,up,udp:192.0.2.9:5060,up,12.5,-,-,3,10,-,-,-"));
    assert_eq!(lines.next(), Some("carrier,up,udp:192.0.2.9:5060,up,12.5,registered,120,3,10,-,4/5,-"));
    let json: serde_json::Value = serde_json::from_str(&world.run("trunks -o json").await.unwrap()).unwrap();
    assert_eq!(json[1]["registration"]["expires_s"], 120);
    assert!(world.run("trunks").await.unwrap().contains("registered"));
}

#[tokio::test]
async fn a_route_is_tested_and_a_call_that_reaches_nobody_is_a_failure() {
    let world = World::start().await;
    let list = world.run("route -o csv").await.unwrap();
    let mut lines = list.split("\r\n");
    assert_eq!(lines.next(), Some("place,name,match,not,from,source,when,zone,override,to,timeout_s"));
    assert_eq!(lines.next(), Some("1,premium,^0900,-,-,-,mon-fri 08:00-18:00,local,no,reject:403 Barred,-"));
    let table = world.run("route test alice 0049 --at 2026-12-24T18:00").await.unwrap();
    for part in [
        "alice dials 0049 from user:alice at 2026-12-24T18:00:00+01:00",
        "WHY NOT",
        "trunk:carrier  up",
        "CALLED    CALLING",
        "Rule 2 is followed.",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    let csv = world.run("route test alice 0049 -o csv").await.unwrap();
    assert!(
        csv.contains(
            "\r\nrule,1,premium,no,no,match does not fit the number,reject:403 Barred,-,-,-,-,-\r\n"
        ),
        "{csv}"
    );
    assert!(csv.contains("\r\ntarget,1,trunk:carrier,-,yes,-,-,up,-,-,+4930123,1001\r\n"), "{csv}");
    let json: serde_json::Value =
        serde_json::from_str(&world.run("route test alice 0049 -o json").await.unwrap()).unwrap();
    assert_eq!((&json["rule"], &json["targets"][0]["calls"]), (&2.into(), &3.into()));
    let (code, text) = world.run("route test alice 0900123").await.unwrap_err();
    assert_eq!((code, &*text), (5, "the call would reach nobody: 403 Barred"));
    let asked = world.node.asked.lock().unwrap();
    let Some((_, Asked { command: Command::TestRoute(question), .. })) = asked.last() else { panic!() };
    assert_eq!((&*question.from, &*question.to, &question.at), ("alice", "0900123", &None));
}

#[tokio::test]
async fn a_run_is_reported_in_every_form() {
    let world = World::start().await;
    let table = world.run("report --run night-1").await.unwrap();
    assert!(table.starts_with("MEASURE") && table.contains("answer_ms"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&world.run("report --run night-1 -o json").await.unwrap()).unwrap();
    assert_eq!((&json["calls"], json["answer_ms"]["curve"].as_array().unwrap().len()), (&200.into(), 101));
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("run.svg");
    let csv = world.run(&format!("report --run night-1 -o csv --svg {}", svg.display())).await.unwrap();
    assert!(csv.starts_with("measure,count,mean,min,p5,p50,p90,p95,p99,max\r\ncalls,200,,"), "{csv}");
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg "));
    assert_eq!(world.run("report --run none").await.unwrap_err().0, 4);
    assert_eq!(world.run("report --run night-1 --svg /nowhere/x.svg").await.unwrap_err().0, 1);
}

#[tokio::test]
async fn a_move_waits_for_its_outcome_and_says_it_by_the_exit_code() {
    let world = World::start().await;
    let text = world.run("move alice --to mobile").await.unwrap();
    assert!(text.contains("done") && text.contains("19.5"), "{text}");
    let (code, text) = world.run("move alice --to held").await.unwrap_err();
    assert_eq!(
        (code, text.as_str()),
        (5, "Call was moved away from this device (hold_off); try again in 17 s")
    );
    assert_eq!(world.run("move bob").await.unwrap_err().0, 4);
    assert_eq!(world.run("calls hangup 01").await.unwrap(), "The call is being ended.\n");
    assert_eq!(world.run("calls hangup 77").await.unwrap_err().0, 4);
}

#[tokio::test]
async fn a_move_that_rolls_back_fails() {
    use crate::engine::view::{MoveState, MoveView};
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let world = World::with_node(Node::with_workers(1, move |_, asked| {
        let view = |state, reason: Option<&str>| {
            let view = crate::shell::control::testing::moved("02");
            Reply::Move(Box::new(MoveView { state, reason: reason.map(str::to_owned), ..view }))
        };
        match &asked.command {
            Command::StartMove(_) => view(MoveState::Ringing, None),
            Command::ShowMove { .. } if polls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 => {
                view(MoveState::Switching, None)
            }
            Command::ShowMove { .. } => view(MoveState::RolledBack, Some("new_silent")),
            _ => answer(asked),
        }
    }))
    .await;
    let (code, text) = world.run("move alice").await.unwrap_err();
    assert_eq!((code, text.as_str()), (5, "the call was not moved: new_silent"));
    assert!(world.run("move alice --wait 0").await.unwrap().contains("ringing"));
}

#[tokio::test]
async fn accounts_are_changed_by_hashes_and_what_was_made_is_shown_once() {
    let world = World::start().await;
    let text = world
        .run("user add carol --display Carol --device desk --device lobby:shared --generate")
        .await
        .unwrap();
    let AccountChange::Add(user) = world.last_change() else { panic!() };
    assert_eq!((&*user.name, user.devices.len()), ("carol", 2));
    assert!(user.login.as_ref().unwrap().0.starts_with("$argon2id$"));
    for device in &user.devices {
        let line = text.lines().find(|line| line.starts_with(&*device.auth_user)).unwrap();
        let password = line.split_whitespace().last().unwrap();
        assert_eq!(device.ha1, secrets::ha1(&device.auth_user, "phones", password));
    }
    assert!(text.lines().any(|line| line.starts_with("login")), "{text}");

    let (code, text) = world.run("user add alice --generate").await.unwrap_err();
    assert_eq!(code, 5, "{text}");
    world.run("user passwd alice --device desk --generate").await.unwrap();
    assert!(matches!(world.last_change(), AccountChange::SetDevicePassword { .. }));
    assert_eq!(world.run("user passwd alice --device none --generate").await.unwrap_err().0, 4);
    world.run("user pin alice --generate").await.unwrap();
    assert!(matches!(world.last_change(), AccountChange::SetPin { pin: Some(_), .. }));
    world.run("user pin alice --remove").await.unwrap();
    assert!(matches!(world.last_change(), AccountChange::SetPin { pin: None, .. }));
    assert_eq!(world.run("user add x --device a:loud --generate").await.unwrap_err().0, 2);
}

#[tokio::test]
async fn without_a_node_it_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_owned();
    let failure = ask(&data_dir, output::Format::Table, Verb::Status, &mut Vec::new()).await.unwrap_err();
    assert_eq!(failure.code(), 3);
    assert!(failure.to_string().contains("segue serve"), "{failure}");
}

#[test]
fn a_configuration_is_made_only_where_asked_for_and_none_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segue.toml");
    let place = options::Place { config: Some(path.clone()), data_dir: None };
    let failure = configuration::for_serving(&place, Make::OnTerminal, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.code(), 6, "a file that was named and is not there is a fault, not a first start");
    assert!(!path.exists());
    let (made, resolved) = configuration::for_serving(&place, Make::Always, &mut Vec::new()).unwrap();
    assert_eq!((made, resolved.node.data_dir), (path.clone(), dir.path().join("segue-data")));
    let before = std::fs::read(&path).unwrap();
    configuration::for_serving(&place, Make::Always, &mut Vec::new()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(configuration::data_dir(&place).unwrap(), dir.path().join("segue-data"));
    std::fs::write(&path, "[nod]\n").unwrap();
    let failure = configuration::load(&place).unwrap_err();
    assert!(failure.code() == 6 && failure.to_string().contains("segue.toml:1"), "{failure}");
}

#[tokio::test]
async fn a_trace_is_a_ladder_rows_json_or_a_capture() {
    let world = World::start().await;
    let text = world.run("trace 01 --width 100").await.unwrap();
    assert!(text.contains("alice*desk") && text.contains("180 Ringing"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&world.run("-o json trace 01").await.unwrap()).unwrap();
    assert_eq!(json["messages"][2]["status"], 180);
    let csv = world.run("-o csv trace 01").await.unwrap();
    assert!(csv.lines().nth(1).unwrap().contains(",alice*desk,in,udp,"), "{csv}");
    let file = world.dir.path().join("call.pcap");
    let said = world.run(&format!("trace 01 -w {}", file.display())).await.unwrap();
    assert!(said.starts_with("3 messages are in "), "{said}");
    let written = std::fs::read(&file).unwrap();
    assert_eq!((written.len(), &written[..4]), (297, &[0xd4, 0xc3, 0xb2, 0xa1][..]));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(world.run("trace 09").await.unwrap_err().0, 4);
    assert_eq!(world.run("trace 01 -w /nowhere/at/all").await.unwrap_err().0, 1);
}
