-- What kind of failure `err_message` tells of: a word of a fixed list. NULL: none, or written by a version before this one.
ALTER TABLE job_request ADD COLUMN err_code TEXT;

-- What a filter reads: rows by one column and by time. Every tag is at least the empty text; only a filter says so, so no other
-- statement takes these in place of the index that was made for it. SQLite writes to an index only if one of its columns changes,
-- so a claim writes to none of these.
CREATE INDEX IF NOT EXISTS job_request_of_job ON job_request (job_id, dt_job_submitted) WHERE tag >= '';
CREATE INDEX IF NOT EXISTS job_request_of_channel ON job_request (requested_channel, dt_job_submitted) WHERE tag >= '';
CREATE INDEX IF NOT EXISTS job_request_of_requester ON job_request (requested_by, dt_job_submitted) WHERE tag >= '';
CREATE INDEX IF NOT EXISTS job_request_of_err_code ON job_request (err_code, dt_job_submitted)
    WHERE tag >= '' AND err_code IS NOT NULL;
CREATE INDEX IF NOT EXISTS job_request_failed ON job_request (status, dt_job_submitted)
    WHERE tag >= '' AND status = 'FAILED';
CREATE INDEX IF NOT EXISTS job_request_ended_at ON job_request (dt_job_completed);
CREATE INDEX IF NOT EXISTS job_request_by_id ON job_request (request_id) WHERE tag >= '';
