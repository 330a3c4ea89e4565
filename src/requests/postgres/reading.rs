//! What callers of the API see: lists, searches, the line that waits.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::encryption::protected;
use super::super::reading::like_pattern;
use super::super::stored::{StoredRow, StoredTotal, StoredWaiting};
use super::super::text::clean;
use super::super::{Reader, Search};
use super::{columns, now};

/// Rows that the reader may see: $3 patterns of tags, $4 patterns of channels, $5 the channels of its own rows.
macro_rules! visible {
    () => {
        "($3::text[] IS NULL OR j.tag LIKE ANY($3::text[]))
        AND ($4::text[] IS NULL OR j.requested_channel LIKE ANY($4::text[])
            AND (j.allowed_channels IS NULL OR j.allowed_channels = $5::text))"
    };
}

/// Rows that a search matches: $2 job ids, $6 statuses, $7 channels, $8 the day.
macro_rules! searched {
    () => {
        "($2::text[] IS NULL OR j.job_id = ANY($2::text[]))
        AND ($6::text[] IS NULL OR j.status = ANY($6::text[]))
        AND ($7::text[] IS NULL OR j.requested_channel = ANY($7::text[]))
        AND ($8::text IS NULL
            OR j.dt_job_submitted >= $8::text::timestamp AND j.dt_job_submitted < $8::text::timestamp + interval '1 day')"
    };
}

/// The newest rows of a tag in one part of a row's life, in the order of that part's index.
macro_rules! newest_of_tag {
    ($part:literal) => {
        concat!(
            "(SELECT * FROM job_request AS j WHERE j.tag = $2 AND ",
            $part,
            " AND ",
            visible!(),
            " ORDER BY j.dt_job_submitted DESC NULLS LAST, j.request_id LIMIT $1)"
        )
    };
}

/// The conditions are those of the indexes `job_request_newest_waiting`, `_working` and `_ended`, so that only `limit`
/// rows are read from each (of a reader with channels, those on the way to them too).
const LIST_TAG: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (",
    newest_of_tag!("j.status = 'SUBMITTED' AND j.tag >= ''"),
    " UNION ALL ",
    newest_of_tag!("j.status = 'PROCESSING' AND j.tag >= ''"),
    " UNION ALL ",
    newest_of_tag!("(j.status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE"),
    ") AS j ORDER BY j.dt_job_submitted DESC NULLS LAST, j.request_id LIMIT $1"
);

/// In the order of the index `job_request_newest_of_all`.
const LIST_ALL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_request AS j WHERE $2::text IS NULL AND ",
    visible!(),
    " ORDER BY j.dt_job_submitted DESC NULLS LAST, j.tag, j.request_id LIMIT $1"
);

const SEARCH: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_request AS j WHERE ",
    searched!(),
    " AND ",
    visible!(),
    " ORDER BY j.dt_job_submitted DESC NULLS LAST, j.tag, j.request_id LIMIT $1"
);

const COUNT: &str = concat!(
    "SELECT NULL::text AS tag, count(*) AS total FROM job_request AS j WHERE $1::bigint >= 0 AND ",
    searched!(),
    " AND ",
    visible!()
);

fn patterns(globs: &[String]) -> Vec<String> {
    globs.iter().map(|glob| like_pattern(&clean(glob))).collect()
}

/// What [`visible`] needs: patterns of tags, patterns of channels, the channels of the reader's own rows.
fn sight(reader: &Reader) -> (Option<Vec<String>>, Option<Vec<String>>, Option<String>) {
    let tags = (!reader.tags.is_empty()).then(|| patterns(&reader.tags));
    (tags, reader.channels.as_deref().map(patterns), reader.allowed_channels())
}

pub(super) fn list(
    conn: &mut PgConnection,
    tag: Option<&str>,
    reader: &Reader,
    limit: u32,
) -> QueryResult<Vec<StoredRow>> {
    let (tags, channels, allowed) = sight(reader);
    sql_query(if tag.is_some() { LIST_TAG } else { LIST_ALL })
        .bind::<BigInt, _>(i64::from(limit))
        .bind::<Nullable<Text>, _>(tag)
        .bind::<Nullable<Array<Text>>, _>(tags)
        .bind::<Nullable<Array<Text>>, _>(channels)
        .bind::<Nullable<Text>, _>(allowed)
        .load(conn)
}

/// How many match, and the newest of them.
pub(super) fn search(
    conn: &mut PgConnection,
    search: &Search,
    reader: &Reader,
    limit: u32,
) -> QueryResult<(u64, Vec<StoredRow>)> {
    let (tags, channels, allowed) = sight(reader);
    let list =
        |list: &Option<Vec<String>>| list.as_ref().map(|list| list.iter().map(|text| clean(text)).collect::<Vec<_>>());
    // A macro: the type of a query grows with each value that is bound to it.
    macro_rules! bound {
        ($sql:expr) => {
            sql_query($sql)
                .bind::<BigInt, _>(i64::from(limit))
                .bind::<Nullable<Array<Text>>, _>(list(&search.job_ids))
                .bind::<Nullable<Array<Text>>, _>(tags.clone())
                .bind::<Nullable<Array<Text>>, _>(channels.clone())
                .bind::<Nullable<Text>, _>(allowed.as_deref())
                .bind::<Nullable<Array<Text>>, _>(list(&search.statuses))
                .bind::<Nullable<Array<Text>>, _>(list(&search.channels))
                .bind::<Nullable<Text>, _>(search.submitted_on.map(|day| day.to_string()))
        };
    }
    let total: StoredTotal = bound!(COUNT).get_result(conn)?;
    Ok((total.total(), bound!(SEARCH).load(conn)?))
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
