//! The assessment report: the scores of each learner of a batch in its assessments.

use std::borrow::Cow;

use super::counts::{CellCounts, NO_ATTEMPT};
use super::headings::{Named, distinct};
use super::learner_columns::{
    DISTRICT_NAME, EMAIL_ID, EXTERNAL_ID, MOBILE_NUMBER, ORGANISATION_NAME, SCHOOL_NAME, SCHOOL_UDISE_CODE, STATE_NAME,
    USER_ID, USER_NAME,
};
use super::roster::Roster;
use super::{Options, Report, ReportError};
use crate::document::Fallback::Is;
use crate::document::Form::{Text, Texts};
use crate::document::{Key, Section, Value, live};
use crate::tables::finished::{TableColumn, Values};
use crate::tables::loaded::attempts::{self, Attempt, Attempts, BatchAttempts, CountedAttempt};
use crate::tables::loaded::learners::{self, LearnerColumn};
use crate::tables::loaded::{Needs, Rank, enrolments};
use crate::tables::schema::{Table, assessment_aggregator};
use crate::tables::scores::{Unreadable, per_cent};

/// What changes the bytes of this report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssessmentOptions {
    /// Which attempt at an assessment counts.
    pub attempt: Attempt,
    /// `contentType`s whose attempts count.
    pub content_types: Vec<String>,
}

/// The keys of [`AssessmentOptions`].
const OPTION_KEYS: &[Key] = &[
    live("attempt", Text, Is("\"best\""), "Which attempt at an assessment counts: `\"best\"` or `\"latest\"`."),
    live("assessment_content_types", Texts, Is("[\"SelfAssess\"]"), "Content types whose attempts count."),
];

impl AssessmentOptions {
    /// Reads them from `[[job]] options`. Faults are noted in the section.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let types = section.texts("assessment_content_types").map(|types| {
            if let (true, Some(node)) = (types.is_empty(), section.node("assessment_content_types"))
                && matches!(&node.value, Value::List(items) if items.is_empty())
            {
                section.faults.add(&node.place, "`assessment_content_types` is empty: no attempt would ever count");
            }
            types.into_iter().map(|(name, _)| name.to_owned()).collect()
        });
        let attempt = section.one_of("attempt", &[("best", Attempt::Best), ("latest", Attempt::Latest)]);
        Self { attempt: attempt.unwrap_or(default.attempt), content_types: types.unwrap_or(default.content_types) }
    }
}

impl Default for AssessmentOptions {
    fn default() -> Self {
        Self { attempt: Attempt::Best, content_types: vec!["SelfAssess".to_owned()] }
    }
}

const TOTAL: &str = "Total Score";

/// What is shown of each learner.
#[rustfmt::skip]
static LEARNER: [LearnerColumn; 10] = [
    EXTERNAL_ID, USER_ID, USER_NAME, EMAIL_ID, MOBILE_NUMBER, ORGANISATION_NAME,
    STATE_NAME, DISTRICT_NAME, SCHOOL_UDISE_CODE, SCHOOL_NAME,
];

/// See the module.
pub(super) struct Assessment;

impl Report for Assessment {
    fn name(&self) -> &'static str {
        "assessment"
    }

    fn option_keys(&self) -> &'static [Key] {
        OPTION_KEYS
    }

    fn needs(&self, options: &Options) -> Needs {
        Needs {
            tables: vec![
                enrolments::need(&[]),
                attempts::need(options.assessment.attempt, &options.assessment.content_types),
                learners::need(&LEARNER),
            ],
        }
    }

    fn columns<'a>(&self, roster: &mut Roster<'a>, _options: &Options) -> Result<Vec<TableColumn<'a>>, ReportError> {
        let attempts = roster.rows_of::<Attempts>()?.of(roster.slot());
        roster.count_of_batch(|counts| counts.attempts_without_enrolment += attempts.of_others);
        roster.keep(NO_ATTEMPT, |row| !of_user(&attempts.rows, row.user()).is_empty());

        let assessments = assessments(roster, attempts);
        let scores = scores(roster, attempts, &assessments);
        let grand_total = assessment_aggregator::GRAND_TOTAL.name();
        roster.counts().add_cells(Table::AssessmentAggregator, grand_total, scores.cells_read);
        let headings = headings(roster, &assessments).into_iter().zip(scores.cells);
        let mut columns: Vec<TableColumn<'a>> = headings
            .map(|(heading, cells)| TableColumn {
                heading: Cow::Owned(heading),
                from_data: true,
                values: Values::Percent(cells),
            })
            .collect();
        columns.push(TableColumn { heading: TOTAL.into(), from_data: false, values: Values::Percent(scores.totals) });
        Ok(columns)
    }
}

/// What counts of a learner, among what counts of all in a batch, which is sorted by user.
fn of_user(attempts: &[CountedAttempt], user: Rank) -> &[CountedAttempt] {
    let first = attempts.partition_point(|attempt| attempt.user < user);
    let own = attempts[first..].iter().take_while(|attempt| attempt.user == user).count();
    &attempts[first..first + own]
}

/// The assessments with an attempt in the batch, of learners who are listed or not, as contents of the catalogue; ordered by
/// name, then identifier.
fn assessments(roster: &Roster<'_>, attempts: &BatchAttempts) -> Vec<u32> {
    let mut contents = attempts.contents.clone();
    contents.sort_by_key(|content| {
        let named = named(roster, *content);
        (named.label(), named.identifier)
    });
    contents
}

fn named<'a>(roster: &Roster<'a>, content: u32) -> Named<'a> {
    let contents = roster.loaded().catalog().contents();
    Named { identifier: contents.identifier(content as usize), name: contents.name(content as usize) }
}

fn headings(roster: &Roster<'_>, assessments: &[u32]) -> Vec<String> {
    let fixed: Vec<&str> = LEARNER.iter().map(|column| column.heading).chain([TOTAL]).collect();
    let columns: Vec<Named<'_>> = assessments.iter().map(|content| named(roster, *content)).collect();
    distinct(&columns, &fixed)
}

/// What is in the columns.
struct Scores {
    /// Per cent, by assessment and row.
    cells: Vec<Vec<Option<i64>>>,
    totals: Vec<Option<i64>>,
    cells_read: CellCounts,
}

fn scores(roster: &Roster<'_>, attempts: &BatchAttempts, assessments: &[u32]) -> Scores {
    let mut by_content: Vec<(u32, usize)> = assessments.iter().copied().zip(0..).collect();
    by_content.sort_unstable();
    let rows = roster.rows();
    let mut scores = Scores {
        cells: vec![vec![None; rows.len()]; assessments.len()],
        totals: Vec::with_capacity(rows.len()),
        cells_read: CellCounts::default(),
    };
    for (at, row) in rows.iter().enumerate() {
        let (mut score, mut max) = (0, 0);
        for counted in of_user(&attempts.rows, row.user()) {
            score += i128::from(counted.score());
            max += i128::from(counted.max());
            let Ok(place) = by_content.binary_search_by_key(&counted.content, |(content, _)| *content) else {
                continue;
            };
            match counted.grand_total() {
                Ok(cell) => {
                    scores.cells_read.readable += u64::from(cell.is_some());
                    scores.cells[by_content[place].1][at] = cell;
                }
                Err(Unreadable) => scores.cells_read.unreadable += 1,
            }
        }
        scores.totals.push(per_cent(score, max));
    }
    scores
}

#[cfg(test)]
mod tests;
