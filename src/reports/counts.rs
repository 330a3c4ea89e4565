//! What became of a batch's enrolments, counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tables::schema::{Table, assessment_aggregator};

/// Left out: the enrolment names another course than the batch.
pub(super) const OTHER_COURSE: &str = "other_course";
/// Left out: not active.
pub(super) const INACTIVE: &str = "inactive";
/// Left out: nobody of this id in `user`.
pub(super) const NO_USER: &str = "no_user";
/// Left out: a further row for a learner who has one.
pub(super) const DUPLICATE: &str = "duplicate";
/// Left out: the learner has no attempt that counts.
pub(super) const NO_ATTEMPT: &str = "no_attempt";

/// The reasons that are always named, with 0 where nobody is left out for them.
const ALWAYS: [&str; 5] = [OTHER_COURSE, INACTIVE, NO_USER, DUPLICATE, NO_ATTEMPT];

/// What became of a batch's enrolments: `enrolled` = `rows` + everybody who is left out. A report may leave out learners for
/// reasons of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Counts {
    /// Rows written.
    pub rows: u64,
    /// Usable enrolments of the batch.
    pub enrolled: u64,
    /// Enrolments that are not listed, by reason; none of them is 0.
    pub left_out: BTreeMap<Cow<'static, str>, u64>,
    /// Attempts that count, of learners without an enrolment that passes.
    pub attempts_without_enrolment: u64,
    /// By table and column: values that the report itself read for its cells. None has two zeros.
    pub cells: CellsByColumn,
}

/// What was read for cells, by table and column.
pub(super) type CellsByColumn = BTreeMap<Table, BTreeMap<Cow<'static, str>, CellCounts>>;

/// Values of one column that a report read for its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCounts {
    /// Values that read.
    pub readable: u64,
    /// Values that do not: their cells are empty.
    pub unreadable: u64,
}

impl Counts {
    /// Adds another batch's counts to these.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.enrolled += other.enrolled;
        for (reason, count) in &other.left_out {
            *self.left_out.entry(reason.clone()).or_default() += count;
        }
        self.attempts_without_enrolment += other.attempts_without_enrolment;
        for (&table, columns) in &other.cells {
            for (column, cells) in columns {
                self.add_cells(table, column.clone(), *cells);
            }
        }
    }

    /// Counts values of a column that were read for cells.
    pub(super) fn add_cells(&mut self, table: Table, column: impl Into<Cow<'static, str>>, cells: CellCounts) {
        if cells != CellCounts::default() {
            let mine = self.cells.entry(table).or_default().entry(column.into()).or_default();
            mine.readable += cells.readable;
            mine.unreadable += cells.unreadable;
        }
    }

    /// Counts enrolments that are left out for a reason.
    pub fn leave_out(&mut self, reason: &'static str, count: u64) {
        if count > 0 {
            *self.left_out.entry(reason.into()).or_default() += count;
        }
    }

    /// How many are left out, by reason: those that every report has, zeros included, and those that this one adds.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<&str, u64> {
        let further = self.left_out.iter().map(|(reason, count)| (reason.as_ref(), *count));
        ALWAYS.into_iter().map(|reason| (reason, 0)).chain(further).collect()
    }

    /// Whether every enrolment is a row or left out for one reason.
    #[must_use]
    pub fn reconciled(&self) -> bool {
        self.enrolled == self.rows + self.left_out.values().sum::<u64>()
    }
}

/// The column whose counts have names of their own in rows of the request table.
const SCORES: (Table, &str) = (Table::AssessmentAggregator, assessment_aggregator::GRAND_TOTAL.name());

/// How counts are noted in rows of the request table: other releases read and write these names.
#[derive(Serialize, Deserialize)]
struct Stored {
    rows: u64,
    enrolled: u64,
    other_course: u64,
    inactive: u64,
    no_user: u64,
    duplicate: u64,
    no_attempt: u64,
    attempts_without_enrolment: u64,
    /// Of `grand_total` in `assessment_aggregator`, as the next one.
    readable_scores: u64,
    unreadable_scores: u64,
    /// By reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    left_out_further: BTreeMap<Cow<'static, str>, u64>,
    /// Of all other columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cells_further: CellsByColumn,
}

impl From<Counts> for Stored {
    fn from(counts: Counts) -> Self {
        let mut left_out = counts.left_out;
        let mut take = |reason: &str| left_out.remove(reason).unwrap_or_default();
        let mut cells = counts.cells;
        let scores = cells.get_mut(&SCORES.0).and_then(|columns| columns.remove(SCORES.1)).unwrap_or_default();
        cells.retain(|_, columns| !columns.is_empty());
        Self {
            rows: counts.rows,
            enrolled: counts.enrolled,
            other_course: take(OTHER_COURSE),
            inactive: take(INACTIVE),
            no_user: take(NO_USER),
            duplicate: take(DUPLICATE),
            no_attempt: take(NO_ATTEMPT),
            attempts_without_enrolment: counts.attempts_without_enrolment,
            readable_scores: scores.readable,
            unreadable_scores: scores.unreadable,
            left_out_further: left_out,
            cells_further: cells,
        }
    }
}

impl From<Stored> for Counts {
    fn from(stored: Stored) -> Self {
        let mut counts = Self {
            rows: stored.rows,
            enrolled: stored.enrolled,
            left_out: stored.left_out_further,
            attempts_without_enrolment: stored.attempts_without_enrolment,
            cells: stored.cells_further,
        };
        let (readable, unreadable) = (stored.readable_scores, stored.unreadable_scores);
        counts.add_cells(SCORES.0, SCORES.1, CellCounts { readable, unreadable });
        counts.leave_out(OTHER_COURSE, stored.other_course);
        counts.leave_out(INACTIVE, stored.inactive);
        counts.leave_out(NO_USER, stored.no_user);
        counts.leave_out(DUPLICATE, stored.duplicate);
        counts.leave_out(NO_ATTEMPT, stored.no_attempt);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_are_checked() {
        let mut one = Counts { rows: 1, enrolled: 21, attempts_without_enrolment: 7, ..Counts::default() };
        one.add_cells(Table::User, "of_a_report", CellCounts { readable: 9, unreadable: 8 });
        for (reason, count) in [(OTHER_COURSE, 2), (INACTIVE, 3), (NO_USER, 4), (DUPLICATE, 5), ("of_its_own", 6)] {
            one.leave_out(reason, count);
        }
        assert!(one.reconciled());
        let mut two = one.clone();
        two.add(&one);
        assert_eq!((two.rows, two.enrolled, two.by_reason()["of_its_own"]), (2, 42, 12));
        assert_eq!(two.attempts_without_enrolment, 14);
        assert_eq!(two.cells[&Table::User]["of_a_report"], CellCounts { readable: 18, unreadable: 16 });
        assert!(two.reconciled());
        two.rows -= 1;
        assert!(!two.reconciled());
    }

    #[test]
    fn rows_of_the_release_before_are_read_and_it_reads_ours() {
        let noted = r#"{"rows":1,"enrolled":8,"other_course":0,"inactive":2,"no_user":0,"duplicate":0,"no_attempt":5,"attempts_without_enrolment":3,"readable_scores":1,"unreadable_scores":0}"#;
        let mut counts: Counts = serde_json::from_str(noted).unwrap();
        assert!(counts.reconciled());
        assert_eq!(
            counts.by_reason(),
            [("other_course", 0), ("inactive", 2), ("no_user", 0), ("duplicate", 0), ("no_attempt", 5)].into()
        );
        assert_eq!(serde_json::to_string(&counts).unwrap(), noted);
        let scores = CellCounts { readable: 1, unreadable: 0 };
        assert_eq!(counts.cells, [(Table::AssessmentAggregator, [("grand_total".into(), scores)].into())].into());
        counts.add_cells(Table::AssessmentAggregator, "another", CellCounts { readable: 0, unreadable: 7 });
        counts.leave_out("of_its_own", 4);
        counts.enrolled += 4;
        let noted = serde_json::to_string(&counts).unwrap();
        assert!(noted.contains(r#""no_attempt":5"#), "{noted}");
        assert_eq!(serde_json::from_str::<Counts>(&noted).unwrap(), counts);
    }
}
