//! The enrolments of a batch in memory.

use super::learner_index::Rank;

/// Stands for "nothing there" among instants and decimals; smaller than any of them.
pub(super) const NOTHING: i64 = i64::MIN;

/// An enrolment that is active and of the batch's course.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enrolment {
    /// Instant, or [`NOTHING`].
    pub(super) enrolled: i64,
    /// Instant, or [`NOTHING`].
    pub(super) completed: i64,
    /// Rank of the learner (a number until all are known).
    pub(super) user: Rank,
    /// Entries of `certificates` and of `issued_certificates`: 0 nothing there, 1 none, 2 some. More is not needed
    /// to tell which of two rows is greater as text: only rows that differ in it can give different reports.
    pub(super) certificates: [u8; 2],
}

impl Enrolment {
    /// The learner.
    #[must_use]
    pub const fn user(&self) -> Rank {
        self.user
    }

    /// When the learner enrolled, in microseconds since 1970 in UTC.
    #[must_use]
    pub fn enrolled(&self) -> Option<i64> {
        Some(self.enrolled).filter(|instant| *instant != NOTHING)
    }

    /// When the learner completed the course, in microseconds since 1970 in UTC.
    #[must_use]
    pub fn completed(&self) -> Option<i64> {
        Some(self.completed).filter(|instant| *instant != NOTHING)
    }

    /// Whether a certificate was issued.
    #[must_use]
    pub fn certified(&self) -> bool {
        self.certificates.contains(&2)
    }
}

/// The enrolments of a batch that may be listed, one per learner, in the order of user ids; and what became of the
/// others.
#[derive(Debug, Default)]
pub struct Enrolled {
    /// Those that may be listed.
    pub rows: Vec<Enrolment>,
    /// All usable rows.
    pub all: u64,
    /// Rows that name another course than the batch's.
    pub other_course: u64,
    /// Rows that are not active.
    pub inactive: u64,
    /// Rows of learners who are not in `user`.
    pub no_user: u64,
    /// Further rows of learners who have one.
    pub duplicate: u64,
}

impl Enrolled {
    /// Whether the learner is among them.
    #[must_use]
    pub fn lists(&self, user: Rank) -> bool {
        self.rows.binary_search_by_key(&user, Enrolment::user).is_ok()
    }

    /// Leaves one row per learner that `user` has: the greatest.
    pub(super) fn keep_known(&mut self, is_known: impl Fn(Rank) -> bool) {
        let passing = self.rows.len();
        self.rows.retain(|row| is_known(row.user));
        let known = self.rows.len();
        self.rows
            .sort_unstable_by_key(|row| (row.user, std::cmp::Reverse((row.enrolled, row.completed, row.certificates))));
        self.rows.dedup_by_key(|row| row.user);
        self.no_user = (passing - known) as u64;
        self.duplicate = (known - self.rows.len()) as u64;
    }
}
