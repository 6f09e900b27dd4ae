//! What operators look at: call records, and sources that are not listened to.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Api;
use super::caller::Caller;
use super::extract::{ListParams, Name, Params, page_of};
use super::problem::Problem;
use super::resources::done;
use crate::base::UnixMillis;
use crate::call::record::CallRecord;
use crate::engine::ReloadView;
use crate::engine::command::{Command, Reply};
use crate::engine::view::{BanView, Page, RecordQuery, Time};

/// The query of call records.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordParams {
    user: Option<Box<str>>,
    from: Option<Box<str>>,
    to: Option<Box<str>>,
    since: Option<Box<str>>,
    until: Option<Box<str>>,
    cursor: Option<Box<str>>,
    limit: Option<u16>,
}

/// `GET /v1/cdrs`
pub(super) async fn records(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<RecordParams>,
) -> Result<Json<Page<CallRecord>>, Problem> {
    let page = page_of(params.cursor, params.limit)?;
    let wanted = RecordQuery {
        user: params.user,
        from: params.from,
        to: params.to,
        since: time_of("since", params.since.as_deref())?,
        until: time_of("until", params.until.as_deref())?,
    };
    match api.node.command(&caller.subject, Command::ListRecords { wanted, page }).await? {
        Reply::Records(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

fn time_of(name: &str, text: Option<&str>) -> Result<Option<UnixMillis>, Problem> {
    let read = |text: &str| {
        Time::read(text)
            .ok_or_else(|| Problem::invalid(format!("{name}: not a time, as 2026-11-28T08:00:00Z")))
    };
    text.map(|text| read(text).map(|Time(at)| at)).transpose()
}

/// `GET /v1/cdrs/{id}`
pub(super) async fn record(
    State(api): State<Api>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<CallRecord>, Problem> {
    match api.node.command(&caller.subject, Command::ShowRecord { id }).await? {
        Reply::Record(record) => Ok(Json(*record)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// The query of a reload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadParams {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/reload`
pub(super) async fn reload(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ReloadParams>,
) -> Result<Json<ReloadView>, Problem> {
    let command = Command::Reload { dry_run: params.dry_run };
    match api.node.command(&caller.subject, command).await? {
        Reply::Reload(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/bans`
pub(super) async fn bans(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<BanView>>, Problem> {
    match api.node.command(&caller.subject, Command::ListBans { page: params.page() }).await? {
        Reply::Bans(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `DELETE /v1/bans/{address}`
pub(super) async fn lift_ban(
    State(api): State<Api>,
    caller: Caller,
    Name(address): Name,
) -> Result<StatusCode, Problem> {
    let address = address.parse().map_err(|_| Problem::not_found())?;
    done(api.node.command(&caller.subject, Command::LiftBan { address }).await?)
}
