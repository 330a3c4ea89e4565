//! The end of a request that several daemons have worked on, once all of its parts are made.
//!
//! Not here: which requests are split (`group::split`), and the rows of parts (`requests`).

use std::sync::Arc;

use super::end_log::log_completed;
use super::figures::times;
use super::group::fenced_write::persist;
use super::group::sync::Delivered;
use super::group::write_back::count_failure;
use super::part_result::{Broken, PartResult};
use super::plan::FileIdx;
use super::request_error::RequestError;
use super::stats::{GroupStats, LoadStats, RequestStats, job_stats};
use super::summary::Summary;
use super::{AppContext, back_off};
use crate::config::Config;
use crate::config::checked::{Job, MaxBadRows};
use crate::reports::filters::LeftOut;
use crate::requests::{Completion, Failure, MadeRequest, QueueError, WorkQueue, WriteBack};

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
    let attempt = made.iteration.saturating_add(1);
    let (written, ended) = match together(made, config.sources.max_bad_rows) {
        Ok((download_urls, job_stats)) => {
            let completion = Completion { download_urls, file_created: app.clock.now(), execution_ms, job_stats };
            let asked = completion.clone();
            (persist(app, move |queue| queue.complete_split(&token, &key, &asked)).await.0, Ok(completion))
        }
        Err(error) => {
            let failure = failure(&error, execution_ms);
            let retries = error.may_pass && attempt < job.max_attempts;
            let end = move |queue: &dyn WorkQueue| {
                if retries {
                    queue.retry_split_later(&token, &key, &failure, back_off::of_request(attempt))
                } else {
                    queue.fail_split(&token, &key, &failure)
                }
            };
            (persist(app, end).await.0, Err((error, retries)))
        }
    };
    let (key, job_id) = (&made.key, &job.id);
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
    match ended {
        Ok(completion) => {
            summary.completed += 1;
            app.metrics.request_ended(job_id, "completed");
            let times = times(&completion, made.submitted, made.claimed);
            app.metrics.completed(job_id, app.clock.now(), &times);
            log_completed(key, job_id, &completion);
        }
        Err((error, retries)) => count_failure(app, job_id, (key, attempt), &error, retries, summary),
    }
    Ok(true)
}

fn failure(error: &RequestError, execution_ms: i64) -> Failure {
    Failure {
        code: error.code,
        message: error.message.clone(),
        detail: error.detail.clone(),
        execution_ms,
        job_stats: None,
        processed_batches: None,
    }
}

/// The files and the `job_stats` of a request, from its parts: it is judged as a whole, as if one daemon had made it.
fn together(made: &MadeRequest, max_bad_rows: MaxBadRows) -> Result<(Vec<String>, String), RequestError> {
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
    let found = files.len() + broken.len();
    if found as u64 != made.files {
        return Err(RequestError::short_parts(found as u64, made.files));
    }
    let all = all.judged(found, max_bad_rows)?;
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::{Value, json};

    use super::*;
    use crate::requests::RequestKey;

    const MAX: MaxBadRows = MaxBadRows { share: 0.5, at_least: 1 };

    fn made(files: u64, results: &[Value]) -> MadeRequest {
        MadeRequest {
            key: RequestKey { tag: "t".to_owned(), request_id: "r".to_owned() },
            token: "parts:7".to_owned(),
            job_id: "course-report".to_owned(),
            submitted: None,
            claimed: DateTime::<Utc>::UNIX_EPOCH,
            iteration: 0,
            files,
            results: results.iter().map(Value::to_string).collect(),
            left_out: Some(r#"{"unknown": ["x"]}"#.to_owned()),
        }
    }

    fn part(fingerprint: &str, files: &[&str], broken: &[&str], usable: u64, unusable: u64) -> Value {
        let rows = json!({ "usable": usable, "unusable": unusable });
        let error = json!({ "message": "nothing reads", "detail": "nothing reads in b" });
        json!({
            "fingerprint": fingerprint,
            "files": files,
            "broken": broken,
            "first_broken": if broken.is_empty() { Value::Null } else { error },
            "bytes": 5,
            "quality": { "tables": { "user_enrolments": rows } },
            "group": { "loads": 1, "load_ms": 10 },
        })
    }

    #[test]
    fn parts_are_one_request_in_their_order() {
        let parts = [part("f", &["2", "1"], &["b"], 1, 3), part("f", &["3"], &[], 7, 0)];
        let (files, stats) = together(&made(4, &parts), MAX).unwrap();
        assert_eq!(files, ["2", "1", "3"]);
        let stats: Value = serde_json::from_str(&stats).unwrap();
        assert_eq!((&stats["parts"], &stats["batches"], &stats["bytes"]), (&json!(2), &json!(3), &json!(10)));
        assert_eq!((&stats["group"]["loads"], &stats["group"]["load_ms"]), (&json!(2), &json!(20)));
        let left_out = &stats["batches_left_out"];
        assert_eq!((&left_out["unknown"], &left_out["broken"]), (&json!(["x"]), &json!(["b"])));
    }

    #[test]
    fn what_no_single_daemon_would_deliver_is_not_delivered() {
        let good = part("f", &["1"], &[], 1, 0);
        let error = |files: u64, parts: &[Value]| together(&made(files, parts), MAX).unwrap_err();
        let short = error(3, &[good.clone(), good.clone()]);
        assert_eq!((short.detail.as_str(), short.may_pass), ("its parts have 2 files of 3", false));
        assert!(error(2, &[good.clone(), part("g", &["2"], &[], 1, 0)]).may_pass, "made in two ways");
        let bad = error(2, &[good.clone(), part("f", &["2"], &[], 1, 9)]);
        assert!(bad.message.contains("9 of 11 rows are unusable"), "{}", bad.message);
        assert_eq!(error(1, &[part("f", &[], &["b"], 0, 0)]).message, "nothing reads");
        assert!(!error(1, &[json!(7)]).may_pass);
    }
}
