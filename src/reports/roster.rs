//! Who is listed in a batch's report, and the columns about the learner: the template's part of a table.
//!
//! An enrolment is left out for one reason, in this order: it names another course, it is not active, nobody of its id
//! is in `user`, the learner has a greater row. Here too: the privacy rule, and the check that rows in and rows out
//! agree. Not here: anything that one report alone shows.

use std::borrow::Cow;
use std::ops::Range;

use hashbrown::HashSet;

use super::counts::{DUPLICATE, INACTIVE, NO_USER, OTHER_COURSE};
use super::{Counts, Options, ReportError};
use crate::tables::catalog::{Batch, BatchIdx};
use crate::tables::finished::{Finished, Listed, TableColumn, Values};
use crate::tables::loaded::enrolled::Enrolment;
use crate::tables::loaded::learners::Learners;
use crate::tables::loaded::{LoadedBatches, LoadedRows, Slot};

/// The pieces of a batch's roster, of `rows` rows each, in order; one at least.
pub(super) fn pieces(batch: BatchIdx, loaded: &LoadedBatches, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let all = loaded.listed(batch);
    (0..all.div_ceil(rows).max(1)).map(move |piece| piece * rows..all.min((piece + 1) * rows))
}

/// Who is listed in a piece of a batch's report, in the order of user ids.
#[derive(Debug)]
pub struct Roster<'a> {
    loaded: &'a LoadedBatches,
    learners: &'a Learners,
    batch: &'a Batch,
    course: usize,
    slot: Slot,
    /// Whether it is the first piece, which has what is counted of the batch as a whole.
    is_first: bool,
    rows: Cow<'a, [Enrolment]>,
    privacy: bool,
    counts: Counts,
}

impl<'a> Roster<'a> {
    /// Everybody with an enrolment that passes, of this piece.
    pub(super) fn of(
        batch: BatchIdx,
        piece: Range<usize>,
        loaded: &'a LoadedBatches,
        options: &Options,
    ) -> Result<Self, ReportError> {
        let not_loaded = || ReportError::NotLoaded { batch: loaded.catalog().batch(batch).id.clone() };
        let (batch, slot) = loaded.batch(batch).ok_or_else(not_loaded)?;
        let no_course = || ReportError::NoCourse { batch: batch.id.clone(), course: batch.course_id.clone() };
        let enrolled = loaded.enrolled(slot);
        let is_first = piece.start == 0;
        let mut counts = Counts { enrolled: piece.len() as u64, ..Counts::default() };
        if is_first {
            // Those of further pieces are counted there.
            counts.enrolled = enrolled.all.saturating_sub((enrolled.rows.len() - piece.end) as u64);
            counts.leave_out(OTHER_COURSE, enrolled.other_course);
            counts.leave_out(INACTIVE, enrolled.inactive);
            counts.leave_out(NO_USER, enrolled.no_user);
            counts.leave_out(DUPLICATE, enrolled.duplicate);
        }
        Ok(Self {
            learners: rows_of(loaded, batch)?,
            loaded,
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
    pub const fn loaded(&self) -> &'a LoadedBatches {
        self.loaded
    }

    /// What was loaded of a table, by its type.
    ///
    /// # Errors
    /// The report does not need that table: a defect of it.
    pub fn rows_of<R: LoadedRows>(&self) -> Result<&'a R, ReportError> {
        rows_of(self.loaded, self.batch)
    }

    /// Where the batch's rows are in what was loaded.
    pub(super) const fn slot(&self) -> Slot {
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

    /// Leaves those on the roster for whom `is_listed` holds; the others are counted under the reason.
    pub(super) fn keep(&mut self, reason: &'static str, is_listed: impl Fn(&Enrolment) -> bool) {
        let kept: Vec<Enrolment> = self.rows.iter().filter(|row| is_listed(row)).copied().collect();
        self.counts.leave_out(reason, (self.rows.len() - kept.len()) as u64);
        self.rows = Cow::Owned(kept);
    }

    /// The columns about the learner, for those who are listed. `None`: the report shows none.
    fn listed(&self) -> Option<Listed<'a>> {
        let headings: Vec<&str> = self.learners.shown().iter().map(|column| column.heading).collect();
        // Everybody on the roster has a row in `user`.
        let row = |row: &Enrolment| self.learners.row(row.user()).unwrap_or_default();
        let keys = || self.rows.iter().map(row).collect();
        (!headings.is_empty()).then(|| Listed {
            headings,
            lines: self.learners.rows(),
            keys: keys(),
            hidden: self.hidden(),
        })
    }

    /// Who is of another channel than the course; an empty channel on either side counts as another.
    fn hidden(&self) -> Option<Vec<bool>> {
        if !self.privacy {
            return None;
        }
        let own = self.learners.channel_number(self.loaded.catalog().contents().channel(self.course));
        let channel = |row: &Enrolment| self.learners.channel(row.user());
        Some(self.rows.iter().map(|row| own.is_none() || own != Some(channel(row))).collect())
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

/// What was loaded of a table, by its type.
fn rows_of<'a, R: LoadedRows>(loaded: &'a LoadedBatches, batch: &Batch) -> Result<&'a R, ReportError> {
    let not_needed = || ReportError::NotNeeded { batch: batch.id.clone(), rows: std::any::type_name::<R>() };
    loaded.rows().ok_or_else(not_needed)
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
