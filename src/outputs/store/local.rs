//! A directory with files that appear whole or not at all. Every file in it is reached by open directories
//! (`directory`), so that no symbolic link below the root is followed.
//!
//! What is removed and listed is in `removal`, how files come to survive a loss of power in `sync`, what is written
//! into one in `file`.

mod directory;
mod file;
mod removal;
mod sync;

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

pub(super) use file::{FinishedFile, NewFile};
pub(super) use removal::Reports;

use super::super::key::ObjectKey;
use super::{Content, StoreError};
use directory::{Directory, cannot_link, is_no_file};

/// Files are written here first and then renamed, so that a reader never sees half of one.
const INCOMING: &str = ".incoming";
/// How often a file is put in its place while somebody else removes the directories above it.
const TRIES: u32 = 10;
/// What a check writes: enough that a full file system has no room for it beside the name.
const PROBE: [u8; 4096] = [0; 4096];

/// A directory that holds finished files.
#[derive(Clone, Debug)]
pub(super) struct Local {
    root: PathBuf,
    syncer: Arc<sync::Syncer>,
}

impl Local {
    /// The store in this directory, which is made when the first file is.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, syncer: Arc::default() }
    }

    /// Begins a file that is meant for this key. It is not there for anybody until it is published.
    pub(super) fn create(&self, key: &ObjectKey) -> Result<NewFile, StoreError> {
        let incoming = self.root.join(INCOMING);
        let temporary = make_directories(&incoming)
            .and_then(|()| new_file(&incoming))
            .map_err(|cause| StoreError::new("create a file", key, cause).whatever_the_key())?;
        Ok(NewFile::new(key.clone(), temporary))
    }

    /// Puts a finished file in a place of this key, whole. It stays, for further places, unless this one is its last.
    /// Until [`Local::sync`] a loss of power may take it away again, or leave other content under its name.
    pub(super) fn publish(&self, file: &mut FinishedFile, key: &ObjectKey, is_last: bool) -> Result<(), StoreError> {
        let placed = match &file.temporary {
            Some(temporary) => self.place(temporary, key, is_last),
            None => Err(io::Error::other("it was put in its last place")),
        };
        let moved = placed.map_err(|cause| StoreError::new("store a file", key, cause))?;
        if is_last && let Some(temporary) = file.temporary.take() {
            given_up(temporary, moved);
        }
        Ok(())
    }

    /// `true`: the file has lost its temporary name.
    fn place(&self, file: &NamedTempFile, key: &ObjectKey, is_last: bool) -> io::Result<bool> {
        self.in_parent(key, |parent, name| {
            if is_last {
                return parent.take(file.path(), name);
            }
            match parent.link(file.path(), name) {
                Err(error) if cannot_link(&error) => {
                    let copy = self.copied(file)?;
                    let moved = parent.take(copy.path(), name)?;
                    given_up(copy, moved);
                    Ok(false)
                }
                linked => linked.map(|()| false),
            }
        })
    }

    /// The same bytes in another file, for file systems without hard links. Where it is not taken it vanishes.
    fn copied(&self, file: &NamedTempFile) -> io::Result<NamedTempFile> {
        let mut copy = new_file(&self.root.join(INCOMING))?;
        io::copy(&mut File::open(file.path())?, copy.as_file_mut())?;
        Ok(copy)
    }

    /// Runs `place` with the directory that a key's file is in, which is made, and the file's name. Once more where the
    /// directory vanishes meanwhile: retention removes those that it finds empty.
    fn in_parent<T>(&self, key: &ObjectKey, place: impl Fn(&Directory, &str) -> io::Result<T>) -> io::Result<T> {
        let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let once = || {
            let mut directory = match Directory::root(&self.root) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_directories(&self.root).and_then(|()| Directory::root(&self.root))?
                }
                root => root?,
            };
            for segment in above.split('/').filter(|segment| !segment.is_empty()) {
                directory = directory.made_below(segment)?;
            }
            place(&directory, name)
        };
        for _ in 1..TRIES {
            match once() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        once()
    }

    /// A stored file, open for reading; `None`: there is none.
    pub(super) fn open(&self, key: &ObjectKey) -> Result<Option<File>, StoreError> {
        match self.opened(key) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) if is_no_file(&cause) => Err(StoreError::new("open a file", key, cause).no_file()),
            Err(cause) => Err(StoreError::new("open a file", key, cause)),
        }
    }

    fn opened(&self, key: &ObjectKey) -> io::Result<File> {
        let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        self.directory(above)?.file(name)
    }

    /// A directory of this name below the root; empty: the root.
    fn directory(&self, name: &str) -> io::Result<Directory> {
        let root = Directory::root(&self.root)?;
        name.split('/').filter(|segment| !segment.is_empty()).try_fold(root, |above, segment| above.below(segment))
    }

    /// Whether this very content is stored under this key. It is read: after a loss of power a file that was not synced
    /// may have the right name and size, and other bytes.
    pub(super) fn has(&self, key: &ObjectKey, content: Content) -> bool {
        self.opened(key).is_ok_and(|file| {
            file.metadata().is_ok_and(|file| file.len() == content.bytes)
                && Content::of(file).is_ok_and(|found| found == content)
        })
    }

    /// Whether files can be stored here now: writes one and removes it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let probe = || {
            let incoming = self.root.join(INCOMING);
            make_directories(&incoming)?;
            let mut file = NamedTempFile::new_in(&incoming)?;
            file.write_all(&PROBE)?;
            file.as_file().sync_data()
        };
        probe().map_err(|cause| StoreError::new("write", &self.root.display(), cause))
    }

    /// Where the file of a key is on this machine.
    pub(super) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

/// Removes a temporary file, unless it has another name by now: then its old one may be somebody else's.
fn given_up(file: NamedTempFile, moved: bool) {
    if moved {
        // On Unix this only forgets the name.
        drop(file.into_temp_path().keep());
    }
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
    use std::fs;

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
        let mut file = file.finish()?;
        let content = file.content();
        store.publish(&mut file, key, true).map(|()| content)
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().join("reports"));
        let (a, b) = (key("r/t/1/c/reports-a.csv"), key("r/t/1/c/reports-b.csv"));

        let mut file = store.create(&a).unwrap();
        file.write_all(&vec![b'x'; LONG]).unwrap();
        let mut file = file.finish().unwrap();
        assert!(!store.path(&a).exists(), "visible before it is published");
        assert_eq!(file.content().bytes, LONG as u64);
        store.publish(&mut file, &a, true).unwrap();
        assert!(file.is_spent());
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

    /// A file for several requests is there until the last of them has it, whatever becomes of the others' files.
    #[test]
    fn a_file_is_stored_under_several_names_and_a_name_that_cannot_be_costs_the_others_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().join("reports"));
        let (a, b, c, d) = (key("x/a.csv"), key("x/a.csv/b.csv"), key("y/c.csv"), key("z/d.csv"));
        let mut file = store.create(&a).unwrap();
        file.write_all(b"content").unwrap();
        let mut file = file.finish().unwrap();
        store.publish(&mut file, &a, false).unwrap();
        assert!(store.publish(&mut file, &b, false).unwrap_err().may_pass(), "a file where a directory should be");
        assert!(store.publish(&mut file, &a, false).is_err(), "never replaced");
        fs::remove_file(store.path(&a)).unwrap();
        store.publish(&mut file, &c, false).unwrap();
        assert!(!file.is_spent());
        store.publish(&mut file, &d, true).unwrap();
        assert!(file.is_spent() && store.publish(&mut file, &a, true).is_err());
        assert_eq!(files(directory.path()).len(), 2, "nothing is left in .incoming");
        for stored in [&c, &d] {
            assert_eq!(fs::read_to_string(store.path(stored)).unwrap(), "content");
        }
    }

    #[test]
    fn without_hard_links_the_bytes_are_copied() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().to_owned());
        let mut file = store.create(&key("a.csv")).unwrap();
        file.write_all(b"content").unwrap();
        let file = file.finish().unwrap();
        let copy = store.copied(file.temporary.as_ref().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(copy.path()).unwrap(), "content");
        assert!(
            cannot_link(&io::Error::from(rustix::io::Errno::MLINK)) && !cannot_link(&io::ErrorKind::NotFound.into())
        );
    }

    /// Neither for writing nor for reading.
    #[test]
    fn no_symbolic_link_below_the_root_is_followed() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("reports"), directory.path().join("outside"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(outside.join("t")).unwrap();
        fs::write(outside.join("t/secret"), "secret").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("t/secret"), root.join("secret")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        // The root itself may be one.
        symlink(&root, directory.path().join("root")).unwrap();
        let store = Local::new(directory.path().join("root"));
        for name in ["link/t/secret", "secret", "dangling", "dangling/x"] {
            let refused = store.open(&key(name)).unwrap_err().to_string();
            assert_eq!(refused, "cannot open a file in the store: a symbolic link is not followed", "{name}");
            assert!(!store.has(&key(name), Content { bytes: 6, crc32: crc32fast::hash(b"secret") }));
            assert!(put(&store, &key(name), "overwritten").is_err() && store.sync([&key(name)]).is_err(), "{name}");
        }
        assert!(put(&store, &key("link/t/new"), "x").is_err() && put(&store, &key("link/new"), "x").is_err());
        assert_eq!(files(&outside), [outside.join("t/secret")]);
        assert_eq!(fs::read_to_string(outside.join("t/secret")).unwrap(), "secret");
        assert!(store.open(&key("none/x")).unwrap().is_none() && store.open(&key("none")).unwrap().is_none());
        fs::create_dir_all(root.join("directory")).unwrap();
        assert!(store.open(&key("directory")).unwrap_err().to_string().contains("it is no file"));
        put(&store, &key("r/a.csv"), "content").unwrap();
        assert_eq!(io::read_to_string(store.open(&key("r/a.csv")).unwrap().unwrap()).unwrap(), "content");
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
