//! `POST /job/bulk/retry` and `…/cancel`: what is done to all requests that match a filter.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::audit_records::record;
use super::body::request;
use super::call::{Call, CallResult, IncomingCall, Method, Operation};
use super::envelope::{ApiError, ErrorKind};
use super::schemas::Schemas;
use crate::intake::{self, FILTER_WORDS};
use crate::requests::{AuditRecord, Bulk, BulkAct, BulkError, COUNT_LIMIT, RequestRow, StatementTimeout};

/// How long one call goes on. The same call goes on with what is left.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the database may look for the requests of one step.
const LOOK: Duration = Duration::from_secs(5);

pub(super) const RETRY: Call = Call {
    name: "bulk_retry",
    id: "ekstep.analytics.job.bulk.retry",
    method: Method::Post,
    path: "/job/bulk/retry",
    fields: &["filter", "dry_run"],
    handle: |call| Box::pin(bulk(call, BulkAct::Retry)),
    describe: |schemas| operation(schemas, "Try all failed requests again that match a filter"),
};

pub(super) const CANCEL: Call = Call {
    name: "bulk_cancel",
    id: "ekstep.analytics.job.bulk.cancel",
    method: Method::Post,
    path: "/job/bulk/cancel",
    fields: &["filter", "dry_run"],
    handle: |call| {
        let by = call.key_name().unwrap_or("an operator").to_owned();
        Box::pin(bulk(call, BulkAct::Cancel { by }))
    },
    describe: |schemas| operation(schemas, "Cancel all requests that match a filter and wait or are in work"),
};

fn operation(schemas: &mut Schemas, summary: &'static str) -> Operation {
    Operation {
        summary,
        description: "Needs a key whose role is operator or admin, and keeps to its tags and channels. Unless `dry_run` is `false` it only tells \
                      what would be done. It changes request by request, the newest first, for about 15 s; `complete` is \
                      `false` where some are left, and the same call goes on with them. A filter must be given.",
        body: Some(body()),
        result: schemas.of::<BulkResult>(),
        errors: &[400, 403, 413, 415],
        ..Operation::default()
    }
}

fn body() -> Value {
    let word = |(name, description): &(&str, &str)| {
        ((*name).to_owned(), json!({ "type": "string", "minLength": 1, "description": description }))
    };
    let words: Map<String, Value> = FILTER_WORDS.iter().map(word).collect();
    json!({
        "type": "object",
        "required": ["request"],
        "examples": [{ "request": { "filter": { "err_code": "source_unavailable", "submitted_from": "24h" }, "dry_run": true } }],
        "properties": {
            "params": { "$ref": "#/components/schemas/Params" },
            "request": {
                "type": "object",
                "required": ["filter"],
                "properties": {
                    "filter": {
                        "type": "object", "properties": words, "additionalProperties": false, "minProperties": 1,
                    },
                    "dry_run": { "type": "boolean", "default": true },
                },
            },
        },
    })
}

/// What a bulk call did, or would do.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct BulkResult {
    /// Whether nothing was done.
    dry_run: bool,
    /// Of a dry run: how many requests match, at most 10,001. Otherwise: how many this call has changed.
    count: u64,
    /// There may be more than 10,001.
    #[serde(skip_serializing_if = "Option::is_none")]
    count_is_lower_bound: Option<bool>,
    /// How many of them stay as they are: they are for protected files, and their keys are wiped.
    protected: u64,
    /// How many had changed meanwhile, and were left as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    /// `false`: some are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// Of a dry run: the newest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Vec<BulkRequest>>,
}

/// A request that a bulk call would change.
#[derive(Debug, Serialize, JsonSchema)]
struct BulkRequest {
    /// The client's key.
    tag: String,
    /// Unique within the tag.
    request_id: String,
    /// The job, by id or alias.
    #[serde(rename = "jobId")]
    job_id: String,
    /// Its state.
    status: String,
    /// Its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    err_message: Option<String>,
    /// The kind of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    err_code: Option<String>,
}

impl From<RequestRow> for BulkRequest {
    fn from(row: RequestRow) -> Self {
        let RequestRow { tag, request_id, job_id, status, err_message, err_code, .. } = row;
        Self { tag, request_id, job_id, status, err_message, err_code }
    }
}

async fn bulk(call: IncomingCall, act: BulkAct) -> CallResult {
    call.caller.may_act_on_many()?;
    let request = request(&call.body)?;
    let dry_run = match request.get("dry_run") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(dry_run)) => *dry_run,
        Some(_) => return Err(ApiError::bad("dry_run must be true or false")),
    };
    let mut words = Vec::new();
    match request.get("filter") {
        Some(Value::Object(filter)) => {
            for (word, value) in filter {
                let value = value.as_str().ok_or_else(|| ApiError::bad(format!("{word} must be text")))?;
                words.push((word.as_str(), value));
            }
        }
        None | Some(Value::Null) => return Err(ApiError::bad(BulkError::NoFilter.to_string())),
        Some(_) => return Err(ApiError::bad("filter must be an object")),
    }
    let filter = intake::filter(words, &call.api.jobs(), call.now).map_err(|error| ApiError::bad(error.to_string()))?;
    let bulk = Bulk::new(act.clone(), filter, &call.api.job_names(), call.caller.client());
    let bulk = bulk.map_err(|error| ApiError::bad(error.to_string()))?;
    let result = if dry_run {
        preview(&call, bulk).await?
    } else {
        let subject = request.get("filter").map(Value::to_string).unwrap_or_default();
        let record = record(act.name(), call.key_name(), &subject, call.address);
        call.api.record_act(AuditRecord { requests: 0, ..record }).await?;
        change(&call, bulk, act.name()).await?
    };
    let text = serde_json::to_string(&result).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    call.api.result(call.key_name(), text).await
}

async fn preview(call: &IncomingCall, bulk: Bulk) -> Result<BulkResult, ApiError> {
    let found = call.api.ask(move |queue| bulk.preview(queue, &StatementTimeout::after(LOOK))).await?;
    Ok(BulkResult {
        dry_run: true,
        count: found.total,
        count_is_lower_bound: (found.total > COUNT_LIMIT).then_some(true),
        protected: found.protected,
        first: Some(found.first.into_iter().map(BulkRequest::from).collect()),
        ..BulkResult::default()
    })
}

/// Between two steps it waits as long as a step took, so that others get half of the database's time. A client that leaves ends it.
async fn change(call: &IncomingCall, bulk: Bulk, act: &'static str) -> Result<BulkResult, ApiError> {
    let (began, mut after, mut skipped) = (Instant::now(), None, 0);
    let mut result = BulkResult::default();
    loop {
        let (step_began, of_step) = (Instant::now(), bulk.clone());
        let step = call.api.ask(move |queue| of_step.step(queue, after, &StatementTimeout::after(LOOK))).await?;
        for key in &step.changed {
            call.api.audit.acted(act, call.key_name(), &key.to_string(), call.address);
        }
        result.count += step.changed.len() as u64;
        result.protected += step.protected;
        skipped += step.skipped;
        after = step.next;
        if after.is_none() || began.elapsed() > PATIENCE {
            result.complete = Some(after.is_none() && !step.too_many);
            result.skipped = Some(skipped);
            return Ok(result);
        }
        tokio::time::sleep(step_began.elapsed()).await;
    }
}
