//! Moves: start, show, take back.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::caller::Caller;
use super::extract::{Body, ListParams, Name};
use super::problem::Problem;
use crate::engine::command::{Command, MoveMode, NAME_LEN, Reply, StartMove, Subject};
use crate::engine::view::{MoveView, Page};
use crate::moving::Trigger;
use crate::registrar::accounts::DEVICE_SEPARATOR;

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMove {
    /// Which call; without it the user's live one.
    call: Option<Box<str>>,
    /// `mobile`, or `alice*mobile`.
    to_device: Box<str>,
    /// How the device is asked.
    #[serde(default)]
    mode: MoveMode,
    /// Whose call; an administrator's request may need it, a user's is always about own calls.
    user: Option<Box<str>>,
}

/// `POST /v1/moves`
pub(super) async fn start(
    State(api): State<Api>,
    caller: Caller,
    Body(wanted): Body<NewMove>,
) -> Result<Response, Problem> {
    let call = wanted.call;
    if wanted.to_device.len() > 2 * NAME_LEN + 1 || call.as_ref().is_some_and(|id| id.len() > NAME_LEN) {
        return Err(Problem::not_found());
    }
    let (owner, device) = match wanted.to_device.split_once(DEVICE_SEPARATOR) {
        Some((owner, device)) => (Some(owner), device),
        None => (None, &*wanted.to_device),
    };
    let named = match (wanted.user.as_deref(), owner) {
        (Some(user), Some(owner)) if user != owner => {
            return Err(Problem::invalid("to_device: a call moves between devices of one user"));
        }
        (user, owner) => user.or(owner),
    };
    let user: Box<str> = match (&caller.subject, named) {
        (Subject::User(own), Some(named)) if **own != *named => return Err(Problem::not_found()),
        (Subject::User(own), _) => own.clone(),
        (Subject::Admin, Some(named)) => named.into(),
        (Subject::Admin, None) => owner_of(&api, &caller, call.as_deref()).await?,
    };
    let start =
        StartMove { user, call, to_device: Some(device.into()), mode: wanted.mode, trigger: Trigger::Http };
    accepted(api.node.command(&caller.subject, Command::StartMove(start)).await?)
}

/// Whose call it is, where an administrator names only the call.
async fn owner_of(api: &Api, caller: &Caller, call: Option<&str>) -> Result<Box<str>, Problem> {
    let Some(id) = call else {
        return Err(Problem::invalid("user: an administrator says whose call, or which"));
    };
    match api.node.command(&caller.subject, Command::ShowCall { id: id.into() }).await? {
        Reply::Call(call) => call.user.map(String::into_boxed_str).ok_or_else(Problem::not_found),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/moves`
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<MoveView>>, Problem> {
    let command = Command::ListMoves { page: params.page(), user: params.user };
    match api.node.command(&caller.subject, command).await? {
        Reply::Moves(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/moves/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<MoveView>, Problem> {
    match api.node.command(&caller.subject, Command::ShowMove { id }).await? {
        Reply::Move(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `POST /v1/moves/{id}/undo`
pub(super) async fn undo(
    State(api): State<Api>,
    caller: Caller,
    Name(id): Name,
) -> Result<Response, Problem> {
    accepted(api.node.command(&caller.subject, Command::UndoMove { id }).await?)
}

/// 202 with the id of the move that is on its way.
fn accepted(reply: Reply) -> Result<Response, Problem> {
    match reply {
        Reply::Move(view) => {
            let location = format!("/v1/moves/{}", view.id);
            let body = Json(json!({ "id": view.id, "state": view.state }));
            Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
        }
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}
