//! Limits of the machine: few open files, a full disk, a directory and a port that are not ours to use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use segue::shell::phone::{Call, Dial, Phone};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{SOON, device, phone, refusal};
use crate::node::{FILES, Node, Settings, free_port};

/// A node of one media thread that may have so many files open.
async fn node_with(files: u32) -> Node {
    let settings = Settings { media: "threads = 1\n".to_owned(), ..Settings::default() };
    Node::start_with(&settings, vec![(FILES.to_owned(), files.to_string())]).await
}

/// Calls the echo until it is refused.
async fn calls_of(phone: &Phone, most: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    while calls.len() < most {
        let Ok(call) = phone.dial(Dial::new("*43")).await.expect("sent").answered(SOON).await else { break };
        calls.push(call);
    }
    calls
}

/// Connections of SIP that are answered, of so many that are made.
async fn connections_to(node: &Node, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for number in 0..count {
        let Ok(mut stream) = TcpStream::connect(node.sip).await else { continue };
        // RFC 5626 4.4.1: who is let in is answered.
        let ping = async {
            stream.write_all(b"\r\n\r\n").await?;
            stream.read_exact(&mut [0; 2]).await
        };
        match tokio::time::timeout(SOON, ping).await {
            Ok(Ok(_)) => open.push(stream),
            Ok(Err(_)) => {}
            Err(_) => panic!("connection {number} is neither answered nor closed"),
        }
    }
    open
}

/// It can be asked, by command line and by HTTP.
async fn is_manageable(node: &Node) {
    node.command(&["status"]);
    assert_eq!(node.api().get("/healthz").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_connections_leave_files_for_whoever_looks_after_the_node() {
    const LIMIT: usize = 200;
    let mut node = node_with(LIMIT as u32).await;
    let told = "200 open files are allowed, enough for 24 calls at once, 36 SIP connections and 19 of HTTP";
    assert!(node.log().contains(told), "{}", node.log());
    let doctor = String::from_utf8_lossy(&node.run(&["doctor"]).stdout).into_owned();
    assert!(doctor.contains("200: enough for 24 calls at once"), "{doctor}");
    let desk = phone(device(&node, "alice", "desk", 440)).await;

    // An echo has one side: 48 pairs are 48 calls.
    let calls = calls_of(&desk, 60).await;
    assert_eq!(calls.len(), 48, "{}", node.log());
    let refused = refusal(&desk, Dial::new("*43")).await;
    assert_eq!((refused.status(), refused.retry_after()), (Some(503), Some(5)), "{}", refused.summary());
    is_manageable(&node).await;
    let connections = connections_to(&node, 60).await;
    // The share of one address is half.
    assert_eq!(connections.len(), 18);
    is_manageable(&node).await;
    assert!(node.files() < LIMIT, "{} files are open", node.files());
    for call in calls {
        call.hang_up().await.expect("hung up");
    }
    is_manageable(&node).await;
    let recorded = async {
        while fs::read_to_string(node.data("cdr.jsonl")).unwrap_or_default().lines().count() < 48 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, recorded).await.expect("the records are written");
    // What has rested is lent again.
    let again = async {
        loop {
            if let Some(call) = calls_of(&desk, 1).await.pop() {
                break call;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let call = tokio::time::timeout(Duration::from_secs(20), again).await.expect("ports come back");
    call.hang_up().await.expect("hung up");
    let log = node.log();
    assert_eq!(log.matches("calls are refused for want of media ports").count(), 1, "{log}");
    assert!(!log.contains("too many open files"), "{log}");
    drop(connections);
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_least_files_there_is_a_call_and_with_fewer_no_node() {
    let mut node = node_with(60).await;
    let desk = phone(device(&node, "alice", "desk", 440)).await;
    let calls = calls_of(&desk, 5).await;
    assert!(!calls.is_empty(), "{}", node.log());
    let connections = connections_to(&node, 60).await;
    assert!(!connections.is_empty());
    is_manageable(&node).await;
    drop((calls, connections));
    node.end();
    let config = node.configuration();
    let dir = tempfile::tempdir().unwrap();
    let output = serve(dir.path(), &config, &["sh", "-c", "ulimit -n 50 && exec \"$0\" \"$@\""]);
    refused(&output, "50 open files are allowed, and a node needs at least 58 (ulimit -n, LimitNOFILE=)");
}

/// Runs `segue serve` on a configuration in `dir`, through other programs, until it has ended.
fn serve(dir: &Path, config: &str, through: &[&str]) -> Output {
    fs::write(dir.join("segue.toml"), config).unwrap();
    let words: Vec<_> = through.iter().copied().chain([env!("CARGO_BIN_EXE_segue")]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["serve", "--config", "segue.toml"]).current_dir(dir);
    // It ends by itself, or the test is stuck: no longer than this.
    command.stdin(Stdio::null()).output().expect("it runs")
}

fn refused(output: &Output, why: &str) {
    let said =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().any(|line| line.contains(why)), "{why}: {said}");
}

/// `listen`: a URI; none: at a port that nobody has.
fn config(data: &Path, listen: Option<&str>) -> String {
    let http = free_port();
    let listen = listen.map_or_else(|| format!("udp://{http}"), str::to_owned);
    format!(
        "[node]\ndomain = \"pbx.test\"\ndata_dir = {data:?}\n[[listen]]\nuri = \"{listen}\"\n\
         [http]\nbind = \"{http}\"\n[media]\naddress = \"127.0.0.1\"\n"
    )
}

/// What makes a program that root starts one of nobody's, who may nothing; without root it is nothing.
fn as_nobody() -> &'static [&'static str] {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let setpriv: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if is_root { setpriv } else { &[] }
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let config = config(&data, None);
    fs::write(dir.path().join("segue.toml"), "").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let output = serve(dir.path(), &config, as_nobody());
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let why = format!(
        "cannot use the data directory {} (node.data_dir): no permission to write there",
        data.display()
    );
    refused(&output, &why);
}

#[test]
fn a_port_of_the_system_is_named_with_what_gives_it() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse().is_ok_and(|first: u16| first <= 1) {
        eprintln!("any port may be had here by anybody");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    for path in [dir.path(), &data] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    for (scheme, port) in [("udp", 1), ("tcp", 1)] {
        let listen = format!("{scheme}://127.0.0.1:{port}");
        let output = serve(dir.path(), &config(&data, Some(&listen)), as_nobody());
        let why = format!(
            "cannot listen on {listen} (listen[0].uri): no permission (ports below 1024 need the capability CAP_NET_BIND_SERVICE)"
        );
        refused(&output, &why);
    }
}

#[test]
fn a_disk_that_is_full_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let unshare: &[&str] = &["unshare", "--user", "--map-root-user", "--mount"];
    let may = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("no disk can be made here");
        return;
    }
    let shell = "mount -t tmpfs -o size=64k tmpfs data && \
                 { dd if=/dev/zero of=data/full bs=4k count=$0 2>/dev/null; :; } && exec \"$@\"";
    // Nothing left; and a little, which the store needs more than.
    for (pages, why) in [
        ("16", format!("cannot use the data directory {} (node.data_dir): no space is left", data.display())),
        ("14", "segue.db: no space is left on its disk: make room".to_owned()),
    ] {
        let through: Vec<_> = unshare.iter().copied().chain(["sh", "-c", shell, pages]).collect();
        refused(&serve(dir.path(), &config(&data, None), &through), &why);
    }
}
