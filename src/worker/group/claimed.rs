//! Requests of one job that were claimed together.

use std::sync::Arc;

use crate::config::Config;
use crate::config::checked::Job;
use crate::worker::AppContext;
use crate::worker::lease::Lease;

/// What the steps of a group have in common.
#[derive(Clone, Copy)]
pub(in crate::worker) struct ClaimedGroup<'a> {
    /// What the daemon works with.
    pub(in crate::worker) app: &'a AppContext,
    /// The configuration when the requests were claimed.
    pub(in crate::worker) config: &'a Config,
    /// Keeps the claim.
    pub(in crate::worker) lease: &'a Lease,
    /// The job of the requests.
    pub(in crate::worker) job: &'a Arc<Job>,
}
