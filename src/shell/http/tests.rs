//! The API over real sockets, against the little world of `control::testing`.

mod document;
mod phone;
mod session;
mod trace;

use document::check;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::openapi;
use super::routes::{Access, Answer, ROUTES, Route};
use super::*;
use crate::engine::command::{AccountChange, Asked, Command, Reply, Secret, Subject};
use crate::engine::event::{CallEvent, Event, RegistrationEvent, Users};
use crate::shell::control::testing::{Node, answer};
use crate::shell::password::{self, Cost};

const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, lanes: 1 };
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    address: SocketAddr,
    node: Node,
    passwords: Passwords,
    admin: String,
    remembered: Arc<std::sync::Mutex<Vec<FailureCounter>>>,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let alice = password::hash("correct horse", CHEAP).unwrap();
        Self::with_node(Node::with_workers(1, move |_, asked| match &asked.command {
            Command::Login { user } if **user == *"alice" || **user == *"root" => {
                Reply::Login { hash: Some(Secret::from(alice.clone())), admin: **user == *"root" }
            }
            Command::Login { .. } => Reply::Login { hash: None, admin: false },
            _ => answer(asked),
        }))
        .await
    }

    async fn with_node(node: Node) -> Self {
        Self::with(node, None, None).await
    }

    async fn with(node: Node, tls: Option<Acceptors>, origin: Option<Box<str>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = password::Settings { threads: 1, cost: CHEAP, ..password::Settings::default() };
        let passwords = Passwords::start(settings).unwrap();
        let remembered: Arc<std::sync::Mutex<Vec<FailureCounter>>> = Arc::default();
        let server = HttpServer::bind(Settings {
            bind: "127.0.0.1:0".parse().unwrap(),
            connections: 1024,
            tls,
            origin,
            names: vec!["pbx.test".into()],
            phone: None,
            listeners: vec![(Transport::Ws, "127.0.0.1:5066".parse().unwrap())],
            data_dir: dir.path().into(),
            node: node.handle.clone(),
            passwords: passwords.clone(),
            metrics: Metrics::new("1.2.3"),
            failures: Vec::new(),
            remember: Box::new({
                let remembered = Arc::clone(&remembered);
                move |counters| *remembered.lock().unwrap() = counters
            }),
        })
        .await
        .unwrap()
        .with_head_timeout(Duration::from_millis(500));
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        let admin = std::fs::read_to_string(dir.path().join("admin.token")).unwrap().trim().to_owned();
        Self { address, node, passwords, admin, remembered, stop: Some(stop), serving, _dir: dir }
    }

    async fn login(&self) -> String {
        let body = json!({ "user": "alice", "password": "correct horse" });
        let answer = self.post("/v1/login", None, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Response {
        self.request("GET", path, token, &[], "").await
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Response {
        self.request("POST", path, token, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        if let Some(token) = token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        Response::parse(&String::from_utf8_lossy(&bytes))
    }

    async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }
}

/// A response, whole.
#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Response {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned())).unwrap())
            .collect();
        Self { status, headers, body: body.into() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A request to the route that succeeds in the little world.
fn example(route: &Route) -> (String, Value) {
    let path = route
        .path
        .replace("/moves/{id}", "/moves/02")
        .replace("/cdrs/{id}", "/cdrs/0A")
        .replace("{id}", "01");
    let path =
        path.replace("{name}", "alice").replace("{user}", "alice").replace("{address}", "198.51.100.7");
    let path = path.replace("{run}", "night-1");
    let path = path.replace("/routes/test", "/routes/test?from=alice&to=0049&at=2026-12-24T18:00");
    let device = if path.starts_with("/v1/session/phone") { "web-1" } else { "desk" };
    let path = path.replace("{device}", device);
    let body = match route.body {
        Some("Credentials") => json!({ "user": "alice", "password": "correct horse" }),
        Some("NewMove") => json!({ "to_device": "mobile", "mode": "auto-answer", "user": "alice" }),
        Some("NewPhone") => json!({ "device": null }),
        Some(other) => panic!("no example of {other}"),
        None => Value::Null,
    };
    (path, body)
}

#[tokio::test]
async fn every_route_answers_as_its_document_says() {
    let world = World::start().await;
    let document = world.get("/v1/openapi.json", None).await.json();
    assert_eq!(document, openapi::build(env!("CARGO_PKG_VERSION")));
    // Those of sessions have tests of their own.
    let is_plain = |route: &&Route| route.path != "/v1/events" && !route.path.starts_with("/v1/session");
    for route in ROUTES.iter().filter(is_plain) {
        let (path, body) = example(route);
        let method = route.method.to_uppercase();
        let headers: &[_] = if body.is_null() { &[] } else { &[("content-type", "application/json")] };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let token = (route.access != Access::Open).then_some(world.admin.as_str());
        let answer = world.request(&method, &path, token, headers, &text).await;
        let (status, kind) = route.answer;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        match kind {
            Answer::Empty => assert_eq!(answer.body, "", "{path}"),
            Answer::Media(media) => {
                let found = answer.header("content-type").unwrap();
                assert!(found.starts_with(media), "{path}: {found}");
            }
            Answer::Json(schema) | Answer::JsonOr(schema, _) => {
                let schema = &document["components"]["schemas"][schema];
                check(&answer.json(), schema, &document, &path);
            }
        }
        let operation = &document["paths"][route.path][route.method];
        assert!(operation["responses"].get(status.to_string()).is_some(), "{path}");
        if let Some(body_schema) = route.body {
            check(&body, &document["components"]["schemas"][body_schema], &document, &path);
        }
    }
}

#[tokio::test]
async fn a_report_comes_as_json_csv_or_a_picture_and_to_the_administrator_alone() {
    let world = World::start().await;
    let path = "/v1/reports/night-1";
    for (accept, kind, begins) in [
        ("text/csv", "text/csv", "measure,count,"),
        ("image/svg+xml, */*", "image/svg+xml", "<svg "),
        ("text/html, application/json;q=0.9, text/csv", "application/json", "{"),
        ("*/*", "application/json", "{"),
    ] {
        let answer = world.request("GET", path, Some(&world.admin), &[("accept", accept)], "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{accept}");
        assert!(answer.body.starts_with(begins), "{accept}: {}", answer.body);
    }
    assert_eq!(world.get("/v1/reports/none", Some(&world.admin)).await.status, 404);
    assert_eq!(world.get("/v1/reports/broken", Some(&world.admin)).await.status, 503);
    let alice = world.login().await;
    assert_eq!(world.get(path, Some(&alice)).await.status, 403);
}

#[tokio::test]
async fn a_reload_is_for_the_administrator_and_tells_of_faults() {
    let world = World::start().await;
    let alice = world.login().await;
    assert_eq!(world.request("POST", "/v1/reload", Some(&alice), &[], "").await.status, 403);
    let dry = "/v1/reload?dry_run=true";
    let answer = world.request("POST", dry, Some(&world.admin), &[], "").await;
    assert_eq!((answer.status, &answer.json()["code"]), (422, &Value::from("configuration")));
    assert!(answer.body.contains("segue.toml:7"), "{}", answer.body);
    let bad = world.request("POST", "/v1/reload?dry=1", Some(&world.admin), &[], "").await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn every_route_but_the_open_ones_wants_a_token() {
    let world = World::start().await;
    let problem = &openapi::build("1")["components"]["schemas"]["Problem"];
    for route in ROUTES.iter().filter(|route| route.access != Access::Open) {
        let (path, _) = example(route);
        for token in [None, Some("wrong")] {
            let answer = world.request(&route.method.to_uppercase(), &path, token, &[], "").await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            check(&answer.json(), problem, &Value::Null, &path);
        }
    }
    let asked = world.node.asked.lock().unwrap();
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn a_user_sees_own_things_and_cannot_tell_others_from_none() {
    let world = World::start().await;
    let token = world.login().await;
    let get = |path: &'static str| world.get(path, Some(&token));
    assert_eq!(get("/v1/calls").await.json()["items"][0]["legs"][1]["device"], Value::Null);
    assert_eq!(get("/v1/users").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(get("/v1/registrations").await.json()["items"][0]["user"], "alice");
    assert_eq!(get("/v1/status").await.status, 403);
    for (others, nobodys) in [
        ("/v1/users/bob", "/v1/users/nobody"),
        ("/v1/calls?user=bob", "/v1/calls?user=nobody"),
        ("/v1/registrations?user=bob", "/v1/registrations?user=nobody"),
    ] {
        let (one, other) = (world.get(others, Some(&token)).await, world.get(nobodys, Some(&token)).await);
        assert_eq!((one.status, &one.body), (404, &other.body), "{others}");
        assert_eq!(other.status, 404);
    }
    for body in [
        json!({ "to_device": "bob*desk" }),
        json!({ "to_device": "desk", "user": "bob" }),
        json!({ "to_device": "nobody*desk" }),
    ] {
        let answer = world.post("/v1/moves", Some(&token), &body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("not_found")), "{body}");
    }
}

#[tokio::test]
async fn a_move_is_accepted_refused_and_shown() {
    let world = World::start().await;
    let token = world.login().await;
    let answer = world.post("/v1/moves", Some(&token), &json!({ "to_device": "alice*mobile" })).await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/v1/moves/02")));
    let asked = world.node.asked.lock().unwrap().last().unwrap().clone();
    let (_, Asked { by: Subject::User(by), command: Command::StartMove(start) }) = asked else { panic!() };
    assert_eq!((&*by, &*start.user, start.to_device.as_deref()), ("alice", "alice", Some("mobile")));

    let refused = world.post("/v1/moves", Some(&token), &json!({ "to_device": "held" })).await;
    assert_eq!((refused.status, refused.header("retry-after")), (403, Some("17")));
    assert_eq!(refused.json()["code"], "hold_off");

    let shown = world.get("/v1/moves/02", Some(&token)).await.json();
    assert_eq!((shown["state"].as_str(), shown["gap_ms"].as_f64()), (Some("done"), Some(19.5)));
    assert_eq!(shown["timeline"]["entries"][1]["event"], "swapped");
    let list = world.get("/v1/moves?limit=1", Some(&token)).await.json();
    assert_eq!((list["items"][0]["id"].as_str(), list["next"].as_str()), (Some("03"), Some("03")));
    let rest = world.get("/v1/moves?limit=1&cursor=03", Some(&token)).await.json();
    assert_eq!((rest["items"][0]["id"].as_str(), rest["next"].as_str()), (Some("02"), None));
    assert_eq!(world.post("/v1/moves/02/undo", Some(&token), &Value::Null).await.status, 202);
}

#[tokio::test]
async fn the_operator_names_the_user_or_the_call() {
    let world = World::start().await;
    let admin = Some(world.admin.as_str());
    let post = |body: Value| async move { world_post(&world.address, admin, body).await };
    assert_eq!(post(json!({ "to_device": "mobile" })).await.0, 400);
    assert_eq!(post(json!({ "to_device": "mobile", "call": "01" })).await.0, 202);
    assert_eq!(post(json!({ "to_device": "mobile", "call": "09" })).await.0, 404);
    assert_eq!(post(json!({ "to_device": "bob*mobile", "user": "alice" })).await.0, 400);
    assert_eq!(post(json!({ "to_device": "mobile", "user": "alice" })).await.0, 202);
}

async fn world_post(address: &SocketAddr, token: Option<&str>, body: Value) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v1/moves HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        token.unwrap_or_default(),
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let answer = Response::parse(&text);
    (answer.status, answer.body)
}

#[tokio::test]
async fn devices_go_over_the_edges_of_users() {
    let world = World::start().await;
    let (mut seen, mut path) = (Vec::new(), String::from("/v1/devices?limit=1"));
    for _ in 0..5 {
        let list = world.get(&path, Some(&world.admin)).await.json();
        seen.extend(list["items"].as_array().unwrap().iter().map(|item| item["address"].clone()));
        let Some(next) = list["next"].as_str() else { break };
        path = format!("/v1/devices?limit=1&cursor={}", next.replace('*', "%2A"));
    }
    assert_eq!(seen, ["alice*desk", "bob*desk"]);
}

#[tokio::test]
async fn whether_a_user_exists_does_not_show() {
    let world = World::start().await;
    let mut seen = Vec::new();
    for user in ["alice", "bob", "nobody", &"x".repeat(500), ""] {
        let (asked, computed) = (world.node.asked.lock().unwrap().len(), world.passwords.computed());
        let answer = world.post("/v1/login", None, &json!({ "user": user, "password": "wrong" })).await;
        let headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
        let work = (world.node.asked.lock().unwrap().len() - asked, world.passwords.computed() - computed);
        seen.push((answer.status, answer.body, headers, work));
    }
    assert_eq!((seen[0].0, seen[0].3), (401, (1, 1)), "one question to the engine, one argon2");
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:#?}");
}

#[tokio::test]
async fn guessing_is_slowed_down_alike_for_all_and_never_reaches_argon2() {
    let world = World::start().await;
    for user in ["alice", "nobody"] {
        for _ in 0..5 {
            let answer = world.post("/v1/login", None, &json!({ "user": user, "password": "wrong" })).await;
            assert_eq!(answer.status, 401);
        }
        let before = world.passwords.computed();
        let answer =
            world.post("/v1/login", None, &json!({ "user": user, "password": "correct horse" })).await;
        assert_eq!(answer.status, 429);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=181).contains(&wait), "{wait}");
        assert_eq!(world.passwords.computed(), before);
    }
    let hub = world.node.handle.events();
    let failed = hub.read(hub.oldest()).events;
    assert_eq!(failed.iter().filter(|event| event.event.kind() == "security.login_failed").count(), 10);
    let remembered = Arc::clone(&world.remembered);
    world.stop().await;
    let remembered = remembered.lock().unwrap();
    assert!(remembered.iter().any(|counter| counter.key.ends_with("127.0.0.1 alice") && counter.count == 5));
}

#[tokio::test]
async fn a_token_ends_by_logout_and_by_a_change_of_the_account() {
    let world = World::start().await;
    let (one, two) = (world.login().await, world.login().await);
    assert_eq!(world.post("/v1/logout", Some(&one), &Value::Null).await.status, 204);
    assert_eq!(world.get("/v1/calls", Some(&one)).await.status, 401);
    assert_eq!(world.get("/v1/calls", Some(&two)).await.status, 200);
    let change = Command::ChangeAccount(AccountChange::SetLogin { user: "alice".into(), login: None });
    assert_eq!(world.node.handle.command(&Subject::Admin, change).await, Ok(Reply::Done));
    for _ in 0..200 {
        if world.get("/v1/calls", Some(&two)).await.status == 401 {
            return;
        }
    }
    panic!("the session outlived its login");
}

#[tokio::test]
async fn nonsense_gets_a_problem_and_nothing_else() {
    let world = World::start().await;
    let admin = world.admin.as_str();
    let json_type = ("content-type", "application/json");
    let large = "x".repeat(20_000);
    let long_name = format!("/v1/calls/{}", "x".repeat(100));
    for (method, path, headers, body, status) in [
        ("GET", "/v1/nothing", None, "", 404),
        ("GET", "/index.html", None, "", 404),
        ("PUT", "/v1/calls", None, "", 405),
        ("OPTIONS", "/v1/calls", None, "", 405),
        ("GET", "/v1/calls?limit=0", None, "", 400),
        ("GET", "/v1/calls?limit=1001", None, "", 400),
        ("GET", "/v1/calls?limt=1", None, "", 400),
        ("GET", "/v1/calls/%FF", None, "", 404),
        ("GET", long_name.as_str(), None, "", 404),
        ("GET", "/v1/events?types=,", None, "", 400),
        ("POST", "/v1/moves", Some(json_type), "{", 400),
        ("POST", "/v1/moves", Some(json_type), "{}", 400),
        ("POST", "/v1/moves", Some(json_type), r#"{"to_device":"a","mode":"shout"}"#, 400),
        ("POST", "/v1/moves", Some(json_type), r#"{"to_device":"a","extra":1}"#, 400),
        ("POST", "/v1/moves", None, "{}", 415),
        ("POST", "/v1/login", Some(json_type), large.as_str(), 413),
    ] {
        let headers: Vec<_> = headers.into_iter().collect();
        let answer = world.request(method, path, Some(admin), &headers, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body:.40}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.json()["status"], status);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn heads_are_bounded_and_slow_ones_are_hung_up_on() {
    let world = World::start().await;
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "y".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(world.request("GET", "/healthz", None, &many, "").await.status, 431);
    let long = "y".repeat(40_000);
    assert_eq!(world.request("GET", "/healthz", None, &[("x", &long)], "").await.status, 431);

    let mut slow = TcpStream::connect(world.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
}

/// Reads server-sent events.
struct Stream(tokio::io::Lines<BufReader<TcpStream>>);

impl Stream {
    async fn open(world: &World, token: &str, query: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /v1/events{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Self(BufReader::new(stream).lines());
        assert!(stream.line().await.unwrap().contains(" 200 "));
        while !stream.line().await.unwrap().is_empty() {}
        stream
    }

    async fn line(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.0.next_line()).await.unwrap().unwrap()
    }

    /// The next event: id, type, data.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let line = self.line().await?;
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.into();
            } else if let Some(value) = line.strip_prefix("event: ") {
                kind = value.into();
            } else if let Some(value) = line.strip_prefix("data: ") {
                return Some((id, kind, serde_json::from_str(value).unwrap()));
            }
        }
    }
}

fn registered(user: &str) -> Event {
    Event::Registration {
        what: RegistrationEvent::Added,
        user: user.into(),
        device: "desk".into(),
        address: None,
        user_agent: None,
    }
}

#[tokio::test]
async fn events_come_to_whom_they_concern_and_resume_where_they_stopped() {
    let world = World::start().await;
    let token = world.login().await;
    let hub = world.node.handle.events();
    // The stream begins with what comes after the request; an event that it has seen tells that it stands.
    let mut stream = Stream::open(&world, &token, "", Some("none of ours")).await;
    assert_eq!(stream.next().await.unwrap().1, "stream.gap");
    hub.publish(UnixMillis(1), registered("bob"));
    hub.publish(UnixMillis(2), registered("alice"));
    hub.publish(
        UnixMillis(3),
        Event::Call {
            what: CallEvent::Ringing,
            call: "01".into(),
            users: Users::from_iter(["alice".into(), "bob".into()]),
            from: "alice".into(),
            to: "bob".into(),
            device: Some(("bob".into(), "desk".into())),
            cause: None,
            took: None,
        },
    );
    let (first, kind, data) = stream.next().await.unwrap();
    assert_eq!((kind.as_str(), data["data"]["user"].as_str()), ("registration.added", Some("alice")));
    check(&data, &openapi::build("1")["components"]["schemas"]["Event"], &Value::Null, "event");
    let (second, kind, data) = stream.next().await.unwrap();
    assert_eq!((kind.as_str(), &data["data"]["device"]), ("call.ringing", &Value::Null));

    let mut again = Stream::open(&world, &token, "", Some(&first)).await;
    assert_eq!(again.next().await.unwrap().0, second);
    let mut calls = Stream::open(&world, &world.admin, "?types=call", Some(&first)).await;
    let (id, _, data) = calls.next().await.unwrap();
    assert_eq!((id, data["data"]["device"].as_str()), (second, Some("bob*desk")));

    world.stop().await;
    assert!(stream.next().await.is_none(), "a stream ends with the server");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = World::start().await;
    let token = world.login().await;
    let mut stream = Stream::open(&world, &token, "", Some("x")).await;
    assert_eq!(stream.next().await.unwrap().1, "stream.gap");
    assert_eq!(world.post("/v1/logout", Some(&token), &Value::Null).await.status, 204);
    world.node.handle.events().publish(UnixMillis(1), registered("alice"));
    // What was published in the same instant may still come; then the end.
    while stream.next().await.is_some() {}
}

#[tokio::test]
async fn readiness_is_what_the_node_says() {
    let draining = |draining: bool, store: &'static str| {
        Node::with_workers(1, move |_, asked| match (&asked.command, answer(asked)) {
            (Command::Status, Reply::Status(mut status)) => {
                (status.draining, status.store) = (draining, store.into());
                Reply::Status(status)
            }
            (_, other) => other,
        })
    };
    for (is_draining, store, expected) in
        [(false, "ok", (200, "ready")), (true, "ok", (503, "draining")), (false, "disk full", (503, "store"))]
    {
        let world = World::with_node(draining(is_draining, store)).await;
        let answer = world.get("/readyz", None).await;
        assert_eq!((answer.status, answer.json()["status"].as_str().unwrap()), expected);
        assert_eq!(answer.json()["reason"].as_str(), (expected.1 == "store").then_some("disk full"));
        assert_eq!(world.get("/healthz", None).await.status, 200);
        assert_eq!(world.node.asked.lock().unwrap().len(), 1, "asked once, however often strangers ask");
    }
}

#[tokio::test]
async fn metrics_show_the_node_and_no_names() {
    let world = World::start().await;
    let text = world.get("/metrics", None).await.body;
    assert!(text.contains("segue_calls{state=\"answered\"} 1\n"), "{text}");
    assert!(text.contains("segue_build_info{version=\"1.2.3\"} 1\n"));
    assert!(!text.contains("alice"));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let world = World::start().await;
    let dir = tempfile::tempdir().unwrap();
    let error = HttpServer::bind(Settings {
        bind: world.address,
        connections: 1024,
        tls: None,
        origin: None,
        names: Vec::new(),
        phone: None,
        listeners: Vec::new(),
        data_dir: dir.path().into(),
        node: world.node.handle.clone(),
        passwords: world.passwords.clone(),
        metrics: Metrics::new("1"),
        failures: Vec::new(),
        remember: Box::new(drop),
    })
    .await
    .err()
    .unwrap();
    assert!(error.to_string().contains(&world.address.to_string()), "{error}");
}

#[test]
fn the_document_names_each_operation_once_and_each_schema_it_uses() {
    let document = openapi::build("1");
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method];
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{}", route.path);
        assert_eq!(operation.get("security").is_some(), route.access != Access::Open, "{}", route.path);
    }
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}
