-- The platform's table in SQLite's types: times are text, JSON and arrays are JSON text. Where a table of this name
-- exists, made by the original statement or otherwise, nothing happens.
CREATE TABLE IF NOT EXISTS job_request (
    tag TEXT,
    request_id TEXT,
    job_id TEXT,
    status TEXT,
    request_data TEXT,
    requested_by TEXT,
    requested_channel TEXT,
    download_urls TEXT,
    dt_file_created TEXT,
    dt_job_submitted TEXT,
    dt_job_completed TEXT,
    execution_time INTEGER,
    err_message TEXT,
    PRIMARY KEY (tag, request_id)
);
