//! A table under a password: a zip archive with one entry, written as a stream. What is plain is only ever in memory, a
//! buffer of it at a time; what reaches `out`, and so a disk or a network, is encrypted already.
//!
//! AES is WinZip's AE-2 with 256 bits (<https://www.winzip.com/en/support/aes-encryption/>): no checksum of the plain
//! bytes is told, HMAC-SHA1 vouches for them. `ZipCrypto` is for programs that cannot read that, and is easily broken.
//!
//! Not here: who must have a password and what makes a good one (`intake`).

use std::fmt;
use std::io::{self, Write};

use zip::unstable::write::FileOptionsExt as _;
use zip::write::SimpleFileOptions;
use zip::{AesMode, CompressionMethod, ZipWriter};

use super::format::{CsvOptions, FileEncoding, TablePieces, WriteError};
use super::formats::write_table;

/// What the name of a protected file ends with, whatever is inside.
pub const EXTENSION: &str = "zip";

/// Up to this number of rows a table is expected to be under 4 GiB, and its archive does without ZIP64, which old readers do not
/// know. A larger one is an error then, never a cut.
const SMALL: usize = 10_000;

/// What opens a protected file; its UTF-8 bytes are what counts. Never shown: `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the few places that need it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How protected files are zipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zip {
    /// AES-256.
    Aes,
    /// `ZipCrypto`.
    Legacy,
}

/// How a request's files are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// What opens them.
    pub password: Password,
    /// How they are zipped.
    pub zip: Zip,
}

/// Writes a table in this encoding as the one entry of a protected archive, and returns how many rows it wrote.
///
/// # Errors
/// Those of `out`, and no random numbers. What was written until then is no archive, and holds nothing plain.
pub fn write_protected(
    table: &mut dyn TablePieces,
    encoding: FileEncoding,
    csv: CsvOptions,
    entry: &str,
    protection: &Protection,
    out: &mut dyn Write,
) -> Result<u64, WriteError> {
    let inside = Inside { entry, packing: packing(encoding), is_large: table.most_rows() > SMALL };
    archive(inside, protection, out, |content| write_table(table, encoding, csv, content))
}

/// Text is compressed; what its format has compressed already is not compressed again.
const fn packing(encoding: FileEncoding) -> CompressionMethod {
    match encoding.format.gzip_extension {
        Some(_) => CompressionMethod::Deflated,
        None => CompressionMethod::Stored,
    }
}

/// The one entry.
#[derive(Clone, Copy)]
struct Inside<'a> {
    entry: &'a str,
    packing: CompressionMethod,
    is_large: bool,
}

/// An error of `content` itself is returned unchanged.
fn archive<T, E: From<io::Error>>(
    inside: Inside<'_>,
    protection: &Protection,
    out: &mut dyn Write,
    content: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let Inside { entry, packing, is_large } = inside;
    let options = SimpleFileOptions::default().compression_method(packing).large_file(is_large);
    let password = protection.password.reveal();
    let options = match protection.zip {
        Zip::Aes => options.with_aes_encryption(AesMode::Aes256, password),
        Zip::Legacy => options.with_deprecated_encryption(password.as_bytes()).map_err(io::Error::from)?,
    };
    let mut outlet = Outlet { out, failure: None };
    let written = (|| {
        let mut archive = ZipWriter::new_stream(&mut outlet);
        archive.start_file(entry, options).map_err(io::Error::from)?;
        let written = content(&mut archive)?;
        archive.finish().map_err(io::Error::from)?;
        Ok(written)
    })();
    outlet.failure.map_or(written, |failure| Err(failure.into()))
}

/// Keeps the first failure, and reports later writes as done: an archive that is dropped tries to write its end, and would
/// print on stderr that it could not.
struct Outlet<'a> {
    out: &'a mut dyn Write,
    failure: Option<io::Error>,
}

impl Outlet<'_> {
    fn kept<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            let told = io::Error::from(error.kind());
            self.failure = Some(error);
            told
        })
    }
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(bytes.len());
        }
        match self.out.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            written => self.kept(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.kept(flushed)
    }
}

#[cfg(test)]
mod tests;
