//! What lost leases ("crashes") mean for a row: in how large a group it is claimed, and how long it waits before that. A row
//! that lost two leases may be what crashes its daemons; one that did not may have been in the same group by chance.

/// From this number of lost leases on, a row is claimed alone (`ClaimMode::Exclusive`), and each further crash is its own
/// doing.
pub const EXCLUSIVE_CRASHES: u32 = 2;

/// How many rows with this number of crashes one claim takes, where it may take `limit`: after one crash an eighth, after more
/// a single one.
pub(super) fn group_size(crashes: i64, limit: u32) -> u32 {
    match crashes {
        0 => limit,
        1 => (limit / 8).max(1),
        _ => 1,
    }
}

/// How many leases a row with this number of crashes waits before it is claimed again: one for each crash while it was worked
/// on alone, because something else may kill the daemons and be over by then. `None`: it does not wait. The macro below is
/// the same as SQL.
pub(super) fn leases_to_wait(crashes: i64) -> Option<u32> {
    u32::try_from(crashes - i64::from(EXCLUSIVE_CRASHES)).ok().filter(|leases| *leases > 0)
}

/// [`leases_to_wait`] as SQL; NULL: it does not wait. `$exclusive` is [`EXCLUSIVE_CRASHES`].
macro_rules! leases_to_wait {
    ($crashes:literal, $exclusive:literal) => {
        concat!("CASE WHEN ", $crashes, " > ", $exclusive, " THEN ", $crashes, " - ", $exclusive, " END")
    };
}

pub(super) use leases_to_wait as sql_leases_to_wait;
