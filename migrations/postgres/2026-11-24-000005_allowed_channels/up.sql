-- The channels that the API key covers which made the row: a JSON list of globs. NULL: no limit.
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS allowed_channels TEXT;
