//! What a call of `/job/…` is, and the one way all of them go: key, body, handler, envelope, one line in the log.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::http::{HeaderMap, Response};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::audit::CallContext;
use super::clients::ClientAddress;
use super::envelope::{ApiError, Envelope, ErrorKind, ResultJson};
use super::keys::Caller;
use super::pool::Permit;
use super::schemas::Schemas;
use super::until_sent::UntilSent;
use super::{Api, body};

/// How long a call may take, its body aside.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest `msgid` that is echoed, in characters: a UUID and then some.
const LONGEST_MSGID: usize = 100;

/// One call. Its file says everything about it; `CALLS` in `mod.rs` names them all.
pub(super) struct Call {
    /// In metrics and logs, and as `operationId`.
    pub(super) name: &'static str,
    /// The envelope's id.
    pub(super) id: &'static str,
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The fields of `request` in its body that it reads; all others are ignored.
    pub(super) fields: &'static [&'static str],
    pub(super) handle: fn(IncomingCall) -> HandlerFuture,
    pub(super) describe: fn(&mut Schemas) -> Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// With a body of JSON.
    Post,
    /// POST without a body; one that is sent all the same is read and ignored.
    Act,
}

/// What the description says of a call.
#[derive(Default)]
pub(super) struct Operation {
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// Parameters in path, query and headers, as OpenAPI has them.
    pub(super) parameters: Vec<Value>,
    /// Schema of the body, for POST.
    pub(super) body: Option<Value>,
    /// Schema of `result`.
    pub(super) result: Value,
    /// Statuses of errors, besides those that every call may have.
    pub(super) errors: &'static [u16],
    /// The calls that a program may go on to with the answer, as OpenAPI's links.
    pub(super) links: Option<Value>,
}

/// What a handler answers: the result that goes into the envelope, or why there is none.
pub(super) type CallResult = Result<ResultJson, ApiError>;
pub(super) type HandlerFuture = Pin<Box<dyn Future<Output = CallResult> + Send>>;

/// A call for its handler: its caller is known, its body has been read.
pub(super) struct IncomingCall {
    pub(super) api: Arc<Api>,
    pub(super) caller: Caller,
    pub(super) now: DateTime<Utc>,
    /// Parameters of the path, in order, decoded.
    pub(super) path: Vec<String>,
    pub(super) query: HashMap<String, String>,
    /// Where the call comes from.
    pub(super) address: IpAddr,
    /// `X-Channel-ID`.
    pub(super) channel: Option<String>,
    /// `null` for GET.
    pub(super) body: Value,
}

impl IncomingCall {
    /// The name of the caller's key; `None` where no keys are configured.
    pub(super) fn key_name(&self) -> Option<&str> {
        self.api.key_name(&self.caller)
    }
}

/// Answers one call.
pub(super) async fn run(api: Arc<Api>, call: &'static Call, request: Request) -> Response<Body> {
    let started = Instant::now();
    let mut envelope = Envelope::new(call.id);
    let mut context = CallContext { call: call.name, ..CallContext::default() };
    let mut permit = None;
    let result = handle(&api, call, request, &mut envelope, &mut context, &mut permit).await;
    let now = api.now();
    let (mut response, answer_permit) = match result {
        Ok(ResultJson { text, permit }) => (envelope.answer(&text, now), permit),
        Err(error) => {
            if error.is_ours() {
                log::error!("call failed call={} resmsgid={} error={:?}", call.name, envelope.resmsgid, error.message);
            }
            let mut response = envelope.error(&error, now);
            context.reason = error.message;
            response.extensions_mut().insert(context);
            (response, None)
        }
    };
    response.extensions_mut().insert(UntilSent::new((permit, answer_permit)));
    let (status, spent) = (response.status().as_u16(), started.elapsed());
    api.metrics.answered(call.name, status, spent);
    log::debug!("call call={} status={status} micros={}", call.name, spent.as_micros());
    response
}

/// Checks a call and runs its handler. What was found out before an error is in the last three.
async fn handle(
    api: &Arc<Api>,
    call: &Call,
    request: Request,
    envelope: &mut Envelope,
    context: &mut CallContext,
    permit: &mut Option<Permit>,
) -> CallResult {
    let (mut parts, body) = request.into_parts();
    let address = ClientAddress::of(&parts.extensions);
    let caller = api.caller(&parts.headers, address);
    let caller = caller.inspect_err(|_| context.key = api.refused_key(&parts.headers))?;
    let key = api.key_name(&caller);
    context.key = key.map(str::to_owned);
    let call_permit = api.limits.call(key)?;
    // Not before: no body is read for a client that has no key, or too many calls under way.
    let memory = api.limits.body_memory(key);
    let read = match call.method {
        Method::Get => None,
        Method::Post => Some(body::json(&parts.headers, body, &memory, call.fields).await?),
        Method::Act => body::json(&parts.headers, body, &memory, call.fields).await.ok(),
    };
    *permit = call_permit;
    let (body, _held): (Value, Option<Permit>) = read.map_or((Value::Null, None), |(body, held)| (body, Some(held)));
    envelope.msgid = msgid(&body);
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| ApiError::new(ErrorKind::NotFound, "the path is not UTF-8"))?;
    let path: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    let tag = || body.get("request")?.get("tag")?.as_str().map(str::to_owned);
    context.request = if path.is_empty() { tag() } else { Some(path.join("/")) };
    let query = Query::try_from_uri(&parts.uri).map_err(|_| ApiError::bad("the query does not read"))?.0;
    let channel = channel(&parts.headers)?;
    let incoming = IncomingCall { api: Arc::clone(api), caller, now: api.now(), path, query, address, channel, body };
    tokio::time::timeout(TIMEOUT, (call.handle)(incoming))
        .await
        .unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Unavailable, "no answer in time")))
}

fn msgid(body: &Value) -> Option<String> {
    let msgid = body.get("params")?.get("msgid")?.as_str()?;
    (msgid.chars().count() <= LONGEST_MSGID).then(|| msgid.to_owned())
}

fn channel(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("x-channel-id") else { return Ok(None) };
    let printable = value.to_str().ok().filter(|value| !value.contains(char::is_control));
    let value = printable.ok_or_else(|| ApiError::bad("X-Channel-ID must be printable ASCII"))?;
    Ok(Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned))
}

/// A parameter of the path.
pub(super) fn path_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": { "type": "string", "minLength": 1 },
    })
}

/// The parameters of a path that names one request.
pub(super) fn request_parameters() -> Vec<Value> {
    vec![path_parameter("tag", "The client's key."), path_parameter("request_id", "As submit answered it.")]
}
