//! One segue process with a configuration of its own, in a directory of its own, on ports that were free.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::api::Api;
use crate::house::SOON;

/// The domain of every test node; phones find it by their outbound address.
pub(crate) const DOMAIN: &str = "pbx.test";
/// The one password of every device, PIN and login of the tests.
pub(crate) const PASSWORD: &str = "9041-blue-lamp";
/// The PIN of every user.
pub(crate) const PIN: &str = "480911";
/// A start that takes longer is a failure.
const START: Duration = Duration::from_secs(20);
/// In the environment of a node: how many files it may have open.
pub(crate) const FILES: &str = "OPEN_FILES";
/// An end that takes longer is one: calls have 30 s, the last BYE and the API two more each.
const END: Duration = Duration::from_secs(45);
/// Media ports of one node.
const MEDIA_PORTS: u16 = 200;
/// Below them, for browsers: `media.web_port` left out.
const WEB_PORTS: u16 = 16;

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    dir: TempDir,
    variables: Vec<(String, String)>,
    /// Its SIP address, for UDP and TCP.
    pub(crate) sip: SocketAddr,
    /// Its HTTP address.
    pub(crate) http: SocketAddr,
}

/// What differs from the usual configuration: lines by section.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `[move]`
    pub(crate) moving: String,
    /// `[media]`
    pub(crate) media: String,
    /// Every `[[user.device]]` with the id `mobile`.
    pub(crate) mobile: String,
    /// Whole sections, put at the end.
    pub(crate) more: String,
}

impl Default for Settings {
    fn default() -> Self {
        let (media, mobile, more) = Default::default();
        Self { moving: "hold_off_s = 3\n".to_owned(), media, mobile, more }
    }
}

impl Settings {
    pub(crate) fn moving(lines: &str) -> Self {
        Self { moving: lines.to_owned(), ..Self::default() }
    }
}

impl Node {
    /// Starts a node and waits until it says that it is ready.
    pub(crate) async fn start(settings: &Settings) -> Self {
        Self::start_with(settings, Vec::new()).await
    }

    /// As [`Node::start`], with these in its environment.
    pub(crate) async fn start_with(settings: &Settings, variables: Vec<(String, String)>) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let (sip, http) = (free_port(), free_port());
        fs::write(dir.path().join("segue.toml"), configuration(dir.path(), sip, http, settings))
            .expect("writable");
        let child = spawn(dir.path(), &variables);
        let mut node = Self { child, dir, sip, http, variables };
        node.ready().await;
        node
    }

    /// Kills it without a word, as a power cut does, and starts it again on the same data.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.kill();
        self.restart(None).await;
    }

    /// Starts it again after [`Node::kill`], with another configuration if one is given.
    pub(crate) async fn restart(&mut self, settings: Option<&Settings>) {
        if let Some(settings) = settings {
            let text = configuration(self.dir.path(), self.sip, self.http, settings);
            fs::write(self.dir.path().join("segue.toml"), text).expect("writable");
        }
        self.child = spawn(self.dir.path(), &self.variables);
        self.ready().await;
    }

    /// What it is configured by.
    pub(crate) fn configuration(&self) -> String {
        fs::read_to_string(self.dir.path().join("segue.toml")).expect("readable")
    }

    /// Another configuration, for whenever it is read next.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.dir.path().join("segue.toml"), text).expect("writable");
    }

    /// Sends it a signal, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "it can be told");
    }

    /// Waits until a line of its log has this text.
    pub(crate) async fn has_logged(&self, text: &str) {
        self.has_logged_since(0, text).await;
    }

    /// As [`Node::has_logged`], of a line after so many bytes of the log.
    pub(crate) async fn has_logged_since(&self, start: usize, text: &str) {
        let logged = async {
            while !self.log().get(start..).is_some_and(|log| log.contains(text)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, logged).await.unwrap_or_else(|_| panic!("`{text}` is not logged"));
    }

    /// A file of its data directory.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    /// The value of a series of its metrics, by name and labels as they are written.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.api().get("/metrics").await.ok()?.body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    /// Waits until a series has a value that is right.
    pub(crate) async fn measures(&self, series: &str, is_right: impl Fn(f64) -> bool) {
        let mut last = None;
        let reached = async {
            loop {
                last = self.metric(series).await;
                if last.is_some_and(&is_right) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(SOON, reached).await;
        reached.unwrap_or_else(|_| panic!("{series} stays at {last:?}"));
    }

    /// Waits until the store has a binding of a user; it is written behind the answer to the REGISTER.
    pub(crate) async fn has_stored_binding(&self, user: &str) {
        let path = self.dir.path().join("data/segue.db");
        let stored = async {
            let query = "SELECT count(*) FROM bindings WHERE user = ?1";
            loop {
                let store = rusqlite::Connection::open(&path).expect("the store opens");
                let count: i64 = store.query_row(query, [user], |row| row.get(0)).expect("it has the table");
                if count > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, stored)
            .await
            .unwrap_or_else(|_| panic!("{user} is not stored in {SOON:?}"));
    }

    /// Runs a command of the binary against this node; gives its standard output.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "segue {arguments:?}: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// As [`Node::command`]; it may fail.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        let config = self.dir.path().join("segue.toml");
        Command::new(env!("CARGO_BIN_EXE_segue"))
            .args(arguments)
            .arg("--config")
            .arg(config)
            .current_dir(self.dir.path())
            .output()
            .expect("the binary runs")
    }

    /// The binary as it is told of this node.
    pub(crate) fn program(&self) -> String {
        format!("{} --config {}", env!("CARGO_BIN_EXE_segue"), self.dir.path().join("segue.toml").display())
    }

    /// How many files it has open.
    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a running process").count()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> usize {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("of Linux");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
        kilobytes.expect("a number") * 1024
    }

    /// An API client without a token.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.http)
    }

    /// Tells it to end and waits until it has.
    pub(crate) fn end(&mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "segue ended with {status}:\n{}", self.log());
    }

    /// Waits until it has ended by itself; whether that was as it should be.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.ended().success()
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < END, "segue has not ended after {END:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn ready(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("segue ended with {status} instead of starting:\n{}", self.log());
            }
            if self.api().get("/readyz").await.is_ok_and(|reply| reply.status == 200) {
                return;
            }
            assert!(begun.elapsed() < START, "segue is not ready after {START:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the node's last words");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn spawn(dir: &Path, variables: &[(String, String)]) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log file");
    let program = env!("CARGO_BIN_EXE_segue");
    let mut command = if variables.iter().any(|(name, _)| name == FILES) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n \"${FILES}\" && exec \"$0\" \"$@\""), program]);
        shell
    } else {
        Command::new(program)
    };
    command
        .args(["serve", "--config", "segue.toml"])
        .current_dir(dir)
        .env("SEGUE_LOG", std::env::var("SEGUE_TEST_LOG").unwrap_or_else(|_| "info,segue=debug".to_owned()))
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}

fn configuration(dir: &Path, sip: SocketAddr, http: SocketAddr, settings: &Settings) -> String {
    let data: PathBuf = dir.join("data");
    let (first, last) = media_ports();
    let Settings { moving, media, mobile, more } = settings;
    let mut text = format!(
        "[node]\nid = \"test\"\ndomain = \"{DOMAIN}\"\naliases = [\"127.0.0.1\"]\ndata_dir = {data:?}\n\n\
         [[listen]]\nuri = \"udp://{sip}\"\n[[listen]]\nuri = \"tcp://{sip}\"\n\n\
         [http]\nbind = \"{http}\"\n\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"{first}-{last}\"\n{media}\n\
         [auth]\nalgorithms = [\"MD5\"]\nban = {{ allow = [\"127.0.0.0/26\"] }}\n\n[move]\n{moving}\n\
         [trace]\nmemory_mb = 16\n\n[test]\necho = \"*43\"\ntone = \"*44\"\nruns = true\n\n"
    );
    let hash = login_hash();
    for (name, extension) in [("alice", "1001"), ("bob", "1002"), ("eve", "1003")] {
        let _ = write!(
            text,
            "[[user]]\nname = \"{name}\"\ndisplay = \"{name} of the test\"\nextension = \"{extension}\"\n\
             login = \"{hash}\"\npin = \"{}\"\n",
            pin_hash()
        );
        for (device, own) in [("desk", ""), ("mobile", mobile.as_str()), ("third", "")] {
            let _ = write!(
                text,
                "[[user.device]]\nid = \"{device}\"\nauth_user = \"{name}-{device}\"\npassword = \"{PASSWORD}\"\n{own}"
            );
        }
    }
    let _ = write!(
        text,
        "[[user]]\nname = \"lobby\"\nextension = \"1900\"\n[[user.device]]\nid = \"room\"\n\
         auth_user = \"lobby-room\"\npassword = \"{PASSWORD}\"\ntrust = \"shared\"\n{more}"
    );
    text
}

/// `segue hash` makes the hashes; one run of each is enough, argon2 is slow by design.
pub(crate) fn login_hash() -> &'static str {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| hashed(PASSWORD))
}

fn pin_hash() -> &'static str {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| hashed(PIN))
}

fn hashed(secret: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_segue"))
        .args(["hash", "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(format!("{secret}\n").as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success() && text.starts_with("$argon2id$"), "segue hash said: {text}");
    text
}

/// A loopback port that is free for UDP and TCP, as are the nine above it, which baresip and SIPp take for TLS and media.
/// They are one asker's, and none is of those that the system gives to sockets without a port of their own (32768 to 60999
/// on Linux).
pub(crate) fn free_port() -> SocketAddr {
    const EACH: u16 = 10;
    const SLOTS: u16 = 440;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % u32::from(SLOTS)) as u16;
    let is_free = |port| {
        let at = ("127.0.0.1", port);
        UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
    };
    let next = || 61_000 + (NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(spread) % SLOTS) * EACH;
    let mut candidates = std::iter::repeat_with(next).take(SLOTS.into());
    let port = candidates.find(|first| (*first..first + EACH).all(is_free));
    SocketAddr::from(([127, 0, 0, 1], port.expect("a free port")))
}

/// A range for media that no other node of these tests has, below the system's own ephemeral ports. Before it are the
/// ports for browsers, the first of which a node holds as long as it lives: who can bind it has the whole of it.
fn media_ports() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 40) as u16;
    loop {
        let slot = (NEXT.fetch_add(1, Ordering::Relaxed) + spread * 2) % 80;
        let of_browsers = 12_000 + slot * (WEB_PORTS + MEDIA_PORTS);
        if UdpSocket::bind(("127.0.0.1", of_browsers)).is_ok() {
            let first = of_browsers + WEB_PORTS;
            return (first, first + MEDIA_PORTS - 1);
        }
    }
}
