//! `POST /job/request/search`: requests by job, status, channel or day.

use chrono::{Datelike, NaiveDate, NaiveTime};
use serde_json::{Map, Value, json};

use super::body::{request, text, value, whole};
use super::call::{Call, CallResult, IncomingCall, Method, Operation};
use super::envelope::ApiError;
use super::list::{MOST, wrong_limit};
use super::paging::{self, Count, PageRequest};
use crate::requests::{Filter, Status, TimeRange};

/// The limit of requests where the call has none.
const USUAL: u64 = 10;
/// The filters that are known.
const FILTERS: [&str; 5] = ["jobId", "dataset", "status", "channel", "requestedDate"];

pub(super) const CALL: Call = Call {
    name: "search",
    id: "ekstep.analytics.job.request.search",
    method: Method::Post,
    path: "/job/request/search",
    fields: &["filters", "limit", "after"],
    handle: |call| Box::pin(search(call)),
    describe: |schemas| Operation {
        summary: "Find requests by job, status, channel or day",
        description: "All given filters hold, of a list any value does; filters of other names are ignored as long as \
                      there is one of these. `count` is the number of all requests that match; from 10,001 on it says \
                      10,001 and `count_is_lower_bound`. `jobs` are the newest, at most 4 MiB of them; `next` is there \
                      where more follow, taken as `after`. A search that takes longer than 5 s is given up: 503.",
        parameters: Vec::new(),
        body: Some(body()),
        result: paging::schema(schemas),
        errors: &[400, 413, 415],
        links: None,
    },
};

async fn search(call: IncomingCall) -> CallResult {
    let request = request(&call.body)?;
    let search = filters(&call, request)?;
    let limit = match request.get("limit") {
        None | Some(Value::Null) => USUAL,
        Some(limit) => whole(limit).ok_or_else(wrong_limit)?,
    };
    let limit = u32::try_from(limit).ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(wrong_limit)?;
    let page = PageRequest::new(limit, text(request, &["after"])?)?;
    let found = call.api.search(call.key_name(), search, call.caller.reader(), page.page()).await?;
    paging::result(&call, Count::Matching(found.total), found.entries, limit).await
}

fn filters(call: &IncomingCall, request: &Map<String, Value>) -> Result<Filter, ApiError> {
    let filters = match request.get("filters") {
        Some(Value::Object(filters)) => filters,
        None | Some(Value::Null) => return Err(ApiError::bad("Filters are empty")),
        Some(_) => return Err(ApiError::bad("filters must be an object")),
    };
    if filters.is_empty() {
        return Err(ApiError::bad("Filters are empty"));
    }
    if let Some(name) = FILTERS.into_iter().find(|name| filters.get(*name).is_some_and(Value::is_null)) {
        return Err(ApiError::bad(format!("{name} must be text, or a list of texts")));
    }
    let jobs = value(filters, &["jobId", "dataset"])?.map(|jobs| texts("jobId", jobs)).transpose()?;
    let search = Filter {
        // A row may have any of the job's names.
        job_ids: jobs.map(|jobs| jobs.iter().flat_map(|job| names(call, job)).collect()),
        statuses: given(filters, "status")?.map(Filter::statuses_of),
        channels: given(filters, "channel")?,
        submitted: given(filters, "requestedDate")?.map(|days| day(&days)).transpose()?.unwrap_or_default(),
        ..Filter::default()
    };
    if search.is_empty() { Err(ApiError::bad("Unsupported filters")) } else { Ok(search) }
}

fn names(call: &IncomingCall, job: &str) -> Vec<String> {
    call.api.job(job).map_or_else(|| vec![job.to_owned()], |job| job.names().map(str::to_owned).collect())
}

fn given(filters: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, ApiError> {
    filters.get(name).map(|value| texts(name, value)).transpose()
}

/// A text, or a list of at least one.
fn texts(name: &str, value: &Value) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::bad(format!("{name} must be text, or a list of texts"));
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

fn day(days: &[String]) -> Result<TimeRange, ApiError> {
    let wrong = || ApiError::bad("requestedDate must be one day (UTC), as 2026-01-31");
    let [day] = days else { return Err(wrong()) };
    // chrono would take 2026-1-31 too, and no database has a year 0.
    let read = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok();
    let read = read.filter(|read| read.to_string() == *day && read.year() > 0).ok_or_else(wrong)?;
    let at = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    Ok(TimeRange { from: Some(at(read)), until: read.succ_opt().filter(|next| next.year() <= 9999).map(at) })
}

/// The states, for the description.
fn status_names() -> String {
    let names: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    let Some((last, names)) = names.split_last() else { return String::new() };
    format!("{} or {last}; {} is {}.", names.join(", "), Status::SUCCESS, Status::Completed.as_str())
}

fn body() -> Value {
    let texts = |description: &str| {
        json!({
            "description": description,
            "oneOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ],
        })
    };
    json!({
        "type": "object",
        "required": ["request"],
        "examples": [{ "request": { "filters": { "status": "FAILED" }, "limit": 10 } }],
        "properties": {
            "params": { "$ref": "#/components/schemas/Params" },
            "request": {
                "type": "object",
                "required": ["filters"],
                "properties": {
                    "filters": {
                        "type": "object",
                        "properties": {
                            "jobId": texts("Id or alias of the job. May be called dataset instead."),
                            "status": texts(&status_names()),
                            "channel": texts("The channel that the request was made for."),
                            "requestedDate": {
                                "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                                "description": "The day (UTC) of the submission.",
                            },
                        },
                        "anyOf": [
                            { "required": ["jobId"] },
                            { "required": ["status"] },
                            { "required": ["channel"] },
                            { "required": ["requestedDate"] },
                        ],
                    },
                    "limit": { "type": ["integer", "null"], "minimum": 1, "maximum": MOST, "default": USUAL },
                    "after": paging::nullable_after(),
                },
            },
        },
    })
}
