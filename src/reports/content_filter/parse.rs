//! A composite-search request read and checked.

use serde_json::Value;

use super::{Condition, ContentFilter, Direction, FieldFilter, Scalar};
use crate::reports::job_config::{JobConfigError, MOST_VALUES, cut, hint, known_keys, object, within, wrong_type};

/// Most fields that are filtered by. Each is a column of `content` that is read.
pub(in crate::reports) const MOST_FIELDS: usize = 50;
/// Most fields that are sorted by.
pub(in crate::reports) const MOST_SORT_KEYS: usize = 5;

const OPERATORS: [&str; 13] =
    ["min", "max", ">=", "<=", ">", "<", "!=", "contains", "startsWith", "endsWith", "notEquals", "notIn", "exists"];

impl ContentFilter {
    /// Reads `{"request": {"filters": {…}, "sort_by": {…}, "limit": n, "fields": […]}}`.
    pub(in crate::reports) fn parse(value: &Value) -> Result<Self, JobConfigError> {
        let outer = object(value, "contentFilters")?;
        known_keys(outer, &["request"], "contentFilters")?;
        let Some(request) = outer.get("request") else { return Err(empty("contentFilters")) };
        let request = object(request, "contentFilters.request")?;
        known_keys(request, &["filters", "sort_by", "limit", "fields"], "contentFilters.request")?;
        let Some(filters) = request.get("filters") else { return Err(empty("contentFilters.request.filters")) };
        let filters = object(filters, "contentFilters.request.filters")?;
        if filters.is_empty() {
            return Err(empty("contentFilters.request.filters"));
        }
        within("contentFilters.request.filters", filters.len(), "fields", MOST_FIELDS)?;
        if let Some(fields) = request.get("fields") {
            check_fields(fields)?;
        }
        let values = filters.values().map(values).sum();
        within("contentFilters.request.filters", values, "values", MOST_VALUES)?;
        Ok(Self {
            filters: filters.iter().map(|(field, value)| field_filter(field, value)).collect::<Result<_, _>>()?,
            sort_by: request.get("sort_by").map(sort_by).transpose()?.unwrap_or_default(),
            limit: request.get("limit").map(limit).transpose()?,
        })
    }
}

fn empty(what: &str) -> JobConfigError {
    JobConfigError::Empty { what: what.to_owned() }
}

/// How many values a filter has: a scalar is one, and of an object each operator has its own.
fn values(filter: &Value) -> usize {
    match filter {
        Value::Array(list) => list.len(),
        Value::Object(operators) => operators.values().map(values).sum(),
        _ => 1,
    }
}

fn field_filter(field: &str, value: &Value) -> Result<FieldFilter, JobConfigError> {
    let what = format!("filter '{}'", cut(field));
    if field.is_empty() {
        return Err(empty("a field's name in contentFilters"));
    }
    let conditions = match value {
        Value::Object(operators) if operators.is_empty() => return Err(empty(&what)),
        Value::Object(operators) => {
            operators.iter().map(|(name, value)| condition(field, name, value)).collect::<Result<_, _>>()?
        }
        _ => vec![Condition::OneOf(one_or_more(value, &what)?)],
    };
    Ok(FieldFilter { field: field.to_owned(), conditions })
}

fn condition(field: &str, name: &str, value: &Value) -> Result<Condition, JobConfigError> {
    let what = format!("'{}' of filter '{}'", cut(name), cut(field));
    let text = || match scalar(value, &what)? {
        Scalar::Text(text) | Scalar::Number(_, text) => Ok(text),
        Scalar::Bool(_) => Err(wrong_type(&what, "text", value)),
    };
    Ok(match name {
        "min" | ">=" => Condition::AtLeast(scalar(value, &what)?),
        "max" | "<=" => Condition::AtMost(scalar(value, &what)?),
        ">" => Condition::Above(scalar(value, &what)?),
        "<" => Condition::Below(scalar(value, &what)?),
        "!=" | "notEquals" | "notIn" => Condition::NoneOf(one_or_more(value, &what)?),
        "contains" => Condition::Contains(text()?),
        "startsWith" => Condition::StartsWith(text()?),
        "endsWith" => Condition::EndsWith(text()?),
        "exists" => Condition::Exists(value.as_bool().ok_or_else(|| wrong_type(&what, "true or false", value))?),
        _ => {
            let hint = hint(name, &OPERATORS);
            return Err(JobConfigError::UnknownOperator { operator: cut(name), field: cut(field), hint });
        }
    })
}

/// A scalar, or a list with at least one.
fn one_or_more(value: &Value, what: &str) -> Result<Vec<Scalar>, JobConfigError> {
    match value {
        Value::Array(list) if list.is_empty() => Err(empty(what)),
        Value::Array(list) => list.iter().map(|item| scalar(item, what)).collect(),
        _ => Ok(vec![scalar(value, what)?]),
    }
}

fn scalar(value: &Value, what: &str) -> Result<Scalar, JobConfigError> {
    match Scalar::of(value) {
        Some(Scalar::Text(text)) if text.is_empty() => Err(empty(what)),
        Some(scalar) => Ok(scalar),
        None => Err(wrong_type(what, "a single value", value)),
    }
}

fn sort_by(value: &Value) -> Result<Vec<(String, Direction)>, JobConfigError> {
    let keys = object(value, "sort_by")?;
    within("sort_by", keys.len(), "fields", MOST_SORT_KEYS)?;
    let direction = |(field, value): (&String, &Value)| {
        let what = || format!("sort_by '{}'", cut(field));
        let text = value.as_str().ok_or_else(|| wrong_type(&what(), "\"asc\" or \"desc\"", value))?;
        match text.to_ascii_lowercase().as_str() {
            "asc" => Ok((field.clone(), Direction::Ascending)),
            "desc" => Ok((field.clone(), Direction::Descending)),
            _ => Err(JobConfigError::NotAllowed { what: what(), wanted: "\"asc\" or \"desc\"" }),
        }
    };
    keys.iter().map(direction).collect()
}

fn limit(value: &Value) -> Result<usize, JobConfigError> {
    // `10.0` is a whole number too, and there are not more contents than any number that does not fit.
    let whole = value.as_f64().filter(|limit| *limit >= 1.0 && limit.fract() == 0.0);
    whole
        .ok_or_else(|| JobConfigError::NotAllowed { what: "limit".to_owned(), wanted: "a whole number, 1 or more" })?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1; a float saturates")]
    let limit = whole.map_or(usize::MAX, |limit| limit as usize);
    Ok(value.as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(limit))
}

fn check_fields(value: &Value) -> Result<(), JobConfigError> {
    let list = value.as_array().ok_or_else(|| wrong_type("fields", "a list of texts", value))?;
    within("fields", list.len(), "values", MOST_VALUES)?;
    match list.iter().find(|item| !item.is_string()) {
        Some(item) => Err(wrong_type("fields[…]", "text", item)),
        None => Ok(()),
    }
}
