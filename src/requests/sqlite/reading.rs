//! What callers of the API see: lists, searches, the line that waits.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::super::encryption::protected;
use super::super::reading::sqlite_glob;
use super::super::stored::{StoredRow, StoredTotal, StoredWaiting};
use super::super::times::read_time;
use super::super::{Reader, Search, Status};
use super::columns;

#[declare_sql_function]
extern "SQL" {
    /// The day (UTC) of a time as others write it, as `2026-01-31`; NULL where it is none.
    fn exhaust_day(time: Nullable<Binary>) -> Nullable<Text>;
}

/// Gives a connection the function: no SQL reads all the forms of time that others write.
pub(super) fn know_days(conn: &mut SqliteConnection) -> QueryResult<()> {
    exhaust_day_utils::register_impl(conn, |time: Option<Vec<u8>>| {
        read_time(&String::from_utf8_lossy(&time?)).map(|time| time.date_naive().to_string())
    })
}

/// A condition of a list or a search. One that is not asked for only says so: what it would look at needs not be read.
const fn asked(is_asked: bool, condition: &'static str, none: &'static str) -> &'static str {
    if is_asked { condition } else { none }
}

/// Rows that the reader may see: ?3 globs of tags, ?4 globs of channels, ?5 the channels of its own rows.
fn visible(reader: &Reader) -> String {
    let tags = asked(
        !reader.tags.is_empty(),
        "EXISTS (SELECT 1 FROM json_each(?3) WHERE job_request.tag GLOB value)",
        "?3 IS NULL",
    );
    let channels = asked(
        reader.channels.is_some(),
        "EXISTS (SELECT 1 FROM json_each(?4) WHERE job_request.requested_channel GLOB value)
        AND (allowed_channels IS NULL OR allowed_channels = ?5)",
        "?4 IS NULL AND ?5 IS NULL",
    );
    format!("{tags} AND {channels}")
}

/// Rows that a search matches: ?2 job ids, ?6 statuses, ?7 channels, ?8 the day.
fn searched(search: &Search) -> String {
    [
        asked(search.job_ids.is_some(), "job_id IN (SELECT value FROM json_each(?2))", "?2 IS NULL"),
        asked(search.statuses.is_some(), "status IN (SELECT value FROM json_each(?6))", "?6 IS NULL"),
        // The condition of the index `job_request_open`.
        asked(wants_open(search), "status IN ('SUBMITTED', 'PROCESSING')", "TRUE"),
        asked(search.channels.is_some(), "requested_channel IN (SELECT value FROM json_each(?7))", "?7 IS NULL"),
        asked(
            search.submitted_on.is_some(),
            "exhaust_day(CAST(CAST(dt_job_submitted AS TEXT) AS BLOB)) = ?8",
            "?8 IS NULL",
        ),
    ]
    .join(" AND ")
}

/// Whether only rows that have not ended are looked for: they are few, whatever the table holds.
fn wants_open(search: &Search) -> bool {
    let is_open = |status: &String| matches!(Status::parse(status), Some(Status::Submitted | Status::Processing));
    search.statuses.as_ref().is_some_and(|statuses| statuses.iter().all(is_open))
}

/// The newest `?1` rows of each form of time. Others write times in several forms, and raw values sort only within one
/// form: numbers come before text, and seconds before milliseconds. So the newest rows of each form are taken, each from
/// the index `job_request_newest` (of one tag) or `job_request_newest_of_all`, and are sorted after they have been read. Text below '19-' is epoch numbers in a text
/// column (of seconds and milliseconds, which sort together as text), until 2030; the dash keeps a numeric column from
/// reading it as a number. From ':' on, after the digits, there are no times. Within a day, `T` sorts after a space:
/// where one tag mixes both forms, the edge of a list may be off by hours.
///
/// `by_index`: not, where another index leads to few rows, which are sorted then (the plus keeps SQLite from these two).
fn newest(condition: &str, by_index: bool) -> String {
    let forms = [
        "@ >= '19-' AND @ < ':'",
        "@ >= ':'",
        "@ >= '' AND @ < '19-'",
        "@ >= 100000000000 AND @ < ''",
        "@ < 100000000000 AND typeof(dt_job_submitted) <> 'text'",
        "@ IS NULL",
    ];
    let submitted = if by_index { "dt_job_submitted" } else { "+dt_job_submitted" };
    let of_form = |form: &str| {
        let (columns, form) = (columns!(), form.replace('@', submitted));
        format!(
            "SELECT * FROM (SELECT {columns} FROM job_request WHERE {condition} AND {form}
                ORDER BY {submitted} DESC, tag, request_id LIMIT ?1)"
        )
    };
    forms.map(of_form).join(" UNION ALL ")
}

pub(super) fn of_tag(reader: &Reader) -> String {
    newest(&format!("tag = ?2 AND {}", visible(reader)), true)
}

pub(super) fn of_all(reader: &Reader) -> String {
    newest(&format!("?2 IS NULL AND {}", visible(reader)), true)
}

/// What counts the rows, and what gives the newest of them.
pub(super) fn of_search(search: &Search, reader: &Reader) -> (String, String) {
    let condition = format!("{} AND {}", searched(search), visible(reader));
    let count = format!("SELECT NULL AS tag, count(*) AS total FROM job_request WHERE ?1 >= 0 AND {condition}");
    if wants_open(search) {
        return (count, newest(&condition, false));
    }
    // From the newest on until there are enough, not all rows of a status first.
    (count, newest(&condition.replace("status IN (SELECT", "+status IN (SELECT"), true))
}

/// What [`visible`] needs.
struct Sight {
    tags: Option<String>,
    channels: Option<String>,
    allowed: Option<String>,
}

impl Sight {
    fn of(reader: &Reader) -> Self {
        let globs =
            |globs: &[String]| json!(globs.iter().map(|glob| sqlite_glob(glob)).collect::<Vec<_>>()).to_string();
        Self {
            tags: (!reader.tags.is_empty()).then(|| globs(&reader.tags)),
            channels: reader.channels.as_ref().map(|channels| globs(channels)),
            allowed: reader.allowed_channels(),
        }
    }
}

pub(super) fn list(
    conn: &mut SqliteConnection,
    tag: Option<&str>,
    reader: &Reader,
    limit: u32,
) -> QueryResult<Vec<StoredRow>> {
    let sight = Sight::of(reader);
    let sql = if tag.is_some() { of_tag(reader) } else { of_all(reader) };
    sql_query(sql)
        .bind::<BigInt, _>(i64::from(limit))
        .bind::<Nullable<Text>, _>(tag)
        .bind::<Nullable<Text>, _>(sight.tags)
        .bind::<Nullable<Text>, _>(sight.channels)
        .bind::<Nullable<Text>, _>(sight.allowed)
        .load(conn)
}

/// How many match, and the newest of them.
pub(super) fn search(
    conn: &mut SqliteConnection,
    search: &Search,
    reader: &Reader,
    limit: u32,
) -> QueryResult<(u64, Vec<StoredRow>)> {
    let sight = Sight::of(reader);
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| json!(list).to_string());
    let (count, newest) = of_search(search, reader);
    // A macro: the type of a query grows with each value that is bound to it.
    macro_rules! bound {
        ($sql:expr) => {
            sql_query($sql)
                .bind::<BigInt, _>(i64::from(limit))
                .bind::<Nullable<Text>, _>(list(&search.job_ids))
                .bind::<Nullable<Text>, _>(sight.tags.as_deref())
                .bind::<Nullable<Text>, _>(sight.channels.as_deref())
                .bind::<Nullable<Text>, _>(sight.allowed.as_deref())
                .bind::<Nullable<Text>, _>(list(&search.statuses))
                .bind::<Nullable<Text>, _>(list(&search.channels))
                .bind::<Nullable<Text>, _>(search.submitted_on.map(|day| day.to_string()))
        };
    }
    let total: StoredTotal = bound!(count).get_result(conn)?;
    Ok((total.total(), bound!(newest).load(conn)?))
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
