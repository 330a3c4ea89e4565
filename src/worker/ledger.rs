//! What of each held request is stored. The lease notes it in the rows (`processed_batches`), so that whoever goes on
//! with a request after a crash, a stop or a failure makes only what is missing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::checked::Job;
use crate::outputs::Shape;
use crate::reports::Counts;
use crate::requests::RequestKey;

/// `processed_batches`, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processed {
    /// How the files were made: a file made in another way is no part of this request.
    pub made_as: String,
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
    /// Its rows, and where the other enrolments went.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Processed {
    /// Reads what a row holds; anything that does not read is nothing, and is made again.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Names everything that decides a file's bytes besides batch and data: the program's version, the report, its options,
/// the shape.
#[must_use]
pub fn made_as(job: &Job, shape: Shape) -> String {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), job.report, &job.options, job.csv, shape).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The requests that a claim holds, and what of them is stored.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<RequestKey, Account>>);

/// One request.
#[derive(Debug, Default)]
struct Account {
    processed: Processed,
    /// How many of the files the row knows.
    noted: usize,
    /// It is being written back: soon the claim does not hold it any more, and nothing is lost with it.
    ending: bool,
}

impl Account {
    fn json(&self) -> Option<String> {
        // Texts and numbers only: there is nothing in it that JSON cannot hold.
        (self.processed.batches.len() > self.noted).then(|| serde_json::to_string(&self.processed).ok()).flatten()
    }
}

/// What a renewal notes of a request: JSON where more is stored than the row knows.
#[derive(Debug)]
pub struct Entry {
    /// The request.
    pub key: RequestKey,
    /// `processed_batches`.
    pub processed: Option<String>,
    stored: usize,
}

impl Ledger {
    /// Nothing of these requests is stored.
    #[must_use]
    pub fn new(held: impl IntoIterator<Item = RequestKey>) -> Self {
        Self(Mutex::new(held.into_iter().map(|key| (key, Account::default())).collect()))
    }

    /// This is stored already, by an earlier attempt.
    pub fn resume(&self, key: &RequestKey, processed: Processed) {
        if let Some(account) = self.lock().get_mut(key) {
            (account.noted, account.processed) = (processed.batches.len(), processed);
        }
    }

    /// One more file is stored.
    pub fn stored(&self, key: &RequestKey, batch: StoredBatch) {
        if let Some(account) = self.lock().get_mut(key) {
            account.processed.batches.push(batch);
        }
    }

    /// Whether the claim still holds this request.
    #[must_use]
    pub fn holds(&self, key: &RequestKey) -> bool {
        self.lock().contains_key(key)
    }

    /// The request is being written back.
    pub fn ends(&self, key: &RequestKey) {
        if let Some(account) = self.lock().get_mut(key) {
            account.ending = true;
        }
    }

    /// The claim does not hold it any more; `false` if that comes as no surprise.
    pub fn release(&self, key: &RequestKey) -> bool {
        self.lock().remove(key).is_some_and(|account| !account.ending)
    }

    /// Everything held, for a renewal.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(key, account): (&RequestKey, &Account)| Entry {
            key: key.clone(),
            processed: account.json(),
            stored: account.processed.batches.len(),
        };
        self.lock().iter().map(entry).collect()
    }

    /// The row knows this now.
    pub fn noted(&self, entry: &Entry) {
        if let Some(account) = self.lock().get_mut(&entry.key) {
            account.noted = entry.stored;
        }
    }

    /// What the row does not know yet, as JSON.
    #[must_use]
    pub fn processed(&self, key: &RequestKey) -> Option<String> {
        self.lock().get(key).and_then(Account::json)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestKey, Account>> {
        // What is in it stays right whatever panicked while it was held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> RequestKey {
        RequestKey { tag: "t".to_owned(), request_id: id.to_owned() }
    }

    fn batch(id: &str) -> StoredBatch {
        let counts = Counts { rows: 2, enrolled: 3, inactive: 1, ..Counts::default() };
        StoredBatch { batch: id.to_owned(), key: format!("r/{id}.csv"), bytes: 9, counts }
    }

    #[test]
    fn only_what_the_row_does_not_know_is_noted() {
        let ledger = Ledger::new([key("1"), key("2")]);
        let known = Processed { made_as: "x".to_owned(), batches: vec![batch("a")] };
        ledger.resume(&key("1"), known);
        assert_eq!(ledger.processed(&key("1")), None, "the row knows it");
        ledger.stored(&key("1"), batch("b"));
        let entries = ledger.entries();
        let told = Processed::parse(entries[0].processed.as_ref().unwrap()).unwrap();
        assert_eq!(told, Processed { made_as: "x".to_owned(), batches: vec![batch("a"), batch("b")] });
        assert_eq!(entries[1].processed, None);
        ledger.stored(&key("1"), batch("c"));
        ledger.noted(&entries[0]);
        assert!(ledger.processed(&key("1")).unwrap().contains("r/c.csv"), "c came after the renewal was asked");
        ledger.ends(&key("2"));
        assert!(ledger.release(&key("1")) && !ledger.release(&key("1")) && !ledger.release(&key("2")));
        assert!(!ledger.holds(&key("1")));
        ledger.stored(&key("1"), batch("d"));
        assert_eq!(ledger.processed(&key("1")), None, "a released request is nobody's here");
    }

    #[test]
    fn each_batch_is_told_with_key_rows_and_bytes() {
        let processed = Processed { made_as: "x".to_owned(), batches: vec![batch("a")] };
        let json = serde_json::to_value(&processed).unwrap();
        assert_eq!(json["batches"][0]["batch"], "a");
        assert_eq!((json["batches"][0]["rows"].as_u64(), json["batches"][0]["bytes"].as_u64()), (Some(2), Some(9)));
        assert_eq!(Processed::parse("[1]"), None);
    }
}
