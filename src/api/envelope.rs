//! The envelope around every answer of `/job/…`, and around every error anywhere.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::pool::Permit;

/// The `id` of errors outside `/job/…`.
pub(super) const OUTSIDE: &str = "ekstep.analytics.api";

/// Why a call is not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// A field is missing or wrong.
    BadRequest,
    /// No key, or one that is not known.
    Unauthorized,
    /// The key does not cover it, or a link is not valid.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// The body did not come in time.
    TimedOut,
    /// The request is in a state that does not allow it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON by its own account.
    NotJson,
    /// The file has no such range.
    Range,
    /// Over a limit of the key.
    TooMany,
    /// An error of the server.
    Internal,
    /// An error of the server that may pass.
    Unavailable,
    /// The call takes longer than one call may.
    TooSlow,
}

impl ErrorKind {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Range => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `responseCode`.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::BadRequest
            | Self::MethodNotAllowed
            | Self::TimedOut
            | Self::Conflict
            | Self::TooLarge
            | Self::NotJson
            | Self::Range => "CLIENT_ERROR",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "RESOURCE_NOT_FOUND",
            Self::TooMany => "TOO_MANY_REQUESTS",
            Self::Internal | Self::Unavailable | Self::TooSlow => "SERVER_ERROR",
        }
    }
}

/// A call that is not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) kind: ErrorKind,
    /// For the client; where the error [is ours](ApiError::is_ours), for the log only.
    pub(super) message: String,
    /// A header that belongs to it.
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let header = match kind {
            ErrorKind::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            ErrorKind::Unavailable | ErrorKind::TooSlow => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => None,
        };
        Self { kind, message: message.into(), header }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// A thread that worked for the call has panicked.
    pub(super) fn panicked(panic: &tokio::task::JoinError) -> Self {
        Self::new(ErrorKind::Internal, format!("the call broke off: {panic}"))
    }

    /// Whether it is our own: then the log has it, and not the client.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self.kind, ErrorKind::Internal | ErrorKind::Unavailable)
    }

    /// To be tried again after this number of seconds.
    pub(super) fn too_many(message: impl Into<String>, seconds: u64) -> Self {
        let header = Some((header::RETRY_AFTER, HeaderValue::from(seconds.max(1))));
        Self { header, ..Self::new(ErrorKind::TooMany, message) }
    }

    /// A range outside a file; `size` says how large it is.
    pub(super) fn range_not_satisfiable(size: Option<HeaderValue>) -> Self {
        let header = size.map(|size| (header::CONTENT_RANGE, size));
        Self { header, ..Self::new(ErrorKind::Range, "the range is not in the file") }
    }

    /// The methods that the path has.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let header = Some((header::ALLOW, HeaderValue::from_static(allowed)));
        Self { header, ..Self::new(ErrorKind::MethodNotAllowed, format!("this path knows {allowed} only")) }
    }
}

/// What goes into an envelope besides the result.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// The call's id.
    pub(super) id: &'static str,
    /// New for each answer; to be quoted when something is wrong.
    pub(super) resmsgid: String,
    /// As the client gave it.
    pub(super) msgid: Option<String>,
}

impl Envelope {
    pub(super) fn new(id: &'static str) -> Self {
        Self { id, resmsgid: Uuid::new_v4().to_string(), msgid: None }
    }

    /// The answer of a call that was done, with its result as JSON text.
    pub(super) fn answer(&self, result: &str, now: DateTime<Utc>) -> Response<Body> {
        // The result is the last field: it is not parsed, and copied only once.
        let mut text = self.with("OK", None, Value::Null, now).to_string();
        debug_assert!(text.ends_with("null}"), "{text}");
        text.truncate(text.len() - "null}".len());
        text.reserve_exact(result.len() + 1);
        text.push_str(result);
        text.push('}');
        respond_written(StatusCode::OK, text)
    }

    /// The answer of a call that was not done. Of an error of the server the client gets no details, but what to quote.
    pub(super) fn error(&self, error: &ApiError, now: DateTime<Utc>) -> Response<Body> {
        let message = match error.kind {
            ErrorKind::Internal => &format!("internal error, please quote {}", self.resmsgid),
            ErrorKind::Unavailable => &format!("temporarily unavailable, try again; please quote {}", self.resmsgid),
            _ => &error.message,
        };
        let code = error.kind.code();
        let mut response = respond(error.kind.status(), &self.with(code, Some((code, message)), json!({}), now));
        if let Some((name, value)) = &error.header {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    /// The whole envelope. `error`: `err` and `errmsg`.
    fn with(&self, code: &str, error: Option<(&str, &String)>, result: Value, now: DateTime<Utc>) -> Value {
        let mut params = Map::new();
        params.insert("resmsgid".to_owned(), json!(self.resmsgid));
        if let Some(msgid) = &self.msgid {
            params.insert("msgid".to_owned(), json!(msgid));
        }
        params.insert("status".to_owned(), json!(if error.is_none() { "successful" } else { "failed" }));
        params.insert("err".to_owned(), json!(error.map(|(err, _)| err)));
        params.insert("errmsg".to_owned(), json!(error.map(|(_, message)| message)));
        let fields = [
            ("id", Value::from(self.id)),
            ("ver", Value::from("1.0")),
            ("ts", Value::from(timestamp(now))),
            ("params", Value::Object(params)),
            ("responseCode", Value::from(code)),
            // Moved, not copied: a list may be a thousand requests.
            ("result", result),
        ];
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// `2016-12-07T12:43:23.890+00:00`
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

/// The result of a call as JSON text, and of a large one the permit that it has until it has been sent.
#[derive(Debug)]
pub(super) struct ResultJson {
    pub(super) text: String,
    pub(super) permit: Option<Permit>,
}

impl From<Value> for ResultJson {
    fn from(value: Value) -> Self {
        Self { text: value.to_string(), permit: None }
    }
}

/// A JSON answer.
pub(super) fn respond(status: StatusCode, body: &Value) -> Response<Body> {
    respond_written(status, body.to_string())
}

/// The same of JSON that is written already.
pub(super) fn respond_written(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Status changes, and holds links that open files.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn times_are_spelled_as_the_design_page_does() {
        let at = "2016-12-07T12:43:23.890Z".parse().unwrap();
        assert_eq!(timestamp(at), "2016-12-07T12:43:23.890+00:00");
    }

    #[tokio::test]
    async fn errors_of_the_server_tell_no_details() {
        let envelope = Envelope::new(OUTSIDE);
        let error = ApiError::new(ErrorKind::Internal, "column secret_column does not exist");
        let response = envelope.error(&error, DateTime::UNIX_EPOCH);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(&envelope.resmsgid) && !text.contains("secret_column"), "{text}");
    }
}
