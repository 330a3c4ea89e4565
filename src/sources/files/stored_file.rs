//! One version of a file in a bucket, and what of it is under way.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::objects::{Bucket, Cause, Fetch, ObjectError};
use crate::sources::ReadCost;

/// A file in a bucket: one version of it, from the first byte that is read to the last.
#[derive(Debug)]
pub(super) struct StoredFile {
    bucket: Bucket,
    key: String,
    pub(super) bytes: u64,
    /// Known from its directory, or from the first answer.
    etag: OnceLock<String>,
    /// What is under way before a reader asks for it.
    begun: Mutex<Option<(Range<u64>, Fetch)>>,
    /// Requests that were begun, and the bytes that they asked for.
    calls: AtomicU64,
    fetched: AtomicU64,
    /// The first failure: decoders keep no more of it than a text.
    failure: OnceLock<ObjectError>,
}

impl StoredFile {
    pub(super) fn new(bucket: Bucket, key: String, bytes: u64, etag: Option<String>) -> Self {
        let etag = etag.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            bucket,
            key,
            bytes,
            etag,
            begun: Mutex::default(),
            calls: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            failure: OnceLock::new(),
        }
    }

    /// Begins to fetch what will be read first. A failure is reported to the reader that asks for it.
    pub(super) fn begin(&self, range: Range<u64>) {
        *self.begun() = self.fetch_anew(range.clone()).ok().map(|fetch| (range, fetch));
    }

    fn begun(&self) -> MutexGuard<'_, Option<(Range<u64>, Fetch)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to fetch some of it, or goes on with it.
    pub(super) fn fetch(&self, range: Range<u64>) -> io::Result<Fetch> {
        match self.begun().take_if(|(begun, _)| *begun == range) {
            Some((_, fetch)) => Ok(fetch),
            None => self.fetch_anew(range).map_err(|error| self.failed(error)),
        }
    }

    fn fetch_anew(&self, range: Range<u64>) -> Result<Fetch, ObjectError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fetched.fetch_add(range.end.saturating_sub(range.start), Ordering::Relaxed);
        self.bucket.fetch(&self.key, range, self.etag.get().cloned())
    }

    /// Waits for what is being fetched.
    pub(super) fn wait(&self, fetch: Fetch) -> io::Result<Bytes> {
        let fetched = fetch.wait().map_err(|error| self.failed(error))?;
        if let Some(etag) = fetched.etag
            && *self.etag.get_or_init(|| etag.clone()) != etag
        {
            return Err(self.failed(ObjectError { action: "read", place: self.key.clone(), cause: Cause::Changed }));
        }
        Ok(fetched.bytes)
    }

    fn failed(&self, error: ObjectError) -> io::Error {
        io::Error::other(self.failure.get_or_init(|| error).clone())
    }

    /// What was asked of the bucket so far.
    pub(super) fn cost(&self) -> ReadCost {
        let (calls, bytes) = (self.calls.load(Ordering::Relaxed), self.fetched.load(Ordering::Relaxed));
        ReadCost { bytes, pages: 0, calls }
    }

    /// The first failure, if there was one.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.get().cloned().map(io::Error::other)
    }
}

impl fmt::Display for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket.location(), self.key)
    }
}
