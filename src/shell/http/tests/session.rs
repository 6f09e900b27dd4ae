//! Browsers: sessions by cookie, what other pages can make a browser do with them, and phones that are lent to them.

use super::*;
use crate::engine::command::CommandError;

const JSON: (&str, &str) = ("content-type", "application/json");
/// The tests' requests ask for host `x`.
const OURS: (&str, &str) = ("origin", "http://x");

impl World {
    /// Signs in as a browser does; gives the cookie.
    async fn sign_in(&self, user: &str) -> String {
        let answer = self.submit(user, "correct horse", &[OURS]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        cookie_of(&answer)
    }

    async fn submit(&self, user: &str, password: &str, headers: &[(&str, &str)]) -> Response {
        let body = json!({ "user": user, "password": password, "scopes": ["user", "admin"] }).to_string();
        self.request("POST", "/v1/session", None, &[&[JSON], headers].concat(), &body).await
    }

    async fn by_cookie(&self, method: &str, path: &str, cookie: &str, body: &Value) -> Response {
        let headers = [JSON, OURS, ("cookie", cookie), ("sec-fetch-site", "same-origin")];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, path, None, &headers, &text).await
    }

    /// The lent and returned devices that the node was told of, in order.
    fn devices_told(&self) -> Vec<String> {
        let asked = self.node.asked.lock().unwrap();
        let told = asked.iter().filter_map(|(_, asked)| match &asked.command {
            Command::LendDevice { user, device } => Some(format!("+{user}*{}", device.id)),
            Command::ReturnDevice { user, device } => Some(format!("-{user}*{device}")),
            _ => None,
        });
        told.collect()
    }
}

fn cookie_of(answer: &Response) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn holds(answer: &Response, schema: &str) {
    let document = openapi::build("1");
    check(&answer.json(), &document["components"]["schemas"][schema], &document, schema);
}

#[tokio::test]
async fn a_browser_signs_in_is_known_and_signs_out() {
    let world = World::start().await;
    let answer = world.submit("alice", "correct horse", &[OURS]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    holds(&answer, "Session");
    let json = answer.json();
    assert_eq!((json["user"].as_str(), json["display"].as_str()), (Some("alice"), Some("Alice")));
    assert_eq!(json["scopes"], json!(["user"]), "who is no administrator asked for more");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{set}");
    assert!(!answer.body.contains(&set[6..70]), "a script must not read the token");
    let cookie = cookie_of(&answer);
    let shown = world.by_cookie("GET", "/v1/session", &cookie, &Value::Null).await;
    holds(&shown, "Session");
    assert_eq!(shown.json()["user"], "alice");
    let calls = world.by_cookie("GET", "/v1/calls", &cookie, &Value::Null).await;
    assert_eq!(calls.json()["items"][0]["legs"][1]["device"], Value::Null, "bob's device");
    let out = world.by_cookie("DELETE", "/v1/session", &cookie, &Value::Null).await;
    assert_eq!((out.status, out.header("set-cookie").map(|c| c.contains("Max-Age=0"))), (204, Some(true)));
    assert_eq!(world.by_cookie("GET", "/v1/session", &cookie, &Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_session_is_new_whatever_the_browser_was_given_before() {
    let world = World::start().await;
    let planted = format!("segue={}", "a".repeat(64));
    let answer = world.submit("alice", "correct horse", &[OURS, ("cookie", &planted)]).await;
    let first = cookie_of(&answer);
    assert_ne!(first, planted);
    assert_eq!(world.by_cookie("GET", "/v1/session", &planted, &Value::Null).await.status, 401);
    let second = cookie_of(&world.submit("alice", "correct horse", &[OURS, ("cookie", &first)]).await);
    assert_ne!(second, first);
    assert_eq!(
        world.by_cookie("GET", "/v1/session", &first, &Value::Null).await.status,
        401,
        "it was replaced"
    );
    let wrong = world.submit("alice", "wrong", &[OURS, ("cookie", &second)]).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert_eq!(world.by_cookie("GET", "/v1/session", &second, &Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_cookie_is_no_bearer_token_and_a_bearer_token_no_cookie() {
    let world = World::start().await;
    let cookie = world.sign_in("alice").await;
    let token = cookie.strip_prefix("segue=").unwrap();
    assert_eq!(world.get("/v1/calls", Some(token)).await.status, 401);
    let bearer = world.login().await;
    for token in [&bearer, &world.admin] {
        let cookie = format!("segue={token}");
        assert_eq!(world.by_cookie("GET", "/v1/calls", &cookie, &Value::Null).await.status, 401);
    }
    let headers = [("cookie", cookie.as_str())];
    let both = world.request("GET", "/v1/calls", Some("wrong"), &headers, "").await;
    assert_eq!(both.status, 401, "a header is not made up for by a cookie");
}

#[tokio::test]
async fn another_page_gets_a_browser_to_do_nothing() {
    let world = World::start().await;
    let cookie = world.sign_in("alice").await;
    let cookie = ("cookie", cookie.as_str());
    let body = json!({ "to_device": "mobile" }).to_string();
    let asked = world.node.asked.lock().unwrap().len();
    for others in [
        vec![cookie, JSON],
        vec![cookie, JSON, ("origin", "http://x:9090")],
        vec![cookie, JSON, ("origin", "http://evil.example")],
        vec![cookie, JSON, ("origin", "null")],
        vec![cookie, JSON, OURS, ("sec-fetch-site", "same-site")],
        vec![cookie, JSON, OURS, ("sec-fetch-site", "cross-site")],
    ] {
        for (method, path) in [
            ("POST", "/v1/moves"),
            ("POST", "/v1/moves/02/undo"),
            ("DELETE", "/v1/calls/01"),
            ("DELETE", "/v1/session"),
            ("POST", "/v1/session/phone"),
        ] {
            let answer = world.request(method, path, None, &others, &body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (403, Some("cross_site")),
                "{others:?}"
            );
        }
    }
    let text = [cookie, ("content-type", "text/plain"), OURS];
    assert_eq!(
        world.request("POST", "/v1/moves", None, &text, &body).await.status,
        415,
        "a form could send it"
    );
    for (method, path) in [("GET", "/v1/calls"), ("GET", "/v1/events")] {
        let answer = world.request(method, path, None, &[cookie, ("sec-fetch-site", "cross-site")], "").await;
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!(world.node.asked.lock().unwrap().len(), asked, "nothing reached the node");
    // Nor can it sign the browser in as somebody else.
    assert_eq!(
        world.submit("alice", "correct horse", &[("origin", "http://evil.example")]).await.status,
        403
    );
    assert_eq!(world.submit("alice", "correct horse", &[]).await.status, 403);
}

#[tokio::test]
async fn signing_in_tells_no_user_from_none_and_is_throttled_as_for_programs() {
    let world = World::start().await;
    let wrong = |user: &'static str| world.submit(user, "wrong", &[OURS]);
    let (known, unknown) = (wrong("alice").await, wrong("nobody").await);
    assert_eq!((known.status, &known.body), (401, &unknown.body));
    assert_eq!(known.headers.len(), unknown.headers.len());
    for user in ["alice", "nobody"] {
        for _ in 0..4 {
            assert_eq!(wrong(user).await.status, 401, "{user}");
        }
        assert_eq!(wrong(user).await.status, 429, "{user}");
    }
    let program =
        world.post("/v1/login", None, &json!({ "user": "alice", "password": "correct horse" })).await;
    assert_eq!(program.status, 429, "one allowance for both ways in");
}

#[tokio::test]
async fn an_administrator_sees_everything_when_the_session_was_asked_to() {
    let world = World::with_administrator().await;
    let cookie = world.sign_in("root").await;
    let session = world.by_cookie("GET", "/v1/session", &cookie, &Value::Null).await.json();
    assert_eq!((session["user"].as_str(), &session["scopes"]), (Some("root"), &json!(["user", "admin"])));
    assert_eq!(world.by_cookie("GET", "/v1/status", &cookie, &Value::Null).await.status, 200);
    let users = world.by_cookie("GET", "/v1/users", &cookie, &Value::Null).await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 2);
    let plain = world.post("/v1/login", None, &json!({ "user": "root", "password": "correct horse" })).await;
    assert_eq!(plain.json()["scopes"], json!(["user"]), "only what is asked for");
    let token = plain.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/v1/status", Some(&token)).await.status, 403);
}

impl World {
    /// In the little world alice is known by name, so the administrator's own account is hers.
    async fn with_administrator() -> Self {
        let hash = password::hash("correct horse", CHEAP).unwrap();
        Self::with_node(Node::with_workers(1, move |_, asked| match &asked.command {
            Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: true },
            Command::ShowUser { .. } => Reply::User(Box::new(crate::shell::control::testing::user("root"))),
            _ => answer(asked),
        }))
        .await
    }
}

#[tokio::test]
async fn a_phone_is_lent_to_a_session_and_gone_with_it() {
    let world = World::start().await;
    let cookie = world.sign_in("alice").await;
    let lend = |body: Value| {
        let (world, cookie) = (&world, &cookie);
        async move { world.by_cookie("POST", "/v1/session/phone", cookie, &body).await }
    };
    let answer = lend(json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    holds(&answer, "Phone");
    let phone = answer.json();
    let text = |name: &str| phone[name].as_str().unwrap().to_owned();
    assert_eq!(text("ws_uri"), "ws://x:5066");
    assert_eq!(text("uri"), format!("sip:{}@pbx.test", text("auth_user")));
    assert!(text("device").starts_with("web-") && text("password").len() == 64);
    // The node knows hashes of the password under its realm, for every algorithm, and not the password.
    let asked = world.node.asked.lock().unwrap().clone();
    let lent = asked.iter().find_map(|(_, asked)| match &asked.command {
        Command::LendDevice { device, .. } => Some((asked.by.clone(), device.clone())),
        _ => None,
    });
    let (by, lent) = lent.unwrap();
    let expected = crate::sip::digest::Ha1s::from_password(&text("auth_user"), "phones", &text("password"));
    let md5: String = expected.md5.unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((by, lent.ha1.md5.unwrap().0), (Subject::Admin, md5.into()));
    assert!(lent.ha1.sha256.is_some() && lent.ha1.sha512_256.is_some());

    let again = lend(json!({ "device": text("device") })).await.json();
    assert_eq!(again["device"].as_str(), Some(text("device").as_str()), "a page that was loaded anew");
    assert_ne!(again["password"].as_str(), Some(text("password").as_str()));
    let other = lend(json!({ "device": "desk" })).await.json();
    assert_ne!(other["device"], "desk", "only what was lent to this session");
    let path = format!("/v1/session/phone/{}", other["device"].as_str().unwrap());
    let back = world.by_cookie("DELETE", &path, &cookie, &Value::Null).await;
    assert_eq!(back.status, 204);
    assert_eq!(world.by_cookie("DELETE", &path, &cookie, &Value::Null).await.status, 404);
    assert_eq!(world.by_cookie("DELETE", "/v1/session/phone/desk", &cookie, &Value::Null).await.status, 404);
    assert_eq!(world.by_cookie("DELETE", "/v1/session", &cookie, &Value::Null).await.status, 204);
    let (first, second) = (text("device"), other["device"].as_str().unwrap().to_owned());
    assert_eq!(
        world.devices_told(),
        [
            format!("+alice*{first}"),
            format!("+alice*{first}"),
            format!("+alice*{second}"),
            format!("-alice*{second}"),
            format!("-alice*{first}")
        ]
    );
    assert_eq!(lend(json!({})).await.status, 401);
}

#[tokio::test]
async fn a_phone_that_cannot_be_taken_back_now_is_taken_back_later() {
    let refuse = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let hash = password::hash("correct horse", CHEAP).unwrap();
    let world = World::with_node(Node::with_workers(1, {
        let refuse = Arc::clone(&refuse);
        move |_, asked| match &asked.command {
            Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
            Command::ReturnDevice { .. } if refuse.swap(false, std::sync::atomic::Ordering::SeqCst) => {
                Reply::Error(CommandError::Unavailable { why: "busy".into(), retry_after: 1 })
            }
            _ => answer(asked),
        }
    }))
    .await;
    let cookie = world.sign_in("alice").await;
    assert_eq!(world.by_cookie("POST", "/v1/session/phone", &cookie, &json!({})).await.status, 201);
    // An account that was changed ends its sessions.
    let change = Command::ChangeAccount(AccountChange::SetPin { user: "alice".into(), pin: None });
    world.node.handle.command(&Subject::Admin, change).await.unwrap();
    let taken_back = async {
        while world.devices_told().iter().filter(|told| told.starts_with('-')).count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_back).await.unwrap();
    assert_eq!(world.by_cookie("GET", "/v1/session", &cookie, &Value::Null).await.status, 401);
}

/// A world whose node answers each command about lent devices when it is told to.
async fn world_in_steps() -> (World, std::sync::mpsc::Sender<()>) {
    let hash = password::hash("correct horse", CHEAP).unwrap();
    let (go, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let node = Node::with_workers(1, move |_, asked| match &asked.command {
        Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
        Command::LendDevice { .. } | Command::ReturnDevice { .. } => {
            let _ = tokio::task::block_in_place(|| gate.lock().unwrap().recv_timeout(PATIENCE));
            Reply::Done
        }
        _ => answer(asked),
    });
    (World::with_node(node).await, go)
}

impl World {
    /// Asks, waits until the node has heard of one device more, and hangs up; the server has noticed when this returns.
    async fn abandon(&self, method: &str, path: &str, cookie: &str) {
        let told = self.devices_told().len();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\norigin: http://x\r\ncookie: {cookie}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        self.is_told(told + 1).await;
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(rest.is_empty(), "answered before it was abandoned");
    }

    async fn is_told(&self, count: usize) {
        let told = async {
            while self.devices_told().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{:?}", self.devices_told()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_begun_with_phones_is_ended_though_nobody_waits_for_it() {
    let (world, go) = world_in_steps().await;
    let cookie = world.sign_in("alice").await;
    for _ in 0..2 {
        world.abandon("POST", "/v1/session/phone", &cookie).await;
        go.send(()).unwrap();
    }
    // The next one waits for both, so they are the session's.
    go.send(()).unwrap();
    assert_eq!(world.by_cookie("POST", "/v1/session/phone", &cookie, &json!({})).await.status, 201);
    world.abandon("DELETE", "/v1/session", &cookie).await;
    (0..3).for_each(|_| go.send(()).unwrap());
    world.is_told(6).await;
    let told = world.devices_told();
    let names = |told: &[String]| told.iter().map(|told| told[1..].to_owned()).collect::<BTreeSet<_>>();
    assert!(told[3..].iter().all(|told| told.starts_with('-')), "{told:?}");
    assert_eq!(names(&told[3..]), names(&told[..3]), "all three are taken back");
}

#[tokio::test]
async fn a_session_with_phones_enough_gets_another_only_for_one_that_nobody_holds() {
    let hash = password::hash("correct horse", CHEAP).unwrap();
    let idle: Arc<std::sync::Mutex<Option<Box<str>>>> = Arc::default();
    let lent: Arc<std::sync::Mutex<Vec<Box<str>>>> = Arc::default();
    let world = World::with_node(Node::with_workers(1, {
        let (idle, lent) = (Arc::clone(&idle), Arc::clone(&lent));
        move |_, asked| match &asked.command {
            Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
            Command::LendDevice { device, .. } => {
                lent.lock().unwrap().push(device.id.clone());
                Reply::Done
            }
            Command::ShowUser { .. } => {
                let mut user = crate::shell::control::testing::user("alice");
                let (desk, idle) = (user.devices[0].clone(), idle.lock().unwrap().clone());
                user.devices = lent
                    .lock()
                    .unwrap()
                    .iter()
                    .map(|id| crate::engine::view::DeviceView {
                        id: id.to_string(),
                        registered: Some(id) != idle.as_ref(),
                        ..desk.clone()
                    })
                    .collect();
                Reply::User(Box::new(user))
            }
            _ => answer(asked),
        }
    }))
    .await;
    let cookie = world.sign_in("alice").await;
    let nothing = json!({});
    let lend = || world.by_cookie("POST", "/v1/session/phone", &cookie, &nothing);
    for _ in 0..4 {
        assert_eq!(lend().await.status, 201);
    }
    let refused = lend().await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (409, Some("too_many_phones")),
        "all are in use"
    );
    let third = lent.lock().unwrap()[2].clone();
    *idle.lock().unwrap() = Some(third.clone());
    assert_eq!(lend().await.status, 201);
    assert_eq!(world.devices_told()[4], format!("-alice*{third}"));
}

#[tokio::test]
async fn a_name_that_leads_here_and_is_not_ours_gets_nothing() {
    let world = World::start().await;
    let get = |host: &'static str, path: &'static str| {
        let address = world.address;
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            Response::parse(&text).status
        }
    };
    for path in ["/metrics", "/v1/openapi.json"] {
        assert_eq!((get("evil.example:8080", path).await, get("pbx.test", path).await), (421, 200), "{path}");
    }
    assert_eq!(get("evil.example", "/healthz").await, 200);
}

#[tokio::test]
async fn a_source_is_taken_from_a_proxy_where_there_is_one() {
    let wrong = json!({ "user": "nobody", "password": "wrong" }).to_string();
    for (origin, statuses) in [(None, [401, 429]), (Some("https://pbx.test"), [401, 401])] {
        let hash = password::hash("correct horse", CHEAP).unwrap();
        let node = Node::with_workers(1, move |_, asked| match &asked.command {
            Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
            _ => answer(asked),
        });
        let world = World::with(node, None, origin.map(Box::from)).await;
        let try_from = |n: u8| {
            let (world, wrong) = (&world, wrong.replace("nobody", &format!("nobody{n}")));
            async move {
                let from = format!("203.0.113.{n}");
                let headers = [JSON, ("x-forwarded-for", from.as_str())];
                world.request("POST", "/v1/login", None, &headers, &wrong).await.status
            }
        };
        let mut last = 0;
        for n in 0..22 {
            last = try_from(n).await;
            if n == 0 {
                assert_eq!(last, statuses[0]);
            }
        }
        assert_eq!(last, statuses[1], "{origin:?}");
    }
}

#[tokio::test]
async fn the_administrators_token_is_no_phone() {
    let world = World::start().await;
    assert_eq!(world.post("/v1/session/phone", Some(&world.admin), &json!({})).await.status, 403);
    assert_eq!(world.get("/v1/session", Some(&world.admin)).await.json()["user"], Value::Null);
    let token = world.login().await;
    assert_eq!(world.post("/v1/session/phone", Some(&token), &json!({})).await.status, 201);
    assert_eq!(world.request("POST", "/v1/logout", Some(&token), &[], "").await.status, 204);
    assert_eq!(world.devices_told().len(), 2, "a program's phone goes with its token");
}

#[tokio::test]
async fn the_page_runs_and_loads_nothing_but_its_own() {
    let world = World::start().await;
    let index = world.get("/", None).await;
    assert!(index.status == 200 || index.body.contains("npm"), "{index:?}");
    let policy = index.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "connect-src 'self' ws://x:5066;",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(index.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(index.header("x-frame-options"), Some("DENY"));
    let odd = TcpStream::connect(world.address).await.map(|mut stream| async move {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x;script-src\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Response::parse(&text)
    });
    let odd = odd.unwrap().await;
    assert!(odd.header("content-security-policy").unwrap().contains("connect-src 'self' ;"), "{odd:?}");
    for path in ["/assets/", "/assets/..%2findex.html", "/assets/index.html", "/assets/x.js"] {
        assert_eq!(world.get(path, None).await.status, 404, "{path}");
    }
    // What is built in is found by the names in it, and may be kept.
    for reference in index.body.split("=\"/assets/").skip(1).filter(|_| index.status == 200) {
        let path = format!("/assets/{}", reference.split('"').next().unwrap());
        let asset = world.get(&path, None).await;
        assert_eq!(asset.status, 200, "{path}");
        assert!(asset.header("cache-control").unwrap().contains("immutable"), "{path}");
    }
}

#[tokio::test]
async fn under_tls_the_cookie_goes_over_tls_alone() {
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    let own = rcgen::generate_simple_self_signed(["pbx.test".to_owned()]).unwrap();
    let (certificate, key) =
        (own.cert.der().clone(), PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(ring::default_provider());
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server =
        server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into());
    let server = Arc::new(server.unwrap());
    let hash = password::hash("correct horse", CHEAP).unwrap();
    let node = Node::with_workers(1, move |_, asked| match &asked.command {
        Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
        _ => answer(asked),
    });
    let world = World::with(node, Some(Box::new(move || Arc::clone(&server).into())), None).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = tokio_rustls::TlsConnector::from(Arc::new(
        client.with_root_certificates(roots).with_no_client_auth(),
    ));
    let ask = |origin: &'static str| {
        let (client, address) = (client.clone(), world.address);
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = client.connect(ServerName::try_from("pbx.test").unwrap(), stream).await.unwrap();
            let body = json!({ "user": "alice", "password": "correct horse" }).to_string();
            let head = format!(
                "POST /v1/session HTTP/1.1\r\nhost: pbx.test\r\norigin: {origin}\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap();
            Response::parse(&text)
        }
    };
    let answer = ask("https://pbx.test").await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-segue=") && cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(ask("http://pbx.test").await.status, 403, "a page that did not come by TLS is another's");
    // Who says nothing is let go, as one who begins no request.
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.unwrap().unwrap();
}
