//! Finished rows for retention, and their removal.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::finished::{Finished, FinishedCursor, FinishedPage, RawTime};
use super::super::status::{final_statuses, success};
use super::super::stored::{LenientText, StoredText, urls};
use super::super::times::read_time;
use super::super::types::RequestKey;

/// In the order of the index whose condition it repeats: rows after ?2 to ?4 and before ?5, by the time as stored. A key that is
/// not text names no row.
macro_rules! with_status {
    ($condition:expr) => {
        concat!(
            "SELECT * FROM (SELECT tag, request_id, download_urls, dt_job_completed AS completed,
        CASE WHEN typeof(dt_job_completed) <> 'text' THEN CAST(dt_job_completed AS REAL) END AS number
    FROM job_request
    WHERE job_id = ?1 AND ",
            $condition,
            "
        AND (dt_job_completed, tag, request_id) > (?2, ?3, ?4) AND dt_job_completed < ?5
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text'
    ORDER BY dt_job_completed, tag, request_id LIMIT ?6)"
        )
    };
}

/// From two indexes: `job_request_finished`, and `job_request_finished_elsewhere` for rows that other systems completed.
pub(super) const FINISHED: &str = concat!(
    with_status!(concat!("status IN (", final_statuses!(), ")")),
    " UNION ALL ",
    with_status!(concat!("status = '", success!(), "'")),
    " ORDER BY completed, tag, request_id LIMIT ?6"
);

#[derive(QueryableByName)]
struct StoredFinished {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    download_urls: Option<LenientText>,
    #[diesel(sql_type = Binary)]
    completed: Vec<u8>,
    /// Read as a number, since its text would be rounded.
    #[diesel(sql_type = Nullable<Double>)]
    number: Option<f64>,
}

/// Times as stored sort only within one form, so there is one range for each form: numbers of seconds, of milliseconds, either
/// of them as text, dates. Each holds all old times of its form; the younger ones in it are left out after reading (a day of
/// dates, since an offset may follow them).
fn ranges(cutoff: DateTime<Utc>) -> [(RawTime, RawTime); 4] {
    let millis = cutoff.timestamp_millis();
    #[allow(clippy::cast_precision_loss, reason = "times of this era fit; a millisecond does not count here")]
    let number = millis as f64;
    let day = cutoff.checked_add_signed(TimeDelta::days(1)).unwrap_or(cutoff);
    let text = |text: &str| RawTime::Text(text.to_owned());
    [
        (RawTime::Number(-1e11), RawTime::Number(number / 1000.0 + 1.0)),
        (RawTime::Number(1e11 - 0.5), RawTime::Number(number + 1.0)),
        (text(""), RawTime::Text(format!("{millis}~"))),
        (text("19-"), RawTime::Text(day.format("%Y-%m-%d~").to_string())),
    ]
}

/// The time before which rows must have ended; `None`: earlier than any time.
fn cutoff(now: DateTime<Utc>, older_than: Duration) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(older_than).ok()?)
}

pub(super) fn finished(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_id: &str,
    older_than: Duration,
    after: Option<&FinishedCursor>,
    limit: u32,
) -> QueryResult<FinishedPage> {
    let mut page = FinishedPage::default();
    let Some(cutoff) = cutoff(now, older_than) else { return Ok(page) };
    let mut place = after.cloned();
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    for (from, until) in ranges(cutoff) {
        let none = RequestKey { tag: String::new(), request_id: String::new() };
        let begin = match &place {
            Some(place) if place.completed >= from => place.clone(),
            _ => FinishedCursor { completed: from, key: none },
        };
        if begin.completed >= until {
            continue;
        }
        let mut found = between(conn, job_id, &begin, &until, left)?;
        // A text column compares the bounds of a range of numbers as text. Such rows belong to the ranges of text.
        found.retain(|row| row.number.is_some() == matches!(until, RawTime::Number(_)));
        left -= found.len().min(left);
        for row in found {
            let Some(bookmark) = bookmark(&row) else { continue };
            if let Some(completed) = read_time(&String::from_utf8_lossy(&row.completed)).filter(|at| *at < cutoff) {
                let key = bookmark.key.clone();
                page.rows.push(Finished { key, completed, download_urls: urls(row.download_urls) });
            }
            place = Some(bookmark);
        }
        if left == 0 {
            // Where no row of a full page can be named, there is no row to go on from.
            page.next = place.filter(|place| Some(place) != after);
            break;
        }
    }
    Ok(page)
}

/// `None` for a row that no statement can name: its key or time is not UTF-8.
fn bookmark(row: &StoredFinished) -> Option<FinishedCursor> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let completed = match row.number {
        Some(number) => RawTime::Number(number),
        None => RawTime::Text(text(&row.completed)?),
    };
    Some(FinishedCursor { completed, key: RequestKey { tag: text(&row.tag)?, request_id: text(&row.request_id)? } })
}

fn between(
    conn: &mut SqliteConnection,
    job_id: &str,
    begin: &FinishedCursor,
    until: &RawTime,
    limit: usize,
) -> QueryResult<Vec<StoredFinished>> {
    let (tag, request_id) = (&begin.key.tag, &begin.key.request_id);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A macro, because the type of a query grows with each value that is bound to it.
    macro_rules! bound {
        ($form:ty, $from:expr, $until:expr) => {
            sql_query(FINISHED)
                .bind::<Text, _>(job_id)
                .bind::<$form, _>($from)
                .bind::<Text, _>(tag)
                .bind::<Text, _>(request_id)
                .bind::<$form, _>($until)
                .bind::<BigInt, _>(limit)
                .load(conn)
        };
    }
    match (&begin.completed, until) {
        (RawTime::Number(from), RawTime::Number(until)) => bound!(Double, from, until),
        (RawTime::Text(from), RawTime::Text(until)) => bound!(Text, from, until),
        // No range begins with a number and ends with a text.
        _ => Ok(Vec::new()),
    }
}

const COMPLETED: &str = concat!(
    "SELECT dt_job_completed AS value FROM job_request
    WHERE tag = ?1 AND request_id = ?2 AND status IN (",
    final_statuses!(),
    ", '",
    success!(),
    "') AND typeof(dt_job_completed) <> 'blob'"
);

pub(super) fn remove(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    key: &RequestKey,
    older_than: Duration,
) -> QueryResult<bool> {
    let Some(cutoff) = cutoff(now, older_than) else { return Ok(false) };
    // Immediate, so that nothing changes the row between the check and the removal.
    conn.immediate_transaction(|conn| {
        let found: Option<StoredText> = sql_query(COMPLETED)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .get_result(conn)
            .optional()?;
        if found.and_then(StoredText::into_time).is_none_or(|completed| completed >= cutoff) {
            return Ok(false);
        }
        let removed = sql_query("DELETE FROM job_request WHERE tag = ?1 AND request_id = ?2")
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        Ok(removed == 1)
    })
}
