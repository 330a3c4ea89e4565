//! The file formats, one seam for all: a finished table is written to any `Write`.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::csv::{self, CsvOptions};
use crate::reports::table::Finished;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Comma-separated values.
    Csv,
}

impl Format {
    /// Every format, in the order in which messages name them.
    pub const ALL: [Self; 1] = [Self::Csv];

    /// As `output_format` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
        }
    }

    /// Reads `output_format`; letter case aside.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text))
    }

    /// All names, for messages: `csv, json`.
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
        }
    }
}

/// The `Content-Type` of a stored file, by how its name ends.
#[must_use]
pub fn content_type(file_name: &str) -> &'static str {
    match file_name.rsplit('.').next() {
        Some("csv") => "text/csv; charset=utf-8",
        Some("gz") => "application/gzip",
        _ => "application/octet-stream",
    }
}

/// Writes a table in this shape and returns how many rows it wrote.
pub fn write_table(table: &Finished<'_>, shape: Shape, csv: CsvOptions, out: &mut dyn Write) -> io::Result<u64> {
    match shape.compress {
        Compress::None => write_plain(table, shape.format, csv, out),
        Compress::Gzip => {
            let mut gzip = GzEncoder::new(out, flate2::Compression::default());
            let rows = write_plain(table, shape.format, csv, &mut gzip)?;
            gzip.finish()?;
            Ok(rows)
        }
    }
}

fn write_plain(table: &Finished<'_>, format: Format, csv: CsvOptions, out: &mut dyn Write) -> io::Result<u64> {
    match format {
        Format::Csv => csv::write(table, &csv, out),
    }
}
