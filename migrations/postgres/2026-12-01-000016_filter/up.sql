-- What kind of failure `err_message` tells of: a word of a fixed list. NULL: none, or written by a version before this one.
ALTER TABLE job_request ADD COLUMN IF NOT EXISTS err_code VARCHAR(30);
