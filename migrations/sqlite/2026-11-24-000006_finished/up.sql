-- What retention reads: the finished rows of one job by raw time, from where the last page ended. The key is in it
-- because many rows may have ended at one time (others write whole days); a page then starts in their midst. Retention
-- repeats the condition word by word: that is how SQLite sees that it may use it.
CREATE INDEX IF NOT EXISTS job_request_finished ON job_request (job_id, dt_job_completed, tag, request_id)
    WHERE status IN ('COMPLETED', 'FAILED');
