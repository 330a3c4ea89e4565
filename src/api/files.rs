//! `GET /files/{key}?expires=…&signature=…`: a file of a local store, by signed link.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path as InPath, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::envelope::{Fault, Kind};
use super::{Api, fault};
use crate::outputs::{content_disposition, content_type};

/// The parts of a link after its path.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Signed {
    expires: Option<String>,
    signature: Option<String>,
}

pub(super) async fn file(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    match opened(&api, request).await {
        Ok(response) => response,
        Err(refused) => fault(&api, &refused),
    }
}

async fn opened(api: &Api, request: Request) -> Result<Response<Body>, Fault> {
    let (mut parts, _) = request.into_parts();
    let forbidden = |error: &dyn std::fmt::Display| Fault::new(Kind::Forbidden, error.to_string());
    let key = InPath::<String>::from_request_parts(&mut parts, &()).await;
    let key = key.map_err(|_| forbidden(&"the link is not valid"))?.0;
    let signed = Query::<Signed>::try_from_uri(&parts.uri).map_err(|_| forbidden(&"the link is not valid"))?.0;
    let key = api
        .links
        .open(&key, signed.expires.as_deref(), signed.signature.as_deref(), api.now())
        .map_err(|error| forbidden(&error))?;
    let missing = || Fault::new(Kind::NotFound, "the file is not there any more");
    let path = api.store.path(&key).ok_or_else(missing)?;
    // Ranges, HEAD and conditions are the crate's; a file is streamed, never held.
    understandable(&mut parts.headers, &path).await;
    let request = Request::from_parts(parts, Body::empty());
    let served = ServeFile::new(path).oneshot(request).await;
    let Ok(served) = served;
    match served.status() {
        StatusCode::NOT_FOUND => return Err(missing()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(Fault::range_not_satisfiable(served.headers().get(header::CONTENT_RANGE).cloned()));
        }
        _ => {}
    }
    let mut response = served.map(Body::new);
    let headers = response.headers_mut();
    let disposition = HeaderValue::try_from(content_disposition(&key));
    headers.insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(key.as_str())));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Makes of a `Range` what the crate understands as RFC 9110 does: several ranges may be answered by the whole file
/// (14.2), and more last bytes than there are mean all of them (14.1.2).
async fn understandable(headers: &mut HeaderMap, file: &Path) {
    let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) else { return };
    if range.contains(',') {
        headers.remove(header::RANGE);
        return;
    }
    let last: Option<u64> = range.trim().strip_prefix("bytes=-").and_then(|bytes| bytes.trim().parse().ok());
    if let Some(last) = last
        && last > 0
        && tokio::fs::metadata(file).await.is_ok_and(|file| last > file.len())
    {
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
    }
}
