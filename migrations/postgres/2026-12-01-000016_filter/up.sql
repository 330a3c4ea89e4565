-- What kind of failure `err_message` tells of: a word of a fixed list. NULL: none, or written by a version before this one.
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS err_code VARCHAR(30);

-- What a filter reads: rows that have ended, by one column and newest first. A row enters these when it ends, so that they
-- cost an INSERT and a claim nothing; open rows are few, and are read from `job_request_newest_waiting` and `_working`.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_of_job
    ON job_request (job_id, dt_job_submitted DESC NULLS LAST)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE;
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_of_channel
    ON job_request (requested_channel, dt_job_submitted DESC NULLS LAST)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE AND requested_channel IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_of_requester
    ON job_request (requested_by, dt_job_submitted DESC NULLS LAST)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE AND requested_by IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_at
    ON job_request (dt_job_completed)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE;
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_by_id
    ON job_request (request_id COLLATE "C")
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE;

-- Failures, which are few among what has ended.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_failed
    ON job_request (dt_job_submitted DESC NULLS LAST)
    WHERE status = 'FAILED';
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_of_err_code
    ON job_request (err_code, dt_job_submitted DESC NULLS LAST)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE AND err_code IS NOT NULL;

-- Requests for another format than CSV. A pattern and not `->>`, which fails on some values that others may write, and would
-- refuse their INSERT.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_ended_of_format
    ON job_request (
        (lower(substring(request_data::text FROM '"output_?[fF]ormat"\s*:\s*"([A-Za-z]+)"'))),
        dt_job_submitted DESC NULLS LAST
    )
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE
        AND lower(substring(request_data::text FROM '"output_?[fF]ormat"\s*:\s*"([A-Za-z]+)"')) <> 'csv';
