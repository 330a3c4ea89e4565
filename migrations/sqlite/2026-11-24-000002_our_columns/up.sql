-- What this program adds. One column a statement, so that only what is missing is run: SQLite knows no ADD COLUMN IF NOT
-- EXISTS, the program looks at pragma_table_info first. Each is nullable or has a default, so an INSERT that names only
-- the original columns goes on working.
ALTER TABLE job_request ADD COLUMN encryption_key TEXT;
ALTER TABLE job_request ADD COLUMN encryption_key_sealed TEXT;
ALTER TABLE job_request ADD COLUMN iteration INTEGER DEFAULT 0;
ALTER TABLE job_request ADD COLUMN crashes INTEGER DEFAULT 0;
ALTER TABLE job_request ADD COLUMN processed_batches TEXT;
ALTER TABLE job_request ADD COLUMN err_detail TEXT;
ALTER TABLE job_request ADD COLUMN dt_job_processing TEXT;
ALTER TABLE job_request ADD COLUMN lease_owner TEXT;
ALTER TABLE job_request ADD COLUMN lease_expires_at TEXT;
ALTER TABLE job_request ADD COLUMN next_attempt_at TEXT;
ALTER TABLE job_request ADD COLUMN job_stats TEXT;
