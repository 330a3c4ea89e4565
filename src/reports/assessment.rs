//! The assessment report: the scores of each learner of a batch in its assessments.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::decimal::Decimal;
use super::headings::{Named, distinct};
use super::roster::{COMMON, Common, Roster, enrolments, users};
use super::schema::{Column, Kind};
use super::shared::attempts::{Attempt, Attempts};
use super::table::{TableColumn, Values};
use super::{Attempt as Choice, Needs, Options, Report, ReportError};

const TOTAL: &str = "Total Score";

/// See the module.
pub(super) struct Assessment;

impl Report for Assessment {
    fn name(&self) -> &'static str {
        "assessment"
    }

    fn about(&self) -> &'static str {
        "scores of a batch's learners in each of its assessments, and in total"
    }

    fn needs(&self, _options: &Options) -> Needs {
        Needs {
            enrolments: enrolments(),
            users: users(common()),
            attempts: vec![
                Column::required("course_id", Kind::Text),
                Column::key("batch_id"),
                Column::key("user_id"),
                Column::key("content_id"),
                Column::key("attempt_id"),
                Column::required("total_score", Kind::Decimal),
                Column::required("total_max_score", Kind::Decimal),
                Column::optional("grand_total", Kind::Text),
                Column::optional("last_attempted_on", Kind::Instant),
            ],
            ..Needs::default()
        }
    }

    fn columns<'a>(&self, roster: &mut Roster<'a>, options: &Options) -> Result<Vec<TableColumn<'a>>, ReportError> {
        let attempts = roster.shared().attempts(roster.slot());
        let enrolled = roster.enrolled();
        let strangers = attempts.rows.iter().filter(|attempt| !enrolled.lists(attempt.user)).count();
        roster.counts().attempts_without_enrolment += strangers as u64;
        roster.keep_those_with_attempts(|row| of_user(&attempts.rows, row.user()).next().is_some());

        let assessments = assessments(roster, attempts);
        let scores = scores(roster, attempts, &assessments, options.attempt);
        roster.counts().unreadable_scores += scores.unreadable;
        let mut columns = roster.common(common());
        columns.extend(headings(roster, &assessments).into_iter().zip(scores.cells).map(|(heading, cells)| {
            TableColumn { heading: Cow::Owned(heading), from_data: true, values: Values::Percent(cells) }
        }));
        columns.push(TableColumn { heading: TOTAL.into(), from_data: false, values: Values::Percent(scores.totals) });
        Ok(columns)
    }
}

/// The shared columns without Block Name.
fn common() -> &'static [Common] {
    static COLUMNS: [Common; 11] = COMMON;
    &COLUMNS[..10]
}

/// A user's attempts among all of a batch, which are sorted by user.
fn of_user(attempts: &[Attempt], user: u32) -> impl Iterator<Item = &Attempt> {
    let first = attempts.partition_point(|attempt| attempt.user < user);
    attempts[first..].iter().take_while(move |attempt| attempt.user == user)
}

/// The assessments with an attempt in the batch, whoever made it, as contents of the catalogue; ordered by name, then
/// identifier.
fn assessments(roster: &Roster<'_>, attempts: &Attempts) -> Vec<u32> {
    let mut contents: Vec<u32> = attempts.rows.iter().map(|attempt| attempt.content).collect();
    contents.sort_unstable();
    contents.dedup();
    contents.sort_by_key(|content| {
        let named = named(roster, *content);
        (named.label(), named.identifier)
    });
    contents
}

fn named<'a>(roster: &Roster<'a>, content: u32) -> Named<'a> {
    let contents = roster.shared().catalog().contents();
    Named { identifier: contents.identifier(content as usize), name: contents.name(content as usize) }
}

fn headings(roster: &Roster<'_>, assessments: &[u32]) -> Vec<String> {
    let fixed: Vec<&str> = common().iter().map(|column| column.heading).chain([TOTAL]).collect();
    let columns: Vec<Named<'_>> = assessments.iter().map(|content| named(roster, *content)).collect();
    distinct(&columns, &fixed)
}

/// What is in the columns.
struct Scores {
    /// Per cent, by assessment and row.
    cells: Vec<Vec<Option<i64>>>,
    totals: Vec<Option<i64>>,
    unreadable: u64,
}

fn scores(roster: &Roster<'_>, attempts: &Attempts, assessments: &[u32], choice: Choice) -> Scores {
    let mut by_content: Vec<(u32, usize)> = assessments.iter().copied().zip(0..).collect();
    by_content.sort_unstable();
    let rows = roster.rows();
    let mut scores = Scores {
        cells: vec![vec![None; rows.len()]; assessments.len()],
        totals: Vec::with_capacity(rows.len()),
        unreadable: 0,
    };
    for (at, row) in rows.iter().enumerate() {
        let own: Vec<&Attempt> = of_user(&attempts.rows, row.user()).collect();
        let (mut score, mut max) = (0, 0);
        for at_one in own.chunk_by(|left, right| left.content == right.content) {
            let Some(counted) = at_one.iter().max_by(|left, right| compare(attempts, left, right, choice)) else {
                continue;
            };
            score += i128::from(counted.score().unwrap_or(0));
            max += i128::from(counted.max().unwrap_or(0));
            let Ok(place) = by_content.binary_search_by_key(&counted.content, |(content, _)| *content) else {
                continue;
            };
            match grand_total(attempts.grand_total(counted)) {
                Ok(cell) => scores.cells[by_content[place].1][at] = cell,
                Err(Unreadable) => scores.unreadable += 1,
            }
        }
        scores.totals.push(per_cent(score, max));
    }
    scores
}

/// The greater of two attempts of one learner at one assessment counts. Best: by score, then time, then attempt id.
/// Latest: by time, then attempt id. What is missing is smallest.
fn compare(attempts: &Attempts, left: &Attempt, right: &Attempt, choice: Choice) -> Ordering {
    let by_score = match choice {
        Choice::Best => left.score().cmp(&right.score()),
        Choice::Latest => Ordering::Equal,
    };
    by_score
        .then_with(|| left.at().cmp(&right.at()))
        .then_with(|| attempts.attempt_id(left).cmp(attempts.attempt_id(right)))
}

/// A score that does not read.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// The per cent of a `grand_total`, `score/max`; `None` if there is none or its maximum is 0.
fn grand_total(text: &str) -> Result<Option<i64>, Unreadable> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let (score, max) = text.split_once('/').ok_or(Unreadable)?;
    let millionths = |text: &str| Decimal::parse(text.trim())?.millionths();
    let score = millionths(score).ok_or(Unreadable)?;
    Ok(per_cent(score.into(), millionths(max).ok_or(Unreadable)?.into()))
}

/// `ceil(100 × score ÷ max)`, exactly; `None` if `max` is 0.
fn per_cent(score: i128, max: i128) -> Option<i64> {
    let hundredfold = score.checked_mul(100)?;
    let (hundredfold, max) = if max < 0 { (-hundredfold, -max) } else { (hundredfold, max) };
    let floor_of_negative = (-hundredfold).checked_div_euclid(max)?;
    i64::try_from(-floor_of_negative).ok()
}

#[cfg(test)]
mod tests;
