-- The last slot of each standalone job that was made into a row, counted for this very schedule.
CREATE TABLE IF NOT EXISTS exhaust_slot (
    job_id TEXT PRIMARY KEY,
    schedule TEXT NOT NULL,
    slot TEXT NOT NULL
);
