//! Who is listed in a batch's report, and the columns that all reports share: the template's part of a table.
//!
//! An enrolment is left out for one reason, in this order: it names another course, it is not active, nobody of its id
//! is in `user`, the learner has a greater row. Here too: the privacy rule, and the check that rows in and rows out
//! agree. Not here: anything that one report alone shows.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashSet;

use super::catalog::Batch;
use super::schema::{Column, Kind};
use super::shared::Shared;
use super::shared::enrolments::{Enrolled, Enrolment};
use super::shared::learners::NAME;
use super::table::{Finished, TableColumn, Values};
use super::{Counts, Generated, Options, ReportError};

/// A column that reports share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Its heading.
    pub heading: &'static str,
    from: From,
    /// Empty for learners of other channels, under the privacy policy.
    private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    UserId,
    Name,
    /// A column of `user`.
    User(&'static str),
}

const fn public(heading: &'static str, from: From) -> Common {
    Common { heading, from, private: false }
}

const fn private(heading: &'static str, column: &'static str) -> Common {
    Common { heading, from: From::User(column), private: true }
}

/// The shared columns, in order. The last one is Block Name.
pub const COMMON: [Common; 11] = [
    private("External ID", "externalid"),
    public("User ID", From::UserId),
    public("User Name", From::Name),
    public("Email ID", From::User("maskedemail")),
    public("Mobile Number", From::User("maskedphone")),
    public("Organisation Name", From::User("orgname")),
    public("State Name", From::User("state")),
    public("District Name", From::User("district")),
    private("School UDISE Code", "schooludisecode"),
    private("School Name", "schoolname"),
    private("Block Name", "block"),
];

/// What some shared columns need of `user`, in the table's order.
#[must_use]
pub fn users(common: &[Common]) -> Vec<Column> {
    const TABLE: [&str; 9] = [
        "maskedemail",
        "maskedphone",
        "externalid",
        "orgname",
        "schoolname",
        "schooludisecode",
        "state",
        "district",
        "block",
    ];
    let text = |name| Column::optional(name, Kind::Text);
    let shown = |name: &&'static str| common.iter().any(|column| column.from == From::User(name));
    let mut columns = vec![Column::key("userid"), text("firstname"), text("lastname")];
    columns.extend(TABLE.into_iter().filter(|name| shown(name)).map(text));
    columns.push(text("userchannel"));
    columns
}

/// What every roster needs of `user_enrolments`. A report may append `enrolleddate`, `completedon`, `certificates`
/// and `issued_certificates`.
#[must_use]
pub fn enrolments() -> Vec<Column> {
    vec![Column::key("batchid"), Column::key("userid"), Column::key("courseid"), Column::required("active", Kind::Bool)]
}

/// Who is listed in a batch's report, in the order of user ids.
#[derive(Debug)]
pub struct Roster<'a> {
    shared: &'a Shared,
    batch: &'a Batch,
    course: usize,
    slot: usize,
    rows: Cow<'a, [Enrolment]>,
    privacy: bool,
    counts: Counts,
}

impl<'a> Roster<'a> {
    /// Everybody with an enrolment that passes.
    pub(super) fn of(batch: usize, shared: &'a Shared, options: &Options) -> Result<Self, ReportError> {
        let not_loaded = || ReportError::NotLoaded {
            batch: shared.catalog().batches().get(batch).map_or_else(|| batch.to_string(), |batch| batch.id.clone()),
        };
        let (batch, slot) = shared.batch(batch).ok_or_else(not_loaded)?;
        let no_course = || ReportError::NoCourse { batch: batch.id.clone(), course: batch.course_id.clone() };
        let enrolled = shared.enrolled(slot);
        let counts = Counts {
            enrolled: enrolled.all,
            other_course: enrolled.other_course,
            inactive: enrolled.inactive,
            no_user: enrolled.no_user,
            duplicate: enrolled.duplicate,
            ..Counts::default()
        };
        Ok(Self {
            shared,
            batch,
            course: batch.course.ok_or_else(no_course)?,
            slot,
            rows: Cow::Borrowed(&enrolled.rows),
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

    /// Everybody with an enrolment that passes, also those who were taken off this roster.
    pub(super) fn enrolled(&self) -> &'a Enrolled {
        self.shared.enrolled(self.slot)
    }

    /// Who is listed.
    pub(super) fn rows(&self) -> &[Enrolment] {
        &self.rows
    }

    /// The counts, to add what only the report knows.
    pub const fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// Takes everybody off who has no attempt that counts.
    pub(super) fn keep_those_with_attempts(&mut self, has: impl Fn(&Enrolment) -> bool) {
        let kept: Vec<Enrolment> = self.rows.iter().filter(|row| has(row)).copied().collect();
        self.counts.no_attempt += (self.rows.len() - kept.len()) as u64;
        self.rows = Cow::Owned(kept);
    }

    /// Shared columns for those who are listed now.
    #[must_use]
    pub fn common(&self, columns: &[Common]) -> Vec<TableColumn<'a>> {
        let learners = self.shared.learners();
        let numbers: Arc<[u32]> = self.rows.iter().map(|row| self.shared.user_id(row.user()).1).collect();
        // Everybody on the roster has a row in `user`.
        let keys: Arc<[u32]> = self.rows.iter().map(|row| learners.row(row.user()).unwrap_or_default()).collect();
        let hidden = self.hidden(&keys);
        let values = |column: &Common| {
            let field = match column.from {
                From::UserId => {
                    let texts = self.shared.user_ids();
                    return Values::Shared { texts, field: 0, keys: Arc::clone(&numbers), hidden: None };
                }
                From::Name => Some(NAME),
                From::User(name) => learners.field(name),
            };
            let hidden = if column.private { hidden.clone() } else { None };
            match field {
                Some(field) => Values::Shared { texts: learners.texts(), field, keys: Arc::clone(&keys), hidden },
                None => Values::Constant(""),
            }
        };
        let column = |common: &Common| TableColumn {
            heading: Cow::Borrowed(common.heading),
            from_data: false,
            values: values(common),
        };
        columns.iter().map(column).collect()
    }

    /// Who is of another channel than the course; an empty channel on either side counts as another.
    fn hidden(&self, keys: &[u32]) -> Option<Arc<[bool]>> {
        if !self.privacy {
            return None;
        }
        let learners = self.shared.learners();
        let own = learners.channel_number(self.shared.catalog().contents().channel(self.course));
        Some(keys.iter().map(|key| own != Some(learners.channel(*key))).collect())
    }

    /// The table, once every enrolment is accounted for and the columns fit.
    pub(super) fn finish(mut self, columns: Vec<TableColumn<'a>>) -> Result<Generated<'a>, ReportError> {
        let batch = || self.batch.id.clone();
        let rows = self.rows.len();
        let mut headings: HashSet<&str> = HashSet::new();
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
        Ok(Generated { table: Finished { rows, columns }, counts: self.counts })
    }
}

/// How many cells a column has; `None`: as many as there are rows.
fn cells(values: &Values<'_>) -> Option<usize> {
    match values {
        Values::Constant(_) => None,
        Values::Shared { keys, .. } => Some(keys.len()),
        Values::Text(cells) => Some(cells.len()),
        Values::Date(cells) => Some(cells.len()),
        Values::Int(cells) | Values::Percent(cells) => Some(cells.len()),
    }
}

#[cfg(test)]
mod tests;
