//! How many rows one claim takes of a job that several daemons run: a share, so that ten requests on two idle daemons are
//! five and five.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::AppContext;
use crate::config::checked::{Job, REPORT_DIGITS};
use crate::requests::{Backlog, Daemon};

/// The daemons that claim at this moment.
#[derive(Debug, Default)]
pub(super) struct Fleet(Vec<Daemon>);

impl Fleet {
    /// Those that were heard of within one of their leases. None where their table cannot be read: this daemon then claims as
    /// if it were alone.
    pub(super) async fn seen_by(app: &AppContext) -> Self {
        match app.ask(|queue| queue.daemons()).await {
            Ok(mut daemons) => {
                daemons.retain(|daemon| daemon.claims_now);
                Self(daemons)
            }
            Err(error) => {
                log::debug!("the other daemons are not known, claiming as if alone error={error}");
                Self::default()
            }
        }
    }

    /// How many run this job. This daemon itself may be among them.
    fn running(&self, job_id: &str) -> u32 {
        let running = self.0.iter().filter(|daemon| daemon.heartbeat.jobs.iter().any(|id| id == job_id));
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// How many run one of these jobs, at least one.
    pub(super) fn running_any(&self, jobs: &[Arc<Job>]) -> u32 {
        jobs.iter().map(|job| self.running(&job.id)).max().unwrap_or(0).max(1)
    }

    /// How many daemons could work on parts of one request of this job: those that run it, this one among them. One, unless
    /// all of them make the same reports (by the fingerprint of their configuration) and are of this version, and with
    /// `same_host` are on the same machine: parts of a request are made from the same tables, in the same way.
    pub(super) fn workers_of(&self, job_id: &str, config_hash: &str, same_host: bool) -> usize {
        let running = || self.0.iter().filter(|daemon| daemon.heartbeat.jobs.iter().any(|id| id == job_id));
        let hosts: BTreeSet<&str> = running().map(|daemon| daemon.heartbeat.name.as_str()).collect();
        let is_alike = running().all(|Daemon { heartbeat, .. }| {
            heartbeat.config_hash.get(..REPORT_DIGITS) == config_hash.get(..REPORT_DIGITS)
                && heartbeat.version == env!("CARGO_PKG_VERSION")
        });
        if is_alike && (hosts.len() <= 1 || !same_host) { running().count().max(1) } else { 1 }
    }

    /// By what a claim of this job is limited. `None`: no other daemon runs it.
    pub(super) fn share(&self, job_id: &str) -> Option<FairShare> {
        let daemons = self.running(job_id);
        (daemons > 1).then_some(FairShare { daemons, is_beside: false })
    }
}

/// A limit on the claim of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FairShare {
    daemons: u32,
    /// This daemon has rows of the job in work.
    is_beside: bool,
}

impl FairShare {
    /// How far the backlog is counted, where a claim takes `claim` rows at most. More rows than that give every daemon a
    /// whole claim.
    pub(super) fn count_up_to(self, claim: u32) -> u32 {
        claim.saturating_mul(self.daemons)
    }

    /// The same for a scan beside another one of this daemon: of what waits, since it is not known whose the others are.
    pub(super) fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }

    /// How many rows to claim, `claim` at most. This daemon has none of the job in work, unless it is a scan beside another one.
    ///
    /// None where nothing was claimable: of rows that have come since, a share is not known. They wake the daemon again.
    pub(super) fn rows(self, backlog: Backlog, claim: u32) -> u32 {
        if backlog.claimable == 0 {
            return 0;
        }
        let in_work = if self.is_beside { 0 } else { backlog.in_work };
        let open = backlog.claimable.saturating_add(in_work).min(self.count_up_to(claim).into());
        let share = open.div_ceil(self.daemons.into());
        u32::try_from(share).unwrap_or(u32::MAX).min(claim)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::requests::Heartbeat;

    fn rows(daemons: u32, claimable: u64, in_work: u64) -> u32 {
        FairShare { daemons, is_beside: false }.rows(Backlog { claimable, in_work }, 500)
    }

    #[test]
    fn a_share_is_the_open_rows_by_the_daemons() {
        assert_eq!(rows(2, 10, 0), 5);
        assert_eq!(rows(2, 5, 5), 5, "the second daemon gets what the first has left");
        // The last of three is offered more than there is.
        assert_eq!([rows(3, 10, 0), rows(3, 6, 4), rows(3, 2, 8)], [4; 3]);
        assert_eq!(rows(2, 1, 0), 1);
        assert_eq!([rows(2, 0, 0), rows(2, 0, 9)], [0; 2]);
        let beside = FairShare { daemons: 2, is_beside: false }.beside();
        assert_eq!(beside.rows(Backlog { claimable: 5, in_work: 9 }, 500), 3, "of what waits");
    }

    #[test]
    fn a_long_line_gives_everybody_a_whole_claim() {
        assert_eq!(rows(2, 1_000, 0), 500);
        assert_eq!(rows(2, 1_000, 1_000), 500);
        assert_eq!(rows(2, 999, 0), 500);
        assert_eq!(rows(2, 998, 0), 499);
        assert_eq!(FairShare { daemons: u32::MAX, is_beside: false }.count_up_to(500), u32::MAX);
        assert_eq!(rows(u32::MAX, u64::MAX, u64::MAX), 1);
    }

    #[test]
    fn daemons_that_do_not_run_the_job_have_no_share() {
        let daemon = |id: &str, jobs: &[&str]| Daemon {
            heartbeat: Heartbeat {
                id: id.to_owned(),
                name: "host".to_owned(),
                pid: 1,
                version: "0.1.0".to_owned(),
                lease: Duration::from_mins(2),
                claims: 0,
                memory_used: 0,
                memory_allowed: 0,
                jobs: jobs.iter().map(|&job| job.to_owned()).collect(),
                config_hash: String::new(),
            },
            started: DateTime::<Utc>::UNIX_EPOCH,
            seen: DateTime::<Utc>::UNIX_EPOCH,
            ended: false,
            alive: true,
            claims_now: true,
            knows: Vec::new(),
        };
        let fleet = Fleet(vec![daemon("a", &["one", "both"]), daemon("b", &["both"])]);
        assert_eq!(fleet.share("both"), Some(FairShare { daemons: 2, is_beside: false }));
        assert_eq!(fleet.share("one"), None);
        assert_eq!(fleet.share("none"), None);
    }
}
