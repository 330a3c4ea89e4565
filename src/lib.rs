//! `exhaustd` makes the reports that clients of a course platform request.
//!
//! One page for the whole way of a request is [`worker::scan`]; `ARCHITECTURE.md` walks it through the rooms:
//! [`config`] (jobs.toml), [`requests`] (the `job_request` table), [`intake`] (one row of it understood),
//! [`sources`] (the platform's tables in), [`tables`] (those in memory), [`reports`] (batch and shared data to table, pure),
//! [`outputs`] (a table out, to a store), [`worker`] (schedules and scans), [`cli`] (the commands).

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads; see cli/print.rs")]

pub mod allocator;
pub mod api;
pub mod cli;
pub mod columnar;
pub mod config;
pub mod document;
mod failpoints;
pub mod intake;
pub mod metrics;
pub mod objects;
pub mod outputs;
pub mod reports;
pub mod requests;
pub mod sample_data;
pub mod sources;
pub mod tables;
pub mod worker;
