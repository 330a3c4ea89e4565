//! `GET /files/{key}?expires=…&signature=…`: a file of a local store, by signed link.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path as InPath, Query, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::BytesMut;
use futures_util::stream::try_unfold;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::clients::ClientAddress;
use super::envelope::{ApiError, ErrorKind};
use super::ranges::{Part, Version};
use super::until_sent::UntilSent;
use super::{Api, error_response};
use crate::outputs::{StoreError, content_disposition, content_type};

/// How many bytes of a file are read at a time.
const PIECE: usize = 64 << 10;

/// The parts of a link after its path.
#[derive(Debug, Default, serde::Deserialize)]
struct Signed {
    expires: Option<String>,
    signature: Option<String>,
}

pub(super) async fn file(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    match opened(&api, request).await {
        Ok(response) => response,
        Err(error) => error_response(&api, &error),
    }
}

async fn opened(api: &Api, request: Request) -> Result<Response<Body>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let forbidden = |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::Forbidden, error.to_string());
    let key = InPath::<String>::from_request_parts(&mut parts, &()).await;
    let key = key.map_err(|_| forbidden(&"the link is not valid"))?.0;
    let signed = Query::<Signed>::try_from_uri(&parts.uri).map_err(|_| forbidden(&"the link is not valid"))?.0;
    let key = api
        .links
        .open(&key, signed.expires.as_deref(), signed.signature.as_deref(), api.now())
        .map_err(|error| forbidden(&error))?;
    let address = ClientAddress::of(&parts.extensions);
    let permit = api.limits.download(address)?;
    let missing = || ApiError::new(ErrorKind::NotFound, "the file is not there any more");
    let (store, wanted) = (api.store.clone(), key.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let file = store.open(&wanted)?;
        Ok::<_, StoreError>(file.map(|file| (file.metadata(), file)))
    });
    let found = match opening.await {
        Ok(Ok(found)) => found,
        // A directory or a symbolic link is in its place: reports are neither.
        Ok(Err(error)) if error.is_no_file() => None,
        Ok(Err(error)) => return Err(unreadable(&error)),
        Err(panic) => return Err(ApiError::panicked(&panic)),
    };
    let (about, file) = found.ok_or_else(missing)?;
    let (about, file) = (about.map_err(|error| unreadable(&error))?, File::from_std(file));
    let version = Version::new(about.len(), about.modified().ok());
    let mut response = match version.part(&parts.method, &parts.headers) {
        Part::Whole => bytes(file, 0, version.len).await?,
        Part::Bytes(first, last) => {
            let mut response = bytes(file, first, last - first + 1).await?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{}", version.len));
            response.headers_mut().extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
            response
        }
        Part::NotModified => nothing(StatusCode::NOT_MODIFIED),
        Part::Changed => nothing(StatusCode::PRECONDITION_FAILED),
        Part::Outside => {
            return Err(ApiError::range_not_satisfiable(
                HeaderValue::try_from(format!("bytes */{}", version.len)).ok(),
            ));
        }
    };
    let headers = response.headers_mut();
    headers.extend(version.headers());
    let disposition = HeaderValue::try_from(content_disposition(&key));
    headers.insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(key.as_str())));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response.extensions_mut().insert(UntilSent::new(permit));
    // By its key: whose request the file was made for.
    let request = key.origin().map(|origin| format!("{}/{}", origin.tag, origin.request_id));
    api.audit.downloaded(request.as_deref().unwrap_or("none"), key.as_str(), address, response.status());
    Ok(response)
}

fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("the file cannot be read: {error}"))
}

fn nothing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// `length` bytes of a file from `first` on, streamed. If the file turns out shorter the connection breaks off, so that the
/// client does not take it for whole.
async fn bytes(mut file: File, first: u64, length: u64) -> Result<Response<Body>, ApiError> {
    if first > 0 {
        file.seek(io::SeekFrom::Start(first)).await.map_err(|error| unreadable(&error))?;
    }
    let stream = try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(usize::try_from(left).map_or(PIECE, |left| left.min(PIECE)));
        let read = (&mut file).take(left).read_buf(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(Some((piece.freeze(), (file, left - read as u64))))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}
