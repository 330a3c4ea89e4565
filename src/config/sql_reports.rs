//! What `[[job]]` has for `report = "sql"`: the query in its file, the engine that is asked, what is written of its result.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::checked::NamedSource;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Boolean, Duration, Number, Sections, Size, Text, Texts};
use crate::document::{Key, Place, Section, listed, live, near_miss};
use crate::reports::query::{BATCH_ID, Placeholder, QueryColumn, QueryLimits, QueryReport, Split};
use crate::reports::{JobReport, SQL};
use crate::sources::query_engine::BATCHES;

/// The most bytes of a query's file.
const LONGEST_QUERY: u64 = 1 << 20;

/// Names the source.
pub(super) const ENGINE: Key = live(
    "engine",
    Text,
    Says("needed for `report = \"sql\"`"),
    "`report = \"sql\"`: the source that is asked, by its name: `lake` for `[source.lake]`, `source` for `[source]`. Of kind \
     `postgres`, or of kind `sql` with `transport = \"spark-connect\"`. See [reports in SQL](sql-reports.md).",
);

pub(super) const QUERY: Key = live(
    "query",
    Text,
    Says("needed for `report = \"sql\"`"),
    "`report = \"sql\"`: the file of the query, relative to jobs.toml's directory. A change of it takes effect as one of \
     jobs.toml does.",
);

pub(super) const SPLIT: Key = live(
    "split_by",
    Text,
    Says("one file for each request"),
    "`report = \"sql\"`: the column that says in which file a row is. `\"batchid\"`: every batch of the request has a file; another \
     column: every value of it, at most `max_batches`. Left out: a request has one file.",
);

pub(super) const ORDER: Key = live(
    "order_by",
    Texts,
    Says("needed for `report = \"sql\"`"),
    "`report = \"sql\"`: columns of the result that the rows of a file are sorted by. No two rows of a file may be equal in all \
     of them.",
);

pub(super) const COLUMNS: Key = live(
    "columns",
    Sections(COLUMN_KEYS),
    Says("needed for `report = \"sql\"`"),
    "`report = \"sql\"`: the columns that are written, in the order of the file, each under its own `[[job.columns]]` or in a \
     list.",
);

pub(super) const ALLOW_PERSONAL: Key = live(
    "allow_personal",
    Boolean,
    Is("false"),
    "`report = \"sql\"`: personal columns need no encryption key. Without it a job that has personal columns has \
     `require_encryption = true`.",
);

pub(super) const ALL_ROWS: Key = live(
    "all_rows",
    Boolean,
    Is("false"),
    "`report = \"sql\"`: the query may read rows that are of no batch of the request, and so needs no `{batches}`. API keys that are \
     limited to channels may not ask for such a report.",
);

pub(super) const MAX_ROWS: Key =
    live("max_rows", Number, Is("5000000"), "`report = \"sql\"`: most rows of the result for one request.");

pub(super) const MAX_BYTES: Key = live(
    "max_bytes",
    Size,
    Is("\"2GiB\""),
    "`report = \"sql\"`: most memory for the result for one request. `[worker] memory` is a limit as well.",
);

pub(super) const MAX_TIME: Key = live(
    "max_time",
    Duration,
    Is("\"30m\""),
    "`report = \"sql\"`: how long the query may take for one request, with the transfer of its rows.",
);

/// The keys of `[[job.columns]]`.
const COLUMN_KEYS: &[Key] = &[
    live("name", Text, Says("needed"), "The column's name in the query's result."),
    live("heading", Text, Says("the name"), "Its heading in the file. No two columns share one."),
    live("personal", Boolean, Is("false"), "It has personal data. See `allow_personal`."),
];

/// Whether only a report in SQL reads this key of a job, or of what is inside it.
#[cfg(test)]
pub(super) fn is_only_sql(key: &str) -> bool {
    let keys =
        [&ENGINE, &QUERY, &SPLIT, &ORDER, &COLUMNS, &ALLOW_PERSONAL, &ALL_ROWS, &MAX_ROWS, &MAX_BYTES, &MAX_TIME];
    keys.iter().any(|own| key.split('.').next() == Some(own.name))
}

/// What a report in SQL is read with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Where the query's file is relative to.
    pub(super) directory: &'a Path,
    /// The sources that may be asked.
    pub(super) sources: &'a [NamedSource],
}

/// Notes keys that only a report in SQL has.
pub(super) fn refuse_keys(section: &Section<'_>) {
    for key in ["engine", "query", "split_by", "order_by", "columns"] {
        if let Some(node) = section.node(key) {
            section.faults.add(&node.place, format!("`{key}` is only for `report = \"{SQL}\"`"));
        }
    }
    if let (Some(true), Some(node)) = (section.boolean("all_rows"), section.node("all_rows")) {
        section.faults.add(&node.place, format!("`all_rows` is only for `report = \"{SQL}\"`"));
    }
}

/// Reads a report in SQL, and whether its files must be protected.
pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<(JobReport, bool)> {
    let engine = engine(section, surroundings.sources);
    let file = section.required("query");
    let all_rows = section.boolean("all_rows").unwrap_or_default();
    if all_rows
        && section.boolean("own_channel_only").unwrap_or_default()
        && let Some(node) = section.node("all_rows")
    {
        section.faults.add(&node.place, "`all_rows` and `own_channel_only` exclude each other");
    }
    let query = file.and_then(|(name, place)| query(section, name, place, (surroundings.directory, all_rows)));
    let split = match section.filled("split_by") {
        None => Split::Whole,
        Some((BATCH_ID, _)) => Split::Batch,
        Some((column, _)) => Split::Column(column.to_owned()),
    };
    let order_by: Vec<String> =
        section.texts("order_by").unwrap_or_default().into_iter().map(|(name, _)| name.to_owned()).collect();
    if order_by.is_empty() {
        needed(section, "order_by");
    }
    let sections = section.sections("columns");
    let (columns, has_personal) = columns(&sections);
    refuse_personal_names(section, &split, &sections);
    if columns.is_empty() {
        needed(section, "columns");
    }
    let limits = QueryLimits {
        rows: section.number("max_rows", 1)?,
        bytes: section.size("max_bytes")?,
        time: section.duration("max_time", false)?.0,
    };
    let is_protected = has_personal && !section.boolean("allow_personal").unwrap_or_default();
    let (engine, file, query) = (engine?, file?.0.to_owned(), query?);
    let report = QueryReport { engine, file, query, split, all_rows, order_by, columns, limits };
    Some((JobReport::Query(Arc::new(report)), is_protected))
}

/// Notes files that would be called after personal data: names and links are not protected.
fn refuse_personal_names(section: &Section<'_>, split: &Split, columns: &[Section<'_>]) {
    let (Split::Column(split), Some(node)) = (split, section.node("split_by")) else { return };
    let is_split = |column: &Section<'_>| column.text("name").is_some_and(|(name, _)| name == split);
    if columns.iter().any(|column| is_split(column) && column.boolean("personal") == Some(true)) {
        let what = format!("`split_by`: column {split} is personal, and names of files are not protected");
        section.faults.add(&node.place, what);
    }
}

fn needed(section: &Section<'_>, key: &str) {
    let place = section.node(key).map_or(&section.place, |node| &node.place);
    section.faults.add(place, format!("`report = \"{SQL}\"` needs `{key}`"));
}

/// The name of the source as the program calls it.
fn engine(section: &Section<'_>, sources: &[NamedSource]) -> Option<String> {
    let (written, place) = section.required("engine")?;
    let name = if written == "source" { written.to_owned() } else { format!("source.{written}") };
    let Some(source) = sources.iter().find(|source| source.name == name) else {
        let short = || sources.iter().map(|source| source.name.strip_prefix("source.").unwrap_or(&source.name));
        let what = format!("unknown engine `{written}`; sources that tables come from: {}", listed(short()));
        section.faults.add_meant(place, what, near_miss(written, short()));
        return None;
    };
    if let Some(why) = source.config.refuses_queries() {
        section.faults.add(place, format!("`engine`: {why}"));
        return None;
    }
    Some(name)
}

/// The text of the query.
fn query(section: &Section<'_>, name: &str, place: &Place, (directory, all_rows): (&Path, bool)) -> Option<String> {
    let path = directory.join(name);
    let fault = |what: String| {
        section.faults.add(place, what);
        None
    };
    let size = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return fault(format!("`query`: {} cannot be read: {error}", path.display())),
    };
    if size > LONGEST_QUERY {
        return fault(format!("`query`: {} has {size} bytes, at most {LONGEST_QUERY} are allowed", path.display()));
    }
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return fault(format!("`query`: {} cannot be read: {error}", path.display())),
    };
    if let Some(what) = misplaced(&text) {
        return fault(format!("`query`: {}: {what}", path.display()));
    }
    if !all_rows && !text.contains(BATCHES) {
        let what = format!(
            "`query`: {} has no {BATCHES}: it would read the rows of all batches for every request; if that is meant, set \
             `all_rows = true`",
            path.display()
        );
        return fault(what);
    }
    Some(text)
}

/// What is wrong with the placeholders of a query.
fn misplaced(query: &str) -> Option<String> {
    for (at, _) in query.match_indices("{request.") {
        let rest = &query[at..];
        let Some(placeholder) = Placeholder::ALL.into_iter().find(|one| rest.starts_with(one.text())) else {
            let name = rest.split_inclusive('}').next().filter(|name| name.len() < 50).unwrap_or("{request.…}");
            let known = Placeholder::ALL.map(Placeholder::text);
            return Some(format!("unknown placeholder {name}; there are {}", known.join(", ")));
        };
        let around = [query[..at].chars().next_back(), rest[placeholder.text().len()..].chars().next()];
        if around.into_iter().flatten().any(|next| "'\"`".contains(next)) {
            return Some(format!("{} stands in quotes: it is a value by itself", placeholder.text()));
        }
    }
    None
}

/// The columns, and whether one of them is personal.
fn columns(sections: &[Section<'_>]) -> (Vec<QueryColumn>, bool) {
    let (mut columns, mut has_personal, mut headings) = (Vec::new(), false, HashSet::new());
    for section in sections {
        has_personal |= section.boolean("personal").unwrap_or_default();
        let Some((name, name_place)) = section.required("name") else { continue };
        let (heading, place) = section.filled("heading").unwrap_or((name, name_place));
        if headings.insert(heading) {
            columns.push(QueryColumn { name: name.to_owned(), heading: heading.to_owned() });
        } else {
            section.faults.add(place, format!("two columns are headed `{heading}`"));
        }
    }
    (columns, has_personal)
}
