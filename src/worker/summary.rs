//! What became of the rows of scans, in numbers.

/// What became of the rows of one scan, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows claimed. The other fields say what became of them.
    pub claimed: u64,
    /// COMPLETED.
    pub completed: u64,
    /// FAILED.
    pub failed: u64,
    /// SUBMITTED again, to be tried again later.
    pub backing_off: u64,
    /// Handed back because the daemon stops.
    pub handed_back: u64,
    /// Handed back because their tenants had enough in work, or because a shared file was lost. The next scans claim them
    /// again.
    pub postponed: u64,
    /// Not written back: the claim was lost before, or the database refused.
    pub lost: u64,
    /// Cancelled while they were in work.
    pub cancelled: u64,
}

impl Summary {
    /// Adds the counts of another scan.
    pub fn add(&mut self, other: Self) {
        self.claimed += other.claimed;
        self.completed += other.completed;
        self.failed += other.failed;
        self.backing_off += other.backing_off;
        self.handed_back += other.handed_back;
        self.postponed += other.postponed;
        self.lost += other.lost;
        self.cancelled += other.cancelled;
    }

    /// Requests that were claimed. A postponed one counts when it is claimed again.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.claimed - self.postponed
    }

    /// Whether all of them were completed.
    #[must_use]
    pub const fn is_all_completed(&self) -> bool {
        self.requests() == self.completed
    }
}
