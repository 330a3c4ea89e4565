//! A directory with files that appear whole or not at all.
//!
//! What is removed and listed is in `removal`, how files come to survive a loss of power in `settle`, what is written
//! into one in `file`.

mod file;
mod removal;
mod settle;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

pub(super) use file::{FinishedFile, NewFile};
pub(super) use removal::Reports;

use super::super::key::ObjectKey;
use super::{Content, StoreError};

/// Files are written here first and then renamed, so that a reader never sees half of one.
const INCOMING: &str = ".incoming";
/// How often directories are made that somebody else removes.
const TRIES: u32 = 10;

/// A directory that holds finished files.
#[derive(Clone, Debug)]
pub(super) struct Local {
    root: PathBuf,
    settling: Arc<settle::Settling>,
}

impl Local {
    /// The store in this directory, which is made when the first file is.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, settling: Arc::default() }
    }

    /// Begins a file that is meant for this key. It is not there for anybody until it is published.
    pub(super) fn create(&self, key: &ObjectKey) -> Result<NewFile, StoreError> {
        let incoming = self.root.join(INCOMING);
        let temporary = make_directories(&incoming)
            .and_then(|()| new_file(&incoming))
            .map_err(|cause| StoreError::new("create a file", key, cause))?;
        Ok(NewFile::new(key.clone(), temporary))
    }

    /// Puts a finished file in its place, whole. Until [`Local::settle`] a loss of power may take it away again, or
    /// leave other content under its name.
    pub(super) fn publish(&self, file: FinishedFile, key: &ObjectKey) -> Result<(), StoreError> {
        let place = self.path(key);
        make_parent(&place)
            .and_then(|()| persist(file.temporary, &place))
            .map_err(|cause| StoreError::new("store a file", key, cause))
    }

    /// Gives a stored file a second name. Files never change once stored, so both names may share one content.
    pub(super) fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        let linked = make_parent(&target).and_then(|()| match fs::hard_link(&source, &target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => self.copy_bytes(&source, &target),
            other => other,
        });
        linked.map_err(|cause| StoreError::new("copy a file", to, cause))
    }

    /// For file systems without hard links.
    fn copy_bytes(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut temporary = new_file(&self.root.join(INCOMING))?;
        io::copy(&mut File::open(source)?, temporary.as_file_mut())?;
        persist(temporary, target)
    }

    /// Whether this very content is stored under this key. It is read: after a loss of power a file that was not settled
    /// may have the right name and size, and other bytes.
    pub(super) fn has(&self, key: &ObjectKey, content: Content) -> bool {
        let path = self.path(key);
        fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == content.bytes)
            && Content::of(&path).is_ok_and(|found| found == content)
    }

    /// Whether files can be stored here now: writes one and removes it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let probe = || {
            let incoming = self.root.join(INCOMING);
            make_directories(&incoming)?;
            let mut file = NamedTempFile::new_in(&incoming)?;
            file.write_all(b"probe")?;
            file.as_file().sync_data()
        };
        probe().map_err(|cause| StoreError::new("write", &self.root.display(), cause))
    }

    /// Where the file of a key is on this machine.
    pub(super) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

/// Tried again where a directory vanishes meanwhile: retention removes those that it finds empty.
fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    for _ in 0..TRIES {
        match make_directories(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    make_directories(parent)
}

/// Files are immutable: an existing one is never replaced.
fn persist(file: NamedTempFile, place: &Path) -> io::Result<()> {
    file.persist_noclobber(place).map(drop).map_err(|error| error.error)
}

/// A file of reports: its owner writes it, the group may read it, and the umask may take that away.
fn new_file(directory: &Path) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new();
    #[cfg(unix)]
    file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o640));
    file.tempfile_in(directory)
}

/// Directories of reports, as their files.
pub(in super::super) fn make_directories(path: &Path) -> io::Result<()> {
    let mut directories = DirBuilder::new();
    directories.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o750);
    directories.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 512 * 1024;

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

    fn put(store: &Local, key: &ObjectKey, content: &str) -> Result<Content, StoreError> {
        let mut file = store.create(key).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let file = file.finish()?;
        let content = file.content();
        store.publish(file, key).map(|()| content)
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().join("reports"));
        let (a, b) = (key("r/t/1/c/reports-a.csv"), key("r/t/1/c/reports-b.csv"));

        let mut file = store.create(&a).unwrap();
        file.write_all(&vec![b'x'; LONG]).unwrap();
        let file = file.finish().unwrap();
        assert!(!store.path(&a).exists(), "visible before it is published");
        assert_eq!(file.content().bytes, LONG as u64);
        store.publish(file, &a).unwrap();
        assert_eq!(fs::metadata(store.path(&a)).unwrap().len(), LONG as u64);

        let mut dropped = store.create(&b).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        drop(store.create(&b).unwrap().finish().unwrap());
        assert_eq!(files(directory.path()), [store.path(&a)], "a dropped file leaves nothing");
    }

    #[test]
    fn a_stored_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().to_owned());
        let a = key("a.csv");
        for (content, stored) in [("first", true), ("second", false)] {
            assert_eq!(put(&store, &a, content).is_ok(), stored);
        }
        assert_eq!(fs::read_to_string(store.path(&a)).unwrap(), "first");
    }

    #[test]
    fn copies_have_the_same_bytes_under_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().to_owned());
        let (a, b, c) = (key("x/a.csv"), key("y/b.csv"), key("z/c.csv"));
        put(&store, &a, "content").unwrap();
        store.copy(&a, &b).unwrap();
        make_parent(&store.path(&c)).unwrap();
        store.copy_bytes(&store.path(&a), &store.path(&c)).unwrap();
        for copied in [&b, &c] {
            assert_eq!(fs::read_to_string(store.path(copied)).unwrap(), "content");
        }
    }

    #[test]
    fn a_file_is_known_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().to_owned());
        let a = key("a.csv");
        let content = put(&store, &a, &"x,y\n".repeat(LONG)).unwrap();
        assert!(store.has(&a, content) && !store.has(&key("b.csv"), content));
        // What a loss of power may leave.
        fs::write(store.path(&a), vec![0; 4 * LONG]).unwrap();
        assert_eq!(fs::metadata(store.path(&a)).unwrap().len(), content.bytes);
        assert!(!store.has(&a, content), "the right size, and zeros");
    }

    #[test]
    fn an_unusable_store_says_what_failed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Local::new(file).check().unwrap_err();
        assert!(error.to_string().starts_with("cannot write in the store: "), "{error}");
        assert!(error.may_pass());
    }
}
