//! Which files a table is made of.
//!
//! Not here: what is in them.

use std::borrow::Cow;
use std::io;

use percent_encoding::percent_decode_str;

use super::errors::{self, Place};
use super::spot::{Directory, Entry, Spot};
use crate::reports::schema::{Scan, Table};
use crate::sources::SourceError;
use crate::sources::spellings::Spellings;

/// How a partition is named whose value is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Csv,
    Jsonl,
}

/// The ends of file names, and what they mean: format, and whether gzip is around it.
const ENDS: [(&str, Format, bool); 5] = [
    (".parquet", Format::Parquet, false),
    (".csv", Format::Csv, false),
    (".jsonl", Format::Jsonl, false),
    (".csv.gz", Format::Csv, true),
    (".jsonl.gz", Format::Jsonl, true),
];

/// One file of a table.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) spot: Spot,
    /// Its path below the source's directory, for messages.
    pub(super) label: String,
    pub(super) format: Format,
    pub(super) gzip: bool,
    /// Columns whose value the path gives, innermost first.
    pub(super) partitions: Vec<(String, Option<String>)>,
}

/// The files of a table that a scan has to open, in the order of their names.
///
/// # Errors
/// The table is not there, has no parts, is there in two forms, or has something among its parts that is none.
pub(super) fn parts(directory: &Directory, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let forms = directory.those(names(table)).map_err(|error| Place::at(table, directory, "source").io(&error))?;
    match forms.as_slice() {
        [] => Err(errors::missing(table, directory)),
        [(form, Entry::File(spot))] => Ok(part(spot.clone(), form.clone(), &[]).into_iter().collect()),
        [(form, Entry::Directory(root))] => in_directory(root, form, scan),
        [(one, _), (two, _), ..] => Err(Place::at(table, directory, one).broken(&format!("and {two} are both there"))),
    }
}

/// The tables of which anything is there.
pub(super) fn tables(directory: &Directory) -> io::Result<Vec<Table>> {
    let found = directory.those(Table::ALL.into_iter().flat_map(names))?;
    let is_there = |table: &Table| names(*table).any(|name| found.iter().any(|(found, _)| *found == name));
    Ok(Table::ALL.into_iter().filter(is_there).collect())
}

/// The names below the directory that may be the table: `user/`, `user.csv`.
fn names(table: Table) -> impl Iterator<Item = String> {
    std::iter::once(format!("{table}/")).chain(ENDS.iter().map(move |(end, ..)| format!("{table}{end}")))
}

fn in_directory(root: &Directory, form: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let mut found = Walk { scan, key: key(scan), parts: Vec::new(), left_out: false };
    let mut level = vec![Below { label: form.trim_end_matches('/').to_owned(), partitions: Vec::new() }];
    let mut directories = vec![root.clone()];
    while !level.is_empty() {
        (directories, level) = found.level(&directories, &level)?;
    }
    let Walk { mut parts, left_out, .. } = found;
    parts.sort_by(|one, other| one.label.split('/').cmp(other.label.split('/')));
    let place = Place::at(scan.table, root, form);
    if parts.is_empty() && !left_out {
        return Err(place.broken("holds no .parquet, .csv or .jsonl files"));
    }
    if let Some(other) = parts.iter().find(|part| part.format != parts[0].format) {
        return Err(place.broken(&format!("holds both {:?} and {:?} files", parts[0].format, other.format)));
    }
    Ok(parts)
}

/// What a file is, by its name.
fn part(spot: Spot, label: String, partitions: &[(String, Option<String>)]) -> Option<Part> {
    let (_, format, gzip) = ENDS.into_iter().find(|(end, ..)| label.ends_with(end))?;
    Some(Part { spot, label, format, gzip, partitions: partitions.to_vec() })
}

/// The name of the column that a scan is limited by: its first spelling. A partition by a later one may hold files with the
/// first, so that is for their readers to judge.
fn key(scan: &Scan) -> Option<Cow<'static, str>> {
    let (name, _) = scan.only.as_ref()?;
    let spellings = Spellings::of(scan);
    let column = scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
    Some(spellings.all()[spellings.of_column(column).start].name.clone())
}

struct Walk<'a> {
    scan: &'a Scan,
    /// See [`key`].
    key: Option<Cow<'static, str>>,
    parts: Vec<Part>,
    /// There are partitions that the scan does not need.
    left_out: bool,
}

/// A directory of a table.
struct Below {
    /// Its path below the source's directory.
    label: String,
    /// Columns whose value its path gives, innermost first.
    partitions: Vec<(String, Option<String>)>,
}

impl Walk<'_> {
    /// Takes the files of directories that are equally deep, which are listed side by side where each list costs a round
    /// trip; the directories in them that the scan needs.
    fn level(
        &mut self,
        directories: &[Directory],
        level: &[Below],
    ) -> Result<(Vec<Directory>, Vec<Below>), SourceError> {
        let table = self.scan.table;
        let entries = Directory::entries_of(directories)
            .map_err(|(at, error)| Place::at(table, &directories[at], &level[at].label).io(&error))?;
        let (mut deeper, mut below) = (Vec::new(), Vec::new());
        for (above, entries) in level.iter().zip(entries) {
            for (name, entry) in entries {
                let label = format!("{}/{name}", above.label);
                match entry {
                    Entry::File(spot) => {
                        let stray = Place::at(table, &spot, &label).broken("is no .parquet, .csv or .jsonl file");
                        self.parts.push(part(spot, label, &above.partitions).ok_or(stray)?);
                    }
                    Entry::Directory(directory) => {
                        let Some((column, value)) = partition(&name) else {
                            return Err(Place::at(table, &directory, &label).broken("is no directory <column>=<value>"));
                        };
                        if !self.wanted(&column, value.as_deref()) {
                            self.left_out = true;
                            continue;
                        }
                        let mut partitions = vec![(column, value)];
                        partitions.extend_from_slice(&above.partitions);
                        deeper.push(directory);
                        below.push(Below { label, partitions });
                    }
                }
            }
        }
        Ok((deeper, below))
    }

    /// Whether a partition has rows for the scan. One without value has: its rows are unusable, and counted.
    fn wanted(&self, column: &str, value: Option<&str>) -> bool {
        match (&self.scan.only, &self.key, value) {
            (Some((_, keys)), Some(key), Some(value)) if key.eq_ignore_ascii_case(column) && !value.is_empty() => {
                keys.contains(value)
            }
            _ => true,
        }
    }
}

/// Column and value of a directory `column=value`.
fn partition(name: &str) -> Option<(String, Option<String>)> {
    let (column, value) = name.split_once('=')?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let value = (value != HIVE_NULL).then(|| decoded(value));
    (!column.is_empty()).then(|| (decoded(column), value))
}

#[cfg(test)]
mod tests;
