//! A made-up data set in the tables of a course platform, for trying out, for tests and for benchmarks.
//!
//! The same bytes from the same options, on any number of threads; memory does not grow with the number of rows (a
//! few numbers for each batch are kept). Every row is a function of (seed, row number), and rows come in random order
//! by a permutation of their numbers. What is in it is told in `docs/sample-data.md`. Not here: reading the data, and
//! any rule of a report.

mod channels;
mod courses;
mod draws;
mod learning;
mod people;
mod plan;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod write;

use std::path::PathBuf;

use crate::tables::schema::Table;
use plan::Plan;

/// The largest scale: identifiers have room for no more.
const MAX_SCALE: f64 = 100.0;

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOptions {
    /// Where the tables go. Made if it is not there.
    pub directory: PathBuf,
    /// How much: 1 is half a million learners, two million enrolments in 2,000 batches, seven million activity rows
    /// and four and a half million attempts. Small sets have at least 32 batches.
    pub scale: f64,
    /// The format of the files.
    pub format: Format,
    /// How tables are laid out in files.
    pub layout: Layout,
    /// How columns are named and what types they have.
    pub columns: Columns,
    /// Another seed gives another data set of the same size.
    pub seed: u64,
    /// Replace the tables that are in the directory.
    pub overwrite: bool,
}

impl SampleOptions {
    /// A small set (seconds to make) as Parquet in one file for each table.
    #[must_use]
    pub fn small(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            scale: 0.001,
            format: Format::Parquet,
            layout: Layout::Single,
            columns: Columns::Today,
            seed: 1,
            overwrite: false,
        }
    }
}

/// The format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Typed: timestamps, maps and lists are native. Compressed with snappy.
    Parquet,
    /// RFC 4180, in the spellings that dumps of the platform have.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// How tables are laid out in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One file for each table.
    Single,
    /// The four large tables are directories of eight parts.
    Parts,
    /// Enrolments, activity and attempts are Hive partitions by batch, named as Spark names them
    /// (`user_activity_agg/context_id=cb%3A0130…/`); the partition column is not in the files.
    Hive,
}

/// How columns are named and what types they have; the reports are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// As platforms have them today: `aggregates` with counters in floating point and scores beside them,
    /// `enrolled_date`, `start_date` and `end_date` as times.
    Today,
    /// As they were in 2020: `agg`, `enrolleddate`, `startdate`, `enddate`.
    Of2020,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Rows of each table.
    pub rows: Vec<(Table, u64)>,
    /// Size of all files in bytes.
    pub bytes: u64,
    /// Some running batches to name in a request, the largest first.
    pub batches: Vec<SampleBatch>,
}

/// A batch to name in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleBatch {
    /// Its identifier.
    pub id: String,
    /// Rows in `user_enrolments`, those that no report lists included.
    pub enrolments: u64,
    /// Rows in `assessment_aggregator`.
    pub attempts: u64,
}

/// Why the data set could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Not a scale.
    #[error("scale must be above 0 and at most {MAX_SCALE}, not {0}")]
    Scale(f64),
    /// The directory is in use.
    #[error("{} already has `{found}`; choose another directory, or say that it may be overwritten", directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// The first table found in it.
        found: String,
    },
    /// The directory has something in it that is no table, and would be lost.
    #[error("{} has `{found}`, which is no table of the platform; choose another directory", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// The first thing found in it.
        found: String,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Rows could not be put into a file.
    #[error("cannot make {table}: {message}")]
    Rows {
        /// The table.
        table: Table,
        /// What arrow or parquet said.
        message: String,
    },
}

/// Makes the data set. The tables are written beside the directory and put in its place when all are done: there is
/// either the whole set or none. `progress` gets (rows written, rows in all) now and then, from several threads.
pub fn generate(options: &SampleOptions, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Summary, SampleError> {
    let plan = plan(options.scale, options.seed)?;
    let bytes = write::tables(&plan, options, progress)?;
    let rows = write::counts(&plan);
    let batches = running(&plan).into_iter().take(10).map(|batch| sample_batch(&plan, batch)).collect();
    Ok(Summary { rows, bytes, batches })
}

fn plan(scale: f64, seed: u64) -> Result<Plan, SampleError> {
    if scale > 0.0 && scale <= MAX_SCALE { Ok(Plan::new(scale, seed)) } else { Err(SampleError::Scale(scale)) }
}

/// The ids of running batches of the data set with this scale and seed, the largest first.
///
/// # Errors
/// [`SampleError::Scale`].
pub fn running_batches(scale: f64, seed: u64) -> Result<Vec<String>, SampleError> {
    let plan = plan(scale, seed)?;
    Ok(running(&plan).into_iter().map(|batch| courses::batch_id(&plan, batch)).collect())
}

/// Batches that a request for them reports on: running, with learners, of a course that is in `content`; the largest
/// first.
fn running(plan: &Plan) -> Vec<u64> {
    let reported = |&batch: &u64| {
        !plan::has_ended(batch)
            && plan.batches[plan::at(batch)].size > 0
            && plan::kind(plan.course_of(batch)) != plan::Kind::NotInContent
    };
    let mut batches: Vec<u64> = (0..plan.batches.len() as u64).filter(reported).collect();
    batches.sort_by_key(|&batch| (std::cmp::Reverse(plan.batches[plan::at(batch)].size), batch));
    batches
}

fn sample_batch(plan: &Plan, batch: u64) -> SampleBatch {
    let i = plan::at(batch);
    SampleBatch {
        id: courses::batch_id(plan, batch),
        enrolments: plan.batches[i].size,
        attempts: plan.attempts[i + 1] - plan.attempts[i],
    }
}
