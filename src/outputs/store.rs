//! Where finished files live. One store today: a directory, with files that appear whole or not at all.
//!
//! Not here: how keys are made (`key`), and signed links. What is removed and listed is in `removal`.

mod removal;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use removal::{Abandoned, Reports, StoredReport};

use super::key::ObjectKey;

/// Files are written here first and then renamed, so that a reader never sees half of one.
const INCOMING: &str = ".incoming";
const BUFFER: usize = 256 * 1024;
/// How often directories are made that somebody else removes.
const TRIES: u32 = 10;

/// Why a file could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} in the store: {cause}")]
pub struct StoreError {
    action: &'static str,
    /// The key or directory concerned, for operators.
    pub place: String,
    cause: io::Error,
}

impl StoreError {
    fn new(action: &'static str, place: &dyn std::fmt::Display, cause: io::Error) -> Self {
        Self { action, place: place.to_string(), cause }
    }

    /// Whether trying again later may help: a full, unreachable or locked store is put right by its operator, a name
    /// that the file system does not take is not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self.cause.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput)
    }
}

/// A directory that holds finished files.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in this directory, which is made when the first file is.
    #[must_use]
    pub const fn local(root: PathBuf) -> Self {
        Self { root }
    }

    /// Begins a file. It is not there for anybody until [`NewFile::finish`].
    pub fn create(&self, key: &ObjectKey) -> Result<NewFile, StoreError> {
        let incoming = self.root.join(INCOMING);
        let temporary = fs::create_dir_all(&incoming)
            .and_then(|()| NamedTempFile::new_in(&incoming))
            .map_err(|cause| StoreError::new("create a file", key, cause))?;
        Ok(NewFile {
            place: self.path(key),
            key: key.clone(),
            out: BufWriter::with_capacity(BUFFER, temporary),
            bytes: 0,
        })
    }

    /// Gives a stored file a second name. Files never change once stored, so both names may share one content.
    pub fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        let linked = make_parent(&target).and_then(|()| match fs::hard_link(&source, &target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => self.copy_bytes(&source, &target),
            other => other,
        });
        linked.map_err(|cause| StoreError::new("copy a file", to, cause))
    }

    /// For file systems without hard links.
    fn copy_bytes(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut temporary = NamedTempFile::new_in(self.root.join(INCOMING))?;
        io::copy(&mut File::open(source)?, temporary.as_file_mut())?;
        publish(temporary, target)
    }

    /// Makes the names of these files survive a loss of power; their contents did when they were finished.
    pub fn settle(&self, keys: &[ObjectKey]) -> Result<(), StoreError> {
        let mut directories = BTreeSet::new();
        for key in keys {
            let path = self.path(key);
            directories.extend(path.ancestors().skip(1).take_while(|a| a.starts_with(&self.root)).map(Path::to_owned));
        }
        for directory in directories {
            File::open(&directory)
                .and_then(|handle| handle.sync_all())
                .map_err(|cause| StoreError::new("settle a directory", &directory.display(), cause))?;
        }
        Ok(())
    }

    /// Whether a file of this key and size is stored.
    #[must_use]
    pub fn has(&self, key: &ObjectKey, bytes: u64) -> bool {
        fs::metadata(self.path(key)).is_ok_and(|file| file.is_file() && file.len() == bytes)
    }

    /// Opens a stored file.
    pub fn open(&self, key: &ObjectKey) -> Result<File, StoreError> {
        File::open(self.path(key)).map_err(|cause| StoreError::new("open a file", key, cause))
    }

    /// Whether files can be stored here now: writes one and removes it.
    pub fn check(&self) -> Result<(), StoreError> {
        let probe = || {
            let incoming = self.root.join(INCOMING);
            fs::create_dir_all(&incoming)?;
            let mut file = NamedTempFile::new_in(&incoming)?;
            file.write_all(b"probe")?;
            file.as_file().sync_data()
        };
        probe().map_err(|cause| StoreError::new("write", &self.root.display(), cause))
    }

    /// Where the file of a key is on this machine.
    #[must_use]
    pub fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

/// A file being written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    key: ObjectKey,
    place: PathBuf,
    out: BufWriter<NamedTempFile>,
    bytes: u64,
}

impl NewFile {
    /// Puts the file in its place, whole, its content safe from a loss of power; returns its size in bytes.
    pub fn finish(self) -> Result<u64, StoreError> {
        let Self { key, place, out, bytes } = self;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| make_parent(&place).and_then(|()| publish(file, &place)))
            .map_err(|cause| StoreError::new("store a file", &key, cause))?;
        Ok(bytes)
    }

    /// What writing to the file failed with, as the store's error.
    #[must_use]
    pub fn failed(&self, cause: io::Error) -> StoreError {
        StoreError::new("write a file", &self.key, cause)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tried again where a directory vanishes meanwhile: retention removes those that it finds empty.
fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    for _ in 0..TRIES {
        match fs::create_dir_all(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    fs::create_dir_all(parent)
}

/// Files are immutable: an existing one is never replaced.
fn publish(file: NamedTempFile, place: &Path) -> io::Result<()> {
    let handle = file.as_file();
    handle.sync_data()?;
    make_readable(handle)?;
    file.persist_noclobber(place).map(drop).map_err(|error| error.error)
}

/// Temporary files are private to their owner; reports are as readable as any file of the daemon.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o640))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
        }
        found
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path().join("reports"));
        let (a, b) = (key("r/t/1/c/reports-a.csv"), key("r/t/1/c/reports-b.csv"));

        let mut file = store.create(&a).unwrap();
        file.write_all(&vec![b'x'; 2 * BUFFER]).unwrap();
        assert!(!store.path(&a).exists(), "visible before it is finished");
        assert_eq!(file.finish().unwrap(), 2 * BUFFER as u64);
        assert_eq!(fs::metadata(store.path(&a)).unwrap().len(), 2 * BUFFER as u64);

        let mut dropped = store.create(&b).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(files(directory.path()), [store.path(&a)], "a dropped file leaves nothing");
        store.settle(&[a]).unwrap();
    }

    #[test]
    fn a_stored_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path().to_owned());
        let a = key("a.csv");
        for (content, stored) in [("first", true), ("second", false)] {
            let mut file = store.create(&a).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            assert_eq!(file.finish().is_ok(), stored);
        }
        assert_eq!(fs::read_to_string(store.path(&a)).unwrap(), "first");
    }

    #[test]
    fn copies_have_the_same_bytes_under_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path().to_owned());
        let (a, b, c) = (key("x/a.csv"), key("y/b.csv"), key("z/c.csv"));
        let mut file = store.create(&a).unwrap();
        file.write_all(b"content").unwrap();
        file.finish().unwrap();
        store.copy(&a, &b).unwrap();
        make_parent(&store.path(&c)).unwrap();
        store.copy_bytes(&store.path(&a), &store.path(&c)).unwrap();
        for copied in [&b, &c] {
            assert_eq!(io::read_to_string(store.open(copied).unwrap()).unwrap(), "content");
        }
    }

    #[test]
    fn an_unusable_store_says_what_failed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Store::local(file).check().unwrap_err();
        assert!(error.to_string().starts_with("cannot write in the store: "), "{error}");
        assert!(error.may_pass());
    }
}
