//! What a part of a request came to.

use serde::{Deserialize, Serialize};

use super::request_error::RequestError;
use super::stats::{GroupStats, LoadStats};
use crate::reports::Counts;
use crate::tables::quality::Quality;

/// What a part came to, kept as JSON until the others are made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PartResult {
    /// How its files were made: the same for all parts of a request.
    pub fingerprint: String,
    /// Object keys, in the order of the batches.
    pub files: Vec<String>,
    /// Batches without a file: every row of one of their tables is unusable.
    pub broken: Vec<String>,
    /// What is wrong with the first of these.
    pub first_broken: Option<Broken>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Their rows, and where the other enrolments went.
    pub counts: Counts,
    /// What was found of all batches.
    pub quality: Quality,
    /// What making it took.
    pub group: GroupStats,
    /// What loading came across.
    pub load: LoadStats,
}

/// Why a batch has no file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Broken {
    /// For the client.
    pub message: String,
    /// For operators.
    pub detail: String,
}

impl From<&RequestError> for Broken {
    fn from(error: &RequestError) -> Self {
        Self { message: error.message.clone(), detail: error.detail.clone() }
    }
}

impl PartResult {
    pub(super) fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
