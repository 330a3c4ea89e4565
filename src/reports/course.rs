//! The course report: how far each learner of a batch has come, in the course and in each of its modules.

use std::borrow::Cow;

use super::learner_columns::{
    BLOCK_NAME, DISTRICT_NAME, EMAIL_ID, EXTERNAL_ID, MOBILE_NUMBER, ORGANISATION_NAME, SCHOOL_NAME, SCHOOL_UDISE_CODE,
    STATE_NAME, USER_ID, USER_NAME,
};
use super::roster::Roster;
use super::{Options, Report, ReportError};
use crate::tables::dates;
use crate::tables::finished::{TableColumn, Values};
use crate::tables::loaded::activity::{self, Activity, Progress};
use crate::tables::loaded::enrolled::Enrolment;
use crate::tables::loaded::hierarchy::{self, Modules};
use crate::tables::loaded::learners::{self, LearnerColumn};
use crate::tables::loaded::{Needs, TableNeed, enrolments};
use crate::tables::schema::{Table, content, user_enrolments};

/// What is shown of each learner.
#[rustfmt::skip]
static LEARNER: [LearnerColumn; 11] = [
    EXTERNAL_ID, USER_ID, USER_NAME, EMAIL_ID, MOBILE_NUMBER, ORGANISATION_NAME,
    STATE_NAME, DISTRICT_NAME, SCHOOL_UDISE_CODE, SCHOOL_NAME, BLOCK_NAME,
];

/// See the module.
pub(super) struct Course;

impl Report for Course {
    fn name(&self) -> &'static str {
        "course"
    }

    fn needs(&self, _options: &Options) -> Needs {
        let enrolments = [
            user_enrolments::ENROLLEDDATE.optional(),
            user_enrolments::COMPLETEDON.optional(),
            user_enrolments::CERTIFICATES.optional(),
            user_enrolments::ISSUED_CERTIFICATES.optional(),
        ];
        Needs {
            tables: vec![
                TableNeed::of_catalog(Table::Content, vec![content::LEAF_NODES_COUNT.required()]),
                enrolments::need(&enrolments),
                hierarchy::need(),
                activity::need(),
                learners::need(&LEARNER),
            ],
        }
    }

    fn columns<'a>(&self, roster: &mut Roster<'a>, _options: &Options) -> Result<Vec<TableColumn<'a>>, ReportError> {
        let activity: &Activity = roster.rows_of()?;
        let modules = roster.rows_of::<Modules>()?.of(roster.course());
        let course = &roster.batch().course_id;
        let mut counted = vec![Counted {
            activity: activity.number(course),
            leaf_nodes: roster.loaded().catalog().contents().leaf_nodes(roster.course()),
        }];
        counted.extend(
            modules
                .iter()
                .map(|module| Counted { activity: activity.number(&module.identifier), leaf_nodes: module.leaf_nodes }),
        );
        let mut progress = progress(roster, activity.of(roster.slot()), &counted).into_iter().map(Values::Int);
        let own = |heading: &'static str, values| TableColumn { heading: heading.into(), from_data: false, values };
        let mut columns =
            vec![own("Enrolment Date", days(roster, Enrolment::enrolled)), own("Course ID", Values::Constant(course))];
        columns.extend(progress.next().map(|values| own("Course Progress", values)));
        columns.push(own("Completion Date", days(roster, Enrolment::completed)));
        columns.push(own("Certificate Status", certificates(roster)));
        columns.extend(modules.iter().zip(progress).map(|(module, values)| TableColumn {
            heading: Cow::Owned(format!("{} - Progress", module.identifier)),
            from_data: true,
            values,
        }));
        Ok(columns)
    }
}

/// Something whose leaf nodes are counted: the course or a module.
struct Counted {
    /// Its number among the activities; `None` if nobody has a row of it.
    activity: Option<u32>,
    leaf_nodes: Option<i64>,
}

/// A column of per cents for each. Roster and activity are both in the order of users, so one walk through both does.
fn progress(roster: &Roster<'_>, all: &[Progress], counted: &[Counted]) -> Vec<Vec<Option<i64>>> {
    let rows = roster.rows();
    let mut cells = vec![vec![None; rows.len()]; counted.len()];
    let mut columns: Vec<(u32, usize)> =
        counted.iter().enumerate().filter_map(|(at, counted)| Some((counted.activity?, at))).collect();
    columns.sort_unstable();
    let before = rows.first().map_or(0, |first| all.partition_point(|activity| activity.user < first.user()));
    let mut activity = &all[before..];
    for (at, row) in rows.iter().enumerate() {
        let before = activity.iter().take_while(|activity| activity.user < row.user()).count();
        activity = &activity[before..];
        let own = activity.iter().take_while(|activity| activity.user == row.user()).count();
        for found in &activity[..own] {
            fill(&mut cells, at, &columns, counted, found);
        }
        activity = &activity[own..];
    }
    cells
}

/// Writes one activity row into every column that counts it (a course may be a module of itself).
fn fill(cells: &mut [Vec<Option<i64>>], row: usize, columns: &[(u32, usize)], counted: &[Counted], found: &Progress) {
    let first = columns.partition_point(|(activity, _)| *activity < found.activity);
    for (_, column) in columns[first..].iter().take_while(|(activity, _)| *activity == found.activity) {
        cells[*column][row] = per_cent(found.count(), counted[*column].leaf_nodes);
    }
}

/// `min(100, floor(100 × completed ÷ leaf nodes))`; `None` where one of them is missing or there are no leaf nodes.
fn per_cent(completed: Option<i64>, leaf_nodes: Option<i64>) -> Option<i64> {
    let leaf_nodes = leaf_nodes.filter(|count| *count > 0)?;
    let floor = (i128::from(completed?) * 100).div_euclid(leaf_nodes.into());
    i64::try_from(floor.min(100)).ok()
}

fn days(roster: &Roster<'_>, instant: impl Fn(&Enrolment) -> Option<i64>) -> Values<'static> {
    let tz = roster.loaded().timezone();
    Values::Date(roster.rows().iter().map(|row| instant(row).and_then(|instant| dates::day(instant, tz))).collect())
}

fn certificates(roster: &Roster<'_>) -> Values<'static> {
    let status = |row: &Enrolment| Cow::Borrowed(if row.certified() { "Issued" } else { "" });
    Values::Text(roster.rows().iter().map(status).collect())
}

#[cfg(test)]
mod tests;
