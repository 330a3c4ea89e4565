//! What a jobConfig means, as text: equal for two that mean the same, different for all others.
//!
//! Request ids are hashes of it, so two submissions that could give different files must never have one text. So two
//! jobConfigs differ unless they are known to mean the same. These are the same:
//!
//! - objects with their keys in another order, except `sort_by`, whose first key leads;
//! - numbers of equal decimal value, compared exactly; but after `contains`, `startsWith` and `endsWith` a number is a text,
//!   as it is written;
//! - lists with their values in another order or repeated, where the list means a set: `batchFilter`, the lists in
//!   `batchFilters`, and the values of a content filter (one of, none of);
//! - a key at its default and no key: `includeExpired`, `sort_by`, `reportPath`. The default of the latter is the job's, so
//!   the resulting path is a part of the meaning: another default gives other files;
//! - `contentFilters` and `searchFilter`, which are two names of one thing.
//!
//! Where none of this applies the text is canonical JSON by RFC 8785, as in versions that did not compare meanings: processes
//! of both versions give the same id then. Each part is written unambiguously, so no two meanings have one text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::number;

/// The path that is left out: that of jobs without `report_path`. To leave out another one would change all ids.
const USUAL_PATH: &str = "reports/";

/// The meaning of an accepted jobConfig for a job whose files go to `report_path` by default.
pub(super) fn meaning(job_config: &Value, report_path: &str) -> String {
    let Value::Object(given) = job_config else { return plain(job_config) };
    let path = given.get("reportPath").and_then(Value::as_str).filter(|path| !path.is_empty()).unwrap_or(report_path);
    let mut fields = BTreeMap::new();
    if path != USUAL_PATH {
        fields.insert("reportPath", text(path));
    }
    for (name, value) in given {
        let (name, meaning) = match (name.as_str(), value) {
            ("reportPath", _) | ("includeExpired", Value::Null | Value::Bool(false)) => continue,
            ("batchFilter", ids) => ("batchFilter", set(ids)),
            ("batchFilters", Value::Object(by_key)) => ("batchFilters", object(by_key, |_, values| Some(set(values)))),
            ("batchFilters", frameworks) => ("batchFilters", set(frameworks)),
            ("contentFilters", search) => ("contentFilters", of_search(search)),
            // Where both are given they are equal, and the daemon takes the other.
            ("searchFilter", _) if given.contains_key("contentFilters") => continue,
            ("searchFilter", search) => ("contentFilters", of_search(search)),
            (name, value) => (name, plain(value)),
        };
        fields.insert(name, meaning);
    }
    joined(fields.into_iter())
}

/// `{"request": {"filters": …, "sort_by": …, …}}`
fn of_search(search: &Value) -> String {
    let Value::Object(outer) = search else { return plain(search) };
    object(outer, |_, request| {
        let Value::Object(request) = request else { return Some(plain(request)) };
        Some(object(request, |name, value| match (name, value) {
            ("sort_by", Value::Object(keys)) if keys.is_empty() => None,
            // In its own order, which no other object has.
            ("sort_by", Value::Object(keys)) => {
                Some(joined(keys.iter().map(|(field, way)| (field.as_str(), plain(way)))))
            }
            ("filters", Value::Object(filters)) => Some(object(filters, |_, filter| Some(of_filter(filter)))),
            (_, value) => Some(plain(value)),
        }))
    })
}

/// What a metadata field must be.
fn of_filter(filter: &Value) -> String {
    let Value::Object(operators) = filter else { return set(filter) };
    object(operators, |operator, value| {
        Some(match (operator, value) {
            ("contains" | "startsWith" | "endsWith", Value::Number(number)) => number.to_string(),
            (_, value) => set(value),
        })
    })
}

/// A list that means a set; anything else as it is.
fn set(value: &Value) -> String {
    let Value::Array(values) = value else { return plain(value) };
    list(values.iter().map(plain).collect::<BTreeSet<_>>().into_iter())
}

/// A value in which only the order of keys and the spelling of numbers are free.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number::canonical(&number.to_string()),
        Value::String(value) => text(value),
        Value::Array(values) => list(values.iter().map(plain)),
        Value::Object(fields) => object(fields, |_, value| Some(plain(value))),
    }
}

/// An object by its keys' order (of UTF-16 code units, as RFC 8785 has it), each value as `meaning` has it; without those
/// that mean nothing.
fn object(fields: &Map<String, Value>, meaning: impl Fn(&str, &Value) -> Option<String>) -> String {
    let mut sorted: Vec<(&str, String)> =
        fields.iter().filter_map(|(name, value)| Some((name.as_str(), meaning(name, value)?))).collect();
    sorted.sort_by(|one, other| one.0.encode_utf16().cmp(other.0.encode_utf16()));
    joined(sorted.into_iter())
}

fn joined<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> = fields.map(|(name, value)| format!("{}:{value}", text(name))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

/// A JSON string, escaped.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
