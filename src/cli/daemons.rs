//! Which daemons are alive, as `submit --wait` and `status` print it.

use serde_json::{Value, json};

use super::CommandError;
use super::text::{iso, table, time};
use crate::requests::{Daemon, Heartbeat, Housekeeping, QueueError};

/// What the table says of its daemons.
pub(super) enum KnownDaemons {
    /// All of them, those that are alive first.
    Daemons(Vec<Daemon>),
    /// Nothing, for this reason: the table is older, or the role may not read it.
    Unknown(String),
}

/// Looks for daemons.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn find(queue: &dyn Housekeeping) -> Result<KnownDaemons, CommandError> {
    match queue.daemons() {
        Ok(daemons) => Ok(KnownDaemons::Daemons(daemons)),
        Err(error @ QueueError::Unreachable(_)) => Err(error.into()),
        Err(error) => Ok(KnownDaemons::Unknown(error.to_string())),
    }
}

impl KnownDaemons {
    /// A line that says that no daemon is alive; `None` where one is, or it is not known.
    pub(super) fn none_alive(&self) -> Option<String> {
        let Self::Daemons(daemons) = self else { return None };
        match daemons.first() {
            Some(daemon) if daemon.alive => None,
            Some(last) => {
                let (seen, Heartbeat { name, pid, .. }) = (time(Some(last.seen)), &last.heartbeat);
                let end = if last.ended { "ended at" } else { "has been silent since" };
                Some(format!("no daemon works: the last one ({name}, pid {pid}) {end} {seen}; start `exhaustd run`"))
            }
            None => Some("no daemon has been seen; start `exhaustd run`".to_owned()),
        }
    }

    /// For people: a table of those that are alive, or the line that says that none is.
    pub(super) fn shown(&self) -> String {
        let daemons = match self {
            Self::Unknown(why) => return format!("which daemons work is not known: {why}\n"),
            Self::Daemons(daemons) => daemons,
        };
        if let Some(line) = self.none_alive() {
            return format!("{line}\n");
        }
        let line = |daemon: &Daemon| {
            let heartbeat = &daemon.heartbeat;
            [
                heartbeat.name.clone(),
                heartbeat.pid.to_string(),
                heartbeat.version.clone(),
                time(Some(daemon.started)),
                time(Some(daemon.seen)),
                heartbeat.claims.to_string(),
                format!("{} of {} MiB", heartbeat.memory_used >> 20, heartbeat.memory_allowed >> 20),
                heartbeat.jobs.join(", "),
            ]
        };
        let lines: Vec<[String; 8]> = daemons.iter().filter(|daemon| daemon.alive).map(line).collect();
        table(["DAEMON", "PID", "VERSION", "STARTED", "SEEN", "CLAIMS", "MEMORY", "JOBS"], &lines)
    }

    /// For programs: all of them, each with whether it is alive; `null` where nothing is known.
    pub(super) fn json(&self) -> Value {
        let Self::Daemons(daemons) = self else { return Value::Null };
        let one = |daemon: &Daemon| {
            let heartbeat = &daemon.heartbeat;
            json!({
                "name": heartbeat.name,
                "pid": heartbeat.pid,
                "version": heartbeat.version,
                "started": iso(Some(daemon.started)),
                "seen": iso(Some(daemon.seen)),
                "alive": daemon.alive,
                "ended": daemon.ended,
                "claims": heartbeat.claims,
                "memory_used": heartbeat.memory_used,
                "memory_allowed": heartbeat.memory_allowed,
                "jobs": heartbeat.jobs,
                "config_hash": heartbeat.config_hash,
            })
        };
        daemons.iter().map(one).collect()
    }
}
