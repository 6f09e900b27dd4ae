//! Signing in and out.
//!
//! Whether a user exists shows neither in the answer, nor in its time, nor in what is throttled: every try that is
//! admitted asks the engine once and computes one argon2.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::caller::{Caller, Source};
use super::extract::Body;
use super::problem::Problem;
use super::session::LIFETIME;
use super::{Api, now, unix_now};
use crate::base::UnixMillis;
use crate::engine::command::{Command, NAME_LEN, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::view::Time;
use crate::shell::password::Outcome;

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    user: Box<str>,
    password: Zeroizing<String>,
}

/// `POST /v1/login`
pub(super) async fn login(
    State(api): State<Api>,
    Source(source): Source,
    Body(credentials): Body<Credentials>,
) -> Result<Json<Value>, Problem> {
    let Credentials { user, password } = credentials;
    api.throttle.admit(&user, source, now()).map_err(|wait| {
        let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
        let detail = "Too many tries to sign in; wait before the next.";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail).after(seconds)
    })?;
    let hash =
        stored_hash(&api, &user).await.inspect_err(|_| api.throttle.give_back(&user, source, now()))?;
    match api.passwords.verify(password, hash).await {
        Outcome::Accepted => {}
        Outcome::Rejected => {
            api.node.events().publish(
                unix_now(),
                Event::Security {
                    what: "login_failed",
                    call: None,
                    user: Some(user.chars().take(NAME_LEN).collect::<String>().into()),
                    source: Some((source, 0).into()),
                    detail: "wrong user or password",
                },
            );
            let detail = "User or password is wrong.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        }
        Outcome::Busy => {
            api.throttle.give_back(&user, source, now());
            let detail = "Too many people sign in at the moment.";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(2));
        }
    }
    api.throttle.succeeded(&user, source, now());
    let token = api.sessions.begin(&user, now()).map_err(|error| {
        tracing::error!(%error, "no randomness for a token");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "No token can be made now.").after(2)
    })?;
    let expires = UnixMillis(unix_now().0 + LIFETIME.as_millis() as u64);
    Ok(Json(json!({ "token": token, "expires": Time(expires), "scopes": ["user"] })))
}

async fn stored_hash(api: &Api, user: &str) -> Result<Option<Box<str>>, Problem> {
    // A name too long for any user is asked for all the same: it costs what others cost.
    let user = user.chars().take(NAME_LEN + 1).collect::<String>().into();
    match api.node.command(&Subject::Admin, Command::Login { user }).await? {
        Reply::Login { hash } => Ok(hash.map(|secret| secret.0)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `POST /v1/logout`
pub(super) async fn logout(State(api): State<Api>, caller: Caller) -> StatusCode {
    api.sessions.end(&caller.token);
    StatusCode::NO_CONTENT
}
