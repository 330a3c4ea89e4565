//! Submission, cancellation and resubmission of requests, within a client's limit.

use std::sync::LazyLock;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::access::{Client, like_pattern};
use super::super::encryption::{columns_of, has_its_password, protected, wipe_password};
use super::super::existing::{Existing, StoredExisting};
use super::super::parts::is_of_split;
use super::super::prepared::prepared;
use super::super::status::Status;
use super::super::stored::{self, StoredText, StoredTotal};
use super::super::text::{clean, clean_option, err_message};
use super::super::types::{NewRequest, RequestKey, Resubmitted, Submitted};
use super::columns::now;

/// Of many submissions at the same time, the primary key decides which one makes the row.
const INSERT: &str = concat!(
    "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, requested_channel,
        allowed_channels, encryption_key, encryption_key_sealed, encryption_mark, dt_job_submitted)
    VALUES ($2, $3, $4, 'SUBMITTED', $5::json, $6, $7, $8, $9, $10, $11, ",
    now!(),
    ") ON CONFLICT DO NOTHING"
);

pub(super) fn submit(
    conn: &mut PgConnection,
    shift: i64,
    request: &NewRequest,
    client: &Client,
) -> QueryResult<Submitted> {
    conn.transaction(|conn| {
        if let Some(Existing::Answer(answer)) = existing(conn, request, client)? {
            return Ok(answer);
        }
        if client.open_requests.is_some() {
            lock_open_requests(conn)?;
            // The same submission may have been made while this one waited for the lock.
            if let Some(Existing::Answer(answer)) = existing(conn, request, client)? {
                return Ok(answer);
            }
            if has_reached_limit(conn, client)? {
                return Ok(Submitted::TooMany);
            }
        }
        if insert(conn, shift, request)? {
            return Ok(Submitted::Created);
        }
        // Checked again before and after, because another call may make the row, or resubmit it, in between.
        if let Some(Existing::Answer(answer)) = existing(conn, request, client)? {
            return Ok(answer);
        }
        if resubmit_anew(conn, shift, request)? {
            return Ok(Submitted::Resubmitted);
        }
        Ok(match existing(conn, request, client)? {
            Some(Existing::Answer(answer)) => answer,
            Some(Existing::Failed) | None => Submitted::Exists,
        })
    })
}

/// Until the end of the transaction no other call opens a request under a limit, so what is counted stays true until the row is
/// written. One lock for all keys, since their tags may overlap. Submissions without a limit do not wait for it.
fn lock_open_requests(conn: &mut PgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock(hashtext('exhaust_open_requests'))").execute(conn).map(drop)
}

/// $1 patterns of tags, $2 the limit: no more rows are counted. Each open state by an index of its own.
static OPEN: LazyLock<String> = LazyLock::new(|| {
    let open = Status::ALL.iter().filter(|status| status.is_open());
    let open: Vec<String> = open
        .map(|status| format!("SELECT tag FROM job_request WHERE status = '{}' AND tag >= ''", status.as_str()))
        .collect();
    format!(
        "SELECT count(*) AS total FROM (
        SELECT 1 FROM ({}) AS open WHERE tag LIKE ANY($1::text[]) LIMIT $2) AS counted",
        open.join(" UNION ALL ")
    )
});

/// Whether the client has reached its limit of open requests.
pub(super) fn has_reached_limit(conn: &mut PgConnection, client: &Client) -> QueryResult<bool> {
    let Some(most) = client.open_requests else { return Ok(false) };
    let mut patterns: Vec<String> = client.reader.tags.iter().map(|glob| like_pattern(&clean(glob))).collect();
    if patterns.is_empty() {
        patterns.push("%".to_owned());
    }
    let values = (patterns.into_sql::<Array<Text>>(), i64::from(most).into_sql::<BigInt>());
    let open: StoredTotal = prepared(OPEN.as_str(), values).get_result(conn)?;
    Ok(open.total() >= u64::from(most))
}

const EXISTING: &str = concat!(
    "SELECT j.status::text AS status, j.encryption_mark::text AS mark,
        j.requested_channel::text AS requested_channel, j.allowed_channels::text AS allowed_channels, ",
    protected!("j."),
    " FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2"
);

/// What the existing row with the key of the submission means for it; `None`: there is none. The row is not locked: a claim
/// would skip it.
fn existing(conn: &mut PgConnection, request: &NewRequest, client: &Client) -> QueryResult<Option<Existing>> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredExisting> = prepared(EXISTING, values).get_result(conn).optional()?;
    Ok(row.map(|row| row.existing(request, client)))
}

const MARK: &str =
    "SELECT j.encryption_mark::text AS value FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2";

pub(super) fn mark_scheme(conn: &mut PgConnection, key: &RequestKey) -> QueryResult<Option<String>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    Ok(stored::mark_scheme(prepared(MARK, values).get_result(conn).optional()?))
}

/// Inserts the row, and notifies the daemons when the transaction commits. `false`: the key is taken.
pub(super) fn insert(conn: &mut PgConnection, shift: i64, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let inserted = sql_query(INSERT)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Text, _>(clean(&request.job_id))
        .bind::<Text, _>(clean(&request.request_data))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_by.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_channel.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.allowed_channels.as_deref()))
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    if inserted == 1 {
        notify(conn)?;
    }
    Ok(inserted == 1)
}

/// Delivered at commit.
fn notify(conn: &mut PgConnection) -> QueryResult<()> {
    sql_query("NOTIFY exhaust_job_request").execute(conn).map(drop)
}

/// Work of our own has a token. A row without one that is PROCESSING is another system's. The row is locked first, and then its
/// parts. Only who cancels a split request needs rights on those.
const CANCEL: &str = concat!(
    "WITH open AS MATERIALIZED (
        SELECT tag, request_id, lease_owner FROM job_request
        WHERE tag = $2 AND request_id = $3
            AND (status = 'SUBMITTED' OR status = 'PROCESSING' AND lease_owner IS NOT NULL)
        FOR UPDATE
    )
    UPDATE job_request AS j SET status = 'FAILED', dt_job_completed = ",
    now!(),
    ", err_message = $4, err_code = 'cancelled', err_detail = NULL, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
    FROM open WHERE j.tag = open.tag AND j.request_id = open.request_id
    RETURNING open.lease_owner::text AS value"
);

const REMOVE_PARTS: &str = "DELETE FROM job_request_part WHERE tag = $1 AND request_id = $2";

pub(super) fn cancel(conn: &mut PgConnection, shift: i64, key: &RequestKey, by: &str) -> QueryResult<bool> {
    conn.transaction(|conn| {
        let ended: Option<StoredText> = sql_query(CANCEL)
            .bind::<BigInt, _>(shift)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .bind::<Text, _>(err_message(&format!("cancelled by {by}")))
            .get_result(conn)
            .optional()?;
        let Some(owner) = ended else { return Ok(false) };
        if owner.into_text().is_some_and(|owner| is_of_split(&owner)) {
            sql_query(REMOVE_PARTS).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).execute(conn)?;
        }
        Ok(true)
    })
}

/// The end, its time and its links stay to be seen.
const FILE_MISSING: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', err_message = 'file missing', err_code = 'file_missing', err_detail = $1
    WHERE tag = $2 AND request_id = $3 AND status IN ('COMPLETED', 'SUCCESS') AND ",
    has_its_password!()
);

pub(super) fn file_missing(conn: &mut PgConnection, key: &RequestKey, detail: &str) -> QueryResult<bool> {
    let statement = sql_query(FILE_MISSING).bind::<Text, _>(clean(detail));
    Ok(statement.bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).execute(conn)? == 1)
}

/// As a new submission. A row has a lease here only if somebody else marked it FAILED.
macro_rules! resubmitted {
    () => {
        concat!(
            "UPDATE job_request SET status = 'SUBMITTED', dt_job_submitted = ",
            now!(),
            ", iteration = 0, crashes = 0, err_message = NULL, err_code = NULL, err_detail = NULL,
        processed_batches = NULL, next_attempt_at = NULL, dt_job_processing = NULL, dt_job_completed = NULL, dt_file_created = NULL,
        download_urls = NULL, execution_time = NULL, lease_owner = NULL, lease_expires_at = NULL"
        )
    };
}

const RESUBMIT: &str =
    concat!(resubmitted!(), " WHERE tag = $2 AND request_id = $3 AND status = 'FAILED' AND ", has_its_password!());

const CAN_BE_RETRIED: &str = concat!(
    "SELECT count(*) AS total FROM job_request WHERE tag = $1 AND request_id = $2
        AND status = 'FAILED' AND ",
    has_its_password!()
);

pub(super) fn resubmit(
    conn: &mut PgConnection,
    shift: i64,
    key: &RequestKey,
    client: &Client,
) -> QueryResult<Resubmitted> {
    conn.transaction(|conn| {
        if client.open_requests.is_some() {
            lock_open_requests(conn)?;
            let can: StoredTotal = sql_query(CAN_BE_RETRIED)
                .bind::<Text, _>(&key.tag)
                .bind::<Text, _>(&key.request_id)
                .get_result(conn)?;
            // A row that cannot be resubmitted is reported as that, whatever the limit.
            if can.total() > 0 && has_reached_limit(conn, client)? {
                return Ok(Resubmitted::TooMany);
            }
        }
        let changed = sql_query(RESUBMIT)
            .bind::<BigInt, _>(shift)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        if changed == 1 {
            notify(conn)?;
        }
        Ok(if changed == 1 { Resubmitted::Done } else { Resubmitted::NotFailed })
    })
}

const RESUBMIT_ANEW: &str = concat!(
    resubmitted!(),
    ", encryption_key = $4, encryption_key_sealed = $5, encryption_mark = $6
    WHERE tag = $2 AND request_id = $3 AND status = 'FAILED'"
);

/// For a submission of the same request; it brings the password again.
fn resubmit_anew(conn: &mut PgConnection, shift: i64, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let changed = sql_query(RESUBMIT_ANEW)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    if changed == 1 {
        notify(conn)?;
    }
    Ok(changed == 1)
}
