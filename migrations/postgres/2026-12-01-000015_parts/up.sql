-- Parts of requests that several daemons work on together, each with a claim of its own. A request has rows here only while
-- it is PROCESSING under `parts:…`. Times are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS job_request_part (
    tag TEXT NOT NULL,
    request_id TEXT NOT NULL,
    part BIGINT NOT NULL,
    batches TEXT NOT NULL,
    files BIGINT NOT NULL,
    files_done BIGINT NOT NULL,
    left_out TEXT,
    token TEXT,
    lease_until BIGINT,
    next_attempt BIGINT NOT NULL,
    iteration BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    processed_batches TEXT,
    result TEXT,
    PRIMARY KEY (tag, request_id, part)
);
