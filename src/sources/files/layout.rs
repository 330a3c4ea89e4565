//! Which files a table is made of.
//!
//! Not here: what is in them.

use std::borrow::Cow;
use std::io;

use percent_encoding::percent_decode_str;

use super::delta;
use super::errors::{self, Place};
use super::names::{self, Format, NO_FORMAT, Packed, is_data, is_whole};
use super::spot::{Directory, Entries, Entry, Spot};
use crate::sources::SourceError;
use crate::sources::spellings::Spellings;
use crate::tables::plan::Scan;
use crate::tables::schema::Table;

/// How a partition is named whose value is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One file of a table.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) spot: Spot,
    /// Its path below the source's directory, for messages.
    pub(super) label: String,
    pub(super) format: Format,
    pub(super) packed: Packed,
    /// Columns whose value the path gives, innermost first.
    pub(super) partitions: Vec<(String, Option<String>)>,
    /// How long its table's log says that it is.
    pub(super) logged: Option<u64>,
}

/// The files of a table that a scan has to open, in the order of their names.
///
/// # Errors
/// The table is not there, has no parts, is there in two forms, or has something among its parts that is none.
pub(super) fn parts(directory: &Directory, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let entries = directory.data().map_err(|error| Place::at(table, directory, "source").io(&error))?;
    let forms: Vec<&(String, Entry)> = entries.iter().filter(|(name, entry)| is_form(table, name, entry)).collect();
    match forms.as_slice() {
        [] => Err(match entries.iter().find(|(name, _)| is_near(table, name)) {
            Some((name, entry)) => Place::at(table, entry, name).broken(NO_FORMAT),
            None => errors::missing(table, directory),
        }),
        [(form, Entry::File(spot))] => Ok(part(spot.clone(), form.clone(), &[]).into_iter().collect()),
        [(form, Entry::Directory(root))] => in_directory(root, form, scan),
        [one, other, ..] => Err(errors::both(table, (&shown(one), &one.1), (&shown(other), &other.1))),
    }
}

/// The tables of which anything is there.
pub(super) fn tables(directory: &Directory) -> io::Result<Vec<Table>> {
    let entries = directory.data()?;
    let is_there = |table: &Table| entries.iter().any(|(name, entry)| is_form(*table, name, entry));
    Ok(Table::ALL.into_iter().filter(is_there).collect())
}

/// Whether this is the table: `user/`, `user.csv`.
fn is_form(table: Table, name: &str, entry: &Entry) -> bool {
    match entry {
        Entry::Directory(_) => name == table.name() || is_whole(table, name),
        Entry::File(_) => is_whole(table, name),
    }
}

/// Whether this was perhaps meant to be the table: `user.xlsx`, `User.csv`.
fn is_near(table: Table, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(table.name()).is_some_and(|end| end.is_empty() || end.starts_with('.'))
}

fn shown((name, entry): &(String, Entry)) -> String {
    if matches!(entry, Entry::Directory(_)) { format!("{name}/") } else { name.clone() }
}

fn in_directory(root: &Directory, form: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let label = form.trim_end_matches('/');
    let entries = root.everything().map_err(|error| Place::at(table, root, label).io(&error))?;
    let log = entries.iter().find_map(|(name, entry)| match entry {
        Entry::Directory(log) if name == delta::LOG => Some(log),
        _ => None,
    });
    if let Some(log) = log {
        return delta::parts(root, log, label, scan);
    }
    if let Some(what) = delta::other_log(&entries) {
        return Err(Place::at(table, root, label).broken(what));
    }
    let mut found = Walk { scan, key: key(scan), parts: Vec::new(), left_out: false };
    let top = [Below { label: label.to_owned(), partitions: Vec::new() }];
    let (mut directories, mut level) = found.level(vec![entries], &top)?;
    while !level.is_empty() {
        let entries = Directory::entries_of(&directories)
            .map_err(|(at, error)| Place::at(table, &directories[at], &level[at].label).io(&error))?;
        (directories, level) = found.level(entries, &level)?;
    }
    let Walk { mut parts, left_out, .. } = found;
    parts.sort_by(|one, other| one.label.split('/').cmp(other.label.split('/')));
    let shown = format!("{label}/");
    let place = Place::at(table, root, &shown);
    if parts.is_empty() && !left_out {
        return Err(place.broken("holds no .parquet, .csv, .tsv, .jsonl, .ndjson or .json files"));
    }
    if let Some(other) = parts.iter().find(|part| part.format != parts[0].format) {
        return Err(place.broken(&format!("holds both {} and {} files", parts[0].format, other.format)));
    }
    Ok(parts)
}

/// What a file is, by its name.
fn part(spot: Spot, label: String, partitions: &[(String, Option<String>)]) -> Option<Part> {
    let (format, packed) = names::format(&label)?;
    Some(Part { spot, label, format, packed, partitions: partitions.to_vec(), logged: None })
}

/// The name of the column that a scan is limited by: its first spelling. A partition by a later one may hold files with the
/// first, so that is for their readers to judge.
pub(super) fn key(scan: &Scan) -> Option<Cow<'static, str>> {
    let (name, _) = scan.only()?;
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
    /// Takes the files of directories that are equally deep, by what is in each; the directories in them that the scan
    /// needs. (Those of a bucket are listed side by side, where each list costs a round trip.)
    fn level(&mut self, entries: Vec<Entries>, level: &[Below]) -> Result<(Vec<Directory>, Vec<Below>), SourceError> {
        let table = self.scan.table;
        let (mut deeper, mut below) = (Vec::new(), Vec::new());
        for (above, entries) in level.iter().zip(entries) {
            for (name, entry) in entries.into_iter().filter(|(name, _)| is_data(name)) {
                let label = format!("{}/{name}", above.label);
                match entry {
                    Entry::File(spot) => {
                        let stray = Place::at(table, &spot, &label).broken(NO_FORMAT);
                        self.parts.push(part(spot, label, &above.partitions).ok_or(stray)?);
                    }
                    Entry::Directory(directory) => {
                        let Some((column, value)) = partition(&name) else {
                            return Err(Place::at(table, &directory, &label).broken("is no directory <column>=<value>"));
                        };
                        if !is_wanted(self.scan, self.key.as_deref(), &column, value.as_deref()) {
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
}

/// Whether a partition has rows for the scan. One without value has: its rows are unusable, and counted. `key`: see [`key`].
pub(super) fn is_wanted(scan: &Scan, key: Option<&str>, column: &str, value: Option<&str>) -> bool {
    match (scan.only(), key, value) {
        (Some((_, keys)), Some(key), Some(value)) if key.eq_ignore_ascii_case(column) && !value.is_empty() => {
            keys.contains(value)
        }
        _ => true,
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
