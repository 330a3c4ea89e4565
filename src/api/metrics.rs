//! `GET /metrics`: what this process counts, and the table's rows by job and status. These are read at most once in
//! [`MAX_AGE`], whatever the number of calls.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::audit::CallContext;
use super::clients::ClientAddress;
use super::envelope::{ApiError, ErrorKind};
use super::{Api, error_response};
use crate::requests::Overview;

/// How long counts of rows are used: over ten million rows they take seconds.
const MAX_AGE: Duration = Duration::from_secs(15);

/// Rows by job and status.
#[derive(Debug, Default)]
pub(super) struct RowCounts(Mutex<Option<(Instant, Overview)>>);

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
        let mut response = error_response(&api, &refused);
        response.extensions_mut().insert(CallContext { call: "metrics", key, request: None, reason: refused.message });
        return response;
    }
    let jobs = api.jobs();
    api.metrics.know_jobs(jobs.iter().map(|job| job.id.as_str()));
    api.health.publish();
    api.metrics.set_parts(&api.split_requests.counts(&api));
    // Where the database is down, the rest is answered all the same.
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

/// Checks the caller. Metrics tell of all tags, so a key that is limited to some may not read them. `key` is set to the name of
/// the caller's.
fn may_read(api: &Api, headers: &HeaderMap, address: IpAddr, key: &mut Option<String>) -> Result<(), ApiError> {
    let caller = api.caller(headers, address).inspect_err(|_| *key = api.refused_key(headers))?;
    *key = api.key_name(&caller).map(str::to_owned);
    if caller.reader().tags.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Forbidden, "the key is limited to certain tags, and metrics tell of all"))
}

async fn refresh(api: &Api) -> Result<(), ApiError> {
    let mut last = api.row_counts.0.lock().await;
    if last.as_ref().is_none_or(|(read, _)| read.elapsed() >= MAX_AGE) {
        *last = Some((Instant::now(), api.ask(|queue| queue.overview()).await?));
    }
    if let Some((_, overview)) = last.as_ref() {
        api.metrics.set_requests(by_job(api, overview));
    }
    drop(last);
    let mut channels: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
    let age = |oldest: Option<DateTime<Utc>>| oldest.and_then(|at| (api.now() - at).to_std().ok()).unwrap_or_default();
    for job in api.jobs() {
        let queue = api.queue_snapshots.of(api, &job).await?;
        api.metrics.set_queue(&job.id, queue.len(), age(queue.oldest));
        for (channel, (depth, oldest)) in &queue.channels {
            let (all, longest) = channels.entry(channel.clone()).or_default();
            *all += depth;
            *longest = age(*oldest).max(*longest);
        }
    }
    api.metrics.set_channels(channels);
    Ok(())
}

/// Rows by job and status: those of aliases with their job, those of other systems together.
fn by_job(api: &Api, overview: &Overview) -> Vec<(String, String, u64)> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((name, status), n) in &overview.counts {
        let job = api.job(name).map_or_else(|| "(other)".to_owned(), |job| job.id.clone());
        *counts.entry((job, status.clone())).or_default() += n;
    }
    counts.into_iter().map(|((job, status), n)| (job, status, n)).collect()
}
