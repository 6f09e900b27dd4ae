//! In front of a PBX: Kamailio as registrar with digest and as router of calls, with `fixtures/kamailio/pbx.cfg`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use segue::shell::phone::Dial;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, Talk, held_off, refusal};
use crate::node::{Node, Settings, free_port};

/// The password of everybody there.
const SECRET: &str = "green-lamp-PBX";

/// Kamailio, until it is dropped.
struct Kamailio {
    child: Child,
    dir: TempDir,
    at: SocketAddr,
}

/// A program of Kamailio's package, which is not on the path of everybody.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = Path::new("/usr/sbin").join(name);
    if own.exists() { own } else { name.into() }
}

impl Kamailio {
    async fn start() -> Self {
        let (dir, at) = (TempDir::new().expect("a temporary directory"), free_port());
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kamailio/pbx.cfg");
        let text = fs::read_to_string(own).expect("it is there");
        let socket = format!("\"unix:{}\"", dir.path().join("ctl.sock").display());
        let text = text.replace("listen=LISTEN", &format!("listen=udp:{at}")).replace("\"CTL\"", &socket);
        let config = dir.path().join("pbx.cfg");
        fs::write(&config, text).expect("writable");
        let child = Self::spawn(&dir, &config);
        let mut pbx = Self { child, dir, at };
        let end = Instant::now() + SOON;
        while pbx.try_command(&["core.uptime"]).is_none() {
            let ended = pbx.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "Kamailio does not start:\n{}", pbx.log());
            sleep(Duration::from_millis(50)).await;
        }
        pbx
    }

    fn spawn(dir: &TempDir, config: &Path) -> Child {
        let log = File::create(dir.path().join("log")).expect("a log file");
        Command::new(program("kamailio"))
            .args(["-DD", "-E", "-m", "16", "-M", "4", "-f"])
            .arg(config)
            .arg("-Y")
            .arg(dir.path())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("kamailio is installed (tests/run tools)")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("ctl.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn try_command(&self, arguments: &[&str]) -> Option<String> {
        let socket = format!("unix:{}", self.socket().display());
        let output = Command::new(program("kamcmd"))
            .args(["-s", &socket])
            .args(arguments)
            .output()
            .expect("kamcmd runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The Contacts of an address of record that it knows, as its user location says.
    fn contacts(&self, user: &str) -> Vec<String> {
        let dump = self.try_command(&["ul.dump"]).unwrap_or_default();
        let mut of = "";
        let mut found = Vec::new();
        for line in dump.lines().map(str::trim) {
            if let Some(aor) = line.strip_prefix("AoR: ") {
                of = aor;
            } else if let Some(address) = line.strip_prefix("Address: ").filter(|_| of == user) {
                found.push(address.to_owned());
            }
        }
        found
    }

    /// What it knows of its dialogs: Call-IDs, tags, Contacts and states.
    fn dialogs(&self) -> Vec<String> {
        let all = self.try_command(&["dlg.list"]).unwrap_or_default();
        let is_of_dialog = |line: &&str| {
            ["call-id:", "tag:", "contact:", "state:", "uri:"].iter().any(|name| line.starts_with(name))
        };
        all.lines().map(str::trim).filter(is_of_dialog).map(str::to_owned).collect()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + SOON;
        while !is_so(self) {
            assert!(
                Instant::now() < end,
                "{what}:\n{}\n{}\n{}",
                self.try_command(&["ul.dump"]).unwrap_or_default(),
                self.dialogs().join("\n"),
                self.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Kamailio {
    /// It ends its own processes when it is told to end; killed it would leave them.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Alice and Bob as users of the PBX at `at`, added to a node that runs.
fn bring_behind(node: &Node, at: SocketAddr) {
    let own = |user: &str, password: &str| {
        format!(
            "[user.pbx]\ntrunk = \"office\"\nuser = \"{user}\"\npassword = \"{password}\"\n[[user]]\nname = "
        )
    };
    let text = node.configuration();
    let text = text.replace("[[user]]\nname = \"bob\"", &(own("1001", SECRET) + "\"bob\""));
    let text = text.replace("[[user]]\nname = \"eve\"", &(own("1002", SECRET) + "\"eve\""));
    node.configure(&format!("{text}[[trunk]]\nname = \"office\"\nuri = \"sip:{at}\"\n"));
    let told = node.command(&["reload"]);
    assert!(told.contains("user alice: pbx none -> 1001 at office as 1001"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
}

/// How a user stands at the PBX.
fn standing(node: &Node, user: &str) -> String {
    let all: Value = serde_json::from_str(&node.command(&["user", "list", "-o", "json"])).expect("JSON");
    let found = all.as_array().and_then(|all| all.iter().find(|view| view["name"] == user));
    found.expect("the user")["pbx"]["state"].as_str().unwrap_or_default().to_owned()
}

async fn until(node: &Node, user: &str, state: &str) {
    let end = Instant::now() + SOON;
    while standing(node, user) != state {
        assert!(Instant::now() < end, "{user} is {} there", standing(node, user));
        sleep(Duration::from_millis(50)).await;
    }
}

async fn house() -> (House, Kamailio) {
    let (house, pbx) = (House::with(&Settings::default()).await, Kamailio::start().await);
    bring_behind(&house.node, pbx.at);
    until(&house.node, "alice", "registered").await;
    until(&house.node, "bob", "registered").await;
    (house, pbx)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pbx_sees_one_contact_of_a_user_with_two_phones() {
    let (house, pbx) = house().await;
    let first = pbx.contacts("1001");
    assert_eq!((first.len(), pbx.contacts("1002").len()), (1, 1), "{first:?}");
    assert!(first[0].contains(";line="), "{first:?}");
    // One phone goes, and nothing happens; a crash and a start later it is the same Contact.
    house.desk.unregister().await.unwrap();
    assert_eq!(pbx.contacts("1001"), first);
    let table = house.node.command(&["registrations"]);
    assert!(
        table.lines().any(|line| line.starts_with("alice") && line.contains("  registered  ")),
        "{table}"
    );
    let mut house = house;
    house.node.has_stored_binding("alice").await;
    house.node.crash_and_restart().await;
    until(&house.node, "alice", "registered").await;
    assert_eq!(pbx.contacts("1001"), first, "not one beside the old one");
    // The last phone goes: so does the Contact.
    house.mobile.unregister().await.unwrap();
    pbx.until("alice is gone there", |pbx| pbx.contacts("1001").is_empty()).await;
    until(&house.node, "alice", "unregistered").await;
    assert_eq!(pbx.contacts("1002").len(), 1);
}

/// The PBX has two calls of segue in one dialog of its own, since it is a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_user_to_user_goes_through_the_pbx_and_moves_without_its_notice() {
    let (house, pbx) = house().await;
    // Bob calls Alice: both her phones ring, one answers.
    let ringing = house.bob.dial(Dial::new("1001")).await.unwrap();
    let (desk, mobile) = (house.desk.ringing(SOON).await.unwrap(), house.mobile.ringing(SOON).await.unwrap());
    let at_desk = desk.answer().await.unwrap();
    let at_bob = ringing.answered(SOON).await.unwrap();
    mobile.cancelled(SOON).await.unwrap();
    at_bob.hears(DESK_HZ, SOON).await.expect("bob hears the desk");
    at_desk.hears(BOB_HZ, SOON).await.expect("the desk hears bob");
    pbx.until("a call there", |pbx| pbx.dialogs().iter().any(|line| line == "state: 4")).await;
    let before = pbx.dialogs();
    let talk = Talk { desk: at_desk, bob: at_bob };
    let moved = house.pull(&talk).await;
    assert_eq!(pbx.dialogs(), before, "the PBX's dialog is what it was");
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
    talk.bob.hears(MOBILE_HZ, SOON).await.expect("bob hears the mobile");
    moved.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
    pbx.until("no call is left", |pbx| !pbx.dialogs().iter().any(|line| line == "state: 4")).await;
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_out_moves_as_well_and_who_is_unknown_there_is_the_word_of_the_pbx() {
    let (house, pbx) = house().await;
    let talk = house.talk().await;
    pbx.until("a call there", |pbx| pbx.dialogs().iter().any(|line| line == "state: 4")).await;
    let before = pbx.dialogs();
    assert!(before.iter().any(|line| line.starts_with("call-id:")), "{before:?}");
    let moved = house.pull(&talk).await;
    assert_eq!(pbx.dialogs(), before);
    talk.bob.hang_up().await.unwrap();
    moved.ended(SOON).await.unwrap();
    let unknown = refusal(&house.mobile, Dial::new("4711")).await;
    assert_eq!(unknown.status(), Some(404), "{}", unknown.summary());
    let told = house.node.command(&["route", "test", "alice", "4711"]);
    assert!(told.contains("The caller is behind a PBX, which is asked"), "{told}");
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_the_users_alone_until_a_reload_brings_the_right_one() {
    let (house, pbx) = house().await;
    let text = house.node.configuration();
    let wrong = text.replacen(&format!("password = \"{SECRET}\""), "password = \"wrong\"", 1);
    // What stands stands until it is asked for again: the phones go and come.
    house.desk.unregister().await.unwrap();
    house.mobile.unregister().await.unwrap();
    pbx.until("alice is gone there", |pbx| pbx.contacts("1001").is_empty()).await;
    house.node.configure(&wrong);
    house.node.command(&["reload"]);
    house.desk.register(120).await.unwrap();
    until(&house.node, "alice", "refused").await;
    house.node.has_logged("a PBX does not register a user").await;
    assert!(!house.node.log().contains(SECRET), "no password in the log");
    assert_eq!(standing(&house.node, "bob"), "registered");
    house.node.configure(&text);
    house.node.command(&["reload"]);
    until(&house.node, "alice", "registered").await;
}
