//! How long a completed request took, as metrics count it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::metrics::RequestTimes;
use crate::requests::Completion;

/// The times of a request that was completed so, and submitted and claimed then. Its phases are those of its group, as its
/// `job_stats` have them.
pub(super) fn times(made: &Completion, submitted: Option<DateTime<Utc>>, claimed: DateTime<Utc>) -> RequestTimes {
    let stats: Value = serde_json::from_str(&made.job_stats).unwrap_or_default();
    let phase = |name: &str| Duration::from_millis(stats["group"][name].as_u64().unwrap_or(0));
    let wait = submitted.and_then(|submitted| (claimed - submitted).to_std().ok()).unwrap_or_default();
    let execution = Duration::from_millis(made.execution_ms.try_into().unwrap_or(0));
    let [load, generate, store] = ["load_ms", "generate_ms", "store_ms"].map(phase);
    RequestTimes { total: wait + execution, wait, load, generate, store }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_from_the_row_and_its_stats() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let job_stats = r#"{"group": {"load_ms": 20, "generate_ms": 30, "store_ms": 40}}"#.to_owned();
        let made = Completion { download_urls: Vec::new(), file_created: at(9), execution_ms: 2_000, job_stats };
        let seen = times(&made, Some(at(2)), at(5));
        assert_eq!([seen.total, seen.wait, seen.store].map(|time| time.as_millis()), [5_000, 3_000, 40]);
        // A clock that was set back.
        assert_eq!(times(&made, Some(at(7)), at(5)).total.as_secs(), 2);
    }
}
