//! What a file format is, and what it is given to write. The formats are in `formats`, one file each.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};

use crate::tables::finished::Finished;

/// A file format.
pub struct Format {
    /// Its number in the fingerprints of stored files, and in the order of files that are made. It never changes, and no
    /// other format ever has the same.
    pub(super) number: isize,
    pub(super) name: &'static str,
    pub(super) alias: Option<&'static str>,
    pub(super) extension: &'static str,
    /// The extension of a file in gzip; `None`: the format compresses by itself, and gzip is not used.
    pub(super) gzip_extension: Option<&'static str>,
    pub(super) media_type: &'static str,
    pub(super) write: WriteTable,
}

/// Writes a table and returns how many rows it wrote, headings aside.
///
/// # Errors
/// Those of the table and of the writer, and what the format cannot hold.
pub(super) type WriteTable = fn(&mut dyn TablePieces, CsvOptions, &mut dyn Write) -> Result<u64, WriteError>;

impl Format {
    /// As `output_format` spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Another word for it that `output_format` may have.
    #[must_use]
    pub const fn alias(&self) -> Option<&'static str> {
        self.alias
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Format {}

impl PartialOrd for Format {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Format {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

impl Hash for Format {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// Compression of text files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compress {
    /// Plain.
    None,
    /// gzip, with no time stamp: the same bytes from the same table.
    Gzip,
}

/// How a table becomes the bytes of a file. With job, batch and CSV options it decides those bytes: two requests that want
/// the same batch of a job in the same encoding share one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileEncoding {
    /// The format.
    pub format: &'static Format,
    /// Its compression.
    pub compress: Compress,
}

impl FileEncoding {
    /// The end of the file's name, without the leading dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.format.gzip_extension.filter(|_| self.compress == Compress::Gzip).unwrap_or(self.format.extension)
    }

    /// Whether the file is in gzip: only where the format does not compress by itself.
    pub(super) fn is_gzip(self) -> bool {
        self.compress == Compress::Gzip && self.format.gzip_extension.is_some()
    }
}

/// What changes the bytes of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CsvOptions {
    /// Put `'` before text that a spreadsheet would run as a formula.
    pub formula_guard: bool,
    /// Lines end with CR LF.
    pub crlf: bool,
    /// The file begins with a byte order mark.
    pub bom: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { formula_guard: true, crlf: false, bom: false }
    }
}

/// A table that comes piece by piece: the same columns each time, and the rows that follow.
pub trait TablePieces {
    /// The most rows that it can have; `usize::MAX` where that is not known.
    fn most_rows(&self) -> usize;

    /// Hands over piece after piece; at least one, which may have no rows.
    ///
    /// # Errors
    /// Those of `take`, and [`WriteError::NotMade`].
    fn each(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), WriteError>;
}

impl TablePieces for &Finished<'_> {
    fn most_rows(&self) -> usize {
        self.rows
    }

    fn each(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), WriteError> {
        take(self)
    }
}

/// Why a table was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The pieces of the table ended early. Their maker knows why.
    #[error("the table was not made")]
    NotMade,
    /// The writer failed.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// The format cannot hold this table. Trying again does not help.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
}

/// What of a table is more than its format holds, as a sentence for clients. The batch is named behind it: an id may be
/// long, and a message for clients is cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DoesNotFit(pub(super) String);
