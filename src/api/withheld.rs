//! Entries of `download_urls` that clients are not given: logged once for each row, however often it is read.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use super::status::targets;
use crate::outputs::LinkHost;
use crate::requests::RequestRow;

/// The most rows that are remembered. Beyond it all are forgotten, and may be logged once more.
const MOST: usize = 10_000;
/// The most characters of an entry in the log: it may be any text.
const LONGEST: usize = 200;

/// The rows that were logged.
#[derive(Default)]
pub(super) struct WithheldLog {
    hasher: RandomState,
    rows: Mutex<HashSet<u64>>,
}

impl WithheldLog {
    /// Logs the first entry of the row that is withheld, if there is one and the row is new.
    pub(super) fn log(&self, row: &RequestRow, hosts: &[LinkHost]) {
        let mut withheld = targets(row, hosts).filter_map(|(url, target)| Some((url, target.err()?)));
        let Some((url, why)) = withheld.next() else { return };
        if self.is_new(&row.tag, &row.request_id) {
            let (more, shown) = (withheld.count(), url.chars().take(LONGEST).collect::<String>());
            log::warn!(
                "a link is withheld request={}/{} url={shown:?} more={more} reason={why}",
                row.tag,
                row.request_id
            );
        }
    }

    fn is_new(&self, tag: &str, request_id: &str) -> bool {
        let row = self.hasher.hash_one((tag, request_id));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= MOST {
            rows.clear();
        }
        rows.insert(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_logged_once_and_what_is_remembered_is_bounded() {
        let log = WithheldLog::default();
        assert!(log.is_new("t", "1") && !log.is_new("t", "1") && log.is_new("t", "2"));
        for n in 0..2 * MOST {
            log.is_new("u", &n.to_string());
            assert!(log.rows.lock().unwrap().len() <= MOST);
        }
    }
}
