//! Errors as RFC 9457 problem details, and the one table from a command's error to its status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::engine::command::CommandError;
use crate::shell::control::Unavailable;

/// An error answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Box<str>,
    detail: Box<str>,
    retry_after: Option<u32>,
}

impl Problem {
    /// `code` is a word for programs, `detail` a sentence for people.
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<Box<str>>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), retry_after: None }
    }

    /// Says when to come back.
    pub(super) fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// A value of the request makes no sense.
    pub(super) fn invalid(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// No such thing, or not for whoever asks.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing here.")
    }

    /// No token, or one that does not hold: which of the two is not said.
    pub(super) fn unauthorized() -> Self {
        let detail = "A bearer token is needed; get one with POST /v1/login.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// An answer of the engine that does not fit its command.
    pub(super) fn misfit() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The node gave an answer that does not fit.")
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::NotFound => Self::not_found(),
            CommandError::Forbidden => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "Only an administrator may do that.")
            }
            CommandError::Invalid { .. } => Self::invalid(detail),
            CommandError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", detail),
            CommandError::Refused { reason, text, status, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CONFLICT);
                Self { retry_after, ..Self::new(status, &reason, text) }
            }
            CommandError::Faulty { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", detail)
            }
            CommandError::TooMany { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail).after(retry_after)
            }
            CommandError::Unavailable { retry_after, .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(retry_after)
            }
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        CommandError::from(unavailable).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("code".into(), Value::from(&*self.code));
        body.insert("detail".into(), Value::from(&*self.detail));
        if let Some(seconds) = self.retry_after {
            body.insert("retry_after".into(), seconds.into());
        }
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"segue\""));
        }
        response
    }
}
