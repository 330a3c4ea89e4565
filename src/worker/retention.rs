//! Removes what is old: finished rows with their files, files that no row names, and files that were never finished.
//!
//! Files first, then the row: after a kill in between the row is left, and the next sweep finds it again. It works in small
//! steps with pauses, so that it holds up no other work. Several sweeps at a time do no harm.
//!
//! Rows of jobs that are not configured are another system's, and so are their files.

mod orphans;

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::AppContext;
use crate::outputs::{ObjectKey, Store, StoreError, StoredReport};
use crate::requests::{Finished, QueueError, RequestKey};

/// Rows or files of one step.
const STEP: u32 = 100;
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(50);

/// What a sweep removed, or with a dry run would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows.
    pub rows: u64,
    /// Files of these rows.
    pub files: u64,
    /// Files that no row named, and temporary ones that were left behind.
    pub orphans: u64,
    /// Bytes of all these files. Requests that share a file count it each.
    pub bytes: u64,
    /// Rows and other files that are still there because the store refused: the next sweep tries again.
    pub kept: u64,
}

/// One row or file that a sweep removed, or with a dry run would have.
#[derive(Clone, Debug)]
pub enum Removed {
    /// A row with its files.
    Row {
        /// The row.
        row: Finished,
        /// Its job, as the row spells it.
        job_id: String,
        /// How many files it had in the store.
        files: u64,
        /// Their length in bytes.
        bytes: u64,
    },
    /// A file that no row named.
    Orphan(StoredReport),
}

/// Removes what ended longer ago than `retention`, until nothing is left or a stop is requested. With `dry_run`
/// everything is only counted.
///
/// # Errors
/// The database cannot be reached or refuses. What was removed until then is gone for good; the next sweep goes on.
pub async fn sweep(app: &AppContext, retention: Duration, dry_run: bool) -> Result<Swept, QueueError> {
    sweep_with(app, retention, dry_run, &mut |_| {}).await
}

/// As [`sweep`], with a call of `report` for each row and orphan that is removed.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_with(
    app: &AppContext,
    retention: Duration,
    dry_run: bool,
    report: &mut (dyn FnMut(Removed) + Send + Sync),
) -> Result<Swept, QueueError> {
    let mut sweep = Sweep { app, retention, dry_run, is_our_table: None, swept: Swept::default(), report };
    let ended = sweep.all().await;
    let Swept { rows, files, orphans, bytes, kept } = sweep.swept;
    let mode = if dry_run { " dry_run=true" } else { "" };
    log::info!("retention rows={rows} files={files} bytes={bytes} orphans={orphans} kept={kept}{mode}");
    ended.map(|()| sweep.swept)
}

struct Sweep<'a> {
    app: &'a AppContext,
    retention: Duration,
    dry_run: bool,
    /// Whether the table has rows of our jobs, once that was looked up.
    is_our_table: Option<bool>,
    swept: Swept,
    report: &'a mut (dyn FnMut(Removed) + Send + Sync),
}

/// What became of the files of one row: how many there were and their bytes.
type RemovedFiles = Result<(u64, u64), StoreError>;

impl Sweep<'_> {
    async fn all(&mut self) -> Result<(), QueueError> {
        let app = self.app;
        if !self.dry_run {
            self.may_remove().await?;
        }
        for name in app.config.get().jobs.iter().flat_map(|job| job.names()) {
            self.rows(name).await?;
        }
        self.orphans().await?;
        self.abandoned().await
    }

    /// Files go before rows, so whether this database user may delete rows at all is found out before the first file
    /// goes.
    async fn may_remove(&self) -> Result<(), QueueError> {
        let nobody = RequestKey { tag: String::new(), request_id: String::new() };
        self.app.ask(move |queue| queue.remove_finished(&nobody, Duration::MAX)).await.map(drop)
    }

    /// Finished rows of one name of a job.
    async fn rows(&mut self, job_id: &str) -> Result<(), QueueError> {
        let mut after = None;
        while !self.app.stop.is_set() {
            let (name, older_than) = (job_id.to_owned(), self.retention);
            let page = self.app.ask(move |queue| queue.finished(&name, older_than, after.as_ref(), STEP)).await?;
            let found = !page.rows.is_empty();
            if found {
                self.remove_rows(job_id, page.rows).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            if found {
                self.pause().await;
            }
        }
        Ok(())
    }

    async fn remove_rows(&mut self, job_id: &str, rows: Vec<Finished>) -> Result<(), QueueError> {
        let (store, dry_run) = (self.app.store.clone(), self.dry_run);
        let cleared = apart(move || {
            let clear = |row: Finished| {
                let outcome = remove_files(&store, &own_files(&row), dry_run);
                (row, outcome)
            };
            rows.into_iter().map(clear).collect::<Vec<_>>()
        });
        let mut empty = Vec::new();
        for (row, outcome) in cleared.await? {
            match outcome {
                Ok(files) => empty.push((row, files)),
                Err(error) => self.refused(&row.key, &error),
            }
        }
        let older_than = self.retention;
        let gone = self.app.ask(move |queue| {
            let mut gone = Vec::new();
            for (row, files) in empty {
                // A row that was resubmitted since the page was read stays.
                let is_gone = dry_run || queue.remove_finished(&row.key, older_than)?;
                gone.push((row, files, is_gone));
            }
            Ok(gone)
        });
        for (row, (files, bytes), is_gone) in gone.await? {
            self.swept.files += files;
            self.swept.bytes += bytes;
            if is_gone {
                self.swept.rows += 1;
                log::debug!("retention row={} job={job_id} files={files} bytes={bytes}", row.key);
                (self.report)(Removed::Row { row, job_id: job_id.to_owned(), files, bytes });
            }
        }
        Ok(())
    }

    /// The machine's time so long ago, since files are dated by it; `None`: before all time.
    fn before(&self, age: Duration) -> Option<SystemTime> {
        let now: DateTime<Utc> = self.app.clock.now();
        SystemTime::from(now).checked_sub(age)
    }

    /// The first refusal is a warning, the others are counted: a store that is down refuses every file.
    fn refused(&mut self, what: &dyn std::fmt::Display, error: &StoreError) {
        self.swept.kept += 1;
        let level = if self.swept.kept == 1 { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "retention keeps what the store refuses to remove, the next sweep tries again what={what} error={error}"
        );
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = self.app.stop.requested() => {}
        }
    }
}

/// Of what a row names, the files that were made for it. Others write rows too: a link to elsewhere is none of ours,
/// and another request's file is not this row's to take away.
fn own_files(row: &Finished) -> Vec<ObjectKey> {
    let own = |key: &ObjectKey| key.is_of(&row.key.tag, &row.key.request_id);
    row.download_urls.iter().filter_map(|url| ObjectKey::parse(url).ok()).filter(own).collect()
}

/// How many of these files there were, and their bytes. Those that are not there are as good as removed; with the first
/// that the store refuses to remove it ends.
fn remove_files(store: &Store, keys: &[ObjectKey], dry_run: bool) -> RemovedFiles {
    let (mut files, mut bytes) = (0, 0);
    for key in keys {
        if let Some(length) = if dry_run { store.size(key) } else { store.remove(key) }? {
            files += 1;
            bytes += length;
        }
    }
    Ok((files, bytes))
}

/// Runs what waits for a disk, on a thread that may wait.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueueError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|panic| QueueError::Refused(format!("the sweep broke off: {panic}")))
}
