//! A large request becomes work for several daemons: it is split into parts, which any of them claims.
//!
//! Not here: what becomes of the parts (`worker::parts`), and their rows (`requests`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claimed::ClaimedGroup;
use super::fenced_write::{is_written, persist};
use super::write_back::write_back;
use crate::reports::filters::LeftOut;
use crate::requests::{ClaimedRequest, NewPart};
use crate::sources::{Source as _, SourceError};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::KeyRange;
use crate::worker::checkpoint::Processed;
use crate::worker::fair_share::Fleet;
use crate::worker::outcome::{HandBack, Outcome};
use crate::worker::plan::Ready;
use crate::worker::summary::Summary;

/// Requests with their files by name.
type Requests = Vec<(Arc<ClaimedRequest>, Ready)>;

/// Splits those of the requests that several daemons make faster than one. Returns the others, which are made here.
pub(in crate::worker) async fn split(
    group: ClaimedGroup<'_>,
    requests: Requests,
    catalog: &Arc<Catalog>,
    summary: &mut Summary,
) -> Requests {
    let ClaimedGroup { app, config, job, .. } = group;
    let large: Vec<usize> =
        (0..requests.len()).filter(|&at| is_large(&requests, at, config.worker.split_above)).collect();
    if large.is_empty() || job.report.query().is_some() {
        return requests;
    }
    let is_near = app.source.is_on_this_machine() || !app.store.is_remote();
    let fleet = Fleet::seen_by(app).await;
    let workers = fleet.workers_of(&job.id, &config.fingerprint(), is_near);
    if workers < 2 {
        if fleet.share(&job.id).is_some() {
            log::info!(
                "large requests are not split: the daemons of the job differ in version, jobs, sources, store or time zone, or a \
                 place is of one machine and they are on several job={} requests={}",
                job.id,
                large.len()
            );
        }
        return requests;
    }
    let of_large = batches(large.iter().map(|&at| &requests[at].1));
    match divides(group, catalog, of_large.into_iter().collect()).await {
        Ok(true) => {}
        Ok(false) => return requests,
        Err(error) => {
            // The load will say the same.
            log::debug!("not split claim={} error={error}", group.lease.token());
            return requests;
        }
    }
    let mut kept = Vec::new();
    for (at, (row, ready)) in requests.into_iter().enumerate() {
        if large.contains(&at) {
            split_one(group, row, &ready, catalog, workers, summary).await;
        } else {
            kept.push((row, ready));
        }
    }
    kept
}

/// Whether a request misses more than `split_above` files and shares no batch with another request of the group. (A batch that
/// two requests want is made once for both.) A part is never large.
fn is_large(requests: &[(Arc<ClaimedRequest>, Ready)], at: usize, split_above: usize) -> bool {
    let ready = &requests[at].1;
    if ready.is_part || ready.missing().count() <= split_above {
        return false;
    }
    let own: BTreeSet<BatchIdx> = ready.selection.batches.iter().copied().collect();
    let others = requests.iter().enumerate().filter(|(other, _)| *other != at);
    batches(others.map(|(_, (_, ready))| ready)).is_disjoint(&own)
}

fn batches<'r>(requests: impl Iterator<Item = &'r Ready>) -> BTreeSet<BatchIdx> {
    requests.flat_map(|ready| ready.selection.batches.iter().copied()).collect()
}

/// Whether daemons that each make some of these batches read less each.
async fn divides(group: ClaimedGroup<'_>, catalog: &Arc<Catalog>, batches: Vec<BatchIdx>) -> Result<bool, SourceError> {
    let ClaimedGroup { app, job, .. } = group;
    let (source, job, catalog) = (Arc::clone(&app.source), Arc::clone(job), Arc::clone(catalog));
    let divides = move || {
        let needs = job.report.needs(&job.options).of_batches();
        source.divides(&needs.plan(&catalog, &batches, &KeyRange::default()).scans)
    };
    // A panic here is one of the load as well.
    app.cpu.run(divides).await.unwrap_or(Ok(false))
}

async fn split_one(
    group: ClaimedGroup<'_>,
    row: Arc<ClaimedRequest>,
    ready: &Ready,
    catalog: &Catalog,
    workers: usize,
    summary: &mut Summary,
) {
    let ClaimedGroup { app, config, lease, job } = group;
    let key = &row.key;
    let fingerprint = lease.checkpoint().fingerprint(key);
    let parts = parts(ready, catalog, number_of_parts(ready, config.worker.split_above, workers), &fingerprint);
    // From here on a renewal may find that the claim does not hold the request any more.
    lease.checkpoint().ends(key);
    let (token, asked, of, duration) = (lease.token().to_owned(), key.clone(), parts.clone(), config.worker.lease);
    let (written, _) = persist(app, move |queue| queue.split(&token, &asked, &of, duration)).await;
    if written.is_err() {
        return write_back(group, vec![(row, Outcome::HandedBack(HandBack::Unfinished))], summary).await;
    }
    lease.checkpoint().release(key);
    if is_written(group, key, written.as_ref().copied(), summary) {
        // Its parts are claimed by the next scans.
        summary.postponed += 1;
        let (job_id, files) = (&job.id, ready.objects.len());
        log::info!("request split request={key} job={job_id} files={files} parts={} daemons={workers}", parts.len());
    }
}

/// Parts of a quarter of `split_above` batches at most, as many for each worker. A claim takes several of them at once.
fn number_of_parts(ready: &Ready, split_above: usize, workers: usize) -> usize {
    let files = ready.selection.batches.len();
    files.div_ceil(split_above.div_ceil(4)).next_multiple_of(workers).min(files)
}

/// The parts of a request: lists of its batches in their order.
fn parts(ready: &Ready, catalog: &Catalog, number: usize, fingerprint: &str) -> Vec<NewPart> {
    let files = ready.selection.batches.len();
    let left_out = &ready.selection.left_out;
    let left_out = (*left_out != LeftOut::default()).then(|| serde_json::json!(left_out).to_string());
    let part = |at: usize| {
        // Of sizes that differ by one at most.
        let (begin, end) = (at * files / number, (at + 1) * files / number);
        let stored: Vec<_> = ready.stored[begin..end].iter().flatten().cloned().collect();
        NewPart {
            batches: ready.selection.batches[begin..end].iter().map(|one| catalog.batch(*one).id.clone()).collect(),
            files_done: stored.len() as u64,
            processed_batches: (!stored.is_empty())
                .then(|| Processed { fingerprint: fingerprint.to_owned(), batches: stored })
                // Texts and numbers only: JSON can hold all of it.
                .and_then(|processed| serde_json::to_string(&processed).ok()),
            left_out: left_out.clone().filter(|_| at == 0),
        }
    };
    (0..number).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Heartbeat;
    use crate::worker::test_app::{BATCHES, TestApp};

    #[test]
    fn parts_are_small_and_as_many_for_each_daemon() {
        let ready = |batches: usize| {
            let batches: Vec<usize> = (0..batches).collect();
            crate::worker::plan::tests::ready(&batches, crate::outputs::Compress::None)
        };
        let number = |batches, workers| number_of_parts(&ready(batches), 200, workers);
        assert_eq!([number(201, 2), number(201, 3), number(1_000, 2), number(1_000, 3)], [6, 6, 20, 21]);
        assert_eq!(number_of_parts(&ready(3), 1, 2), 3, "never more than batches");
    }

    #[tokio::test]
    async fn a_request_is_split_where_daemons_are_alike_and_tables_are_partitioned() {
        let test = TestApp::new();
        let (config, job) = (test.config(), test.job());
        let (lease, ready, catalog) = test.ready(&[("1", &BATCHES)]).await;
        let group = ClaimedGroup { app: &test.app, config: &config, lease: &lease, job: &job };
        let mut summary = Summary::default();
        // Two batches are not large, and the fixtures are not partitioned.
        let ready = split(group, ready, &catalog, &mut summary).await;
        assert_eq!((ready.len(), summary), (1, Summary::default()));
        let all = [0, 1].map(BatchIdx).to_vec();
        assert!(!divides(group, &catalog, all).await.unwrap());
        let heartbeat = |id: &str, config_hash: &str| Heartbeat {
            id: id.to_owned(),
            name: "host".to_owned(),
            pid: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lease: std::time::Duration::from_mins(2),
            claims: 0,
            memory_used: 0,
            memory_allowed: 0,
            jobs: vec![job.id.clone()],
            config_hash: config_hash.to_owned(),
        };
        let workers =
            async |same_host| Fleet::seen_by(&test.app).await.workers_of(&job.id, "hash0000-other port", same_host);
        assert_eq!(workers(true).await, 1, "nobody is known");
        for id in ["a", "b"] {
            test.app.queue.beat(&heartbeat(id, "hash0000-all")).unwrap();
        }
        assert_eq!(workers(true).await, 2);
        for (other, together) in [
            (Heartbeat { name: "other".to_owned(), ..heartbeat("c", "hash0000-all") }, 3),
            (heartbeat("d", "another configuration"), 1),
            (Heartbeat { version: "0.0.1".to_owned(), ..heartbeat("e", "hash0000-all") }, 1),
        ] {
            test.app.queue.beat(&other).unwrap();
            assert_eq!(workers(false).await, together, "{other:?}");
            assert_eq!(workers(true).await, 1, "{other:?}");
            test.app.queue.leave(&other.id).unwrap();
        }
    }

    #[tokio::test]
    async fn lists_are_the_batches_in_their_order_with_what_is_stored() {
        let test = TestApp::new();
        let (lease, ready, catalog) = test.ready(&[("1", &BATCHES), ("2", &BATCHES[..1])]).await;
        let parts = parts(&ready[0].1, &catalog, 2, "f");
        let lists: Vec<_> = parts.iter().map(|part| part.batches.clone()).collect();
        assert_eq!(lists, BATCHES.map(|id| vec![id.to_owned()]));
        assert!(parts.iter().all(|part| part.processed_batches.is_none() && part.left_out.is_none()));
        assert!(!is_large(&ready, 0, 1), "another request wants one of its batches");
        assert!(is_large(&ready[..1], 0, 1) && !is_large(&ready[..1], 0, 2));
        drop(lease);
    }
}
