//! What many ask for and few should cost the database: the line that waits for each job, and counts by status. Each is
//! read at most once in its time, however many ask.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use tokio::sync::Mutex;

use super::audit::About;
use super::clients::ClientAddress;
use super::envelope::{Fault, Kind};
use super::{Api, fault};
use crate::config::checked::Job;
use crate::requests::{self, Overview, RequestKey};

/// How long a line is believed.
const LINE_HOLDS: Duration = Duration::from_secs(1);
/// How long counts are believed: over ten million rows they take seconds.
const COUNTS_HOLD: Duration = Duration::from_secs(15);

/// The requests that wait for one job.
#[derive(Debug)]
pub(super) struct Line {
    positions: HashMap<RequestKey, u64>,
    /// Where a row stands that came after the line was read.
    end: u64,
    oldest: Option<chrono::DateTime<chrono::Utc>>,
    read: Instant,
}

impl Line {
    fn new(waiting: Vec<requests::WaitingRequest>) -> Self {
        let ready = waiting.iter().filter(|one| !one.backing_off).count() as u64;
        let oldest = waiting.iter().filter_map(|one| one.submitted).min();
        let positions = (1..).zip(waiting).map(|(position, one)| (one.key, position)).collect();
        Self { positions, end: ready + 1, oldest, read: Instant::now() }
    }

    /// 1 is the next of its job.
    pub(super) fn position(&self, key: &RequestKey) -> u64 {
        self.positions.get(key).copied().unwrap_or(self.end)
    }
}

/// The line of each job.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<BTreeMap<String, Arc<KeptLine>>>);

type KeptLine = Mutex<Option<Arc<Line>>>;

impl Waiting {
    /// The line of a job, at most a second old.
    pub(super) async fn line(&self, api: &Api, job: &Job) -> Result<Arc<Line>, Fault> {
        let place = Arc::clone(self.0.lock().await.entry(job.id.clone()).or_default());
        // Whoever comes while it is read waits for that reading, and then finds it fresh.
        let mut kept = place.lock().await;
        if let Some(line) = kept.as_ref().filter(|line| line.read.elapsed() < LINE_HOLDS) {
            return Ok(Arc::clone(line));
        }
        let names: Vec<String> = job.names().map(str::to_owned).collect();
        let line = Arc::new(Line::new(api.ask(move |queue| queue.waiting(&names)).await?));
        *kept = Some(Arc::clone(&line));
        Ok(line)
    }
}

/// Rows by job and status.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Option<(Instant, Overview)>>);

/// `GET /metrics`
pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Response<Body> {
    let mut key = None;
    if !api.settings.metrics_public
        && let Err(refused) = may_read(&api, &headers, address, &mut key)
    {
        let mut response = fault(&api, &refused);
        response.extensions_mut().insert(About { call: "metrics", key, request: None, reason: refused.message });
        return response;
    }
    let jobs = api.jobs();
    api.metrics.know_jobs(jobs.iter().map(|job| job.id.as_str()));
    // A database that is down must not hide what this process counts itself.
    if let Err(error) = refresh(&api).await {
        log::warn!("metrics without the database's numbers error={:?}", error.message);
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (text, kind) = if accept.contains("application/openmetrics-text") {
        (api.metrics.openmetrics(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (api.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Metrics tell of all tags, so they are for keys without a limit to some. `key` gets the name of the caller's.
fn may_read(api: &Api, headers: &HeaderMap, address: IpAddr, key: &mut Option<String>) -> Result<(), Fault> {
    let caller = api.caller(headers, address).inspect_err(|_| *key = api.refused_key(headers))?;
    *key = api.key_name(&caller).map(str::to_owned);
    if caller.reader().tags.is_empty() {
        return Ok(());
    }
    Err(Fault::new(Kind::Forbidden, "the key is limited to certain tags, and metrics tell of all"))
}

async fn refresh(api: &Api) -> Result<(), Fault> {
    let mut kept = api.counts.0.lock().await;
    if kept.as_ref().is_none_or(|(read, _)| read.elapsed() >= COUNTS_HOLD) {
        *kept = Some((Instant::now(), api.ask(|queue| queue.overview()).await?));
    }
    if let Some((_, overview)) = kept.as_ref() {
        api.metrics.set_requests(by_job(api, overview));
    }
    drop(kept);
    for job in api.jobs() {
        let line = api.waiting.line(api, &job).await?;
        let age = line.oldest.and_then(|oldest| (api.now() - oldest).to_std().ok()).unwrap_or_default();
        api.metrics.set_queue(&job.id, line.positions.len(), age);
    }
    Ok(())
}

/// Aliases are counted with their job, and rows of other systems together.
fn by_job(api: &Api, overview: &Overview) -> Vec<(String, String, u64)> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((name, status), n) in &overview.counts {
        let job = api.job(name).map_or_else(|| "(other)".to_owned(), |job| job.id.clone());
        *counts.entry((job, status.clone())).or_default() += n;
    }
    counts.into_iter().map(|((job, status), n)| (job, status, n)).collect()
}
