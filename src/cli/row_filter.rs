//! The filter on the command line: which rows `status`, `retry` and others are about.

use std::time::Duration;

use super::CommandError;
use crate::config::Config;
use crate::intake;
use crate::requests::{Clock as _, Filter, Page, Queue, Reader, RequestRow, StatementTimeout, SystemClock};

/// How long the database may look for rows.
const PATIENCE: Duration = Duration::from_mins(1);

/// Conditions on requests; all that are given hold.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filter")]
pub(super) struct RowFilter {
    /// What the request id begins with.
    #[arg(long = "id", value_name = "PREFIX")]
    id: Option<String>,
    /// Id or alias of the job.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// SUBMITTED, PROCESSING, COMPLETED or FAILED.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// The kind of failure, such as no_data.
    #[arg(long, value_name = "CODE")]
    err_code: Option<String>,
    /// The channel that the request was made for.
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// Who asked.
    #[arg(long, value_name = "NAME")]
    requested_by: Option<String>,
    /// The file format: csv, json, parquet or xlsx.
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
    /// Submitted at this time or later: 24h (ago), 2026-01-31, 2026-01-31T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Submitted before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Ended at this time or later.
    #[arg(long, value_name = "TIME")]
    completed_since: Option<String>,
    /// Ended before this time.
    #[arg(long, value_name = "TIME")]
    completed_until: Option<String>,
}

impl RowFilter {
    fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        [
            ("request_id", &self.id),
            ("job", &self.job),
            ("status", &self.status),
            ("err_code", &self.err_code),
            ("channel", &self.channel),
            ("requested_by", &self.requested_by),
            ("format", &self.format),
            ("submitted_from", &self.since),
            ("submitted_to", &self.until),
            ("completed_from", &self.completed_since),
            ("completed_to", &self.completed_until),
        ]
        .into_iter()
        .filter_map(|(word, value)| Some((word, value.as_deref()?)))
    }

    /// Whether no condition is given.
    pub(super) fn is_empty(&self) -> bool {
        self.words().next().is_none()
    }

    /// The filter, of one tag where that is given.
    pub(super) fn filter(&self, tag: Option<&str>, config: &Config) -> Result<Filter, CommandError> {
        let words = self.words().chain(tag.map(|tag| ("tag", tag)));
        intake::filter(words, &config.jobs, SystemClock.now()).map_err(|error| CommandError::Usage(error.to_string()))
    }
}

/// The newest rows that match, at most `limit`.
pub(super) fn matching(queue: &dyn Queue, filter: &Filter, limit: u32) -> Result<Vec<RequestRow>, CommandError> {
    let timeout = StatementTimeout::after(PATIENCE);
    let found = queue.search(filter, &Reader::everything(), &Page::first(limit), &timeout)?;
    Ok(queue.rows_of(found.entries)?)
}
