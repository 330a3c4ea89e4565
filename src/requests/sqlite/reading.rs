//! What callers of the API see: lists, searches, the line that waits.

use std::cell::RefCell;
use std::collections::VecDeque;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use serde_json::json;

use super::super::encryption::protected;
use super::super::paging::{Entry, Place};
use super::super::patience::Patience;
use super::super::reading::{FEW, sqlite_glob};
use super::super::stored::{Loose, StoredNth, StoredTotal, StoredWaiting, text};
use super::super::text::{URLS_OF_MANY, within};
use super::super::times::read_time;
use super::super::{COUNTED, QueueError, Reader, RequestKey, RequestRow, Search, Status};
use super::columns;

#[declare_sql_function]
extern "SQL" {
    /// The day (UTC) of a time as others write it, as `2026-01-31`; NULL where it is none.
    fn exhaust_day(time: Nullable<Binary>) -> Nullable<Text>;
    /// Whether nobody waits any more for the statement that this thread runs.
    fn exhaust_is_over() -> diesel::sql_types::Bool;
}

thread_local! {
    /// Who waits for the statement that this thread runs, and how often it has asked.
    static WAITS: RefCell<Option<(Patience, u32)>> = const { RefCell::new(None) };
}

/// Each how many rows a statement looks whether anybody still waits for it.
const LOOK: u32 = 256;

/// Gives a connection the functions: no SQL reads all the forms of time that others write, and diesel has no way to
/// interrupt a statement.
pub(super) fn know_functions(conn: &mut SqliteConnection) -> QueryResult<()> {
    exhaust_day_utils::register_impl(conn, |time: Option<Vec<u8>>| {
        read_time(&String::from_utf8_lossy(&time?)).map(|time| time.date_naive().to_string())
    })?;
    exhaust_is_over_utils::register_nondeterministic_impl(conn, || {
        WAITS.with_borrow_mut(|waits| {
            let Some((patience, asked)) = waits else { return false };
            *asked = asked.wrapping_add(1);
            *asked % LOOK == 0 && patience.is_over()
        })
    })
}

/// Runs statements that end with an error once nobody waits for them: those that ask [`go_on`] for each row.
pub(super) fn while_waiting<T>(patience: &Patience, statements: impl FnOnce() -> T) -> T {
    WAITS.set(Some((patience.clone(), 0)));
    let answer = statements();
    WAITS.set(None);
    answer
}

/// A condition that is looked at first, row by row, and breaks the statement off when nobody waits for it any more: no text
/// is empty JSON.
fn go_on(condition: &str) -> String {
    format!("CASE WHEN exhaust_is_over() THEN json('') ELSE ({condition}) END")
}

/// A value of a statement.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Blob(Vec<u8>),
    Integer(i64),
    Real(f64),
}

/// A statement and its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    pub(super) sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// The place of a value in the text.
    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn list(&mut self, list: impl serde::Serialize) -> String {
        let json = self.value(Value::Text(json!(list).to_string()));
        format!("(SELECT value FROM json_each({json}))")
    }

    fn load<T>(self, conn: &mut SqliteConnection) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let mut query = sql_query(self.sql).into_boxed::<Sqlite>();
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind::<Text, _>(text),
                Value::Blob(bytes) => query.bind::<Binary, _>(bytes),
                Value::Integer(number) => query.bind::<BigInt, _>(number),
                Value::Real(number) => query.bind::<Double, _>(number),
            };
        }
        query.load(conn)
    }
}

/// Rows that the reader may see.
fn visible(reader: &Reader, statement: &mut Statement) -> Vec<String> {
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

/// Rows that a search matches. The conditions on status are apart: an index has them.
fn searched(search: &Search, statement: &mut Statement) -> (Vec<String>, Option<String>) {
    let mut conditions = Vec::new();
    if let Some(jobs) = &search.job_ids {
        conditions.push(format!("job_id IN {}", statement.list(jobs)));
    }
    if let Some(channels) = &search.channels {
        conditions.push(format!("requested_channel IN {}", statement.list(channels)));
    }
    if let Some(day) = search.submitted_on {
        let day = statement.value(Value::Text(day.to_string()));
        conditions.push(format!("exhaust_day(CAST(CAST(dt_job_submitted AS TEXT) AS BLOB)) = {day}"));
    }
    (conditions, search.statuses.as_ref().map(|statuses| format!("status IN {}", statement.list(statuses))))
}

/// Whether only rows that have not ended are looked for: they are few, whatever the table holds.
fn wants_open(search: &Search) -> bool {
    let is_open = |status: &String| matches!(Status::parse(status), Some(Status::Submitted | Status::Processing));
    search.statuses.as_ref().is_some_and(|statuses| statuses.iter().all(is_open))
}

/// The condition of the index `job_request_open`.
const OPEN: &str = "status IN ('SUBMITTED', 'PROCESSING')";

/// A key that is not text names no row, and one of a thousand characters none of ours.
const NAMED: &str = "typeof(tag) = 'text' AND typeof(request_id) = 'text'
    AND octet_length(tag) <= 1000 AND octet_length(request_id) <= 1000";

/// The forms of time, `@` being the column. Others write times in several forms, and raw values sort only within one form:
/// numbers come before text, and seconds before milliseconds. So rows of each form are read apart, each from the index
/// `job_request_newest` (of one tag) or `job_request_newest_of_all`, and merged. Text below '19-' is epoch numbers in a text
/// column (of seconds and milliseconds, which sort together as text), until 2030; the dash keeps a numeric column from
/// reading it as a number. From ':' on, after the digits, there are no times. Within a day, `T` sorts after a space:
/// where one tag mixes both forms, the edge of a page may be off by hours.
const FORMS: [&str; 6] = [
    "@ >= '19-' AND @ < ':'",
    "@ >= ':'",
    "@ >= '' AND @ < '19-'",
    "@ >= 100000000000 AND @ < ''",
    "@ < 100000000000 AND typeof(dt_job_submitted) <> 'text'",
    "@ IS NULL",
];

/// Bytes of a time that a place remembers: no time is as long.
const LONGEST_TIME: usize = 200;

/// The last row of one form that a page has, by its raw time and key.
#[derive(Clone, Debug, PartialEq)]
struct Last {
    /// `None`: NULL.
    submitted: Option<Value>,
    /// Bytes, as a key of others may be no UTF-8.
    tag: Vec<u8>,
    request_id: Vec<u8>,
}

/// Where a page begins: in each form of time after its last row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Begin([Option<Last>; FORMS.len()]);

impl Begin {
    fn place(&self) -> Place {
        let time = |time: &Option<Value>| match time {
            None => json!(null),
            Some(Value::Text(text)) => json!(["t", text]),
            Some(Value::Blob(bytes)) => json!(["b", bytes]),
            Some(Value::Integer(number)) => json!(["i", number.to_string()]),
            Some(Value::Real(number)) => json!(["r", number.to_string()]),
        };
        let text = |bytes: &Vec<u8>| std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
        let last = |last: &Option<Last>| {
            let last =
                last.as_ref().map(|last| json!([time(&last.submitted), text(&last.tag), text(&last.request_id)]));
            last.unwrap_or_default()
        };
        Place(serde_json::Value::from(self.0.iter().map(last).collect::<Vec<_>>()).to_string())
    }

    /// What clients have sent may be anything.
    fn read(place: &Place) -> Option<Self> {
        type Json = serde_json::Value;
        let read: Vec<Option<(Json, Json, Json)>> = serde_json::from_str(&place.0).ok()?;
        let bytes = |text: Json| match text {
            Json::String(text) => Some(text.into_bytes()),
            bytes => serde_json::from_value(bytes).ok(),
        };
        let time = |time: &serde_json::Value| -> Option<Option<Value>> {
            if time.is_null() {
                return Some(None);
            }
            let (kind, value) = (time.get(0)?.as_str()?, time.get(1)?);
            Some(Some(match kind {
                "t" => Value::Text(value.as_str()?.to_owned()),
                "b" => Value::Blob(serde_json::from_value(value.clone()).ok()?),
                "i" => Value::Integer(value.as_str()?.parse().ok()?),
                "r" => Value::Real(value.as_str()?.parse().ok()?),
                _ => return None,
            }))
        };
        let mut begin = Self::default();
        if read.len() != begin.0.len() {
            return None;
        }
        for (last, read) in begin.0.iter_mut().zip(read) {
            if let Some((submitted, tag, request_id)) = read {
                let submitted = time(&submitted)?;
                *last = Some(Last { submitted, tag: bytes(tag)?, request_id: bytes(request_id)? });
            }
        }
        // A row has either a time in this form or, in the last one, none.
        let fits = |(form, last): (usize, &Option<Last>)| {
            last.as_ref().is_none_or(|last| last.submitted.is_none() == (form == FORMS.len() - 1))
        };
        begin.0.iter().enumerate().all(fits).then_some(begin)
    }
}

pub(super) fn begin(after: Option<&Place>) -> Result<Begin, QueueError> {
    after.map_or_else(|| Ok(Begin::default()), |place| Begin::read(place).ok_or(QueueError::NoPlace))
}

/// The newest rows of each form of time, each in the order of its raw times: at most `limit` of each.
///
/// `by_index`: not, where another index leads to few rows, which are sorted then (the plus keeps SQLite from those on times).
/// `day`: only that day's, as far as raw times tell it.
fn newest(
    mut statement: Statement,
    conditions: &[String],
    begin: &Begin,
    (by_index, day): (bool, Option<NaiveDate>),
    limit: u32,
) -> Statement {
    let submitted = if by_index { "dt_job_submitted" } else { "+dt_job_submitted" };
    let limit = statement.value(Value::Integer(i64::from(limit)));
    let branches = FORMS.iter().enumerate().map(|(form, is_of_form)| {
        let mut conditions = conditions.to_vec();
        conditions.push(is_of_form.replace('@', submitted));
        if let (Some(day), 0) = (day, form) {
            conditions.extend(around(day, submitted, &mut statement));
        }
        if let Some(last) = &begin.0[form] {
            let mut text = |bytes: &Vec<u8>| format!("CAST({} AS TEXT)", statement.value(Value::Blob(bytes.clone())));
            let (tag, request_id) = (text(&last.tag), text(&last.request_id));
            // The plus keeps SQLite from looking these up.
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

/// What of the dates (the first form) may be on a day: an offset may put a date some days off, and one that is not written
/// with two digits each sorts elsewhere in its year.
fn around(day: NaiveDate, submitted: &str, statement: &mut Statement) -> Option<String> {
    let (from, until) = (day.checked_sub_days(Days::new(6))?, day.checked_add_days(Days::new(6))?);
    let mut text = |text: String| statement.value(Value::Text(text));
    let years = [text(format!("{:04}-", from.year())), text(format!("{:04}.", until.year()))];
    let days = [text(from.to_string()), text(until.to_string())];
    Some(format!(
        "{submitted} >= {} AND {submitted} < {} AND (dt_job_submitted BETWEEN {} AND {}
            OR dt_job_submitted NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*')",
        years[0], years[1], days[0], days[1]
    ))
}

#[derive(QueryableByName)]
struct Listed {
    #[diesel(sql_type = Integer)]
    form: i32,
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    kind: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    submitted: Option<Vec<u8>>,
}

impl Listed {
    /// The row as a place remembers it.
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

impl Last {
    fn time(&self) -> Option<DateTime<Utc>> {
        match self.submitted.as_ref()? {
            Value::Text(text) => read_time(text),
            Value::Blob(bytes) => read_time(&String::from_utf8_lossy(bytes)),
            Value::Integer(number) => read_time(&number.to_string()),
            Value::Real(number) => read_time(&number.to_string()),
        }
    }
}

/// Merges the forms of time: always the newest of what each has next.
fn merged(rows: Vec<Listed>, mut begin: Begin, limit: u32) -> Vec<Entry> {
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
        // A key that is no UTF-8 names no row that could be read; its place is one all the same.
        let key = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let key = RequestKey { tag: key(&last.tag), request_id: key(&last.request_id) };
        begin.0[form] = Some(last);
        entries.push(Entry { key, place: begin.place() });
    }
    entries
}

pub(super) fn of_tag(tag: &str, reader: &Reader, begin: &Begin, limit: u32) -> Statement {
    let mut statement = Statement::default();
    let tag = statement.value(Value::Text(tag.to_owned()));
    let conditions = [vec![format!("tag = {tag}"), NAMED.to_owned()], visible(reader, &mut statement)].concat();
    newest(statement, &conditions, begin, (true, None), limit)
}

pub(super) fn of_all(reader: &Reader, begin: &Begin, limit: u32) -> Statement {
    let mut statement = Statement::default();
    let conditions = [vec![NAMED.to_owned()], visible(reader, &mut statement)].concat();
    newest(statement, &conditions, begin, (true, None), limit)
}

pub(super) fn list(
    conn: &mut SqliteConnection,
    tag: Option<&str>,
    reader: &Reader,
    begin: Begin,
    limit: u32,
) -> QueryResult<Vec<Entry>> {
    let statement = match tag {
        Some(tag) => of_tag(tag, reader, &begin, limit),
        None => of_all(reader, &begin, limit),
    };
    Ok(merged(statement.load(conn)?, begin, limit))
}

/// What counts the rows that match, up to one more than [`COUNTED`].
pub(super) fn count_of(search: &Search, reader: &Reader) -> Statement {
    if search.submitted_on.is_some() {
        // The rows of a day are found by the index on times.
        let most = u32::try_from(COUNTED + 1).unwrap_or(u32::MAX);
        let mut statement = of_search(search, reader, &Begin::default(), most, COUNTED + 1);
        let rows = std::mem::take(&mut statement.sql);
        statement.sql = format!("SELECT NULL AS tag, count(*) AS total FROM (SELECT 1 FROM ({rows}) LIMIT {most})");
        return statement;
    }
    let mut statement = Statement::default();
    let (mut conditions, status) = searched(search, &mut statement);
    conditions.extend(visible(reader, &mut statement));
    conditions.push(NAMED.to_owned());
    let mut indexed: Vec<String> = status.into_iter().collect();
    if wants_open(search) {
        indexed.push(OPEN.to_owned());
    }
    indexed.push(go_on(&conditions.join(" AND ")));
    statement.sql = format!(
        "SELECT NULL AS tag, count(*) AS total FROM (SELECT 1 FROM job_request WHERE {} LIMIT {})",
        indexed.join(" AND "),
        COUNTED + 1
    );
    statement
}

/// What gives the newest rows that match, of `total`.
pub(super) fn of_search(search: &Search, reader: &Reader, begin: &Begin, limit: u32, total: u64) -> Statement {
    let mut statement = Statement::default();
    let (mut conditions, status) = searched(search, &mut statement);
    conditions.extend(visible(reader, &mut statement));
    conditions.push(NAMED.to_owned());
    // Few rows of a status are sorted; of many the newest are soon found, from the newest row on.
    let by_status = status.is_some() && (wants_open(search) || total <= FEW);
    let mut indexed = Vec::new();
    match status {
        Some(status) if by_status => indexed.push(status),
        Some(status) => conditions.push(format!("+{status}")),
        None => {}
    }
    if wants_open(search) {
        indexed.push(OPEN.to_owned());
    }
    indexed.push(go_on(&conditions.join(" AND ")));
    newest(statement, &indexed, begin, (!by_status, search.submitted_on), limit)
}

pub(super) fn count(conn: &mut SqliteConnection, search: &Search, reader: &Reader) -> QueryResult<u64> {
    let totals: Vec<StoredTotal> = count_of(search, reader).load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

pub(super) fn search(
    conn: &mut SqliteConnection,
    search: &Search,
    reader: &Reader,
    (begin, limit, total): (Begin, u32, u64),
) -> QueryResult<Vec<Entry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let statement = of_search(search, reader, &begin, limit, total);
    Ok(merged(statement.load(conn)?, begin, limit))
}

/// In the order of the keys, which come as a JSON array of pairs; ?2 is how many bytes may come before the last row.
const ROWS: &str = concat!(
    "SELECT ",
    columns!(),
    ", n FROM (
        SELECT n, wanted_tag, wanted_id, sum(bytes) OVER (ORDER BY n) - bytes AS before FROM (
            SELECT wanted.key AS n, tag AS wanted_tag, request_id AS wanted_id,
                1000 + CASE WHEN octet_length(request_data) <= {most} THEN octet_length(request_data) ELSE 0 END
                    + CASE WHEN octet_length(download_urls) <= {urls} THEN octet_length(download_urls) ELSE 0 END
                    + min(coalesce(octet_length(job_stats), 0), 2097152)
                    + min(coalesce(octet_length(err_detail), 0), 400000) AS bytes
            FROM json_each(?1) AS wanted CROSS JOIN job_request
            WHERE tag = wanted.value ->> 0 AND request_id = wanted.value ->> 1
        )
    ) CROSS JOIN job_request
    WHERE before < ?2 AND tag = wanted_tag AND request_id = wanted_id
    ORDER BY n"
);

pub(super) fn rows(
    conn: &mut SqliteConnection,
    keys: &[RequestKey],
    most: u64,
    bytes: u64,
) -> QueryResult<Vec<(usize, RequestRow)>> {
    let keys: Vec<_> = keys.iter().map(|key| (&key.tag, &key.request_id)).collect();
    let found: Vec<StoredNth> = sql_query(within(ROWS, most, URLS_OF_MANY))
        .bind::<Text, _>(json!(keys).to_string())
        .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX))
        .load(conn)?;
    Ok(found.into_iter().map(|row| row.nth(0)).collect())
}

/// The condition on both statuses is the index' own; the claim has it too.
pub(super) const WAITING: &str = "SELECT tag, request_id, dt_job_submitted AS submitted,
        next_attempt_at IS NOT NULL AND next_attempt_at > ?2 AS backing_off
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN ('SUBMITTED', 'PROCESSING')
        AND status = 'SUBMITTED' AND typeof(tag) = 'text' AND typeof(request_id) = 'text'";

pub(super) fn waiting(conn: &mut SqliteConnection, now: &str, job_ids: &[String]) -> QueryResult<Vec<StoredWaiting>> {
    sql_query(WAITING).bind::<Text, _>(json!(job_ids).to_string()).bind::<Text, _>(now).load(conn)
}

pub(super) fn open_by_tag(conn: &mut SqliteConnection) -> QueryResult<Vec<StoredTotal>> {
    sql_query("SELECT tag, count(*) AS total FROM job_request WHERE status IN ('SUBMITTED', 'PROCESSING') GROUP BY tag")
        .load(conn)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_statement_ends_when_nobody_waits_for_it() {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        know_functions(&mut conn).unwrap();
        let endless = |rows: &str, conn: &mut SqliteConnection| {
            let sql = format!(
                "SELECT NULL AS tag, count(*) AS total FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                SELECT i FROM n {rows}) WHERE {}",
                go_on("i % 2 = 0")
            );
            Statement { sql, values: Vec::new() }.load::<StoredTotal>(conn).map(|totals| totals[0].total())
        };
        let patience = Patience::of(Duration::from_hours(1));
        let leaving = patience.clone();
        let other = std::thread::spawn(move || leaving.leave());
        assert!(while_waiting(&patience, || endless("", &mut conn)).is_err());
        other.join().unwrap();
        let over = Patience::of(Duration::ZERO);
        assert!(while_waiting(&over, || endless("", &mut conn)).is_err());
        // Neither the connection nor the thread remembers it.
        assert_eq!(endless("LIMIT 1000", &mut conn), Ok(500));
        let waits = Patience::of(Duration::from_hours(1));
        assert_eq!(while_waiting(&waits, || endless("LIMIT 1000", &mut conn)), Ok(500));
    }
}
