//! baresip as a handset: real audio moves between two instances, judged by the tone in what was recorded.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use segue::shell::phone::tone::{RATE, pitch};
use segue::shell::phone::{Options, Phone};

use crate::house::{BOB_HZ, DESK_HZ, MOBILE_HZ, device, phone};
use crate::node::{DOMAIN, Node, PASSWORD, PIN, Settings, free_port};
use crate::secured::Papers;

/// baresip starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One baresip with a tone for a microphone and a recorder for a loudspeaker.
pub(crate) struct Baresip {
    name: String,
    sip: SocketAddr,
    dir: TempDir,
    control: Control,
    child: Child,
}

/// What it speaks, and how its files must be for that.
#[derive(Clone, Copy)]
struct Codec {
    name: &'static str,
    rate: u32,
    channels: u8,
    /// A parameter of the account.
    encryption: &'static str,
}

const PCMU: Codec = Codec { name: "PCMU", rate: 8000, channels: 1, encryption: "" };
/// With SRTP and nothing less.
const SECURED: Codec = Codec { encryption: ";mediaenc=srtp-mand", ..PCMU };
const G722: Codec = Codec { name: "G722", rate: 16_000, channels: 1, encryption: "" };
const OPUS: Codec = Codec { name: "opus", rate: 48_000, channels: 2, encryption: "" };

/// Its `ctrl_tcp` connection: JSON in netstrings.
struct Control {
    stream: TcpStream,
    pending: Vec<u8>,
    /// Everything that came, for failures.
    seen: Vec<Value>,
}

impl Baresip {
    /// Starts it and registers it.
    pub(crate) async fn start(node: &Node, user: &str, device: &str, hz: u32) -> Self {
        Self::speaking(PCMU, node, user, device, hz).await
    }

    /// The same with one codec and no other.
    async fn speaking(codec: Codec, node: &Node, user: &str, device: &str, hz: u32) -> Self {
        let phone = Self::launch(codec, node.sip, user, device, hz).await;
        // It registers as it starts, perhaps before anyone listens to what it says: the node is asked.
        let is_known = async {
            while !node.command(&["registrations", "-o", "json"]).contains(&phone.sip.port().to_string()) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let known = tokio::time::timeout(PATIENCE, is_known).await;
        assert!(known.is_ok(), "{} does not register:\n{}", phone.name, phone.log());
        phone
    }

    async fn launch(codec: Codec, server: SocketAddr, user: &str, device: &str, hz: u32) -> Self {
        Self::launch_over((codec, "udp"), server, user, device, hz).await
    }

    async fn launch_over(
        (codec, transport): (Codec, &str),
        server: SocketAddr,
        user: &str,
        device: &str,
        hz: u32,
    ) -> Self {
        let name = format!("{user}-{device}");
        let dir = TempDir::new().expect("a temporary directory");
        let (sip, control) = (free_port(), free_port());
        write_configuration(dir.path(), codec, (transport, server), &name, user, hz, [sip, control]);
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let child = Command::new("baresip")
            .args(["-f", &dir.path().to_string_lossy()])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("baresip cannot be started ({error}): apt-get install baresip"));
        let control = Control::connect(control, dir.path()).await;
        Self { name, sip, dir, control, child }
    }

    pub(crate) async fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({"command": command, "params": parameters}).to_string();
        let netstring = format!("{}:{text},", text.len());
        self.control.stream.write_all(netstring.as_bytes()).await.expect("baresip listens");
    }

    /// Presses keys in its call, one after the other as a hand does: it loses those that come at once.
    pub(crate) async fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            self.command("sndcode", &key.to_string()).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits for an event of this type.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let found = tokio::time::timeout(PATIENCE, self.control.until(|value| value["type"] == kind)).await;
        found.unwrap_or_else(|_| {
            panic!("{}: no {kind} in {PATIENCE:?}; came {:#?}\n{}", self.name, self.control.seen, self.log())
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits until its recording ends with a tone: the talk goes on until it was heard.
    async fn hears(&self, hz: u32) {
        let heard = async {
            while tones(&self.recorded()).last() != Some(&hz) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        assert!(heard.is_ok(), "{} does not hear {hz} Hz:\n{}", self.name, self.log());
    }

    /// Waits until it has recorded so many samples: a call moves once a second at most.
    async fn talks(&self, count: usize) {
        let recorded = async {
            while self.recorded().len() < count {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let recorded = tokio::time::timeout(PATIENCE, recorded).await;
        assert!(recorded.is_ok(), "{} records nothing:\n{}", self.name, self.log());
    }

    /// What it has recorded so far, in samples of 8 kHz.
    fn recorded(&self) -> Vec<f64> {
        let entries =
            fs::read_dir(self.dir.path()).expect("its directory").flatten().map(|entry| entry.path());
        let mut recordings: Vec<PathBuf> =
            entries.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).collect();
        recordings.sort();
        recordings.iter().flat_map(|path| samples(path)).collect()
    }

    /// Ends it and gives what it heard.
    async fn heard(mut self) -> Vec<f64> {
        self.command("quit", "").await;
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            self.child.kill().await.expect("killed");
        }
        self.recorded()
    }
}

impl Control {
    async fn connect(address: SocketAddr, dir: &Path) -> Self {
        let connected = tokio::time::timeout(PATIENCE, async {
            loop {
                match TcpStream::connect(address).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let stream = connected.await.unwrap_or_else(|_| {
            panic!("baresip does not listen:\n{}", fs::read_to_string(dir.join("log")).unwrap_or_default())
        });
        Self { stream, pending: Vec::new(), seen: Vec::new() }
    }

    async fn until(&mut self, pick: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some(value) = self.take() {
                self.seen.push(value.clone());
                if pick(&value) {
                    return value;
                }
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).await.expect("baresip speaks");
            assert!(length > 0, "baresip closed its control connection; came {:#?}", self.seen);
            self.pending.extend_from_slice(&buffer[..length]);
        }
    }

    /// The next whole netstring.
    fn take(&mut self) -> Option<Value> {
        let colon = self.pending.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&self.pending[..colon]).ok()?.parse().ok()?;
        let body = self.pending.get(colon + 1..colon + 1 + length)?.to_vec();
        self.pending.drain(..colon + 2 + length);
        serde_json::from_slice(&body).ok()
    }
}

fn write_configuration(
    dir: &Path,
    codec: Codec,
    (transport, server): (&str, SocketAddr),
    name: &str,
    user: &str,
    hz: u32,
    [sip, control]: [SocketAddr; 2],
) {
    let microphone = dir.join("microphone.wav");
    fs::write(&microphone, wav(codec, hz, 90)).expect("writable");
    let config = format!(
        "poll_method epoll\nsip_listen {sip}\ncall_local_timeout 60\ncall_max_calls 4\n\
         audio_path /usr/share/baresip\naudio_player aubridge,silent\naudio_source aufile,{}\n\
         audio_alert aubridge,alert\nausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16\n\
         audio_buffer 20-160\nrtp_tos 184\nrtcp_mux no\njitter_buffer_delay 1-5\nrtp_stats no\nnet_interface 127.0.0.1\n\
         module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule srtp.so\nmodule g722.so\nmodule opus.so\nmodule aufile.so\nmodule aubridge.so\n\
         module sndfile.so\nmodule_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
         ctrl_tcp_listen {control}\nsnd_path {}\n",
        microphone.display(),
        dir.display()
    );
    fs::write(dir.join("config"), config).expect("writable");
    let answers = if user == "bob" { ";answermode=auto" } else { "" };
    let account = format!(
        "<sip:{user}@{DOMAIN};transport={transport}>;auth_user={name};auth_pass={PASSWORD};\
         outbound=\"sip:{server};transport={transport}\";regint=600;audio_codecs={}/{}/{}{answers}{}\n",
        codec.name, codec.rate, codec.channels, codec.encryption
    );
    fs::write(dir.join("accounts"), account).expect("writable");
    fs::write(dir.join("contacts"), "").expect("writable");
}

/// A file of 16 bit samples, as many a second and on as many channels as the codec has: it is not resampled.
fn wav(codec: Codec, hz: u32, seconds: u32) -> Vec<u8> {
    let Codec { rate, channels, .. } = codec;
    let count = rate * seconds;
    let bytes_of_data = count * 2 * u32::from(channels);
    let mut bytes = Vec::with_capacity(44 + bytes_of_data as usize);
    bytes.extend(b"RIFF");
    bytes.extend((36 + bytes_of_data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend([1, 0, channels, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2 * u32::from(channels)).to_le_bytes());
    bytes.extend([2 * channels, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(bytes_of_data.to_le_bytes());
    for at in 0..count {
        let angle = std::f64::consts::TAU * f64::from(hz) * f64::from(at) / f64::from(rate);
        for _ in 0..channels {
            bytes.extend(((f64::sin(angle) * 10_000.0) as i16).to_le_bytes());
        }
    }
    bytes
}

/// The first channel of a 16 bit recording; a header that was never finished is read as if it were.
fn samples(path: &Path) -> Vec<f64> {
    let bytes = fs::read(path).expect("a recording");
    let field =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).unwrap_or(0);
    let (channels, rate) = ((field(22) & 0xffff).max(1) as usize, field(24));
    if bytes.len() < 64 {
        // Its header is not written yet.
        return Vec::new();
    }
    // Tones lie far below half of the lowest rate, so every sixth sample tells as much.
    let step = (rate / RATE as u32).max(1) as usize;
    assert_eq!(step * RATE as usize, rate as usize, "{}", path.display());
    let data = bytes.windows(4).position(|window| window == b"data").map_or(44, |at| at + 8);
    let frames = bytes.get(data..).unwrap_or_default().chunks_exact(2 * channels);
    frames.step_by(step).map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]]))).collect()
}

/// The tones of a recording in order, each heard for at least 200 ms.
fn tones(samples: &[f64]) -> Vec<u32> {
    let mut found: Vec<(u32, usize)> = Vec::new();
    for hz in samples.chunks(800).filter_map(pitch) {
        match found.last_mut() {
            Some((last, count)) if *last == hz => *count += 1,
            _ => found.push((hz, 1)),
        }
    }
    let mut tones: Vec<u32> = found.into_iter().filter(|(_, count)| *count >= 2).map(|(hz, _)| hz).collect();
    tones.dedup();
    tones
}

/// Alice's desk calls bob, and her mobile pulls the call; whoever has it hears the other side and is heard.
async fn talks_and_moves(bob: &mut Baresip, desk: &mut Baresip, mobile: &mut Baresip) {
    desk.command("dial", &format!("sip:bob@{DOMAIN}")).await;
    desk.event("CALL_ESTABLISHED").await;
    bob.event("CALL_ESTABLISHED").await;
    bob.hears(DESK_HZ).await;
    desk.hears(BOB_HZ).await;
    mobile.command("dial", &format!("sip:*11@{DOMAIN}")).await;
    mobile.event("CALL_ESTABLISHED").await;
    desk.event("CALL_CLOSED").await;
    bob.hears(MOBILE_HZ).await;
    mobile.hears(BOB_HZ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_audio_moves_between_two_baresips() {
    let node = Node::start(&Settings::default()).await;
    let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::start(&node, "alice", "desk", DESK_HZ).await;
    let mut mobile = Baresip::start(&node, "alice", "mobile", MOBILE_HZ).await;
    talks_and_moves(&mut bob, &mut desk, &mut mobile).await;
    mobile.command("hangup", "").await;
    bob.event("CALL_CLOSED").await;
    assert_eq!(tones(&bob.heard().await), [DESK_HZ, MOBILE_HZ], "bob hears the desk, then the mobile");
    assert_eq!(tones(&mobile.heard().await), [BOB_HZ]);
    assert_eq!(tones(&desk.heard().await), [BOB_HZ]);
}

/// The far side has SRTP and goes on with it, from a handset without to one with and back to one without.
#[tokio::test(flavor = "multi_thread")]
async fn real_audio_moves_between_plain_and_secured_baresips() {
    let node = Node::start(&Settings::moving("hold_off_s = 0\n")).await;
    let mut bob = Baresip::speaking(SECURED, &node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::start(&node, "alice", "desk", DESK_HZ).await;
    let mut mobile = Baresip::speaking(SECURED, &node, "alice", "mobile", MOBILE_HZ).await;
    // A device over UDP is offered SRTP once it has spoken it.
    bob.command("dial", &format!("sip:*43@{DOMAIN}")).await;
    bob.event("CALL_ESTABLISHED").await;
    bob.hears(BOB_HZ).await;
    bob.command("hangup", "").await;
    talks_and_moves(&mut bob, &mut desk, &mut mobile).await;
    mobile.talks(12_000).await;
    desk.command("dial", &format!("sip:*11@{DOMAIN}")).await;
    desk.event("CALL_ESTABLISHED").await;
    mobile.event("CALL_CLOSED").await;
    bob.hears(DESK_HZ).await;
    desk.command("hangup", "").await;
    bob.event("CALL_CLOSED").await;
    let heard = tones(&bob.heard().await);
    assert!(heard.ends_with(&[DESK_HZ, MOBILE_HZ, DESK_HZ]), "{heard:?}");
    assert_eq!(tones(&mobile.heard().await), [BOB_HZ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_moves_to_a_phone_over_udp() {
    let papers = Papers::new();
    let node = Node::start(&papers.settings()).await;
    let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::launch_over((PCMU, "tls"), papers.tls, "alice", "desk", DESK_HZ).await;
    let is_known = async {
        while !node.command(&["registrations", "-o", "json"]).contains("\"tls\"") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let known = tokio::time::timeout(PATIENCE, is_known).await;
    assert!(known.is_ok(), "no registration over TLS:\n{}", desk.log());
    let mut mobile = Baresip::start(&node, "alice", "mobile", MOBILE_HZ).await;
    talks_and_moves(&mut bob, &mut desk, &mut mobile).await;
    mobile.command("hangup", "").await;
    bob.event("CALL_CLOSED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_off_baresip_is_refused() {
    let node = Node::start(&Settings::moving("hold_off_s = 30\n")).await;
    let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::start(&node, "alice", "desk", DESK_HZ).await;
    let mut mobile = Baresip::start(&node, "alice", "mobile", MOBILE_HZ).await;
    desk.command("dial", &format!("sip:bob@{DOMAIN}")).await;
    bob.event("CALL_ESTABLISHED").await;
    desk.event("CALL_ESTABLISHED").await;
    mobile.command("dial", &format!("sip:*11@{DOMAIN}")).await;
    mobile.event("CALL_ESTABLISHED").await;
    desk.event("CALL_CLOSED").await;
    desk.command("dial", &format!("sip:*11@{DOMAIN}")).await;
    let closed = desk.event("CALL_CLOSED").await;
    assert!(closed["param"].as_str().unwrap_or_default().contains("403"), "{closed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_at_the_keys_of_a_baresip_and_it_rings_with_the_call() {
    let node = Node::start(&Settings::moving("hold_off_s = 3\nfollow = \"offer\"\n")).await;
    let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
    let mut desk = Baresip::start(&node, "alice", "desk", DESK_HZ).await;
    let mut room = Baresip::start(&node, "lobby", "room", MOBILE_HZ).await;
    desk.command("dial", &format!("sip:bob@{DOMAIN}")).await;
    desk.event("CALL_ESTABLISHED").await;
    bob.event("CALL_ESTABLISHED").await;
    bob.hears(DESK_HZ).await;
    room.command("dial", &format!("sip:*14@{DOMAIN}")).await;
    room.event("CALL_ESTABLISHED").await;
    room.press(&format!("1001#{PIN}#")).await;
    room.event("CALL_CLOSED").await;
    room.event("CALL_INCOMING").await;
    room.command("accept", "").await;
    room.event("CALL_ESTABLISHED").await;
    desk.event("CALL_CLOSED").await;
    bob.hears(MOBILE_HZ).await;
    room.hears(BOB_HZ).await;
    room.command("hangup", "").await;
    bob.event("CALL_CLOSED").await;
    assert!(!node.log().contains(PIN), "no digit is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn speech_is_converted_where_two_phones_share_no_codec() {
    for codec in [G722, OPUS] {
        let node = Node::start(&Settings::default()).await;
        let mut bob = Baresip::speaking(codec, &node, "bob", "desk", BOB_HZ).await;
        let desk = phone(device(&node, "alice", "desk", DESK_HZ)).await;
        let mobile = phone(device(&node, "alice", "mobile", MOBILE_HZ)).await;
        let call =
            desk.call("bob").await.unwrap_or_else(|error| panic!("{}: {error}\n{}", codec.name, bob.log()));
        bob.event("CALL_ESTABLISHED").await;
        call.hears(BOB_HZ, PATIENCE).await.unwrap();
        bob.hears(DESK_HZ).await;
        let report = call.media().report(0);
        assert_eq!((report.lost, report.sequence_breaks, report.ssrc_changes), (0, 0, 0), "{report}");
        // And it moves as any other.
        let taken = mobile.call("*11").await;
        let taken = taken.unwrap_or_else(|error| panic!("{}: {error}\n{}", codec.name, bob.log()));
        taken.hears(BOB_HZ, PATIENCE).await.unwrap();
        bob.hears(MOBILE_HZ).await;
        taken.hang_up().await.unwrap();
        bob.event("CALL_CLOSED").await;
        // It begins another recording with each description that it takes.
        let heard = tones(&bob.heard().await);
        assert!(heard.ends_with(&[MOBILE_HZ]), "{}: {heard:?}", codec.name);
    }
}

/// Bob has PCMU alone, the mobile that the desk sends the call to something else alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_sent_to_a_phone_that_shares_no_codec_with_the_far_side() {
    for codec in [G722, OPUS] {
        let node = Node::start(&Settings::moving("hold_off_s = 0\n")).await;
        let transcoded = || {
            let status = node.command(&["status", "-o", "json"]);
            serde_json::from_str::<Value>(&status).expect("JSON")["calls_transcoded"].as_u64()
        };
        let mut bob = Baresip::start(&node, "bob", "desk", BOB_HZ).await;
        let mut mobile = Baresip::speaking(codec, &node, "alice", "mobile", MOBILE_HZ).await;
        let desk = phone(device(&node, "alice", "desk", DESK_HZ)).await;
        let call = desk.call("bob").await.unwrap();
        bob.event("CALL_ESTABLISHED").await;
        call.hears(BOB_HZ, PATIENCE).await.unwrap();
        bob.hears(DESK_HZ).await;
        let mark = desk.log().mark();
        let taken = call.refer(&format!("<sip:alice*mobile@{DOMAIN}>")).await.unwrap();
        assert_eq!((taken.status(), transcoded()), (Some(202), Some(0)));
        mobile.event("CALL_INCOMING").await;
        mobile.command("accept", "").await;
        mobile.event("CALL_ESTABLISHED").await;
        assert_eq!(call.referral(mark, PATIENCE).await.unwrap(), 200, "{}: {}", codec.name, mobile.log());
        call.ended(PATIENCE).await.unwrap();
        bob.hears(MOBILE_HZ).await;
        mobile.hears(BOB_HZ).await;
        assert_eq!(transcoded(), Some(1));
        // And back, to a phone that speaks as Bob does.
        mobile.talks(12_000).await;
        let back = desk.call("*11").await.unwrap();
        back.hears(BOB_HZ, PATIENCE).await.unwrap();
        bob.hears(DESK_HZ).await;
        mobile.event("CALL_CLOSED").await;
        assert_eq!(transcoded(), Some(0));
        back.hang_up().await.unwrap();
        bob.event("CALL_CLOSED").await;
    }
}

/// No server: the software phone that all other tests believe, beside one that others wrote.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_phone_talks_to_a_foreign_one() {
    let mut bob = Baresip::launch(PCMU, free_port(), "bob", "desk", BOB_HZ).await;
    let phone = Phone::start(Options::new("bob", "127.0.0.1", bob.sip).tone(DESK_HZ)).await.unwrap();
    let call = phone.call("bob").await.unwrap();
    bob.event("CALL_ESTABLISHED").await;
    call.hears(BOB_HZ, PATIENCE).await.unwrap();
    let report = call.media().report(0);
    assert_eq!((report.lost, report.sequence_breaks, report.ssrc_changes), (0, 0, 0), "{report}");
    bob.hears(DESK_HZ).await;
    // Its recorder stops at the first re-INVITE; its ears do not.
    call.hold().await.unwrap();
    call.resume().await.unwrap();
    call.hears(BOB_HZ, PATIENCE).await.unwrap();
    call.hang_up().await.unwrap();
    bob.event("CALL_CLOSED").await;
    assert_eq!(phone.log().faults(), Vec::<String>::new());
    assert_eq!(tones(&bob.heard().await), [DESK_HZ]);
}

#[test]
fn recordings_are_read_as_they_are_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.wav");
    for codec in [PCMU, G722, OPUS] {
        fs::write(&path, wav(codec, 600, 1)).unwrap();
        let samples = samples(&path);
        assert_eq!(samples.len(), 8000);
        assert_eq!(tones(&samples), [600]);
    }
}
