//! What goes out of a store again: single files, the reports that are in it, what was left half written.
//!
//! A store's directory may hold other things, other people's among them. Only what [`ObjectKey::origin`] knows for ours
//! is listed, and no symbolic link below the root is ever followed.

use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::super::key::{ObjectKey, REPORT};
use super::super::{Abandoned, StoredReport};
use super::directory::Directory;
use super::{INCOMING, Local, StoreError};

/// What temporary files begin with, and how long their names are: `.tmpXXXXXX`.
const TEMPORARY: &str = ".tmp";
const TEMPORARY_LENGTH: usize = 10;

/// The reports of a store, directory by directory: files of one request come one after the other. Files may come and go
/// meanwhile. A directory that cannot be read is one error, and the others go on.
#[derive(Debug)]
pub(in super::super) struct Reports {
    root: PathBuf,
    /// The directories above the place where it is, each with its name below the root.
    open: Vec<(String, ReadDir)>,
    /// The root could not be read.
    fault: Option<StoreError>,
}

impl Local {
    /// Every report in the store, of any daemon.
    pub(in super::super) fn reports(&self) -> Reports {
        let mut reports = Reports { root: self.root.clone(), open: Vec::new(), fault: None };
        reports.fault = reports.enter(String::new()).err();
        reports
    }

    /// The length of a file in bytes; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be looked at, is no plain file, or a symbolic link leads to it.
    pub(in super::super) fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.look(key).map_err(|cause| StoreError::new("look at a file", key, cause))
    }

    fn look(&self, key: &ObjectKey) -> io::Result<Option<u64>> {
        let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        match self.directory(above).and_then(|directory| directory.length(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Removes a file, and the directories that are empty without it. Returns its length in bytes; `None`: it was not
    /// there, which is fine.
    ///
    /// # Errors
    /// As [`Local::size`], or it cannot be removed. Directories that stay are no error.
    pub(in super::super) fn remove(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.removed(key).map_err(|cause| StoreError::new("remove a file", key, cause))
    }

    fn removed(&self, key: &ObjectKey) -> io::Result<Option<u64>> {
        let absent = |error: &io::Error| error.kind() == ErrorKind::NotFound;
        let (mut names, mut bytes) = (key.as_str().split('/').peekable(), None);
        // Each directory with the name of the one in it that leads to the file.
        let mut open = Vec::new();
        let mut directory = match Directory::root(&self.root) {
            Err(error) if absent(&error) => return Ok(None),
            root => root?,
        };
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                let length = directory.length(name);
                match length.and_then(|length| directory.remove_file(name).map(|()| length)) {
                    Err(error) if absent(&error) => {}
                    removed => bytes = Some(removed?),
                }
                break;
            }
            match directory.below(name) {
                Ok(below) => open.push((std::mem::replace(&mut directory, below), name)),
                // Gone already, perhaps with a process that was killed here; those above it may be empty.
                Err(error) if absent(&error) => break,
                Err(error) => return Err(error),
            }
        }
        while let Some((above, name)) = open.pop() {
            match above.remove_directory(name) {
                Err(error) if !absent(&error) => break,
                _ => {}
            }
        }
        Ok(bytes)
    }

    /// Removes files that somebody began before that time and never finished; with `dry_run` they are only counted.
    /// A file that is still being written has changed since.
    pub(in super::super) fn remove_abandoned(
        &self,
        before: SystemTime,
        dry_run: bool,
    ) -> Result<Abandoned, StoreError> {
        let incoming = self.root.join(INCOMING);
        abandoned(&self.root, before, dry_run)
            .map_err(|cause| StoreError::new("remove abandoned files", &incoming.display(), cause))
    }
}

fn abandoned(root: &Path, before: SystemTime, dry_run: bool) -> io::Result<Abandoned> {
    let mut found = Abandoned::default();
    let Ok(directory) = Directory::root(root).and_then(|root| root.below(INCOMING)) else { return Ok(found) };
    // Only names come from the list, should it be that of another directory by now.
    for entry in fs::read_dir(root.join(INCOMING))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_temporary = |name: &&str| name.starts_with(TEMPORARY) && name.len() == TEMPORARY_LENGTH;
        let Some(name) = name.to_str().filter(is_temporary) else { continue };
        let outcome = entry.metadata().and_then(|file| {
            let is_old = file.is_file() && file.modified()? < before;
            if is_old && !dry_run {
                directory.remove_file(name)?;
            }
            Ok(is_old.then_some(file.len()))
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                found.files += 1;
                found.bytes += bytes;
            }
            // Finished or swept by somebody else.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

impl Iterator for Reports {
    type Item = Result<StoredReport, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.fault.take() {
            return Some(Err(fault));
        }
        loop {
            let (name, entries) = self.open.last_mut()?;
            let name = name.clone();
            match entries.next() {
                None => {
                    self.open.pop();
                }
                Some(entry) => match entry.and_then(|entry| report(&name, &entry)) {
                    Ok(Found::Report(report)) => return Some(Ok(report)),
                    Ok(Found::Directory(name)) => {
                        if let Err(error) = self.enter(name) {
                            return Some(Err(error));
                        }
                    }
                    Ok(Found::Other) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(cause) => return Some(Err(StoreError::new("list a directory", &name, cause))),
                },
            }
        }
    }
}

impl Reports {
    fn enter(&mut self, name: String) -> Result<(), StoreError> {
        match fs::read_dir(self.root.join(&name)) {
            Ok(entries) => self.open.push((name, entries)),
            // A store without files has no directory yet; others go with their last file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(StoreError::new("list a directory", &name, cause)),
        }
        Ok(())
    }
}

enum Found {
    Report(StoredReport),
    Directory(String),
    Other,
}

/// What an entry of the directory `above` is. Neither its type nor its metadata come through a symbolic link.
fn report(above: &str, entry: &DirEntry) -> io::Result<Found> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else { return Ok(Found::Other) };
    let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
    let kind = entry.file_type()?;
    if kind.is_dir() {
        return Ok(if path == INCOMING { Found::Other } else { Found::Directory(path) });
    }
    if !kind.is_file() || !name.starts_with(REPORT) {
        return Ok(Found::Other);
    }
    let Ok(key) = ObjectKey::parse(&path) else { return Ok(Found::Other) };
    let Some(origin) = key.origin() else { return Ok(Found::Other) };
    let file = entry.metadata()?;
    Ok(Found::Report(StoredReport { key, origin, bytes: file.len(), modified: file.modified()? }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CLAIM: &str = "0123456789abcdef";

    fn place() -> (tempfile::TempDir, Local) {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(directory.path().join("reports"));
        (directory, store)
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    fn write(store: &Local, name: &str) {
        let path = store.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "12345").unwrap();
    }

    fn listed(store: &Local) -> Vec<String> {
        let mut keys: Vec<String> = store.reports().map(|report| report.unwrap().key.to_string()).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_file_goes_with_the_directories_that_it_leaves_empty() {
        let (_directory, store) = place();
        let (a, b) = (format!("p/q/t/1/{CLAIM}/reports-a.csv"), format!("p/q/t/2/{CLAIM}/reports-b.csv"));
        write(&store, &a);
        write(&store, &b);
        assert_eq!(store.size(&key(&a)).unwrap(), Some(5));
        assert_eq!(store.remove(&key(&a)).unwrap(), Some(5));
        assert_eq!(store.remove(&key(&a)).unwrap(), None, "absent is fine");
        assert!(!store.root.join("p/q/t/1").exists() && store.path(&key(&b)).exists());
        // As a process leaves it that is killed after the file: the directories go the next time.
        fs::remove_file(store.path(&key(&b))).unwrap();
        assert_eq!(store.remove(&key(&b)).unwrap(), None);
        assert!(!store.root.join("p").exists() && store.root.exists(), "never the root");
        assert_eq!(store.size(&key(&a)).unwrap(), None);
    }

    #[test]
    fn only_reports_of_ours_are_listed() {
        let (_directory, store) = place();
        assert_eq!(listed(&store), Vec::<String>::new(), "no store yet");
        let ours = [format!("a%2Fb/1/{CLAIM}/reports-.csv"), format!("p/q/t/1/{CLAIM}/reports-x.csv.gz")];
        for name in ours.iter().map(String::as_str).chain([
            ".link-key",
            "reports-2020.csv",
            "p/t/1/c/reports-x.csv",
            "p/t/1/0123456789abcdef/notes.txt",
            ".incoming/t/1/0123456789abcdef/reports-x.csv",
        ]) {
            write(&store, name);
        }
        assert_eq!(listed(&store), ours);
        let report = store.reports().next().unwrap().unwrap();
        assert_eq!((report.bytes, report.origin.request_id.as_str()), (5, "1"));
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_never_followed() {
        use std::os::unix::fs::symlink;
        let (directory, store) = place();
        let outside = format!("t/1/{CLAIM}/reports-x.csv");
        let elsewhere = Local::new(directory.path().join("elsewhere"));
        write(&elsewhere, &outside);
        fs::create_dir_all(&store.root).unwrap();
        symlink(&elsewhere.root, store.root.join("link")).unwrap();
        let through = key(&format!("link/{outside}"));
        assert!(store.path(&through).exists() && listed(&store).is_empty());
        let refused = store.remove(&through).unwrap_err().to_string();
        assert_eq!(refused, "cannot remove a file in the store: a symbolic link is not followed");
        assert!(elsewhere.path(&key(&outside)).exists());
        // Nor one in the place of a file.
        write(&store, &outside);
        fs::remove_file(store.path(&key(&outside))).unwrap();
        symlink(elsewhere.path(&key(&outside)), store.path(&key(&outside))).unwrap();
        assert!(listed(&store).is_empty() && store.remove(&key(&outside)).is_err());
        // A link to the root itself is the operator's.
        symlink(&elsewhere.root, directory.path().join("root")).unwrap();
        let linked = Local::new(directory.path().join("root"));
        assert_eq!(listed(&linked), [outside.as_str()]);
        assert_eq!(linked.remove(&key(&outside)).unwrap(), Some(5));
        assert!(elsewhere.root.exists(), "never the root");
    }

    #[test]
    fn abandoned_files_are_those_that_nobody_writes_to_any_more() {
        let (_directory, store) = place();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let before = long_ago + Duration::from_secs(1);
        assert_eq!(store.remove_abandoned(before, false).unwrap(), Abandoned::default(), "no store yet");
        for name in [".tmpAbCd12", ".tmpFresh0", "notes.txt", ".tmp-somebody-else-s"] {
            write(&store, &format!(".incoming/{name}"));
            let file = fs::File::options().write(true).open(store.root.join(INCOMING).join(name)).unwrap();
            if name != ".tmpFresh0" {
                file.set_modified(long_ago).unwrap();
            }
        }
        for dry_run in [true, false] {
            assert_eq!(store.remove_abandoned(before, dry_run).unwrap(), Abandoned { files: 1, bytes: 5 });
            assert_eq!(store.root.join(".incoming/.tmpAbCd12").exists(), dry_run);
        }
        assert_eq!(fs::read_dir(store.root.join(INCOMING)).unwrap().count(), 3);
        // What a file is begun under is what is looked for.
        let begun = tempfile::NamedTempFile::new_in(&store.root).unwrap();
        let name = begun.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(TEMPORARY) && name.len() == TEMPORARY_LENGTH, "{name}");
    }
}
