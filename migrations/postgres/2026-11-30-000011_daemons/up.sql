-- The daemons that work, each with the time at which it was last heard of.
CREATE TABLE IF NOT EXISTS exhaust_daemon (
    id VARCHAR(150) PRIMARY KEY,
    name TEXT NOT NULL,
    pid BIGINT NOT NULL,
    version TEXT NOT NULL,
    started TIMESTAMP NOT NULL,
    seen TIMESTAMP NOT NULL,
    lease_ms BIGINT NOT NULL,
    claims BIGINT NOT NULL,
    memory_used BIGINT NOT NULL,
    memory_allowed BIGINT NOT NULL,
    jobs TEXT NOT NULL,
    config_hash TEXT NOT NULL
);
