//! Making stored files survive a loss of power, before anybody is told that they are there: their contents and the
//! names under which they are found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::super::super::key::ObjectKey;
use super::{Local, StoreError};

/// So many files and directories are settled by one call for the whole file system. It waits for what others have
/// written there as well, so a few are better settled one by one.
const MANY: usize = 24;

/// What the settlings of a store share: one at a time asks for the whole file system.
#[derive(Debug, Default)]
pub(super) struct Settling(Mutex<Trust>);

/// Whether the answer of the whole file system counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Yes,
    /// It failed once. The system tells a failure to the first who asks and not to the next, whose file it may have
    /// been: from here on every file is asked for itself.
    Lost,
}

impl Local {
    /// Makes these files survive a loss of power, contents and names; copies as well, which have names of their own. After
    /// a failure a second call proves nothing: the system may have forgotten what it could not write.
    pub(in super::super) fn settle<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>) -> Result<(), StoreError> {
        let files: BTreeSet<&ObjectKey> = keys.into_iter().collect();
        let directories: BTreeSet<&str> = files.iter().flat_map(|key| above(key.as_str())).collect();
        if files.len() + directories.len() >= MANY {
            let settled = self.settling.all_at_once(|| whole_file_system(&self.root));
            if settled.map_err(|cause| StoreError::new("settle files", &self.root.display(), cause))? {
                return Ok(());
            }
        }
        for key in files {
            let file = self.opened(key).map_err(|cause| StoreError::new("find a file", key, cause).of_one_file())?;
            file.sync_data().map_err(|cause| StoreError::new("settle a file", key, cause))?;
        }
        for name in directories {
            let directory = self.directory(name);
            let directory =
                directory.map_err(|cause| StoreError::new("find a directory", &name, cause).of_one_file())?;
            directory.sync().map_err(|cause| StoreError::new("settle a directory", &name, cause))?;
        }
        Ok(())
    }
}

/// The directories that a key's file is in, the root (empty) last.
fn above(key: &str) -> impl Iterator<Item = &str> {
    let ends = key.rmatch_indices('/').map(|(end, _)| &key[..end]);
    ends.chain([""])
}

impl Local {
    /// Has the disk begin with what is stored by now, so that there is less to wait for in the end. Nothing is said of
    /// files: whoever depends on one still has to [`settle`](Local::settle) it, and hears then what failed.
    pub(in super::super) fn settle_ahead(&self) {
        if let Err(error) = self.settling.all_at_once(|| whole_file_system(&self.root)) {
            log::warn!("files could not be settled ahead error={error}");
        }
    }
}

impl Settling {
    /// `false`: there is no such answer, each file must be asked for.
    fn all_at_once(&self, settle: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let mut trust = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *trust == Trust::Lost {
            return Ok(false);
        }
        let settled = settle();
        if settled.is_err() {
            *trust = Trust::Lost;
        }
        settled
    }
}

/// Settles the file system that the store is on. All of its files are on one: they were renamed from one directory of
/// it, and a rename does not lead to another.
#[cfg(target_os = "linux")]
fn whole_file_system(root: &Path) -> io::Result<bool> {
    use std::sync::LazyLock;
    static SAYS_WHAT_FAILED: LazyLock<bool> = LazyLock::new(|| {
        std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| says_what_failed(&release))
    });
    if !*SAYS_WHAT_FAILED {
        return Ok(false);
    }
    rustix::fs::syncfs(File::open(root)?)?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn whole_file_system(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Before Linux 5.8 `syncfs` succeeds even if nothing could be written.
#[cfg(target_os = "linux")]
fn says_what_failed(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= (5, 8))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A store with so many files, two to a directory, every second one a copy.
    fn store(files: usize) -> (tempfile::TempDir, Local, Vec<ObjectKey>) {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().join("reports"));
        let keys: Vec<ObjectKey> =
            (0..files).map(|n| ObjectKey::parse(&format!("p/{}/{n}.csv", n / 2)).unwrap()).collect();
        for pair in keys.chunks(2) {
            let mut file = store.create(&pair[0]).unwrap();
            file.write_all(b"content").unwrap();
            let mut file = file.finish().unwrap();
            for key in pair {
                store.publish(&mut file, key, false).unwrap();
            }
        }
        (directory, store, keys)
    }

    #[test]
    fn few_are_settled_one_by_one_and_a_missing_one_is_told() {
        let (_directory, store, keys) = store(4);
        store.settle(&keys).unwrap();
        std::fs::remove_file(store.path(&keys[1])).unwrap();
        let error = store.settle(&keys).unwrap_err();
        assert!(error.to_string().starts_with("cannot find a file in the store: "), "{error}");
        assert!(error.place.ends_with("p/0/1.csv") && error.may_pass() && error.is_of_one_file());
        store.settle(&[]).unwrap();
    }

    #[test]
    fn many_are_settled_at_once_or_where_that_cannot_be_trusted_one_by_one() {
        let (_directory, store, keys) = store(60);
        store.settle(&keys).unwrap();
        assert_eq!(*store.settling.0.lock().unwrap(), Trust::Yes);
        let failed = store.settling.all_at_once(|| Err(io::Error::other("a disk that does not write")));
        assert!(failed.is_err());
        assert!(!store.settling.all_at_once(|| Ok(true)).unwrap(), "a failure that others were told is not forgotten");
        store.settle(&keys).unwrap();
        std::fs::remove_file(store.path(&keys[59])).unwrap();
        assert!(store.settle(&keys).is_err(), "each of them was looked at");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn old_systems_do_not_say_what_failed() {
        for (release, says) in [("6.18.44-fc", true), ("5.8.0", true), ("5.7.19", false), ("4.18.0-553.el8", false)] {
            assert_eq!(says_what_failed(release), says, "{release}");
        }
        assert!(!says_what_failed("unknown") && says_what_failed("10.0-rc1"));
    }
}
