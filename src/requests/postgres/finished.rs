//! Finished rows for retention, and their removal.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::super::finished::{Finished, FinishedCursor, FinishedPage, RawTime};
use super::super::status::{final_statuses, success};
use super::super::stored::{LenientText, text, urls};
use super::super::text::clean;
use super::super::times::{microseconds, read_time};
use super::super::types::RequestKey;
use super::columns::now;

/// Earlier than any time that counts; times before Christ and `-infinity` do not count.
const FIRST: &str = "0001-01-01";

/// In the order of the index whose condition it repeats. $4 to $6: after this row. The clock is read in a subquery: a value that
/// changes within a statement does not bound an index, and every younger row would be read.
macro_rules! with_status {
    ($condition:expr) => {
        concat!(
            "(SELECT j.tag, j.request_id, j.download_urls, j.dt_job_completed
    FROM job_request AS j
    WHERE j.job_id = $2 AND ",
            $condition,
            "
        AND (j.dt_job_completed, j.tag, j.request_id) > ($4::timestamp, $5, $6)
        AND j.dt_job_completed < (SELECT ",
            now!(),
            " - $3 * interval '1 microsecond')
    ORDER BY j.dt_job_completed, j.tag, j.request_id LIMIT $7)"
        )
    };
}

/// From two indexes: `job_request_finished`, and `job_request_finished_elsewhere` for rows that other systems completed.
const FINISHED: &str = concat!(
    "SELECT f.tag::text AS tag, f.request_id::text AS request_id, to_json(f.download_urls)::text AS download_urls,
        f.dt_job_completed::text AS completed
    FROM (",
    with_status!(concat!("j.status IN (", final_statuses!(), ")")),
    " UNION ALL ",
    with_status!(concat!("j.status = '", success!(), "'")),
    ") AS f ORDER BY f.dt_job_completed, f.tag, f.request_id LIMIT $7"
);

#[derive(QueryableByName)]
struct StoredFinished {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    download_urls: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    completed: Option<LenientText>,
}

pub(super) fn finished(
    conn: &mut PgConnection,
    shift: i64,
    job_id: &str,
    older_than: Duration,
    after: Option<&FinishedCursor>,
    limit: u32,
) -> QueryResult<FinishedPage> {
    let (completed, tag, request_id) = match after {
        Some(FinishedCursor { completed: RawTime::Text(completed), key }) => {
            (completed.as_str(), key.tag.as_str(), key.request_id.as_str())
        }
        _ => (FIRST, "", ""),
    };
    let found: Vec<StoredFinished> = sql_query(FINISHED)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(clean(job_id))
        .bind::<BigInt, _>(microseconds(older_than))
        .bind::<Text, _>(completed)
        .bind::<Text, _>(tag)
        .bind::<Text, _>(request_id)
        .bind::<BigInt, _>(i64::from(limit))
        .load(conn)?;
    let is_last = found.len() < usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = FinishedPage::default();
    for row in found {
        // A database without an encoding holds any bytes: no statement can name a key that is not text.
        let (Ok(tag), Ok(request_id)) = (String::from_utf8(row.tag), String::from_utf8(row.request_id)) else {
            continue;
        };
        let key = RequestKey { tag, request_id };
        let completed = text(row.completed).unwrap_or_default();
        if let Some(completed) = read_time(&completed) {
            page.rows.push(Finished { key: key.clone(), completed, download_urls: urls(row.download_urls) });
        }
        page.next = Some(FinishedCursor { completed: RawTime::Text(completed), key });
    }
    if is_last {
        page.next = None;
    }
    Ok(page)
}

const REMOVE: &str = concat!(
    "DELETE FROM job_request WHERE tag = $2 AND request_id = $3 AND status IN (",
    final_statuses!(),
    ", '",
    success!(),
    "')
        AND dt_job_completed >= $5::timestamp AND dt_job_completed < ",
    now!(),
    " - $4 * interval '1 microsecond'"
);

pub(super) fn remove(conn: &mut PgConnection, shift: i64, key: &RequestKey, older_than: Duration) -> QueryResult<bool> {
    let removed = sql_query(REMOVE)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<BigInt, _>(microseconds(older_than))
        .bind::<Text, _>(FIRST)
        .execute(conn)?;
    Ok(removed == 1)
}
