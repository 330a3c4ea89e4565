//! The table of acts, beside the lines of the log. What a client does is kept in memory for a moment and written in the background;
//! an act that changes requests of others is written before it is done.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Api;
use super::envelope::ApiError;
use crate::requests::AuditRecord;

/// Records that wait to be written. Beyond them the newest are dropped, and counted.
const WAITING: usize = 10_000;
/// Records of one write.
const AT_ONCE: usize = 500;
/// How long records are gathered.
const GATHERING: Duration = Duration::from_secs(1);
/// How often old records are removed, and how long between two steps of that.
const SWEEP: Duration = Duration::from_mins(10);
const BETWEEN_STEPS: Duration = Duration::from_millis(100);
/// How long a stop waits until the last records are written.
const LAST: Duration = Duration::from_secs(2);

/// Records on their way to the table.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Vec<AuditRecord>>);

impl Records {
    /// `false`: there is no room.
    pub(super) fn add(&self, record: AuditRecord) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = all.len() < WAITING;
        if has_room {
            all.push(record);
        }
        has_room
    }

    fn take(&self) -> Vec<AuditRecord> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let some = all.len().min(AT_ONCE);
        all.drain(..some).collect()
    }

    /// Puts back what could not be written, before what came since.
    fn put_back(&self, records: Vec<AuditRecord>) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = std::mem::replace(&mut *all, records);
        let room = WAITING.saturating_sub(all.len());
        let dropped = since.len().saturating_sub(room);
        all.extend(since.into_iter().take(room));
        dropped
    }
}

/// What a record says of a call.
pub(super) fn record(act: &'static str, key: Option<&str>, subject: &str, address: IpAddr) -> AuditRecord {
    let who = key.unwrap_or("none").to_owned();
    AuditRecord { act, who, subject: subject.to_owned(), requests: 1, address: address.to_string() }
}

impl Api {
    /// Writes a record, before the act that it is of.
    pub(super) async fn record_act(&self, record: AuditRecord) -> Result<(), ApiError> {
        self.ask(move |queue| queue.audit(&[record])).await
    }

    /// Writes what waits. `false`: the database does not take it now.
    async fn write_records(&self, is_well: bool) -> bool {
        loop {
            let some = self.audit.records.take();
            if some.is_empty() {
                return is_well;
            }
            let (written, count) = (some.clone(), some.len());
            if let Err(error) = self.ask(move |queue| queue.audit(&written)).await {
                let dropped = self.audit.records.put_back(some);
                self.metrics.audit_dropped(dropped);
                if is_well {
                    log::warn!("the audit is not written, it is tried again error={:?}", error.message);
                }
                return false;
            }
            if !is_well {
                log::info!("the audit is written again");
            }
            if count < AT_ONCE {
                return true;
            }
        }
    }

    async fn sweep_records(&self) {
        let audit = self.config.get().audit;
        loop {
            match self.ask(move |queue| queue.sweep_audit(audit.keep, audit.rows)).await {
                Ok(true) => tokio::time::sleep(BETWEEN_STEPS).await,
                Ok(false) => return,
                Err(error) => return log::debug!("the audit was not swept error={:?}", error.message),
            }
        }
    }

    /// Writes the last records: the API ends.
    pub(super) async fn finish_records(&self) {
        if tokio::time::timeout(LAST, self.write_records(true)).await != Ok(true) {
            log::warn!("the last records of the audit are not in the table: the log has them");
        }
    }
}

/// Writes and removes records, until it is aborted.
pub(super) async fn keep(api: Arc<Api>) {
    let (mut is_well, mut swept) = (true, None::<Instant>);
    loop {
        tokio::time::sleep(GATHERING).await;
        is_well = api.write_records(is_well).await;
        if is_well && swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            api.sweep_records().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_keeps_its_order() {
        let records = Records::default();
        let one = |n: usize| record("read", None, &n.to_string(), IpAddr::from([127, 0, 0, 1]));
        let added = (0..WAITING + 5).filter(|n| records.add(one(*n))).count();
        assert_eq!(added, WAITING);
        let some = records.take();
        assert_eq!((some.len(), some[0].subject.as_str()), (AT_ONCE, "0"));
        assert!(records.add(one(20_000)));
        assert_eq!(records.put_back(some), 1, "one has no room any more");
        assert_eq!(records.take()[0].subject, "0");
    }
}
