//! The page: its files, and the headers that let it load nothing from elsewhere and run nothing that is not its own.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Api;
use super::problem::Problem;
use crate::shell::page::{self, File, Keep};

/// The microphone is for this page alone; the rest of what a browser could lend a page is for nobody.
const PERMISSIONS: &str = "microphone=(self), autoplay=(self), camera=(), geolocation=(), display-capture=(), usb=(), \
    serial=(), bluetooth=(), payment=(), midi=(), hid=()";

/// Its paths. They are no part of the API and not in its document.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/", get(index)).route("/assets/{name}", get(asset))
}

/// `GET /`
async fn index(State(api): State<Api>, headers: HeaderMap) -> Response {
    let phone = api.reach.uri(&api.home, &headers);
    let mut response = match page::file("index.html") {
        Some(file) => answer(file),
        None => (StatusCode::SERVICE_UNAVAILABLE, axum::response::Html(page::NOT_BUILT)).into_response(),
    };
    guard(&mut response, phone.as_deref(), api.home.is_secure());
    response
}

/// `GET /assets/{name}`
async fn asset(State(api): State<Api>, Path(name): Path<String>) -> Response {
    let mut response = match page::file(&format!("assets/{name}")) {
        Some(file) => answer(file),
        None => Problem::not_found().into_response(),
    };
    guard(&mut response, None, api.home.is_secure());
    response
}

fn answer(file: &'static File) -> Response {
    let cache = match file.keep {
        Keep::Ask => "no-cache",
        Keep::Forever => "public, max-age=31536000, immutable",
    };
    let headers = [(header::CONTENT_TYPE, file.media_type), (header::CACHE_CONTROL, cache)];
    (headers, file.bytes).into_response()
}

/// `phone` is the one address besides our own that the page connects to.
fn guard(response: &mut Response, phone: Option<&str>, is_secure: bool) {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; \
         manifest-src 'self'; connect-src 'self' {}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        phone.unwrap_or_default()
    );
    let headers = response.headers_mut();
    // What cannot stand in a header comes from a configured address, and then nothing is let through.
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_secure {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}
