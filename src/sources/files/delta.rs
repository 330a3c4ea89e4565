//! Delta tables: which files the log says that a table has.
//!
//! Files that the log removed, or never had, lie beside the others; read as a plain directory the table would have rows that
//! were deleted. Only the JSON commits are read, from the first one on. What is not understood is refused.
//!
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md>

use std::collections::BTreeMap;
use std::io::BufReader;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::BUFFER;
use super::errors::{FileContext, size};
use super::location::{Directory, Entries, Entry, FileLocation};
use super::names::{Format, Packed};
use super::part::Part;
use super::partitions;
use super::read_ahead;
use super::text::{Line, Lines};
use crate::sources::values::literal::{self, Span, Spelling};
use crate::sources::{Bounds, SourceError};
use crate::tables::plan::Scan;

/// The log's directory, below the table's.
pub(super) const LOG: &str = "_delta_log";

/// Digits of a commit's name.
const DIGITS: usize = 20;
/// Commits under way at a time, of a table in a bucket.
const AHEAD: usize = 32;
/// Of each action what is needed. Everything else (statistics of columns, mostly) is passed over where it stands: a tree of
/// it would take many times its bytes.
const NEEDED: [(&str, &[&str]); 4] = [
    ("add", &["path", "deletionVector", "partitionValues", "size"]),
    ("remove", &["path", "deletionVector"]),
    ("metaData", &["partitionColumns", "configuration", "format"]),
    ("protocol", &["minReaderVersion", "readerFeatures"]),
];
/// Bytes of a line, at most.
const MOST: usize = Bounds::DEFAULT.unit;
/// Bytes of one of these, at most.
const MEMBER: usize = 1 << 20;
/// Features of readers that change nothing in how we read.
const HARMLESS: [&str; 5] = ["timestampNtz", "vacuumProtocolCheck", "v2Checkpoint", "columnMapping", "deletionVectors"];

/// The files of a table that a scan has to open. `label`: the table's directory, for messages.
///
/// # Errors
/// The log cannot be read, is not whole, or asks for what is not done here.
pub(super) fn parts(root: &Directory, log: &Directory, label: &str, scan: &Scan) -> Result<Vec<Part>, SourceError> {
    let log_label = format!("{label}/{LOG}");
    let place = FileContext::at(scan.table, log, &log_label);
    let commits = commits(log, place)?;
    let mut table = Table::default();
    for (at, (name, location)) in commits.iter().enumerate() {
        if at % AHEAD == 0 {
            commits[at..].iter().take(AHEAD).for_each(|(_, location)| begin(location));
        }
        let label = format!("{log_label}/{name}");
        table.commit(location, FileContext::at(scan.table, location, &label))?;
    }
    table.check(place)?;
    let (mut parts, key) = (Vec::new(), partitions::key(scan));
    for ((path, _), file) in &table.files {
        let values = table.partitions(file, place)?;
        if values.iter().all(|(column, value)| partitions::is_wanted(scan, key.as_deref(), column, value.as_deref())) {
            parts.push(part(root, label, path, file, values, place)?);
        }
    }
    Ok(parts)
}

/// The commits in their order.
fn commits(log: &Directory, place: FileContext<'_>) -> Result<Vec<(String, FileLocation)>, SourceError> {
    let entries = log.everything().map_err(|error| place.io(&error))?;
    let mut latest = None;
    let mut commits = Vec::new();
    for (name, entry) in entries {
        let version = name.get(..DIGITS).and_then(|digits| digits.parse::<u64>().ok());
        let Some(version) = version.filter(|_| name.as_bytes().get(DIGITS) == Some(&b'.')) else { continue };
        // A checkpoint, or a checksum, of a commit that is not there says that the log goes on.
        latest = latest.max(Some(version));
        if let (".json", Entry::File(location)) = (&name[DIGITS..], entry) {
            commits.push((version, name, location));
        }
    }
    let all = (0..).zip(&commits).all(|(expected, (version, ..))| *version == expected);
    let last = commits.last().map(|(version, ..)| *version);
    if !all || last.is_none() || last != latest {
        let what = "lacks commits (only a checkpoint has them?), which is not read: write the table as plain Parquet";
        return Err(place.broken(what));
    }
    Ok(commits.into_iter().map(|(_, name, location)| (name, location)).collect())
}

fn begin(location: &FileLocation) {
    if let FileLocation::Stored(file) = location
        && file.bytes > 0
    {
        file.begin(read_ahead::start(file.bytes));
    }
}

/// What the log has come to.
#[derive(Default)]
struct Table {
    /// By path as it is written in the log, and by its deletion vector.
    files: BTreeMap<(String, String), Map<String, Value>>,
    protocol: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
}

impl Table {
    fn commit(&mut self, location: &FileLocation, place: FileContext<'_>) -> Result<(), SourceError> {
        let file = BufReader::with_capacity(BUFFER, location.stream().map_err(|error| place.io(&error))?);
        let (mut lines, mut number) = (Lines::new(file, MOST, None), 0);
        // In one commit what is removed was there before it, in whatever order its lines stand.
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next().map_err(|error| place.io(&error))? {
            number += 1;
            let Line::Whole(line) = line else { return Err(place.too_long(number, MOST)) };
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let broken = || place.broken(&format!("line {number} is broken JSON"));
            for (name, fields) in actions(text).ok_or_else(broken)? {
                match (name.as_str(), fields) {
                    (_, Fields::Null) => (),
                    (_, Fields::TooLong(member)) => {
                        let what = format!("line {number}: '{member}' has more than {}", size(MEMBER));
                        return Err(place.broken(&what));
                    }
                    ("add", Fields::Of(file)) => added.push((key(&file).ok_or_else(broken)?, file)),
                    ("remove", Fields::Of(file)) => removed.push(key(&file).ok_or_else(broken)?),
                    ("metaData", Fields::Of(metadata)) => self.metadata = Some(metadata),
                    ("protocol", Fields::Of(protocol)) => self.protocol = Some(protocol),
                    // Nothing of these is in the table's rows.
                    ("commitInfo" | "txn" | "cdc" | "domainMetadata", _) => (),
                    (other, _) => {
                        return Err(place.broken(&format!("has an action '{other}', which is not understood")));
                    }
                }
            }
        }
        if number == 0 {
            return Err(place.broken("is empty: its upload probably broke off"));
        }
        for key in removed {
            self.files.remove(&key);
        }
        self.files.extend(added);
        Ok(())
    }

    /// Whether all of it can be read as it should be.
    fn check(&self, place: FileContext<'_>) -> Result<(), SourceError> {
        let refused =
            |what: &str| Err(place.broken(&format!("{what}, which is not read: write the table as plain Parquet")));
        let (Some(protocol), Some(metadata)) = (&self.protocol, &self.metadata) else {
            return Err(place.broken("has no protocol or no metadata"));
        };
        let version = protocol.get("minReaderVersion").and_then(Value::as_u64);
        if !matches!(version, Some(1..=3)) {
            return refused("asks for a newer reader");
        }
        let features = protocol.get("readerFeatures").and_then(Value::as_array);
        for feature in features.into_iter().flatten().filter_map(Value::as_str) {
            if !HARMLESS.contains(&feature) {
                return refused(&format!("uses the feature {feature}"));
            }
        }
        let mode = metadata.get("configuration").and_then(|all| all.get("delta.columnMapping.mode"));
        if mode.and_then(Value::as_str).is_some_and(|mode| mode != "none") {
            return refused("uses column mapping");
        }
        if self.files.keys().any(|(_, vector)| !vector.is_empty()) {
            return refused("uses deletion vectors");
        }
        let provider = metadata.get("format").and_then(|format| format.get("provider")).and_then(Value::as_str);
        if provider.is_some_and(|provider| provider != "parquet") {
            return refused("has files other than Parquet");
        }
        Ok(())
    }

    /// The columns whose value is in the log and not in the file.
    fn partitions(
        &self,
        file: &Map<String, Value>,
        place: FileContext<'_>,
    ) -> Result<Vec<(String, Option<String>)>, SourceError> {
        let columns = self.metadata.as_ref().and_then(|metadata| metadata.get("partitionColumns"));
        let columns = columns.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let values = file.get("partitionValues").and_then(Value::as_object);
        let of = |column: &str| match values.and_then(|values| values.get(column)) {
            Some(Value::Null) => Ok((column.to_owned(), None)),
            Some(Value::String(value)) => {
                Ok((column.to_owned(), Some(value.clone()).filter(|value| !value.is_empty())))
            }
            _ => Err(place.broken(&format!("has a file without a value of its partition column '{column}'"))),
        };
        columns.map(of).collect()
    }
}

/// What an action says, as far as it is needed.
enum Fields {
    Null,
    Of(Map<String, Value>),
    /// A member of it that is needed has too many bytes.
    TooLong(&'static str),
    /// It is no object.
    Other,
}

/// The actions of a line, `None` where it is no JSON object.
fn actions(line: &[u8]) -> Option<Vec<(String, Fields)>> {
    let mut actions = Vec::new();
    let mut is_broken = false;
    literal::members(line, Spelling::Json, |name, action| {
        let Some(name) = text(name) else { return is_broken = true };
        let needed = NEEDED.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, needed)| needed);
        let fields = match action {
            Span::Null => Fields::Null,
            Span::Map(action) => fields(action, needed),
            Span::Text(..) | Span::Number(_) | Span::Bool(_) | Span::List(_) => Fields::Other,
        };
        actions.push((name, fields));
    })?;
    (!is_broken).then_some(actions)
}

fn fields(action: &[u8], needed: &[&'static str]) -> Fields {
    let (mut fields, mut too_long) = (Map::new(), None);
    let read = literal::members(action, Spelling::Json, |name, value| {
        let Some(name) = needed.iter().find(|needed| name.is_text(needed)) else { return };
        let bytes = match value {
            Span::Text(text, _) | Span::List(text) | Span::Map(text) => text.len(),
            Span::Number(digits) => digits.len(),
            Span::Bool(_) | Span::Null => 0,
        };
        if bytes > MEMBER {
            too_long = Some(*name);
        } else if let Some(value) = literal::tree(value, Spelling::Json) {
            fields.insert((*name).to_owned(), value);
        }
    });
    match (read, too_long) {
        (_, Some(name)) => Fields::TooLong(name),
        (Some(_), None) => Fields::Of(fields),
        (None, None) => Fields::Other,
    }
}

/// The name of an action, which is short.
fn text(name: Span<'_>) -> Option<String> {
    match literal::tree(name, Spelling::Json) {
        Some(Value::String(text)) if text.len() <= MEMBER => Some(text),
        _ => None,
    }
}

/// What a file is in the log: its path, and which of its rows are deleted.
fn key(file: &Map<String, Value>) -> Option<(String, String)> {
    let path = file.get("path")?.as_str()?.to_owned();
    let vector = match file.get("deletionVector") {
        None | Some(Value::Null) => String::new(),
        Some(vector) => vector.to_string(),
    };
    Some((path, vector))
}

fn part(
    root: &Directory,
    label: &str,
    path: &str,
    file: &Map<String, Value>,
    partitions: Vec<(String, Option<String>)>,
    place: FileContext<'_>,
) -> Result<Part, SourceError> {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let is_below = !decoded.starts_with('/')
        && !path.contains("://")
        && decoded.split('/').all(|name| !matches!(name, "" | "." | ".."));
    if !is_below {
        return Err(place.broken("names files outside the table, which is not read"));
    }
    let bytes = file.get("size").and_then(Value::as_u64);
    let Some(bytes) = bytes else { return Err(place.broken("does not say how long a file is")) };
    Ok(Part {
        location: root.file(&decoded, bytes),
        label: format!("{label}/{decoded}"),
        format: Format::Parquet,
        packed: Packed::No,
        partitions,
        logged: Some(bytes),
    })
}

/// What a directory is whose truth is in a log that is not read here, by what lies in it; as it follows its name.
pub(super) fn other_log(entries: &Entries) -> Option<&'static str> {
    let has = |wanted: &str| entries.iter().any(|(name, _)| name == wanted);
    if entries.iter().any(|(name, _)| name.starts_with(".hoodie")) {
        return Some("is a Hudi table, which is not read: write it as plain Parquet");
    }
    if has("_spark_metadata") {
        return Some("was written by a Spark stream (_spark_metadata), which is not read: write it as plain Parquet");
    }
    let metadata = entries.iter().find_map(|(name, entry)| match entry {
        Entry::Directory(directory) if name == "metadata" => Some(directory),
        _ => None,
    })?;
    let is_iceberg = metadata.everything().is_ok_and(|entries| {
        entries.iter().any(|(name, _)| name.contains(".metadata.json") || name == "version-hint.text")
    });
    is_iceberg.then_some("is an Iceberg table, which is not read: write it as plain Parquet")
}
