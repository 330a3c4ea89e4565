//! The queue in one SQLite file: a daemon, an API and a command line on one machine.
//!
//! WAL, so that readers never wait for a writer. Writes are immediate transactions or single statements, which wait for each
//! other up to the busy time-out. The clock that is passed in decides about leases: all processes share the machine's.
//!
//! `synchronous = FULL`, not the NORMAL that is usual with WAL: with NORMAL the last commits may be lost in a power failure. A
//! submission that was answered with OK would be gone, and a COMPLETED that a client has seen would be undone. There are few
//! commits (a claim, a renewal, a write-back), so one fsync for each does not matter.
//!
//! Columns hold values of any type, so every column is read as bytes (`stored`), and SQL compares only times that nobody
//! else writes.

mod backlog;
mod claim;
mod columns;
mod connect;
mod daemons;
mod finished;
mod functions;
mod installation;
mod lease;
mod list;
mod listen;
mod migrate;
mod page_start;
mod parts;
#[cfg(test)]
mod query_plans;
mod queue;
mod rows;
mod search;
mod slots;
mod statement;
mod submit;
mod write_back;

#[cfg(test)]
pub(super) use migrate::MIGRATIONS;
pub use queue::{SqliteQueue, open_sqlite};
