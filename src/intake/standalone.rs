//! Requests that standalone jobs make for themselves: for a slot of their schedule, or now because somebody says so.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::identity::slot_request_id;
use crate::config::checked::{Job, Mode};

/// The tag of rows that standalone jobs make for themselves.
pub const STANDALONE_TAG: &str = "exhaustd";

/// Why a job cannot be run now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunNowError {
    /// Its requests bring their own jobConfig.
    #[error("job {0} has no jobConfig of its own: only a standalone job can be run now, submit a request instead")]
    NotStandalone(String),
    /// `enabled = false`
    #[error("job {0} is switched off")]
    Off(String),
}

/// What the row of a standalone job has; its tag is [`STANDALONE_TAG`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandaloneRow {
    /// The same for the same slot.
    pub request_id: String,
    /// JSON.
    pub request_data: String,
}

/// The row of a standalone job for this slot.
#[must_use]
pub fn standalone_row(job: &Job, config: &Value, slot: DateTime<Utc>) -> StandaloneRow {
    StandaloneRow {
        request_id: slot_request_id(&job.id, slot),
        request_data: json!({ "jobId": job.id, "jobConfig": config }).to_string(),
    }
}

/// The row of a standalone job outside its schedule. Two within one second are the same one, and so is that of a slot.
///
/// # Errors
/// The job has no jobConfig of its own, or is off.
pub fn run_now(job: &Job, now: DateTime<Utc>) -> Result<StandaloneRow, RunNowError> {
    match &job.mode {
        Mode::Request => Err(RunNowError::NotStandalone(job.id.clone())),
        Mode::Standalone(_) if !job.enabled => Err(RunNowError::Off(job.id.clone())),
        Mode::Standalone(config) => Ok(standalone_row(job, config, now)),
    }
}
