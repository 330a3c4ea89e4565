-- What this program adds. One column a statement, so that only what is missing is run: some deployments have a few of
-- these already. Each is nullable or has a default, so an INSERT that names only the original columns goes on working;
-- none rewrites a row.
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS encryption_key VARCHAR(50);
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS encryption_key_sealed TEXT;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS iteration INTEGER DEFAULT 0;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS crashes INTEGER DEFAULT 0;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS processed_batches TEXT;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS err_detail TEXT;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS dt_job_processing TIMESTAMP;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS lease_owner VARCHAR(100);
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS lease_expires_at TIMESTAMP;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMP;
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS job_stats json;
