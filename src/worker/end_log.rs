//! The line of the log for a completed request, with what it came to and what it took.

use serde::Deserialize;

use crate::requests::{Completion, RequestKey};

/// What of `job_stats` is logged.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Figures {
    rows: u64,
    bytes: u64,
    parts: u64,
    group: GroupFigures,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupFigures {
    wait_ms: i64,
    load_ms: u64,
    generate_ms: u64,
    store_ms: u64,
}

/// Logs that a request is completed. Times of loading, generating and storing are those of its group.
pub(super) fn log_completed(key: &RequestKey, job_id: &str, made: &Completion) {
    let Figures { rows, bytes, parts, group } = serde_json::from_str(&made.job_stats).unwrap_or_default();
    let GroupFigures { wait_ms, load_ms, generate_ms, store_ms } = group;
    log::info!(
        request:% = key, job = job_id, files = made.download_urls.len(), parts = parts.max(1), rows, bytes, wait_ms, load_ms,
        generate_ms, store_ms, execution_ms = made.execution_ms;
        "request completed"
    );
}
