//! How much there is of everything, and which row belongs where. The only part that is kept in memory: a few numbers
//! for each batch (2,000 of them at scale 1), nothing for each row.

use super::draws::{Draws, Of};

/// Rows at scale 1.
const BATCHES: u64 = 2_000;
const USERS: u64 = 500_000;
const ENROLMENTS: u64 = 2_000_000;
const ACTIVITY: u64 = 7_000_000;
const ATTEMPTS: u64 = 4_500_000;

/// Small sets have at least this many batches, so that each kind of course and batch is there.
const LEAST_BATCHES: u64 = 32;

/// Kinds of course repeat after this many courses.
pub(super) const KINDS: u64 = 16;

/// What is special about a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    LowerCase,
    NoHierarchy,
    NoLeafNodes,
    NoModules,
    LeafNodesMissing,
    RepeatedModule,
    AssessmentNamedLikeColumn,
    NotInContent,
    SameNames,
    NoAssessment,
    NoChannel,
    NoFramework,
    FormulaName,
}

/// One batch.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Enrolment rows.
    pub(super) size: u64,
    /// Learners are picked by stepping through all of them, `step` at a time from `offset`: no learner twice.
    step: u64,
    offset: u64,
}

/// The whole data set.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) batches: Vec<Batch>,
    pub(super) courses: u64,
    pub(super) users: u64,
    /// Learners with and without a row in `user`.
    pub(super) learners: u64,
    /// First row of each batch in a table, and the number of all rows at the end.
    pub(super) enrolments: Vec<u64>,
    pub(super) activity: Vec<u64>,
    pub(super) attempts: Vec<u64>,
}

impl Plan {
    /// `scale` must be above 0 and at most [`super::MAX_SCALE`].
    pub(super) fn new(scale: f64, seed: u64) -> Self {
        let batches = scaled(BATCHES, scale).max(LEAST_BATCHES);
        let courses = batches * 2 / 3 / 2 * 2;
        let users = scaled(USERS, scale).max(100);
        let learners = users + users / 100 + 1;
        let sizes = sizes(batches, scaled(ENROLMENTS, scale).max(400));
        let batches: Vec<Batch> = sizes.iter().enumerate().map(|(b, &n)| batch(seed, b as u64, n, learners)).collect();
        let attempted = |b: usize, n: u64| if kind(b as u64 % courses) == Kind::NoAssessment { 0 } else { n };
        let takers: Vec<u64> = sizes.iter().enumerate().map(|(b, &n)| attempted(b, n)).collect();
        Self {
            seed,
            courses,
            users,
            learners,
            enrolments: spread(&sizes, sizes.iter().sum()),
            activity: spread(&sizes, scaled(ACTIVITY, scale).max(1400)),
            attempts: spread(&takers, scaled(ATTEMPTS, scale).max(900)),
            batches,
        }
    }

    pub(super) fn draws(&self, of: Of, a: u64, b: u64) -> Draws {
        Draws::new(self.seed, of, a, b)
    }

    /// The learner in a place of a batch.
    pub(super) fn learner(&self, batch: u64, place: u64) -> u64 {
        let Batch { step, offset, .. } = self.batches[at(batch)];
        (offset + place * step) % self.learners
    }

    /// The course that a batch teaches.
    pub(super) const fn course_of(&self, batch: u64) -> u64 {
        batch % self.courses
    }
}

/// An index into something that is in memory.
pub(super) fn at(n: u64) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "an index into something that is in memory")]
    {
        n as usize
    }
}

/// The batch that a row belongs to, and its place there; `starts` as in [`Plan`].
pub(super) fn locate(starts: &[u64], row: u64) -> (u64, u64) {
    let batch = starts.partition_point(|&start| start <= row) - 1;
    (batch as u64, row - starts[batch])
}

/// What is special about a course. Courses with even numbers have the framework TPD.
pub(super) const fn kind(course: u64) -> Kind {
    match course % KINDS {
        2 => Kind::LowerCase,
        3 => Kind::NoHierarchy,
        4 => Kind::NoLeafNodes,
        5 => Kind::NoModules,
        6 => Kind::LeafNodesMissing,
        7 => Kind::RepeatedModule,
        8 => Kind::AssessmentNamedLikeColumn,
        9 => Kind::NotInContent,
        10 => Kind::SameNames,
        11 => Kind::NoAssessment,
        12 => Kind::NoChannel,
        13 => Kind::NoFramework,
        14 => Kind::FormulaName,
        _ => Kind::Plain,
    }
}

/// Batches that nobody has enrolled in.
pub(super) const fn is_empty(batch: u64) -> bool {
    batch % 24 == 15 || batch % 96 == 20
}

/// Batches that have ended.
pub(super) const fn has_ended(batch: u64) -> bool {
    batch % 24 == 19 || batch % 96 == 10
}

fn scaled(n: u64, scale: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "scale is positive and at most MAX_SCALE"
    )]
    {
        (n as f64 * scale).round() as u64
    }
}

/// Sizes that fall like 1/rank, for the batches with even numbers (framework TPD, 52 % of the rows) and with odd ones.
/// At scale 1 the largest has about 50,000 learners. Whole numbers throughout, and the sum is exact.
fn sizes(batches: u64, rows: u64) -> Vec<u64> {
    let weight = |b: u64| if is_empty(b) { 0 } else { 1_000_000_000 / (2 * (b / 2) + 7) };
    let even_rows = rows * 52 / 100;
    let mut sizes = vec![0; at(batches)];
    for (parity, rows) in [(0, even_rows), (1, rows - even_rows)] {
        let numbers = || (0..batches).filter(move |b| b % 2 == parity);
        let weights: Vec<u64> = numbers().map(weight).collect();
        for (b, pair) in numbers().zip(spread(&weights, rows).windows(2)) {
            sizes[at(b)] = pair[1] - pair[0];
        }
    }
    sizes
}

/// Spreads `rows` in proportion to `weights`, exactly: where each share begins, and `rows` at the end.
fn spread(weights: &[u64], rows: u64) -> Vec<u64> {
    let all = weights.iter().map(|&w| u128::from(w)).sum::<u128>().max(1);
    let mut sum = 0_u128;
    let mut starts = vec![0];
    starts.extend(weights.iter().map(|&weight| {
        sum += u128::from(weight);
        #[allow(clippy::cast_possible_truncation, reason = "at most `rows`")]
        {
            (sum * u128::from(rows) / all) as u64
        }
    }));
    starts
}

fn batch(seed: u64, number: u64, size: u64, learners: u64) -> Batch {
    let mut draws = Draws::new(seed, Of::Batch, number, 0);
    let offset = draws.below(learners);
    let mut step = 1 + draws.below(learners);
    while gcd(step, learners) != 1 {
        step += 1;
    }
    Batch { size, step, offset }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_one_has_the_promised_numbers() {
        let plan = Plan::new(1.0, 1);
        assert_eq!((plan.batches.len(), plan.users), (2_000, 500_000));
        assert_eq!(plan.enrolments.last(), Some(&2_000_000));
        assert_eq!(plan.activity.last(), Some(&7_000_000));
        assert_eq!(plan.attempts.last(), Some(&4_500_000));
        let largest = plan.batches.iter().map(|b| b.size).max().unwrap();
        assert!((45_000..55_000).contains(&largest), "{largest}");
        let tpd: u64 = plan.batches.iter().step_by(2).map(|b| b.size).sum();
        assert_eq!(tpd, 1_040_000);
    }

    #[test]
    fn nobody_is_twice_in_a_batch_unless_meant() {
        let plan = Plan::new(0.001, 3);
        for (b, batch) in plan.batches.iter().enumerate() {
            let mut learners: Vec<u64> = (0..batch.size).map(|place| plan.learner(b as u64, place)).collect();
            learners.sort_unstable();
            learners.dedup();
            assert_eq!(learners.len() as u64, batch.size, "batch {b}");
        }
    }

    #[test]
    fn a_row_is_located_in_its_batch_past_empty_ones() {
        let starts = [0, 3, 3, 5];
        let found: Vec<_> = (0..5).map(|row| locate(&starts, row)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]);
    }
}
