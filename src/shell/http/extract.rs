//! Bodies and parameters of requests, with faults told as problems.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::problem::Problem;
use crate::engine::command::NAME_LEN;
use crate::engine::view::{PAGE_DEFAULT, PAGE_MAX, PageQuery};

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, api).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "The body must be application/json.",
            )),
            // The text of a rejection may quote the body; a body may hold a password. It goes to its sender only.
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is larger than any that makes sense here.",
            )),
            Err(rejection) => Err(Problem::invalid(rejection.body_text())),
        }
    }
}

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    pub(super) user: Option<Box<str>>,
    cursor: Option<Box<str>>,
    limit: Option<u16>,
}

impl ListParams {
    pub(super) fn page(&self) -> PageQuery {
        PageQuery { cursor: self.cursor.clone(), limit: self.limit.unwrap_or(PAGE_DEFAULT) }
    }
}

impl FromRequestParts<Api> for ListParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let Params(params) = Params::<Self>::of(parts)?;
        page_of(params.cursor.clone(), params.limit)?;
        Ok(params)
    }
}

/// The part of a list that is asked for.
pub(super) fn page_of(cursor: Option<Box<str>>, limit: Option<u16>) -> Result<PageQuery, Problem> {
    if limit.is_some_and(|limit| limit == 0 || limit > PAGE_MAX) {
        return Err(Problem::invalid(format!("limit: from 1 to {PAGE_MAX}")));
    }
    if cursor.as_ref().is_some_and(|cursor| cursor.len() > 1024) {
        return Err(Problem::invalid("cursor: not one of this list"));
    }
    Ok(PageQuery { cursor, limit: limit.unwrap_or(PAGE_DEFAULT) })
}

/// Any other query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> Params<T> {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::invalid(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        Self::of(parts)
    }
}

/// A name in the path. What is too long for a name is the name of nothing.
pub(super) struct Name(pub(super) Box<str>);

impl FromRequestParts<Api> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, api).await {
            Ok(Path(name)) if name.len() <= NAME_LEN => Ok(Self(name.into())),
            _ => Err(Problem::not_found()),
        }
    }
}
