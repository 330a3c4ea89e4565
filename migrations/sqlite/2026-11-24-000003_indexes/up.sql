-- What a claim looks at. Only open rows are in it, so ten million finished ones cost it nothing. The claim repeats the
-- condition word by word: that is how SQLite sees that it may use it.
CREATE INDEX IF NOT EXISTS job_request_open ON job_request (job_id, status)
    WHERE status IN ('SUBMITTED', 'PROCESSING');

-- What a tag's list reads. The raw column: an index on an expression of what others write could refuse their INSERT.
CREATE INDEX IF NOT EXISTS job_request_newest ON job_request (tag, dt_job_submitted);
