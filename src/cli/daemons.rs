//! Which daemons work, for people and scripts: `submit --wait` and `status` say it alike.

use serde_json::{Value, json};

use super::Ended;
use super::text::{iso, table, time};
use crate::requests::{Daemon, Housekeeping, QueueError};

/// What was found out about the daemons of a table.
pub(super) enum Found {
    /// All that are known, those that live first.
    Daemons(Vec<Daemon>),
    /// Nothing is known, for this reason: the table is older, or the role may not read it.
    Unknown(String),
}

/// Looks for daemons.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn find(queue: &dyn Housekeeping) -> Result<Found, Ended> {
    match queue.daemons() {
        Ok(daemons) => Ok(Found::Daemons(daemons)),
        Err(error @ QueueError::Unreachable(_)) => Err(error.into()),
        Err(error) => Ok(Found::Unknown(error.to_string())),
    }
}

impl Found {
    /// A line that says that nobody will take requests; `None` where somebody will, or it is not known.
    pub(super) fn nobody(&self) -> Option<String> {
        let Self::Daemons(daemons) = self else { return None };
        match daemons.first() {
            Some(daemon) if daemon.alive => None,
            Some(gone) => {
                let seen = time(Some(gone.seen));
                Some(format!("no daemon has been seen since {seen}; start `exhaustd run`"))
            }
            None => Some("no daemon has been seen; start `exhaustd run`".to_owned()),
        }
    }

    /// For people: a table of those that live, or the line that says that nobody does.
    pub(super) fn shown(&self) -> String {
        let daemons = match self {
            Self::Unknown(why) => return format!("which daemons work is not known: {why}\n"),
            Self::Daemons(daemons) => daemons,
        };
        if let Some(nobody) = self.nobody() {
            return format!("{nobody}\n");
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

    /// For programs: all that are known, each with whether it lives; `null` where nothing is known.
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
