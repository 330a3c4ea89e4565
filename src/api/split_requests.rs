//! Requests that several daemons work on together, as the health and the metrics show them. The database is asked in the
//! background, so that an answer costs nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Api;
use crate::requests::{PartCounts, PartsOverview};

/// How long between two looks at the table.
const INTERVAL: Duration = Duration::from_secs(5);

/// What the table last said of parts.
#[derive(Debug, Default)]
pub(super) struct SplitRequests(Mutex<PartsOverview>);

impl SplitRequests {
    /// By job: why nobody can work on some of its split requests now. No request is named, since a key that is limited to some
    /// tags may read the health.
    pub(super) fn trouble(&self, api: &Api) -> BTreeMap<String, String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_job: BTreeMap<String, (usize, DateTime<Utc>)> = BTreeMap::new();
        // Of other systems there are no split requests, unless their job was ours before.
        for (one, job) in last.backed_off.iter().filter_map(|one| Some((one, api.job(&one.job_id)?))) {
            let (requests, next) = by_job.entry(job.id.clone()).or_insert((0, one.next_attempt));
            *requests += 1;
            *next = (*next).min(one.next_attempt);
        }
        by_job.into_iter().map(|(job, (requests, next))| (job, why(requests, next))).collect()
    }

    /// Numbers of parts by job and state.
    pub(super) fn counts(&self, api: &Api) -> BTreeMap<String, PartCounts> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<String, PartCounts> = BTreeMap::new();
        for (one, job) in last.counts.iter().filter_map(|(name, one)| Some((one, api.job(name)?))) {
            counts.entry(job.id.clone()).or_default().add(one);
        }
        counts
    }

    fn store(&self, overview: PartsOverview) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = overview;
    }
}

fn why(requests: usize, next: DateTime<Utc>) -> String {
    format!(
        "large requests of which every part that is left waits after a failed attempt: {requests}, the first until {}; \
         `exhaustd check` names them",
        next.to_rfc3339_opts(SecondsFormat::Secs, true)
    )
}

/// Looks at the table again and again, until it is aborted. What it last said holds while it cannot be asked.
pub(super) async fn watch(api: Arc<Api>) {
    loop {
        match api.ask(|queue| queue.parts_overview()).await {
            Ok(overview) => api.split_requests.store(overview),
            // What is wrong with the database is said by its probe.
            Err(error) => log::debug!("parts not counted error={:?}", error.message),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
