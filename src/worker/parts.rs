//! The end of a request that several daemons have worked on, once all of its parts are made.
//!
//! Not here: which requests are split (`group::split`), and the rows of parts (`requests`).

use std::sync::Arc;

use super::AppContext;
use super::group::fenced_write::persist;
use super::group::sync::Delivered;
use super::part_result::{Broken, PartResult};
use super::plan::FileIdx;
use super::request_error::{Origin, RequestError};
use super::stats::{GroupStats, LoadStats, RequestStats, job_stats};
use super::summary::Summary;
use crate::config::Config;
use crate::config::checked::Job;
use crate::reports::filters::LeftOut;
use crate::requests::{Completion, Failure, MadeRequest, QueueError, WriteBack};

/// Ends the requests of these jobs of which every part is made, whoever made them.
pub(super) async fn end_made_requests(
    app: &AppContext,
    config: &Config,
    jobs: &[Arc<Job>],
) -> Result<Summary, QueueError> {
    let mut summary = Summary::default();
    let names: Vec<String> = jobs.iter().flat_map(|job| job.names()).map(str::to_owned).collect();
    loop {
        let asked = names.clone();
        let Some(made) = app.ask(move |queue| queue.made_request(&asked)).await? else { return Ok(summary) };
        let Some(job) = jobs.iter().find(|job| job.names().any(|name| name == made.job_id)) else { return Ok(summary) };
        if !end(app, config, job, &made, &mut summary).await? {
            return Ok(summary);
        }
    }
}

/// Ends one request. `false`: another daemon has ended it, or the database does not take it.
async fn end(
    app: &AppContext,
    config: &Config,
    job: &Job,
    made: &MadeRequest,
    summary: &mut Summary,
) -> Result<bool, QueueError> {
    super::failpoints::hit("ending-parts", &made.key.to_string());
    let now = app.ask(|queue| queue.now()).await?;
    let execution_ms = (now - made.claimed).num_milliseconds().max(0);
    let (token, key) = (made.token.clone(), made.key.clone());
    let (written, failure) = match together(made, config) {
        Ok((download_urls, job_stats)) => {
            let completion = Completion { download_urls, file_created: app.clock.now(), execution_ms, job_stats };
            (persist(app, move |queue| queue.complete_split(&token, &key, &completion)).await.0, None)
        }
        Err(error) => {
            let failure = Failure {
                message: error.message.clone(),
                detail: error.detail.clone(),
                execution_ms,
                job_stats: None,
                processed_batches: None,
            };
            (persist(app, move |queue| queue.fail_split(&token, &key, &failure)).await.0, Some(error))
        }
    };
    let (key, job_id, parts) = (&made.key, &job.id, made.results.len());
    match written {
        Ok(WriteBack::Done) => {}
        // Another daemon ended it at the same time, or somebody else changed the row.
        Ok(WriteBack::Lost) => return Ok(false),
        Err(error) => {
            log::error!("request not written back, it is tried again request={key} job={job_id} error={error}");
            return Ok(false);
        }
    }
    summary.claimed += 1;
    if let Some(error) = failure {
        summary.failed += 1;
        app.metrics.request_ended(job_id, "failed");
        let level = if error.origin == Origin::Request { log::Level::Warn } else { log::Level::Error };
        log::log!(level, "request failed request={key} job={job_id} parts={parts} error={:?}", error.detail);
    } else {
        summary.completed += 1;
        app.metrics.request_ended(job_id, "completed");
        log::info!("request completed request={key} job={job_id} parts={parts} execution_ms={execution_ms}");
    }
    Ok(true)
}

/// The files and the `job_stats` of a request, from its parts: it is judged as a whole, as if one daemon had made it.
fn together(made: &MadeRequest, config: &Config) -> Result<(Vec<String>, String), RequestError> {
    let results: Result<Vec<PartResult>, _> = made.results.iter().map(|text| serde_json::from_str(text)).collect();
    let results = results.map_err(|error| RequestError::unreadable_part(&error))?;
    if results.windows(2).any(|pair| pair[0].fingerprint != pair[1].fingerprint) {
        return Err(RequestError::parts_differ());
    }
    let mut group = GroupStats {
        id: made.token.rsplit(':').next().unwrap_or_default().to_owned(),
        requests: 1,
        wait_ms: made.submitted.map_or(0, |at| (made.claimed - at).num_milliseconds().max(0)),
        ..GroupStats::default()
    };
    let (mut load, mut all, mut files, mut broken) = (LoadStats::default(), Delivered::default(), vec![], vec![]);
    for part in results {
        group.add(&part.group);
        load.add_part(part.load);
        all.bytes += part.bytes;
        all.counts.add(&part.counts);
        all.quality.add_batch(&part.quality);
        if all.first_broken.is_none() {
            let error = |Broken { message, detail }| Box::new(RequestError::broken(message, detail));
            all.first_broken = part.first_broken.map(error);
        }
        let first = files.len() + broken.len();
        all.broken.extend((first..first + part.broken.len()).map(FileIdx));
        files.extend(part.files);
        broken.extend(part.broken);
    }
    let all = all.judged(files.len() + broken.len(), config.sources.max_bad_rows)?;
    let left_out = made.left_out.as_deref().map(serde_json::from_str::<LeftOut>).transpose();
    let left_out = left_out.map_err(|error| RequestError::unreadable_part(&error))?.unwrap_or_default();
    let request = RequestStats {
        batches: files.len(),
        bytes: all.bytes,
        counts: all.counts,
        left_out: LeftOut { broken, ..left_out },
        parts: made.results.len(),
    };
    Ok((files, job_stats(&group, &load, &request).to_string()))
}
