//! The rules of the dial plan, and what a call would meet.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::caller::Caller;
use super::extract::{ListParams, Params};
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::engine::view::{Page, RouteQuestion, RouteTestView, RouteView};

/// Longest value of a question; the engine knows what makes sense below that.
const MAX_VALUE: usize = 256;

/// The query of a test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestParams {
    from: Box<str>,
    to: Box<str>,
    source: Option<Box<str>>,
    at: Option<Box<str>>,
}

/// `GET /v1/routes`
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    params: ListParams,
) -> Result<Json<Page<RouteView>>, Problem> {
    match api.node.command(&caller.subject, Command::ListRoutes { page: params.page() }).await? {
        Reply::Routes(page) => Ok(Json(page)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}

/// `GET /v1/routes/test`
pub(super) async fn test(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<TestParams>,
) -> Result<Json<RouteTestView>, Problem> {
    let TestParams { from, to, source, at } = params;
    let values = [Some(&from), Some(&to), source.as_ref(), at.as_ref()];
    if values.into_iter().flatten().any(|value| value.len() > MAX_VALUE) {
        return Err(Problem::invalid("a value is too long"));
    }
    let question = RouteQuestion { from, to, source, at };
    match api.node.command(&caller.subject, Command::TestRoute(question)).await? {
        Reply::RouteTest(view) => Ok(Json(*view)),
        Reply::Error(error) => Err(error.into()),
        _ => Err(Problem::misfit()),
    }
}
