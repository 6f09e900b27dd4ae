//! The OpenAPI 3.1 document, made from the table of routes.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Api;
use super::routes::{Access, Answer, ROUTES, Route};
use super::schema::{reference, schemas};

/// `GET /v1/openapi.json`
pub(super) async fn document(State(api): State<Api>) -> Response {
    let mut response = Response::new(Body::from(api.openapi.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The document as it is sent.
pub(super) fn encode(version: &str) -> Bytes {
    build(version).to_string().into()
}

/// The document.
pub(super) fn build(version: &str) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.into(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "segue",
            "version": version,
            "description": "Live calls of a node and their moves between devices. A user's token comes from \
                /v1/login and shows that user's own things; the administrator's stands in the file admin.token of \
                the data directory.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": "segue" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".into(), route.summary.into());
    operation.insert("operationId".into(), operation_id(route).into());
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .chain(route.query.iter().map(|name| query_parameter(route, name)))
        .collect();
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": reference(body) } });
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    if route.access != Access::Open {
        operation.insert("security".into(), json!([{ "token": [] }, { "cookie": [] }]));
    }
    operation.insert("responses".into(), responses(route));
    operation.into()
}

fn responses(route: &Route) -> Value {
    let (status, answer) = route.answer;
    let success = match answer {
        Answer::Empty => json!({ "description": "Done" }),
        Answer::Json(schema) => json!({
            "description": "Done",
            "content": { "application/json": { "schema": reference(schema) } },
        }),
        Answer::JsonOr(schema, media) => json!({
            "description": "Done",
            "content": {
                "application/json": { "schema": reference(schema) },
                media: { "schema": { "type": "string", "format": "binary" } },
            },
        }),
        Answer::Media(media) => {
            json!({ "description": "Done", "content": { media: { "schema": { "type": "string" } } } })
        }
    };
    let mut responses = Map::new();
    responses.insert(status.to_string(), success);
    for failure in failures(route) {
        responses.insert(
            failure.to_string(),
            json!({
                "description": "Not done",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            }),
        );
    }
    responses.into()
}

/// Every status of failure that the route can give.
pub(super) fn failures(route: &Route) -> Vec<u16> {
    let by_access: &[u16] = match route.access {
        Access::Open => &[],
        Access::Token | Access::Admin => &[400, 401, 403, 429, 503],
    };
    let mut all: Vec<u16> = by_access.iter().chain(route.failures).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn query_parameter(route: &Route, name: &str) -> Value {
    let schema = match name {
        "dry_run" => json!({ "type": "boolean" }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": crate::engine::view::PAGE_MAX }),
        _ => json!({ "type": "string" }),
    };
    let is_test = route.path == "/v1/routes/test";
    let description = match name {
        "from" if is_test => "Who calls: a user, an extension or a device; from a trunk, a number",
        "to" if is_test => "The number that is dialled",
        "source" => "Where the call comes from: `trunk:NAME`, or the address of a user's device",
        "at" => "When, by the clock of the node unless it says another: `2026-12-24T18:00`; without it now",
        "user" => "Only this user's",
        "cursor" => "The `next` of the part before",
        "limit" => "Most items of this part",
        "from" => "Only of this caller",
        "to" => "Only to this number, as it was dialled",
        "since" => "Only what came in at this time or later (RFC 3339, UTC)",
        "until" => "Only what came in before this time",
        "dry_run" => "Whether nothing is to be changed",
        "types" => "Kinds of events by comma: `call` is every `call.…`",
        _ => "",
    };
    let mut parameter = json!({ "name": name, "in": "query", "description": description, "schema": schema });
    if is_test && ["from", "to"].contains(&name) {
        let all = parameter.as_object_mut();
        all.into_iter().for_each(|all| drop(all.insert("required".into(), true.into())));
    }
    parameter
}

fn operation_id(route: &Route) -> String {
    let parts = route.path.split(['/', '.']).filter(|part| !part.is_empty() && *part != "v1");
    let parts = parts.map(|part| part.trim_matches(['{', '}']));
    std::iter::once(route.method).chain(parts).collect::<Vec<_>>().join("_")
}
