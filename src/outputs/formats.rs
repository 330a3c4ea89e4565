//! The list of file formats, and writing a table in any of them.
//!
//! A new format is one file in `formats/` and its lines here.

mod csv;
mod jsonl;
mod parquet;
mod xlsx;

#[cfg(test)]
mod test_table;

use std::io::Write;

use flate2::write::GzEncoder;

use super::format::{CsvOptions, FileEncoding, Format, TablePieces, WriteError};

impl Format {
    /// Every format, in the order in which messages name them.
    pub const ALL: [&'static Self; 4] = [&csv::FORMAT, &jsonl::FORMAT, &parquet::FORMAT, &xlsx::FORMAT];

    /// The format of requests that name none: CSV.
    pub const DEFAULT: &'static Self = &csv::FORMAT;

    /// Reads `output_format`, name or alias; letter case aside.
    #[must_use]
    pub fn parse(text: &str) -> Option<&'static Self> {
        let named = |name: &str| name.eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(|format| named(format.name) || format.alias.is_some_and(named))
    }

    /// Its name, and the other one that requests may give it.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.alias)
    }

    /// All names, for messages: `csv, json, …`.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// The MIME type of a file by the end of its name.
#[must_use]
pub fn content_type(file_name: &str) -> &'static str {
    let extension = file_name.rsplit('.').next().unwrap_or_default();
    match extension {
        "gz" => "application/gzip",
        "zip" => "application/zip",
        _ => Format::ALL
            .into_iter()
            .find(|format| format.extension == extension)
            .map_or("application/octet-stream", |format| format.media_type),
    }
}

/// Writes a table in this encoding and returns how many rows it wrote.
///
/// # Errors
/// Those of `table` and of `out`, and what the format cannot hold.
pub fn write_table(
    table: &mut dyn TablePieces,
    encoding: FileEncoding,
    csv: CsvOptions,
    out: &mut dyn Write,
) -> Result<u64, WriteError> {
    let write = encoding.format.write;
    if !encoding.is_gzip() {
        return write(table, csv, out);
    }
    let mut gzip = GzEncoder::new(out, flate2::Compression::default());
    let rows = write(table, csv, &mut gzip)?;
    gzip.finish()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher as _};

    use super::super::format::Compress;
    use super::*;

    #[test]
    fn names_and_aliases() {
        for (text, format) in [
            ("csv", Some(&csv::FORMAT)),
            ("JSON", Some(&jsonl::FORMAT)),
            ("jsonl", Some(&jsonl::FORMAT)),
            ("Parquet", Some(&parquet::FORMAT)),
            ("XLSX", Some(&xlsx::FORMAT)),
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
            (&csv::FORMAT, "text/csv; charset=utf-8", "application/gzip"),
            (&jsonl::FORMAT, "application/x-ndjson", "application/gzip"),
            (&parquet::FORMAT, "application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ] {
            for (compress, expected) in [(Compress::None, plain), (Compress::Gzip, gzip)] {
                let name = format!("a.b.{}", FileEncoding { format, compress }.extension());
                assert_eq!(content_type(&name), expected, "{name}");
            }
        }
        assert_eq!(content_type("a.zip"), "application/zip");
        assert_eq!(content_type("csv_"), "application/octet-stream");
    }

    #[test]
    fn numbers_names_and_extensions_are_not_used_twice() {
        for (at, one) in Format::ALL.into_iter().enumerate() {
            for other in &Format::ALL[..at] {
                assert!(one.number != other.number && one.extension != other.extension, "{one:?}, {other:?}");
            }
            let is_named = |name: &str| Format::parse(name) == Some(one);
            assert!(is_named(one.name) && one.alias.is_none_or(is_named), "{one:?}");
        }
    }

    /// Rows that the release before has written name files by fingerprints, in which formats were the numbers of an enum.
    #[test]
    fn fingerprints_of_formats_stay_what_they_were() {
        #[derive(Hash)]
        enum Former {
            Csv,
            Json,
            Parquet,
            Xlsx,
        }
        fn hash(value: impl Hash) -> u64 {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        }
        for (format, former) in [
            (&csv::FORMAT, Former::Csv),
            (&jsonl::FORMAT, Former::Json),
            (&parquet::FORMAT, Former::Parquet),
            (&xlsx::FORMAT, Former::Xlsx),
        ] {
            for compress in [Compress::None, Compress::Gzip] {
                assert_eq!(hash(FileEncoding { format, compress }), hash((&former, compress)), "{format:?}");
            }
        }
    }
}
