-- By what the encryption key of a request is known again once it is wiped: not the key, and nothing it can be read from.
-- NULL: there never was one.
ALTER TABLE job_request ADD COLUMN encryption_mark TEXT;
