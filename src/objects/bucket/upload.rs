//! An object on its way in parts.

use std::fmt;
use std::sync::{Arc, OnceLock};

use object_store::{Error, MultipartUpload, PutPayload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::super::{ObjectError, beside, wait};
use super::{Bucket, failed};

/// Parts of one upload under way at a time.
const PARTS: usize = 4;
/// Bytes of parts under way, of all uploads of the process.
const IN_FLIGHT: usize = 64 << 20;

/// An object on its way in parts. Dropped, it is given up, and nothing of it stays.
pub struct Upload {
    key: String,
    bytes: u64,
    bucket: Bucket,
    /// `None`: completed.
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<Result<(), Error>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("key", &self.key).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Upload {
    /// Of an upload that has begun.
    pub(super) fn new(key: &str, bucket: Bucket, upload: Box<dyn MultipartUpload>) -> Self {
        Self { key: key.to_owned(), bytes: 0, bucket, upload: Some(upload), parts: JoinSet::new() }
    }

    /// Sends the next part beside the caller; waits while too many are under way, of this upload or of all. Each but the
    /// last has at least 5 MiB, which S3 wants, and all of them the same length, which some servers want.
    ///
    /// # Errors
    /// That of any part so far.
    pub fn part(&mut self, bytes: Vec<u8>) -> Result<(), ObjectError> {
        self.bytes += bytes.len() as u64;
        wait(async {
            while self.parts.len() >= PARTS
                && let Some(done) = self.parts.join_next().await
            {
                sent(done)?;
            }
            let room = room(bytes.len()).await;
            if let Some(upload) = &mut self.upload {
                let part = upload.put_part(PutPayload::from(bytes));
                self.parts.spawn(async move {
                    let sent = part.await;
                    drop(room);
                    sent
                });
            }
            Ok(())
        })
        .map_err(failed("store", &self.key))
    }

    /// Waits until all parts so far have arrived.
    ///
    /// # Errors
    /// That of any part.
    pub fn arrived(&mut self) -> Result<(), ObjectError> {
        let parts = &mut self.parts;
        wait(async {
            while let Some(done) = parts.join_next().await {
                sent(done)?;
            }
            Ok(())
        })
        .map_err(failed("store", &self.key))
    }

    /// Waits for all parts, and makes the object of them.
    pub fn complete(mut self) -> Result<(), ObjectError> {
        let completed = wait(async {
            while let Some(done) = self.parts.join_next().await {
                sent(done)?;
            }
            match &mut self.upload {
                Some(upload) => upload.complete().await.map(drop),
                None => Ok(()),
            }
        });
        let completed = match completed.map_err(failed("store", &self.key)) {
            // An answer that got lost: the second try is told that there is no such upload (any more).
            Err(error) => match self.bucket.look(&self.key) {
                Ok(Some(found)) if found.bytes == self.bytes => Ok(()),
                _ => Err(error),
            },
            done => done,
        };
        if completed.is_ok() {
            self.upload = None;
        }
        completed
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        let (mut parts, key) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.key));
        beside(async move {
            // A part that arrives after the end of its upload may stay for ever.
            parts.abort_all();
            while parts.join_next().await.is_some() {}
            if let Err(error) = upload.abort().await {
                log::warn!("an upload could not be given up error={:?}", ObjectError::of("give up", &key, &error));
            }
        });
    }
}

fn sent(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    done.unwrap_or_else(|source| Err(Error::JoinError { source }))
}

/// Waits until this number of bytes may be under way.
async fn room(bytes: usize) -> Option<OwnedSemaphorePermit> {
    static ROOM: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let room = ROOM.get_or_init(|| Arc::new(Semaphore::new(IN_FLIGHT)));
    let bytes = u32::try_from(bytes.min(IN_FLIGHT)).unwrap_or(u32::MAX);
    // Never closed.
    Arc::clone(room).acquire_many_owned(bytes).await.ok()
}
