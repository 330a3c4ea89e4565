//! One scan, the way of a request on one page: claim, group by job, accept, resolve, resume, load, generate, store, write
//! back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;

use super::claim::{Wish, claim};
use super::fair_share::{FairShare, Fleet};
use super::group::accept::{Accepted, accept};
use super::group::by_rows::{Answer, NoRows, ask, named, same_rows};
use super::group::catalog::{LoadedCatalog, load_catalog};
use super::group::claimed::ClaimedGroup;
use super::group::context::GroupContext;
use super::group::deliver::{deliver, millis};
use super::group::divide::divide;
use super::group::make_files::make_files;
use super::group::resolve::{Resolved, resolve, select_all};
use super::group::resume::resume;
use super::group::split::split;
use super::group::write_back::write_back;
use super::group_metrics::GroupMetrics;
use super::lease::Lease;
use super::outcome::{HandBack, Outcome};
use super::parts::end_made_requests;
use super::plan::Ready;
use super::request_error::RequestError;
use super::stats::{GroupStats, LoadStats};
use super::summary::Summary;
use super::{AppContext, failpoints};
use crate::config::Config;
use crate::config::checked::Job;
use crate::reports::query::{QueryReport, Split};
use crate::requests::{ClaimMode, ClaimedRequest, QueueError};
use crate::tables::catalog::Catalog;

/// Works on what is claimable of `jobs`, once, and says what became of it. Claims at most `[worker] claim` rows of the jobs
/// that no other daemon runs, together. Of each job that others run too it claims and works on its share, one job after the
/// other: rows of a later job stay claimable for the others meanwhile. As long as a scan finds rows there may be more.
///
/// At the end it works on one part of a request that several daemons work on, and ends requests whose parts are all made.
pub(super) async fn scan(app: &AppContext, jobs: &[Arc<Job>]) -> Result<Summary, QueueError> {
    let _shared = app.exclusive.read().await;
    let fleet = Fleet::seen_by(app).await;
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for job in jobs {
        match fleet.share(&job.id) {
            None => alone.push(Arc::clone(job)),
            Some(share) => shared.push((Arc::clone(job), share)),
        }
    }
    let mut summary = claim_and_work(app, &alone, Wish::Rows(ClaimMode::Shared, None)).await?;
    for (job, share) in shared {
        summary.add(claim_and_work(app, &[job], Wish::Rows(ClaimMode::Shared, Some(share))).await?);
    }
    // Rows take their time, and daemons come and go meanwhile.
    let fleet = if summary.claimed == 0 { fleet } else { Fleet::seen_by(app).await };
    summary.add(claim_and_work(app, jobs, Wish::Part(ClaimMode::Shared, fleet.running_any(jobs))).await?);
    Ok(summary)
}

/// Works on rows that have come while another scan of the job is at work; on no part, and on none that crashed its daemons: those
/// are for the other scan.
pub(super) async fn scan_beside(app: &AppContext, job: &Arc<Job>) -> Result<Summary, QueueError> {
    let _shared = app.exclusive.read().await;
    let share = Fleet::seen_by(app).await.share(&job.id).map(FairShare::beside);
    claim_and_work(app, std::slice::from_ref(job), Wish::Rows(ClaimMode::Shared, share)).await
}

/// Works on one row that crashed its daemons, if there is one and nothing else is in work here: a crash then costs no other
/// request anything, and shows which one it was.
pub(super) async fn scan_suspect(app: &AppContext, jobs: &[Arc<Job>]) -> Result<Summary, QueueError> {
    let Ok(_exclusive) = app.exclusive.try_write() else { return Ok(Summary::default()) };
    let mut summary = claim_and_work(app, jobs, Wish::Rows(ClaimMode::Exclusive, None)).await?;
    if summary.claimed == 0 {
        summary = claim_and_work(app, jobs, Wish::Part(ClaimMode::Exclusive, 1)).await?;
    }
    Ok(summary)
}

async fn claim_and_work(app: &AppContext, jobs: &[Arc<Job>], wish: Wish) -> Result<Summary, QueueError> {
    // The stop may have come while this scan waited for its turn.
    if app.stop.is_set() {
        return Ok(Summary::default());
    }
    let config = app.config.get();
    let jobs = &configured(&config, jobs);
    if jobs.is_empty() {
        return Ok(Summary::default());
    }
    let (claim, took) = claim(app, &config, jobs, wish).await?;
    let mut summary = Summary { claimed: claim.requests.len() as u64, ..Summary::default() };
    if !claim.requests.is_empty() {
        failpoints::hit("claimed", &claim.token);
        let lease = Lease::keep(app, &claim, config.worker.lease);
        let claim_ms = took.as_secs_f64() * 1000.0;
        log::info!("claimed rows={} claim={} claim_ms={claim_ms:.1}", claim.requests.len(), lease.token());
        for (job, requests) in group_by_job(jobs, claim.requests) {
            let group = ClaimedGroup { app, config: &config, lease: &lease, job: &job };
            work_on_group(group, requests, &mut summary).await;
        }
    }
    if let Wish::Part(..) = wish {
        summary.add(end_made_requests(app, &config, jobs).await?);
    }
    Ok(summary)
}

/// One group from claimed rows to written-back rows. An error ends the requests that it concerns, with a reason, and no
/// others; a stop that cannot wait hands back what is left.
async fn work_on_group(group: ClaimedGroup<'_>, requests: Vec<ClaimedRequest>, summary: &mut Summary) {
    let ClaimedGroup { app, config, lease, job } = group;
    let stats = GroupStats::of(lease.short_name(), &requests);
    let mut accepted = Vec::new();
    for mut request in oldest_first(requests) {
        let judged = accept(app, config, job, &mut request).await;
        let request = Arc::new(request);
        match judged {
            Ok(order) => accepted.push(Accepted { request, order }),
            Err(outcome) => write_back(group, vec![(request, outcome)], summary).await,
        }
    }
    let divisions = divide(accepted);
    let is_divided = divisions.len() > 1;
    for division in divisions {
        // Each division is loaded by itself, so it counts its own requests.
        let requests = if is_divided { division.len() } else { stats.requests };
        work_on_division(group, division, GroupStats { requests, ..stats.clone() }, summary).await;
    }
}

/// Requests whose batches are chosen from one catalogue and loaded together.
async fn work_on_division(
    group: ClaimedGroup<'_>,
    accepted: Vec<Accepted>,
    mut stats: GroupStats,
    summary: &mut Summary,
) {
    let ClaimedGroup { app, config, lease, job } = group;
    let rows: Vec<Arc<ClaimedRequest>> = accepted.iter().map(|one| Arc::clone(&one.request)).collect();
    let loaded = match load_catalog(app, config, job, &accepted, lease).await {
        Ok(loaded) => loaded,
        Err(outcome) => return write_back(group, all(rows, &outcome), summary).await,
    };
    let LoadedCatalog { catalog, stats: load, spent } = loaded;
    stats.load_ms = millis(spent);
    if let Some(report) = job.report.query().filter(|report| report.split != Split::Batch) {
        return work_by_rows(group, report, accepted, (&catalog, &load), &stats, summary).await;
    }
    let resolved = match resolve(app, config, job, lease.short_name(), accepted, &catalog).await {
        Ok(resolved) => resolved,
        Err(outcome) => return write_back(group, all(rows, &outcome), summary).await,
    };
    make_and_deliver(group, resolved, &catalog, (load, None), &stats, summary).await;
}

/// Requests for a report in SQL whose files are known only from its rows: those that want the same rows, one question after
/// the other.
async fn work_by_rows(
    group: ClaimedGroup<'_>,
    report: &Arc<QueryReport>,
    accepted: Vec<Accepted>,
    (catalog, load): (&Arc<Catalog>, &LoadStats),
    stats: &GroupStats,
    summary: &mut Summary,
) {
    let ClaimedGroup { app, config, lease, job } = group;
    let rows: Vec<Arc<ClaimedRequest>> = accepted.iter().map(|one| Arc::clone(&one.request)).collect();
    let mut selected = Vec::new();
    match select_all(app, config, job, accepted, catalog).await {
        Err(outcome) => return write_back(group, all(rows, &outcome), summary).await,
        Ok(resolved) => {
            for (row, one) in resolved {
                match one {
                    Ok(one) => selected.push(one),
                    Err(error) => write_back(group, vec![(row, Outcome::Failed(error))], summary).await,
                }
            }
        }
    }
    let mut ends_all: Option<Outcome> = None;
    for wanted in same_rows(report, catalog, selected) {
        let answered = match &ends_all {
            None => ask(group, report, catalog, &wanted).await,
            Some(outcome) => Err(NoRows { outcome: outcome.clone(), is_of_all: true }),
        };
        match answered {
            Ok(answer) => {
                let named = named(&report.split, wanted, &answer.files, lease.short_name());
                let files = Arc::clone(&answer.files);
                make_and_deliver(group, named, &files, (load.clone(), Some(answer)), stats, summary).await;
            }
            Err(NoRows { outcome, is_of_all }) => {
                let rows = wanted.requests.into_iter().map(|one| one.request).collect();
                write_back(group, all(rows, &outcome), summary).await;
                ends_all = is_of_all.then_some(outcome);
            }
        }
    }
}

/// Makes what is missing of these requests, and writes each back as it ends. `loaded`: what the catalogue took, and the rows
/// that an engine has returned already.
async fn make_and_deliver(
    group: ClaimedGroup<'_>,
    resolved: Resolved,
    catalog: &Arc<Catalog>,
    (load, answer): (LoadStats, Option<Answer>),
    stats: &GroupStats,
    summary: &mut Summary,
) {
    let ClaimedGroup { app, config, lease, job } = group;
    let mut ready: Vec<(Arc<ClaimedRequest>, Ready)> = Vec::new();
    for (row, resolved) in resolved {
        match resolved {
            Ok(files) => ready.push((row, files)),
            Err(error) => write_back(group, vec![(row, Outcome::Failed(error))], summary).await,
        }
    }
    resume(app, lease.checkpoint(), job, &mut ready, catalog).await;
    let ready = split(group, ready, catalog, summary).await;
    if ready.is_empty() {
        return;
    }
    let (rows, requests): (Vec<_>, Vec<_>) = ready.into_iter().unzip();
    let context = Arc::new(GroupContext {
        job: Arc::clone(job),
        metrics: GroupMetrics::new(&requests, load),
        requests,
        rows: answer.as_ref().map(|answer| Arc::clone(&answer.rows)),
        max_bad_rows: config.sources.max_bad_rows,
        store: app.store.clone(),
        stop: app.stop.clone(),
        checkpoint: Arc::clone(lease.checkpoint()),
        claim: lease.token().to_owned(),
        progress: Arc::clone(&app.progress),
    });
    if let Some(answer) = &answer {
        context.metrics.add_query(answer.spent);
    }
    let (sender, ended) = unbounded_channel();
    let making = tokio::spawn(make_files(app.clone(), Arc::clone(&context), Arc::clone(catalog), sender));
    let left = deliver(group, &context, catalog, stats, rows, ended, summary).await;
    let outcome = match app.stop.unless_halted(making).await {
        Some(Ok(Err(panic))) => Outcome::Failed(RequestError::panicked(&panic)),
        // The rows stay PROCESSING until their lease has run out: that counts as a crash.
        Some(Err(error)) => return log::error!("generating broke off claim={} error={error}", lease.token()),
        Some(Ok(Ok(()))) | None => Outcome::HandedBack(HandBack::Unfinished),
    };
    write_back(group, all(left, &outcome), summary).await;
}

/// Of these jobs those that jobs.toml still has and that are on, as it has them now: it may have been reloaded since the tick that this scan
/// belongs to.
fn configured(config: &Config, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    config.enabled_jobs().into_iter().filter(|job| jobs.iter().any(|asked| asked.id == job.id)).collect()
}

/// Rows of one job together, aliases resolved, oldest first within a job.
fn group_by_job(jobs: &[Arc<Job>], requests: Vec<ClaimedRequest>) -> Vec<(Arc<Job>, Vec<ClaimedRequest>)> {
    let by_name: BTreeMap<&str, usize> =
        jobs.iter().enumerate().flat_map(|(at, job)| job.names().map(move |name| (name, at))).collect();
    let mut groups: Vec<(Arc<Job>, Vec<ClaimedRequest>)> = jobs.iter().map(|job| (Arc::clone(job), vec![])).collect();
    for request in requests {
        // Only rows of these names were claimed; on PostgreSQL and SQLite alike text compares by its bytes.
        if let Some(&at) = by_name.get(request.job_id.as_str()) {
            groups[at].1.push(request);
        }
    }
    groups.retain(|(_, requests)| !requests.is_empty());
    groups
}

/// By the time of submission, then by key.
fn oldest_first(mut requests: Vec<ClaimedRequest>) -> Vec<ClaimedRequest> {
    requests.sort_unstable_by(|one, other| (one.submitted, &one.key).cmp(&(other.submitted, &other.key)));
    requests
}

/// All of these requests end in the same way.
fn all(rows: Vec<Arc<ClaimedRequest>>, outcome: &Outcome) -> Vec<(Arc<ClaimedRequest>, Outcome)> {
    rows.into_iter().map(|row| (row, outcome.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::requests::Heartbeat;
    use crate::worker::test_app::{BATCHES, TestApp, expected};

    #[tokio::test]
    async fn rows_are_grouped_by_job_oldest_first() {
        let test = TestApp::new();
        let mut other = Job::clone(&test.job());
        (other.id, other.aliases) = ("other".to_owned(), vec!["alias".to_owned()]);
        let jobs = [test.job(), Arc::new(other)];
        let (claim, _lease) = test.claim(&["1", "2", "3", "4"].map(|id| (id, "{}")));
        let mut requests = claim.requests;
        (requests[1].job_id, requests[2].job_id, requests[3].job_id) =
            ("alias".into(), "other".into(), "nobody".into());
        requests[1].submitted = requests[2].submitted.map(|at| at + Duration::from_secs(1));
        let groups: Vec<(String, Vec<String>)> = group_by_job(&jobs, requests)
            .into_iter()
            .map(|(job, rows)| (job.id.clone(), oldest_first(rows).into_iter().map(|row| row.key.request_id).collect()))
            .collect();
        let course = ("course-report".to_owned(), vec!["1".to_owned()]);
        assert_eq!(groups, [course, ("other".to_owned(), vec!["3".to_owned(), "2".to_owned()])]);
    }

    #[tokio::test]
    async fn a_scan_takes_requests_from_their_claim_to_their_files() {
        let test = TestApp::new();
        test.submit("1", &format!(r#"{{"batchId": "{}"}}"#, BATCHES[1]));
        test.submit("2", "{}");
        let summary = scan(&test.app, &[test.job()]).await.unwrap();
        assert_eq!(summary, Summary { claimed: 2, completed: 1, failed: 1, ..Summary::default() });
        let row = test.row("1");
        assert_eq!((row.status.as_str(), test.file(&row.download_urls[0])), ("COMPLETED", expected(BATCHES[1])));
        assert_eq!(scan(&test.app, &[test.job()]).await.unwrap(), Summary::default(), "nothing is left");
    }

    /// Two daemons live; the other one leaves its share alone.
    #[tokio::test]
    async fn a_scan_takes_its_share_and_the_next_one_of_what_is_left() {
        let test = TestApp::new();
        let heartbeat = |id: &str| Heartbeat {
            id: id.to_owned(),
            name: "host".to_owned(),
            pid: 1,
            version: "0.1.0".to_owned(),
            lease: Duration::from_mins(2),
            claims: 0,
            memory_used: 0,
            memory_allowed: 0,
            jobs: vec![test.job().id.clone()],
            config_hash: String::new(),
        };
        for id in ["one", "other"] {
            test.app.queue.beat(&heartbeat(id)).unwrap();
        }
        for n in 0..10 {
            test.submit(&n.to_string(), &format!(r#"{{"batchId": "{}"}}"#, BATCHES[1]));
        }
        let scanned = async || scan(&test.app, &[test.job()]).await.unwrap();
        let of = |completed| Summary { claimed: completed, completed, ..Summary::default() };
        for share in [5, 3, 1, 1] {
            assert_eq!(scanned().await, of(share));
        }
        test.app.queue.leave("other").unwrap();
        for n in 10..20 {
            test.submit(&n.to_string(), &format!(r#"{{"batchId": "{}"}}"#, BATCHES[1]));
        }
        assert_eq!(scanned().await, of(10), "alone again");
    }

    /// A reload may come between two scans of one tick.
    #[tokio::test]
    async fn a_scan_claims_nothing_for_a_job_that_is_not_configured_any_more() {
        let test = TestApp::new();
        test.submit("1", &format!(r#"{{"batchId": "{}"}}"#, BATCHES[1]));
        let mut gone = Job::clone(&test.job());
        gone.aliases = vec![std::mem::replace(&mut gone.id, "gone".to_owned())];
        assert_eq!(scan(&test.app, &[Arc::new(gone)]).await.unwrap(), Summary::default());
        assert_eq!(test.row("1").status.as_str(), "SUBMITTED");
    }
}
