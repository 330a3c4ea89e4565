//! Files that no row names, and files that were never finished.

use std::time::Duration;

use super::{Removed, STEP, Sweep, apart, remove_files};
use crate::outputs::{Abandoned, StoreError, StoredReport};
use crate::requests::{QueueError, RequestKey, RequestRow, Status};

/// Temporary files are left alone for at least this long, however short the retention: they may be in use.
const BEING_WRITTEN: Duration = Duration::from_hours(1);

/// A row by its key, as it was a moment ago.
struct Owner {
    key: RequestKey,
    row: Option<RequestRow>,
}

impl Sweep<'_> {
    /// Reports that are old enough and that no row names: of a daemon that lost its claim or was killed, or of a row
    /// that is gone.
    pub(super) async fn orphans(&mut self) -> Result<(), QueueError> {
        let Some(before) = self.before(self.retention) else { return Ok(()) };
        let mut reports = self.app.store.reports();
        let mut owner: Option<Owner> = None;
        loop {
            let stop = self.app.stop.clone();
            let (walked, step) = apart(move || {
                let old = |found: &Result<StoredReport, StoreError>| {
                    found.as_ref().map_or(true, |report| report.modified < before)
                };
                let step: Vec<_> =
                    reports.by_ref().take_while(|_| !stop.is_set()).filter(old).take(STEP as usize).collect();
                (reports, step)
            })
            .await?;
            reports = walked;
            if step.is_empty() {
                return Ok(());
            }
            let mut orphans = Vec::new();
            for found in step {
                match found {
                    Ok(report) => {
                        if self.is_orphan(&report, &mut owner).await? {
                            orphans.push(report);
                        }
                    }
                    Err(error) => self.refused(&error.place, &error),
                }
            }
            self.remove_orphans(orphans).await?;
            self.pause().await;
        }
    }

    /// The files of one request come one after the other, so the last row that was asked for is remembered.
    async fn is_orphan(&mut self, report: &StoredReport, last: &mut Option<Owner>) -> Result<bool, QueueError> {
        let origin = &report.origin;
        let key = RequestKey { tag: origin.tag.clone(), request_id: origin.request_id.clone() };
        if last.as_ref().is_none_or(|owner| owner.key != key) {
            let asked = key.clone();
            let row = self.app.ask(move |queue| queue.find(&asked)).await?;
            *last = Some(Owner { key, row });
        }
        let Some(Owner { row: Some(row), .. }) = last else { return self.knows_rows().await };
        Ok(self.is_over(row) && !row.download_urls.iter().any(|url| url == report.key.as_str()))
    }

    /// Whether the table has, or in this sweep had, rows of our jobs. Where it has none it may well be the wrong one,
    /// such as the empty file that a forgotten variable leads to, and every report in the store would be taken for
    /// an orphan.
    async fn knows_rows(&mut self) -> Result<bool, QueueError> {
        if self.swept.rows > 0 {
            return Ok(true);
        }
        if let Some(known) = self.is_our_table {
            return Ok(known);
        }
        let overview = self.app.ask(|queue| queue.overview()).await?;
        let known = overview.counts.keys().any(|(job_id, _)| self.is_our_job(job_id));
        if !known {
            log::warn!(
                "retention leaves alone what no row names: the table has no row of these jobs, is it the right one?"
            );
        }
        self.is_our_table = Some(known);
        Ok(known)
    }

    fn is_our_job(&self, job_id: &str) -> bool {
        self.app.config.get().jobs.iter().any(|job| job.names().any(|name| name == job_id))
    }

    /// Whether a row is ours and nothing but what it names will ever be asked for: open rows are being worked on, and
    /// may go on from files that only `processed_batches` names. A COMPLETED row that seems to name nothing was changed
    /// by another program.
    fn is_over(&self, row: &RequestRow) -> bool {
        // What was not read may name the file.
        !row.truncated
            && self.is_our_job(&row.job_id)
            && match Status::parse(&row.status) {
                Some(Status::Failed) => true,
                Some(Status::Completed) => !row.download_urls.is_empty(),
                Some(Status::Submitted | Status::Processing) | None => false,
            }
    }

    async fn remove_orphans(&mut self, orphans: Vec<StoredReport>) -> Result<(), QueueError> {
        let (store, dry_run) = (self.app.store.clone(), self.dry_run);
        let removed = apart(move || {
            let remove = |report: StoredReport| {
                let outcome = remove_files(&store, std::slice::from_ref(&report.key), dry_run);
                (report, outcome)
            };
            orphans.into_iter().map(remove).collect::<Vec<_>>()
        });
        for (report, outcome) in removed.await? {
            match outcome {
                // It is gone already.
                Ok((0, _)) => {}
                Ok((files, bytes)) => {
                    self.swept.orphans += files;
                    self.swept.bytes += bytes;
                    log::debug!("retention orphan={} bytes={bytes}", report.key);
                    (self.report)(Removed::Orphan(report));
                }
                Err(error) => self.refused(&report.key, &error),
            }
        }
        Ok(())
    }

    /// Temporary files that were begun and never finished.
    pub(super) async fn abandoned(&mut self) -> Result<(), QueueError> {
        let Some(before) = self.before(self.retention.max(BEING_WRITTEN)) else { return Ok(()) };
        if self.app.stop.is_set() {
            return Ok(());
        }
        let (store, dry_run) = (self.app.store.clone(), self.dry_run);
        match apart(move || store.remove_abandoned(before, dry_run)).await? {
            Ok(Abandoned { files, bytes }) => {
                self.swept.orphans += files;
                self.swept.bytes += bytes;
            }
            Err(error) => self.refused(&error.place, &error),
        }
        Ok(())
    }
}
