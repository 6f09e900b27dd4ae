//! Export by HEP, read by the capture module of a real Kamailio.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::baresip::Baresip;
use crate::house::{BOB_HZ, DESK_HZ};
use crate::node::{DOMAIN, Node, Settings, free_port};
use crate::pbx::program;

/// baresip's first RTCP comes after five seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where Debian has its modules.
const MODULES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib/kamailio/modules"];

/// Kamailio as a capture server: it writes down what it makes of each packet.
struct Kamailio {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

/// A packet as Kamailio read it.
#[derive(Debug)]
struct Packet {
    kind: u32,
    from: String,
    to: String,
    correlation: String,
    agent: String,
    password: String,
    payload: String,
}

impl Kamailio {
    fn start() -> Self {
        let (dir, address) = (TempDir::new().expect("a temporary directory"), free_port());
        let modules = MODULES.into_iter().find(|path| fs::metadata(path).is_ok());
        let modules = modules.unwrap_or_else(|| panic!("no Kamailio here: apt-get install kamailio"));
        let work = dir.path().display();
        let fields = ["00b", "003", "007", "004", "008", "011", "00c", "00e"];
        let fields: Vec<_> = fields.iter().map(|field| format!("$hep(0x{field})")).collect();
        let text = format!(
            "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nfork=no\nchildren=1\ndisable_tcp=yes\nlisten=udp:{address}\n\
             mpath=\"{modules}/\"\nloadmodule \"db_text.so\"\nloadmodule \"pv.so\"\nloadmodule \"xlog.so\"\n\
             loadmodule \"sipcapture.so\"\nmodparam(\"xlog\", \"buf_size\", 32768)\n\
             modparam(\"sipcapture\", \"db_url\", \"text://{work}\")\nmodparam(\"sipcapture\", \"hep_capture_on\", 1)\n\
             modparam(\"sipcapture\", \"nonsip_hook\", 1)\nmodparam(\"sipcapture\", \"insert_retry_timeout\", 0)\n\
             request_route {{ exit; }}\n\
             event_route[sipcapture:request] {{ xlog(\"L_NOTICE\", \"<packet>{}\\n$hep(0x00f)</packet>\\n\"); }}\n",
            fields.join(" "),
        );
        let config = dir.path().join("kamailio.cfg");
        fs::write(&config, text).expect("writable");
        let log = File::create(dir.path().join("log")).expect("a log");
        let child = Command::new(program("kamailio"))
            .args(["-DD", "-E", "-f"])
            .arg(&config)
            .arg("-w")
            .arg(dir.path())
            .arg("-Y")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("kamailio cannot be started ({error}): apt-get install kamailio"));
        Self { child, dir, address }
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(PathBuf::from(self.dir.path()).join("log")).unwrap_or_default())
            .into_owned()
    }

    fn packets(&self) -> Vec<Packet> {
        let log = self.log();
        let all = log.split("<packet>").skip(1).filter_map(|rest| rest.split_once("</packet>"));
        let packet = |text: &str| {
            let (head, payload) = text.split_once('\n')?;
            let words: Vec<_> = head.split(' ').collect();
            let [kind, from_ip, from, to_ip, to, correlation, agent, password] = words[..] else {
                return None;
            };
            Some(Packet {
                kind: kind.parse().ok()?,
                from: format!("{from_ip}:{from}"),
                to: format!("{to_ip}:{to}"),
                correlation: correlation.to_owned(),
                agent: agent.to_owned(),
                password: password.to_owned(),
                payload: payload.to_owned(),
            })
        };
        all.filter_map(|(text, _)| packet(text)).collect()
    }

    async fn until(&self, what: &str, is_there: impl Fn(&[Packet]) -> bool) -> Vec<Packet> {
        let there = async {
            loop {
                let packets = self.packets();
                if is_there(&packets) {
                    return packets;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let there = tokio::time::timeout(PATIENCE, there).await;
        there.unwrap_or_else(|_| panic!("{what}:\n{}", self.log()))
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // In the foreground it is one group of processes, which ends with its first.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn call_id(message: &str) -> &str {
    message.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap_or_default().trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_server_reads_messages_reports_and_how_each_leg_sounded() {
    let kamailio = Kamailio::start();
    let more = format!(
        "[hep]\nserver = \"udp://{}\"\ncapture_id = 2001\npassword = \"capture-me\"\nexcept = [\"REGISTER\"]\n",
        kamailio.address
    );
    let node = Node::start(&Settings { more, ..Settings::default() }).await;
    let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::start(&node, "alice", "desk", DESK_HZ).await;
    desk.command("dial", &format!("sip:bob@{DOMAIN}")).await;
    desk.event("CALL_ESTABLISHED").await;
    let reported = |packets: &[Packet]| packets.iter().filter(|packet| packet.kind == 5).count() >= 2;
    kamailio.until("no RTCP of both", reported).await;
    desk.command("hangup", "").await;
    bob.event("CALL_CLOSED").await;
    let packets =
        kamailio.until("no quality of both", |all| all.iter().filter(|p| p.kind == 35).count() == 2).await;

    for packet in &packets {
        assert_eq!((&*packet.agent, &*packet.password), ("2001", "capture-me"), "{packet:?}");
        assert!(!packet.payload.starts_with("REGISTER"), "{packet:?}");
    }
    let sip = node.sip.to_string();
    let invites: Vec<_> = packets.iter().filter(|p| p.payload.starts_with("INVITE sip:bob")).collect();
    let came = invites.iter().find(|packet| packet.to == sip).expect("the caller's");
    let went = invites.iter().find(|packet| packet.from == sip).expect("ours");
    assert_eq!(went.correlation, call_id(&came.payload), "both legs are one call");
    assert_ne!(call_id(&went.payload), call_id(&came.payload));
    let ids = [call_id(&came.payload), call_id(&went.payload)];

    for packet in packets.iter().filter(|packet| packet.kind == 5) {
        let report: Value = serde_json::from_str(&packet.payload).expect("JSON");
        assert_eq!(report["type"], 200, "{report}");
        assert!(report["sender_information"]["packets"].as_u64().is_some_and(|sent| sent > 50), "{report}");
        assert!(ids.contains(&&*packet.correlation), "{packet:?}");
    }
    for packet in packets.iter().filter(|packet| packet.kind == 35) {
        assert!(packet.payload.starts_with("VQSessionReport: CallTerm"), "{}", packet.payload);
        let of = packet.payload.lines().find_map(|line| line.strip_prefix("CallID:")).unwrap().trim();
        assert!(ids.contains(&of) && of == packet.correlation, "{packet:?}");
        assert!(packet.payload.contains("MOSCQ=4."), "{}", packet.payload);
    }
    node.measures("segue_hep_packets_total{type=\"quality\"}", |count| count == 2.0).await;
    node.measures("segue_hep_dropped_total{reason=\"queue\"}", |count| count == 0.0).await;
}
