//! The last step: the row says how its request ended. Each write is fenced by the claim's token: a daemon that has lost its
//! claim changes nothing.

use std::sync::Arc;

use super::claimed::ClaimedGroup;
use super::completed_rows::CompletedRows;
use super::fenced_write::{is_written, persist};
use crate::failpoints;
use crate::requests::{ClaimedRequest, Failure, RequestKey};
use crate::worker::outcome::{HandBack, Outcome};
use crate::worker::part_result::PartResult;
use crate::worker::request_error::{Origin, RequestError};
use crate::worker::summary::Summary;
use crate::worker::{AppContext, back_off};

/// Writes back how requests ended: the completed ones together, the others one by one, with a log line each. While the
/// database cannot be reached it tries again, until a stop can wait no longer.
pub(in crate::worker) async fn write_back(
    group: ClaimedGroup<'_>,
    ended: Vec<(Arc<ClaimedRequest>, Outcome)>,
    summary: &mut Summary,
) {
    let (mut failed, mut handed_back) = (Vec::new(), Vec::new());
    let mut completed = CompletedRows::new(group.app.clock.now());
    for (request, outcome) in ended {
        if !group.lease.checkpoint().holds(&request.key) {
            leave(group, &request.key, summary);
            continue;
        }
        match outcome {
            Outcome::Completed(done) => {
                if !completed.has_room_for(&done) {
                    completed.write_back(group, summary).await;
                    completed = CompletedRows::new(group.app.clock.now());
                }
                completed.add(group.lease, request, done);
            }
            Outcome::PartMade(made) => complete_part(group, &request, &made, summary).await,
            Outcome::Failed(error) => failed.push((request, error)),
            Outcome::HandedBack(why) => handed_back.push((request, why)),
        }
    }
    completed.write_back(group, summary).await;
    let unfinished = failed.iter().map(|(request, _)| request).chain(handed_back.iter().map(|(request, _)| request));
    group.lease.close(&unfinished.map(|request| request.key.clone()).collect::<Vec<_>>()).await;
    for (request, error) in failed {
        fail(group, &request, error, summary).await;
    }
    for (request, why) in handed_back {
        hand_back(group, &request.key, &why, summary).await;
    }
}

/// The claim does not hold the row any more, which is logged already: nothing is written.
fn leave(group: ClaimedGroup<'_>, key: &RequestKey, summary: &mut Summary) {
    let is_cancelled = group.lease.checkpoint().is_cancelled(key);
    let outcome = if is_cancelled { "cancelled" } else { "lost" };
    *(if is_cancelled { &mut summary.cancelled } else { &mut summary.lost }) += 1;
    group.app.metrics.request_ended(&group.job.id, outcome);
    log::info!(request:% = key, job = group.job.id.as_str(), outcome; "work ended without a report");
}

/// A part is made: it is kept until the others are.
async fn complete_part(group: ClaimedGroup<'_>, request: &ClaimedRequest, made: &PartResult, summary: &mut Summary) {
    let ClaimedGroup { app, lease, job, .. } = group;
    let key = &request.key;
    failpoints::hit("writing-back", &key.to_string());
    lease.checkpoint().ends(key);
    let (token, asked, result) = (lease.token().to_owned(), key.clone(), made.to_json());
    let (written, _) = persist(app, move |queue| queue.complete_part(&token, &asked, &result)).await;
    lease.checkpoint().release(key);
    if is_written(group, key, written.as_ref().copied(), summary) {
        // Its request has not ended.
        summary.postponed += 1;
        let (job_id, files, ms) = (&job.id, made.files.len(), lease.age_ms());
        let part = request.part.as_ref().map_or(0, |part| part.number);
        log::info!(request:% = key, job = job_id.as_str(), part, files, ms; "part made");
    }
}

/// The row says why there is no report: for now if the error may pass and attempts are left, else for good.
async fn fail(group: ClaimedGroup<'_>, request: &ClaimedRequest, error: RequestError, summary: &mut Summary) {
    let ClaimedGroup { app, lease, job, .. } = group;
    let key = &request.key;
    let attempt = request.iteration.saturating_add(1);
    let retries = error.may_pass && attempt < job.max_attempts;
    if let RequestError { may_pass: true, origin: Origin::Dependency(dependency), .. } = error {
        app.down.report(dependency);
    }
    failpoints::hit("writing-back", &key.to_string());
    let failure = Failure {
        code: error.code,
        message: error.message.clone(),
        detail: error.detail.clone(),
        execution_ms: lease.age_ms(),
        job_stats: None,
        processed_batches: lease.checkpoint().processed(key),
    };
    let (hold, asked, wait) = (lease.hold().clone(), key.clone(), back_off::of_request(attempt));
    let (written, _) = persist(app, move |queue| {
        if retries { hold.retry_later(queue, &asked, &failure, wait) } else { hold.fail(queue, &asked, &failure) }
    })
    .await;
    lease.checkpoint().release(key);
    if !is_written(group, key, written.as_ref().copied(), summary) {
        return;
    }
    count_failure(app, &job.id, (key, attempt), &error, retries, summary);
}

/// Counts and logs an attempt that gave no report.
pub(in crate::worker) fn count_failure(
    app: &AppContext,
    job_id: &str,
    (key, attempt): (&RequestKey, u32),
    error: &RequestError,
    retries: bool,
    summary: &mut Summary,
) {
    let detail = &error.detail;
    if retries {
        summary.backing_off += 1;
        app.metrics.request_ended(job_id, "retried");
        log::warn!(request:% = key, job = job_id, attempt, code = error.code.as_str(), error = detail.as_str(); "request will be tried again");
    } else {
        summary.failed += 1;
        app.metrics.request_ended(job_id, "failed");
        app.metrics.request_failed(job_id, error.code);
        let level = if error.origin == Origin::Request { log::Level::Warn } else { log::Level::Error };
        log::log!(level, request:% = key, job = job_id, attempt, code = error.code.as_str(), error = detail.as_str(); "request failed");
    }
}

/// The row goes back as it was, with what is stored by now.
async fn hand_back(group: ClaimedGroup<'_>, key: &RequestKey, why: &HandBack, summary: &mut Summary) {
    let ClaimedGroup { app, lease, job, .. } = group;
    failpoints::hit("writing-back", &key.to_string());
    let processed_batches = lease.checkpoint().processed(key);
    let (hold, asked) = (lease.hold().clone(), key.clone());
    let (written, _) = persist(app, move |queue| hold.hand_back(queue, &asked, processed_batches.as_deref())).await;
    lease.checkpoint().release(key);
    if !is_written(group, key, written.as_ref().copied(), summary) {
        return;
    }
    let job_id = &job.id;
    app.metrics.request_ended(job_id, "handed_back");
    match why {
        HandBack::Unfinished => {
            summary.handed_back += 1;
            log::info!(request:% = key, job = job_id.as_str(); "request handed back");
        }
        HandBack::Tenant(exceeded) => {
            summary.postponed += 1;
            log::info!("request handed back, {why} request={key} job={job_id} {exceeded}");
        }
        HandBack::FileLost => {
            summary.postponed += 1;
            log::info!(request:% = key, job = job_id.as_str(); "request handed back, {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{RequestRow, WriteBack};
    use crate::sources::SourceError;
    use crate::tables::schema::Table;
    use crate::worker::outcome::Completed;
    use crate::worker::test_app::{TestApp, key};

    fn source_down() -> RequestError {
        let (message, detail) = ("the source is down".to_owned(), "the source is down: why".to_owned());
        RequestError::source(&SourceError { table: Table::User, message, detail, may_pass: true, is_too_large: false })
    }

    #[tokio::test]
    async fn each_outcome_has_its_status_and_a_lost_claim_changes_nothing() {
        let test = TestApp::new();
        let (claim, lease) = test.claim(&["1", "2", "3", "4", "5", "6", "7"].map(|id| (id, "{}")));
        let (config, job) = (test.config(), test.job());
        let group = ClaimedGroup { app: &test.app, config: &config, lease: &lease, job: &job };
        // The claim does not hold this row any more.
        assert_eq!(test.app.queue.hand_back(lease.token(), &key("6"), None).unwrap(), WriteBack::Done);
        let done = |url: &str| {
            Outcome::Completed(Completed { download_urls: vec![url.to_owned()], job_stats: "{}".to_owned() })
        };
        let outcomes = [
            done("a.csv"),
            Outcome::Failed(source_down()),
            Outcome::Failed(source_down()),
            Outcome::HandedBack(HandBack::Unfinished),
            Outcome::HandedBack(HandBack::FileLost),
            done("b.csv"),
            done("c.csv"),
        ];
        let ended = claim.requests.into_iter().zip(outcomes).map(|(mut row, outcome)| {
            // Its attempts are spent.
            row.iteration = if row.key == key("3") { job.max_attempts - 1 } else { 0 };
            (Arc::new(row), outcome)
        });
        let mut summary = Summary { claimed: 7, ..Summary::default() };
        write_back(group, ended.collect(), &mut summary).await;
        let wanted = Summary {
            claimed: 7,
            completed: 2,
            failed: 1,
            backing_off: 1,
            handed_back: 1,
            postponed: 1,
            lost: 1,
            cancelled: 0,
        };
        assert_eq!(summary, wanted);
        let rows: Vec<RequestRow> = ["1", "2", "3", "4", "5", "6", "7"].map(|id| test.row(id)).into();
        let statuses: Vec<&str> = rows.iter().map(|row| row.status.as_str()).collect();
        let submitted = "SUBMITTED";
        assert_eq!(statuses, ["COMPLETED", submitted, "FAILED", submitted, submitted, submitted, "COMPLETED"]);
        assert_eq!(rows[0].download_urls, ["a.csv"]);
        assert_eq!((rows[1].iteration, rows[3].iteration), (1, 0), "only a failure costs an attempt");
        assert!(rows[1].next_attempt.is_some() && rows[3].next_attempt.is_none());
        assert_eq!(rows[2].err_detail.as_deref(), Some("the source is down: why"));
        let codes: Vec<Option<&str>> = rows[..3].iter().map(|row| row.err_code.as_deref()).collect();
        assert_eq!(codes, [None, Some("source_unavailable"), Some("source_unavailable")]);
        let counted = "exhaustd_requests_failed_total{exhaust_job=\"course-report\",err_code=\"source_unavailable\"} 1";
        assert!(test.app.metrics.text().contains(counted), "{}", test.app.metrics.text());
        assert!(rows[5].download_urls.is_empty(), "the claim was lost before");
    }
}
