//! The queue in one SQLite file: a daemon, an API and a command line on one machine.
//!
//! WAL, so that readers never wait for the writer; writes are immediate transactions or single statements, which wait
//! their turn for the busy time-out. The clock that is handed in judges leases: all processes share the machine's.
//!
//! `synchronous = FULL`, not the NORMAL that is usual with WAL: NORMAL may lose the last commits when the power fails.
//! A submission that was answered with OK would be gone, and a COMPLETED that a client has seen would be taken back. Our
//! commits are few (a claim, a renewal, an end), so an fsync each costs nothing that anybody notices.
//!
//! Columns hold whatever was put into them, so every column is read as bytes (`stored`) and times are compared in SQL
//! only where we alone write them.

mod claim;
mod columns;
mod connect;
mod daemons;
mod finished;
mod functions;
mod lease;
mod list;
mod listen;
mod migrate;
mod page_start;
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
