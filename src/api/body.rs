//! Bodies: how large, how long, what they must be, and the fields in them.
//!
//! What a body takes of memory is counted before it is taken: its bytes as they come, and then, by an estimate from its
//! punctuation, what becomes of them when they are read. Fields that no call knows are dropped unread.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::envelope::{Fault, Kind};
use super::parse;
use super::shares::{Held, Turn};

/// The most bytes of a body.
const MOST: usize = 1 << 20;
/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bodies up to this size are read at once; larger ones leave the threads that answer calls.
const SMALL: usize = 16 << 10;
/// Bytes that a body is given before it comes; its buffer grows to multiples of this.
const STEP: usize = 16 << 10;

/// Reads a JSON body. Of its `request` these fields are kept, of all else `params.msgid`. What it takes of memory is held
/// as long as the second value lives.
pub(super) async fn json(
    headers: &HeaderMap,
    body: Body,
    turn: &Turn,
    fields: &'static [&'static str],
) -> Result<(Value, Held), Fault> {
    let named = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !named.is_none_or(is_json) {
        return Err(Fault::new(Kind::NotJson, "the body must be application/json"));
    }
    let read = tokio::time::timeout(PATIENCE, read(headers, body, turn)).await;
    let (bytes, held) = read.map_err(|_| Fault::new(Kind::TimedOut, "the body did not come in time"))??;
    let weight = parse::weight(&bytes);
    let held = turn.resize(held, bytes.capacity() + weight).await?;
    let value = if bytes.len() <= SMALL {
        parsed(&bytes, fields)
    } else {
        let parsing = tokio::task::spawn_blocking(move || parsed(&bytes, fields)).await;
        parsing.map_err(|panic| Fault::new(Kind::Internal, format!("the call broke off: {panic}")))?
    }?;
    Ok((value, turn.resize(held, weight).await?))
}

fn parsed(bytes: &[u8], fields: &'static [&'static str]) -> Result<Value, Fault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::bad("the body is empty"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault::bad(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    parse::body(text, fields).map_err(|error| {
        // What is JSON and refused all the same is our own word.
        let what = if error.is_data() { "has" } else { "is not JSON:" };
        Fault::bad(format!("the body {what} {error}"))
    })
}

/// `application/json`, or one of the types that say that they are JSON inside.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The bytes, as they come: a client that says how many it will send has no memory for them before it has sent them. What
/// is too large is not read to its end; the connection does that, within bounds, when it closes.
async fn read(headers: &HeaderMap, mut body: Body, turn: &Turn) -> Result<(Vec<u8>, Held), Fault> {
    let too_large = || Fault::new(Kind::TooLarge, format!("the body has more than {MOST} bytes"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MOST as u64) {
        return Err(too_large());
    }
    let mut held = turn.hold(STEP).await?;
    let mut bytes = Vec::with_capacity(STEP);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::bad("the body broke off"))?;
        let Some(data) = frame.data_ref() else { continue };
        let size = bytes.len() + data.len();
        if size > MOST {
            return Err(too_large());
        }
        if size > bytes.capacity() {
            let room = (2 * bytes.capacity()).clamp(size, MOST.max(size)).next_multiple_of(STEP);
            held = turn.resize(held, room).await?;
            bytes.reserve_exact(room - bytes.len());
        }
        bytes.extend_from_slice(data);
    }
    Ok((bytes, held))
}
/// The object that everything is in.
pub(super) fn request(body: &Value) -> Result<&Map<String, Value>, Fault> {
    let Value::Object(envelope) = body else { return Err(Fault::bad("the body must be an object")) };
    match envelope.get("request") {
        Some(Value::Object(request)) => Ok(request),
        None | Some(Value::Null) => Err(Fault::bad("request is empty")),
        Some(_) => Err(Fault::bad("request must be an object")),
    }
}

/// The value under one of these names, which mean the same; `null` is nothing there.
pub(super) fn value<'v>(request: &'v Map<String, Value>, names: &[&str]) -> Result<Option<&'v Value>, Fault> {
    let mut given = names.iter().filter_map(|name| Some((name, request.get(*name).filter(|value| !value.is_null())?)));
    let Some((name, value)) = given.next() else { return Ok(None) };
    match given.find(|(_, other)| *other != value) {
        Some((other, _)) => Err(Fault::bad(format!("{name} and {other} differ: give one of them"))),
        None => Ok(Some(value)),
    }
}

/// The same, for text.
pub(super) fn text<'v>(request: &'v Map<String, Value>, names: &[&str]) -> Result<Option<&'v str>, Fault> {
    match value(request, names)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let name = names.iter().find(|name| request.contains_key(**name)).unwrap_or(&names[0]);
            Err(Fault::bad(format!("{name} must be text")))
        }
    }
}

/// A whole number, however it is spelled: `10.0` is 10.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within bounds")]
    float.map(|float| float as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shares::Shares;

    async fn of(content_type: &str, bytes: &[u8]) -> Result<Value, Kind> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let turn = Shares::default().turn(None).unwrap();
        let read = json(&headers, Body::from(bytes.to_vec()), &turn, &["x"]).await;
        read.map(|(value, _)| value).map_err(|fault| fault.kind)
    }

    #[tokio::test]
    async fn a_body_is_json_of_at_most_a_mebibyte() {
        assert_eq!(of("application/json; charset=utf-8", b" {} ").await, Ok(serde_json::json!({})));
        assert_eq!(of("text/plain", b"{}").await, Err(Kind::NotJson));
        for bad in [&b""[..], b" \n", b"{", b"\xff\xfe", b"{\"a\": \"\xff\"}"] {
            assert_eq!(of("application/json", bad).await, Err(Kind::BadRequest), "{bad:?}");
        }
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(of("application/vnd.api+json", &deep).await, Ok(serde_json::json!([])), "passed over");
        let deep = [b"{\"request\":{\"x\":".to_vec(), deep, b"}}".to_vec()].concat();
        assert_eq!(of("application/json", &deep).await, Err(Kind::BadRequest));
        let exactly = format!("{{\"request\":{{\"x\":\"{}\"}}}}", "x".repeat(MOST - 20));
        assert_eq!(exactly.len(), MOST);
        assert!(of("application/json", exactly.as_bytes()).await.is_ok());
        for size in [MOST + 1, 4 * MOST] {
            assert_eq!(of("application/json", &vec![b' '; size]).await, Err(Kind::TooLarge), "{size}");
        }
    }
}
