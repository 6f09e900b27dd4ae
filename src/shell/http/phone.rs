//! The browser as a phone: a device that is lent to a session, with credentials that were never used before and end with
//! it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::browser::host_name;
use super::caller::Caller;
use super::extract::Body;
use super::problem::Problem;
use super::session::{PHONES_EACH, Phone, TokenHash, mint};
use super::{Api, browser, now, unix_now};
use crate::base::UnixMillis;
use crate::engine::command::{Command, Ha1Text, NAME_LEN, NewDevice, Reply, Secret, Subject, TrustName};
use crate::engine::view::{MoveView, StatusView, Time};
use crate::sip::Transport;
use crate::sip::digest::Ha1s;

/// How often phones of sessions that ended by themselves are taken back.
const SWEEP: Duration = Duration::from_secs(5);

/// Where browsers reach us with SIP.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// As configured.
    pub(super) named: Option<Box<str>>,
    /// The ports of our listeners.
    ws: Option<u16>,
    wss: Option<u16>,
}

impl Reach {
    pub(super) fn new(named: Option<Box<str>>, listeners: &[(Transport, SocketAddr)]) -> Self {
        let port = |wanted| listeners.iter().find(|(known, _)| *known == wanted).map(|(_, at)| at.port());
        Self { named, ws: port(Transport::Ws), wss: port(Transport::Wss) }
    }

    /// The WebSocket for a page that was asked for as these headers say: on the host of the page, since that is a name
    /// which the browser can reach, and the one its certificate is for. A page that came by TLS may open no other.
    pub(super) fn uri(&self, home: &browser::Home, headers: &HeaderMap) -> Option<String> {
        if let Some(named) = &self.named {
            return Some(named.to_string());
        }
        let secure = self.wss.map(|port| ("wss", port));
        let plain = self.ws.filter(|_| !home.is_secure()).map(|port| ("ws", port));
        let (scheme, port) = plain.or(secure)?;
        Some(format!("{scheme}://{}:{port}", host_name(headers)?))
    }
}

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPhone {
    /// A device that was lent to this session before: the page was loaded anew. It gets another password.
    device: Option<Box<str>>,
}

/// `POST /v1/session/phone`
pub(super) async fn lend(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Body(wanted): Body<NewPhone>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (Some(user), Some(ends)) = (caller.user, caller.ends) else {
        let detail = "The administrator's token is no user's, and only a user has phones.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    };
    let ws_uri = api.reach.uri(&api.home, &headers).ok_or_else(|| {
        let detail = "No listener takes calls of browsers: configure one with uri = \"wss://…\", or \"ws://…\" \
            for a page without TLS, or say with http.phone where there is one.";
        Problem::new(StatusCode::CONFLICT, "no_websocket", detail)
    })?;
    let status = status(&api).await?;
    if !status.browsers {
        let detail = "Browsers cannot have calls at this node: it has no port for their media. Media.web_port says \
            which that is; if it was in use when the node started, the log of the start says so.";
        return Err(Problem::new(StatusCode::CONFLICT, "no_browsers", detail));
    }
    let (auth_user, password) = (format!("web-{}", random(24)?), random(64)?);
    let new = NewDevice {
        id: format!("web-{}", random(8)?).into(),
        auth_user: auth_user.as_str().into(),
        ha1: hashes(&Ha1s::from_password(&auth_user, &status.realm, &password)),
        trust: TrustName::Personal,
    };
    // Whoever asked may go away: what was begun is ended, so that no device is lent of which no session knows.
    let lending = tokio::spawn(lend_to(api.clone(), caller.token, user, wanted.device, new));
    let device = lending.await.map_err(|_| Problem::misfit())??;
    let left = ends.saturating_duration_since(now()).as_millis() as u64;
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "uri": format!("sip:{auth_user}@{}", status.domain), "auth_user": auth_user, "password": password,
            "device": device, "ws_uri": ws_uri, "expires": Time(UnixMillis(unix_now().0 + left)),
        })),
    ))
}

/// Lends a new device to a session, or again one that it has; gives its name.
async fn lend_to(
    api: Api,
    token: TokenHash,
    user: Box<str>,
    again: Option<Box<str>>,
    mut new: NewDevice,
) -> Result<Box<str>, Problem> {
    let _one = api.lending.lock().await;
    let phones = api.sessions.phones(&token);
    let again = again.filter(|device| phones.contains(device));
    let is_new = again.is_none();
    match again {
        Some(device) => new.id = device,
        None if phones.len() >= PHONES_EACH => make_room(&api, &token, &user, &phones).await?,
        None => {}
    }
    let device = new.id.clone();
    let phone = Phone { user: user.clone(), device: device.clone() };
    match api.node.command(&Subject::Admin, Command::LendDevice { user, device: new }).await {
        Ok(Reply::Done) => {
            api.sessions.add_phone(&token, phone);
            Ok(device)
        }
        Ok(Reply::Error(error)) => Err(error.into()),
        Ok(_) => Err(Problem::misfit()),
        Err(error) => {
            // It may have been carried out all the same.
            if is_new {
                api.sessions.keep_orphan(phone);
            }
            Err(error.into())
        }
    }
}

/// Has one of a session's devices give way that no tab holds any more.
async fn make_room(api: &Api, token: &TokenHash, user: &str, phones: &[Box<str>]) -> Result<(), Problem> {
    let account = match api.node.command(&Subject::Admin, Command::ShowUser { name: user.into() }).await? {
        Reply::User(account) => account,
        Reply::Error(error) => return Err(error.into()),
        _ => return Err(Problem::misfit()),
    };
    let is_held = |phone: &str| account.devices.iter().any(|device| device.id == *phone && device.registered);
    let idle = phones.iter().find(|phone| !is_held(phone)).ok_or_else(|| {
        let detail = "This browser is a phone in several tabs already; close one of them.";
        Problem::new(StatusCode::CONFLICT, "too_many_phones", detail)
    })?;
    api.sessions.give_back(token, idle);
    return_orphans(api).await;
    Ok(())
}

/// `POST /v1/session/phone/{device}/follow`: who has just signed in has a live call come to that phone, if the settings
/// let it. Only to one of the caller's own session: that is where the user is.
pub(super) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    Path(device): Path<String>,
) -> Result<Json<Value>, Problem> {
    let phones = api.sessions.phones(&caller.token);
    let (Some(user), true) = (caller.user, phones.iter().any(|phone| **phone == *device)) else {
        return Err(Problem::not_found());
    };
    let command = Command::Follow { user: user.clone(), device: device.into() };
    match api.node.command(&Subject::User(user), command).await? {
        Reply::Move(view) => Ok(Json(json!({ "move": MoveView { timeline: None, ..*view } }))),
        Reply::Done => Ok(Json(json!({ "move": null }))),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `DELETE /v1/session/phone/{device}`
pub(super) async fn give_back(
    State(api): State<Api>,
    caller: Caller,
    Path(device): Path<String>,
) -> Result<StatusCode, Problem> {
    if device.len() > NAME_LEN || !api.sessions.give_back(&caller.token, &device) {
        return Err(Problem::not_found());
    }
    take_back(&api).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes back the phones that have no session any more. Whoever waits for it may go away, and sees them gone where
/// somebody else has begun with it.
pub(super) async fn take_back(api: &Api) {
    let api = api.clone();
    let work = tokio::spawn(async move {
        let _one = api.lending.lock().await;
        return_orphans(&api).await;
    });
    let _ = work.await;
}

/// Those that the node has no time for stay on the list.
async fn return_orphans(api: &Api) {
    for phone in api.sessions.take_orphans() {
        let Phone { user, device } = phone.clone();
        let command = Command::ReturnDevice { user, device };
        if !matches!(api.node.command(&Subject::Admin, command).await, Ok(Reply::Done)) {
            api.sessions.keep_orphan(phone);
        }
    }
}

/// Takes phones back for as long as the server runs.
pub(super) async fn take_back_all(api: &Api) {
    let mut due = Instant::now() + SWEEP;
    loop {
        tokio::select! {
            () = api.sessions.orphaned() => {}
            () = tokio::time::sleep_until(due.into()) => {
                api.sessions.sweep(now());
                due = Instant::now() + SWEEP;
            }
        }
        take_back(api).await;
    }
}

pub(super) async fn status(api: &Api) -> Result<Box<StatusView>, Problem> {
    match api.node.command(&Subject::Admin, Command::Status).await? {
        Reply::Status(view) => Ok(view),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// Some hexadecimal digits of a fresh token, four bits each.
fn random(digits: usize) -> Result<String, Problem> {
    let mut text = mint().map_err(|error| {
        tracing::error!(%error, "no randomness for a phone");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "No password can be made now.").after(2)
    })?;
    text.truncate(digits);
    Ok(text)
}

fn hashes(ha1: &Ha1s) -> Ha1Text {
    let hex = |bytes: &[u8]| Secret::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Ha1Text {
        md5: ha1.md5.map(|hash| hex(&hash)),
        sha256: ha1.sha256.map(|hash| hex(&hash)),
        sha512_256: ha1.sha512_256.map(|hash| hex(&hash)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(reach: &Reach, origin: Option<&str>, host: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        reach.uri(&browser::Home::new(origin.map(Box::from)), &headers)
    }

    #[test]
    fn a_page_finds_the_websocket_that_it_may_open() {
        let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let (ws, wss) = ((Transport::Ws, at(5066)), (Transport::Wss, at(5063)));
        let both = Reach::new(None, &[(Transport::Udp, at(5060)), ws, wss]);
        assert_eq!(uri(&both, None, "127.0.0.1:8080").as_deref(), Some("ws://127.0.0.1:5066"));
        assert_eq!(uri(&both, None, "[::1]:8080").as_deref(), Some("ws://[::1]:5066"));
        assert_eq!(uri(&both, Some("https://pbx"), "pbx").as_deref(), Some("wss://pbx:5063"));
        let plain = Reach::new(None, &[ws]);
        assert_eq!(uri(&plain, Some("https://pbx"), "pbx"), None, "browsers refuse mixed content");
        let named = Reach::new(Some("wss://pbx/sip".into()), &[ws]);
        assert_eq!(uri(&named, Some("https://pbx"), "pbx").as_deref(), Some("wss://pbx/sip"));
        assert_eq!(uri(&Reach::new(None, &[]), None, "pbx"), None);
    }
}
