//! The completion report: when each learner of a batch completed the course.

use super::learner_columns::{EXTERNAL_ID, USER_ID, USER_NAME};
use super::roster::Roster;
use super::{Options, Report, ReportError};
use crate::tables::dates;
use crate::tables::finished::{TableColumn, Values};
use crate::tables::loaded::learners::{self, LearnerColumn};
use crate::tables::loaded::{Needs, enrolments};
use crate::tables::schema::user_enrolments::COMPLETEDON;

/// What is shown of each learner.
static LEARNER: [LearnerColumn; 3] = [EXTERNAL_ID, USER_ID, USER_NAME];

/// See the module.
pub(super) struct Completion;

impl Report for Completion {
    fn name(&self) -> &'static str {
        "completion"
    }

    fn needs(&self, _options: &Options) -> Needs {
        Needs { tables: vec![enrolments::need(&[COMPLETEDON.optional()]), learners::need(&LEARNER)] }
    }

    fn columns<'a>(&self, roster: &mut Roster<'a>, _options: &Options) -> Result<Vec<TableColumn<'a>>, ReportError> {
        let tz = roster.loaded().timezone();
        let day = |instant| dates::day(instant, tz);
        let days = roster.rows().iter().map(|row| row.completed().and_then(day)).collect();
        Ok(vec![TableColumn { heading: "Completed".into(), from_data: false, values: Values::Date(days) }])
    }
}
