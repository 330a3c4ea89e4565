//! The newest rows that a reader may see, page by page.

use diesel::pg::PgConnection;
use diesel::prelude::*;

use super::super::access::{Reader, like_pattern};
use super::super::filter::Filter;
use super::super::paging::PageEntry;
use super::super::status::{Status, open_statuses};
use super::super::stored::{LenientText, stored_row, text};
use super::super::types::RequestKey;
use super::page_start::{After, Begin};
use super::statement::{Statement, Values};

/// The conditions for rows that the reader may see.
pub(super) fn visible(reader: &Reader, values: &mut Values) -> Vec<String> {
    let mut conditions = Vec::new();
    let mut patterns = |globs: &[String]| values.texts(globs.iter().map(|glob| like_pattern(glob)));
    if !reader.tags.is_empty() {
        conditions.push(format!("j.tag LIKE ANY({})", patterns(&reader.tags)));
    }
    if let Some(channels) = &reader.channels {
        conditions.push(format!("j.requested_channel LIKE ANY({})", patterns(channels)));
        let allowed = values.text(&reader.allowed_channels().unwrap_or_default());
        conditions.push(format!("(j.allowed_channels IS NULL OR j.allowed_channels = {allowed})"));
    }
    conditions
}

/// The conditions of the indexes `job_request_newest_waiting` and `_working`, one for each open state, and of those of ended rows,
/// so that only the rows of the page are read from each (of a reader with channels, those on the way to them too). Only states
/// that the filter wants.
pub(super) fn by_state(filter: &Filter) -> Vec<String> {
    let open = Status::ALL.iter().filter(|status| status.is_open() && filter.wants(status.as_str()));
    let open: Vec<String> = open.map(|status| format!("j.status = '{}' AND j.tag >= ''", status.as_str())).collect();
    // Any other status is one of ended rows.
    let ended = filter.statuses.as_ref().is_none_or(|wanted| open.is_empty() || wanted.len() > open.len());
    open.into_iter()
        .chain(ended.then(|| concat!("(j.status IN (", open_statuses!(), ")) IS NOT TRUE").to_owned()))
        .collect()
}

/// All rows, as one part.
pub(super) fn all() -> [String; 1] {
    ["TRUE".to_owned()]
}

/// A time that other programs can read as well. Rows with any other one (`infinity`) or without one are the oldest, and are
/// ordered by their keys.
const DATED: &str = "j.dt_job_submitted >= '0001-01-01' AND j.dt_job_submitted <= '9999-12-31 23:59:59.999999'";
const UNDATED: [&str; 3] = [
    "j.dt_job_submitted IS NULL",
    "j.dt_job_submitted < '0001-01-01'",
    "j.dt_job_submitted > '9999-12-31 23:59:59.999999'",
];

/// The keys of the newest rows of `from` (under the name `j`) that meet one of `parts` and all of `conditions`. Each part is in
/// the order of an index on time and `order`. `all_dated`: only rows with a time that counts meet the conditions.
pub(super) fn newest(
    (from, parts, order): (&str, &[String], &str),
    conditions: &[String],
    (after, all_dated): (Option<&After>, bool),
    limit: u32,
    mut values: Values,
) -> Statement {
    let beyond = after.map(|after| {
        let (tag, request_id) = (values.text(&after.key.tag), values.text(&after.key.request_id));
        format!("(j.tag, j.request_id) > ({tag}, {request_id})")
    });
    let dated = match (after.map(|after| &after.submitted), &beyond) {
        (Some(Some(submitted)), Some(beyond)) => {
            let at = values.text(submitted);
            let after =
                format!("j.dt_job_submitted <= {at}::timestamp AND (j.dt_job_submitted < {at}::timestamp OR {beyond})");
            Some(format!("{DATED} AND {after}"))
        }
        (Some(None), _) => None,
        _ => Some(DATED.to_owned()),
    };
    let is_among_undated = after.is_some_and(|after| after.submitted.is_none());
    let undated = UNDATED.map(|form| match &beyond {
        Some(beyond) if is_among_undated => format!("{form} AND {beyond}"),
        _ => form.to_owned(),
    });
    let by_time = format!("j.dt_job_submitted DESC NULLS LAST, {order}");
    let mut branches = Vec::new();
    for part in parts {
        let conditions = [std::slice::from_ref(part), conditions].concat().join(" AND ");
        let mut branch = |form: &str, order: &str| {
            branches.push(format!(
                "(SELECT j.tag, j.request_id, j.dt_job_submitted FROM {from} AS j WHERE {conditions} AND {form}
                ORDER BY {order} LIMIT {limit})"
            ));
        };
        if let Some(form) = &dated {
            branch(form, &by_time);
        }
        if all_dated {
            continue;
        }
        let [none, before, behind] = &undated;
        branch(none, &by_time);
        // These rows are few; they are ordered by their keys, whatever their time.
        branch(before, "j.tag, j.request_id");
        branch(behind, "j.tag, j.request_id");
    }
    let submitted = format!("CASE WHEN {DATED} THEN j.dt_job_submitted END");
    let sql = format!(
        "SELECT j.tag::text AS tag, j.request_id::text AS request_id, j.submitted::text AS submitted FROM (
            SELECT j.tag, j.request_id, {submitted} AS submitted FROM ({}) AS j
        ) AS j ORDER BY j.submitted DESC NULLS LAST, j.tag, j.request_id LIMIT {limit}",
        branches.join(" UNION ALL ")
    );
    Statement { sql, values }
}

stored_row! {
    /// A row of a page.
    Listed { tag, request_id, submitted, }
}

pub(super) fn entries(rows: Vec<Listed>) -> Vec<PageEntry> {
    let entry = |row: Listed| {
        let key = RequestKey { tag: text(row.tag)?, request_id: text(row.request_id)? };
        let cursor = After::cursor(text(row.submitted).as_deref(), &key);
        Some(PageEntry { key, cursor })
    };
    rows.into_iter().filter_map(entry).collect()
}

pub(super) fn list(
    conn: &mut PgConnection,
    tag: Option<&str>,
    reader: &Reader,
    begin: &Begin,
    limit: u32,
) -> QueryResult<Vec<PageEntry>> {
    let mut values = Values::default();
    let mut conditions = visible(reader, &mut values);
    // Rows of all tags come in the order of the index `job_request_newest_of_all`.
    let statement = match tag {
        None => newest(
            ("job_request", &all(), "j.tag, j.request_id"),
            &conditions,
            (begin.0.as_ref(), false),
            limit,
            values,
        ),
        Some(tag) => {
            conditions.push(format!("j.tag = {}", values.text(tag)));
            newest(
                ("job_request", &by_state(&Filter::default()), "j.request_id"),
                &conditions,
                (begin.0.as_ref(), false),
                limit,
                values,
            )
        }
    };
    statement.load(conn).map(entries)
}
