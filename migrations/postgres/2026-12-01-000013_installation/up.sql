-- One row: what tells this table's daemons from those of another table that share a place with them.
CREATE TABLE IF NOT EXISTS exhaust_installation (
    one SMALLINT PRIMARY KEY,
    id VARCHAR(50) NOT NULL
);
