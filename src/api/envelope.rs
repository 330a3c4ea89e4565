//! The envelope around every answer of `/job/…`, and around every error anywhere.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use chrono::{DateTime, Utc};
use hyper::body::{Frame, SizeHint};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::places::Place;

/// The `id` of errors outside `/job/…`.
pub(super) const OUTSIDE: &str = "ekstep.analytics.api";

/// Why a call is not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
    /// Our fault.
    Internal,
    /// Our fault, and it may pass.
    Unavailable,
    /// It asks for more than is done for one call.
    TooSlow,
}

impl Kind {
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
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// For the client; of our own faults only for the log.
    pub(super) message: String,
    /// A header that belongs to it.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let header = match kind {
            Kind::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Kind::Unavailable | Kind::TooSlow => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => None,
        };
        Self { kind, message: message.into(), header }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// To be tried again after so many seconds.
    pub(super) fn too_many(message: impl Into<String>, seconds: u64) -> Self {
        let header = Some((header::RETRY_AFTER, HeaderValue::from(seconds.max(1))));
        Self { header, ..Self::new(Kind::TooMany, message) }
    }

    /// A range outside a file; `size` says how large it is.
    pub(super) fn range_not_satisfiable(size: Option<HeaderValue>) -> Self {
        let header = size.map(|size| (header::CONTENT_RANGE, size));
        Self { header, ..Self::new(Kind::Range, "the range is not in the file") }
    }

    /// The methods that the path has.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let header = Some((header::ALLOW, HeaderValue::from_static(allowed)));
        Self { header, ..Self::new(Kind::MethodNotAllowed, format!("this path knows {allowed} only")) }
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

    /// The answer as asked.
    pub(super) fn answer(&self, result: Told, now: DateTime<Utc>) -> Response<Body> {
        // The envelope's last field is what it is around: not parsed, and not copied but once.
        let mut text = self.around("OK", None, Value::Null, now).to_string();
        debug_assert!(text.ends_with("null}"), "{text}");
        text.truncate(text.len() - "null}".len());
        text.reserve_exact(result.text.len() + 1);
        text.push_str(&result.text);
        text.push('}');
        let body = Body::from(text);
        respond_written(
            StatusCode::OK,
            match result.place {
                None => body,
                Some(place) => Body::new(Holding { body, _place: place }),
            },
        )
    }

    /// An error. What is our own fault stays with us; the client gets what to quote.
    pub(super) fn fault(&self, fault: &Fault, now: DateTime<Utc>) -> Response<Body> {
        let own;
        let message = match fault.kind {
            Kind::Internal => {
                own = format!("internal error, please quote {}", self.resmsgid);
                &own
            }
            Kind::Unavailable => {
                own = format!("temporarily unavailable, try again; please quote {}", self.resmsgid);
                &own
            }
            _ => &fault.message,
        };
        let code = fault.kind.code();
        let mut response = respond(fault.kind.status(), &self.around(code, Some((code, message)), json!({}), now));
        if let Some((name, value)) = &fault.header {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    fn around(&self, code: &str, fault: Option<(&str, &String)>, result: Value, now: DateTime<Utc>) -> Value {
        let mut params = Map::new();
        params.insert("resmsgid".to_owned(), json!(self.resmsgid));
        if let Some(msgid) = &self.msgid {
            params.insert("msgid".to_owned(), json!(msgid));
        }
        params.insert("status".to_owned(), json!(if fault.is_none() { "successful" } else { "failed" }));
        params.insert("err".to_owned(), json!(fault.map(|(err, _)| err)));
        params.insert("errmsg".to_owned(), json!(fault.map(|(_, message)| message)));
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

/// A result as JSON, and its place among the large answers that are held for their clients.
#[derive(Debug)]
pub(super) struct Told {
    text: String,
    place: Option<Place>,
}

impl Told {
    /// What is JSON already.
    pub(super) const fn text(text: String) -> Self {
        Self { text, place: None }
    }

    /// Its bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn holding(self, place: Option<Place>) -> Self {
        Self { place, ..self }
    }
}

impl From<Value> for Told {
    fn from(value: Value) -> Self {
        Self::text(value.to_string())
    }
}

/// A body whose place is free when it has been sent, or is given up.
struct Holding {
    body: Body,
    _place: Place,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    use super::*;

    #[test]
    fn times_are_spelled_as_the_design_page_does() {
        let at = "2016-12-07T12:43:23.890Z".parse().unwrap();
        assert_eq!(timestamp(at), "2016-12-07T12:43:23.890+00:00");
    }

    #[test]
    fn our_own_faults_keep_their_details() {
        let envelope = Envelope::new(OUTSIDE);
        let fault = Fault::new(Kind::Internal, "column secret_column does not exist");
        let text = envelope.around("x", None, json!({}), DateTime::UNIX_EPOCH).to_string();
        assert!(text.contains(&envelope.resmsgid));
        let response = envelope.fault(&fault, DateTime::UNIX_EPOCH);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
