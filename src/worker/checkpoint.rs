//! Which files of each claimed request are stored. The lease notes them in the rows (`processed_batches`), so that the next
//! attempt, after a crash, a stop or a failure, makes only the missing ones.
//!
//! Files get their names through it ([`Checkpoint::place`]): none appears that it does not know, and none once its request
//! is being written back.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::checked::Job;
use crate::outputs::{Content, FileEncoding};
use crate::reports::Counts;
use crate::reports::query::FileShape;
use crate::requests::{EncryptionKey, RequestKey};
use crate::tables::quality::Quality;

/// `processed_batches`, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Processed {
    /// How the files were made: a file made in another way is no part of this request.
    #[serde(rename = "made_as")]
    pub fingerprint: String,
    /// The files, in the order in which they were stored.
    pub batches: Vec<StoredBatch>,
}

/// One stored file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBatch {
    /// The batch's id.
    pub batch: String,
    /// The object key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum. A file is noted before it is synced, and a loss of power may change it: the next attempt reads it first.
    pub crc32: u32,
    /// Its rows, and where the other enrolments went.
    #[serde(flatten)]
    pub counts: Counts,
    /// What was found of the batch: the request as a whole is judged when its last file is stored.
    pub quality: Quality,
}

impl StoredBatch {
    /// What the file holds.
    #[must_use]
    pub const fn content(&self) -> Content {
        Content { bytes: self.bytes, crc32: self.crc32 }
    }
}

impl Processed {
    /// Reads what a row holds. `None` if that cannot be read: its files are made again.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Names everything that decides a file's bytes besides batch and data: the program's version, the report, its options or its
/// query with what the request gives to it, the encoding, and for a protected file what the row has as its password. It only has to change with the password: a plain
/// password is in the row beside it, and both are wiped together (`requests`); a sealed one reveals nothing.
#[must_use]
pub(super) fn fingerprint(job: &Job, encoding: FileEncoding, key: Option<&EncryptionKey>, shape: &FileShape) -> String {
    let mut hasher = DefaultHasher::new();
    // Files that were stored before batches were judged have no quality noted, and are made again.
    ("judged", env!("CARGO_PKG_VERSION"), job.report.name(), &job.options, job.csv, encoding).hash(&mut hasher);
    if let Some(query) = job.report.query() {
        (query, shape).hash(&mut hasher);
    }
    if let Some(key) = key {
        (job.zip, key).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The requests that a claim holds, and what of them is stored.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    accounts: Mutex<BTreeMap<RequestKey, Account>>,
    /// Requests that were cancelled while they were in work.
    cancelled: Mutex<BTreeSet<RequestKey>>,
    /// Notified when a file has its name, or could not get it.
    placed: Condvar,
}

/// One request.
#[derive(Debug, Default)]
struct Account {
    processed: Processed,
    /// How many of the files the row knows.
    noted: usize,
    /// Files that are being put in their place just now.
    placing: usize,
    /// It is being written back: no further file of it gets its name, and the claim will soon not hold it any more, which
    /// is then no lost claim.
    ending: bool,
}

impl Account {
    fn json(&self) -> Option<String> {
        // Texts and numbers only: JSON can hold all of it.
        (self.processed.batches.len() != self.noted).then(|| serde_json::to_string(&self.processed).ok()).flatten()
    }
}

/// What a renewal notes of a request: JSON where more is stored than the row knows.
#[derive(Debug)]
pub(super) struct Entry {
    /// The request.
    pub key: RequestKey,
    /// `processed_batches`.
    pub processed: Option<String>,
    stored: usize,
}

impl Checkpoint {
    /// Nothing of these requests is stored.
    #[must_use]
    pub(super) fn new(held: impl IntoIterator<Item = RequestKey>) -> Self {
        let accounts = held.into_iter().map(|key| (key, Account::default())).collect();
        Self { accounts: Mutex::new(accounts), ..Self::default() }
    }

    /// Notes what an earlier attempt has stored. The row knows it.
    pub(super) fn resume(&self, key: &RequestKey, processed: Processed) {
        if let Some(account) = self.lock().get_mut(key) {
            (account.noted, account.processed) = (processed.batches.len(), processed);
        }
    }

    /// Calls `place`, which gives one more file of a request its name, and notes the file. `None`: the request is being
    /// written back, or the claim does not hold it any more, and `place` was not called. A write-back waits until calls in
    /// progress have returned ([`Checkpoint::wait_for_placed`]), so the row gets every file that has its name.
    pub(super) fn place<E>(
        &self,
        key: &RequestKey,
        batch: StoredBatch,
        place: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        {
            let mut accounts = self.lock();
            let account = accounts.get_mut(key).filter(|account| !account.ending)?;
            account.placing += 1;
        }
        let mut placing = Placing { checkpoint: self, key, stored: None };
        let placed = place();
        placing.stored = placed.is_ok().then_some(batch);
        Some(placed)
    }

    /// Whether more files of this request are wanted: the claim holds it, and it is not being written back.
    #[must_use]
    pub(super) fn wants(&self, key: &RequestKey) -> bool {
        self.lock().get(key).is_some_and(|account| !account.ending)
    }

    /// How the files of a request are made.
    #[must_use]
    pub(super) fn fingerprint(&self, key: &RequestKey) -> String {
        self.lock().get(key).map_or_else(String::new, |account| account.processed.fingerprint.clone())
    }

    /// The request is being written back. `true`: files of it are being given their names now.
    pub(super) fn ends(&self, key: &RequestKey) -> bool {
        self.lock().get_mut(key).is_some_and(|account| {
            account.ending = true;
            account.placing > 0
        })
    }

    /// Waits until no file of these requests is being given its name, for at most `patience`. After that it is `false`, and
    /// no later call waits for these files. Blocks.
    pub(super) fn wait_for_placed(&self, keys: &[RequestKey], patience: Duration) -> bool {
        let busy = |accounts: &mut BTreeMap<RequestKey, Account>| {
            keys.iter().any(|key| accounts.get(key).is_some_and(|account| account.placing > 0))
        };
        let waited = self.placed.wait_timeout_while(self.lock(), patience, busy);
        let (mut accounts, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            for key in keys {
                accounts.entry(key.clone()).and_modify(|account| account.placing = 0);
            }
        }
        !waited.timed_out()
    }

    /// What is stored of it cannot be relied on: the next attempt makes all of it again.
    pub(super) fn forget(&self, key: &RequestKey) {
        if let Some(account) = self.lock().get_mut(key) {
            account.processed.batches.clear();
        }
    }

    /// The claim does not hold it any more. `false` if that was expected, because it is being written back.
    pub(super) fn release(&self, key: &RequestKey) -> bool {
        self.lock().remove(key).is_some_and(|account| !account.ending)
    }

    /// Whether the claim holds it, as far as is known.
    #[must_use]
    pub(super) fn holds(&self, key: &RequestKey) -> bool {
        self.lock().contains_key(key)
    }

    /// What is held and not being written back.
    #[must_use]
    pub(super) fn in_work(&self) -> Vec<RequestKey> {
        self.lock().iter().filter(|(_, account)| !account.ending).map(|(key, _)| key.clone()).collect()
    }

    /// A request that the claim does not hold any more was cancelled.
    pub(super) fn cancel(&self, key: &RequestKey) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }

    /// Whether it was.
    #[must_use]
    pub(super) fn is_cancelled(&self, key: &RequestKey) -> bool {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Everything held, for a renewal.
    #[must_use]
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entry = |(key, account): (&RequestKey, &Account)| Entry {
            key: key.clone(),
            processed: account.json(),
            stored: account.processed.batches.len(),
        };
        self.lock().iter().map(entry).collect()
    }

    /// The row knows this now.
    pub(super) fn noted(&self, entry: &Entry) {
        if let Some(account) = self.lock().get_mut(&entry.key) {
            account.noted = entry.stored;
        }
    }

    /// What the row does not know yet, as JSON.
    #[must_use]
    pub(super) fn processed(&self, key: &RequestKey) -> Option<String> {
        self.lock().get(key).and_then(Account::json)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestKey, Account>> {
        // Its content stays consistent, even if a thread panicked while it held the lock.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being given its name, until that has succeeded, failed or panicked.
struct Placing<'a> {
    checkpoint: &'a Checkpoint,
    key: &'a RequestKey,
    stored: Option<StoredBatch>,
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        // No account: the claim was lost meanwhile, and no write-back waits.
        if let Some(account) = self.checkpoint.lock().get_mut(self.key) {
            // Zero: it has taken too long, and the write-back has stopped waiting.
            account.placing = account.placing.saturating_sub(1);
            account.processed.batches.extend(self.stored.take());
        }
        self.checkpoint.placed.notify_all();
    }
}

#[cfg(test)]
mod tests;
