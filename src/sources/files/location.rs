//! Where files are: in a directory, or in a bucket.
//!
//! Not here: how bytes of a bucket come ahead of their reader (`read_ahead`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::names::is_data;
use super::read_ahead::{Cursor, Window};
use super::stored_file::StoredFile;
use crate::objects::{Bucket, Named};

/// A directory, or what is below a key as if it were one.
#[derive(Clone, Debug)]
pub(super) enum Directory {
    Local(PathBuf),
    /// The key is below the bucket's place; empty: that place itself.
    Stored(Bucket, String),
}

/// What a directory has under a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Directory(Directory),
    File(FileLocation),
}

/// What is in a directory, by name, sorted.
pub(super) type Entries = Vec<(String, Entry)>;

/// A file.
#[derive(Clone, Debug)]
pub(super) enum FileLocation {
    Local(PathBuf),
    Stored(Arc<StoredFile>),
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Stored(bucket, key) if key.is_empty() => bucket.location().fmt(f),
            Self::Stored(bucket, key) => write!(f, "{}/{key}", bucket.location()),
        }
    }
}

impl fmt::Display for FileLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Stored(file) => file.fmt(f),
        }
    }
}

impl Directory {
    /// Everything in it by name, sorted, also what is no data.
    pub(super) fn everything(&self) -> io::Result<Entries> {
        match self {
            Self::Local(path) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(path)? {
                    names.push(entry?.file_name().to_string_lossy().into_owned());
                }
                names.sort_unstable();
                Ok(names.into_iter().map(|name| (name.clone(), local(path.join(name)))).collect())
            }
            Self::Stored(bucket, key) => Ok(named(bucket, key, bucket.names(key).map_err(io::Error::other)?)),
        }
    }

    /// The entries of several directories, in their order; those of a bucket are listed side by side.
    ///
    /// # Errors
    /// With the place of the directory among these that could not be listed.
    pub(super) fn entries_of(directories: &[Self]) -> Result<Vec<Entries>, (usize, io::Error)> {
        let keys = directories.iter().map(|one| match one {
            Self::Stored(bucket, key) => Some((bucket, key.as_str())),
            Self::Local(_) => None,
        });
        let Some(keys) = keys.collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty()) else {
            let entries = |(at, one): (usize, &Self)| one.everything().map_err(|error| (at, error));
            return directories.iter().enumerate().map(entries).collect();
        };
        let bucket = keys[0].0;
        let keys: Vec<&str> = keys.into_iter().map(|(_, key)| key).collect();
        let names = bucket.names_of(&keys).map_err(|(at, error)| (at, io::Error::other(error)))?;
        Ok(keys.iter().zip(names).map(|(key, names)| named(bucket, key, names)).collect())
    }

    /// What is in it that may be data; nothing where it is not there.
    pub(super) fn data(&self) -> io::Result<Entries> {
        let mut entries = match self.everything() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        entries.retain(|(name, _)| is_data(name));
        Ok(entries)
    }

    /// A file below it, of this length; whether it exists is not checked.
    pub(super) fn file(&self, path: &str, bytes: u64) -> FileLocation {
        match self {
            Self::Local(directory) => FileLocation::Local(directory.join(path)),
            Self::Stored(bucket, key) => {
                let key = if key.is_empty() { path.to_owned() } else { format!("{key}/{path}") };
                FileLocation::Stored(Arc::new(StoredFile::new(bucket.clone(), key, bytes, None)))
            }
        }
    }
}

fn local(path: PathBuf) -> Entry {
    if path.is_dir() { Entry::Directory(Directory::Local(path)) } else { Entry::File(FileLocation::Local(path)) }
}

fn named(bucket: &Bucket, above: &str, names: BTreeMap<String, Named>) -> Entries {
    names.into_iter().map(|(name, found)| (name.clone(), stored(bucket, above, &name, found))).collect()
}

fn stored(bucket: &Bucket, above: &str, name: &str, found: Named) -> Entry {
    let (bucket, key) = (bucket.clone(), if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") });
    match found {
        Named::Prefix => Entry::Directory(Directory::Stored(bucket, key)),
        Named::Object { bytes, etag } => {
            Entry::File(FileLocation::Stored(Arc::new(StoredFile::new(bucket, key, bytes, etag))))
        }
    }
}

impl FileLocation {
    /// How long it is.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Local(path) => Ok(fs::metadata(path)?.len()),
            Self::Stored(file) => Ok(file.bytes),
        }
    }

    /// All of it, from the start.
    pub(super) fn stream(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Local(path) => Box::new(File::open(path)?),
            Self::Stored(file) => Box::new(Cursor::new(Window::whole(Arc::clone(file)), 0)),
        })
    }

    /// Why it could not be read, if that is for its store to say.
    pub(super) fn failure(&self) -> Option<io::Error> {
        match self {
            Self::Local(_) => None,
            Self::Stored(file) => file.failure(),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.fmt(f),
            Self::File(location) => location.fmt(f),
        }
    }
}
