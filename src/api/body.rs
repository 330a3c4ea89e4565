//! Bodies: how large, how long, what they must be, and the fields in them.
//!
//! The memory of a body is acquired before it is used: that of its bytes as they arrive, and then, estimated from its
//! punctuation, that of its parsed values. Fields that no call knows are not kept.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::envelope::{ApiError, ErrorKind};
use super::limits::BodyMemory;
use super::parse;
use super::pool::Permit;

/// The most bytes of a body.
const MOST: usize = 1 << 20;
/// How long a body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies up to this size are parsed at once; larger ones on another thread than those that answer calls.
const SMALL: usize = 16 << 10;
/// Bytes of the buffer before the body arrives; it grows to multiples of this.
const STEP: usize = 16 << 10;

/// Reads a JSON body. Kept are these fields of its `request`, and `params.msgid`. The permit is for the memory of the value.
pub(super) async fn json(
    headers: &HeaderMap,
    body: Body,
    memory: &BodyMemory<'_>,
    fields: &'static [&'static str],
) -> Result<(Value, Permit), ApiError> {
    let named = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !named.is_none_or(is_json) {
        return Err(ApiError::new(ErrorKind::NotJson, "the body must be application/json"));
    }
    let read = tokio::time::timeout(TIMEOUT, read(headers, body, memory)).await;
    let (bytes, held) = read.map_err(|_| ApiError::new(ErrorKind::TimedOut, "the body did not come in time"))??;
    let weight = parse::weight(&bytes);
    let held = memory.resize(held, bytes.capacity() + weight).await?;
    let value = if bytes.len() <= SMALL {
        parsed(&bytes, fields)
    } else {
        let parsing = tokio::task::spawn_blocking(move || parsed(&bytes, fields)).await;
        parsing.map_err(|panic| ApiError::panicked(&panic))?
    }?;
    Ok((value, memory.resize(held, weight).await?))
}

fn parsed(bytes: &[u8], fields: &'static [&'static str]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad("the body is empty"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ApiError::bad(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    parse::body(text, fields).map_err(|error| {
        // JSON that is refused for another reason: the text is our own.
        let what = if error.is_data() { "has" } else { "is not JSON:" };
        ApiError::bad(format!("the body {what} {error}"))
    })
}

/// `application/json`, or one of the types that say that they are JSON inside.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The bytes. Memory is acquired as they arrive: announcing many bytes costs nothing. A body that is too large is not read
/// to its end; the connection does that, within bounds, when it closes.
async fn read(headers: &HeaderMap, mut body: Body, memory: &BodyMemory<'_>) -> Result<(Vec<u8>, Permit), ApiError> {
    let too_large = || ApiError::new(ErrorKind::TooLarge, format!("the body has more than {MOST} bytes"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MOST as u64) {
        return Err(too_large());
    }
    let mut held = memory.acquire(STEP).await?;
    let mut bytes = Vec::with_capacity(STEP);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad("the body broke off"))?;
        let Some(data) = frame.data_ref() else { continue };
        let size = bytes.len() + data.len();
        if size > MOST {
            return Err(too_large());
        }
        if size > bytes.capacity() {
            let room = (2 * bytes.capacity()).clamp(size, MOST.max(size)).next_multiple_of(STEP);
            held = memory.resize(held, room).await?;
            bytes.reserve_exact(room - bytes.len());
        }
        bytes.extend_from_slice(data);
    }
    Ok((bytes, held))
}

/// The object `request` of a body.
pub(super) fn request(body: &Value) -> Result<&Map<String, Value>, ApiError> {
    let Value::Object(envelope) = body else { return Err(ApiError::bad("the body must be an object")) };
    match envelope.get("request") {
        Some(Value::Object(request)) => Ok(request),
        None | Some(Value::Null) => Err(ApiError::bad("request is empty")),
        Some(_) => Err(ApiError::bad("request must be an object")),
    }
}

/// The value under one of these names, which mean the same; `null` counts as absent.
pub(super) fn value<'v>(request: &'v Map<String, Value>, names: &[&str]) -> Result<Option<&'v Value>, ApiError> {
    let mut given = names.iter().filter_map(|name| Some((name, request.get(*name).filter(|value| !value.is_null())?)));
    let Some((name, value)) = given.next() else { return Ok(None) };
    match given.find(|(_, other)| *other != value) {
        Some((other, _)) => Err(ApiError::bad(format!("{name} and {other} differ: give one of them"))),
        None => Ok(Some(value)),
    }
}

/// The same, for text.
pub(super) fn text<'v>(request: &'v Map<String, Value>, names: &[&str]) -> Result<Option<&'v str>, ApiError> {
    match value(request, names)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let name = names.iter().find(|name| request.contains_key(**name)).unwrap_or(&names[0]);
            Err(ApiError::bad(format!("{name} must be text")))
        }
    }
}

/// A whole number in any spelling: `10.0` is 10.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within bounds")]
    float.map(|float| float as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::limits::Limits;

    async fn of(content_type: &str, bytes: &[u8]) -> Result<Value, ErrorKind> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let limits = Limits::default();
        let read = json(&headers, Body::from(bytes.to_vec()), &limits.body_memory(None), &["x"]).await;
        read.map(|(value, _)| value).map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn a_body_is_json_of_at_most_a_mebibyte() {
        assert_eq!(of("application/json; charset=utf-8", b" {} ").await, Ok(serde_json::json!({})));
        assert_eq!(of("text/plain", b"{}").await, Err(ErrorKind::NotJson));
        for bad in [&b""[..], b" \n", b"{", b"\xff\xfe", b"{\"a\": \"\xff\"}"] {
            assert_eq!(of("application/json", bad).await, Err(ErrorKind::BadRequest), "{bad:?}");
        }
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(of("application/vnd.api+json", &deep).await, Ok(serde_json::json!([])), "not kept");
        let deep = [b"{\"request\":{\"x\":".to_vec(), deep, b"}}".to_vec()].concat();
        assert_eq!(of("application/json", &deep).await, Err(ErrorKind::BadRequest));
        let exactly = format!("{{\"request\":{{\"x\":\"{}\"}}}}", "x".repeat(MOST - 20));
        assert_eq!(exactly.len(), MOST);
        assert!(of("application/json", exactly.as_bytes()).await.is_ok());
        for size in [MOST + 1, 4 * MOST] {
            assert_eq!(of("application/json", &vec![b' '; size]).await, Err(ErrorKind::TooLarge), "{size}");
        }
    }
}
