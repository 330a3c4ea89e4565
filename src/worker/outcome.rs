//! How an attempt at a request ends.

use std::fmt;

use super::part_result::PartResult;
use super::request_error::RequestError;
use super::tenants::Exceeded;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Every file is stored.
    Completed(Completed),
    /// Every file of the part is stored.
    PartMade(Box<PartResult>),
    /// No report: for now if the error may pass and attempts are left, else for good.
    Failed(RequestError),
    /// The row goes back as it was, which costs it no attempt.
    HandedBack(HandBack),
}

/// What a completed request gets.
#[derive(Clone, Debug)]
pub(super) struct Completed {
    /// Object keys, ordered by batch id.
    pub(super) download_urls: Vec<String>,
    /// JSON.
    pub(super) job_stats: String,
}

/// Why a row goes back as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandBack {
    /// The daemon stops, or the request's text cannot be read now.
    Unfinished,
    /// Its tenant has enough in work: one of the next scans takes it.
    Tenant(Exceeded),
    /// A file that it shares with others was lost on its way to the store, and not because of this request.
    FileLost,
}

impl fmt::Display for HandBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unfinished => "it is not finished",
            Self::Tenant(_) => "its tenant has enough in work",
            Self::FileLost => "a file that it shares was lost on its way to the store",
        })
    }
}
