-- The table as the platform's design page gives it: its columns and no others. Where it exists, nothing happens.
CREATE TABLE IF NOT EXISTS job_request (
    tag VARCHAR(50),
    request_id VARCHAR(50),
    job_id VARCHAR(50),
    status VARCHAR(50),
    request_data json,
    requested_by VARCHAR(50),
    requested_channel VARCHAR(50),
    download_urls text[],
    dt_file_created TIMESTAMP,
    dt_job_submitted TIMESTAMP,
    dt_job_completed TIMESTAMP,
    execution_time INTEGER,
    err_message VARCHAR(100),
    PRIMARY KEY (tag, request_id)
);
