//! What a file's name says: whether it is data, its format, and how it is packed.

use std::fmt;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    /// Separated by commas.
    Csv,
    /// Separated by tabs.
    Tsv,
    /// One object a line.
    Jsonl,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Jsonl => "JSON",
        })
    }
}

/// What is around a file of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packed {
    No,
    Gzip,
    Zstd,
}

/// The ends of names, in any case, and the format each means.
const FORMATS: [(&str, Format); 6] = [
    (".parquet", Format::Parquet),
    (".csv", Format::Csv),
    (".tsv", Format::Tsv),
    (".jsonl", Format::Jsonl),
    (".ndjson", Format::Jsonl),
    (".json", Format::Jsonl),
];

/// What may follow, but for Parquet, which packs by itself.
const PACKED: [(&str, Packed); 2] = [(".gz", Packed::Gzip), (".zst", Packed::Zstd)];

/// What is said of a name that means no format.
pub(super) const NO_FORMAT: &str = "is no .parquet, .csv, .tsv, .jsonl, .ndjson or .json file";

/// What a file is, by the end of its name.
pub(super) fn format(name: &str) -> Option<(Format, Packed)> {
    let name = name.to_ascii_lowercase();
    let packed = PACKED.into_iter().find_map(|(end, packed)| Some((name.strip_suffix(end)?, packed)));
    let (name, packed) = packed.unwrap_or((&name, Packed::No));
    let (_, format) = FORMATS.into_iter().find(|(end, _)| name.ends_with(end))?;
    (packed == Packed::No || format != Format::Parquet).then_some((format, packed))
}

/// Whether a file of this name is the whole of a table that is called so: `user.csv`, `user.JSONL.gz`.
pub(super) fn is_whole(table: &str, name: &str) -> bool {
    let end = name.strip_prefix(table).filter(|end| end.starts_with('.') && format(end).is_some());
    // One dot for the format and one for what is around it: no `user.old.csv`.
    end.is_some_and(|end| {
        let packed = PACKED.iter().any(|(packed, _)| end.to_ascii_lowercase().ends_with(packed));
        end.matches('.').count() == 1 + usize::from(packed)
    })
}

/// Whether a name may be data. Not what programs note for themselves (`_SUCCESS`, `.part.crc`, `_delta_log`), as Spark has
/// it (`_name=value` is a partition); nor folders as Hadoop marks them in buckets.
pub(super) fn is_data(name: &str) -> bool {
    !(name.starts_with('.') || (name.starts_with('_') && !name.contains('=')) || name.ends_with("_$folder$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_names() {
        for (name, expected) in [
            ("user.parquet", Some((Format::Parquet, Packed::No))),
            ("part-00000-x-c000.snappy.parquet", Some((Format::Parquet, Packed::No))),
            ("user.CSV", Some((Format::Csv, Packed::No))),
            ("user.Csv.GZ", Some((Format::Csv, Packed::Gzip))),
            ("user.tsv.zst", Some((Format::Tsv, Packed::Zstd))),
            ("part-00000-x-c000.json", Some((Format::Jsonl, Packed::No))),
            ("user.json.gz", Some((Format::Jsonl, Packed::Gzip))),
            ("user.ndjson", Some((Format::Jsonl, Packed::No))),
            ("user.parquet.gz", None),
            ("user.csv.bz2", None),
            ("user.xlsx", None),
            ("csv", None),
        ] {
            assert_eq!(format(name), expected, "{name}");
        }
        for (name, whole) in [
            ("user.csv", true),
            ("user.NDJSON.zst", true),
            ("user.old.csv", false),
            ("user.gz", false),
            ("user_enrolments.csv", false),
            ("User.csv", false),
            ("user", false),
        ] {
            assert_eq!(is_whole("user", name), whole, "{name}");
        }
    }

    #[test]
    fn names_that_are_nobodys_data() {
        for (name, data) in [
            ("a.csv", true),
            ("_SUCCESS", false),
            (".a.csv.crc", false),
            ("_batch=1", true),
            ("_delta_log", false),
            ("batchid=1_$folder$", false),
        ] {
            assert_eq!(is_data(name), data, "{name}");
        }
    }
}
