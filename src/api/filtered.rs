//! `GET /job/requests`: the requests that match a filter, newest first.

use serde_json::{Value, json};

use super::call::{Call, CallResult, IncomingCall, Method, Operation};
use super::envelope::ApiError;
use super::list::{MOST, wrong_limit};
use super::paging::{self, Count, PageRequest};
use crate::intake::{self, FILTER_WORDS};

/// The limit of requests where the call has none.
const USUAL: u32 = 100;

pub(super) const CALL: Call = Call {
    name: "requests",
    id: "ekstep.analytics.job.requests",
    method: Method::Get,
    path: "/job/requests",
    fields: &[],
    handle: |call| Box::pin(requests(call)),
    describe: |schemas| Operation {
        summary: "The requests that match a filter, newest first",
        description: "All given filters hold; without one, all requests are listed. A parameter of another name is refused. \
                      `count` is the number of all requests that match; from 10,001 on it says 10,001 and \
                      `count_is_lower_bound`. An answer has at most 4 MiB of them; `next` is there where more follow, taken \
                      as `after`. What takes longer than 5 s is given up: 503.",
        parameters: parameters(),
        body: None,
        result: paging::schema(schemas),
        errors: &[400],
        links: None,
    },
};

fn parameters() -> Vec<Value> {
    let filters = FILTER_WORDS.iter().map(|(name, description)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string", "minLength": 1 } })
    });
    let others = [
        json!({
            "name": "limit", "in": "query", "description": "How many at most.",
            "schema": { "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL },
        }),
        json!({ "name": "after", "in": "query", "description": "Where it begins.", "schema": paging::after() }),
    ];
    filters.chain(others).collect()
}

async fn requests(call: IncomingCall) -> CallResult {
    let words = call.query.iter().map(|(word, value)| (word.as_str(), value.as_str()));
    let words = words.filter(|(word, _)| !["limit", "after"].contains(word));
    let filter = intake::filter(words, &call.api.jobs(), call.now).map_err(|error| ApiError::bad(error.to_string()))?;
    if let Some(tag) = &filter.tag {
        call.caller.covers_tag(tag)?;
    }
    let limit = call.query.get("limit").map_or(Ok(USUAL), |text| text.parse().map_err(|_| wrong_limit()))?;
    if !(1..=MOST).contains(&limit) {
        return Err(wrong_limit());
    }
    let page = PageRequest::new(limit, call.query.get("after").map(String::as_str))?;
    let found = call.api.search(call.key_name(), filter, call.caller.reader(), page.page()).await?;
    paging::result(&call, Count::Matching(found.total), found.entries, limit).await
}
