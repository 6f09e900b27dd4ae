//! Signing in and out: a program gets a bearer token, a browser a cookie.
//!
//! Whether a user exists shows neither in the answer, nor in its time, nor in what is throttled: every try that is
//! admitted asks the engine once and computes one argon2.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::caller::{Caller, Source};
use super::extract::Body;
use super::problem::Problem;
use super::session::{Carrier, Grant, LIFETIME, NotBegun, TokenHash};
use super::{Api, now, phone, unix_now};
use crate::base::UnixMillis;
use crate::engine::command::{Command, NAME_LEN, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::view::{MoveView, Time};
use crate::shell::password::Outcome;

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    user: Box<str>,
    password: Zeroizing<String>,
    /// What the session shall be good for; a user who is no administrator gets `user` alone.
    #[serde(default)]
    scopes: Vec<Scope>,
    /// Where its user is now: a device of its own, or a shared one with the user that it stands under.
    #[serde(default)]
    device: Option<Box<str>>,
    /// Whether a live call is wanted there.
    #[serde(default)]
    follow: bool,
}

/// What a session is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// Own things.
    User,
    /// Everything.
    Admin,
}

const fn scopes(is_admin: bool) -> &'static [Scope] {
    if is_admin { &[Scope::User, Scope::Admin] } else { &[Scope::User] }
}

/// `POST /v1/login`: a token for a program.
pub(super) async fn login(
    State(api): State<Api>,
    source: Source,
    Body(credentials): Body<Credentials>,
) -> Result<Json<Value>, Problem> {
    let device = credentials.device.clone().filter(|_| credentials.follow);
    let grant = authenticate(&api, source, credentials).await?;
    let (scopes, user) = (scopes(grant.admin), grant.user.clone());
    let token = begin(&api, grant, Carrier::Header)?;
    let expires = Time(UnixMillis(unix_now().0 + LIFETIME.as_millis() as u64));
    let mut answer = json!({ "token": token, "expires": expires, "scopes": scopes });
    if let (Some(device), Some(object)) = (device, answer.as_object_mut()) {
        object.insert("move".to_owned(), follow_to(&api, user, device).await);
    }
    Ok(Json(answer))
}

/// Has a live call of the user follow to a device: the move, or null. Whoever signs in is signed in, whatever becomes of it.
async fn follow_to(api: &Api, user: Box<str>, device: Box<str>) -> Value {
    let command = Command::Follow { user: user.clone(), device };
    match api.node.command(&Subject::User(user), command).await {
        Ok(Reply::Move(view)) => {
            serde_json::to_value(MoveView { timeline: None, ..*view }).unwrap_or_default()
        }
        _ => Value::Null,
    }
}

/// `POST /v1/session`: a cookie for a browser. The token is new each time, whatever cookie the request brings; the
/// session of that one ends.
pub(super) async fn sign_in(
    State(api): State<Api>,
    source: Source,
    headers: HeaderMap,
    Body(credentials): Body<Credentials>,
) -> Result<Response, Problem> {
    api.home.check(&Method::POST, &headers)?;
    let device = credentials.device.clone().filter(|_| credentials.follow);
    let grant = authenticate(&api, source, credentials).await?;
    if let Some(old) = api.home.token(&headers) {
        let old = TokenHash::of(old);
        if api.sessions.holder(&old, Carrier::Cookie, now()).is_some() {
            api.sessions.end(&old);
        }
    }
    let subject = match grant.admin {
        true => Subject::Admin,
        false => Subject::User(grant.user.clone()),
    };
    let mut view = session_view(&api, &subject, Some(&grant.user), Some(LIFETIME)).await?;
    let user = grant.user.clone();
    let token = begin(&api, grant, Carrier::Cookie)?;
    if let (Some(device), Some(object)) = (device, view.as_object_mut()) {
        object.insert("move".to_owned(), follow_to(&api, user, device).await);
    }
    Ok(with_cookie(Json(view).into_response(), api.home.keep(&token)))
}

/// `GET /v1/session`: who the caller is.
pub(super) async fn session(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Problem> {
    let left = caller.ends.map(|ends| ends.saturating_duration_since(now()));
    session_view(&api, &caller.subject, caller.user.as_deref(), left).await.map(Json)
}

/// `DELETE /v1/session` and `POST /v1/logout`: the token holds no longer, and the phones of the session are gone when
/// this is answered.
pub(super) async fn logout(State(api): State<Api>, caller: Caller) -> Response {
    api.sessions.end(&caller.token);
    phone::take_back(&api).await;
    let answer = StatusCode::NO_CONTENT.into_response();
    let forget = if caller.carrier == Carrier::Cookie { api.home.forget() } else { None };
    with_cookie(answer, forget)
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn session_view(
    api: &Api,
    subject: &Subject,
    user: Option<&str>,
    left: Option<Duration>,
) -> Result<Value, Problem> {
    let account = match user {
        None => None,
        Some(name) => match api.node.command(subject, Command::ShowUser { name: name.into() }).await? {
            Reply::User(view) => Some(view),
            Reply::Error(error) => return Err(error.into()),
            _ => return Err(Problem::misfit()),
        },
    };
    let (display, extension) =
        account.map(|account| (account.display, account.extension)).unwrap_or_default();
    let expires = left.map(|left| Time(UnixMillis(unix_now().0 + left.as_millis() as u64)));
    let status = phone::status(api).await?;
    Ok(json!({
        "user": user, "display": display, "extension": extension,
        "scopes": scopes(*subject == Subject::Admin), "expires": expires,
        "browsers": status.browsers, "follow": status.follow,
    }))
}

fn begin(api: &Api, grant: Grant, carrier: Carrier) -> Result<String, Problem> {
    api.sessions.begin(grant, carrier, now()).map_err(|error| {
        let detail = match &error {
            NotBegun::Changed => "The account was changed at this moment; sign in again.",
            NotBegun::NoRandomness(_) => {
                tracing::error!(%error, "no session");
                "No token can be made now."
            }
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(2)
    })
}

/// Who it is, and what they may of what they ask for.
async fn authenticate(api: &Api, source: Source, credentials: Credentials) -> Result<Grant, Problem> {
    let (Source(source), Credentials { user, password, scopes, .. }) = (source, credentials);
    api.throttle.admit(&user, source, now()).map_err(|wait| {
        let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
        let detail = "Too many tries to sign in; wait before the next.";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail).after(seconds)
    })?;
    let as_of = api.sessions.moment();
    let (hash, may_be_admin) =
        stored_hash(api, &user).await.inspect_err(|_| api.throttle.give_back(&user, source, now()))?;
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
    Ok(Grant { user, admin: may_be_admin && scopes.contains(&Scope::Admin), as_of })
}

async fn stored_hash(api: &Api, user: &str) -> Result<(Option<Box<str>>, bool), Problem> {
    // A name too long for any user is asked for all the same: it costs what others cost.
    let user = user.chars().take(NAME_LEN + 1).collect::<String>().into();
    match api.node.command(&Subject::Admin, Command::Login { user }).await? {
        Reply::Login { hash, admin } => Ok((hash.map(|secret| secret.0), admin)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}
