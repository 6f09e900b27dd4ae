//! Every route, once: the router and the OpenAPI document are both made from this table.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};

use super::{Api, events, health, login, moves, openapi, resources};

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Whoever holds a token, for what is theirs.
    Token,
    /// The administrator.
    Admin,
}

/// One operation.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    /// Names of query parameters.
    pub(super) query: &'static [&'static str],
    /// Schema of the body.
    pub(super) body: Option<&'static str>,
    /// Status of success, and the schema or media type of its body.
    pub(super) answer: (u16, Answer),
    /// Statuses of failure beside those that every route has: 400, 401, 403 (by access), 429, 503.
    pub(super) failures: &'static [u16],
    handler: fn() -> MethodRouter<Api>,
}

/// What the body of a success is.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Empty,
    Json(&'static str),
    Media(&'static str),
}

const LIST: &[&str] = &["user", "cursor", "limit"];

/// The table.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "post",
        path: "/v1/login",
        summary: "Sign in: a bearer token for a user and a password",
        access: Access::Open,
        query: &[],
        body: Some("Credentials"),
        answer: (200, Answer::Json("Token")),
        failures: &[400, 401, 413, 415, 429, 503],
        handler: || post(login::login),
    },
    Route {
        method: "post",
        path: "/v1/logout",
        summary: "Sign out: the token holds no longer",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (204, Answer::Empty),
        failures: &[],
        handler: || post(login::logout),
    },
    Route {
        method: "get",
        path: "/v1/status",
        summary: "How the node is",
        access: Access::Admin,
        query: &[],
        body: None,
        answer: (200, Answer::Json("Status")),
        failures: &[],
        handler: || get(resources::status),
    },
    Route {
        method: "get",
        path: "/v1/calls",
        summary: "Live calls, oldest first",
        access: Access::Token,
        query: LIST,
        body: None,
        answer: (200, Answer::Json("CallList")),
        failures: &[404],
        handler: || get(resources::calls),
    },
    Route {
        method: "get",
        path: "/v1/calls/{id}",
        summary: "A live call",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (200, Answer::Json("Call")),
        failures: &[404],
        handler: || get(resources::call),
    },
    Route {
        method: "delete",
        path: "/v1/calls/{id}",
        summary: "Hang up",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (204, Answer::Empty),
        failures: &[404],
        handler: || delete(resources::hang_up),
    },
    Route {
        method: "post",
        path: "/v1/moves",
        summary: "Move a live call to another device of its user",
        access: Access::Token,
        query: &[],
        body: Some("NewMove"),
        answer: (202, Answer::Json("Accepted")),
        failures: &[404, 409, 410, 413, 415, 422, 504],
        handler: || post(moves::start),
    },
    Route {
        method: "get",
        path: "/v1/moves",
        summary: "Moves, newest first",
        access: Access::Token,
        query: LIST,
        body: None,
        answer: (200, Answer::Json("MoveList")),
        failures: &[404],
        handler: || get(moves::list),
    },
    Route {
        method: "get",
        path: "/v1/moves/{id}",
        summary: "A move with its timeline",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (200, Answer::Json("Move")),
        failures: &[404],
        handler: || get(moves::show),
    },
    Route {
        method: "post",
        path: "/v1/moves/{id}/undo",
        summary: "Take a move back and end its hold-off",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (202, Answer::Json("Accepted")),
        failures: &[404, 409, 410, 422, 504],
        handler: || post(moves::undo),
    },
    Route {
        method: "get",
        path: "/v1/users",
        summary: "Users and their devices, by name",
        access: Access::Token,
        query: LIST,
        body: None,
        answer: (200, Answer::Json("UserList")),
        failures: &[],
        handler: || get(resources::users),
    },
    Route {
        method: "get",
        path: "/v1/users/{name}",
        summary: "A user",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (200, Answer::Json("User")),
        failures: &[404],
        handler: || get(resources::user),
    },
    Route {
        method: "get",
        path: "/v1/devices",
        summary: "Devices, by user and name",
        access: Access::Token,
        query: LIST,
        body: None,
        answer: (200, Answer::Json("DeviceList")),
        failures: &[],
        handler: || get(resources::devices),
    },
    Route {
        method: "get",
        path: "/v1/registrations",
        summary: "Registered devices",
        access: Access::Token,
        query: LIST,
        body: None,
        answer: (200, Answer::Json("RegistrationList")),
        failures: &[404],
        handler: || get(resources::registrations),
    },
    Route {
        method: "delete",
        path: "/v1/registrations/{user}/{device}",
        summary: "Remove the registrations of a device",
        access: Access::Token,
        query: &[],
        body: None,
        answer: (204, Answer::Empty),
        failures: &[404],
        handler: || delete(resources::kick),
    },
    Route {
        method: "get",
        path: "/v1/events",
        summary: "What happens, as server-sent events of schema Event; Last-Event-ID resumes",
        access: Access::Token,
        query: &["types"],
        body: None,
        answer: (200, Answer::Media("text/event-stream")),
        failures: &[],
        handler: || get(events::stream),
    },
    Route {
        method: "get",
        path: "/v1/openapi.json",
        summary: "This document",
        access: Access::Open,
        query: &[],
        body: None,
        answer: (200, Answer::Json("Document")),
        failures: &[],
        handler: || get(openapi::document),
    },
    Route {
        method: "get",
        path: "/healthz",
        summary: "The process runs",
        access: Access::Open,
        query: &[],
        body: None,
        answer: (200, Answer::Json("State")),
        failures: &[],
        handler: || get(health::healthz),
    },
    Route {
        method: "get",
        path: "/readyz",
        summary: "The node takes calls; 503 with the same body where it does not",
        access: Access::Open,
        query: &[],
        body: None,
        answer: (200, Answer::Json("State")),
        failures: &[],
        handler: || get(health::readyz),
    },
    Route {
        method: "get",
        path: "/metrics",
        summary: "Metrics for Prometheus",
        access: Access::Open,
        query: &[],
        body: None,
        answer: (200, Answer::Media("application/openmetrics-text")),
        failures: &[],
        handler: || get(health::metrics),
    },
];

/// The router of the table.
pub(super) fn router() -> Router<Api> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}
