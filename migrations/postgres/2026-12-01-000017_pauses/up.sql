-- Jobs and tenants of which no request is claimed, until somebody resumes them. `since`: milliseconds since 1970.
CREATE TABLE IF NOT EXISTS exhaust_pause (
    kind VARCHAR(20),
    name VARCHAR(200),
    paused_by TEXT NOT NULL,
    why TEXT,
    since BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);

-- What a daemon can do that an older one cannot. Daemons of the versions before this column write none.
ALTER TABLE exhaust_daemon ADD COLUMN IF NOT EXISTS knows TEXT;
