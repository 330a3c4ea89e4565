-- What retention reads: the finished rows of one job, the oldest first, from where the last page ended. The key is in it
-- because a million rows may have ended at one time (others write whole days); a page then starts in their midst.
CREATE INDEX CONCURRENTLY IF NOT EXISTS job_request_finished
    ON job_request (job_id, dt_job_completed, tag, request_id)
    WHERE status IN ('COMPLETED', 'FAILED');
