-- What a tag's list reads: three indexes in the same order, one for each part of a row's life, which the list merges. In
-- one index over all rows (`job_request_newest`) a row got a new entry with each change of its status, at another place
-- of ten million for each row that a claim takes. Now it enters the large one once, when it has ended; the others are as
-- small as what is open.
--
-- Every tag is at least the empty text. Whoever does not say so cannot have the two small ones. PostgreSQL would read all
-- of them wherever it believes that what is open is little, and it does for long: a table with millions of finished rows
-- is seldom analysed. But a claim shall read the line in its order, and who has keys shall look them up.

CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_newest_waiting
    ON job_request (tag, dt_job_submitted DESC NULLS LAST, request_id)
    WHERE status = 'SUBMITTED' AND tag >= '';

-- What else looks at rows in work (leases, limits on tags and channels) reads all of them, from here too.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_newest_working
    ON job_request (tag, dt_job_submitted DESC NULLS LAST, request_id)
    WHERE status = 'PROCESSING' AND tag >= '';

-- Any other status, ours or not, or none at all.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_newest_ended
    ON job_request (tag, dt_job_submitted DESC NULLS LAST, request_id)
    WHERE (status IN ('SUBMITTED', 'PROCESSING')) IS NOT TRUE;

-- Nothing reads these any more.
DROP INDEX CONCURRENTLY IF EXISTS job_request_newest;
DROP INDEX CONCURRENTLY IF EXISTS job_request_open;
