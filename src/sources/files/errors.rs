//! Errors of files: which table, which file, and what is wrong with it.

use std::any::Any;
use std::fmt::Display;
use std::io;

use super::names::Packed;
use super::part::Part;
use crate::objects::{Cause, ObjectError};
use crate::sources::SourceError;
use crate::sources::rows::short;
use crate::tables::schema::Table;

/// What is said of a Parquet file where nothing better is known.
const NO_PARQUET: &str = "is no sound Parquet file";

/// A file of a table, or the directory that should hold it.
#[derive(Clone, Copy)]
pub(super) struct FileContext<'a> {
    table: Table,
    location: &'a dyn Display,
    label: &'a str,
    packed: Packed,
}

impl<'a> FileContext<'a> {
    pub(super) fn of(table: Table, part: &'a Part) -> Self {
        Self { table, location: &part.location, label: &part.label, packed: part.packed }
    }

    pub(super) fn at(table: Table, location: &'a dyn Display, label: &'a str) -> Self {
        Self { table, location, label, packed: Packed::No }
    }

    /// The file is not as it must be; this does not pass.
    pub(super) fn broken(self, what: &str) -> SourceError {
        self.error(what, what, false)
    }

    /// A line of text is longer than a line may be; this does not pass.
    pub(super) fn too_long(self, line: u64, most: usize) -> SourceError {
        self.broken(&format!("line {line}: more than {} (is a quote not closed?)", size(most)))
    }

    /// Reading failed. A file that is not there, may not be read or breaks off stays so; everything else may pass.
    pub(super) fn io(self, error: &io::Error) -> SourceError {
        use io::ErrorKind::{
            InvalidData, InvalidInput, IsADirectory, NotFound, Other, PermissionDenied, UnexpectedEof,
        };
        if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<ObjectError>()) {
            let what = of_store(&error.cause);
            return self.error(what, &format!("{what}: {error}"), error.may_pass());
        }
        let (what, may_pass) = match (error.kind(), self.packed) {
            (NotFound, _) => ("is not there", false),
            (PermissionDenied, _) => ("may not be read", false),
            (UnexpectedEof, Packed::Gzip) => ("breaks off (truncated gzip)", false),
            (UnexpectedEof, Packed::Zstd) => ("breaks off (truncated zstd)", false),
            (InvalidData | InvalidInput, Packed::Gzip) => ("is no sound gzip file", false),
            // The crate knows no other kind for what is wrong with a frame.
            (InvalidData | InvalidInput | Other, Packed::Zstd) => ("is no sound zstd file", false),
            (UnexpectedEof, _) => ("breaks off", false),
            (InvalidData | InvalidInput | IsADirectory, _) => ("is broken", false),
            _ => ("cannot be read", true),
        };
        self.error(what, &format!("{what}: {error}"), may_pass)
    }

    /// The same, with more detail for the operator.
    pub(super) fn told(self, what: &str, detail: &str) -> SourceError {
        self.error(what, detail, false)
    }

    fn error(self, what: &str, chain: &str, may_pass: bool) -> SourceError {
        let Self { table, location, label, .. } = self;
        SourceError {
            table,
            message: format!("table {table}: {} {what}", short(label)),
            detail: format!("table {table}: {location} {chain}"),
            may_pass,
            is_too_large: false,
        }
    }

    /// Parquet's own reader failed.
    pub(super) fn parquet(self, error: &(dyn std::error::Error + 'static)) -> SourceError {
        let mut cause = Some(error);
        while let Some(this) = cause {
            if let Some(io) = this.downcast_ref::<io::Error>() {
                return self.io(io);
            }
            cause = this.source();
        }
        let chain = error.to_string();
        let what = if chain.contains("encrypted footer") {
            "is encrypted, which this build does not read"
        } else if chain.contains("CRC checksum mismatch") {
            "is damaged: a page's checksum is wrong"
        } else {
            NO_PARQUET
        };
        self.error(what, &format!("{what}: {chain}"), false)
    }

    /// A broken file made Parquet's own reader panic.
    pub(super) fn panicked(self, panic: &(dyn Any + Send)) -> SourceError {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        self.error(NO_PARQUET, &format!("{NO_PARQUET}: its reader panicked: {text}"), false)
    }
}

/// A bound on bytes, as messages write it.
pub(super) fn size(bytes: usize) -> String {
    const MIB: usize = 1 << 20;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

/// A table is there twice; nothing tells which one counts.
pub(super) fn both(table: Table, one: (&str, &dyn Display), other: (&str, &dyn Display)) -> SourceError {
    SourceError {
        table,
        message: format!("table {table}: {} and {} are both there", one.0, other.0),
        detail: format!("table {table}: {} and {} are both there", one.1, other.1),
        may_pass: false,
        is_too_large: false,
    }
}

/// Names of columns, the first few.
pub(super) fn quoted_names(names: impl ExactSizeIterator<Item = impl Display>) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { ", …" } else { "" };
    let names: Vec<String> = names.take(MOST).map(|name| format!("'{name}'")).collect();
    names.join(", ") + more
}

/// Nothing in the directory is this table; that does not pass. The message says where it was looked for: a
/// URL of an object store holds no secrets.
pub(super) fn missing(table: Table, name: &str, directory: &dyn Display) -> SourceError {
    let called = if name == table.name() { "" } else { &*short(name) };
    SourceError {
        table,
        message: format!(
            "table {table}: not in {} as {called}.parquet, .csv, .tsv, .jsonl, .json (.gz, .zst) or directory",
            both_ends(&directory.to_string())
        ),
        detail: format!(
            "table {table}: not in {directory} as {name}.parquet, .csv, .tsv, .jsonl, .ndjson, .json (with .gz or .zst behind \
             it, but for Parquet) or directory {name}/"
        ),
        may_pass: false,
        is_too_large: false,
    }
}

/// A directory's name, without its middle where it is too long for a client's message: a bucket stands at the start.
fn both_ends(name: &str) -> String {
    const MOST: usize = 60;
    const START: usize = 24;
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= MOST {
        return name.to_owned();
    }
    let end = characters.len() - (MOST - START - 1);
    characters[..START].iter().chain(&['…']).chain(&characters[end..]).collect()
}

/// What clients are told of a failing object store: not its name, nor what it is called by.
const fn of_store(cause: &Cause) -> &'static str {
    match cause {
        Cause::Refused(_) | Cause::NoCredentials => "cannot be read: the object store refuses our credentials",
        Cause::NoBucket(_) => "cannot be read: there is no such bucket",
        Cause::NotThere => "is not there any more",
        Cause::Changed => "was changed while it was read",
        Cause::Unreachable(_) => "cannot be read: the object store cannot be reached",
        Cause::Answered(_) => "cannot be read: the object store answers with an error",
        Cause::Settings(_) | Cause::Impossible(_) | Cause::TooLarge(_) => "cannot be read from the object store",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 characters are kept of what clients are told.
    #[test]
    fn a_missing_table_names_the_place_within_what_clients_see() {
        let told = |place: &str| missing(Table::AssessmentAggregator, "assessment_aggregator", &place);
        let short = told("s3://reports-of-the-platform/exports/daily");
        assert!(short.message.starts_with(
            "table assessment_aggregator: not in s3://reports-of-the-platform/exports/daily as .parquet, .csv"
        ));
        assert!(!short.may_pass);
        let long = told("s3://a-bucket-with-a-rather-long-name/and/a/prefix/that/goes/on/and/on/2026-11-28");
        let seen: String = long.message.chars().take(100).collect();
        assert_eq!(
            seen,
            "table assessment_aggregator: not in s3://a-bucket-with-a-rat…efix/that/goes/on/and/on/2026-11-28 as "
        );
        assert_eq!(
            long.detail,
            "table assessment_aggregator: not in \
             s3://a-bucket-with-a-rather-long-name/and/a/prefix/that/goes/on/and/on/2026-11-28 as \
             assessment_aggregator.parquet, .csv, .tsv, .jsonl, .ndjson, .json (with .gz or .zst behind it, but for \
             Parquet) or directory assessment_aggregator/"
        );
    }
}
