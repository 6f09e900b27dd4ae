//! `GET /v1/reports/{run}`: what the calls of a test run came to, in the form that is asked for.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::caller::Caller;
use super::extract::Name;
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::shell::report;

const CSV: &str = "text/csv";
const SVG: &str = "image/svg+xml";

/// The report; JSON unless another form stands first in Accept.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Name(run): Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = match api.node.command(&caller.subject, Command::ShowReport { run }).await? {
        Reply::Report(found) => found,
        Reply::Error(error) => return Err(error.into()),
        _ => return Err(Problem::misfit()),
    };
    let mut response = match wanted(&headers) {
        Some(CSV) => ([(header::CONTENT_TYPE, CSV)], report::csv(&found)).into_response(),
        Some(SVG) => ([(header::CONTENT_TYPE, SVG)], report::svg(&found)).into_response(),
        _ => Json(*found).into_response(),
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("Accept"));
    Ok(response)
}

/// The first form of Accept that there is.
fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get(header::ACCEPT)?.to_str().ok()?;
    let forms = accepted.split(',').map(|form| form.split(';').next().unwrap_or_default().trim());
    forms.filter_map(|form| ["application/json", CSV, SVG].into_iter().find(|known| *known == form)).next()
}
