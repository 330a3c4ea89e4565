-- Jobs and tenants of which no request is claimed, until somebody resumes them. `since`: milliseconds since 1970.
CREATE TABLE IF NOT EXISTS exhaust_pause (
    kind TEXT,
    name TEXT,
    paused_by TEXT NOT NULL,
    why TEXT,
    since INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
);

-- What a daemon can do that an older one cannot. Daemons of the versions before this column write none.
ALTER TABLE exhaust_daemon ADD COLUMN knows TEXT;
