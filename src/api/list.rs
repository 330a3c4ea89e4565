//! `GET /job/request/list/{tag}`: a tag's requests, newest first.

use serde_json::json;

use super::call::{Answer, Asked, Call, Method, Operation, path_parameter};
use super::envelope::Fault;
use super::paging::{self, Count, Wanted};

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
        description: "`count` is the number of jobs returned. An unknown tag is an empty list. An answer has at most 4 MiB \
                      of them; `next` is there where more follow, taken as `after`.",
        parameters: vec![
            path_parameter("tag", "The client's key."),
            json!({
                "name": "limit", "in": "query", "description": "How many at most.",
                "schema": { "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL },
            }),
            json!({ "name": "after", "in": "query", "description": "Where it begins.", "schema": paging::after() }),
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
    let wanted = Wanted::new(limit, asked.query.get("after").map(String::as_str))?;
    let reader = asked.caller.reader();
    let entries = asked.api.ask(move |queue| queue.list(Some(&tag), &reader, &wanted.page())).await?;
    paging::shown(&asked, Count::Returned, entries, limit).await
}

pub(super) fn wrong_limit() -> Fault {
    Fault::bad(format!("limit must be a whole number from 1 to {MOST}"))
}
