//! Who is listed in a batch's report, and the columns that all reports share: the template's part of a table.
//!
//! An enrolment is left out for one reason, in this order: it names another course, it is not active, nobody of its id
//! is in `user`, the learner has a greater row. Here too: the privacy rule, and the check that rows in and rows out
//! agree. Not here: anything that one report alone shows.

use std::borrow::Cow;
use std::ops::Range;

use hashbrown::HashSet;

use super::{Counts, Options, ReportError};
use crate::tables::catalog::Batch;
use crate::tables::finished::{Finished, Listed, TableColumn, Values};
use crate::tables::loaded::Shared;
use crate::tables::loaded::enrolments::Enrolment;
use crate::tables::schema::{Column, Kind};

/// What every roster needs of `user_enrolments`. A report may append `enrolleddate`, `completedon`, `certificates`
/// and `issued_certificates`.
#[must_use]
pub fn enrolments() -> Vec<Column> {
    vec![Column::key("batchid"), Column::key("userid"), Column::key("courseid"), Column::required("active", Kind::Bool)]
}

/// The pieces of so many rows of a batch's roster, in order; one at least.
pub(super) fn pieces(batch: usize, shared: &Shared, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let all = shared.listed(batch);
    (0..all.div_ceil(rows).max(1)).map(move |piece| piece * rows..all.min((piece + 1) * rows))
}

/// Who is listed in a piece of a batch's report, in the order of user ids.
#[derive(Debug)]
pub struct Roster<'a> {
    shared: &'a Shared,
    batch: &'a Batch,
    course: usize,
    slot: usize,
    /// Whether it is the first piece, which has what is counted of the batch as a whole.
    is_first: bool,
    rows: Cow<'a, [Enrolment]>,
    privacy: bool,
    counts: Counts,
}

impl<'a> Roster<'a> {
    /// Everybody with an enrolment that passes, of this piece.
    pub(super) fn of(
        batch: usize,
        piece: Range<usize>,
        shared: &'a Shared,
        options: &Options,
    ) -> Result<Self, ReportError> {
        let not_loaded = || ReportError::NotLoaded {
            batch: shared.catalog().batches().get(batch).map_or_else(|| batch.to_string(), |batch| batch.id.clone()),
        };
        let (batch, slot) = shared.batch(batch).ok_or_else(not_loaded)?;
        let no_course = || ReportError::NoCourse { batch: batch.id.clone(), course: batch.course_id.clone() };
        let enrolled = shared.enrolled(slot);
        let is_first = piece.start == 0;
        let counts = if is_first {
            Counts {
                // Those of further pieces are counted there.
                enrolled: enrolled.all.saturating_sub((enrolled.rows.len() - piece.end) as u64),
                other_course: enrolled.other_course,
                inactive: enrolled.inactive,
                no_user: enrolled.no_user,
                duplicate: enrolled.duplicate,
                ..Counts::default()
            }
        } else {
            Counts { enrolled: piece.len() as u64, ..Counts::default() }
        };
        Ok(Self {
            shared,
            batch,
            course: batch.course.ok_or_else(no_course)?,
            slot,
            is_first,
            rows: Cow::Borrowed(&enrolled.rows[piece]),
            privacy: options.apply_privacy_policy,
            counts,
        })
    }

    /// The batch.
    #[must_use]
    pub const fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// Its course in the catalogue's contents.
    #[must_use]
    pub const fn course(&self) -> usize {
        self.course
    }

    /// What was loaded.
    #[must_use]
    pub const fn shared(&self) -> &'a Shared {
        self.shared
    }

    /// Where the batch's rows are in what was loaded.
    pub(super) const fn slot(&self) -> usize {
        self.slot
    }

    /// Counts something of the batch as a whole, once, in whichever pieces it comes.
    pub(super) fn count_of_batch(&mut self, count: impl FnOnce(&mut Counts)) {
        if self.is_first {
            count(&mut self.counts);
        }
    }

    /// Who is listed.
    pub(super) fn rows(&self) -> &[Enrolment] {
        &self.rows
    }

    /// The counts, to add what only the report knows of this piece.
    pub const fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// Takes everybody off who has no attempt that counts.
    pub(super) fn keep_those_with_attempts(&mut self, has: impl Fn(&Enrolment) -> bool) {
        let kept: Vec<Enrolment> = self.rows.iter().filter(|row| has(row)).copied().collect();
        self.counts.no_attempt += (self.rows.len() - kept.len()) as u64;
        self.rows = Cow::Owned(kept);
    }

    /// The shared columns for those who are listed. `None`: the report shows none.
    fn listed(&self) -> Option<Listed<'a>> {
        let learners = self.shared.learners();
        let headings: Vec<&str> = learners.common().iter().map(|column| column.heading).collect();
        // Everybody on the roster has a row in `user`.
        let line = |row: &Enrolment| learners.line(row.user()).unwrap_or_default();
        let keys = || self.rows.iter().map(line).collect();
        (!headings.is_empty()).then(|| Listed {
            headings,
            lines: learners.lines(),
            keys: keys(),
            hidden: self.hidden(),
        })
    }

    /// Who is of another channel than the course; an empty channel on either side counts as another.
    fn hidden(&self) -> Option<Vec<bool>> {
        if !self.privacy {
            return None;
        }
        let learners = self.shared.learners();
        let own = learners.channel_number(self.shared.catalog().contents().channel(self.course));
        Some(self.rows.iter().map(|row| own.is_none() || own != Some(learners.channel(row.user()))).collect())
    }

    /// The table, once every enrolment is accounted for and the columns fit.
    pub(super) fn finish(mut self, columns: Vec<TableColumn<'a>>) -> Result<(Finished<'a>, Counts), ReportError> {
        let batch = || self.batch.id.clone();
        let rows = self.rows.len();
        let listed = self.listed();
        let mut headings: HashSet<&str> = listed.iter().flat_map(|listed| listed.headings.iter().copied()).collect();
        for column in &columns {
            let heading = || column.heading.clone().into_owned();
            if let Some(found) = cells(&column.values).filter(|cells| *cells != rows) {
                return Err(ReportError::Ragged { batch: batch(), heading: heading(), found, rows });
            }
            if !headings.insert(&column.heading) {
                return Err(ReportError::HeadingTwice { batch: batch(), heading: heading() });
            }
        }
        drop(headings);
        self.counts.rows = rows as u64;
        if !self.counts.reconciled() {
            return Err(ReportError::NotReconciled { batch: batch(), counts: self.counts });
        }
        Ok((Finished { rows, listed, columns }, self.counts))
    }
}

/// How many cells a column has; `None`: as many as there are rows.
fn cells(values: &Values<'_>) -> Option<usize> {
    match values {
        Values::Constant(_) => None,
        Values::Text(cells) => Some(cells.len()),
        Values::Date(cells) => Some(cells.len()),
        Values::Int(cells) | Values::Percent(cells) => Some(cells.len()),
    }
}

#[cfg(test)]
mod tests;
