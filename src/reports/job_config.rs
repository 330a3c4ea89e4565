//! The jobConfig of a request: which batches it wants, checked as far as that goes without the platform's data.
//!
//! Not here: what the conditions mean for a batch ([`filters`](super::filters)), whether the job or the file format
//! that a row names exists.

mod schema;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::content_filter::ContentFilter;

pub use schema::json_schema;

/// The keys of jobConfig.
const KEYS: [&str; 7] =
    ["batchFilters", "contentFilters", "searchFilter", "batchId", "batchFilter", "reportPath", "includeExpired"];

/// What `request_data` may hold beside them.
const BESIDE: [&str; 10] = [
    "jobConfig",
    "jobId",
    "tag",
    "dataset",
    "type",
    "channel",
    "requestedBy",
    "requestedChannel",
    "outputFormat",
    "output_format",
];

/// Most levels of objects and lists in a jobConfig. What it may hold has six.
const MOST_LEVELS: usize = 16;
/// Most values of all lists in a content filter together, and of each list of channels or frameworks.
pub const MOST_VALUES: usize = 2000;

/// Which batches a request wants, and how they are delivered. All conditions hold together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobConfig {
    /// Where the files go, in place of the job's path.
    pub report_path: Option<String>,
    /// The file format as the row names it; whether there is such a one is not judged here.
    pub output_format: Option<String>,
    /// Also batches that have ended.
    pub include_expired: bool,
    /// The batch is in each of these sets of ids (`batchFilters.ids`, `batchId`, `batchFilter`, as far as given).
    pub ids: Vec<BTreeSet<String>>,
    /// The course's channel is one of these.
    pub channels: Option<BTreeSet<String>>,
    /// The course has one of these frameworks; in lower case.
    pub frameworks: Option<BTreeSet<String>>,
    /// The course is in the result of this search.
    pub(super) content: Option<ContentFilter>,
}

/// Why a jobConfig is refused; none of it passes by waiting. Each message is for the client, at most 100 characters,
/// the telling part first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobConfigError {
    /// The text is no JSON.
    #[error("request_data is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the text, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A key that is not known, perhaps mistyped.
    #[error("unknown key '{key}' in {place}{hint}")]
    UnknownKey {
        /// The key, cut.
        key: String,
        /// The object it stands in.
        place: &'static str,
        /// `; did you mean 'x'?` or nothing.
        hint: String,
    },
    /// An operator of a content filter that is not known, perhaps mistyped.
    #[error("unknown operator '{operator}' for '{field}'{hint}")]
    UnknownOperator {
        /// The operator, cut.
        operator: String,
        /// The metadata field, cut.
        field: String,
        /// `; did you mean 'x'?` or nothing.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("{what} must be {wanted}, not {found}")]
    WrongType {
        /// Which value.
        what: String,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value that is none of those allowed.
    #[error("{what} must be {wanted}")]
    NotAllowed {
        /// Which value.
        what: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// An id written as a number.
    #[error("{what}: put ids in quotes (a number loses leading zeros)")]
    NumberAsId {
        /// Which value.
        what: String,
    },
    /// More of something than a request may have.
    #[error("{what} is too large: {found} {of}, at most {most} are allowed")]
    TooLarge {
        /// Which value.
        what: String,
        /// How many it has.
        found: usize,
        /// Of what.
        of: &'static str,
        /// How many are allowed.
        most: usize,
    },
    /// A condition with nothing in it.
    #[error("{what} is empty")]
    Empty {
        /// Which value.
        what: String,
    },
    /// Nothing says which batches.
    #[error("no filter: give one of batchFilters, contentFilters, batchId, batchFilter")]
    NoCondition,
    /// `contentFilters` and `searchFilter`, which are two names of one thing, differ.
    #[error("contentFilters and searchFilter differ: give one of them")]
    TwoSearches,
    /// `output_format` and `outputFormat` differ.
    #[error("output_format and outputFormat differ: give one of them")]
    TwoFormats,
}

impl JobConfig {
    /// Reads a row's `request_data`: the fields at its top level, with what a request carries beside them, or under
    /// `jobConfig`.
    pub fn parse(request_data: &str) -> Result<Self, JobConfigError> {
        Self::parse_within(request_data, usize::MAX)
    }

    /// The same, with at most `max_batches` ids in each list of batches: no request is delivered more.
    pub fn parse_within(request_data: &str, max_batches: usize) -> Result<Self, JobConfigError> {
        let value: Value = serde_json::from_str(request_data).map_err(|error| not_json(request_data, &error))?;
        Self::from_request_data(&value, max_batches)
    }

    /// The same from a value that is parsed already.
    fn from_request_data(value: &Value, max_batches: usize) -> Result<Self, JobConfigError> {
        let data = object(value, "request_data")?;
        let wrapped = matches!(data.get("jobConfig"), Some(value) if !value.is_null());
        check_levels(levels(value) - usize::from(wrapped))?;
        let known: Vec<&'static str> = KEYS.into_iter().chain(BESIDE).collect();
        known_keys(data, &known, "request_data")?;
        let mut config = match data.get("jobConfig") {
            Some(Value::Null) | None => Self::from_fields(data, max_batches)?,
            Some(nested) => Self::from_config(nested, max_batches)?,
        };
        let format = optional_text(data, "output_format")?;
        let later_name = optional_text(data, "outputFormat")?;
        if format.is_some() && later_name.is_some() && format != later_name {
            return Err(JobConfigError::TwoFormats);
        }
        config.output_format = format.or(later_name);
        Ok(config)
    }

    /// Reads a jobConfig by itself, as a submission or jobs.toml has it: its seven keys and no others.
    pub fn from_value(value: &Value) -> Result<Self, JobConfigError> {
        check_levels(levels(value))?;
        Self::from_config(value, usize::MAX)
    }

    fn from_config(value: &Value, max_batches: usize) -> Result<Self, JobConfigError> {
        let fields = object(value, "jobConfig")?;
        known_keys(fields, &KEYS, "jobConfig")?;
        Self::from_fields(fields, max_batches)
    }

    fn from_fields(fields: &Map<String, Value>, max_batches: usize) -> Result<Self, JobConfigError> {
        let mut config = Self { report_path: optional_text(fields, "reportPath")?, ..Self::default() };
        config.include_expired = match fields.get("includeExpired") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(include)) => *include,
            Some(other) => return Err(wrong_type("includeExpired", "true or false", other)),
        };
        if let Some(filters) = fields.get("batchFilters") {
            config.batch_filters(filters, max_batches)?;
        }
        if let Some(id) = fields.get("batchId") {
            config.ids.push(BTreeSet::from([id_text(id, "batchId")?]));
        }
        if let Some(ids) = fields.get("batchFilter") {
            config.ids.push(texts(ids, "batchFilter", max_batches)?);
        }
        let searches = [fields.get("contentFilters"), fields.get("searchFilter")];
        if matches!(searches, [Some(one), Some(other)] if one != other) {
            return Err(JobConfigError::TwoSearches);
        }
        if let Some(search) = searches.into_iter().flatten().next() {
            config.content = Some(ContentFilter::parse(search)?);
        }
        let conditions = [config.channels.is_some(), config.frameworks.is_some(), config.content.is_some()];
        if config.ids.is_empty() && !conditions.contains(&true) {
            return Err(JobConfigError::NoCondition);
        }
        Ok(config)
    }

    /// `batchFilters`: a list of frameworks, or an object of `ids`, `channels`, `frameworks`.
    fn batch_filters(&mut self, filters: &Value, max_batches: usize) -> Result<(), JobConfigError> {
        let frameworks = |value: &Value, what: &str| -> Result<BTreeSet<String>, JobConfigError> {
            Ok(texts(value, what, MOST_VALUES)?.iter().map(|name| name.to_lowercase()).collect())
        };
        let by_key = match filters {
            Value::Array(_) => {
                self.frameworks = Some(frameworks(filters, "batchFilters")?);
                return Ok(());
            }
            Value::Object(by_key) => by_key,
            other => return Err(wrong_type("batchFilters", "a list or an object", other)),
        };
        known_keys(by_key, &["ids", "channels", "frameworks"], "batchFilters")?;
        if by_key.is_empty() {
            return Err(JobConfigError::Empty { what: "batchFilters".to_owned() });
        }
        if let Some(ids) = by_key.get("ids") {
            self.ids.push(texts(ids, "batchFilters.ids", max_batches)?);
        }
        if let Some(channels) = by_key.get("channels") {
            self.channels = Some(texts(channels, "batchFilters.channels", MOST_VALUES)?);
        }
        if let Some(names) = by_key.get("frameworks") {
            self.frameworks = Some(frameworks(names, "batchFilters.frameworks")?);
        }
        Ok(())
    }

    /// The metadata fields of `content` that its contentFilters name, in filters and in `sort_by`.
    #[must_use]
    pub fn metadata_fields(&self) -> Vec<&str> {
        self.content.as_ref().map(ContentFilter::fields).unwrap_or_default()
    }

    /// Every batch id that is named; only these can be wanted. `None` if batches are not (also) given by id.
    #[must_use]
    pub fn named_batches(&self) -> Option<BTreeSet<&str>> {
        (!self.ids.is_empty()).then(|| self.ids.iter().flatten().map(String::as_str).collect())
    }
}

/// The object that a value must be.
pub(super) fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, JobConfigError> {
    value.as_object().ok_or_else(|| wrong_type(what, "an object", value))
}

/// Refuses every key that is not among these.
pub(super) fn known_keys(
    object: &Map<String, Value>,
    known: &[&'static str],
    place: &'static str,
) -> Result<(), JobConfigError> {
    let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    Err(JobConfigError::UnknownKey { key: cut(key), place, hint: hint(key, known) })
}

/// A non-empty list of non-empty texts, at most `most` different ones.
pub(super) fn texts(value: &Value, what: &str, most: usize) -> Result<BTreeSet<String>, JobConfigError> {
    let list = value.as_array().ok_or_else(|| wrong_type(what, "a list of texts", value))?;
    if list.is_empty() {
        return Err(JobConfigError::Empty { what: what.to_owned() });
    }
    let item = format!("{what}[…]");
    let texts: BTreeSet<String> = list.iter().map(|text| id_text(text, &item)).collect::<Result<_, _>>()?;
    within(what, texts.len(), "values", most)?;
    Ok(texts)
}

/// Refuses more of something than a request may have.
pub(super) fn within(what: &str, found: usize, of: &'static str, most: usize) -> Result<(), JobConfigError> {
    if found <= most {
        return Ok(());
    }
    Err(JobConfigError::TooLarge { what: what.to_owned(), found, of, most })
}

fn check_levels(found: usize) -> Result<(), JobConfigError> {
    within("jobConfig", found, "levels", MOST_LEVELS)
}

/// How many objects and lists are within each other at the deepest place. The parser has bounded it (128).
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// The parser stops at 128 levels: then the nesting is what is wrong, not the text.
fn not_json(text: &str, error: &serde_json::Error) -> JobConfigError {
    if error.to_string().starts_with("recursion limit") {
        let opened = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
        return JobConfigError::TooLarge {
            what: "jobConfig".to_owned(),
            found: opened.min(128),
            of: "levels",
            most: MOST_LEVELS,
        };
    }
    JobConfigError::NotJson { line: error.line(), column: error.column() }
}

/// A non-empty text. A number is refused by a message of its own: it is an id that lost its quotes.
fn id_text(value: &Value, what: &str) -> Result<String, JobConfigError> {
    match value {
        Value::String(text) if text.is_empty() => Err(JobConfigError::Empty { what: what.to_owned() }),
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) => Err(JobConfigError::NumberAsId { what: what.to_owned() }),
        other => Err(wrong_type(what, "text", other)),
    }
}

/// A text that may be missing or null; an empty one is nothing there.
fn optional_text(object: &Map<String, Value>, key: &'static str) -> Result<Option<String>, JobConfigError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.is_empty()).then(|| text.clone())),
        Some(other) => Err(wrong_type(key, "text", other)),
    }
}

pub(super) fn wrong_type(what: &str, wanted: &'static str, found: &Value) -> JobConfigError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    JobConfigError::WrongType { what: what.to_owned(), wanted, found }
}

/// A client's word as a message shows it: short, without control characters.
pub(super) fn cut(word: &str) -> String {
    const MOST: usize = 24;
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if word.chars().count() <= MOST {
        return word.chars().map(shown).collect();
    }
    word.chars().take(MOST - 1).map(shown).chain(['…']).collect()
}

/// `; did you mean 'x'?` for a near miss, else nothing.
pub(super) fn hint(word: &str, known: &[&'static str]) -> String {
    let distance = |candidate: &str| strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase());
    let nearest = known.iter().copied().map(|candidate| (distance(candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= 2 && distance < candidate.len() => {
            format!("; did you mean '{candidate}'?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
