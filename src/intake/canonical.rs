//! What a jobConfig means, as text: equal for two that mean the same, different for all others.
//!
//! Request ids are hashes of it, so two submissions that could give different files must never have one text. What is not
//! known here to mean the same therefore differs, even where no report shows it. The same are:
//!
//! - objects with their keys in another order, except `sort_by`, whose first key leads;
//! - numbers of equal decimal value, compared exactly; but after `contains`, `startsWith` and `endsWith` a number is a text,
//!   as it is written;
//! - lists with their values in another order or repeated, where the list means a set: `batchFilter`, the lists in
//!   `batchFilters`, and the values of a content filter (one of, none of);
//! - a key at its default and no key: `includeExpired`, `sort_by`, `reportPath`. The default of the latter is the job's, so
//!   the path that counts is always a part of the meaning: another default gives other files;
//! - `contentFilters` and `searchFilter`, which are two names of one thing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::number;

/// The meaning of an accepted jobConfig for a job whose files go to `report_path` by default.
pub(super) fn meaning(job_config: &Value, report_path: &str) -> String {
    let Value::Object(given) = job_config else { return plain(job_config) };
    let mut fields = BTreeMap::from([("reportPath", text(report_path))]);
    for (name, value) in given {
        let (name, meaning) = match (name.as_str(), value) {
            ("reportPath", Value::String(path)) if path.is_empty() => continue,
            ("includeExpired" | "reportPath", Value::Null) | ("includeExpired", Value::Bool(false)) => continue,
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
            ("sort_by", Value::Object(keys)) => Some(list(keys.iter().map(|(field, way)| pair(field, &plain(way))))),
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

/// An object by its keys' order, each value as `meaning` has it; without those that mean nothing.
fn object(fields: &Map<String, Value>, meaning: impl Fn(&str, &Value) -> Option<String>) -> String {
    let sorted: BTreeMap<&str, String> =
        fields.iter().filter_map(|(name, value)| Some((name.as_str(), meaning(name, value)?))).collect();
    joined(sorted.into_iter())
}

fn joined<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> String {
    format!("{{{}}}", fields.map(|(name, value)| pair(name, &value)).collect::<Vec<_>>().join(","))
}

fn pair(name: &str, value: &str) -> String {
    format!("{}:{value}", text(name))
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

/// With everything escaped that could end it.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
