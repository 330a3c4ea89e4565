//! `exhaustd sample-data`: a generated platform to try things out on.

use std::path::PathBuf;

use super::CommandError;
use super::print::outln;
use super::progress::Progress;
use super::text::table;
use crate::sample_data::{self, Columns, Format, Layout, SampleError, SampleOptions};

/// Write a generated data set. The same options give the same bytes; memory does not grow with the size.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The directory for the tables.
    #[arg(default_value = "data")]
    directory: PathBuf,
    /// The size. 1 is two million enrolments in 2,000 batches; the default takes seconds.
    #[arg(long, default_value_t = 0.001)]
    scale: f64,
    /// The format of the files.
    #[arg(long, value_enum, default_value_t = FormatName::Parquet)]
    format: FormatName,
    /// How tables are laid out in files.
    #[arg(long, value_enum, default_value_t = LayoutName::Single)]
    layout: LayoutName,
    /// How columns are named: as platforms have them today, or as they were in 2020. The reports are the same.
    #[arg(long, value_enum, default_value_t = ColumnsName::Today)]
    columns: ColumnsName,
    /// The seed: another one gives another data set of the same size.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Replace the tables that are there.
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatName {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LayoutName {
    /// One file for each table.
    Single,
    /// Large tables in eight parts.
    Parts,
    /// Enrolments, activity and attempts partitioned by batch.
    Hive,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ColumnsName {
    /// `aggregates`, `enrolled_date`, `start_date`, `end_date`.
    Today,
    /// `agg`, `enrolleddate`, `startdate`, `enddate`.
    #[value(name = "2020")]
    Of2020,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let options = SampleOptions {
        directory: arguments.directory.clone(),
        scale: arguments.scale,
        format: match arguments.format {
            FormatName::Parquet => Format::Parquet,
            FormatName::Csv => Format::Csv,
            FormatName::Jsonl => Format::Jsonl,
        },
        layout: match arguments.layout {
            LayoutName::Single => Layout::Single,
            LayoutName::Parts => Layout::Parts,
            LayoutName::Hive => Layout::Hive,
        },
        columns: match arguments.columns {
            ColumnsName::Today => Columns::Today,
            ColumnsName::Of2020 => Columns::Of2020,
        },
        seed: arguments.seed,
        overwrite: arguments.overwrite,
    };
    let progress = Progress::bar();
    let made =
        sample_data::generate(&options, &|done, all| progress.show("rows", done, all)).map_err(
            |error| match error {
                SampleError::Scale(_) | SampleError::Occupied { .. } | SampleError::Foreign { .. } => {
                    CommandError::Usage(error.to_string())
                }
                other => CommandError::Failed(other.to_string()),
            },
        )?;
    drop(progress);
    let rows: Vec<[String; 2]> = made.rows.iter().map(|(t, n)| [t.name().to_owned(), n.to_string()]).collect();
    outln!("{}", table(["TABLE", "ROWS"], &rows));
    outln!("{} bytes in {}", made.bytes, options.directory.display());
    if let Some(batch) = made.batches.first() {
        outln!("try: exhaustd submit course-report --batch {} --wait", batch.id);
    }
    Ok(())
}
