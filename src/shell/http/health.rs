//! `/healthz`, `/readyz`, `/metrics`: for machines that look after machines. No token, no secret, little work.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Api, now};
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::view::{PAGE_MAX, PageQuery, StatusView, TrunkView};
use crate::shell::telemetry::CONTENT_TYPE;

/// How long an answer of the node is good for: strangers who ask more often cost the node nothing.
const FRESH: Duration = Duration::from_millis(500);

/// Whether the path is one of those that say no more than whether somebody is there.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// The last answers of the node.
#[derive(Default)]
pub(super) struct Health {
    status: Mutex<Option<(Instant, Option<StatusView>)>>,
    trunks: Mutex<Option<(Instant, Vec<TrunkView>)>>,
}

impl Health {
    /// What the node says of itself; `None` where it says nothing.
    async fn status(&self, api: &Api) -> Option<StatusView> {
        let mut last = self.status.lock().await;
        if let Some((at, status)) = &*last
            && now().saturating_duration_since(*at) < FRESH
        {
            return status.clone();
        }
        let status = match api.node.command(&Subject::Admin, Command::Status).await {
            Ok(Reply::Status(status)) => Some(*status),
            _ => None,
        };
        *last = Some((now(), status.clone()));
        status
    }

    /// What the node says of its trunks; nothing where it says nothing.
    async fn trunks(&self, api: &Api) -> Vec<TrunkView> {
        let mut last = self.trunks.lock().await;
        if let Some((at, trunks)) = &*last
            && now().saturating_duration_since(*at) < FRESH
        {
            return trunks.clone();
        }
        let command = Command::ListTrunks { page: PageQuery { cursor: None, limit: PAGE_MAX } };
        let trunks = match api.node.command(&Subject::Admin, command).await {
            Ok(Reply::Trunks(page)) => page.items,
            _ => Vec::new(),
        };
        *last = Some((now(), trunks.clone()));
        trunks
    }
}

/// `GET /healthz`: the process runs.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: it takes calls.
pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let not_ready = match api.health.status(&api).await {
        None => json!({ "status": "silent" }),
        Some(status) if status.draining => json!({ "status": "draining" }),
        Some(status) if status.store != "ok" => json!({ "status": "store", "reason": status.store }),
        Some(_) => return (StatusCode::OK, Json(json!({ "status": "ready" }))),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(not_ready))
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    match api.health.status(&api).await {
        Some(status) => {
            api.metrics.set_status(&status);
            api.metrics.set_trunks(api.health.trunks(&api).await);
        }
        None => api.metrics.forget_status(),
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.encode()).into_response()
}
