//! A submission, from whichever door: judged as the daemon will judge its row, and given its identity.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Identity, KeyLength, Refusal, Terms, accept, request_id};
use crate::config::checked::Job;
use crate::outputs::{Format, Password};

/// The most characters of a tag, of who asks and of a channel: what the table's columns hold.
pub const LONGEST_NAME: usize = 50;

/// What a client hands in.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The client's key.
    pub tag: &'a str,
    /// The filters.
    pub job_config: &'a Value,
    /// The file format.
    pub output_format: &'a str,
    /// Who asks.
    pub requested_by: Option<&'a str>,
    /// For which channel.
    pub requested_channel: Option<&'a str>,
    /// The password for its files, where it brings one.
    pub encryption_key: Option<&'a Password>,
}

/// Why a submission is refused, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// A field with nothing in it.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A field with more than its column holds.
    #[error("{0} has more than {LONGEST_NAME} characters")]
    TooLong(&'static str),
    /// A tag that could not stand in a path or a file name as it is.
    #[error("tag must be letters, digits and . _ : - only")]
    Tag,
    /// No such job.
    #[error("jobId '{job}' is not configured; use one of {known}")]
    Job {
        /// As given.
        job: String,
        /// Every id and alias there is.
        known: String,
    },
    /// What the daemon would say.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A submission in order: what its row will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The same for the same submission on the same day.
    pub request_id: String,
    /// JSON.
    pub request_data: String,
}

/// The configured job of this id or alias.
///
/// # Errors
/// There is none; the error names those there are.
pub fn find_job<'a>(jobs: &'a [Arc<Job>], name: &str) -> Result<&'a Arc<Job>, SubmissionError> {
    if name.is_empty() {
        return Err(SubmissionError::Empty("jobId"));
    }
    jobs.iter().find(|job| job.names().any(|known| known == name)).ok_or_else(|| {
        let known: Vec<&str> = jobs.iter().flat_map(|job| job.names()).collect();
        SubmissionError::Job { job: super::shorten(name), known: known.join(", ") }
    })
}

/// Judges a submission as far as that goes without the platform's data, and names its request.
///
/// # Errors
/// Whatever the daemon would refuse, in the same words, and what the table's columns do not hold.
pub fn submission(job: &Job, given: &Submission<'_>, now: DateTime<Utc>) -> Result<Row, SubmissionError> {
    let Submission { tag, job_config, output_format, requested_by, requested_channel, encryption_key } = *given;
    // `CSV` is `csv`: the same submission.
    let output_format = Format::parse(output_format).map_or(output_format, |format| format.name());
    check_tag(tag)?;
    for (name, value) in [("requestedBy", requested_by), ("requestedChannel", requested_channel)] {
        if value.is_some_and(|value| value.chars().count() > LONGEST_NAME) {
            return Err(SubmissionError::TooLong(name));
        }
    }
    if matches!(job_config, Value::Null) || job_config.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(SubmissionError::Empty("jobConfig"));
    }
    let request_data = json!({ "jobConfig": job_config, "output_format": output_format }).to_string();
    let key_length = KeyLength::Submitted;
    accept(job, Terms { request_data: Some(&request_data), encryption_key, key_length })?;
    let request_id = request_id(&Identity {
        tag,
        job_id: &job.id,
        job_config: &with_our_names(job_config),
        output_format,
        requested_by,
        requested_channel,
        day: now.date_naive(),
    });
    Ok(Row { request_id, request_data })
}

/// The same jobConfig with `contentFilters` under this name, so that it is the same submission under the other.
fn with_our_names(job_config: &Value) -> Cow<'_, Value> {
    let Some(search) = job_config.get("searchFilter") else { return Cow::Borrowed(job_config) };
    let mut renamed = job_config.clone();
    if let Some(fields) = renamed.as_object_mut() {
        fields.remove("searchFilter");
        fields.insert("contentFilters".to_owned(), search.clone());
    }
    Cow::Owned(renamed)
}

fn check_tag(tag: &str) -> Result<(), SubmissionError> {
    if tag.is_empty() {
        return Err(SubmissionError::Empty("tag"));
    }
    if tag.chars().count() > LONGEST_NAME {
        return Err(SubmissionError::TooLong("tag"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if tag.chars().all(allowed) { Ok(()) } else { Err(SubmissionError::Tag) }
}
