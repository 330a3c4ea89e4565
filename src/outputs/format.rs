//! The file formats, one seam for all: a finished table is written to any `Write`.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::csv::{self, CsvOptions};
use super::{jsonl, parquet, xlsx};
use crate::tables::finished::Finished;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// JSON, one object a line.
    Json,
    /// Apache Parquet.
    Parquet,
    /// A spreadsheet of Office Open XML.
    Xlsx,
}

impl Format {
    /// Every format, in the order in which messages name them.
    pub const ALL: [Self; 4] = [Self::Csv, Self::Json, Self::Parquet, Self::Xlsx];

    /// As `output_format` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
        }
    }

    /// Another word for it that `output_format` may have.
    #[must_use]
    pub const fn alias(self) -> Option<&'static str> {
        match self {
            Self::Json => Some("jsonl"),
            Self::Csv | Self::Parquet | Self::Xlsx => None,
        }
    }

    /// Reads `output_format`, name or alias; letter case aside.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| name.eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(|format| named(format.name()) || format.alias().is_some_and(named))
    }

    /// All names, for messages: `csv, json, …`.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
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

/// Everything besides job and batch that decides a file's bytes: two requests that want the same batch in the same
/// shape share one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// The format.
    pub format: Format,
    /// Its compression.
    pub compress: Compress,
}

impl Shape {
    /// What the file's name ends with, without the leading dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match (self.format, self.compress) {
            (Format::Csv, Compress::None) => "csv",
            (Format::Csv, Compress::Gzip) => "csv.gz",
            (Format::Json, Compress::None) => "jsonl",
            (Format::Json, Compress::Gzip) => "jsonl.gz",
            // These are compressed inside.
            (Format::Parquet, _) => "parquet",
            (Format::Xlsx, _) => "xlsx",
        }
    }
}

/// The MIME type of a file by the end of its name.
#[must_use]
pub fn content_type(file_name: &str) -> &'static str {
    match file_name.rsplit('.').next() {
        Some("csv") => "text/csv; charset=utf-8",
        Some("jsonl") => "application/x-ndjson",
        Some("parquet") => "application/vnd.apache.parquet",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("gz") => "application/gzip",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

/// A table that comes piece by piece: the same columns each time, and the rows that follow.
pub trait TablePieces {
    /// How many rows it has at most; `usize::MAX` where that is not known.
    fn most_rows(&self) -> usize;

    /// Hands over piece after piece; one at least, be it without rows.
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
    /// The table did not come to its end. Whoever makes it knows why.
    #[error("the table was not made")]
    NotMade,
    /// Where it is written to did not take it.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// The format cannot hold this table; that does not pass.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
}

/// What of a table is more than its format holds. Which batch it is stands after it: an id may be long, and a message for
/// clients is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// Too many rows; so many are possible.
    #[error("more rows than an xlsx sheet holds ({0}), ask for csv or parquet")]
    Rows(usize),
    /// Too many columns; so many are possible.
    #[error("more columns than an xlsx sheet holds ({0}), ask for csv or parquet")]
    Columns(usize),
    /// Too long a text; so many UTF-16 units are possible.
    #[error("a text is longer than an xlsx cell holds ({0}), ask for csv or parquet")]
    Text(usize),
}

/// Writes a table in this shape and returns how many rows it wrote.
pub fn write_table(
    table: &mut dyn TablePieces,
    shape: Shape,
    csv: CsvOptions,
    out: &mut dyn Write,
) -> Result<u64, WriteError> {
    match (shape.format, shape.compress) {
        (Format::Csv | Format::Json, Compress::Gzip) => {
            let mut gzip = GzEncoder::new(out, flate2::Compression::default());
            let rows = write_plain(table, shape.format, csv, &mut gzip)?;
            gzip.finish()?;
            Ok(rows)
        }
        (format, _) => write_plain(table, format, csv, out),
    }
}

fn write_plain(
    table: &mut dyn TablePieces,
    format: Format,
    csv: CsvOptions,
    out: &mut dyn Write,
) -> Result<u64, WriteError> {
    match format {
        Format::Csv => csv::write(table, &csv, out),
        Format::Json => jsonl::write(table, out),
        Format::Parquet => parquet::write(table, out),
        Format::Xlsx => xlsx::write(table, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases() {
        for (text, format) in [
            ("csv", Some(Format::Csv)),
            ("JSON", Some(Format::Json)),
            ("jsonl", Some(Format::Json)),
            ("Parquet", Some(Format::Parquet)),
            ("XLSX", Some(Format::Xlsx)),
            ("xls", None),
            ("", None),
        ] {
            assert_eq!(Format::parse(text), format, "{text}");
        }
        assert_eq!(Format::names(), "csv, json, parquet, xlsx");
    }

    #[test]
    fn each_file_has_its_type() {
        for (format, plain, gzip) in [
            (Format::Csv, "text/csv; charset=utf-8", "application/gzip"),
            (Format::Json, "application/x-ndjson", "application/gzip"),
            (Format::Parquet, "application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ] {
            for (compress, expected) in [(Compress::None, plain), (Compress::Gzip, gzip)] {
                let name = format!("a.b.{}", Shape { format, compress }.extension());
                assert_eq!(content_type(&name), expected, "{name}");
            }
        }
        assert_eq!(content_type("a.zip"), "application/zip");
        assert_eq!(content_type("csv_"), "application/octet-stream");
    }
}
