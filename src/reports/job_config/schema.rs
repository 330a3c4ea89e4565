//! The JSON Schema of a jobConfig: what [`JobConfig::from_value`](super::JobConfig::from_value) takes, for programs and
//! for people who fill in forms. A change of the one needs a change of the other.

use serde_json::{Value, json};

use super::MOST_VALUES;
use crate::reports::content_filter::{MOST_FIELDS, MOST_SORT_KEYS};

/// What `outputs::ReportPath` accepts. Lengths are in characters here and in bytes there: of other scripts than ASCII it
/// accepts fewer characters.
const REPORT_PATH: &str =
    r"^((?!\.)[^/\u0000-\u001f\u007f-\u009f]{1,255}(/(?!\.)[^/\u0000-\u001f\u007f-\u009f]{1,255}){0,15}/?)?$";

/// The schema (JSON Schema 2020-12).
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "type": "object",
        "description": "Which batches. All given conditions hold; at least one is needed.",
        "additionalProperties": false,
        "properties": {
            "batchFilters": batch_filters(),
            "batchId": { "type": "string", "minLength": 1, "description": "One batch id." },
            "batchFilter": texts("Batch ids."),
            "contentFilters": content_filters("A composite-search request over contents: the batch's course must be in \
                                               its result."),
            "searchFilter": content_filters("Another name of contentFilters."),
            "reportPath": {
                "type": ["string", "null"],
                "pattern": REPORT_PATH,
                "maxLength": 300,
                "description": "Where the files go within the store: at most 300 bytes and 16 segments of at most 255 \
                                bytes, joined by single slashes; no segment begins with a dot, no control characters, \
                                no slash in front.",
            },
            "includeExpired": {
                "type": ["boolean", "null"],
                "description": "Also batches that have ended. Those named by id are delivered either way.",
            },
        },
        "anyOf": [
            { "required": ["batchFilters"] },
            { "required": ["batchId"] },
            { "required": ["batchFilter"] },
            { "required": ["contentFilters"] },
            { "required": ["searchFilter"] },
        ],
        // Both are taken where they are equal, which a schema cannot say.
        "not": { "required": ["contentFilters", "searchFilter"] },
        "examples": [
            { "batchFilters": ["TPD", "NCFCOPY"] },
            { "batchFilters": { "ids": ["019243943994839"], "channels": ["TPD"] } },
            { "contentFilters": { "request": { "filters": { "identifier": ["do_11305960936384921612216"] } } } },
        ],
    })
}

/// A list of texts.
fn texts(of: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "description": of })
}

/// A list of texts, each at most once: a list that repeats some may have more of them.
fn names(of: &str) -> Value {
    let mut names = texts(of);
    names["maxItems"] = json!(MOST_VALUES);
    names
}

fn batch_filters() -> Value {
    json!({
        "description": "A list of frameworks of the batch's course, or an object.",
        "oneOf": [
            names("The course has one of these frameworks; letter case aside."),
            {
                "type": "object",
                "additionalProperties": false,
                "minProperties": 1,
                "properties": {
                    "ids": texts("Batch ids."),
                    "channels": names("The course belongs to one of these channels."),
                    "frameworks": names("The course has one of these frameworks; letter case aside."),
                },
            },
        ],
    })
}

fn content_filters(description: &str) -> Value {
    // Types in a list, not a choice of schemas: generators of clients give each schema of a choice a name, made of the name of
    // its operator, and `>=` is none.
    let scalar = json!({ "type": ["string", "number", "boolean"], "minLength": 1 });
    let text = json!({ "type": ["string", "number"], "minLength": 1 });
    let one_or_more = json!({ "type": ["string", "number", "boolean", "array"], "minLength": 1, "items": scalar, "minItems": 1,
        "maxItems": MOST_VALUES });
    let operators = json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "min": scalar, "max": scalar, ">=": scalar, "<=": scalar, ">": scalar, "<": scalar,
            "!=": one_or_more, "notEquals": one_or_more, "notIn": one_or_more,
            "contains": text, "startsWith": text, "endsWith": text,
            "exists": { "type": "boolean" },
        },
    });
    let filter = json!({ "oneOf": [one_or_more, operators] });
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "required": ["request"],
        "properties": {
            "request": {
                "type": "object",
                "additionalProperties": false,
                "required": ["filters"],
                "properties": {
                    "filters": {
                        "type": "object",
                        "minProperties": 1,
                        "maxProperties": MOST_FIELDS,
                        "propertyNames": { "minLength": 1 },
                        "additionalProperties": filter,
                        "description": "Metadata field to value (equals), list (one of) or object of operators; at most \
                                        2,000 values in all.",
                    },
                    "sort_by": {
                        "type": "object",
                        "maxProperties": MOST_SORT_KEYS,
                        "additionalProperties": { "type": "string", "pattern": "^([aA][sS][cC]|[dD][eE][sS][cC])$" },
                    },
                    "limit": { "type": "integer", "minimum": 1 },
                    "fields": { "type": "array", "items": { "type": "string" }, "maxItems": MOST_VALUES },
                },
            },
        },
    })
}
