//! Calls, registrations, users, devices and the node: lists, single ones, removal.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::Api;
use super::caller::Caller;
use super::extract::{ListParams, Name};
use super::problem::Problem;
use crate::engine::command::{Command, CommandError, NAME_LEN, Reply};
use crate::engine::view::{
    CallView, DeviceView, Page, PageQuery, QualityView, RegistrationView, StatusView, TrunkView, UserView,
};
use crate::registrar::accounts::DEVICE_SEPARATOR;

/// `GET /v1/status`
pub(super) async fn status(State(api): State<Api>, caller: Caller) -> Result<Json<StatusView>, Problem> {
    match api.node.command(&caller.subject, Command::Status).await? {
        Reply::Status(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/calls`
pub(super) async fn calls(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<CallView>>, Problem> {
    let command = Command::ListCalls { page: params.page(), user: params.user };
    match api.node.command(&caller.subject, command).await? {
        Reply::Calls(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/calls/{id}`
pub(super) async fn call(
    State(api): State<Api>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<CallView>, Problem> {
    match api.node.command(&caller.subject, Command::ShowCall { id }).await? {
        Reply::Call(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/quality/{id}`
pub(super) async fn quality(
    State(api): State<Api>,
    caller: Caller,
    Name(call): Name,
) -> Result<Json<QualityView>, Problem> {
    match api.node.command(&caller.subject, Command::ShowQuality { call }).await? {
        Reply::Quality(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `DELETE /v1/calls/{id}`
pub(super) async fn hang_up(
    State(api): State<Api>,
    caller: Caller,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    done(api.node.command(&caller.subject, Command::HangUp { id }).await?)
}

/// `GET /v1/registrations`
pub(super) async fn registrations(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<RegistrationView>>, Problem> {
    let command = Command::ListRegistrations { page: params.page(), user: params.user };
    match api.node.command(&caller.subject, command).await? {
        Reply::Registrations(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/trunks`
pub(super) async fn trunks(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<TrunkView>>, Problem> {
    match api.node.command(&caller.subject, Command::ListTrunks { page: params.page() }).await? {
        Reply::Trunks(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `DELETE /v1/registrations/{user}/{device}`
pub(super) async fn kick(
    State(api): State<Api>,
    caller: Caller,
    Path((user, device)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    if user.len() > NAME_LEN || device.len() > NAME_LEN {
        return Err(Problem::not_found());
    }
    let command = Command::KickRegistration { user: user.into(), device: Some(device.into()) };
    done(api.node.command(&caller.subject, command).await?)
}

/// `DELETE /v1/users/{name}/hot-desk`
pub(super) async fn sign_out(
    State(api): State<Api>,
    caller: Caller,
    Name(name): Name,
) -> Result<StatusCode, Problem> {
    done(api.node.command(&caller.subject, Command::SignOut { user: name }).await?)
}

/// `GET /v1/users`
pub(super) async fn users(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<UserView>>, Problem> {
    if let Some(name) = &params.user {
        let items = show_user(&api, &caller, name).await?.into_iter().collect();
        return Ok(Json(Page { items, next: None }));
    }
    Ok(Json(list_users(&api, &caller, params.page()).await?))
}

/// `GET /v1/users/{name}`
pub(super) async fn user(
    State(api): State<Api>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<UserView>, Problem> {
    show_user(&api, &caller, &name).await?.map(Json).ok_or_else(Problem::not_found)
}

/// `GET /v1/devices`: by user, then as the account has them.
pub(super) async fn devices(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<DeviceView>>, Problem> {
    let page = params.page();
    let cursor =
        page.cursor.as_deref().map(|cursor| cursor.split_once(DEVICE_SEPARATOR).unwrap_or((cursor, "")));
    let mut devices = Vec::new();
    // Where to go on if no device stands here: after the last user that was looked at.
    let mut after_users = None;
    if let Some(name) = &params.user {
        let user = show_user(&api, &caller, name).await?;
        devices.extend(user.into_iter().flat_map(|user| user.devices));
    } else {
        // The rest of the user at the cursor, then the users after.
        if let Some((name, _)) = cursor {
            devices.extend(show_user(&api, &caller, name).await?.into_iter().flat_map(|user| user.devices));
        }
        let after = PageQuery { cursor: cursor.map(|(name, _)| name.into()), limit: page.limit };
        let users = list_users(&api, &caller, after).await?;
        after_users = users.next.map(|name| format!("{name}{DEVICE_SEPARATOR}"));
        devices.extend(users.items.into_iter().flat_map(|user| user.devices));
    }
    devices.sort_by(|a, b| (&a.user, &a.id).cmp(&(&b.user, &b.id)));
    if let Some((name, id)) = cursor {
        devices.retain(|device| (device.user.as_str(), device.id.as_str()) > (name, id));
    }
    let limit = usize::from(page.limit);
    let more = devices.len() > limit || after_users.is_some();
    devices.truncate(limit);
    let next = devices.last().filter(|_| more).map(|device| device.address.clone()).or(after_users);
    Ok(Json(Page { items: devices, next }))
}

async fn list_users(api: &Api, caller: &Caller, page: PageQuery) -> Result<Page<UserView>, Problem> {
    match api.node.command(&caller.subject, Command::ListUsers { page }).await? {
        Reply::Users(page) => Ok(page),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

async fn show_user(api: &Api, caller: &Caller, name: &str) -> Result<Option<UserView>, Problem> {
    match api.node.command(&caller.subject, Command::ShowUser { name: name.into() }).await? {
        Reply::User(view) => Ok(Some(*view)),
        Reply::Error(CommandError::NotFound) => Ok(None),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

pub(super) fn done(reply: Reply) -> Result<StatusCode, Problem> {
    match reply {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}
