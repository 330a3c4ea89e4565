//! How much of a job there is to do: what a fair claim counts.

use diesel::QueryableByName;
use diesel::sql_types::BigInt;

/// Open rows of some jobs. Each number is counted no further than the caller asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// SUBMITTED rows that a claim of [`ClaimMode::Shared`](super::ClaimMode::Shared) may take now. Rows that a limit on
    /// their tag or channel keeps back are counted too.
    pub claimable: u64,
    /// PROCESSING rows under a lease that has not run out, of any daemon.
    pub in_work: u64,
}

/// The answer of a backend's statement.
#[derive(Debug, QueryableByName)]
pub(super) struct StoredBacklog {
    #[diesel(sql_type = BigInt)]
    claimable: i64,
    #[diesel(sql_type = BigInt)]
    in_work: i64,
}

impl From<StoredBacklog> for Backlog {
    fn from(stored: StoredBacklog) -> Self {
        let count = |number| u64::try_from(number).unwrap_or(0);
        Self { claimable: count(stored.claimable), in_work: count(stored.in_work) }
    }
}
