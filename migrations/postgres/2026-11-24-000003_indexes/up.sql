-- CONCURRENTLY: the table may be live and large, and must not stop for us.

-- What a claim looks at. Only open rows are in it, so ten million finished ones cost it nothing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_open ON job_request (job_id, status)
    WHERE status IN ('SUBMITTED', 'PROCESSING');

-- What a tag's list reads, from its newest row on.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_newest
    ON job_request (tag, dt_job_submitted DESC NULLS LAST, request_id);
