//! Reads one row of the queue: which batches, which file encoding, which path. All that can be judged without the
//! platform's data is judged here, by the same code for daemon, API and command line.
//!
//! Not here: whether a batch exists (`reports::filters`), and the table itself (`requests`).

mod canonical;
pub mod encryption;
mod filter;
mod former;
mod identity;
mod number;
mod standalone;
mod submission;

use crate::config::checked::Job;
use crate::outputs::protect;
use crate::outputs::{Compress, FileEncoding, Format, Password, PathError, Protection, ReportPath, can_name};
use crate::reports::job_config::{JobConfig, JobConfigError};

use encryption::{LONGEST_KEY, SHORTEST_KEY};
pub use filter::{FILTER_WORDS, FilterError, filter};
pub use standalone::{RunNowError, STANDALONE_TAG, StandaloneRow, run_now, standalone_row};
pub use submission::{LONGEST_NAME, Row, Stored, Submission, SubmissionError, find_job, submission};

/// What an accepted row asks for.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which batches.
    pub config: JobConfig,
    /// How its files are encoded.
    pub encoding: FileEncoding,
    /// The password, of a protected file: then the encoding is that of the file inside the archive.
    pub protection: Option<Protection>,
    /// Under which path of the store.
    pub report_path: ReportPath,
}

/// Why a row is refused, in words for the client. No later attempt can succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The row has no `request_data`.
    #[error("request_data is empty: it must be a JSON object with the filters of the request")]
    NoData,
    /// More than a row may hold.
    #[error("request_data is too large: {bytes} bytes, at most {most} are allowed")]
    TooLarge {
        /// How many it has.
        bytes: u64,
        /// `[worker] max_request_data`
        most: u64,
    },
    /// The filters are wrong.
    #[error(transparent)]
    JobConfig(#[from] JobConfigError),
    /// No such file format.
    #[error("output_format '{0}' is unknown; use one of: {known}", known = Format::names())]
    Format(String),
    /// The path could leave the store, or is invalid.
    #[error("reportPath {0}")]
    Path(#[from] PathError),
    /// The key is too short to be safe, or too long for its column.
    #[error("encryptionKey must have {SHORTEST_KEY} to {LONGEST_KEY} characters")]
    KeyLength,
    /// The key has characters that cannot be typed.
    #[error("encryptionKey must be text without control characters")]
    KeyCharacters,
    /// The report may show rows of channels that the key does not cover.
    #[error("an API key that is limited to channels may not ask for this job: its report reads all rows")]
    AllRows,
    /// The job wants protection and the request brings no key.
    #[error("encryptionKey is missing: this job makes protected files only")]
    KeyRequired,
}

/// What decides whether a row is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The JSON text of the row.
    pub request_data: Option<&'a str>,
    /// The most bytes of it.
    pub max_request_data: u64,
    /// The password for its files, if it has one.
    pub encryption_key: Option<&'a Password>,
    /// How long that may be.
    pub key_length: KeyLength,
    /// Its API key is limited to channels.
    pub is_limited: bool,
}

/// How long the password of a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    /// A submission through the API or the command line needs a strong one.
    Submitted,
    /// Rows that other systems insert may have any password.
    Any,
}

/// Judges a row for its job.
pub fn accept(job: &Job, terms: Terms<'_>) -> Result<Order, Refusal> {
    let text = terms.request_data.filter(|text| !text.trim().is_empty()).ok_or(Refusal::NoData)?;
    if text.len() as u64 > terms.max_request_data {
        return Err(Refusal::TooLarge { bytes: text.len() as u64, most: terms.max_request_data });
    }
    if terms.is_limited && job.report.query().is_some_and(|report| report.all_rows) {
        return Err(Refusal::AllRows);
    }
    let config = JobConfig::parse_within(text, job.max_batches)?;
    let format = match &config.output_format {
        None => Format::DEFAULT,
        Some(name) => Format::parse(name).ok_or_else(|| Refusal::Format(shorten(name)))?,
    };
    let report_path = ReportPath::parse(config.report_path.as_deref().unwrap_or(&job.report_path))?;
    let protection = match terms.encryption_key {
        None if job.require_encryption => return Err(Refusal::KeyRequired),
        None => None,
        Some(key) => {
            encryption::judge(key, terms.key_length)?;
            Some(Protection { password: key.clone(), zip: job.zip })
        }
    };
    // The archive is compressed itself.
    let compress = if protection.is_some() { Compress::None } else { job.compress };
    Ok(Order { config, encoding: FileEncoding { format, compress }, protection, report_path })
}

impl Order {
    /// What its files' names end with, without the leading dot.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        if self.protection.is_some() { protect::EXTENSION } else { self.encoding.extension() }
    }

    /// Whether a batch id can stand in the name of its file, and of what is inside a protected one.
    #[must_use]
    pub fn can_name(&self, batch: &str) -> bool {
        can_name(batch, self.encoding.extension()) && can_name(batch, self.extension())
    }
}

/// The channel globs in a row's `allowed_channels`. A value that cannot be read allows no channel: a broken limit must not
/// become no limit.
#[must_use]
pub fn key_channels(allowed_channels: &str) -> Vec<String> {
    serde_json::from_str(allowed_channels).unwrap_or_default()
}

/// A name from a client, short enough for a message.
fn shorten(name: &str) -> String {
    if name.chars().count() <= 20 { name.to_owned() } else { name.chars().take(19).chain(['…']).collect() }
}
