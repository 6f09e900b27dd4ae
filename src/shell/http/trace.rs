//! The messages of a call, as JSON or as a capture.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::shell::trace::{MEDIA_TYPE, pcap};

/// `GET /v1/calls/{id}/trace`
pub(super) async fn trace(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Path(call): Path<String>,
) -> Result<Response, Problem> {
    let command = Command::ShowTrace { call: call.into() };
    match api.node.command(&caller.subject, command).await? {
        Reply::Trace(view) if wants_capture(&headers) => {
            let kind = (header::CONTENT_TYPE, MEDIA_TYPE);
            let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"trace.pcap\"");
            Ok(([kind, name], pcap(&view)).into_response())
        }
        Reply::Trace(view) => Ok(Json(*view).into_response()),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// Whoever names the type wants it; `*/*` is content with JSON.
fn wants_capture(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MEDIA_TYPE)))
}
