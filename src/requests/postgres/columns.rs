//! Parts of SQL statements that several of them share.

/// The database's time in UTC, plus the shift of a test's clock (`$1`).
macro_rules! now {
    () => {
        "((clock_timestamp() AT TIME ZONE 'UTC') + $1::bigint * interval '1 microsecond')"
    };
}

/// The columns of `StoredRow`, of the table under the name `j` and of [`rows`]. Each column is read up to a bound;
/// [`within`](super::super::text::within) replaces `{most}` and `{urls}`. A list of channels that is cut is not JSON any more,
/// and then allows none; files and statistics that are too long are left out.
macro_rules! columns {
    () => {
        concat!(protected!("j."), ", j.tag::text AS tag, j.request_id::text AS request_id, j.job_id::text AS job_id, j.status::text AS status, \
         CASE WHEN octet_length(l.data) <= {most} THEN l.data END AS request_data, \
         CASE WHEN octet_length(l.data) > {most} THEN octet_length(l.data)::text END AS unread_data, \
         CASE WHEN octet_length(l.urls) > {urls} OR octet_length(l.stats) > 2097152 \
            THEN '1' END AS truncated, \
         j.requested_by::text AS requested_by, j.requested_channel::text AS requested_channel, \
         CASE WHEN octet_length(l.urls) <= {urls} THEN l.urls END \
            AS download_urls, \
         j.dt_file_created::text AS dt_file_created, j.dt_job_submitted::text AS dt_job_submitted, \
         j.dt_job_processing::text AS dt_job_processing, j.dt_job_completed::text AS dt_job_completed, \
         j.execution_time::text AS execution_time, j.err_message::text AS err_message, j.err_code::text AS err_code, \
         left(j.err_detail, 100000) AS err_detail, j.iteration::text AS iteration, j.crashes::text AS crashes, \
         j.lease_owner::text AS lease_owner, j.lease_expires_at::text AS lease_expires_at, \
         j.next_attempt_at::text AS next_attempt_at, left(j.processed_batches, 4096) AS processed_batches, \
         CASE WHEN octet_length(l.stats) <= 2097152 THEN l.stats END AS job_stats, \
         left(j.allowed_channels, 65536) AS allowed_channels")
    };
}

/// What [`columns`] are selected from: each long column is converted to text once, however often it is used (OFFSET keeps the
/// planner from copying the expression to each use).
macro_rules! rows {
    ($from:literal) => {
        concat!(
            $from,
            " CROSS JOIN LATERAL (SELECT j.request_data::text AS data, to_json(j.download_urls)::text AS urls, \
             j.job_stats::text AS stats OFFSET 0) AS l"
        )
    };
}

pub(super) use {columns, now, rows};
