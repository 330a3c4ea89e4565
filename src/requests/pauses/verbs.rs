//! The verbs of pauses, the same statements on both databases.

use diesel::result::QueryResult;

use super::{PauseKind, PauseQueue, Paused, Pauses, StoredPause};
use crate::requests::parts::{PartConnection, PartDatabase, Value};
use crate::requests::queue::Housekeeping;
use crate::requests::types::QueueError;

const READ: &str = "SELECT kind, name, paused_by, why, since FROM exhaust_pause ORDER BY kind, name";

const PAUSE: &str = "INSERT INTO exhaust_pause (kind, name, paused_by, why, since) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO NOTHING";

const RESUME: &str = "DELETE FROM exhaust_pause WHERE kind = ?1 AND name = ?2";

fn read(conn: &mut dyn PartConnection) -> QueryResult<Pauses> {
    Ok(Pauses(conn.load_pauses(READ)?.into_iter().filter_map(StoredPause::pause).collect()))
}

impl<D: PartDatabase + Housekeeping> PauseQueue for D {
    fn pauses(&self) -> Result<Pauses, QueueError> {
        self.read_parts("read exhaust_pause", read)
    }

    fn pause(&self, kind: PauseKind, name: &str, by: &str, why: Option<&str>) -> Result<Paused, QueueError> {
        let daemons = self.daemons()?;
        let ignorant = daemons.iter().filter(|daemon| daemon.alive && !daemon.knows_pauses()).map(|daemon| {
            let of = &daemon.heartbeat;
            format!("{} (pid {}, version {})", of.name, of.pid, of.version)
        });
        let ignorant: Vec<String> = ignorant.collect();
        if !ignorant.is_empty() {
            return Ok(Paused::Refused(ignorant));
        }
        let what = format!("pause {} {name}", kind.as_str());
        self.transaction(&what, |conn| {
            let since = conn.now()?;
            let values: [Value; 5] = [kind.as_str().into(), name.into(), by.into(), why.into(), since.into()];
            let is_new = conn.execute(PAUSE, &values)? == 1;
            let pauses = read(conn)?;
            let found = pauses.find(kind, name).cloned().ok_or(diesel::result::Error::NotFound)?;
            Ok(if is_new { Paused::Done(found) } else { Paused::Before(found) })
        })
    }

    fn resume(&self, kind: PauseKind, name: &str) -> Result<bool, QueueError> {
        self.transaction(&format!("resume {} {name}", kind.as_str()), |conn| {
            let is_resumed = conn.execute(RESUME, &[kind.as_str().into(), name.into()])? == 1;
            conn.notify()?;
            Ok(is_resumed)
        })
    }
}
