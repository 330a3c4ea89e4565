//! Where finished files live: a directory, or a place in an object store. In both, files appear whole or not at all, and
//! never change once stored.
//!
//! Not here: how keys are made (`key`), and signed links.

mod error;
mod local;
mod remote;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::key::{ObjectKey, Origin};
use crate::objects::Bucket;
use error::Extent;
pub use error::StoreError;
use local::Local;
pub(super) use local::make_directories;
use remote::Remote;

/// What a file holds, as far as two numbers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its length.
    pub bytes: u64,
    /// The checksum of its bytes.
    pub crc32: u32,
}

/// A report in the store.
#[derive(Clone, Debug)]
pub struct StoredReport {
    /// Its key.
    pub key: ObjectKey,
    /// Whose it is, as its key says.
    pub origin: Origin,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written. On a disk copies share it: they are one file with several names.
    pub modified: SystemTime,
}

/// Temporary files that were left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// How many.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// A place that holds finished files; clones share it.
#[derive(Clone, Debug)]
pub struct Store(Kind, Option<Observer>);

/// The calls that a [`CallObserver`] is told of.
pub const STORE_CALLS: [&str; 3] = ["put", "sync", "remove"];

/// Told of each call for a file, and where it failed, whether that may pass.
pub type CallObserver = Arc<dyn Fn(&'static str, Option<bool>) + Send + Sync>;

#[derive(Clone)]
struct Observer(CallObserver);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Local(Local),
    Remote(Remote),
}

/// A file being written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile(New);

#[derive(Debug)]
enum New {
    Local(local::NewFile),
    Remote(Box<remote::NewFile>),
}

/// A file that is written: it has no name yet, or those under which it was published. Dropped, it leaves nothing else
/// behind; one that goes to an object store should be given to [`Store::discard`].
#[derive(Debug)]
pub struct FinishedFile(Finished);

#[derive(Debug)]
enum Finished {
    Local(local::FinishedFile),
    Remote(Box<remote::FinishedFile>),
}

/// The reports of a store: files of one request come one after the other. Files may come and go meanwhile. What cannot
/// be read is one error, and what else can be reached goes on.
#[derive(Debug)]
pub struct Reports(Listed);

#[derive(Debug)]
enum Listed {
    Local(local::Reports),
    Remote(remote::Reports),
}

impl Store {
    /// The store in this directory, which is made when the first file is.
    #[must_use]
    pub fn local(root: PathBuf) -> Self {
        Self(Kind::Local(Local::new(root)), None)
    }

    /// The store in this bucket.
    #[must_use]
    pub const fn remote(bucket: Bucket) -> Self {
        Self(Kind::Remote(Remote::new(bucket)), None)
    }

    /// The same store, which tells of its calls.
    #[must_use]
    pub fn observed(self, observer: CallObserver) -> Self {
        Self(self.0, Some(Observer(observer)))
    }

    /// Tells of a call.
    fn told<T>(&self, call: &'static str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(Observer(observer)) = &self.1 {
            observer(call, result.as_ref().err().map(StoreError::may_pass));
        }
        result
    }

    /// Whether each call costs the time of a round trip, and no processor time: then many go at once.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self.0, Kind::Remote(_))
    }

    /// Begins a file that is meant for this key. It is not there for anybody until it is published.
    pub fn create(&self, key: &ObjectKey) -> Result<NewFile, StoreError> {
        Ok(NewFile(match &self.0 {
            Kind::Local(local) => New::Local(local.create(key)?),
            Kind::Remote(remote) => New::Remote(Box::new(remote.create(key))),
        }))
    }

    /// Puts a finished file of this store in a place, whole. It stays, for further places, unless this one `is_last`.
    /// Files never change once stored, so all places may share one content. Until [`Store::sync`] a loss of power may
    /// take the file away again, or leave other content under its name.
    ///
    /// # Errors
    /// It is not in this place. It can still be put in others, unless it [is spent](FinishedFile::is_spent).
    pub fn publish(&self, file: &mut FinishedFile, key: &ObjectKey, is_last: bool) -> Result<(), StoreError> {
        let put = match (&self.0, &mut file.0) {
            (Kind::Local(local), Finished::Local(file)) => local.publish(file, key, is_last),
            (Kind::Remote(remote), Finished::Remote(file)) => remote.publish(file, key),
            _ => Err(StoreError::new("store a file", key, io::Error::other("it belongs to another store"))),
        };
        self.told("put", put)
    }

    /// Removes what else than its places a finished file has in the store. A failure is only logged: retention finds it.
    pub fn discard(&self, file: FinishedFile) {
        if let (Kind::Remote(remote), Finished::Remote(file)) = (&self.0, file.0) {
            remote.discard(&file);
        }
    }

    /// Whether a failure is the store's and not only that of the file or key at which it was met. An object store is
    /// asked for it, unless the error says enough; in a directory every file is tried by itself.
    #[must_use]
    pub fn fails_for_all(&self, error: &StoreError) -> bool {
        match (error.extent, &self.0) {
            (Extent::AnyKey, _) => true,
            (Extent::OneFile | Extent::NoFile, _) | (_, Kind::Local(_)) => false,
            (Extent::Key, Kind::Remote(remote)) => error.may_pass() && remote.check().is_err(),
        }
    }

    /// A file of a local store, open for reading; `None`: there is none on this machine.
    ///
    /// # Errors
    /// It cannot be opened, is no plain file, or a symbolic link leads to it.
    pub fn open(&self, key: &ObjectKey) -> Result<Option<File>, StoreError> {
        match &self.0 {
            Kind::Local(local) => local.open(key),
            Kind::Remote(_) => Ok(None),
        }
    }

    /// Which of these contents are stored under their keys. On a disk they are read: after a loss of power a file that was
    /// not synced may have the right name and size, and other bytes. Objects are whole and durable once they are there,
    /// but others may write over them: those that were small tell their checksum, the others are read.
    #[must_use]
    pub fn has(&self, files: &[(&ObjectKey, Content)]) -> Vec<bool> {
        match &self.0 {
            Kind::Local(local) => files.iter().map(|(key, content)| local.has(key, *content)).collect(),
            Kind::Remote(remote) => remote.has(files),
        }
    }

    /// Makes these files survive a loss of power, contents and names; copies as well, which have names of their own. After
    /// a failure a second call proves nothing: the system may have forgotten what it could not write.
    pub fn sync<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Local(local) => self.told("sync", local.sync(keys)),
            // An object store answers when it has synced an object.
            Kind::Remote(_) => Ok(()),
        }
    }

    /// Has the disk begin with what is stored by now, so that there is less to wait for in the end.
    pub fn start_sync(&self) {
        if let Kind::Local(local) = &self.0 {
            local.start_sync();
        }
    }

    /// Whether files can be stored here now: writes one.
    pub fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Local(local) => local.check(),
            Kind::Remote(remote) => remote.check(),
        }
    }

    /// Every report in the store, of any daemon.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Reports(match &self.0 {
            Kind::Local(local) => Listed::Local(local.reports()),
            Kind::Remote(remote) => Listed::Remote(remote.reports()),
        })
    }

    /// The length of a file in bytes; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be looked at, is no plain file, or a symbolic link leads to it.
    pub fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        match &self.0 {
            Kind::Local(local) => local.size(key),
            Kind::Remote(remote) => remote.size(key),
        }
    }

    /// Removes a file, and the directories that are empty without it. Returns its length in bytes; `None`: it was not
    /// there, which is fine.
    ///
    /// # Errors
    /// As [`Store::size`], or it cannot be removed. Directories that stay are no error.
    pub fn remove(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let removed = match &self.0 {
            Kind::Local(local) => local.remove(key),
            Kind::Remote(remote) => remote.remove(key),
        };
        self.told("remove", removed)
    }

    /// Removes files that were begun before that time and never finished; with `dry_run` they are only counted.
    /// A file that is still being written has changed since. Of an object store nothing: its own rules remove uploads
    /// that are not completed.
    pub fn remove_abandoned(&self, before: SystemTime, dry_run: bool) -> Result<Abandoned, StoreError> {
        match &self.0 {
            Kind::Local(local) => local.remove_abandoned(before, dry_run),
            Kind::Remote(_) => Ok(Abandoned::default()),
        }
    }

    /// Where the file of a key is on this machine; `None`: it is not on this machine.
    #[must_use]
    pub fn path(&self, key: &ObjectKey) -> Option<PathBuf> {
        match &self.0 {
            Kind::Local(local) => Some(local.path(key)),
            Kind::Remote(_) => None,
        }
    }
}

impl NewFile {
    /// Everything is written; [`Store::publish`] gives it its name.
    pub fn finish(self) -> Result<FinishedFile, StoreError> {
        Ok(FinishedFile(match self.0 {
            New::Local(file) => Finished::Local(file.finish()?),
            New::Remote(file) => Finished::Remote(Box::new(file.finish()?)),
        }))
    }

    /// What writing to the file failed with, as the store's error.
    #[must_use]
    pub fn failed(&self, cause: io::Error) -> StoreError {
        match &self.0 {
            New::Local(file) => file.failed(cause),
            New::Remote(file) => file.failed(cause),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            New::Local(file) => file.write(bytes),
            New::Remote(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            New::Local(file) => file.flush(),
            New::Remote(file) => file.flush(),
        }
    }
}

impl FinishedFile {
    /// What it holds.
    #[must_use]
    pub const fn content(&self) -> Content {
        match &self.0 {
            Finished::Local(file) => file.content(),
            Finished::Remote(file) => file.content(),
        }
    }

    /// Waits until what was sent of it has arrived: parts of a large file go to an object store under the key under which
    /// it was begun, and a request that wants the file under another key has to know whether it was stored.
    pub fn arrived(&mut self) -> Result<(), StoreError> {
        match &mut self.0 {
            Finished::Local(_) => Ok(()),
            Finished::Remote(file) => file.arrived(),
        }
    }

    /// Whether it cannot be put in any further place: it was in its last one, or what was sent of it is lost.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        match &self.0 {
            Finished::Local(file) => file.is_spent(),
            Finished::Remote(file) => file.is_spent(),
        }
    }

    /// Bytes of it that are in memory.
    #[must_use]
    pub fn held(&self) -> u64 {
        match &self.0 {
            Finished::Local(_) => 0,
            Finished::Remote(file) => file.held(),
        }
    }
}

impl Iterator for Reports {
    type Item = Result<StoredReport, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Listed::Local(reports) => reports.next(),
            Listed::Remote(reports) => reports.next(),
        }
    }
}

/// `attachment; filename="…"` for the file of a key. Its last segment has no quotes, backslashes or line ends: they are
/// percent-encoded in it.
#[must_use]
pub fn content_disposition(key: &ObjectKey) -> String {
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
    format!("attachment; filename=\"{name}\"")
}
