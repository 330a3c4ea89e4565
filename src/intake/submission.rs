//! A submission, through the API or the command line: judged as the daemon will judge its row, and given its request id.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};

use super::identity::Identity;
use super::{KeyLength, Refusal, Terms, accept};
use crate::config::checked::Job;
use crate::outputs::{Format, Password};

/// The most characters of a tag, of who asks and of a channel: what the table's columns hold.
pub const LONGEST_NAME: usize = 50;

/// What a client submits.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The client's key.
    pub tag: &'a str,
    /// The filters.
    pub job_config: &'a Value,
    /// Bytes that its row's `request_data` may have.
    pub max_request_data: u64,
    /// The file format.
    pub output_format: &'a str,
    /// Who asks.
    pub requested_by: Option<&'a str>,
    /// For which channel.
    pub requested_channel: Option<&'a str>,
    /// JSON list of globs: the channels that the client's API key covers. `None`: no limit.
    pub allowed_channels: Option<&'a str>,
    /// The password for its files, if it has one.
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
    /// More filters than a row may hold.
    #[error("jobConfig is too large: {bytes} bytes as it would be stored, at most {most} are allowed")]
    TooLarge {
        /// What its row's `request_data` would have, which is compact JSON.
        bytes: u64,
        /// `[worker] max_request_data`
        most: u64,
    },
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
    /// `enabled = false`
    #[error("job {0} is switched off")]
    Off(String),
    /// What the daemon would say.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// An accepted submission: what its row will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The same for the same submission on the same day, and for no other.
    pub request_id: String,
    /// The id that earlier versions gave it.
    former_id: String,
    /// The id that it gets where a row of another meaning has its own.
    other_id: String,
    day: NaiveDate,
    /// JSON.
    pub request_data: String,
}

/// The fields of a stored row that make its identity.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The job's id.
    pub job_id: String,
    /// JSON text.
    pub request_data: Option<String>,
    /// Who asked.
    pub requested_by: Option<String>,
    /// For which channel.
    pub requested_channel: Option<String>,
    /// JSON list of globs, as [`Submission::allowed_channels`].
    pub allowed_channels: Option<String>,
}

impl Row {
    /// The id to submit it under: its own; or that of a version before, where the same submission was made under it earlier
    /// this day; or another one, where a row that means something else has its own. `find` looks for a row of the tag by its
    /// id.
    ///
    /// # Errors
    /// Whatever `find` fails with.
    pub fn id_among<E>(
        &self,
        job: &Job,
        tag: &str,
        mut find: impl FnMut(&str) -> Result<Option<Stored>, E>,
    ) -> Result<String, E> {
        let own = find(&self.request_id)?;
        if own.as_ref().is_some_and(|stored| self.means(job, tag, stored)) {
            return Ok(self.request_id.clone());
        }
        if self.former_id != self.request_id
            && find(&self.former_id)?.is_some_and(|stored| self.means(job, tag, &stored))
        {
            return Ok(self.former_id.clone());
        }
        Ok(if own.is_some() { &self.other_id } else { &self.request_id }.clone())
    }

    fn means(&self, job: &Job, tag: &str, stored: &Stored) -> bool {
        self.would_be(job, tag, stored).is_some_and(|id| id == self.request_id)
    }

    /// The id of a stored row, computed again. `None` if the row cannot be read.
    fn would_be(&self, job: &Job, tag: &str, stored: &Stored) -> Option<String> {
        let data: Value = serde_json::from_str(stored.request_data.as_deref()?).ok()?;
        let id = Identity {
            tag,
            job_id: &stored.job_id,
            report_path: &job.report_path,
            job_config: data.get("jobConfig")?,
            output_format: data.get("output_format")?.as_str()?,
            requested_by: stored.requested_by.as_deref(),
            requested_channel: stored.requested_channel.as_deref(),
            allowed_channels: stored.allowed_channels.as_deref(),
            day: self.day,
        };
        Some(id.request_id())
    }
}

/// The configured job of this id or alias.
///
/// # Errors
/// There is no such job; the error names all that there are.
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
/// What the daemon would refuse, in the same words, and what does not fit into the table's columns.
pub fn submission(job: &Job, given: &Submission<'_>, now: DateTime<Utc>) -> Result<Row, SubmissionError> {
    if !job.enabled {
        return Err(SubmissionError::Off(job.id.clone()));
    }
    let Submission { tag, job_config, output_format, requested_by, requested_channel, encryption_key, .. } = *given;
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
    let (key_length, max_request_data) = (KeyLength::Submitted, given.max_request_data);
    if request_data.len() as u64 > max_request_data {
        return Err(SubmissionError::TooLarge { bytes: request_data.len() as u64, most: max_request_data });
    }
    let is_limited = given.allowed_channels.is_some();
    let request_text = Some(request_data.as_str());
    accept(job, Terms { request_data: request_text, max_request_data, encryption_key, key_length, is_limited })?;
    let day = now.date_naive();
    let identity = Identity {
        tag,
        job_id: &job.id,
        report_path: &job.report_path,
        job_config,
        output_format,
        requested_by,
        requested_channel,
        allowed_channels: given.allowed_channels,
        day,
    };
    Ok(Row {
        request_id: identity.request_id(),
        former_id: identity.former_request_id(),
        other_id: identity.other_request_id(),
        day,
        request_data,
    })
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
