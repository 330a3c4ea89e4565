//! What callers of the API see: lists, searches, the line that waits.

use chrono::NaiveDateTime;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::encryption::protected;
use super::super::paging::{Entry, Place};
use super::super::reading::{FEW, like_pattern};
use super::super::stored::{Loose, StoredNth, StoredTotal, StoredWaiting, text};
use super::super::text::{URLS_OF_MANY, can_exist, clean, within};
use super::super::{COUNTED, QueueError, Reader, RequestKey, RequestRow, Search};
use super::{columns, now, rows};

/// A value of a statement.
enum Value {
    Text(String),
    Texts(Vec<String>),
}

/// The values of a statement, by number.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn text(&mut self, text: &str) -> String {
        self.0.push(Value::Text(clean(text)));
        format!("${}::text", self.0.len())
    }

    fn texts(&mut self, texts: impl IntoIterator<Item = String>) -> String {
        self.0.push(Value::Texts(texts.into_iter().map(|text| clean(&text)).collect()));
        format!("${}::text[]", self.0.len())
    }
}

/// A statement and its values.
struct Statement {
    sql: String,
    values: Values,
}

impl Statement {
    fn load<T>(self, conn: &mut PgConnection) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Pg> + 'static,
    {
        let mut query = sql_query(self.sql).into_boxed::<Pg>();
        for value in self.values.0 {
            query = match value {
                Value::Text(text) => query.bind::<Text, _>(text),
                Value::Texts(texts) => query.bind::<Array<Text>, _>(texts),
            };
        }
        query.load(conn)
    }
}

/// Rows that the reader may see.
fn visible(reader: &Reader, values: &mut Values) -> Vec<String> {
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

/// Rows that a search matches.
fn searched(search: &Search, values: &mut Values) -> Vec<String> {
    let mut conditions = Vec::new();
    let lists = [("job_id", &search.job_ids), ("status", &search.statuses), ("requested_channel", &search.channels)];
    for (column, list) in lists {
        if let Some(list) = list {
            conditions.push(format!("j.{column} = ANY({})", values.texts(list.iter().cloned())));
        }
    }
    if let Some(day) = search.submitted_on {
        let day = values.text(&day.to_string());
        conditions.push(format!(
            "j.dt_job_submitted >= {day}::timestamp AND j.dt_job_submitted < {day}::timestamp + interval '1 day'"
        ));
    }
    conditions
}

/// The conditions of the indexes `job_request_newest_waiting`, `_working` and `_ended`, so that only the rows of the page are
/// read from each (of a reader with channels, those on the way to them too).
const PARTS: [&str; 3] = [
    "j.status = 'SUBMITTED' AND j.tag >= ''",
    "j.status = 'PROCESSING' AND j.tag >= ''",
    "(j.status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE",
];

/// A time that other programs read as well. Rows with any other one (`infinity`) or with none are as old as can be, and
/// among each other in the order of their keys.
const DATED: &str = "j.dt_job_submitted >= '0001-01-01' AND j.dt_job_submitted <= '9999-12-31 23:59:59.999999'";
const UNDATED: [&str; 3] = [
    "j.dt_job_submitted IS NULL",
    "j.dt_job_submitted < '0001-01-01'",
    "j.dt_job_submitted > '9999-12-31 23:59:59.999999'",
];

/// Where a page begins.
struct After {
    /// As PostgreSQL writes it; `None`: an undated row.
    submitted: Option<String>,
    key: RequestKey,
}

impl After {
    fn place(submitted: Option<&str>, key: &RequestKey) -> Place {
        Place(serde_json::json!([submitted, key.tag, key.request_id]).to_string())
    }

    /// What clients have sent may be anything.
    fn read(place: &Place) -> Result<Self, QueueError> {
        let read = serde_json::from_str::<(Option<String>, String, String)>(&place.0);
        let (submitted, tag, request_id) = read.map_err(|_| QueueError::NoPlace)?;
        let key = RequestKey { tag, request_id };
        let is_time = |text: &String| {
            text.bytes().all(|byte| byte.is_ascii_digit() || b"-: .".contains(&byte))
                && text.as_bytes().get(4) == Some(&b'-')
                && !text.starts_with("0000")
                && NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_ok()
        };
        if !can_exist(&key) || !submitted.as_ref().is_none_or(is_time) {
            return Err(QueueError::NoPlace);
        }
        Ok(Self { submitted, key })
    }
}

/// The keys of the newest rows of `from` (under the name `j`) that meet one of `parts` and all of `conditions`, each part in
/// the order of an index on time and `order`.
fn newest(
    (from, parts, order): (&str, &[&str], &str),
    conditions: &[String],
    after: Option<&After>,
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
        let conditions = [&[(*part).to_owned()], conditions].concat().join(" AND ");
        let mut branch = |form: &str, order: &str| {
            branches.push(format!(
                "(SELECT j.tag, j.request_id, j.dt_job_submitted FROM {from} AS j WHERE {conditions} AND {form}
                ORDER BY {order} LIMIT {limit})"
            ));
        };
        if let Some(form) = &dated {
            branch(form, &by_time);
        }
        let [none, before, behind] = &undated;
        branch(none, &by_time);
        // Few, in the order of their keys whatever their time.
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

#[derive(QueryableByName)]
struct Listed {
    #[diesel(sql_type = Nullable<diesel::sql_types::Binary>)]
    tag: Option<Loose>,
    #[diesel(sql_type = Nullable<diesel::sql_types::Binary>)]
    request_id: Option<Loose>,
    #[diesel(sql_type = Nullable<diesel::sql_types::Binary>)]
    submitted: Option<Loose>,
}

fn entries(rows: Vec<Listed>) -> Vec<Entry> {
    let entry = |row: Listed| {
        let key = RequestKey { tag: text(row.tag)?, request_id: text(row.request_id)? };
        let place = After::place(text(row.submitted).as_deref(), &key);
        Some(Entry { key, place })
    };
    rows.into_iter().filter_map(entry).collect()
}

/// Reads what a page begins after.
pub(super) struct Begin(Option<After>);

pub(super) fn begin(after: Option<&Place>) -> Result<Begin, QueueError> {
    after.map(After::read).transpose().map(Begin)
}

pub(super) fn list(
    conn: &mut PgConnection,
    tag: Option<&str>,
    reader: &Reader,
    begin: &Begin,
    limit: u32,
) -> QueryResult<Vec<Entry>> {
    let mut values = Values::default();
    let mut conditions = visible(reader, &mut values);
    // Of all tags in the order of the index `job_request_newest_of_all`.
    let statement = match tag {
        None => newest(("job_request", &["TRUE"], "j.tag, j.request_id"), &conditions, begin.0.as_ref(), limit, values),
        Some(tag) => {
            conditions.push(format!("j.tag = {}", values.text(tag)));
            newest(("job_request", &PARTS, "j.request_id"), &conditions, begin.0.as_ref(), limit, values)
        }
    };
    statement.load(conn).map(entries)
}

/// How many rows match, counted up to one more than [`COUNTED`].
pub(super) fn count(conn: &mut PgConnection, search: &Search, reader: &Reader) -> QueryResult<u64> {
    let mut values = Values::default();
    let conditions = [vec!["TRUE".to_owned()], searched(search, &mut values), visible(reader, &mut values)].concat();
    let sql = format!(
        "SELECT NULL::text AS tag, count(*) AS total FROM (
            SELECT FROM job_request AS j WHERE {} LIMIT {}
        ) AS matching",
        conditions.join(" AND "),
        COUNTED + 1
    );
    let totals: Vec<StoredTotal> = Statement { sql, values }.load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

/// The newest that match, of so many.
pub(super) fn search(
    conn: &mut PgConnection,
    search: &Search,
    reader: &Reader,
    (begin, limit, total): (&Begin, u32, u64),
) -> QueryResult<Vec<Entry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let mut values = Values::default();
    let conditions = [searched(search, &mut values), visible(reader, &mut values)].concat();
    let order = "j.tag, j.request_id";
    if total > FEW || conditions.is_empty() {
        let statement = newest(("job_request", &["TRUE"], order), &conditions, begin.0.as_ref(), limit, values);
        return statement.load(conn).map(entries);
    }
    // Few are found as they were counted, and sorted; from the newest on they may be a whole table apart.
    let mut statement = newest(("matching", &["TRUE"], order), &[], begin.0.as_ref(), limit, values);
    statement.sql = format!(
        "WITH matching AS MATERIALIZED (
            SELECT j.tag, j.request_id, j.dt_job_submitted FROM job_request AS j WHERE {}
        ) {}",
        conditions.join(" AND "),
        statement.sql
    );
    statement.load(conn).map(entries)
}

/// In the order of the keys; `$1` and `$2` are these, `$3` how many bytes may come before the last row.
const ROWS: &str = concat!(
    "SELECT ",
    columns!(),
    ", w.n FROM (
        SELECT w.n, w.tag, w.request_id, sum(w.bytes) OVER (ORDER BY w.n) - w.bytes AS before FROM (
            SELECT w.n, w.tag, w.request_id,
                1000 + CASE WHEN octet_length(l.data) <= {most} THEN octet_length(l.data) ELSE 0 END
                    + CASE WHEN octet_length(l.urls) <= {urls} THEN octet_length(l.urls) ELSE 0 END
                    + least(coalesce(octet_length(l.stats), 0), 2097152)
                    + least(coalesce(octet_length(j.err_detail), 0), 400000) AS bytes
            FROM ",
    rows!(
        "unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (tag, request_id, n)
                JOIN job_request AS j ON j.tag = w.tag AND j.request_id = w.request_id"
    ),
    ") AS w
    ) AS w JOIN ",
    rows!("job_request AS j ON j.tag = w.tag AND j.request_id = w.request_id"),
    " WHERE w.before < $3 ORDER BY w.n"
);

pub(super) fn rows(
    conn: &mut PgConnection,
    keys: &[RequestKey],
    most: u64,
    bytes: u64,
) -> QueryResult<Vec<(usize, RequestRow)>> {
    let found: Vec<StoredNth> = sql_query(within(ROWS, most, URLS_OF_MANY))
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.tag.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.request_id.as_str()).collect::<Vec<_>>())
        .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX))
        .load(conn)?;
    Ok(found.into_iter().map(|row| row.nth(1)).collect())
}

/// A time that does not read (`infinity`) is as old as none.
const WAITING: &str = concat!(
    "SELECT tag::text AS tag, request_id::text AS request_id,
        CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END::text AS submitted,
        CASE WHEN next_attempt_at > ",
    now!(),
    " THEN 1 ELSE 0 END::bigint AS backing_off
    FROM job_request
    WHERE job_id = ANY($2) AND status = 'SUBMITTED'"
);

pub(super) fn waiting(conn: &mut PgConnection, shift: i64, job_ids: &[String]) -> QueryResult<Vec<StoredWaiting>> {
    let job_ids: Vec<String> = job_ids.iter().map(|id| clean(id)).collect();
    sql_query(WAITING).bind::<BigInt, _>(shift).bind::<Array<Text>, _>(job_ids).load(conn)
}

pub(super) fn open_by_tag(conn: &mut PgConnection) -> QueryResult<Vec<StoredTotal>> {
    sql_query(
        "SELECT tag::text AS tag, count(*) AS total FROM (
            SELECT tag FROM job_request WHERE status = 'SUBMITTED' AND tag >= ''
            UNION ALL
            SELECT tag FROM job_request WHERE status = 'PROCESSING' AND tag >= ''
        ) AS open GROUP BY 1",
    )
    .load(conn)
}
