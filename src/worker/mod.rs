//! The daemon's work. [`scan`] shows the way of a request on one page; its steps are in `group`, one file each. Around it
//! are the schedule ([`schedule`], [`wake`]), the lease that keeps claimed rows ([`lease`]), and start, stop and reload
//! ([`lifecycle`], [`stop`], [`reload`]).
//!
//! Not here: SQL, file formats, report rules.

mod back_off;
mod checkpoint;
mod claim;
mod context;
mod cpu;
pub mod daemon_state;
mod dependencies;
mod end_log;
mod fair_share;
mod figures;
mod group;
mod group_metrics;
mod heartbeat;
pub(crate) mod key_ranges;
mod lease;
pub mod lifecycle;
pub mod load;
pub mod memory;
pub mod open;
mod outcome;
mod part_result;
mod parts;
pub mod plan;
pub mod reload;
mod request_error;
pub mod retention;
mod scan;
pub mod scan_health;
mod schedule;
mod stage;
pub mod stats;
pub mod stop;
mod summary;
mod supervisor;
mod tenants;
#[cfg(test)]
mod test_app;
pub mod verdict;
mod wake;

use crate::failpoints;
pub use context::{AppContext, Progress};
pub use group_metrics::GroupMetrics;
