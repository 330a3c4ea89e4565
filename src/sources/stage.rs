//! Where an engine puts tables for a group of requests: `{stage}/{installation}/{claim}/{number}/{table}/`, as files.
//!
//! They hold personal data. Who staged them removes them; of a daemon that was killed any other one of the installation does,
//! once its claim is over. Not here: which tables, and reading them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::files::FilesLocation;
use crate::objects::{Bucket, BucketConfig, Headers};

/// Names and sizes of the files of a table.
pub(super) type Files = BTreeMap<String, u64>;

/// A place for staged tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// As this program reaches it.
    location: FilesLocation,
    /// As the engine calls it, a URL.
    engine_url: String,
}

impl Stage {
    /// In this place, which the engine calls `engine_url`.
    #[must_use]
    pub fn new(location: FilesLocation, engine_url: &str) -> Self {
        Self { location, engine_url: engine_url.trim_end_matches('/').to_owned() }
    }

    /// A part of it. `below`: segments with a slash between them, none of them empty, `.` or `..`.
    pub(super) fn within(&self, below: &str) -> Self {
        let location = match &self.location {
            FilesLocation::Directory(directory) => FilesLocation::Directory(directory.join(below)),
            FilesLocation::Objects(place) => FilesLocation::Objects(BucketConfig {
                location: place.location.within(below),
                settings: place.settings.clone(),
            }),
        };
        Self { location, engine_url: format!("{}/{below}", self.engine_url) }
    }

    /// A part that nothing else is in.
    pub(super) fn fresh(&self) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        self.within(&NUMBER.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// As the engine calls it.
    pub(super) fn engine_url(&self) -> &str {
        &self.engine_url
    }

    /// As a source of files is told.
    pub(super) const fn location(&self) -> &FilesLocation {
        &self.location
    }

    /// The files of a table that is staged here. None: the engine wrote no row. Names that begin with `_` or `.` are the
    /// engine's own notes.
    pub(super) fn files(&self, table: &str) -> io::Result<Files> {
        let mut files = Files::new();
        match &self.location {
            FilesLocation::Directory(directory) => {
                let entries = match fs::read_dir(directory.join(table)) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
                    Err(error) => return Err(error),
                };
                for entry in entries {
                    let entry = entry?;
                    files.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
                }
            }
            FilesLocation::Objects(place) => {
                for object in Bucket::open(place).and_then(|bucket| bucket.list(table)).map_err(io::Error::other)? {
                    let object = object.map_err(io::Error::other)?;
                    let name = object.key.rsplit('/').next().unwrap_or_default();
                    if !name.is_empty() {
                        files.insert(name.to_owned(), object.bytes);
                    }
                }
            }
        }
        files.retain(|name, _| !name.starts_with(['_', '.']));
        Ok(files)
    }

    /// Writes a file and removes it. A directory that is not there yet is not made: the one above it must be writable.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.location {
            FilesLocation::Directory(directory) => {
                let above = directory.ancestors().find(|above| above.exists()).unwrap_or_else(|| Path::new("."));
                tempfile::tempfile_in(above).map(drop)
            }
            FilesLocation::Objects(place) => {
                let bucket = Bucket::open(place).map_err(io::Error::other)?;
                let name = format!("check/{}", uuid::Uuid::new_v4().simple());
                let content_disposition = "attachment".to_owned();
                let headers = Headers { content_type: "application/octet-stream", content_disposition, crc32: None };
                bucket.put(&name, Vec::new(), headers).map_err(io::Error::other)?;
                bucket.remove(&name).map_err(io::Error::other)
            }
        }
    }

    /// Removes everything in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        match &self.location {
            FilesLocation::Directory(directory) => match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            FilesLocation::Objects(place) => {
                let bucket = Bucket::open(place).map_err(io::Error::other)?;
                for object in bucket.list("").map_err(io::Error::other)? {
                    bucket.remove(&object.map_err(io::Error::other)?.key).map_err(io::Error::other)?;
                }
                Ok(())
            }
        }
    }

    /// Removes the directory if nothing is in it. Object stores have none.
    pub(super) fn remove_if_empty(&self) {
        if let FilesLocation::Directory(directory) = &self.location {
            // Otherwise something is in it.
            let _ = fs::remove_dir(directory);
        }
    }

    /// The part of a claim of an installation.
    pub(super) fn of_claim(&self, installation: &str, token: &str) -> Self {
        self.within(&format!("{}/{}", segment(installation), claim_name(token)))
    }

    /// The names of the claims of an installation for which something is staged.
    ///
    /// # Errors
    /// The place cannot be looked at.
    pub fn claims(&self, installation: &str) -> io::Result<Vec<String>> {
        let own = self.within(&segment(installation));
        let names: Vec<String> = match &own.location {
            FilesLocation::Directory(directory) => names_in(directory)?,
            FilesLocation::Objects(place) => {
                let bucket = Bucket::open(place).map_err(io::Error::other)?;
                bucket.names("").map_err(io::Error::other)?.into_keys().collect()
            }
        };
        Ok(names.into_iter().filter(|name| is_claim_name(name)).collect())
    }

    /// Removes what is staged for a claim, given by its name.
    ///
    /// # Errors
    /// Something cannot be removed, or it is no name of a claim.
    pub fn remove_claim(&self, installation: &str, name: &str) -> io::Result<()> {
        if !is_claim_name(name) {
            return Err(io::Error::other("no claim has this name"));
        }
        self.within(&format!("{}/{name}", segment(installation))).remove()
    }
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The name under which a claim has its part: its token has characters that engines do not take in paths.
#[must_use]
pub fn claim_name(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    format!("{:032x}", u128::from_be_bytes(first))
}

fn is_claim_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// An installation's id as one segment of a path, whatever an operator has written into its row.
fn segment(installation: &str) -> String {
    let is_plain = !installation.is_empty() && installation.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain { installation.to_owned() } else { claim_name(installation) }
}

/// An absolute path as the URL that engines take.
pub(super) fn file_url(directory: &Path) -> io::Result<String> {
    let absolute: PathBuf = std::path::absolute(directory)?;
    Ok(format!("file://{}", absolute.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_told_apart_and_nothing_else_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage::new(FilesLocation::Directory(directory.path().to_owned()), "file:///s/");
        let one = stage.of_claim("abc", "host:1:x");
        assert_eq!(one.engine_url(), format!("file:///s/abc/{}", claim_name("host:1:x")));
        let write = |stage: &Stage, name: &str| {
            let FilesLocation::Directory(directory) = stage.location() else { panic!() };
            fs::create_dir_all(directory.join("user")).unwrap();
            fs::write(directory.join("user").join(name), "rows").unwrap();
        };
        write(&one, "part-0.parquet");
        write(&one, "_SUCCESS");
        write(&stage.of_claim("abc", "host:1:y"), "part-0.parquet");
        write(&stage.of_claim("other", "host:1:x"), "part-0.parquet");
        fs::create_dir_all(directory.path().join("abc/precious")).unwrap();
        assert_eq!(one.files("user").unwrap(), Files::from([("part-0.parquet".to_owned(), 4)]));
        assert_eq!(one.files("content").unwrap(), Files::new());
        let mut claims = stage.claims("abc").unwrap();
        claims.sort();
        let mut expected = [claim_name("host:1:x"), claim_name("host:1:y")];
        expected.sort();
        assert_eq!(claims, expected);
        stage.remove_claim("abc", &claim_name("host:1:x")).unwrap();
        assert_eq!(stage.claims("abc").unwrap(), [claim_name("host:1:y")]);
        assert_eq!(stage.claims("other").unwrap(), [claim_name("host:1:x")]);
        assert!(stage.remove_claim("abc", "precious").is_err() && stage.remove_claim("abc", "..").is_err());
        assert!(directory.path().join("abc/precious").exists());
        assert_eq!(stage.claims("nowhere").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_odd_installation_stays_one_segment() {
        assert_eq!(segment("abc123"), "abc123");
        for odd in ["", "..", "a/b", "ä"] {
            assert!(is_claim_name(&segment(odd)), "{odd}");
        }
    }
}
