//! Which files a table is made of.
//!
//! Not here: what is in them.

use std::borrow::Cow;
use std::io;

use super::config::TableFiles;
use super::delta;
use super::errors::{self, FileContext};
use super::location::{Directory, Entries, Entry, FileLocation};
use super::names::{self, NO_FORMAT, is_data, is_whole};
use super::part::Part;
use super::partitions::{is_wanted, key, partition};
use crate::sources::SourceError;
use crate::tables::plan::Scan;
use crate::tables::schema::Table;

/// The files of a table, which is called `name` here, that a scan has to open, in the order of their names.
///
/// # Errors
/// The table is not there, has no parts, is there in two forms, or has something among its parts that is none.
pub(super) fn parts(directory: &Directory, name: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let entries = directory.data().map_err(|error| FileContext::at(table, directory, "source").io(&error))?;
    let forms: Vec<&(String, Entry)> = entries.iter().filter(|(form, entry)| is_form(name, form, entry)).collect();
    match forms.as_slice() {
        [] => Err(match entries.iter().find(|(other, _)| is_near(name, other)) {
            Some((other, entry)) => FileContext::at(table, entry, other).broken(NO_FORMAT),
            None => errors::missing(table, name, directory),
        }),
        [(form, Entry::File(location))] => Ok(part(location.clone(), form.clone(), &[]).into_iter().collect()),
        [(form, Entry::Directory(root))] => in_directory(root, form, scan),
        [one, other, ..] => Err(errors::both(table, (&shown(one), &one.1), (&shown(other), &other.1))),
    }
}

/// The tables of which anything is there.
pub(super) fn tables(directory: &Directory, files: &TableFiles) -> io::Result<Vec<Table>> {
    let entries = directory.data()?;
    let is_there = |table: &Table| entries.iter().any(|(form, entry)| is_form(files.name(*table), form, entry));
    Ok(Table::ALL.into_iter().filter(is_there).collect())
}

/// Whether this is the table of this name: `user/`, `user.csv`.
fn is_form(table: &str, name: &str, entry: &Entry) -> bool {
    match entry {
        Entry::Directory(_) => name == table || is_whole(table, name),
        Entry::File(_) => is_whole(table, name),
    }
}

/// Whether this was perhaps meant to be the table: `user.xlsx`, `User.csv`.
fn is_near(table: &str, name: &str) -> bool {
    let (table, name) = (table.to_ascii_lowercase(), name.to_ascii_lowercase());
    name.strip_prefix(&table).is_some_and(|end| end.is_empty() || end.starts_with('.'))
}

fn shown((name, entry): &(String, Entry)) -> String {
    if matches!(entry, Entry::Directory(_)) { format!("{name}/") } else { name.clone() }
}

fn in_directory(root: &Directory, form: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let label = form.trim_end_matches('/');
    let entries = root.everything().map_err(|error| FileContext::at(table, root, label).io(&error))?;
    let log = entries.iter().find_map(|(name, entry)| match entry {
        Entry::Directory(log) if name == delta::LOG => Some(log),
        _ => None,
    });
    if let Some(log) = log {
        return delta::parts(root, log, label, scan);
    }
    if let Some(what) = delta::other_log(&entries) {
        return Err(FileContext::at(table, root, label).broken(what));
    }
    let mut found = Walk { scan, key: key(scan), parts: Vec::new(), left_out: false };
    let top = [Below { label: label.to_owned(), partitions: Vec::new() }];
    let (mut directories, mut level) = found.level(vec![entries], &top)?;
    while !level.is_empty() {
        let entries = Directory::entries_of(&directories)
            .map_err(|(at, error)| FileContext::at(table, &directories[at], &level[at].label).io(&error))?;
        (directories, level) = found.level(entries, &level)?;
    }
    let Walk { mut parts, left_out, .. } = found;
    parts.sort_by(|one, other| one.label.split('/').cmp(other.label.split('/')));
    let shown = format!("{label}/");
    let place = FileContext::at(table, root, &shown);
    if parts.is_empty() && !left_out {
        return Err(place.broken("holds no .parquet, .csv, .tsv, .jsonl, .ndjson or .json files"));
    }
    if let Some(other) = parts.iter().find(|part| part.format != parts[0].format) {
        return Err(place.broken(&format!("holds both {} and {} files", parts[0].format, other.format)));
    }
    Ok(parts)
}

/// What a file is, by its name.
fn part(location: FileLocation, label: String, partitions: &[(String, Option<String>)]) -> Option<Part> {
    let (format, packed) = names::format(&label)?;
    Some(Part { location, label, format, packed, partitions: partitions.to_vec(), logged: None })
}

struct Walk<'a> {
    scan: &'a Scan,
    /// The name of the column that the scan is limited by.
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
                    Entry::File(location) => {
                        let stray = FileContext::at(table, &location, &label).broken(NO_FORMAT);
                        self.parts.push(part(location, label, &above.partitions).ok_or(stray)?);
                    }
                    Entry::Directory(directory) => {
                        let Some((column, value)) = partition(&name) else {
                            return Err(
                                FileContext::at(table, &directory, &label).broken("is no directory <column>=<value>")
                            );
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

#[cfg(test)]
mod tests;
