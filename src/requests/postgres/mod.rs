//! The queue on PostgreSQL: any number of daemons on one table.
//!
//! The database's clock decides about leases and back-offs, since the clocks of the daemons may differ; `$1` of most statements
//! is the shift of a test's clock in microseconds. Every column comes back as text (`stored`).

mod backlog;
mod claim;
mod columns;
mod connect;
mod daemons;
mod finished;
mod installation;
mod lease;
mod list;
mod listen;
mod migrate;
mod page_start;
mod parts;
mod queue;
mod rights;
mod rows;
mod search;
mod slots;
mod statement;
mod statement_timeout;
mod submit;
mod url;
mod write_back;

#[cfg(test)]
pub(super) use migrate::MIGRATIONS;
pub use queue::{PostgresOptions, PostgresQueue, open_postgres};
