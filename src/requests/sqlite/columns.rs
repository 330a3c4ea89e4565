//! Parts of SQL statements that several of them share.

/// Whether a column has a time, in the form that we write or in one that sorts like it. For other values (a blob sorts behind
/// every time) the end would never come.
macro_rules! is_time {
    ($column:literal) => {
        concat!(
            "(typeof(",
            $column,
            ") = 'text' AND ",
            $column,
            " GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND datetime(",
            $column,
            ") IS NOT NULL)"
        )
    };
}

/// The columns of `StoredRow`, of the table under its own name. [`within`](super::super::text::within) replaces `{most}` and
/// `{urls}`. Each column is read up to a bound: SQLite holds up to a gigabyte in any of them. A list of channels that is cut is
/// not JSON any more, and then allows none; files and statistics that are too long are left out.
macro_rules! columns {
    () => {
        concat!(protected!(""), ", substr(tag, 1, 1000) AS tag, substr(request_id, 1, 1000) AS request_id, substr(job_id, 1, 1000) AS \
         job_id, substr(status, 1, 1000) AS status, substr(requested_by, 1, 1000) AS requested_by, \
         substr(requested_channel, 1, 1000) AS requested_channel, substr(dt_file_created, 1, 1000) AS \
         dt_file_created, substr(dt_job_submitted, 1, 1000) AS dt_job_submitted, substr(dt_job_processing, 1, \
         1000) AS dt_job_processing, substr(dt_job_completed, 1, 1000) AS dt_job_completed, \
         substr(execution_time, 1, 1000) AS execution_time, substr(err_message, 1, 1000) AS err_message, substr(err_code, 1, 1000) AS err_code, \
         substr(iteration, 1, 1000) AS iteration, substr(crashes, 1, 1000) AS crashes, substr(lease_owner, 1, \
         1000) AS lease_owner, substr(lease_expires_at, 1, 1000) AS lease_expires_at, substr(next_attempt_at, \
         1, 1000) AS next_attempt_at, \
         CASE WHEN octet_length(request_data) <= {most} THEN request_data END AS request_data, \
         CASE WHEN octet_length(request_data) > {most} THEN octet_length(request_data) END AS unread_data, \
         CASE WHEN octet_length(download_urls) <= {urls} THEN download_urls END AS download_urls, \
         CASE WHEN octet_length(job_stats) <= 2097152 THEN job_stats END AS job_stats, \
         CASE WHEN octet_length(download_urls) > {urls} OR octet_length(job_stats) > 2097152 THEN 1 END AS truncated, \
         substr(err_detail, 1, 100000) AS err_detail, substr(processed_batches, 1, 4096) AS processed_batches, \
         substr(allowed_channels, 1, 65536) AS allowed_channels")
    };
}

pub(super) use {columns, is_time};
