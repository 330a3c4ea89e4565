//! A file on its way into the store: being written, finished, and what it holds then.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};

use crc32fast::Hasher;
use tempfile::NamedTempFile;

use super::super::super::key::ObjectKey;
use super::{Content, StoreError};

const BUFFER: usize = 256 * 1024;

impl Content {
    /// That of this file, from where it stands on.
    pub(super) fn of(mut file: File) -> io::Result<Self> {
        let mut buffer = vec![0; BUFFER];
        let (mut bytes, mut crc32) = (0, Hasher::new());
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Self { bytes, crc32: crc32.finalize() }),
                Ok(read) => {
                    crc32.update(&buffer[..read]);
                    bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A file being written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(in super::super) struct NewFile {
    key: ObjectKey,
    out: BufWriter<NamedTempFile>,
    bytes: u64,
    crc32: Hasher,
}

/// A file that is written. Dropped, it leaves nothing behind but the names that it was given.
#[derive(Debug)]
pub(in super::super) struct FinishedFile {
    /// `None`: it was put in its last place.
    pub(super) temporary: Option<NamedTempFile>,
    content: Content,
}

impl FinishedFile {
    /// What it holds.
    pub(in super::super) const fn content(&self) -> Content {
        self.content
    }

    /// Whether it cannot be put anywhere any more.
    pub(in super::super) const fn is_spent(&self) -> bool {
        self.temporary.is_none()
    }
}

impl NewFile {
    pub(super) fn new(key: ObjectKey, temporary: NamedTempFile) -> Self {
        Self { key, out: BufWriter::with_capacity(BUFFER, temporary), bytes: 0, crc32: Hasher::new() }
    }

    /// Everything is written; [`Local::publish`](super::Local::publish) gives it its name.
    pub(in super::super) fn finish(self) -> Result<FinishedFile, StoreError> {
        let Self { key, out, bytes, crc32 } = self;
        let content = Content { bytes, crc32: crc32.finalize() };
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .map(|temporary| FinishedFile { temporary: Some(temporary), content })
            .map_err(|cause| StoreError::new("store a file", &key, cause).whatever_the_key())
    }

    /// What writing to the file failed with, as the store's error.
    pub(in super::super) fn failed(&self, cause: io::Error) -> StoreError {
        StoreError::new("write a file", &self.key, cause).whatever_the_key()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        self.crc32.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
