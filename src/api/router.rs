//! Which handler answers which path.

use std::future::Ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::routing::{MethodFilter, get, on};

use super::call::{self, Method};
use super::envelope::{ApiError, ErrorKind};
use super::{Api, CALLS, PREFIX, describe, docs, error_response, files, health, metrics};

/// Every path of the API.
pub(super) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for call in CALLS {
        let (method, allowed) = match call.method {
            Method::Get => (MethodFilter::GET, "GET,HEAD"),
            Method::Post | Method::Act => (MethodFilter::POST, "POST"),
        };
        for path in [call.path.to_owned(), format!("{PREFIX}{}", call.path)] {
            let own = Arc::clone(api);
            let answer = move |request: Request| call::run(Arc::clone(&own), call, request);
            router = router.route(&path, on(method, answer).fallback(other_method(api, allowed)));
        }
    }
    let get_only = || other_method(api, "GET,HEAD");
    if !api.store.is_remote() {
        router = router.route("/files/{*key}", get(files::file).fallback(get_only()));
    }
    router
        .route("/health", get(health::health).fallback(get_only()))
        .route("/readyz", get(health::health).fallback(get_only()))
        .route("/livez", get(health::live).fallback(get_only()))
        .route("/metrics", get(metrics::metrics).fallback(get_only()))
        .route("/openapi.json", get(describe::openapi).fallback(get_only()))
        .route("/docs", get(docs::page).fallback(get_only()))
        .route("/docs/", get(docs::start).fallback(get_only()))
        .route("/docs/{file}", get(docs::file).fallback(get_only()))
        .fallback(always(api, ApiError::new(ErrorKind::NotFound, "there is no such path")))
        .with_state(Arc::clone(api))
}

fn other_method(api: &Arc<Api>, allowed: &'static str) -> impl Fn() -> Ready<Response<Body>> + Clone + Send + 'static {
    always(api, ApiError::method_not_allowed(allowed))
}

/// A handler that always answers this error.
fn always(api: &Arc<Api>, error: ApiError) -> impl Fn() -> Ready<Response<Body>> + Clone + Send + 'static {
    let api = Arc::clone(api);
    move || std::future::ready(error_response(&api, &error))
}
