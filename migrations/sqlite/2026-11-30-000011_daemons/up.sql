-- The daemons that work, each with the time at which it was last heard of.
CREATE TABLE IF NOT EXISTS exhaust_daemon (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started TEXT NOT NULL,
    seen TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    memory_used INTEGER NOT NULL,
    memory_allowed INTEGER NOT NULL,
    jobs TEXT NOT NULL,
    config_hash TEXT NOT NULL
);
