-- What a claim reads: a job's rows that wait, in the very order in which they are claimed, so that only the first are
-- looked at, however many wait. An expression on the job's id: with the plain column PostgreSQL would take
-- job_request_open for it, and sort. Once a row is claimed it is not in here any more.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_line
    ON job_request (
        (coalesce(job_id, '')),
        (CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END) NULLS FIRST,
        tag COLLATE "C",
        request_id COLLATE "C"
    )
    WHERE status = 'SUBMITTED';

-- What lists and searches over all tags read, from the newest row on.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_newest_of_all
    ON job_request (dt_job_submitted DESC NULLS LAST, tag, request_id);
