//! Which files a table is made of.
//!
//! Not here: what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::errors::Place;
use crate::reports::schema::{Scan, Table};
use crate::sources::SourceError;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: PathBuf,
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
pub(super) fn parts(directory: &Path, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let table = scan.table;
    let forms = forms(directory, table).map_err(|error| Place::at(table, directory, "source").io(&error))?;
    match forms.as_slice() {
        [] => {
            Err(Place::at(table, directory, "no")
                .broken(&format!("{table}.parquet, .csv(.gz), .jsonl(.gz) or directory")))
        }
        [one] => one_form(directory, one, scan),
        [one, two, ..] => Err(Place::at(table, &directory.join(one), one).broken(&format!("and {two} are both there"))),
    }
}

/// Whether anything of the table is there.
pub(super) fn is_there(directory: &Path, table: Table) -> bool {
    forms(directory, table).is_ok_and(|forms| !forms.is_empty())
}

/// The names below the directory that are the table: `user.csv`, `user/`.
fn forms(directory: &Path, table: Table) -> io::Result<Vec<String>> {
    let mut forms = Vec::new();
    if directory.join(table.name()).is_dir() {
        forms.push(format!("{table}/"));
    }
    for name in ENDS.iter().map(|(end, ..)| format!("{table}{end}")) {
        match fs::metadata(directory.join(&name)) {
            Ok(_) => forms.push(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
    }
    Ok(forms)
}

fn one_form(directory: &Path, form: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let Some(name) = form.strip_suffix('/') else {
        return Ok(part(directory.join(form), form.to_owned(), &[]).into_iter().collect());
    };
    let root = directory.join(name);
    let mut found = Walk { scan, parts: Vec::new(), left_out: false };
    found.directory(&root, name, &[])?;
    let Walk { parts, left_out, .. } = found;
    let place = Place::at(scan.table, &root, form);
    if parts.is_empty() && !left_out {
        return Err(place.broken("holds no .parquet, .csv or .jsonl files"));
    }
    if let Some(other) = parts.iter().find(|part| part.format != parts[0].format) {
        return Err(place.broken(&format!("holds both {:?} and {:?} files", parts[0].format, other.format)));
    }
    Ok(parts)
}

/// What a file is, by its name.
fn part(path: PathBuf, label: String, partitions: &[(String, Option<String>)]) -> Option<Part> {
    let (_, format, gzip) = ENDS.into_iter().find(|(end, ..)| label.ends_with(end))?;
    Some(Part { path, label, format, gzip, partitions: partitions.to_vec() })
}

struct Walk<'a> {
    scan: &'a Scan,
    parts: Vec<Part>,
    /// There are partitions that the scan does not need.
    left_out: bool,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        directory: &Path,
        label: &str,
        above: &[(String, Option<String>)],
    ) -> Result<(), SourceError> {
        let table = self.scan.table;
        let names = names(directory).map_err(|error| Place::at(table, directory, label).io(&error))?;
        for name in names {
            let (path, label) = (directory.join(&name), format!("{label}/{name}"));
            if !path.is_dir() {
                let stray = Place::at(table, &path, &label).broken("is no .parquet, .csv or .jsonl file");
                self.parts.push(part(path.clone(), label.clone(), above).ok_or(stray)?);
                continue;
            }
            let Some((column, value)) = partition(&name) else {
                return Err(Place::at(table, &path, &label).broken("is no directory <column>=<value>"));
            };
            if !self.wanted(&column, value.as_deref()) {
                self.left_out = true;
                continue;
            }
            let mut partitions = vec![(column, value)];
            partitions.extend_from_slice(above);
            self.directory(&path, &label, &partitions)?;
        }
        Ok(())
    }

    /// Whether a partition has rows for the scan. One without value has: its rows are unusable, and counted.
    fn wanted(&self, column: &str, value: Option<&str>) -> bool {
        match (&self.scan.only, value) {
            (Some((name, keys)), Some(value)) if name.eq_ignore_ascii_case(column) && !value.is_empty() => {
                keys.contains(value)
            }
            _ => true,
        }
    }
}

/// The names in a directory, sorted, without those that are nobody's data (`_SUCCESS`, `.part.crc`).
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(['_', '.']) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
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
