//! The words of a filter, as people and programs write them: the same on the command line, in a query and in a body.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::checked::Job;
use crate::config::parse_duration;
use crate::outputs::Format;
use crate::requests::{ErrCode, Filter, Status, read_time};

/// The words, each with what it says.
pub const FILTER_WORDS: [(&str, &str); 12] = [
    ("tag", "The client's key."),
    ("request_id", "What the request id begins with."),
    ("job", "Id or alias of the job."),
    ("status", "SUBMITTED, PROCESSING, COMPLETED (also of rows that other systems mark SUCCESS) or FAILED."),
    ("err_code", "The kind of failure."),
    ("channel", "The channel that the request was made for."),
    ("requested_by", "Who asked."),
    ("format", "The file format; csv is also that of requests that name none."),
    (
        "submitted_from",
        "Submitted at this time or later: 2026-01-31, 2026-01-31T10:00:00Z, epoch seconds; or 24h, which is ago.",
    ),
    ("submitted_to", "Submitted before this time."),
    ("completed_from", "Ended at this time or later."),
    ("completed_to", "Ended before this time."),
];

/// Why a filter does not read, in words for the one who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no such word.
    #[error("there is no filter '{0}'; there are: {known}", known = FILTER_WORDS.map(|(word, _)| word).join(", "))]
    Unknown(String),
    /// A word without a value.
    #[error("{0} must not be empty")]
    Empty(String),
    /// There is no such status, kind of failure or format.
    #[error("there is no {word} '{value}'; there are: {known}")]
    NoSuch {
        /// Which word.
        word: &'static str,
        /// What was given.
        value: String,
        /// What there is.
        known: String,
    },
    /// Not a time.
    #[error("{word} '{value}' is no time: give 2026-01-31, 2026-01-31T10:00:00Z, or 24h for a day ago")]
    NoTime {
        /// Which word.
        word: String,
        /// What was given.
        value: String,
    },
}

/// Reads a filter. A row may have any of a job's names.
///
/// # Errors
/// A word is unknown, or its value is.
pub fn filter<'w>(
    words: impl IntoIterator<Item = (&'w str, &'w str)>,
    jobs: &[Arc<Job>],
    now: DateTime<Utc>,
) -> Result<Filter, FilterError> {
    let mut filter = Filter::default();
    for (word, value) in words {
        if value.is_empty() {
            return Err(FilterError::Empty(word.to_owned()));
        }
        let text = Some(value.to_owned());
        match word {
            "tag" => filter.tag = text,
            "request_id" => filter.id_prefix = text,
            "job" => filter.job_ids = Some(names(jobs, value)),
            "status" => filter.statuses = Some(statuses(value)?),
            "err_code" => {
                let known = ErrCode::ALL.iter().map(|code| code.as_str());
                filter.err_code = Some(one_of("err_code", value, known)?);
            }
            "channel" => filter.channels = Some(vec![value.to_owned()]),
            "requested_by" => filter.requested_by = text,
            "format" => {
                let no_such =
                    || FilterError::NoSuch { word: "format", value: value.to_owned(), known: Format::names() };
                let format = Format::parse(value).ok_or_else(no_such)?;
                filter.formats = Some(format.spellings().map(str::to_lowercase).collect());
            }
            "submitted_from" => filter.submitted.from = Some(time(word, value, now)?),
            "submitted_to" => filter.submitted.until = Some(time(word, value, now)?),
            "completed_from" => filter.completed.from = Some(time(word, value, now)?),
            "completed_to" => filter.completed.until = Some(time(word, value, now)?),
            other => return Err(FilterError::Unknown(other.to_owned())),
        }
    }
    Ok(filter)
}

fn names(jobs: &[Arc<Job>], name: &str) -> Vec<String> {
    let job = super::find_job(jobs, name);
    job.map_or_else(|_| vec![name.to_owned()], |job| job.names().map(str::to_owned).collect())
}

fn statuses(value: &str) -> Result<Vec<String>, FilterError> {
    let known = Status::ALL.iter().map(|status| status.as_str()).chain([Status::SUCCESS]);
    Ok(Filter::statuses_of([one_of("status", value, known)?]))
}

fn one_of<'k>(
    word: &'static str,
    value: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Result<String, FilterError> {
    if known.clone().any(|known| known == value) {
        return Ok(value.to_owned());
    }
    Err(FilterError::NoSuch { word, value: value.to_owned(), known: known.collect::<Vec<_>>().join(", ") })
}

/// A time, or how long ago it was. A year has four digits: others do not sort as text.
fn time(word: &str, value: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, FilterError> {
    let ago = || now.checked_sub_signed(chrono::TimeDelta::from_std(parse_duration(value).ok()?).ok()?);
    read_time(value)
        .or_else(ago)
        .filter(|time| (1..=9999).contains(&chrono::Datelike::year(time)))
        .ok_or_else(|| FilterError::NoTime { word: word.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[(&str, &str)]) -> Result<Filter, String> {
        let now = read_time("2026-03-02T12:00:00Z").unwrap();
        filter(words.iter().copied(), &[], now).map_err(|error| error.to_string())
    }

    #[test]
    fn every_word_is_read() {
        for (word, _) in FILTER_WORDS {
            let value = match word {
                "status" => "FAILED",
                "err_code" => "no_data",
                "format" => "PARQUET",
                _ => "2026-01-31",
            };
            assert!(!read(&[(word, value)]).unwrap().is_empty(), "{word}");
        }
        let filter =
            read(&[("format", "CSV"), ("status", "COMPLETED"), ("job", "gone"), ("submitted_from", "24h")]).unwrap();
        assert_eq!((filter.formats.unwrap(), filter.statuses.unwrap().len()), (vec!["csv".to_owned()], 2));
        assert_eq!(filter.job_ids, Some(vec!["gone".to_owned()]), "rows outlive their job");
        assert_eq!(filter.submitted.from, read_time("2026-03-01T12:00:00Z"));
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        for (word, value, part) in [
            ("tags", "t", "there is no filter 'tags'"),
            ("tag", "", "tag must not be empty"),
            ("status", "failed", "there is no status 'failed'; there are: SUBMITTED"),
            ("err_code", "none", "there is no err_code 'none'; there are: no_data"),
            ("format", "doc", "there is no format 'doc'"),
            ("completed_to", "soon", "completed_to 'soon' is no time"),
        ] {
            let error = read(&[(word, value)]).unwrap_err();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
