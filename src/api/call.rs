//! What a call of `/job/…` is, and the one way all of them go: key, body, handler, envelope, one line in the log.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::http::{HeaderMap, Response};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::audit::About;
use super::clients::ClientAddress;
use super::envelope::{Envelope, Fault, Kind, Told};
use super::keys::Caller;
use super::server::Kept;
use super::shares::Held;
use super::{Api, body};

/// How long a call may take, its body aside.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// The fields of `request` in its body that it reads; all others are passed over.
    pub(super) fields: &'static [&'static str],
    pub(super) handle: fn(Asked) -> Handling,
    pub(super) describe: fn(&Api) -> Operation,
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
}

/// The result that goes into the envelope.
pub(super) type Answer = Result<Told, Fault>;
pub(super) type Handling = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A call that came in order: its caller is known, its body has been read.
pub(super) struct Asked {
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

/// Answers one call.
pub(super) async fn run(api: Arc<Api>, call: &'static Call, request: Request) -> Response<Body> {
    let started = Instant::now();
    let mut envelope = Envelope::new(call.id);
    let mut about = About { call: call.name, ..About::default() };
    let mut kept = None;
    let answer = handled(&api, call, request, &mut envelope, &mut about, &mut kept).await;
    let now = api.now();
    let mut response = match answer {
        Ok(result) => envelope.answer(result, now),
        Err(fault) => {
            if matches!(fault.kind, Kind::Internal | Kind::Unavailable) {
                log::error!("call failed call={} resmsgid={} error={:?}", call.name, envelope.resmsgid, fault.message);
            }
            let mut response = envelope.fault(&fault, now);
            about.reason = fault.message;
            response.extensions_mut().insert(about);
            response
        }
    };
    // Its place among the calls of its key is free when the answer has left.
    if let Some(kept) = kept {
        response.extensions_mut().insert(kept);
    }
    let (status, spent) = (response.status().as_u16(), started.elapsed());
    api.metrics.answered(call.name, status, spent);
    log::debug!("call call={} status={status} micros={}", call.name, spent.as_micros());
    response
}

async fn handled(
    api: &Arc<Api>,
    call: &Call,
    request: Request,
    envelope: &mut Envelope,
    about: &mut About,
    kept: &mut Option<Kept>,
) -> Answer {
    let (mut parts, body) = request.into_parts();
    let address = parts.extensions.get::<ClientAddress>().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.0);
    let caller = api.caller(&parts.headers, address);
    let caller = caller.inspect_err(|_| about.key = api.refused_key(&parts.headers))?;
    about.key = api.key_name(&caller).map(str::to_owned);
    let turn = api.shares.turn(about.key.as_deref())?;
    // Only now: who has no key, or has too many calls under way, makes nobody read a body.
    let read = match call.method {
        Method::Get => None,
        Method::Post => Some(body::json(&parts.headers, body, &turn, call.fields).await?),
        Method::Act => body::json(&parts.headers, body, &turn, call.fields).await.ok(),
    };
    *kept = Some(Kept::new(turn));
    let (body, _held): (Value, Option<Held>) = read.map_or((Value::Null, None), |(body, held)| (body, Some(held)));
    envelope.msgid = msgid(&body);
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| Fault::new(Kind::NotFound, "the path is not UTF-8"))?;
    let path: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    let tag = || body.get("request")?.get("tag")?.as_str().map(str::to_owned);
    about.request = if path.is_empty() { tag() } else { Some(path.join("/")) };
    let query = Query::try_from_uri(&parts.uri).map_err(|_| Fault::bad("the query does not read"))?.0;
    let channel = channel(&parts.headers)?;
    let asked = Asked { api: Arc::clone(api), caller, now: api.now(), path, query, address, channel, body };
    tokio::time::timeout(PATIENCE, (call.handle)(asked))
        .await
        .unwrap_or_else(|_| Err(Fault::new(Kind::Unavailable, "no answer in time")))
}

fn msgid(body: &Value) -> Option<String> {
    let msgid = body.get("params")?.get("msgid")?.as_str()?;
    (msgid.chars().count() <= LONGEST_MSGID).then(|| msgid.to_owned())
}

fn channel(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get("x-channel-id") else { return Ok(None) };
    let printable = value.to_str().ok().filter(|value| !value.contains(char::is_control));
    let value = printable.ok_or_else(|| Fault::bad("X-Channel-ID must be printable ASCII"))?;
    Ok(Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned))
}

/// A parameter of the path.
pub(super) fn path_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": { "type": "string", "minLength": 1 },
    })
}
