//! `GET /job/request/list/{tag}`: a tag's requests, newest first.

use serde_json::{Value, json};

use super::call::{Answer, Asked, Call, Method, Operation, path_parameter};
use super::envelope::Fault;
use crate::requests::RequestRow;

/// How many are listed unless the call says so.
const USUAL: u32 = 100;
/// How many are listed at most.
pub(super) const MOST: u32 = 1000;

pub(super) const CALL: Call = Call {
    name: "list",
    id: "ekstep.analytics.job.request.list",
    method: Method::Get,
    path: "/job/request/list/{tag}",
    fields: &[],
    handle: |asked| Box::pin(list(asked)),
    describe: |_| Operation {
        summary: "The requests of a tag, newest first",
        description: "`count` is the number of jobs returned. An unknown tag is an empty list.",
        parameters: vec![
            path_parameter("tag", "The client's key."),
            json!({
                "name": "limit", "in": "query", "description": "How many at most.",
                "schema": { "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL },
            }),
        ],
        body: None,
        result: json!({ "$ref": "#/components/schemas/RequestList" }),
        errors: &[400],
    },
};

async fn list(asked: Asked) -> Answer {
    let tag = asked.path.first().cloned().unwrap_or_default();
    asked.caller.covers_tag(&tag)?;
    let limit = match asked.query.get("limit") {
        None => USUAL,
        Some(text) => text.parse().map_err(|_| wrong_limit())?,
    };
    if !(1..=MOST).contains(&limit) {
        return Err(wrong_limit());
    }
    let reader = asked.caller.reader();
    let rows = asked.api.ask(move |queue| queue.list(Some(&tag), &reader, limit)).await?;
    let count = rows.len() as u64;
    shown(&asked, count, &rows).await
}

/// `{"count", "jobs"}`
pub(super) async fn shown(asked: &Asked, count: u64, rows: &[RequestRow]) -> Answer {
    let mut jobs = Vec::with_capacity(rows.len());
    // All at once: an object store may be asked for a key to sign with.
    let links = asked.api.links(rows, asked.now).await?;
    for row in rows {
        jobs.push(asked.api.status_with(row, &links, asked.now).await?);
    }
    Ok(json!({ "count": count, "jobs": jobs }))
}

pub(super) fn wrong_limit() -> Fault {
    Fault::bad(format!("limit must be a whole number from 1 to {MOST}"))
}

/// The schema of `{"count", "jobs"}`.
pub(super) fn result() -> Value {
    json!({
        "type": "object",
        "required": ["count", "jobs"],
        "additionalProperties": false,
        "properties": {
            "count": { "type": "integer", "minimum": 0 },
            "jobs": { "type": "array", "items": { "$ref": "#/components/schemas/StatusObject" } },
        },
    })
}
