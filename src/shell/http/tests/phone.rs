//! Phones of the page: where no browser can have a call, and calls that follow their user to one.

use super::*;
use crate::engine::command::CommandError;
use crate::engine::view::StatusView;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A world for alice, whose node says this of itself and does this where a call is to follow.
async fn world(browsers: bool, follow: fn(&str) -> Reply) -> World {
    let hash = password::hash("correct horse", CHEAP).unwrap();
    World::with_node(Node::with_workers(1, move |_, asked| match &asked.command {
        Command::Login { .. } => Reply::Login { hash: Some(Secret::from(hash.clone())), admin: false },
        Command::Status => {
            let Reply::Status(status) = answer(asked) else { panic!("no status") };
            Reply::Status(Box::new(StatusView { browsers, follow: "offer".into(), ..*status }))
        }
        Command::Follow { user, device } => {
            assert_eq!((&asked.by, &**user), (&Subject::User("alice".into()), "alice"));
            follow(device)
        }
        _ => answer(asked),
    }))
    .await
}

/// What it says of a move that has begun.
fn moving(_: &str) -> Reply {
    let command = Command::ShowMove { id: "02".into() };
    answer(&Asked { by: Subject::Admin, command })
}

fn holds(answer: &Response, schema: &str) {
    let document = openapi::build("1");
    check(&answer.json(), &document["components"]["schemas"][schema], &document, schema);
}

#[tokio::test]
async fn no_phone_is_lent_that_could_not_have_a_call() {
    for browsers in [true, false] {
        let world = world(browsers, moving).await;
        let token = world.login().await;
        let session = world.get("/v1/session", Some(&token)).await;
        holds(&session, "Session");
        assert_eq!(session.json()["browsers"], browsers, "the page can tell before it asks");
        let lent = world.post("/v1/session/phone", Some(&token), &json!({})).await;
        if browsers {
            assert_eq!(lent.status, 201, "{lent:?}");
            continue;
        }
        assert_eq!((lent.status, lent.json()["code"].as_str()), (409, Some("no_browsers")), "{lent:?}");
        let asked = world.node.asked.lock().unwrap();
        let is_lending = |(_, asked): &(usize, Asked)| matches!(asked.command, Command::LendDevice { .. });
        assert!(!asked.iter().any(is_lending), "the node was not asked for one");
    }
}

#[tokio::test]
async fn a_call_follows_to_a_phone_of_the_callers_session_and_to_no_other() {
    let world = world(true, moving).await;
    let token = world.login().await;
    assert_eq!(world.get("/v1/session", Some(&token)).await.json()["follow"], "offer");
    let lent = world.post("/v1/session/phone", Some(&token), &json!({})).await.json();
    let path = format!("/v1/session/phone/{}/follow", lent["device"].as_str().unwrap());
    let followed = world.post(&path, Some(&token), &Value::Null).await;
    assert_eq!(followed.status, 200, "{followed:?}");
    holds(&followed, "Followed");
    assert_eq!(followed.json()["move"]["id"], "02");
    let other = world.login().await;
    for (path, token) in [(&path, &other), (&path, &world.admin), (&path.replace("web-", "x-"), &token)] {
        assert_eq!(world.post(path, Some(token), &Value::Null).await.status, 404, "{path}");
    }
    let asked = world.node.asked.lock().unwrap();
    let follows = asked.iter().filter(|(_, asked)| matches!(asked.command, Command::Follow { .. }));
    assert_eq!(follows.count(), 1);
}

#[tokio::test]
async fn what_does_not_follow_is_told_and_signs_nobody_out() {
    let none = world(true, |_| Reply::Done).await;
    let token = none.login().await;
    let lent = none.post("/v1/session/phone", Some(&token), &json!({})).await.json();
    let path = format!("/v1/session/phone/{}/follow", lent["device"].as_str().unwrap());
    let followed = none.post(&path, Some(&token), &Value::Null).await;
    assert_eq!((followed.status, followed.json()), (200, json!({ "move": null })));

    let refused = world(true, |_| Reply::Error(CommandError::from(crate::moving::Refusal::Busy))).await;
    let token = refused.login().await;
    let lent = refused.post("/v1/session/phone", Some(&token), &json!({})).await.json();
    let path = format!("/v1/session/phone/{}/follow", lent["device"].as_str().unwrap());
    let followed = refused.post(&path, Some(&token), &Value::Null).await;
    assert_eq!((followed.status / 100, followed.json()["code"].as_str()), (4, Some("busy")), "{followed:?}");
    assert_eq!(refused.get("/v1/session", Some(&token)).await.status, 200);
}

#[tokio::test]
async fn who_signs_in_says_where_a_call_shall_follow_by_token_and_by_cookie() {
    let world = world(true, |device| if device == "desk" { moving(device) } else { Reply::Done }).await;
    for (path, schema) in [("/v1/login", "Token"), ("/v1/session", "Session")] {
        let sign_in = |device: &str, follow: bool| {
            json!({ "user": "alice", "password": "correct horse", "device": device, "follow": follow })
                .to_string()
        };
        for (device, follow, id) in
            [("desk", true, Some("02")), ("mobile", true, None), ("desk", false, None)]
        {
            let headers = [JSON, ("origin", "http://x")];
            let answer = world.request("POST", path, None, &headers, &sign_in(device, follow)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            holds(&answer, schema);
            let json = answer.json();
            assert_eq!((json["move"]["id"].as_str(), json.get("move").is_some()), (id, follow), "{json}");
        }
    }
}
