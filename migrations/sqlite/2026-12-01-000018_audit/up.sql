-- Who did what through the API and the command line. Times are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS exhaust_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    act TEXT NOT NULL,
    who TEXT NOT NULL,
    subject TEXT NOT NULL,
    requests BIGINT NOT NULL,
    address TEXT NOT NULL
);
