//! The newest rows that a reader may see, page by page.

use std::collections::VecDeque;

use chrono::{DateTime, Datelike, Days, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Integer, Nullable};
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::super::access::{Reader, sqlite_glob};
use super::super::filter::TimeRange;
use super::super::paging::PageEntry;
use super::super::stored::{LenientText, text};
use super::super::types::RequestKey;
use super::page_start::{Begin, FORMS, LONGEST_TIME, Last};
use super::statement::{Statement, Value};

/// A key that is not text names no row; one of more than a thousand bytes is not ours.
pub(super) const NAMED: &str = "typeof(tag) = 'text' AND typeof(request_id) = 'text'
    AND octet_length(tag) <= 1000 AND octet_length(request_id) <= 1000";

/// The conditions for rows that the reader may see.
pub(super) fn visible(reader: &Reader, statement: &mut Statement) -> Vec<String> {
    let mut conditions = Vec::new();
    let mut matches = |column: &str, globs: &[String]| {
        let globs: Vec<String> = globs.iter().map(|glob| sqlite_glob(glob)).collect();
        let globs = statement.value(Value::Text(json!(globs).to_string()));
        format!("EXISTS (SELECT 1 FROM json_each({globs}) WHERE job_request.{column} GLOB value)")
    };
    if !reader.tags.is_empty() {
        conditions.push(matches("tag", &reader.tags));
    }
    if let Some(channels) = &reader.channels {
        conditions.push(matches("requested_channel", channels));
        let allowed = statement.value(Value::Text(reader.allowed_channels().unwrap_or_default()));
        conditions.push(format!("(allowed_channels IS NULL OR allowed_channels = {allowed})"));
    }
    conditions
}

/// The newest rows of each form of time, each in the order of the times as stored: at most `limit` of each form.
///
/// `by_index`: `false` where another index leads to few rows, which are then sorted (the plus keeps SQLite from using the index
/// on times). `range`: only rows of that time, as far as times as stored tell it.
pub(super) fn newest(
    mut statement: Statement,
    conditions: &[String],
    begin: &Begin,
    (by_index, range): (bool, TimeRange),
    limit: u32,
) -> Statement {
    let submitted = if by_index { "dt_job_submitted" } else { "+dt_job_submitted" };
    let limit = statement.value(Value::Integer(i64::from(limit)));
    let branches = FORMS.iter().enumerate().map(|(form, is_of_form)| {
        let mut conditions = conditions.to_vec();
        let dates = if form == 0 { dates(range, submitted, &mut statement) } else { None };
        conditions.push(dates.unwrap_or_else(|| is_of_form.replace('@', submitted)));
        if let Some(last) = &begin.0[form] {
            let mut text = |bytes: &Vec<u8>| format!("CAST({} AS TEXT)", statement.value(Value::Blob(bytes.clone())));
            let (tag, request_id) = (text(&last.tag), text(&last.request_id));
            // The plus keeps SQLite from using an index on these.
            let beyond = format!("(+tag > {tag} OR +tag = {tag} AND +request_id > {request_id})");
            conditions.push(match &last.submitted {
                None => beyond,
                Some(at) => {
                    let at = statement.value(at.clone());
                    format!("{submitted} <= {at} AND (+dt_job_submitted < {at} OR {beyond})")
                }
            });
        }
        format!(
            "SELECT * FROM (SELECT {form} AS form, tag, request_id, typeof(dt_job_submitted) AS kind,
                CASE typeof(dt_job_submitted) WHEN 'real' THEN format('%!.17g', dt_job_submitted)
                    ELSE substr(dt_job_submitted, 1, {LONGEST_TIME}) END AS submitted
            FROM job_request WHERE {} ORDER BY {submitted} DESC, tag, request_id LIMIT {limit})",
            conditions.join(" AND ")
        )
    });
    let branches: Vec<String> = branches.collect();
    statement.sql = branches.join(" UNION ALL ");
    statement
}

/// The dates (of the first form) that may be in a range, as far as the text tells: an offset may move a date by some days. A date
/// without two digits for month and day is not found: it sorts anywhere in its year. SQLite takes one bound at each end to the index,
/// so these are in place of the form's own. `None`: any date may be.
fn dates(range: TimeRange, column: &str, statement: &mut Statement) -> Option<String> {
    if range.is_open() {
        return None;
    }
    let from = range.from.and_then(|from| from.date_naive().checked_sub_days(Days::new(6)));
    let until = range.until.and_then(|until| until.date_naive().checked_add_days(Days::new(6)));
    // Dates with more or fewer than four digits of the year do not sort.
    let [from, until] = [from, until].map(|day| day.filter(|day| (1000..=9999).contains(&day.year())));
    let from = from.map_or_else(String::new, |day| day.to_string()).max("19-".to_owned());
    let until = until.map_or_else(|| ":".to_owned(), |day| day.to_string());
    let [from, until] = [from, until].map(|bound| statement.value(Value::Text(bound)));
    Some(format!("{column} >= {from} AND {column} < {until}"))
}

/// The same for a column of any form of time, each form by a search of its own in the index on that column: of an OR SQLite believes
/// that it costs more than to read the table. `condition` is the exact one; the index has all that it looks at. No row without a
/// time is in a range.
pub(super) fn around(range: TimeRange, column: &str, condition: &str, statement: &mut Statement) -> Option<String> {
    let dates = dates(range, column, statement)?;
    let others = FORMS[1..FORMS.len() - 1].iter().map(|form| form.replace('@', column));
    let forms = [dates].into_iter().chain(others);
    let rows = forms.map(|form| format!("SELECT rowid FROM job_request WHERE {form} AND {condition}"));
    Some(format!("rowid IN ({})", rows.collect::<Vec<_>>().join(" UNION ALL ")))
}

#[derive(QueryableByName)]
pub(super) struct Listed {
    #[diesel(sql_type = Integer)]
    form: i32,
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    kind: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    submitted: Option<Vec<u8>>,
}

impl Listed {
    /// The row as a cursor holds it.
    fn last(self) -> Option<(usize, Last)> {
        let bytes = self.submitted.unwrap_or_default();
        let as_text = || String::from_utf8_lossy(&bytes).into_owned();
        let submitted = match text(self.kind)?.as_str() {
            "null" => None,
            "integer" => Some(Value::Integer(as_text().parse().ok()?)),
            "real" => Some(Value::Real(as_text().parse().ok()?)),
            "blob" => Some(Value::Blob(bytes)),
            _ => Some(Value::Text(as_text())),
        };
        let Self { form, tag, request_id, .. } = self;
        Some((usize::try_from(form).ok()?, Last { submitted, tag, request_id }))
    }
}

/// Merges the forms of time: the newest row of all forms comes next.
pub(super) fn merged(rows: Vec<Listed>, mut begin: Begin, limit: u32) -> Vec<PageEntry> {
    let mut forms: [VecDeque<(Option<DateTime<Utc>>, Last)>; FORMS.len()] = Default::default();
    for (form, last) in rows.into_iter().filter_map(Listed::last) {
        if let Some(rows) = forms.get_mut(form) {
            rows.push_back((last.time(), last));
        }
    }
    let mut entries = Vec::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while entries.len() < limit {
        let heads = forms.iter().enumerate().filter_map(|(form, rows)| Some((form, rows.front()?)));
        let newest = heads.max_by(|(_, (time, last)), (_, (other_time, other))| {
            time.cmp(other_time).then_with(|| (&other.tag, &other.request_id).cmp(&(&last.tag, &last.request_id)))
        });
        let Some(form) = newest.map(|(form, _)| form) else { break };
        let Some((_, last)) = forms[form].pop_front() else { break };
        // A key that is not UTF-8 names no row that could be read; a page can begin after it all the same.
        let key = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let key = RequestKey { tag: key(&last.tag), request_id: key(&last.request_id) };
        begin.0[form] = Some(last);
        entries.push(PageEntry { key, cursor: begin.cursor() });
    }
    entries
}

pub(super) fn of_tag(tag: &str, reader: &Reader, begin: &Begin, limit: u32) -> Statement {
    let mut statement = Statement::default();
    let tag = statement.value(Value::Text(tag.to_owned()));
    let conditions = [vec![format!("tag = {tag}"), NAMED.to_owned()], visible(reader, &mut statement)].concat();
    newest(statement, &conditions, begin, (true, TimeRange::default()), limit)
}

pub(super) fn of_all(reader: &Reader, begin: &Begin, limit: u32) -> Statement {
    let mut statement = Statement::default();
    let conditions = [vec![NAMED.to_owned()], visible(reader, &mut statement)].concat();
    newest(statement, &conditions, begin, (true, TimeRange::default()), limit)
}

pub(super) fn list(
    conn: &mut SqliteConnection,
    tag: Option<&str>,
    reader: &Reader,
    begin: &Begin,
    limit: u32,
) -> QueryResult<Vec<PageEntry>> {
    let statement = match tag {
        Some(tag) => of_tag(tag, reader, begin, limit),
        None => of_all(reader, begin, limit),
    };
    Ok(merged(statement.load(conn)?, begin.clone(), limit))
}
