//! Heartbeats: which daemons are running, by the clock that decides about leases.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::stored::{LenientText, number, stored_row, text, time};

/// A daemon without a heartbeat for this number of its leases is gone.
const LEASES: u32 = 3;

/// How long the heartbeat of a daemon that is gone is kept, to show when it was last seen.
pub(super) const KEEP_HEARTBEAT: Duration = Duration::from_hours(24);

/// What a daemon reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Unique to this run of the program; at most 150 characters are kept.
    pub id: String,
    /// Host name of the machine.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Its `[worker] lease`; it sends three heartbeats in each.
    pub lease: Duration,
    /// Number of claims that it holds.
    pub claims: u64,
    /// Bytes of loaded data.
    pub memory_used: u64,
    /// `[worker] memory`, in bytes.
    pub memory_allowed: u64,
    /// Ids of its jobs.
    pub jobs: Vec<String>,
    /// Hash of the configuration in force.
    pub config_hash: String,
}

/// A daemon as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Its last heartbeat.
    pub heartbeat: Heartbeat,
    /// When the first heartbeat came.
    pub started: DateTime<Utc>,
    /// When the last heartbeat came.
    pub seen: DateTime<Utc>,
    /// Whether it has ended as it should, when it was last seen.
    pub ended: bool,
    /// Whether it has not, and the last heartbeat is less than three of its leases ago.
    pub alive: bool,
    /// Whether it has not, and the last heartbeat is less than one of its leases ago: it is expected to claim its share.
    pub claims_now: bool,
    /// What it can do that daemons of an older version cannot.
    pub knows: Vec<String>,
}

impl Daemon {
    /// Whether it claims nothing that is paused. One of a version before there were pauses does.
    #[must_use]
    pub fn knows_pauses(&self) -> bool {
        self.knows.iter().any(|known| known == KNOWS)
    }
}

/// What `exhaust_daemon.knows` has of a daemon of this version.
pub(super) const KNOWS: &str = "pauses";

stored_row! {
    /// A row of `exhaust_daemon`, not checked yet.
    StoredDaemon {
        id, name, pid, version, started, seen, lease_ms, claims, memory_used, memory_allowed, jobs, config_hash,
        knows,
        /// The time at which the row was read, by the clock that wrote `seen`.
        read,
    }
}

impl StoredDaemon {
    fn daemon(self) -> Option<Daemon> {
        let (started, seen, read) = (time(self.started)?, time(self.seen)?, time(self.read)?);
        let lease = Duration::from_millis(number(self.lease_ms)?);
        let silent_for_less = |leases: u32| {
            let bound = TimeDelta::from_std(lease.saturating_mul(leases)).unwrap_or(TimeDelta::MAX);
            read - seen < bound
        };
        // A clock that was set back must not bring it to life again.
        let ended = lease.is_zero();
        let (alive, claims_now) = (!ended && silent_for_less(LEASES), !ended && silent_for_less(1));
        let heartbeat = Heartbeat {
            id: text(self.id)?,
            name: text(self.name).unwrap_or_default(),
            pid: number(self.pid).unwrap_or(0),
            version: text(self.version).unwrap_or_default(),
            lease,
            claims: number(self.claims).unwrap_or(0),
            memory_used: number(self.memory_used).unwrap_or(0),
            memory_allowed: number(self.memory_allowed).unwrap_or(0),
            jobs: text(self.jobs).and_then(|jobs| serde_json::from_str(&jobs).ok()).unwrap_or_default(),
            config_hash: text(self.config_hash).unwrap_or_default(),
        };
        let knows = text(self.knows).unwrap_or_default().split(' ').map(str::to_owned).collect();
        Some(Daemon { heartbeat, started, seen, ended, alive, claims_now, knows })
    }
}

/// Daemons that live first, then by when they were last seen. Rows that cannot be read are left out.
pub(super) fn daemons(rows: Vec<StoredDaemon>) -> Vec<Daemon> {
    let mut daemons: Vec<Daemon> = rows.into_iter().filter_map(StoredDaemon::daemon).collect();
    daemons.sort_by(|a, b| (b.alive, b.seen).cmp(&(a.alive, a.seen)).then_with(|| a.heartbeat.id.cmp(&b.heartbeat.id)));
    daemons
}

/// Milliseconds as a column holds them.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A count or size as a column holds it.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A list of texts as a column holds it.
pub(super) fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}
