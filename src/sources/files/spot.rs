//! Where files are: in a directory, or in a bucket.
//!
//! Not here: how bytes of a bucket come ahead of their reader (`ahead`).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::objects::{Bucket, Cause, Fetch, Named, ObjectError};

use super::ahead::{Cursor, Window};

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
    File(Spot),
}

/// A file.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    Local(PathBuf),
    Stored(Arc<Stored>),
}

/// A file in a bucket: one version of it, from the first byte that is read to the last.
#[derive(Debug)]
pub(super) struct Stored {
    bucket: Bucket,
    key: String,
    pub(super) bytes: u64,
    /// Known from its directory, or from the first answer.
    etag: OnceLock<String>,
    /// The first failure: decoders keep no more of it than a text.
    failure: OnceLock<ObjectError>,
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

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Stored(file) => write!(f, "{}/{}", file.bucket.location(), file.key),
        }
    }
}

impl Directory {
    /// Everything in it by name, sorted, without what is nobody's data (`_SUCCESS`, `.part.crc`).
    pub(super) fn entries(&self) -> io::Result<Vec<(String, Entry)>> {
        match self {
            Self::Local(path) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(path)? {
                    let name = entry?.file_name().to_string_lossy().into_owned();
                    if is_data(&name) {
                        names.push(name);
                    }
                }
                names.sort_unstable();
                Ok(names.into_iter().map(|name| (name.clone(), local(path.join(name)))).collect())
            }
            Self::Stored(bucket, key) => {
                let names = bucket.names(key).map_err(io::Error::other)?;
                let names = names.into_iter().filter(|(name, _)| is_data(name));
                Ok(names.map(|(name, found)| (name.clone(), stored(bucket, key, &name, found))).collect())
            }
        }
    }

    /// Those of these names that are there: `user/` is a directory, everything else a file.
    pub(super) fn those(&self, names: impl Iterator<Item = String>) -> io::Result<Vec<(String, Entry)>> {
        let found = match self {
            Self::Local(_) => Vec::new(),
            Self::Stored(..) => self.entries()?,
        };
        let mut those = Vec::new();
        for name in names {
            let (bare, wants_directory) = name.strip_suffix('/').map_or((&*name, false), |bare| (bare, true));
            let entry = match self {
                Self::Local(path) => match fs::metadata(path.join(bare)) {
                    Ok(found) if wants_directory && !found.is_dir() => None,
                    Ok(_) => Some(local(path.join(bare))),
                    Err(_) if wants_directory => None,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                },
                Self::Stored(..) => {
                    let entry = found.iter().find(|(name, _)| name == bare).map(|(_, entry)| entry.clone());
                    entry.filter(|entry| matches!(entry, Entry::Directory(_)) == wants_directory)
                }
            };
            those.extend(entry.map(|entry| (name, entry)));
        }
        Ok(those)
    }
}

fn is_data(name: &str) -> bool {
    !name.starts_with(['_', '.'])
}

fn local(path: PathBuf) -> Entry {
    if path.is_dir() { Entry::Directory(Directory::Local(path)) } else { Entry::File(Spot::Local(path)) }
}

fn stored(bucket: &Bucket, above: &str, name: &str, found: Named) -> Entry {
    let (bucket, key) = (bucket.clone(), if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") });
    match found {
        Named::Prefix => Entry::Directory(Directory::Stored(bucket, key)),
        Named::Object { bytes, etag } => {
            let etag = etag.map_or_else(OnceLock::new, OnceLock::from);
            Entry::File(Spot::Stored(Arc::new(Stored { bucket, key, bytes, etag, failure: OnceLock::new() })))
        }
    }
}

impl Spot {
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
            Self::Stored(file) => file.failure.get().cloned().map(io::Error::other),
        }
    }
}

impl Stored {
    /// Begins to fetch some of it.
    pub(super) fn fetch(&self, range: Range<u64>) -> io::Result<Fetch> {
        self.bucket.fetch(&self.key, range, self.etag.get().cloned()).map_err(|error| self.failed(error))
    }

    /// Waits for what is being fetched.
    pub(super) fn wait(&self, fetch: Fetch) -> io::Result<bytes::Bytes> {
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
}
