//! How each job's scans end: counted, and kept for the health checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::config::checked::Job;
use crate::metrics::{Metrics, ScanOutcome};

/// Jobs whose last scan failed, and since when their scans fail.
#[derive(Debug, Default)]
pub struct ScanHealth(Mutex<BTreeMap<String, Trouble>>);

#[derive(Clone, Debug)]
struct Trouble {
    since: DateTime<Utc>,
    why: String,
}

impl ScanHealth {
    /// ScanHealth of these jobs ended; `trouble` says what kept them from their work.
    pub(super) fn ended(
        &self,
        metrics: &Metrics,
        jobs: &[Arc<Job>],
        trouble: Option<(ScanOutcome, String)>,
        now: DateTime<Utc>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, why) = trouble.map_or((ScanOutcome::Done, None), |(outcome, why)| (outcome, Some(why)));
        let mut well_again = Vec::new();
        for job in jobs {
            metrics.scanned(&job.id, outcome);
            match &why {
                None => well_again.extend(all.remove(&job.id).map(|_| job.id.as_str())),
                Some(why) => {
                    let since = all.get(&job.id).map_or(now, |trouble| trouble.since);
                    all.insert(job.id.clone(), Trouble { since, why: why.clone() });
                }
            }
        }
        if !well_again.is_empty() {
            log::info!("scans work again jobs={well_again:?}");
        }
    }

    /// What is wrong with the scans of a job; `None` while they end well.
    #[must_use]
    pub fn trouble(&self, job_id: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Trouble { since, why } = all.get(job_id)?;
        Some(format!("no scan has ended well since {}: {why}", since.to_rfc3339_opts(SecondsFormat::Secs, true)))
    }
}
