//! The audit: one row for each act of a client or an operator, kept for some time and up to some number.

use std::time::Duration;

use diesel::result::QueryResult;

use super::parts::{PartConnection, PartDatabase, Value};
use super::types::QueueError;

/// Rows of one INSERT.
const AT_ONCE: usize = 100;
/// Rows that one step of [`AuditQueue::sweep_audit`] removes.
const STEP: usize = 500;
/// The longest text of a column that is kept, in characters.
const LONGEST: usize = 500;

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// `submit`, `read`, `download`, `cancel`, `retry`, `pause`, …
    pub act: &'static str,
    /// The name of the API key, or of the user of the command line.
    pub who: String,
    /// The request as `tag/id`, or the filter, job or tenant.
    pub subject: String,
    /// How many requests it concerns, as far as that is known.
    pub requests: u64,
    /// The client's address, or `local`.
    pub address: String,
}

/// Keeps the audit.
pub trait AuditQueue: Send + Sync {
    /// Adds these records, all or none.
    fn audit(&self, records: &[AuditRecord]) -> Result<(), QueueError>;

    /// Removes records that are older than `keep`, and the oldest where there are more than `most`; at most 500 of each in one
    /// step. `true`: there may be more to remove.
    fn sweep_audit(&self, keep: Duration, most: u64) -> Result<bool, QueueError>;
}

impl<D: PartDatabase> AuditQueue for D {
    fn audit(&self, records: &[AuditRecord]) -> Result<(), QueueError> {
        self.transaction("write exhaust_audit", |conn| {
            let now = conn.now()?;
            records.chunks(AT_ONCE).try_for_each(|some| insert(conn, now, some))
        })
    }

    fn sweep_audit(&self, keep: Duration, most: u64) -> Result<bool, QueueError> {
        self.transaction("remove old rows of exhaust_audit", |conn| {
            let now = conn.now()?;
            let oldest = now.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
            let old = conn.execute(OLD, &[oldest.into()])?;
            let many = conn.execute(TOO_MANY, &[i64::try_from(most).unwrap_or(i64::MAX).into()])?;
            Ok(old >= STEP || many >= STEP)
        })
    }
}

/// Ids rise with time, so only the first rows are looked at.
const OLD: &str = "DELETE FROM exhaust_audit WHERE id IN
    (SELECT id FROM (SELECT id, at FROM exhaust_audit ORDER BY id LIMIT 500) AS first WHERE at < ?1)";

const TOO_MANY: &str = "DELETE FROM exhaust_audit WHERE id IN
    (SELECT id FROM exhaust_audit WHERE id <= (SELECT max(id) FROM exhaust_audit) - ?1 ORDER BY id LIMIT 500)";

fn insert(conn: &mut dyn PartConnection, now: i64, records: &[AuditRecord]) -> QueryResult<()> {
    let (mut rows, mut values) = (Vec::new(), Vec::<Value>::new());
    for record in records {
        let first = values.len() + 1;
        let places: Vec<String> = (first..first + 6).map(|place| format!("?{place}")).collect();
        rows.push(format!("({})", places.join(", ")));
        let short = |text: &str| Value::from(text.chars().take(LONGEST).collect::<String>().as_str());
        values.push(now.into());
        values.extend([record.act, &record.who, &record.subject].map(short));
        values.push(i64::try_from(record.requests).unwrap_or(i64::MAX).into());
        values.push(short(&record.address));
    }
    let columns = "INSERT INTO exhaust_audit (at, act, who, subject, requests, address) VALUES";
    conn.execute(&format!("{columns} {}", rows.join(", ")), &values).map(drop)
}
