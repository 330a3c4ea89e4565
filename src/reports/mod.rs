//! From filters to batches, and from (batch, loaded data) to one table. Pure: no I/O, no clock, no async.
//!
//! The template: a request's [`JobConfig`](job_config::JobConfig) is [resolved](filters::resolve) over the
//! [`Catalog`](crate::tables::catalog::Catalog) to batches; what their reports need is loaded once, for all requests of a group, into
//! [`LoadedBatches`]; then [`generate`] makes one table per batch. A report is one file that says what it loads and
//! how a batch becomes a table, and one line in [`registry`]: see `docs/adding-a-report.md`.

mod assessment;
mod content_filter;
mod counts;
mod course;
pub mod filters;
mod headings;
pub mod job_config;
mod learner_columns;
pub mod query;
pub mod roster;
#[cfg(test)]
pub(crate) mod test_meaning;
#[cfg(test)]
pub(crate) mod test_tables;

use std::fmt;
use std::sync::Arc;

use crate::document::Fallback::Is;
use crate::document::Form::Boolean;
use crate::document::{Key, Section, live};
use crate::tables::catalog::BatchIdx;
use crate::tables::finished::{Finished, TableColumn};
pub use crate::tables::loaded::attempts::Attempt;
use crate::tables::loaded::{LoadedBatches, Needs};
pub use assessment::AssessmentOptions;
pub use counts::{CellCounts, Counts};
use query::QueryReport;

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

    /// The keys in `[[job]] options` that only this report has. [`Options::read`] reads them.
    fn option_keys(&self) -> &'static [Key] {
        &[]
    }

    /// Which tables to load, which columns of each, and how rows are reached. Every report needs `user_enrolments` and
    /// `user`: they say who is listed.
    fn needs(&self, options: &Options) -> Needs;

    /// The columns after those about the learner, from the batch's roster, or from a piece of it: which columns there are must not
    /// depend on who is on it. A learner who is not to be listed is taken off the roster first.
    fn columns<'a>(
        &self,
        roster: &mut roster::Roster<'a>,
        options: &Options,
    ) -> Result<Vec<TableColumn<'a>>, ReportError>;
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

/// What makes the tables of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobReport {
    /// A report of the registry, from the platform's tables.
    BuiltIn(&'static dyn Report),
    /// The operator's own, from the rows of a query.
    Query(Arc<QueryReport>),
}

impl JobReport {
    /// What `report = "…"` in jobs.toml calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BuiltIn(report) => report.name(),
            Self::Query(_) => SQL,
        }
    }

    /// Which tables it needs beside the catalogue.
    #[must_use]
    pub fn needs(&self, options: &Options) -> Needs {
        match self {
            Self::BuiltIn(report) => report.needs(options),
            Self::Query(_) => Needs::default(),
        }
    }

    /// Its query, where it is defined in SQL.
    #[must_use]
    pub const fn query(&self) -> Option<&Arc<QueryReport>> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Query(query) => Some(query),
        }
    }
}

/// What `report = "…"` calls reports that are defined in SQL.
pub const SQL: &str = "sql";

/// Rows that a piece of a batch's table has at most. Most batches are one piece; larger ones are laid out piece by piece.
pub const PIECE_ROWS: usize = 1 << 16;

/// Makes the table of one batch, given by its index in [`crate::tables::catalog::Catalog::batches`], and gives it away piece by piece: the
/// same columns each time, and the rows that follow, in order; at least one piece. Returns what became of the enrolments.
/// This is the template's part: who is listed, and that no row is lost without being counted.
///
/// # Errors
/// The table cannot be made, or `take` fails. What was taken until then is not the table.
pub fn generate<E: From<ReportError>>(
    report: &dyn Report,
    batch: BatchIdx,
    loaded: &LoadedBatches,
    options: &Options,
    take: impl FnMut(&Finished<'_>) -> Result<(), E>,
) -> Result<Counts, E> {
    generate_by(PIECE_ROWS, report, batch, loaded, options, take)
}

/// The same in pieces of `rows` rows.
fn generate_by<E: From<ReportError>>(
    rows: usize,
    report: &dyn Report,
    batch: BatchIdx,
    loaded: &LoadedBatches,
    options: &Options,
    mut take: impl FnMut(&Finished<'_>) -> Result<(), E>,
) -> Result<Counts, E> {
    let mut all = Counts::default();
    for piece in roster::pieces(batch, loaded, rows) {
        let mut roster = roster::Roster::of(batch, piece, loaded, options)?;
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
    /// A table that the report asks for is not among its needs: a defect of the report.
    #[error("batch {batch}: the report needs {rows} and has not asked for it")]
    NotNeeded {
        /// The batch's id.
        batch: String,
        /// What was asked for.
        rows: &'static str,
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
    /// Two rows of a query's result have the same place in the file, which then has no order.
    #[error("order_by is not total: two rows of {file} are equal in it")]
    OrderNotTotal {
        /// Which file.
        file: String,
    },
    /// A value of a query's result does not read.
    #[error("{file}: a value of column {column} is no {kind}")]
    UnreadableResult {
        /// Which file.
        file: String,
        /// The column.
        column: String,
        /// What it should be.
        kind: &'static str,
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

/// What changes a report's bytes, from `[[job]] options`: what holds for every report, and the options of single ones,
/// which stand in the reports' own files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Empty some columns for learners of other channels.
    pub apply_privacy_policy: bool,
    /// Those of the assessment report.
    pub assessment: AssessmentOptions,
}

/// The keys of [`Options`] that hold for every report.
pub(crate) const OPTION_KEYS: &[Key] = &[live(
    "apply_privacy_policy",
    Boolean,
    Is("true"),
    "Leave External ID, School Name, School UDISE Code and Block Name empty for learners of another channel \
     than the course's.",
)];

impl Options {
    /// Reads `[[job]] options`. Faults are noted in the section; in place of a value that does not read there is the default.
    pub(crate) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            apply_privacy_policy: section.boolean("apply_privacy_policy").unwrap_or(default.apply_privacy_policy),
            assessment: AssessmentOptions::read(section),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { apply_privacy_policy: true, assessment: AssessmentOptions::default() }
    }
}

/// The report that `docs/adding-a-report.md` shows.
#[cfg(test)]
#[path = "../../docs/examples/completion.rs"]
mod completion;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::schema::Table;

    #[test]
    fn the_report_that_the_document_shows_is_the_one_that_is_compiled() {
        let code = include_str!("../../docs/examples/completion.rs");
        assert!(include_str!("../../docs/adding-a-report.md").contains(&format!("```rust\n{code}```\n")));
        let tables = test_tables::Tables::default()
            .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
            .add(Table::Content, "identifier | channel", &["c | ch1"])
            .add(
                Table::User,
                "userid | firstname | externalid | userchannel",
                &["u1 | A | X | ch1", "u2 | B | Y | ch2"],
            )
            .add(
                Table::UserEnrolments,
                "batchid | userid | courseid | active | completedon",
                &["1 | u1 | c | true | 2020-02-05", "1 | u2 | c | true |"],
            );
        let catalog =
            tables.catalog(&job_config::JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), test_tables::AS_WRITTEN);
        let options = Options::default();
        let loaded = tables.loaded(catalog, &[BatchIdx(0)], &completion::Completion, &options, test_tables::AS_WRITTEN);
        let (csv, counts) = test_tables::made(&completion::Completion, BatchIdx(0), &loaded, &options, PIECE_ROWS);
        assert_eq!(csv, "External ID,User ID,User Name,Completed\nX,u1,A,05/02/2020\n,u2,B,\n");
        assert_eq!((counts.rows, counts.enrolled), (2, 2));
    }

    #[test]
    fn the_registry_finds_reports_by_name() {
        assert!(registry().iter().map(|report| report.name()).eq(["course", "assessment"]));
        assert_eq!(find("assessment").map(Report::name), Some("assessment"));
        assert!(find("Course").is_none());
    }

    #[test]
    fn the_document_names_every_report() {
        let document = include_str!("../../docs/reports.md");
        for report in registry() {
            assert!(document.contains(&format!("| `{}` | ", report.name())), "{}", report.name());
            assert!(document.contains(&format!("\n## {}\n", report.name())), "{}", report.name());
        }
    }
}
