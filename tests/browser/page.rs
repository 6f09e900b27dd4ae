//! Signing in, seeing calls, moving them, and what the page must not do.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use segue::moving::grant::MOVE_INTERVAL;
use segue::shell::phone::{Answering, Dial, Entry, Event};

use crate::house::{self, BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, Talk};
use crate::node::{Node, PASSWORD, PIN, Settings, free_port, login_hash};

/// A step that takes longer has hung; Chromium starts within it.
const STEP: Duration = Duration::from_secs(40);

/// What the browser says.
const BROWSER_HZ: u32 = 1400;
/// Of two packet times, and what a machine that builds and tests at the same time may add.
const MOST_GAP_MS: f64 = 60.0;

/// The tone that says that the line stands.
const WAITING_HZ: u32 = 450;

/// A browser with our page.
struct Page {
    child: Child,
    hands: ChildStdin,
    eyes: Lines<BufReader<ChildStdout>>,
}

impl Page {
    /// The browser plays bob's tone.
    async fn hears_bob(&mut self) {
        self.hears(BOB_HZ).await;
    }

    async fn hears(&mut self, wanted: u32) {
        let hz = self.does("hears", json!({})).await["hz"].as_f64().unwrap();
        assert!((hz - f64::from(wanted)).abs() < 40.0, "the browser hears {hz} Hz");
    }

    async fn open(node: &Node) -> Self {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");
        let mut child = Command::new("node")
            .arg("page.mjs")
            .current_dir(dir)
            .env("SEGUE_URL", format!("http://{}/", node.http))
            .env("SEGUE_HZ", BROWSER_HZ.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let (hands, eyes) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut page = Self { child, hands, eyes: BufReader::new(eyes).lines() };
        page.does("open", json!({})).await;
        page
    }

    async fn does(&mut self, step: &str, mut wanted: Value) -> Value {
        wanted["step"] = step.into();
        self.hands.write_all(format!("{wanted}\n").as_bytes()).await.expect("the browser runs");
        let line = tokio::time::timeout(STEP, self.eyes.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{step} hangs")).expect("text");
        let line = line.unwrap_or_else(|| panic!("{step}: no browser; is `npm ci` done in tests/browser?"));
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(why) = answer["failed"].as_str() {
            panic!("{wanted}: {why}");
        }
        answer["ok"].clone()
    }

    async fn sign_in(&mut self, user: &str) -> Value {
        self.does("sign_in", json!({ "user": user, "password": PASSWORD })).await
    }

    async fn shot(&mut self, name: &str) {
        self.does("shot", json!({ "name": name })).await;
    }

    /// No script, request or policy went wrong.
    async fn ends_clean(mut self) {
        let faults = self.does("faults", json!({})).await["faults"].clone();
        assert_eq!(faults, json!([]), "the page's own faults");
        drop(self.hands);
        let _ = tokio::time::timeout(SOON, self.child.wait()).await;
    }
}

/// The house, an administrator, and a listener for browsers.
async fn house() -> House {
    house_that(HOLD_OFF, THREADS).await
}

/// As most of these tests have it.
const HOLD_OFF: &str = "hold_off_s = 30\n";
/// Calls on different media threads have nothing in common; a machine of few cores would have one thread.
const THREADS: &str = "threads = 2\n";

/// The same, with these sections `move` and `media`.
async fn house_that(moving: &str, media: &str) -> House {
    let more = format!(
        "[[user]]\nname = \"root\"\ndisplay = \"Root\"\nadmin = true\nlogin = \"{}\"\n\
         [[listen]]\nuri = \"ws://{}\"\n",
        login_hash(),
        free_port()
    );
    let (moving, media) = (moving.into(), media.into());
    House::with(&Settings { more, moving, media, ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_a_sip_key_sees_a_call_sends_it_and_takes_it_back() {
    let house = house().await;
    let mut page = Page::open(&house.node).await;
    page.shot("sign-in").await;
    let said = page.does("sign_in", json!({ "user": "alice", "password": "wrong", "fails": true })).await;
    assert_eq!(said["said"], "User or password is wrong.");
    page.shot("sign-in-wrong").await;
    let cookies = page.sign_in("alice").await["cookies"].clone();
    assert_eq!(cookies, json!([{ "name": "segue", "httpOnly": true, "sameSite": "Strict" }]));
    page.does("no_calls", json!({})).await;
    page.shot("no-calls").await;

    // A call begins: the page shows it without being asked.
    let talk = house.talk().await;
    let card = page.does("sees", json!({ "who": "bob", "text": "talking" })).await["card"].clone();
    let card = card.as_str().unwrap();
    assert!(card.contains("on desk") && card.contains("PCM") && card.contains("Send to mobile"), "{card}");
    page.shot("call").await;

    // Sent to the mobile, which answers by hand.
    page.does("press", json!({ "who": "bob", "name": "Send to mobile" })).await;
    page.does("sees", json!({ "who": "bob", "text": "Ringing mobile" })).await;
    page.shot("ringing").await;
    let ringing = house.mobile.ringing(SOON).await.expect("mobile rings");
    let mobile = ringing.answer().await.expect("answered");
    house.settled(&talk, &mobile).await;
    page.does("sees", json!({ "who": "bob", "text": "Moved from" })).await;
    page.shot("moved").await;

    // Taken back.
    page.does("press", json!({ "who": "bob", "name": "Undo" })).await;
    let ringing = house.desk.ringing(SOON).await.expect("desk rings");
    let desk = ringing.answer().await.expect("answered");
    talk.bob.hears(DESK_HZ, SOON).await.expect("bob hears the desk again");
    mobile.ended(SOON).await.expect("mobile is released");
    page.does("sees", json!({ "who": "bob", "text": "moved 2 times" })).await;

    let text = page.does("view", json!({ "name": "History" })).await["text"].clone();
    assert!(text.as_str().unwrap().contains("desk → mobile"), "{text}");
    let lines = page.does("timeline", json!({})).await["lines"].clone();
    assert!(
        lines.as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("sound switched")),
        "{lines}"
    );
    page.shot("history").await;
    page.does("view", json!({ "name": "Calls" })).await;
    // A tab that nobody looks at needs no stream of events; one that is looked at again has them all.
    page.does("look", json!({ "away": true })).await;
    page.does("look", json!({ "away": false })).await;
    page.does("press", json!({ "who": "bob", "name": "Hang up the call with bob" })).await;
    page.does("no_calls", json!({})).await;
    desk.ended(SOON).await.expect("hung up");

    assert_eq!(page.does("sign_out", json!({})).await["cookies"], 0);
    page.shot("signed-out").await;
    page.ends_clean().await;
}

/// The browser's device, as the API shows it.
fn browser_in(registrations: &Value) -> Option<String> {
    let mut devices =
        registrations["items"].as_array().unwrap().iter().map(|item| item["device"].as_str().unwrap());
    devices.find(|device| device.starts_with("web-")).map(str::to_owned)
}

/// That there is none.
fn no_browser_in(registrations: &Value) -> Option<()> {
    browser_in(registrations).is_none().then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_rings_keeps_its_device_over_a_reload_and_loses_it_with_its_session() {
    let house = house().await;
    let api = house.node.api().login("alice").await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("press", json!({ "name": "Let this browser ring" })).await;
    let device = api.until("/v1/registrations", SOON, browser_in).await;
    page.does("sees_text", json!({ "text": device })).await;
    page.shot("ready").await;
    page.does("reload", json!({})).await;
    page.does("sees_text", json!({ "text": device })).await;
    assert_eq!(api.until("/v1/registrations", SOON, browser_in).await, device);
    // A copy of the tab is another tab, whatever it remembers.
    page.does("duplicate_tab", json!({})).await;
    assert_eq!(api.until("/v1/registrations", SOON, browser_in).await, device);

    // All of alice's devices ring, the browser among them. Whoever types at that moment types on.
    page.does("focus_link", json!({ "name": "History" })).await;
    let dialing = house.bob.dial(Dial::new("alice")).await.expect("sent");
    house.desk.ringing(SOON).await.expect("desk rings");
    page.does("in_bar", json!({ "name": "Answer", "wait": true })).await;
    assert_eq!(page.does("focused", json!({})).await["text"], "History");
    page.shot("incoming").await;
    page.does("in_bar", json!({ "name": "Decline" })).await;
    page.does("bar_gone", json!({})).await;
    dialing.cancel(SOON).await.expect("cancelled");

    // Who cannot be signed out is told so, and stays.
    page.does("hold_back", json!({ "method": "DELETE", "path": "/v1/session", "status": 503 })).await;
    page.does("press", json!({ "name": "Sign out" })).await;
    page.does("sees_text", json!({ "text": "You are still signed in." })).await;
    page.does("let_go", json!({ "path": "/v1/session" })).await;
    page.does("sign_out", json!({})).await;
    api.until("/v1/registrations", SOON, no_browser_in).await;
    let devices = api.read("/v1/devices").await;
    assert!(!devices.to_string().contains("web-"), "{devices}");
    page.ends_clean().await;
    // The browser is gone, and with its last words no password was wrong: that would ban the address in the end.
    let metrics = house.node.api().get("/metrics").await.unwrap().body;
    let wrong = metrics.lines().filter(|line| line.starts_with("segue_auth_failures_total"));
    let wrong: Vec<&str> = wrong.filter(|line| !line.ends_with(" 0")).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_along_when_its_user_signs_in_where_that_was_wished_for() {
    for (follow, wish) in [
        ("move", "At sign-in, bring my live call here"),
        ("offer", "At sign-in, ring here with my live call"),
    ] {
        let house = house_that(&format!("{HOLD_OFF}follow = \"{follow}\"\n"), "").await;
        let mut page = Page::open(&house.node).await;
        page.sign_in("alice").await;
        page.does("tick", json!({ "name": wish })).await;
        page.shot(&format!("follow-{follow}")).await;
        page.does("sign_out", json!({})).await;
        let talk = house.talk().await;
        page.sign_in("alice").await;
        if follow == "offer" {
            page.does("in_bar", json!({ "name": "Answer", "wait": true })).await;
            house.untouched(&talk).await;
            page.does("in_bar", json!({ "name": "Answer" })).await;
        }
        page.does("is_in_call", json!({})).await;
        page.hears_bob().await;
        talk.desk.ended(SOON).await.expect("the desk is released");
        // Who did not wish for it has the call stay, on the same machine too.
        page.does("press", json!({ "who": "bob", "name": "Hang up the call with bob" })).await;
        page.does("sign_out", json!({})).await;
        page.sign_in("bob").await;
        page.does("sees_text", json!({ "text": "becomes a phone when you take a call" })).await;
        page.ends_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_browsers_can_have_no_calls_the_page_says_so_and_offers_none() {
    let house = house_that(HOLD_OFF, "web_port = 0\n").await;
    let talk = house.talk().await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("sees", json!({ "who": "bob", "text": "Send to mobile" })).await;
    page.does("sees_text", json!({ "text": "Browsers cannot have calls at this node." })).await;
    let buttons = page.does("buttons", json!({})).await["names"].to_string();
    assert!(!buttons.contains("here") && !buttons.contains("ring"), "{buttons}");
    page.shot("no-browsers").await;
    house.untouched(&talk).await;
    page.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signed_in_at_a_shared_phone_sees_that_and_its_calls_and_signs_out_there() {
    let house = house().await;
    let options = house::device(&house.node, "lobby", "room", 800);
    let room = house::phone(options.answering(Answering::ByHand)).await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("no_calls", json!({})).await;
    let call = room.call("*14").await.expect("the prompt answers");
    call.press(&format!("1001#{PIN}#")).unwrap();
    call.ended(SOON).await.expect("and hangs up");
    page.does("sees_text", json!({ "text": "lobby*room, signed in until" })).await;
    // A call from there is hers, and goes to another phone of hers by the page.
    let call = room.call("bob").await.expect("answered");
    let card = page.does("sees", json!({ "who": "bob", "text": "on room" })).await["card"].clone();
    assert!(card.as_str().unwrap().contains("Send to mobile"), "{card}");
    page.shot("hot-desk").await;
    page.does("press", json!({ "who": "bob", "name": "Send to mobile" })).await;
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    call.ended(SOON).await.expect("the room has it no more");
    page.does("sees", json!({ "who": "bob", "text": "Moved from room" })).await;
    page.does("press", json!({ "name": "Sign out at lobby*room" })).await;
    page.does("gone", json!({ "text": "lobby*room, signed in until" })).await;
    assert!(!house.node.command(&["registrations", "-o", "json"]).contains("\"signed_in\": \"alice\""));
    mobile.hang_up().await.unwrap();
    page.does("no_calls", json!({})).await;
    page.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_the_node() {
    let house = house().await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("root").await;
    page.does("no_calls", json!({})).await;
    // Whoever may see everything has own lists all the same, which no list of everybody's cuts short.
    let asked = page.does("asked", json!({})).await["asked"].clone();
    let lists = asked.as_array().unwrap().iter().filter(|path| path.as_str().unwrap().contains("limit="));
    let (own, others): (Vec<_>, Vec<_>) =
        lists.partition(|path| path.as_str().unwrap().contains("user=root&"));
    assert!(own.len() >= 4 && others.is_empty(), "{asked}");
    let text = page.does("view", json!({ "name": "Node" })).await["text"].clone();
    let text = text.as_str().unwrap();
    for part in ["alice*desk", "s left", "registrations", "alice: mobile", "star code", "segue-phone"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    page.shot("node").await;
    page.does("press", json!({ "name": "Hang up alice and bob" })).await;
    mobile.ended(SOON).await.expect("hung up");
    page.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_into_the_browser_at_a_click_and_goes_back_at_another() {
    let house = house().await;
    let talk = house.talk().await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("sees", json!({ "who": "bob", "text": "talking" })).await;
    let taken = page.does("take_here", json!({ "who": "bob" })).await;
    // The first time Chromium finds its microphone and makes its certificate.
    let took = taken["took"].as_u64().unwrap();
    assert!(took < 4000, "{took} ms");
    talk.desk.ended(SOON).await.expect("the desk is released");
    page.hears_bob().await;
    talk.bob.hears(BROWSER_HZ, SOON).await.expect("bob hears the browser");
    page.shot("in-call").await;

    // Muted and held as on any phone; digits arrive.
    let mark = house.bob.log().mark();
    for name in ["Mute", "Unmute", "Keypad", "5", "Hold", "Resume"] {
        page.does("in_bar", json!({ "name": name })).await;
        page.does("in_bar", json!({ "name": after(name), "wait": true })).await;
    }
    page.shot("keypad").await;
    let digit = |entry: &Entry| matches!(entry.event, Event::Digit('5')).then_some(());
    house.bob.log().wait(mark, "the digit that was pressed in the browser", SOON, digit).await.unwrap();
    talk.bob.hears(BROWSER_HZ, SOON).await.expect("bob hears the browser after the hold");

    page.does("press", json!({ "who": "bob", "name": "Undo" })).await;
    let desk = house.desk.ringing(SOON).await.expect("desk rings").answer().await.expect("answered");
    talk.bob.hears(DESK_HZ, SOON).await.expect("bob hears the desk again");
    page.does("bar_gone", json!({})).await;
    desk.hears(BOB_HZ, SOON).await.expect("and the desk bob");
    page.does("sign_out", json!({})).await;
    page.ends_clean().await;
}

/// From the click, or the key, until there are keys: WebSocket, registration, move, ICE, DTLS. A second is promised of a
/// machine that has nothing else to do; one of some rounds is as good as that on a machine which builds and tests, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_in_the_browser_within_a_second_of_the_click() {
    const ROUNDS: usize = 6;
    let house = house_that("hold_off_s = 0\n", THREADS).await;
    let talk = house.talk().await;
    let api = house.node.api().login("alice").await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    let (mut took, mut desk) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        page.does("sees", json!({ "who": "bob", "text": "talking" })).await;
        let taken = page.does("take_here", json!({ "who": "bob" })).await;
        took.push(taken["took"].as_u64().unwrap());
        desk.as_ref().unwrap_or(&talk.desk).ended(SOON).await.expect("the desk is released");
        if took.last().is_some_and(|took| *took < 1000) {
            break;
        }
        page.does("press", json!({ "who": "bob", "name": "Undo" })).await;
        let ringing = house.desk.ringing(SOON).await.expect("desk rings");
        desk = Some(ringing.answer().await.expect("answered"));
        page.does("bar_gone", json!({})).await;
        let back = tokio::time::Instant::now();
        // It has to register anew.
        page.does("press", json!({ "name": "Disconnect this browser" })).await;
        api.until("/v1/registrations", SOON, no_browser_in).await;
        // A call that was moved within the last second is not moved again.
        tokio::time::sleep_until(back + MOVE_INTERVAL).await;
    }
    eprintln!("taken into the browser {took:?} ms after the click");
    assert!(took.iter().any(|took| *took < 1000), "{took:?} ms");
    page.hears_bob().await;
    page.ends_clean().await;
}

/// The old device is heard until the browser has found its way and agreed on keys, so nothing of that is a gap.
#[tokio::test(flavor = "multi_thread")]
async fn bob_hears_one_stream_while_the_call_comes_into_the_browser_and_is_sent_to_the_desk() {
    let house = house_that("hold_off_s = 2\n", THREADS).await;
    let talk = house.talk().await;
    let api = house.node.api().login("alice").await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    let mark = talk.bob.media().mark();
    page.does("take_here", json!({ "who": "bob" })).await;
    talk.desk.ended(SOON).await.expect("the desk is released");
    talk.bob.hears(BROWSER_HZ, SOON).await.expect("bob hears the browser");
    page.hears_bob().await;
    let is_done = |list: &Value| {
        let done = list["items"].as_array()?.first().filter(|one| one["state"] == "done")?;
        done["gap_ms"].is_number().then(|| done.clone())
    };
    let done = api.until("/v1/moves", SOON, is_done).await;
    let report = talk.bob.media().report(mark);
    eprintln!("into the browser: gap {} ms, {} lost; at bob {report}", done["gap_ms"], done["lost"]);
    assert!(done["gap_ms"].as_f64().unwrap() <= MOST_GAP_MS, "{done:#}");
    let steps = (report.lost, report.sequence_breaks, report.ssrc_changes, report.source_changes);
    assert_eq!(steps, (0, 0, 0, 0), "one stream: {report}");
    let tones = report.tones();
    let of = |hz| tones.iter().filter(|tone| **tone == hz).count();
    assert_eq!((of(DESK_HZ), of(BROWSER_HZ)), (1, 1), "each once, one after the other: {tones:?}");

    // When the desk may have it again it is offered, and takes it.
    page.does("send_to", json!({ "who": "bob", "name": "Send to desk" })).await;
    let desk = house.desk.ringing(SOON).await.expect("desk rings").answer().await.expect("answered");
    talk.bob.hears(DESK_HZ, SOON).await.expect("bob hears the desk again");
    desk.hears(BOB_HZ, SOON).await.expect("and the desk bob");
    page.does("bar_gone", json!({})).await;
    page.does("sees", json!({ "who": "bob", "text": "on desk" })).await;
    page.ends_clean().await;
}

/// What stands in the bar when a button was pressed.
fn after(name: &str) -> &str {
    match name {
        "Mute" => "Unmute",
        "Unmute" => "Mute",
        "Hold" => "Resume",
        "Resume" => "Hold",
        other => other,
    }
}

/// A call of alice's that the page has taken into the browser.
async fn taken(house: &House) -> (Talk, Page) {
    let talk = house.talk().await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("take_here", json!({ "who": "bob" })).await;
    talk.desk.ended(SOON).await.expect("the desk is released");
    (talk, page)
}

/// A house whose browsers come by TLS, with a certificate that nobody signed.
async fn house_under_tls() -> (House, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let more = format!("[[listen]]\nuri = \"wss://{}\"\ncert = {cert:?}\nkey = {key:?}\n", free_port());
    (House::with(&Settings { more, ..Settings::default() }).await, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_of_the_page_works_over_tls() {
    let (house, _papers) = house_under_tls().await;
    let (_talk, mut page) = taken(&house).await;
    page.hears_bob().await;
    let registrations = house.node.api().login("alice").await.read("/v1/registrations").await;
    let browser = registrations["items"].as_array().unwrap().iter().find(|item| item["transport"] == "wss");
    assert!(browser.is_some(), "{registrations}");
    page.ends_clean().await;
}

/// The one in the browser is transferred to a call that lives on the other media thread, where nobody has its keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_the_browser_is_transferred_to_another_media_thread() {
    let house = house().await;
    let (talk, mut page) = taken(&house).await;
    page.hears_bob().await;
    let before = page.does("transport", json!({})).await;
    let dialing = house.bob.dial(Dial::new("alice*mobile")).await.unwrap();
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    let consulted = dialing.answered(SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    let value = consulted.replaces().to_string().replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
    let begun = Instant::now();
    let refer_to = format!("<sip:alice*mobile@pbx.test?Replaces={value}>");
    assert_eq!(talk.bob.refer(&refer_to).await.unwrap().status(), Some(202));
    talk.bob.ended(SOON).await.expect("bob is out of it");
    let mark = mobile.media().mark();
    let sound = async {
        while mobile.media().report(mark).packets < 25 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, sound).await.expect("mobile hears the browser");
    eprintln!("transferred to another media thread in {} ms", begun.elapsed().as_millis());
    page.hears(MOBILE_HZ).await;
    let after = page.does("transport", json!({})).await;
    for part in ["port", "fingerprint", "ufrag"] {
        assert_ne!(before[part], after[part], "{before} {after}");
    }
    assert_eq!(after["state"], "connected");
    assert!(!mobile.has_ended());
    page.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_a_tab_that_was_closed_is_taken_up_by_another() {
    let house = house().await;
    let (talk, mut page) = taken(&house).await;
    let mark = talk.bob.media().mark();
    page.does("close_tab", json!({})).await;
    talk.bob.heard(mark, WAITING_HZ, 5, 2 * SOON).await.expect("bob hears that the line stands");
    page.does("new_tab", json!({})).await;
    page.does("take_here", json!({ "who": "bob" })).await;
    page.hears_bob().await;
    // And by a handset, where nobody opens the page again.
    page.does("close_tab", json!({})).await;
    let mark = talk.bob.media().mark();
    talk.bob.heard(mark, WAITING_HZ, 5, 2 * SOON).await.expect("bob waits again");
    let mobile = house.mobile.call("*11").await.expect("the call can be taken up");
    talk.bob.hears(MOBILE_HZ, SOON).await.expect("bob hears the mobile");
    mobile.hears(BOB_HZ, SOON).await.expect("and the mobile bob");
    assert!(!talk.bob.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_answers_the_call_that_it_asked_for_and_no_other() {
    let house = house().await;
    let _talk = house.talk().await;
    let eve = house::phone(house::device(&house.node, "eve", "desk", 800)).await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("sees", json!({ "who": "bob", "text": "talking" })).await;
    page.does("press", json!({ "name": "Let this browser ring" })).await;
    page.does("in_bar", json!({ "name": "Call", "wait": true })).await;
    // While the move is asked for, somebody calls who knows what makes phones answer.
    page.does("hold_back", json!({ "method": "POST", "path": "/v1/moves" })).await;
    page.does("begin_taking", json!({})).await;
    page.does("sees", json!({ "who": "bob", "text": "Taking it…" })).await;
    let dial = Dial::new("alice")
        .header("Call-Info", "<sip:pbx.test>;answer-after=0")
        .header("Segue-Move", "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let dialing = eve.dial(dial).await.expect("sent");
    house.mobile.ringing(SOON).await.expect("alice's devices ring");
    page.does("in_bar", json!({ "name": "Answer", "wait": true })).await;
    // The call that was asked for goes before the one that rings, which rings on elsewhere.
    page.does("let_go", json!({})).await;
    page.does("is_in_call", json!({})).await;
    page.hears_bob().await;
    dialing.cancel(SOON).await.expect("nobody answered");
    page.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pressed_at_the_same_time_makes_one_phone_and_a_blocked_microphone_none() {
    let house = house().await;
    let _talk = house.talk().await;
    let api = house.node.api().login("alice").await;
    let mut page = Page::open(&house.node).await;
    page.sign_in("alice").await;
    page.does("sees", json!({ "who": "bob", "text": "talking" })).await;
    let both = json!({ "also": "Let this browser ring" });
    page.does("begin_taking", both).await;
    page.does("is_in_call", json!({})).await;
    let asked = page.does("asked", json!({})).await["asked"].clone();
    let lent = asked.as_array().unwrap().iter().filter(|path| *path == "POST /v1/session/phone").count();
    assert_eq!(lent, 1, "{asked}");
    page.does("press", json!({ "who": "bob", "name": "Undo" })).await;
    let desk = house.desk.ringing(SOON).await.expect("desk rings").answer().await.expect("answered");
    desk.hears(BOB_HZ, SOON).await.expect("desk hears bob");
    page.does("bar_gone", json!({})).await;
    page.does("press", json!({ "name": "Disconnect this browser" })).await;

    page.does("microphone_is_blocked", json!({})).await;
    let said = page.does("take_here_fails", json!({ "who": "bob" })).await;
    assert!(said["said"].as_str().unwrap().contains("microphone is blocked"), "{said}");
    page.does("sees_text", json!({ "text": "becomes a phone when you take a call" })).await;
    let is_gone = |found: &Value| browser_in(found).is_none().then_some(());
    api.until("/v1/registrations", SOON, is_gone).await;
    desk.hears(BOB_HZ, SOON).await.expect("the call is where it was");
    page.ends_clean().await;
}
