//! `segue top` on a terminal: keys while the node does not answer, signals, a node that goes and comes back.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::house::SOON;
use crate::node::{Node, Settings};

/// What takes another screen, and what gives the one before back.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A program on a terminal of its own.
struct OnTerminal {
    child: Child,
    /// Our end.
    master: File,
    /// The other end, so that what it is set to can be asked for when the program has gone.
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    fn start(program: &str) -> Self {
        let (mut master, mut slave) = (-1, -1);
        let size = libc::winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both descriptors are written to locals of ours; no name and no settings are given, and a size that lives.
        let done = unsafe {
            libc::openpty(
                &raw mut master,
                &raw mut slave,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(done, 0, "a terminal");
        // SAFETY: both were opened just now and are nobody else's.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let end = || Stdio::from(slave.try_clone().expect("another handle"));
        let child = Command::new("sh")
            .args(["-c", &format!("exec {program}")])
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("it starts");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (master.try_clone().expect("another handle"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, master, slave, shown }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until it has shown this, after so many bytes.
    fn shows(&self, start: usize, text: &str) {
        let begun = Instant::now();
        while !self.text().get(start..).is_some_and(|shown| shown.contains(text)) {
            assert!(begun.elapsed() < SOON, "`{text}` is not shown: {:?}", self.text().get(start..));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it has a terminal");
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: a signal to a child of ours that nobody has waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn ends(&mut self, most: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < most, "it has not ended after {most:?}: {:?}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether lines are gathered and keys are shown, as a shell wants it.
    fn is_cooked(&self) -> bool {
        let mut set = std::mem::MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the descriptor is ours, and the call fills the local or fails.
        let set = unsafe {
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), set.as_mut_ptr()), 0);
            set.assume_init()
        };
        let cooked = libc::ICANON | libc::ECHO | libc::ISIG;
        set.c_lflag & cooked == cooked
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `segue top` when it shows its node.
fn top(node: &Node, arguments: &str) -> OnTerminal {
    let top = OnTerminal::start(&format!("{} top {arguments}", node.program()));
    top.shows(0, "(pbx.test)");
    assert!(top.text().contains(ENTER) && !top.is_cooked());
    top
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_the_terminal_as_it_was_and_is_what_it_ends_by() {
    let mut node = Node::start(&Settings::default()).await;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut top = top(&node, "");
        top.signal(signal);
        let status = top.ends(SOON);
        assert_eq!((status.signal(), status.code()), (Some(signal), None), "as a shell expects it");
        top.shows(0, LEAVE);
        assert!(top.is_cooked(), "after {signal}");
    }
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_while_the_node_takes_its_time() {
    let node = Node::start(&Settings::default()).await;
    // No look is as fast as that.
    let mut busy = top(&node, "-d 0.1");
    let mut other = top(&node, "");
    node.signal("STOP");
    busy.shows(0, "cannot reach the node since");
    assert!(busy.text().contains("it has not answered yet"), "{:?}", busy.text());
    let from = busy.text().len();
    busy.press("/");
    busy.shows(from, "filter:");
    busy.press("carol\r3");
    busy.press("q");
    assert_eq!(busy.ends(Duration::from_secs(2)).code(), Some(0));
    assert!(busy.is_cooked());
    // Ctrl-C, too: nobody else sees it on such a terminal.
    other.press("\u{3}");
    assert_eq!(other.ends(Duration::from_secs(2)).code(), Some(0));
    assert!(other.is_cooked());
    node.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_is_told_of_and_found_again() {
    let mut node = Node::start(&Settings::default()).await;
    let mut top = top(&node, "-d 0.2");
    node.end();
    top.shows(0, "cannot reach the node since");
    let from = top.text().len();
    node.restart(None).await;
    top.shows(from, "(pbx.test)");
    top.press("q");
    assert_eq!(top.ends(SOON).code(), Some(0));
    // So many looks are lines, on a terminal, too.
    let mut lines = OnTerminal::start(&format!("{} top -n 2 -d 0.1", node.program()));
    assert_eq!(lines.ends(SOON).code(), Some(0));
    lines.shows(0, "(pbx.test)");
    // The last of it may still be on its way to us.
    let last = lines.text().find("(pbx.test)").unwrap() + 1;
    lines.shows(last, "(pbx.test)");
    lines.shows(last, "trunks 0 of 0 not down\r\n");
    let text = lines.text();
    assert!(!text.contains('\u{1b}') && text.matches("(pbx.test)").count() == 2, "{text:?}");
    node.end();
}
