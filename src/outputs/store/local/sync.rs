//! Making stored files survive a loss of power, before anybody is told that they are there: their contents and the
//! names under which they are found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::super::super::key::ObjectKey;
use super::{Local, StoreError};

/// From this number of files and directories on, one call syncs the whole file system. That call waits for what others have
/// written there as well, so fewer are synced one by one.
const MANY: usize = 24;

/// What the syncs of a store share: one at a time asks for the whole file system.
#[derive(Debug, Default)]
pub(super) struct Syncer(Mutex<Trust>);

/// Whether the answer of the whole file system counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Yes,
    /// It failed once. The system reports a failure to the first caller and not to the next, whose file it may have been:
    /// from then on each file is synced by itself.
    Lost,
}

impl Local {
    /// Makes these files survive a loss of power, contents and names; copies as well, which have names of their own. After
    /// a failure a second call proves nothing: the system may have forgotten what it could not write.
    pub(in super::super) fn sync<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>) -> Result<(), StoreError> {
        let files: BTreeSet<&ObjectKey> = keys.into_iter().collect();
        let directories: BTreeSet<&str> = files.iter().flat_map(|key| above(key.as_str())).collect();
        if files.len() + directories.len() >= MANY {
            let synced = self.syncer.all_at_once(|| whole_file_system(&self.root));
            if synced.map_err(|cause| StoreError::new("sync files", &self.root.display(), cause))? {
                return Ok(());
            }
        }
        for key in files {
            let file = self.opened(key).map_err(|cause| StoreError::new("find a file", key, cause).of_one_file())?;
            file.sync_data().map_err(|cause| StoreError::new("sync a file", key, cause))?;
        }
        for name in directories {
            let directory = self.directory(name);
            let directory =
                directory.map_err(|cause| StoreError::new("find a directory", &name, cause).of_one_file())?;
            directory.sync().map_err(|cause| StoreError::new("sync a directory", &name, cause))?;
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
    /// Starts writing to the disk what is stored by now, so that the last sync has less to wait for. It proves nothing: a
    /// caller that depends on a file still has to [`sync`](Local::sync) it, and is told then what failed.
    pub(in super::super) fn start_sync(&self) {
        if let Err(error) = self.syncer.all_at_once(|| whole_file_system(&self.root)) {
            log::warn!("an early sync of the store failed error={error}");
        }
    }
}

impl Syncer {
    /// `false`: the answer of such a call does not count; each file must be synced by itself.
    fn all_at_once(&self, sync: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let mut trust = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *trust == Trust::Lost {
            return Ok(false);
        }
        let synced = sync();
        if synced.is_err() {
            *trust = Trust::Lost;
        }
        synced
    }
}

/// Syncs the file system that the store is on. All of its files are on one: they were renamed from one directory of
/// it, and a rename does not lead to another.
#[cfg(target_os = "linux")]
fn whole_file_system(root: &Path) -> io::Result<bool> {
    use std::sync::LazyLock;
    static REPORTS_FAILURES: LazyLock<bool> = LazyLock::new(|| {
        std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| reports_failures(&release))
    });
    if !*REPORTS_FAILURES {
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
fn reports_failures(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= (5, 8))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A store with this number of files, two to a directory, every second one a copy.
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
    fn few_are_synced_one_by_one_and_a_missing_one_is_reported() {
        let (_directory, store, keys) = store(4);
        store.sync(&keys).unwrap();
        std::fs::remove_file(store.path(&keys[1])).unwrap();
        let error = store.sync(&keys).unwrap_err();
        assert!(error.to_string().starts_with("cannot find a file in the store: "), "{error}");
        assert!(error.place.ends_with("p/0/1.csv") && error.may_pass() && error.is_of_one_file());
        store.sync(&[]).unwrap();
    }

    #[test]
    fn many_are_synced_at_once_or_where_that_cannot_be_trusted_one_by_one() {
        let (_directory, store, keys) = store(60);
        store.sync(&keys).unwrap();
        assert_eq!(*store.syncer.0.lock().unwrap(), Trust::Yes);
        let failed = store.syncer.all_at_once(|| Err(io::Error::other("a disk that does not write")));
        assert!(failed.is_err());
        assert!(!store.syncer.all_at_once(|| Ok(true)).unwrap(), "a failure that others were told is not forgotten");
        store.sync(&keys).unwrap();
        std::fs::remove_file(store.path(&keys[59])).unwrap();
        assert!(store.sync(&keys).is_err(), "each of them was looked at");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn old_systems_do_not_say_what_failed() {
        for (release, says) in [("6.18.44-fc", true), ("5.8.0", true), ("5.7.19", false), ("4.18.0-553.el8", false)] {
            assert_eq!(reports_failures(release), says, "{release}");
        }
        assert!(!reports_failures("unknown") && reports_failures("10.0-rc1"));
    }
}
