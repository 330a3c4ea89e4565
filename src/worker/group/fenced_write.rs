//! A write to the rows of a claim: tried again while the database cannot be reached, and counted when it changed nothing.

use super::claimed::ClaimedGroup;
use crate::requests::{QueueError, RequestKey, WorkQueue, WriteBack};
use crate::worker::AppContext;
use crate::worker::back_off::BackOff;
use crate::worker::summary::Summary;

/// Asks the database until it answers, or until a stop can wait no longer. With the answer: whether an earlier one may have
/// been lost on its way.
pub(in crate::worker) async fn persist<T, F>(app: &AppContext, question: F) -> (Result<T, QueueError>, bool)
where
    T: Send + 'static,
    F: Fn(&dyn WorkQueue) -> Result<T, QueueError> + Clone + Send + 'static,
{
    let mut back_off = BackOff::OF_WRITE_BACK;
    let mut unanswered = false;
    loop {
        let question = question.clone();
        match app.ask(move |queue| question(queue)).await {
            Err(error) if error.may_pass() && !app.stop.is_halted() => {
                unanswered = true;
                let wait = back_off.next_wait();
                log::warn!("database not reachable, waiting wait_ms={} error={error}", wait.as_millis());
                tokio::time::sleep(wait).await;
            }
            answer => return (answer, unanswered),
        }
    }
}

/// Whether the row was written. If it was not, that is counted and logged: the claim was lost, or the database refused.
pub(in crate::worker) fn is_written(
    group: ClaimedGroup<'_>,
    key: &RequestKey,
    written: Result<WriteBack, &QueueError>,
    summary: &mut Summary,
) -> bool {
    let job_id = &group.job.id;
    match written {
        Ok(WriteBack::Done) => return true,
        Ok(WriteBack::Lost) => log::warn!(
            "claim lost before write-back, nothing changed request={key} job={job_id} claim={}",
            group.lease.token()
        ),
        Err(error) => log::error!("request could not be written back request={key} job={job_id} error={error:?}"),
    }
    summary.lost += 1;
    group.app.metrics.request_ended(job_id, "lost");
    false
}
