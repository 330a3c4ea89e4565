//! From filters to batches, and from (batch, shared data) to one table. Pure: no I/O, no clock, no async.
//!
//! The template: a request's [`JobConfig`](job_config::JobConfig) is [resolved](filters::resolve) over the
//! [`Catalog`](crate::tables::catalog::Catalog) to batches; what their reports need is loaded once, for all requests of a group, into
//! [`Shared`]; then [`generate`] makes one table per batch. A report is one file that says what it loads and
//! how a batch becomes a table, and one line in [`registry`]: see `docs/adding-a-report.md`.

mod assessment;
pub mod common;
mod content_filter;
mod course;
pub mod filters;
mod headings;
pub mod job_config;
pub mod roster;
#[cfg(test)]
pub(crate) mod test_meaning;
#[cfg(test)]
pub(crate) mod test_tables;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tables::loaded::Shared;
use crate::tables::schema::{Column, Table};
use common::Common;

/// Every report there is, one line each.
#[rustfmt::skip]
static REGISTRY: &[&dyn Report] = &[
    &course::Course,
    &assessment::Assessment,
];

/// A report: what it loads, and how a batch becomes a table.
pub trait Report: Send + Sync {
    /// What `report = "…"` in jobs.toml calls it.
    fn name(&self) -> &'static str;

    /// What it shows, in one line, for `--help` and the documents.
    fn about(&self) -> &'static str;

    /// The columns to load of each table.
    fn needs(&self, options: &Options) -> Needs;

    /// The columns after the shared ones, from the batch's roster, or from a piece of it: which columns there are must not
    /// depend on who is on it. A learner who is not to be listed is taken off the roster first.
    fn columns<'a>(
        &self,
        roster: &mut roster::Roster<'a>,
        options: &Options,
    ) -> Result<Vec<crate::tables::finished::TableColumn<'a>>, ReportError>;
}

/// Reports are told apart by their names.
impl PartialEq for dyn Report {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// A report is shown as its name.
impl fmt::Debug for dyn Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

/// A piece of a batch's table has at most so many rows. Most batches are one piece; of larger ones no more than that is laid
/// out at a time, however many there are.
pub const PIECE_ROWS: usize = 1 << 16;

/// Makes the table of one batch, given by its index in [`crate::tables::catalog::Catalog::batches`], and gives it away piece by piece: the
/// same columns each time, and the rows that follow, in order; at least one piece. Returns what became of the enrolments.
/// This is the template's part: who is listed, and that no row is lost without being counted.
///
/// # Errors
/// The table cannot be made, or `take` fails. What was taken until then is not the table.
pub fn generate<E: From<ReportError>>(
    report: &dyn Report,
    batch: usize,
    shared: &Shared,
    options: &Options,
    take: impl FnMut(&crate::tables::finished::Finished<'_>) -> Result<(), E>,
) -> Result<Counts, E> {
    generate_by(PIECE_ROWS, report, batch, shared, options, take)
}

/// The same in pieces of so many rows.
fn generate_by<E: From<ReportError>>(
    rows: usize,
    report: &dyn Report,
    batch: usize,
    shared: &Shared,
    options: &Options,
    mut take: impl FnMut(&crate::tables::finished::Finished<'_>) -> Result<(), E>,
) -> Result<Counts, E> {
    let mut all = Counts::default();
    for piece in roster::pieces(batch, shared, rows) {
        let mut roster = roster::Roster::of(batch, piece, shared, options)?;
        let columns = report.columns(&mut roster, options)?;
        let (table, counts) = roster.finish(columns)?;
        take(&table)?;
        all.add(&counts);
    }
    Ok(all)
}

/// Every report there is, in the order of the documents.
#[must_use]
pub fn registry() -> &'static [&'static dyn Report] {
    REGISTRY
}

/// The report of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Report> {
    registry().iter().copied().find(|report| report.name() == name)
}

/// The names of all reports.
#[must_use]
pub fn names() -> Vec<&'static str> {
    registry().iter().map(|report| report.name()).collect()
}

/// What a report loads, table by table; an empty list: the table is not needed. Columns stand in the order of the
/// table, since of rows with one key the greatest in that order is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of `content`, beside what the catalogue always reads.
    pub content: Vec<Column>,
    /// Of `user_enrolments`.
    pub enrolments: Vec<Column>,
    /// The shared columns to show, which say what is needed of `user`. None: that table is not read.
    pub common: &'static [Common],
    /// Of `user_activity_agg`.
    pub activity: Vec<Column>,
    /// Of `assessment_aggregator`.
    pub attempts: Vec<Column>,
    /// Of `content_hierarchy`.
    pub hierarchy: Vec<Column>,
}

impl Needs {
    /// The tables that are read: those of the catalogue, and whatever columns are needed of.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let others = [
            (Table::UserEnrolments, self.enrolments.is_empty()),
            (Table::ContentHierarchy, self.hierarchy.is_empty()),
            (Table::UserActivityAgg, self.activity.is_empty()),
            (Table::AssessmentAggregator, self.attempts.is_empty()),
            (Table::User, self.common.is_empty()),
        ];
        let read = others.into_iter().filter(|(_, nothing)| !nothing).map(|(table, _)| table);
        [Table::CourseBatch, Table::Content].into_iter().chain(read).collect()
    }
}

/// What became of a batch's enrolments: `enrolled` = `rows` + everything from `other_course` to `no_attempt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows written.
    pub rows: u64,
    /// Usable enrolments of the batch.
    pub enrolled: u64,
    /// Left out: the enrolment names another course than the batch.
    pub other_course: u64,
    /// Left out: not active.
    pub inactive: u64,
    /// Left out: nobody of this id in `user`.
    pub no_user: u64,
    /// Left out: a further row for a learner who has one.
    pub duplicate: u64,
    /// Left out: the learner has no attempt that counts.
    pub no_attempt: u64,
    /// Attempts that count, of people without an enrolment that passes.
    pub attempts_without_enrolment: u64,
    /// Scores that were read for a cell.
    pub readable_scores: u64,
    /// Cells that are empty because the score in them does not read.
    pub unreadable_scores: u64,
}

impl Counts {
    /// Adds another batch's counts to these.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.enrolled += other.enrolled;
        self.other_course += other.other_course;
        self.inactive += other.inactive;
        self.no_user += other.no_user;
        self.duplicate += other.duplicate;
        self.no_attempt += other.no_attempt;
        self.attempts_without_enrolment += other.attempts_without_enrolment;
        self.readable_scores += other.readable_scores;
        self.unreadable_scores += other.unreadable_scores;
    }

    /// Whether every enrolment is a row or left out for one named reason.
    #[must_use]
    pub const fn reconciled(&self) -> bool {
        let left_out = self.other_course + self.inactive + self.no_user + self.duplicate + self.no_attempt;
        self.enrolled == self.rows + left_out
    }
}

/// Why a batch has no report. None of these passes by waiting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The batch was not among those that the data was loaded for: a defect of the caller.
    #[error("batch {batch}: its data was not loaded")]
    NotLoaded {
        /// The batch's id, or its number where there is none.
        batch: String,
    },
    /// The batch's course is not in `content`.
    #[error("batch {batch}: its course {course} is not in content")]
    NoCourse {
        /// The batch's id.
        batch: String,
        /// The course's id.
        course: String,
    },
    /// Rows in and rows out differ: a defect of a report, never written to a file.
    #[error("batch {batch}: rows do not add up: {counts:?}")]
    NotReconciled {
        /// The batch's id.
        batch: String,
        /// The counts.
        counts: Counts,
    },
    /// A column is longer or shorter than the table: a defect of a report.
    #[error("batch {batch}: column {heading} has {found} cells for {rows} rows")]
    Ragged {
        /// The batch's id.
        batch: String,
        /// The column.
        heading: String,
        /// How many cells it has.
        found: usize,
        /// How many it should have.
        rows: usize,
    },
    /// Two columns would have one heading: a defect of a report.
    #[error("batch {batch}: two columns are headed {heading}")]
    HeadingTwice {
        /// The batch's id.
        batch: String,
        /// The heading.
        heading: String,
    },
}

impl ReportError {
    /// Whether trying again later may help: never.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        false
    }
}

/// What changes a report's bytes, from `[[job]] options`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Empty some columns for learners of other channels.
    pub apply_privacy_policy: bool,
    /// Which attempt at an assessment counts.
    pub attempt: Attempt,
    /// `contentType`s whose attempts count.
    pub assessment_content_types: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apply_privacy_policy: true,
            attempt: Attempt::Best,
            assessment_content_types: vec!["SelfAssess".to_owned()],
        }
    }
}

/// Which attempt at an assessment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// The one with the best score.
    Best,
    /// The latest one.
    Latest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_finds_reports_by_name() {
        assert_eq!(names(), ["course", "assessment"]);
        assert_eq!(find("assessment").map(Report::name), Some("assessment"));
        assert!(find("Course").is_none());
        assert!(registry().iter().all(|report| !report.about().is_empty()));
    }

    #[test]
    fn the_document_names_every_report() {
        let document = include_str!("../../docs/reports.md");
        for report in registry() {
            assert!(document.contains(&format!("| `{}` | {} |", report.name(), report.about())), "{}", report.name());
            assert!(document.contains(&format!("\n## {}\n", report.name())), "{}", report.name());
        }
    }

    #[test]
    fn counts_add_up_and_are_checked() {
        let one = Counts {
            rows: 1,
            enrolled: 21,
            other_course: 2,
            inactive: 3,
            no_user: 4,
            duplicate: 5,
            no_attempt: 6,
            attempts_without_enrolment: 7,
            readable_scores: 9,
            unreadable_scores: 8,
        };
        assert!(one.reconciled());
        let mut two = one;
        two.add(&one);
        assert_eq!((two.rows, two.enrolled, two.no_attempt), (2, 42, 12));
        assert_eq!((two.attempts_without_enrolment, two.readable_scores, two.unreadable_scores), (14, 18, 16));
        assert!(two.reconciled());
        two.rows -= 1;
        assert!(!two.reconciled());
    }
}
